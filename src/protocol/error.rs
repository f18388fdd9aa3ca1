//! Why bytes are not a valid part of the protocol, and the closed set of error classes.

use crate::sys::IoCause;

/// What a caller does about an error; errno and exit code follow from it alone.
///
/// The set is closed: `fs/errno.rs` and `cli/exit.rs` match it exhaustively. Both tables stand side
/// by side in src/README.md "Errors".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// No such message, file, blob or tag.
    NotFound,
    /// The registry refused our credentials or our permission.
    Denied,
    /// The disk denies us access to a directory that serves as the registry.
    DirectoryDenied,
    /// A signature does not verify, or is about something else.
    SignatureBad,
    /// The signer is not trusted for this sender.
    SignerUnknown,
    /// The message or the key has expired.
    Expired,
    /// The key was revoked.
    Revoked,
    /// Bytes do not hash to the digest that names them.
    Corrupt,
    /// A peer broke the protocol.
    Malformed,
    /// The registry cannot be reached at the moment.
    Unreachable,
    /// The deadline passed before the registry answered.
    TimedOut,
    /// The local disk is full.
    NoSpace,
    /// A quota of ours or of the disk is used up.
    QuotaExceeded,
    /// The file is larger than the protocol can carry.
    TooLarge,
    /// The operation has no meaning for a message, which is immutable, or a local file is not ours
    /// to use so.
    NotPermitted,
    /// The operation is not supported.
    NotSupported,
    /// This part of the tree is read-only.
    ReadOnly,
    /// The name is not a valid identity or file name.
    InvalidName,
    /// The thing already exists.
    Exists,
    /// The caller was interrupted by a signal.
    Interrupted,
    /// Another process holds what is needed.
    Busy,
    /// The configuration or the command line is wrong.
    Configuration,
    /// A bug in this program, or a defect of the local disk.
    Internal,
}

impl ErrorClass {
    /// Returns whether the same attempt may succeed later without any change on our side.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unreachable | Self::TimedOut)
    }

    /// Returns the class of a failed operation on a local file.
    ///
    /// A layer that knows more (a state directory, a directory that serves as the registry) has an
    /// error of its own for it.
    pub fn of_io(cause: impl Into<IoCause>) -> Self {
        match cause.into() {
            IoCause::Full => Self::NoSpace,
            IoCause::QuotaExceeded => Self::QuotaExceeded,
            IoCause::TooLarge => Self::TooLarge,
            IoCause::ReadOnly => Self::ReadOnly,
            // Not `Denied`, which speaks of the registry.
            IoCause::NoPermission => Self::NotPermitted,
            IoCause::NotFound => Self::NotFound,
            IoCause::Exists => Self::Exists,
            IoCause::Busy => Self::Busy,
            IoCause::Interrupted => Self::Interrupted,
            IoCause::Other => Self::Internal,
        }
    }

    /// Returns the short code that `errors`, `status` and `--json` show.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::DirectoryDenied => "directory-denied",
            Self::SignatureBad => "bad-signature",
            Self::SignerUnknown => "untrusted-signer",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Corrupt => "corrupt",
            Self::Malformed => "malformed",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::NoSpace => "no-space",
            Self::QuotaExceeded => "quota",
            Self::TooLarge => "too-large",
            Self::NotPermitted => "not-permitted",
            Self::NotSupported => "not-supported",
            Self::ReadOnly => "read-only",
            Self::InvalidName => "bad-name",
            Self::Exists => "exists",
            Self::Interrupted => "interrupted",
            Self::Busy => "busy",
            Self::Configuration => "configuration",
            Self::Internal => "internal",
        }
    }

    /// Returns the class that has this code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.code() == code)
    }

    const ALL: [Self; 23] = [
        Self::NotFound,
        Self::Denied,
        Self::DirectoryDenied,
        Self::SignatureBad,
        Self::SignerUnknown,
        Self::Expired,
        Self::Revoked,
        Self::Corrupt,
        Self::Malformed,
        Self::Unreachable,
        Self::TimedOut,
        Self::NoSpace,
        Self::QuotaExceeded,
        Self::TooLarge,
        Self::NotPermitted,
        Self::NotSupported,
        Self::ReadOnly,
        Self::InvalidName,
        Self::Exists,
        Self::Interrupted,
        Self::Busy,
        Self::Configuration,
        Self::Internal,
    ];
}

