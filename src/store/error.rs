//! Why the local state could not be read or written.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::protocol::ErrorClass;
use crate::sys::IoCause;

/// Why an operation on the local state failed; one variant for each decision that a caller makes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk of the state directory is full; nothing was changed.
    #[error("no space left in the state directory")]
    Full,
    /// The disk quota is used up; nothing was changed.
    #[error("the disk quota is used up")]
    QuotaExceeded,
    /// The state directory cannot be written.
    #[error("the state directory is read-only")]
    ReadOnly,
    /// Another process uses this state and will continue to.
    #[error("{}", locked_text(*pid))]
    Locked {
        /// The process that holds the lock; 0 if unknown.
        pid: u32,
    },
    /// Another process holds the database for longer than we wait.
    #[error("the state database is busy")]
    Busy,
    /// The database is damaged. It is never reset: that would lose mail.
    #[error("the state database is damaged: {reason}")]
    Corrupt {
        /// What is damaged.
        reason: String,
    },
    /// A newer version of this program has written the database.
    #[error(
        "the state database has version {found}, newer than the {known} that this program knows"
    )]
    TooNew {
        /// The version in the file.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The state belongs to another user, or is not what it should be.
    #[error("{} {reason}", path.display())]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no such entry.
    #[error("no such {what}")]
    NotFound {
        /// What kind of entry.
        what: &'static str,
    },
    /// The store's thread has ended, which only a bug in this program can cause.
    #[error("the state thread has stopped")]
    Stopped,
    /// An operation on a file of the state directory failed.
    #[error("state directory")]
    Io(#[source] io::Error),
    /// SQLite failed in another way.
    #[error("state database")]
    Sqlite(#[source] rusqlite::Error),
}

fn locked_text(pid: u32) -> String {
    match pid {
        0 => "another process uses this state".to_owned(),
        pid => format!("process {pid} uses this state"),
    }
}

impl StoreError {
    /// Returns the class that decides errno and exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Full => ErrorClass::NoSpace,
            Self::QuotaExceeded => ErrorClass::QuotaExceeded,
            Self::ReadOnly => ErrorClass::ReadOnly,
            Self::Locked { .. } | Self::Busy => ErrorClass::Busy,
            Self::TooNew { .. } | Self::Foreign { .. } => ErrorClass::Configuration,
            Self::NotFound { .. } => ErrorClass::NotFound,
            // Not `ErrorClass::Corrupt`, which is about bytes of a message: this is our disk.
            Self::Corrupt { .. } | Self::Stopped | Self::Io(_) | Self::Sqlite(_) => {
                ErrorClass::Internal
            }
        }
    }

    pub(super) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt { reason: reason.into() }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match IoCause::from(&error) {
            IoCause::Full => Self::Full,
            IoCause::QuotaExceeded => Self::QuotaExceeded,
            IoCause::ReadOnly | IoCause::NoPermission => Self::ReadOnly,
            _ => Self::Io(error),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;

        match &error {
            E::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DiskFull => Self::Full,
                ErrorCode::ReadOnly => Self::ReadOnly,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                    Self::corrupt(failure.to_string())
                }
                // A violated constraint of ours means that we did not write these rows like this.
                ErrorCode::ConstraintViolation => Self::corrupt(error.to_string()),
                _ => Self::Sqlite(error),
            },
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..) => Self::corrupt(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}
