//! Which mount runs on a state, and what is mounted where.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Places;
use crate::fs;
use crate::sys::durable;

/// Largest file that describes a mount, in bytes.
const MOUNT_FILE_LEN_MAX: u64 = 64 << 10;

/// Longest `/proc/PID/stat` in bytes; a real one has about 300.
const STAT_LEN_MAX: u64 = 4 << 10;

/// A running mount, by its own description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningMount {
    /// The process.
    pub(crate) pid: u32,
    /// The mount point.
    pub(crate) dir: PathBuf,
    /// The registry reference.
    pub(crate) registry: String,
}

impl RunningMount {
    /// Leaves the description for other commands; without it they only know less.
    pub(crate) fn save(&self, places: &Places) {
        match serde_json::to_vec(self) {
            Ok(json) => {
                if let Err(error) = durable::write_atomic(&places.mount_file(), &json) {
                    tracing::warn!(%error, "cannot record where the mount is");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot record where the mount is"),
        }
    }

    /// Removes the description.
    pub(crate) fn forget(places: &Places) {
        // It may already be gone.
        std::fs::remove_file(places.mount_file()).ok();
    }
}

/// Returns the mount that runs on this state; a dead one does not count.
pub(crate) fn find(places: &Places) -> Option<RunningMount> {
    let json = durable::read_bounded(&places.mount_file(), MOUNT_FILE_LEN_MAX).ok()?;
    let running: RunningMount = serde_json::from_slice(&json).ok()?;
    (is_alive(running.pid) && fs::is_mounted(&running.dir)).then_some(running)
}

/// Returns whether the process with this id runs; a zombie does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = Path::new("/proc").join(pid.to_string()).join("stat");
    let Ok(stat) = durable::read_bounded(&stat, STAT_LEN_MAX) else { return false };
    // `pid (name) state ...`, where the name may hold anything, parentheses too.
    let after_name = stat.rsplit(|byte| *byte == b')').next().unwrap_or_default();
    !matches!(after_name.get(1), Some(b'Z' | b'X'))
}

/// Returns `dir` as an absolute path without links, without accessing the mount itself.
pub(crate) fn absolute_mount_point(dir: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(dir)?;
    // Only the parent is resolved: a dead mount answers no question about itself.
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(std::fs::canonicalize(parent)?.join(name)),
        _ => Ok(absolute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULT_PROFILE, HomeVariables};

    #[test]
    fn a_mount_that_died_is_not_running() {
        let home = tempfile::tempdir().unwrap();
        let dockercomms_home = Some(home.path().to_owned());
        let variables = HomeVariables { dockercomms_home, ..HomeVariables::default() };
        let places = Places::find(&variables, DEFAULT_PROFILE).unwrap();
        places.create().unwrap();
        let dir = home.path().to_owned();
        let mount = RunningMount { pid: std::process::id(), dir, registry: "oci:/x".to_owned() };

        mount.save(&places);

        assert_eq!(find(&places), None, "alive, but nothing of ours is mounted there");
        RunningMount::forget(&places);
        assert!(!places.mount_file().exists());
    }

    #[test]
    fn a_process_that_ended_is_not_alive_even_before_it_is_collected() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let exited = nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(child.id().cast_signed())),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        );

        assert!(exited.is_ok(), "{exited:?}");
        assert!(!is_alive(child.id()));
        assert!(is_alive(std::process::id()));
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
    }

    #[test]
    fn the_last_component_of_a_mount_point_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();

        let path = absolute_mount_point(&dir.path().join("absent")).unwrap();

        assert_eq!(path, std::fs::canonicalize(dir.path()).unwrap().join("absent"));
    }
}
