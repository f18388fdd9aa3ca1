//! Opening and reading files below a directory handle, without following links.
//!
//! `O_NOFOLLOW` keeps another writer of a shared directory from redirecting us, and `O_NONBLOCK`
//! keeps a FIFO instead of a blob from blocking a reader.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};

use crate::registry::RegistryError;
use crate::sys::IoCause;
use crate::sys::buffer::{self, Buffer};

/// Reads an open file of at most `len_max` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] when it is longer, even if it only grows meanwhile.
pub(super) fn read_bounded(file: &File, len_max: u64) -> io::Result<Buffer> {
    let len = file.metadata()?.len();
    if len > len_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = buffer::take(usize::try_from(len).unwrap_or(0));
    file.take(len_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > len_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Turns a failed file operation into an error for a caller.
pub(super) fn classify(error: io::Error) -> RegistryError {
    let denied = |reason| RegistryError::DirectoryDenied { reason };
    let malformed = |reason: &str| RegistryError::Malformed { reason: reason.to_owned() };
    match IoCause::from(&error) {
        IoCause::Full | IoCause::QuotaExceeded => return RegistryError::NoSpace,
        IoCause::NoPermission => return denied("no permission in the layout directory"),
        IoCause::ReadOnly => return denied("the layout directory is read-only"),
        _ => {}
    }
    match error.kind() {
        io::ErrorKind::InvalidData => malformed("something in the layout is not a regular file"),
        io::ErrorKind::NotADirectory => malformed("something in the layout is not a directory"),
        io::ErrorKind::IsADirectory => malformed("something in the layout is a directory"),
        _ if error.raw_os_error() == Some(libc::ELOOP) => {
            malformed("something in the layout is a symbolic link")
        }
        // A socket instead of a file.
        _ if error.raw_os_error() == Some(libc::ENXIO) => {
            malformed("something in the layout is not a regular file")
        }
        _ => RegistryError::Io(error),
    }
}

/// Opens the root. Only the root may be a link, since the user has named it.
pub(super) fn open_root(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)
}

pub(super) fn open_dir_at(parent: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?.into())
}

pub(super) fn make_dir_at(parent: &File, name: &str, mode: u32) -> io::Result<File> {
    match open_dir_at(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        dir => return dir,
    }
    match mkdirat(parent, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) => {
            let dir = open_dir_at(parent, name)?;
            // Not by mkdir: the umask must not lock out the other users of a shared directory.
            fchmod(&dir, Mode::from_bits_truncate(mode & 0o2777))?;
            parent.sync_all()?;
            Ok(dir)
        }
        Err(Errno::EEXIST) => open_dir_at(parent, name),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn open_file_at(dir: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(dir, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(file)
}

pub(super) fn read_at(dir: &File, name: &str, len_max: u64) -> io::Result<Buffer> {
    read_bounded(&open_file_at(dir, name)?, len_max)
}

pub(super) fn exists_at(dir: &File, name: &str) -> io::Result<bool> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
