//! Why a verb of the mailbox failed, and what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::incident::{Incident, ResendRefusal};
use super::recipient::{Alternatives, NotARecipient, did_you_mean};
use crate::chunk::ChunkError;
use crate::protocol::{Digest, ErrorClass, Identity, ProtocolError};
use crate::registry::{DIRECTORY_DENIED_HINT, RegistryError};
use crate::store::StoreError;
use crate::sys::blocking::TaskLost;
use crate::trust::{Refusal, TrustError};

/// Why a verb of the mailbox failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailboxError {
    /// Bytes or names break the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A chunk layer does not match its manifest.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A key or the trust store cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Verification refused the message.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The local database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same failure reached several waiters.
    #[error(transparent)]
    Shared(#[from] Arc<MailboxError>),
    /// A local file operation failed.
    #[error("cannot {what}")]
    Io {
        /// What was attempted, as a verb phrase.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The name cannot be a new recipient.
    #[error(transparent)]
    NotARecipient(#[from] NotARecipient),
    /// A new recipient has almost the name of known ones. Only a note: the directory was made.
    #[error("`{recipient}` is new here, and almost {}", Alternatives(near))]
    NearMiss {
        /// The new recipient.
        recipient: Identity,
        /// The known ones.
        near: Vec<Identity>,
    },
    /// There is no such object.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The name is taken.
    #[error("a file of this name exists")]
    Exists,
    /// A message is immutable, or a directory is not empty.
    #[error("not permitted: {0}")]
    NotPermitted(&'static str),
    /// The file is larger than the protocol can carry.
    #[error("file is larger than the protocol can carry")]
    TooLarge,
    /// The caller was interrupted; nothing was sent.
    #[error("interrupted; nothing was sent")]
    Interrupted,
    /// Another process is changing the file.
    #[error("the file is still being written")]
    Busy,
    /// The wait ended before the tag was in the registry; the durable queue publishes it.
    #[error("not yet published; the queue publishes it later")]
    NotYetSent,
    /// Everything but the tag is in the registry, and whether the tag is too is unknown.
    #[error("all of it is in the registry, which has not confirmed the tag")]
    Unconfirmed(#[source] Box<MailboxError>),
    /// A checked tag now names another manifest (P25): it was moved.
    #[error("the tag pointed to {before} and now points to {now}; what was delivered stays")]
    TagMoved {
        /// What it named when it was checked.
        before: Digest,
        /// What it names now.
        now: Digest,
    },
    /// A staged file without a row: the row was lost, or a removal was cut short.
    #[error("{} ({len} bytes) is staged, but its recipient is unknown; it is kept", path.display())]
    Unrecorded {
        /// The staged file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The disk changed a row of the outbox: its recipient cannot be known.
    #[error("the disk has changed this row of the outbox; it is neither trusted nor removed")]
    DamagedRow,
    /// An empty file is not sent, because its program did not finish it.
    #[error("an empty file is not sent: {why}")]
    EmptyAbandoned {
        /// What speaks against it.
        why: String,
    },
    /// The registry has changed what we had sent.
    #[error(transparent)]
    Incident(Box<Incident>),
    /// A message is not sent once more.
    #[error(transparent)]
    Resend(#[from] ResendRefusal),
    /// A background task ended without an answer.
    #[error("background task ended early")]
    TaskLost,
}

impl MailboxError {
    pub(crate) fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Returns the class that decides errno and exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Protocol(error) => error.class(),
            Self::Chunk(error) => error.class(),
            Self::Registry(error) => error.class(),
            Self::Trust(error) => error.class(),
            Self::Refused(refusal) => refusal.class(),
            Self::Store(error) => error.class(),
            Self::Shared(error) => error.class(),
            Self::Io { source, .. } => ErrorClass::of_io(source),
            Self::NotARecipient(_) | Self::NearMiss { .. } => ErrorClass::InvalidName,
            Self::NotFound(_) => ErrorClass::NotFound,
            Self::Exists => ErrorClass::Exists,
            Self::NotPermitted(_) | Self::EmptyAbandoned { .. } => ErrorClass::NotPermitted,
            Self::TooLarge => ErrorClass::TooLarge,
            Self::Interrupted => ErrorClass::Interrupted,
            Self::Busy => ErrorClass::Busy,
            Self::NotYetSent => ErrorClass::TimedOut,
            Self::Unconfirmed(error) => error.class(),
            Self::TagMoved { .. } => ErrorClass::Malformed,
            Self::Unrecorded { .. } => ErrorClass::Corrupt,
            Self::Incident(incident) => incident.class(),
            Self::Resend(refusal) => refusal.class(),
            // Not `Corrupt`, which is about bytes of a message: this is the local disk.
            Self::DamagedRow | Self::TaskLost => ErrorClass::Internal,
        }
    }

    /// Returns the code of its line in `.dockercomms/errors`: the class's, or a more specific one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TagMoved { .. } => "tag-moved",
            Self::NearMiss { .. } => "near-miss",
            Self::DamagedRow => "damaged-row",
            Self::EmptyAbandoned { .. } => "abandoned",
            Self::Incident(incident) => incident.code(),
            _ => self.class().code(),
        }
    }

    /// Returns whether this only answers the caller's question: there is no such name, or it is
    /// taken.
    ///
    /// Such an error needs no line in `.dockercomms/errors`; if the registry lost what a listed
    /// message needs, it does.
    pub fn is_plain_answer(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::Exists | Self::Interrupted => true,
            Self::Store(error) => error.class() == ErrorClass::NotFound,
            Self::Shared(error) => error.is_plain_answer(),
            _ => false,
        }
    }

    /// Returns how long the registry asks us to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.registry() {
            Some(RegistryError::Throttled { retry_after }) => *retry_after,
            _ => None,
        }
    }

    /// Returns the registry's error if it is one, whether or not other callers waited for it too.
    pub(super) fn registry(&self) -> Option<&RegistryError> {
        match self {
            Self::Registry(error) => Some(error),
            Self::Shared(error) => error.registry(),
            Self::Unconfirmed(error) => error.registry(),
            _ => None,
        }
    }

    /// Returns what to do next, in one sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Incident(incident) => return Some(incident.hint()),
            Self::Resend(refusal) => return Some(refusal.hint().to_owned()),
            Self::NotARecipient(refused) => return Some(refused.hint()),
            Self::NearMiss { near, .. } => {
                return did_you_mean(near)
                    .map(|question| format!("{question} If so, remove the new directory"));
            }
            Self::Unconfirmed(_) => {
                let hint = "run the same command again, which finishes this message: it arrives \
                            once. A mount does so when it starts";
                return Some(hint.to_owned());
            }
            _ => {}
        }
        if let Some(hint) = self.registry().and_then(RegistryError::hint) {
            return Some(hint.to_owned());
        }
        let hint = match self.class() {
            ErrorClass::NotFound if self.registry().is_some() => {
                "the registry no longer has it; ask the sender to send it again"
            }
            _ if matches!(self, Self::TagMoved { .. }) => {
                "ask who else can push to the repository; the sender knows which message is right"
            }
            _ if matches!(self, Self::Unrecorded { .. }) => {
                "check whether this file ever arrived; if not, copy it from there; \
                 `dockercomms gc` removes it"
            }
            _ if matches!(self, Self::DamagedRow) => {
                "check the disk; if it is not yet sent, another line names the staged file: copy it \
                 from there, and remove it; then `dockercomms gc` forgets the row"
            }
            _ if matches!(self, Self::EmptyAbandoned { .. }) => {
                "run the program again, or remove the file; `truncate -s 0 FILE` sends it empty"
            }
            class => return Self::hint_of(class),
        };
        Some(hint.to_owned())
    }

    /// Returns what to do next about an error of this class, in one sentence.
    pub fn hint_of(class: ErrorClass) -> Option<String> {
        let hint = match class {
            ErrorClass::Denied => "run `docker login` for the registry, or ask for push permission",
            ErrorClass::DirectoryDenied => DIRECTORY_DENIED_HINT,
            ErrorClass::Unreachable | ErrorClass::TimedOut => {
                "check the network and the registry with `dockercomms doctor`, then try again"
            }
            ErrorClass::NoSpace | ErrorClass::QuotaExceeded => {
                "free space on the disk of the state or the repository, then try again"
            }
            ErrorClass::Corrupt => {
                "the registry returned bytes that were not signed; ask its operator, or read again"
            }
            ErrorClass::SignerUnknown => {
                "compare the fingerprint with the sender, then `dockercomms trust add CARD`"
            }
            ErrorClass::SignatureBad | ErrorClass::Malformed => {
                "ask the sender to send it again; `dockercomms verify REF --explain` says more"
            }
            ErrorClass::Expired | ErrorClass::Revoked => "ask the sender for a new message or key",
            ErrorClass::Busy => "wait until the other program has finished",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<Incident> for MailboxError {
    fn from(incident: Incident) -> Self {
        Self::Incident(Box::new(incident))
    }
}

impl From<TaskLost> for MailboxError {
    fn from(_lost: TaskLost) -> Self {
        Self::TaskLost
    }
}
