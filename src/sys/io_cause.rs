//! What a failed operation on a file means, for everyone who has to act on it.

use std::io;

/// What a failed operation on a file means; one variant for each decision that a caller makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoCause {
    /// The disk is full.
    Full,
    /// The quota is used up.
    QuotaExceeded,
    /// The file is larger than a limit.
    TooLarge,
    /// The file system is read-only.
    ReadOnly,
    /// The permissions of the file or its directory do not allow it (EACCES, EPERM).
    NoPermission,
    /// There is no such file.
    NotFound,
    /// The name is taken.
    Exists,
    /// Another process holds it.
    Busy,
    /// A signal came first.
    Interrupted,
    /// Anything else: the disk, or a defect of this program.
    Other,
}

impl From<io::ErrorKind> for IoCause {
    fn from(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::StorageFull => Self::Full,
            io::ErrorKind::QuotaExceeded => Self::QuotaExceeded,
            io::ErrorKind::FileTooLarge => Self::TooLarge,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::PermissionDenied => Self::NoPermission,
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::ResourceBusy => Self::Busy,
            io::ErrorKind::Interrupted => Self::Interrupted,
            _ => Self::Other,
        }
    }
}

impl From<&io::Error> for IoCause {
    fn from(error: &io::Error) -> Self {
        error.kind().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_disk_answers_has_its_cause() {
        for (errno, cause) in [
            (libc::ENOSPC, IoCause::Full),
            (libc::EDQUOT, IoCause::QuotaExceeded),
            (libc::EFBIG, IoCause::TooLarge),
            (libc::EROFS, IoCause::ReadOnly),
            (libc::EACCES, IoCause::NoPermission),
            (libc::EPERM, IoCause::NoPermission),
            (libc::ENOENT, IoCause::NotFound),
            (libc::EEXIST, IoCause::Exists),
            (libc::EBUSY, IoCause::Busy),
            (libc::EINTR, IoCause::Interrupted),
            (libc::EIO, IoCause::Other),
            (libc::EMFILE, IoCause::Other),
            (libc::EISDIR, IoCause::Other),
            (libc::ENOTDIR, IoCause::Other),
            (libc::EINVAL, IoCause::Other),
            (libc::ETIMEDOUT, IoCause::Other),
        ] {
            let error = io::Error::from_raw_os_error(errno);

            assert_eq!(IoCause::from(&error), cause, "{error}");
        }
    }
}
