//! The kernel's table of mounts, and the requirements for a mount point.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::error::FsError;
use crate::protocol::ErrorClass;
use crate::sys::durable::read_bounded;

/// Largest table that is read: container hosts have thousands of mounts of 200 bytes.
const TABLE_LEN_MAX: u64 = 16 << 20;

/// The type that our mounts have in it.
pub(super) const FILE_SYSTEM_TYPE: &str = "fuse.dockercomms";

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountEntry {
    /// `major:minor` of the file system; one number per FUSE connection.
    pub(super) device: String,
    /// Where it is mounted.
    pub(super) path: PathBuf,
    /// Its type.
    pub(super) kind: String,
}

/// Returns whether a mailbox is mounted at `path`, dead or alive. Does not touch it.
pub(crate) fn is_mounted(path: &Path) -> bool {
    absolute(path).ok().and_then(|path| ours_at(&path)).is_some()
}

/// Returns the topmost mount at `path` if it is one of ours.
pub(super) fn ours_at(path: &Path) -> Option<MountEntry> {
    let table = read_bounded(Path::new("/proc/self/mountinfo"), TABLE_LEN_MAX).ok()?;
    topmost(&table, path).filter(|entry| entry.kind == FILE_SYSTEM_TYPE)
}

/// The last line wins: a later mount hides an earlier one.
fn topmost(table: &[u8], path: &Path) -> Option<MountEntry> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).rfind(|entry| entry.path == path)
}

/// `36 35 98:0 /root /mnt opts [optional...] - type source superopts`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = String::from_utf8(fields.nth(2)?.to_vec()).ok()?;
    let path = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(MountEntry { device, path, kind: String::from_utf8(kind.to_vec()).ok()? })
}

/// Undoes `\040` and the like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
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
    bytes
}

/// Returns the absolute path of a directory without touching the directory itself, which may be a
/// dead mount.
pub(super) fn absolute(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(parent.canonicalize()?.join(name))
        }
        _ => path.canonicalize(),
    }
}

/// Checks that `path` is an empty directory, not a link, and not above one of `private_dirs`.
///
/// # Errors
/// [`FsError::MountPoint`] with a sentence for people.
pub(super) fn check_mount_point(path: &Path, private_dirs: &[PathBuf]) -> Result<(), FsError> {
    let refuse = |why: &str| {
        let reason = format!("{} {why}", path.display());
        Err(FsError::MountPoint { reason, class: ErrorClass::Configuration })
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return refuse("does not exist"),
        Err(error) => return refuse(&format!("cannot be examined: {error}")),
    };
    if metadata.is_symlink() {
        return refuse("is a symbolic link");
    }
    if !metadata.is_dir() {
        return refuse("is not a directory");
    }
    match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(false) => {}
        Ok(true) => return refuse("is not empty"),
        Err(error) => return refuse(&format!("cannot be read: {error}")),
    }
    let hides = |dir: &PathBuf| dir.canonicalize().is_ok_and(|dir| dir.starts_with(path));
    if private_dirs.iter().any(hides) {
        return refuse("would hide the program's own files");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 22 0:50 / /mnt/my\\040mail rw,nosuid shared:5 - fuse.dockercomms dockercomms rw\n\
        31 22 0:51 / /mnt/two rw - fuse.dockercomms dockercomms rw\n\
        32 31 0:52 / /mnt/two rw - tmpfs none rw\n";

    #[test]
    fn the_topmost_mount_of_an_escaped_path_is_found() {
        let entry = topmost(TABLE, Path::new("/mnt/my mail")).unwrap();

        assert_eq!((entry.device.as_str(), entry.kind.as_str()), ("0:50", FILE_SYSTEM_TYPE));
        assert_eq!(topmost(TABLE, Path::new("/mnt/two")).unwrap().kind, "tmpfs");
        assert_eq!(topmost(TABLE, Path::new("/mnt")), None);
    }

    #[test]
    fn damaged_lines_are_skipped() {
        for line in [&b""[..], b"1 2", b"1 2 3:4 / /x rw", b"1 2 3:4 / /x rw -", b"\xff \xff"] {
            assert_eq!(parse_line(line), None);
        }
        assert_eq!(unescape(b"a\\0"), b"a\\0");
        assert_eq!(unescape(b"\\134x"), b"\\x");
    }

    fn refusal(path: &Path, private: &[PathBuf]) -> String {
        check_mount_point(path, private).unwrap_err().to_string()
    }

    #[test]
    fn only_an_empty_directory_of_its_own_is_a_mount_point() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let empty = root.join("empty");
        fs::create_dir(&empty).unwrap();
        std::os::unix::fs::symlink(&empty, root.join("link")).unwrap();
        fs::File::create(root.join("file")).unwrap();

        assert!(check_mount_point(&empty, std::slice::from_ref(&root)).is_ok());
        assert!(refusal(&root.join("missing"), &[]).ends_with("does not exist"));
        assert!(refusal(&root.join("link"), &[]).ends_with("is a symbolic link"));
        assert!(refusal(&root.join("file"), &[]).ends_with("is not a directory"));
        assert!(refusal(&root, &[]).ends_with("is not empty"));
        assert!(refusal(&empty, std::slice::from_ref(&empty)).ends_with("own files"));
    }

    #[test]
    fn a_relative_mount_point_becomes_absolute() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();

        assert_eq!(absolute(Path::new("x")).unwrap(), here.join("x"));
        assert_eq!(absolute(Path::new(".")).unwrap(), here);
        assert!(!is_mounted(&here));
    }
}
