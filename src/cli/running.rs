//! Which mount runs on a state, and what is mounted where.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Places;
use crate::fs;
use crate::sys::durable;

/// Largest file that says where a mount is, in bytes.
const MOUNT_FILE_LEN_MAX: u64 = 64 << 10;

/// A mount that runs, as it says itself.
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
    /// Leaves word for other commands; without it they only know less.
    pub(crate) fn save(&self, places: &Places) {
        match serde_json::to_vec(self) {
            Ok(json) => {
                if let Err(error) = durable::write_atomic(&places.mount_file(), &json) {
                    tracing::warn!(%error, "cannot say where the mount is");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot say where the mount is"),
        }
    }

    /// Takes the word back.
    pub(crate) fn forget(places: &Places) {
        // Not being there is what is wanted.
        std::fs::remove_file(places.mount_file()).ok();
    }
}

/// Returns the mount that runs on this state; one that died without a word is none.
pub(crate) fn find(places: &Places) -> Option<RunningMount> {
    let json = durable::read_bounded(&places.mount_file(), MOUNT_FILE_LEN_MAX).ok()?;
    let running: RunningMount = serde_json::from_slice(&json).ok()?;
    (is_alive(running.pid) && fs::is_mounted(&running.dir)).then_some(running)
}

/// Returns whether a process of this number runs.
///
/// One that ended and whose parent has not collected it (a zombie) serves nothing any more; in a
/// container without an init it stays for ever.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| {
        // The command name before the state may hold blanks and parentheses.
        let stat = String::from_utf8_lossy(&stat);
        let state = stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next());
        !matches!(state, Some('Z' | 'X'))
    })
}

/// Returns `dir` as an absolute path without links, never looking into the mount itself.
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
    fn a_process_that_ended_is_not_alive_before_its_parent_collects_it() {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());

        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();

        assert!(!is_alive(child.id()));
        assert!(is_alive(std::process::id()));
        child.wait().unwrap();
    }

    #[test]
    fn the_last_component_of_a_mount_point_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();

        let path = absolute_mount_point(&dir.path().join("absent")).unwrap();

        assert_eq!(path, std::fs::canonicalize(dir.path()).unwrap().join("absent"));
    }
}
