//! Why an operation on the tree failed.

use crate::mailbox::MailboxError;
use crate::protocol::ErrorClass;

/// Why an operation on the mounted tree failed.
///
/// Most variants are terms of the VFS that no [`ErrorClass`] has; `errno` translates them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FsError {
    /// The mailbox failed; its class decides the errno.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// There is no such name in the directory.
    #[error("no such file or directory")]
    NoEntry,
    /// The inode or the handle is not one that we issued.
    #[error("stale handle")]
    BadHandle,
    /// A directory was needed.
    #[error("not a directory")]
    NotADirectory,
    /// A file was needed.
    #[error("is a directory")]
    IsADirectory,
    /// The directory still has files.
    #[error("directory not empty")]
    NotEmpty,
    /// The name is taken.
    #[error("file exists")]
    Exists,
    /// Tools respond to this by copying, which is what a message needs.
    #[error("different mailbox")]
    CrossDevice,
    /// The name is longer than 255 bytes.
    #[error("name too long")]
    NameTooLong,
    /// The name is not UTF-8.
    #[error("name is not UTF-8")]
    NotUtf8,
    /// The name or a value has characters or a form that cannot be sent.
    #[error("invalid name or value")]
    Invalid,
    /// The operation has no meaning here: a message is immutable, and a directory never completes.
    #[error("operation not permitted")]
    NotPermitted,
    /// This part of the tree belongs to the senders.
    #[error("read-only")]
    ReadOnly,
    /// The operation is not supported.
    #[error("not supported")]
    NotSupported,
    /// More bytes than a message can carry.
    #[error("file too large")]
    TooLarge,
    /// More attributes than one file may keep.
    #[error("no space for attributes")]
    AttributesFull,
    /// There is no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// The caller has a signal pending, or died.
    #[error("interrupted")]
    Interrupted,
    /// The caller is neither the owner nor root.
    #[error("access denied")]
    AccessDenied,
    /// An earlier write through this handle failed with this errno.
    #[error("an earlier write failed (errno {0})")]
    EarlierWrite(i32),
    /// The mount point cannot be used.
    #[error("cannot mount: {reason}")]
    MountPoint {
        /// What is wrong with it.
        reason: String,
        /// Busy, or a matter of configuration.
        class: ErrorClass,
    },
    /// The kernel or `fusermount3` refused.
    #[error("cannot mount: {reason}")]
    Mount {
        /// What was attempted, and the text of `fusermount3`.
        reason: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl FsError {
    /// Returns the class that decides the exit code.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Mailbox(error) => error.class(),
            Self::NoEntry | Self::BadHandle | Self::NoAttribute => ErrorClass::NotFound,
            Self::NotADirectory
            | Self::IsADirectory
            | Self::NotEmpty
            | Self::CrossDevice
            | Self::NotPermitted
            // A machine without FUSE is not a defect of ours.
            | Self::Mount { .. } => ErrorClass::NotPermitted,
            Self::Exists => ErrorClass::Exists,
            Self::NameTooLong | Self::NotUtf8 | Self::Invalid => ErrorClass::InvalidName,
            Self::ReadOnly => ErrorClass::ReadOnly,
            Self::NotSupported => ErrorClass::NotSupported,
            Self::TooLarge => ErrorClass::TooLarge,
            Self::AttributesFull => ErrorClass::NoSpace,
            Self::Interrupted => ErrorClass::Interrupted,
            Self::AccessDenied => ErrorClass::Denied,
            Self::EarlierWrite(_) => ErrorClass::Internal,
            Self::MountPoint { class, .. } => *class,
        }
    }

    /// Returns what to do next, in one sentence.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Mailbox(error) => error.hint(),
            Self::MountPoint { class: ErrorClass::Busy, .. } => {
                Some("run `dockercomms umount DIR` first, or choose another directory".into())
            }
            Self::MountPoint { .. } => Some("mount on an empty directory that you own".into()),
            Self::Mount { .. } => {
                Some("check that /dev/fuse exists and that the package fuse3 is installed".into())
            }
            _ => None,
        }
    }
}