/// Which rule of the protocol is broken.
///
/// The text never contains more than a field's name and a short reason; values from outside are
/// left out, so an error is safe to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// More bytes than the rule allows.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not one JSON value of the expected shape.
    #[error("not valid JSON: {reason}")]
    NotJson {
        /// The parser's reason.
        reason: &'static str,
    },
    /// A JSON object has a key twice (P14).
    #[error("a JSON object has a duplicate key")]
    DuplicateKey,
    /// A required field or annotation is missing.
    #[error("{field} is missing")]
    MissingField {
        /// The field's name.
        field: &'static str,
    },
    /// A field has a value that the rule does not allow.
    #[error("{field} is not valid: {reason}")]
    BadField {
        /// The field's name.
        field: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// `dockercomms.version` is not 1.x (P14).
    #[error("dockercomms.version is not 1.x")]
    UnsupportedVersion,
    /// The manifest is not the expected artifact.
    #[error("not a {expected} artifact")]
    WrongArtifact {
        /// What was expected.
        expected: &'static str,
    },
    /// The document could be read as two different things (an index and a manifest).
    #[error("manifest could be read as two different documents")]
    Ambiguous,
    /// Chunks, sizes and indices are not consistent (P8, P9, P13).
    #[error("chunk map is not consistent: {reason}")]
    BadChunkMap {
        /// Why.
        reason: &'static str,
    },
    /// A name that the rule does not allow (P1, P7).
    #[error("{what} is not a valid name: {reason}")]
    BadName {
        /// What kind of name.
        what: &'static str,
        /// Why.
        reason: &'static str,
    },
}

impl ProtocolError {
    /// Returns the class that decides errno and exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::BadName { .. } => ErrorClass::InvalidName,
            _ => ErrorClass::Malformed,
        }
    }

    /// Returns the reason code that quarantine and receipts carry.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::NotJson { .. } => "not-json",
            Self::DuplicateKey => "duplicate-key",
            Self::MissingField { .. } => "missing-field",
            Self::BadField { .. } => "bad-field",
            Self::UnsupportedVersion => "unsupported-version",
            Self::WrongArtifact { .. } => "not-a-message",
            Self::Ambiguous => "ambiguous",
            Self::BadChunkMap { .. } => "bad-chunk-map",
            Self::BadName { .. } => "bad-name",
        }
    }

    pub(crate) fn missing(field: &'static str) -> Self {
        Self::MissingField { field }
    }

    pub(crate) fn bad(field: &'static str, reason: &'static str) -> Self {
        Self::BadField { field, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_failed_operation_on_a_file_has_one_class() {
        for (kind, class) in [
            (ErrorKind::StorageFull, ErrorClass::NoSpace),
            (ErrorKind::QuotaExceeded, ErrorClass::QuotaExceeded),
            (ErrorKind::FileTooLarge, ErrorClass::TooLarge),
            (ErrorKind::ReadOnlyFilesystem, ErrorClass::ReadOnly),
            (ErrorKind::PermissionDenied, ErrorClass::NotPermitted),
            (ErrorKind::NotFound, ErrorClass::NotFound),
            (ErrorKind::AlreadyExists, ErrorClass::Exists),
            (ErrorKind::ResourceBusy, ErrorClass::Busy),
            (ErrorKind::Interrupted, ErrorClass::Interrupted),
            (ErrorKind::InvalidData, ErrorClass::Internal),
            (ErrorKind::IsADirectory, ErrorClass::Internal),
            (ErrorKind::BrokenPipe, ErrorClass::Internal),
            // A slow disk is not a slow registry: nothing here may be retried for hours.
            (ErrorKind::TimedOut, ErrorClass::Internal),
            (ErrorKind::Other, ErrorClass::Internal),
        ] {
            assert_eq!(ErrorClass::of_io(&Error::from(kind)), class, "{kind}");
        }
    }
}
