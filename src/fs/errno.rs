//! The one table from error class to errno (src/README.md "Errors").
//!
//! Exhaustive on purpose: a new class does not compile until it has an errno that users will see.

use super::error::FsError;
use crate::protocol::ErrorClass;

/// Returns the errno whose text a person at a file manager reads.
pub(crate) fn of_class(class: ErrorClass) -> i32 {
    match class {
        ErrorClass::NotFound => libc::ENOENT,
        ErrorClass::Denied | ErrorClass::DirectoryDenied => libc::EACCES,
        ErrorClass::SignatureBad => libc::EKEYREJECTED,
        ErrorClass::SignerUnknown => libc::ENOKEY,
        ErrorClass::Expired => libc::EKEYEXPIRED,
        ErrorClass::Revoked => libc::EKEYREVOKED,
        ErrorClass::Corrupt | ErrorClass::Malformed => libc::EBADMSG,
        ErrorClass::Unreachable => libc::EHOSTUNREACH,
        ErrorClass::TimedOut => libc::ETIMEDOUT,
        ErrorClass::NoSpace => libc::ENOSPC,
        ErrorClass::QuotaExceeded => libc::EDQUOT,
        ErrorClass::TooLarge => libc::EFBIG,
        ErrorClass::NotPermitted => libc::EPERM,
        ErrorClass::NotSupported => libc::EOPNOTSUPP,
        ErrorClass::ReadOnly => libc::EROFS,
        ErrorClass::InvalidName | ErrorClass::Configuration => libc::EINVAL,
        ErrorClass::Exists => libc::EEXIST,
        ErrorClass::Interrupted => libc::EINTR,
        ErrorClass::Busy => libc::EBUSY,
        ErrorClass::Internal => libc::EIO,
    }
}

/// Returns the errno of an operation's error.
pub(crate) fn of(error: &FsError) -> i32 {
    match error {
        FsError::Mailbox(error) => of_class(error.class()),
        FsError::NoEntry => libc::ENOENT,
        FsError::BadHandle => libc::EBADF,
        FsError::NotADirectory => libc::ENOTDIR,
        FsError::IsADirectory => libc::EISDIR,
        FsError::NotEmpty => libc::ENOTEMPTY,
        FsError::Exists => libc::EEXIST,
        FsError::CrossDevice => libc::EXDEV,
        FsError::NameTooLong => libc::ENAMETOOLONG,
        FsError::NotUtf8 => libc::EILSEQ,
        FsError::Invalid => libc::EINVAL,
        FsError::NotPermitted => libc::EPERM,
        FsError::ReadOnly => libc::EROFS,
        FsError::NotSupported => libc::EOPNOTSUPP,
        FsError::TooLarge => libc::EFBIG,
        FsError::AttributesFull => libc::ENOSPC,
        FsError::NoAttribute => libc::ENODATA,
        FsError::Interrupted => libc::EINTR,
        FsError::AccessDenied => libc::EACCES,
        FsError::EarlierWrite(errno) => *errno,
        FsError::MountPoint { class, .. } => of_class(*class),
        FsError::Mount { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_errno() {
        let table = [
            (ErrorClass::NotFound, libc::ENOENT),
            (ErrorClass::Denied, libc::EACCES),
            (ErrorClass::DirectoryDenied, libc::EACCES),
            (ErrorClass::SignatureBad, libc::EKEYREJECTED),
            (ErrorClass::SignerUnknown, libc::ENOKEY),
            (ErrorClass::Expired, libc::EKEYEXPIRED),
            (ErrorClass::Revoked, libc::EKEYREVOKED),
            (ErrorClass::Corrupt, libc::EBADMSG),
            (ErrorClass::Malformed, libc::EBADMSG),
            (ErrorClass::Unreachable, libc::EHOSTUNREACH),
            (ErrorClass::TimedOut, libc::ETIMEDOUT),
            (ErrorClass::NoSpace, libc::ENOSPC),
            (ErrorClass::QuotaExceeded, libc::EDQUOT),
            (ErrorClass::TooLarge, libc::EFBIG),
            (ErrorClass::NotPermitted, libc::EPERM),
            (ErrorClass::NotSupported, libc::EOPNOTSUPP),
            (ErrorClass::ReadOnly, libc::EROFS),
            (ErrorClass::InvalidName, libc::EINVAL),
            (ErrorClass::Exists, libc::EEXIST),
            (ErrorClass::Interrupted, libc::EINTR),
            (ErrorClass::Busy, libc::EBUSY),
            (ErrorClass::Configuration, libc::EINVAL),
            (ErrorClass::Internal, libc::EIO),
        ];

        for (class, errno) in table {
            assert_eq!(of_class(class), errno, "{class:?}");
        }
    }

    #[test]
    fn no_error_is_answered_enosys() {
        // The kernel remembers ENOSYS for the lifetime of the mount and stops asking.
        for error in [FsError::NotSupported, FsError::NotPermitted, FsError::EarlierWrite(28)] {
            assert_ne!(of(&error), libc::ENOSYS);
        }
    }

    #[test]
    fn a_repeated_write_error_keeps_its_errno() {
        assert_eq!(of(&FsError::EarlierWrite(libc::ENOSPC)), libc::ENOSPC);
    }
}
