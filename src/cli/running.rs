//! Which mount runs on a state, and what is mounted where.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Places;
use crate::sys::durable;

/// Largest file that says where a mount is, in bytes.
const MOUNT_FILE_LEN_MAX: u64 = 64 << 10;

/// Largest list of mounts that is read, in bytes; a line has some 200.
const MOUNTINFO_LEN_MAX: u64 = 64 << 20;

/// The type under which the kernel lists our mounts.
const FILE_SYSTEM_TYPE: &str = "fuse.dockercomms";

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
    (is_alive(running.pid) && is_ours(&running.dir)).then_some(running)
}

/// Returns whether a process of this number exists.
pub(crate) fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Returns whether the topmost mount at `dir` is one of ours, without touching it.
pub(crate) fn is_ours(dir: &Path) -> bool {
    let Ok(text) = durable::read_bounded(Path::new("/proc/self/mountinfo"), MOUNTINFO_LEN_MAX)
    else {
        return false;
    };
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(mount_point_and_type)
        .rfind(|(mount_point, _)| mount_point == dir)
        .is_some_and(|(_, file_system_type)| file_system_type == FILE_SYSTEM_TYPE)
}

/// Reads the mount point and the type from a line of `/proc/self/mountinfo`.
fn mount_point_and_type(line: &str) -> Option<(PathBuf, &str)> {
    let mount_point = line.split(' ').nth(4)?;
    let (_, after) = line.split_once(" - ")?;
    Some((unescape(mount_point), after.split(' ').next()?))
}

/// Undoes the kernel's `\040` for a blank and the like.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
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
    fn mount_points_with_blanks_are_read() {
        let line = r"89 25 0:50 / /mnt/my\040mail rw,nosuid shared:1 - fuse.dockercomms oci:/x rw";

        let (mount_point, file_system_type) = mount_point_and_type(line).unwrap();

        assert_eq!(mount_point, Path::new("/mnt/my mail"));
        assert_eq!(file_system_type, "fuse.dockercomms");
        assert_eq!(mount_point_and_type("garbage"), None);
    }

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
    fn the_last_component_of_a_mount_point_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();

        let path = absolute_mount_point(&dir.path().join("absent")).unwrap();

        assert_eq!(path, std::fs::canonicalize(dir.path()).unwrap().join("absent"));
    }
}
