//! Whether a failed attempt is the last one: a pure table over every error.
//!
//! Final is only what no later attempt can change: permissions are granted, repositories created,
//! limits raised, disks emptied and logins renewed while a file waits. Start at [`Outlook::of`].

use crate::chunk::ChunkError;
use crate::mailbox::MailboxError;
use crate::protocol::ErrorClass;
use crate::registry::RegistryError;
use crate::store::StoreError;
use crate::trust::TrustError;

/// What a failed attempt means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// No later attempt can succeed.
    Final,
    /// This file was refused, or cannot be read, and may be taken later; others may be taken now.
    Refused,
    /// Nothing can be sent now: the registry is away, or this machine lacks something.
    Away,
}

impl Outlook {
    /// Returns what `error` means.
    pub(super) fn of(error: &MailboxError) -> Self {
        match error {
            MailboxError::Registry(error) => Self::of_registry(error),
            MailboxError::Store(error) => Self::of_store(error),
            MailboxError::Chunk(error) => Self::of_chunk(error),
            MailboxError::Trust(error) => Self::of_trust(error),
            MailboxError::Shared(error) => Self::of(error),
            MailboxError::Unconfirmed(error) => Self::of(error),
            MailboxError::Io { source, .. } => Self::of_io(ErrorClass::of_io(source)),
            // Another process holds the file.
            MailboxError::Busy => Self::Refused,
            MailboxError::Interrupted | MailboxError::NotYetSent | MailboxError::TaskLost => {
                Self::Away
            }
            // What we made ourselves is wrong or too large, or what was staged is no longer there.
            MailboxError::Protocol(_)
            | MailboxError::Refused(_)
            | MailboxError::NotFound(_)
            | MailboxError::Exists
            | MailboxError::NotPermitted(_)
            | MailboxError::TooLarge
            | MailboxError::TagMoved { .. }
            | MailboxError::Unrecorded { .. }
            | MailboxError::NotARecipient(_)
            | MailboxError::NearMiss { .. }
            | MailboxError::EmptyAbandoned { .. }
            | MailboxError::Incident(_)
            | MailboxError::Resend(_)
            | MailboxError::DamagedRow => Self::Final,
        }
    }

