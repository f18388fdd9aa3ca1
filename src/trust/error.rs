//! Why a key, a contact card or a trust store cannot be used.

use crate::protocol::{ErrorClass, ProtocolError};

/// Why a key, a contact card or a trust store cannot be used.
///
/// These are local files, so the text may quote what is in them; it never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The private key is protected by a passphrase.
    #[error(
        "the private key is encrypted; export it as unencrypted PKCS#8 \
         (`openssl pkcs8 -topk8 -nocrypt`) or make a new one with `dockercomms key new`"
    )]
    KeyEncrypted,
    /// The text is not a key in the expected form.
    #[error("not a usable {what}: {reason}")]
    KeyMalformed {
        /// Which kind of key.
        what: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The key has an algorithm that is not supported.
    #[error("the key is neither ECDSA P-256 nor Ed25519")]
    KeyUnsupported,
    /// The operating system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// The contact card is inconsistent.
    #[error("not a valid contact card: {reason}")]
    Card {
        /// Why.
        reason: String,
    },
    /// The trust store is inconsistent; `place` says where.
    #[error("trust store: {place}: {reason}")]
    Store {
        /// The line or the sender.
        place: String,
        /// Why.
        reason: String,
    },
    /// More bytes than a file of this kind may have.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes to sign are not a manifest.
    #[error("cannot sign: {0}")]
    Manifest(#[from] ProtocolError),
}

impl TrustError {
    /// Returns the class that decides errno and exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::KeyEncrypted
            | Self::KeyMalformed { .. }
            | Self::KeyUnsupported
            | Self::Card { .. }
            | Self::Store { .. }
            | Self::TooLarge { .. } => ErrorClass::Configuration,
            Self::NoRandomness => ErrorClass::Internal,
            Self::Manifest(error) => error.class(),
        }
    }

    pub(super) fn key(what: &'static str, reason: &'static str) -> Self {
        Self::KeyMalformed { what, reason }
    }

    pub(super) fn store(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Store { place: place.into(), reason: reason.into() }
    }
}

/// Checks the length of a local text before it is parsed.
pub(super) fn check_len(what: &'static str, text: &str, limit: usize) -> Result<(), TrustError> {
    if text.len() > limit { Err(TrustError::TooLarge { what, limit }) } else { Ok(()) }
}