    /// No answer of a registry is its last word.
    fn of_registry(error: &RegistryError) -> Self {
        match error {
            RegistryError::NotFound { .. }
            | RegistryError::BlobUnknown { .. }
            | RegistryError::Denied { .. }
            | RegistryError::LoginUnreadable { .. }
            | RegistryError::DirectoryDenied { .. }
            | RegistryError::DigestMismatch { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::Malformed { .. }
            | RegistryError::Rejected { .. }
            | RegistryError::NoSpace => Self::Refused,
            RegistryError::WebPage
            | RegistryError::TimedOut
            | RegistryError::Unreachable(_)
            | RegistryError::Throttled { .. }
            | RegistryError::Io(_)
            | RegistryError::Configuration(_) => Self::Away,
        }
    }

    /// What our own database cannot record now must not become a state that only the memory knows.
    fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::Final,
            _ => Self::Away,
        }
    }

    fn of_chunk(error: &ChunkError) -> Self {
        match error {
            ChunkError::TooLarge { .. }
            | ChunkError::BadLayer { .. }
            | ChunkError::Misplaced { .. } => Self::Final,
            // The file's own: those behind it may be sent.
            ChunkError::SourceChanged { .. } | ChunkError::Read(_) => Self::Refused,
            ChunkError::Write(_) | ChunkError::Compressor(_) => Self::Away,
        }
    }

    fn of_trust(error: &TrustError) -> Self {
        match error {
            TrustError::NoRandomness => Self::Away,
            TrustError::KeyEncrypted
            | TrustError::KeyMalformed { .. }
            | TrustError::KeyUnsupported
            | TrustError::Card { .. }
            | TrustError::Store { .. }
            | TrustError::TooLarge { .. }
            | TrustError::Manifest(_) => Self::Final,
        }
    }

    /// A failed operation on the staged file: those behind it may be sent.
    fn of_io(class: ErrorClass) -> Self {
        match class {
            // The staged file itself is gone, or is not one.
            ErrorClass::NotFound | ErrorClass::TooLarge | ErrorClass::Exists => Self::Final,
            ErrorClass::Denied
            | ErrorClass::DirectoryDenied
            | ErrorClass::SignatureBad
            | ErrorClass::SignerUnknown
            | ErrorClass::Expired
            | ErrorClass::Revoked
            | ErrorClass::Corrupt
            | ErrorClass::Malformed
            | ErrorClass::Unreachable
            | ErrorClass::TimedOut
            | ErrorClass::NotPermitted
            | ErrorClass::NotSupported
            | ErrorClass::InvalidName
            | ErrorClass::Interrupted
            | ErrorClass::Busy
            | ErrorClass::Configuration
            | ErrorClass::Internal => Self::Refused,
            // The disk's, for every file.
            ErrorClass::NoSpace | ErrorClass::QuotaExceeded | ErrorClass::ReadOnly => Self::Away,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::protocol::Digest;

    fn rejected(reason: &str) -> RegistryError {
        RegistryError::Rejected { reason: reason.to_owned() }
    }

    #[test]
    fn no_answer_of_a_registry_is_final() {
        for error in [
            RegistryError::not_found("repository"),
            RegistryError::BlobUnknown { digests: Vec::new() },
            RegistryError::Denied { reason: "no push".into() },
            RegistryError::LoginUnreadable { reason: "no helper".into() },
            RegistryError::DirectoryDenied { reason: "no permission" },
            RegistryError::DigestMismatch { expected: Digest::of(b"a"), actual: Digest::of(b"b") },
            RegistryError::TooLarge { what: "manifest", limit: 1 },
            RegistryError::Malformed { reason: "junk".into() },
            rejected("too large for this registry"),
            rejected("not offered by this registry"),
            rejected("in conflict with existing content"),
            rejected("the registry is full"),
            RegistryError::NoSpace,
        ] {
            assert_eq!(Outlook::of(&error.into()), Outlook::Refused);
        }
        for error in [
            RegistryError::WebPage,
            RegistryError::TimedOut,
            RegistryError::Unreachable("refused".into()),
            RegistryError::Throttled { retry_after: None },
            RegistryError::Io(io::Error::other("broken")),
            RegistryError::Configuration("bad name".into()),
        ] {
            assert_eq!(Outlook::of(&error.into()), Outlook::Away);
        }
    }

    #[test]
    fn what_no_attempt_changes_is_final() {
        for error in [
            MailboxError::TooLarge,
            MailboxError::NotPermitted("copy the file again"),
            MailboxError::NotFound("staged file"),
            ChunkError::TooLarge { limit: 1 }.into(),
            MailboxError::io("read the staged file")(io::ErrorKind::NotFound.into()),
            StoreError::NotFound { what: "row" }.into(),
            TrustError::KeyUnsupported.into(),
            MailboxError::Shared(Arc::new(MailboxError::TooLarge)),
        ] {
            assert_eq!(Outlook::of(&error), Outlook::Final, "{error:?}");
        }
    }

    #[test]
    fn what_this_machine_lacks_now_is_waited_for() {
        for error in [
            StoreError::Full.into(),
            StoreError::Busy.into(),
            MailboxError::TaskLost,
            TrustError::NoRandomness.into(),
            MailboxError::io("read the staged file")(io::ErrorKind::StorageFull.into()),
        ] {
            assert_eq!(Outlook::of(&error), Outlook::Away, "{error:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_lets_those_behind_it_pass() {
        for error in [
            MailboxError::Busy,
            MailboxError::io("read the staged file")(io::ErrorKind::PermissionDenied.into()),
            MailboxError::io("read the staged file")(io::Error::other("EIO")),
            ChunkError::Read(io::Error::other("EIO")).into(),
        ] {
            assert_eq!(Outlook::of(&error), Outlook::Refused, "{error:?}");
        }
    }
}
