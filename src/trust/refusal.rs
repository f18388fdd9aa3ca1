//! Why a signature, a message or a receipt is not believed, and what to do about it.

use std::fmt;

use super::role::Role;
use crate::protocol::{ErrorClass, Identity, ProtocolError, Timestamp};
use crate::sys::Untrusted;

/// Why a manifest is not believed.
///
/// The text names the cause and the next step. Names in it are escaped, and nothing else in it
/// comes from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no bundle; it may still arrive (P18).
    NoBundle,
    /// The claimed sender has no entry in the trust store. Nothing was proven about the message.
    UnknownSender {
        /// The name in the manifest.
        claimed: Identity,
        /// The fingerprint that a bundle names; only a claim, to be compared with a contact card.
        claimed_key: Option<String>,
    },
    /// No bundle holds a signature over exactly this manifest.
    BadSignature {
        /// What the most promising bundle lacks.
        reason: &'static str,
    },
    /// The bundle is about this manifest, but names a key that is not one of the sender's.
    UntrustedSigner {
        /// The name in the manifest.
        claimed: Identity,
        /// The fingerprint that the bundle names; only a claim.
        claimed_key: Option<String>,
    },
    /// A certificate signed it, and no rule of the sender's accepts that certificate.
    CertificateRefused {
        /// The name in the manifest.
        claimed: Identity,
        /// Who signed, if that was proven.
        signer: Option<String>,
        /// Why.
        reason: &'static str,
    },
    /// A certificate signed it at a time that is still in the future by our clock.
    SignedInFuture {
        /// When it was signed, according to the log or the timestamp authority.
        signed_at: Timestamp,
    },
    /// The sender's key was revoked.
    Revoked {
        /// Whose key.
        sender: Identity,
        /// Which key.
        fingerprint: String,
    },
    /// The sender's key is no longer valid.
    KeyExpired {
        /// Whose key.
        sender: Identity,
        /// Which key.
        fingerprint: String,
        /// Its last second.
        not_after: Timestamp,
    },
    /// The sender's key is not valid yet.
    KeyNotYetValid {
        /// Whose key.
        sender: Identity,
        /// Which key.
        fingerprint: String,
        /// Its first second.
        not_before: Timestamp,
    },
    /// The sender's key may not sign this kind of manifest.
    RoleNotAllowed {
        /// Whose key.
        sender: Identity,
        /// Which key.
        fingerprint: String,
        /// What it may not sign.
        role: Role,
    },
    /// Another trusted sender signed it under this sender's name (P19).
    SenderMismatch {
        /// The name in the manifest.
        claimed: Identity,
        /// Who signed.
        signer: Identity,
    },
    /// Genuine, but addressed to another recipient (P26).
    Readdressed {
        /// The recipient.
        recipient: Identity,
    },
    /// Genuine, but past its time to live (P6).
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// Genuine, but dated in the future; it may be checked again then (P2).
    FromFuture {
        /// Its date.
        created_at: Timestamp,
    },
    /// A receipt that is not about the message it was matched with (P20).
    ReceiptMismatch {
        /// What disagrees.
        reason: &'static str,
    },
    /// The manifest breaks the protocol.
    Malformed(ProtocolError),
}

impl Refusal {
    /// Returns the reason code that quarantine, `errors` and `--json` show.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoBundle => "no-bundle",
            Self::UnknownSender { .. } => "unknown-sender",
            Self::BadSignature { .. } => "bad-signature",
            Self::UntrustedSigner { .. } | Self::CertificateRefused { .. } => "untrusted-signer",
            Self::Revoked { .. } => "revoked",
            Self::KeyExpired { .. } => "key-expired",
            Self::KeyNotYetValid { .. } => "key-not-yet-valid",
            Self::RoleNotAllowed { .. } => "role-not-allowed",
            Self::SenderMismatch { .. } => "sender-mismatch",
            Self::Readdressed { .. } => "readdressed",
            Self::Expired { .. } => "expired",
            Self::FromFuture { .. } | Self::SignedInFuture { .. } => "pending-future",
            Self::ReceiptMismatch { .. } => "receipt-mismatch",
            Self::Malformed(error) => error.code(),
        }
    }

    /// Returns the class that decides errno and exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoBundle
            | Self::BadSignature { .. }
            | Self::Readdressed { .. }
            | Self::ReceiptMismatch { .. } => ErrorClass::SignatureBad,
            Self::UnknownSender { .. }
            | Self::UntrustedSigner { .. }
            | Self::CertificateRefused { .. }
            | Self::KeyNotYetValid { .. }
            | Self::RoleNotAllowed { .. }
            | Self::SenderMismatch { .. } => ErrorClass::SignerUnknown,
            Self::Revoked { .. } => ErrorClass::Revoked,
            Self::KeyExpired { .. } | Self::Expired { .. } => ErrorClass::Expired,
            Self::FromFuture { .. } | Self::SignedInFuture { .. } => ErrorClass::Malformed,
            Self::Malformed(error) => error.class(),
        }
    }

    /// Returns whether the claimed sender's valid signature was proven all the same.
    ///
    /// Only then may anything be sent back to the sender: an answer to anyone else would be an
    /// oracle.
    pub fn is_genuine(&self) -> bool {
        matches!(self, Self::Readdressed { .. } | Self::Expired { .. } | Self::FromFuture { .. })
    }

    /// Orders refusals by how much was proven; of several bundles the best one's is reported.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Revoked { .. }
            | Self::KeyExpired { .. }
            | Self::KeyNotYetValid { .. }
            | Self::RoleNotAllowed { .. } => 5,
            Self::SenderMismatch { .. } => 4,
            Self::UnknownSender { .. } => 3,
            Self::UntrustedSigner { .. }
            | Self::CertificateRefused { .. }
            | Self::SignedInFuture { .. } => 2,
            Self::BadSignature { .. } => 1,
            _ => 0,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBundle => f.write_str(
                "no signature was found; it may still arrive, else ask the sender to send again",
            ),
            Self::UnknownSender { claimed, claimed_key } => {
                write!(f, "`{claimed}` is not in the trust store")?;
                named_key(f, claimed_key.as_deref())?;
                f.write_str("; ask for their contact card and run `dockercomms trust add CARD`")
            }
            Self::BadSignature { reason } => write!(
                f,
                "no valid signature over this manifest: {reason}; ask the sender to send again"
            ),
            Self::UntrustedSigner { claimed, claimed_key } => {
                write!(f, "signed by none of the keys trusted for `{claimed}`")?;
                named_key(f, claimed_key.as_deref())?;
                f.write_str(
                    "; if they have a new key, compare its fingerprint and add their new card \
                     with `dockercomms trust add CARD`",
                )
            }
            Self::CertificateRefused { claimed, signer, reason } => write!(
                f,
                "signed by {}, which is not trusted for `{claimed}`: {reason}; see \
                 [[sender.identity]] in the trust store",
                signer.as_deref().unwrap_or("a certificate")
            ),
            Self::SignedInFuture { signed_at } => write!(
                f,
                "signed at {signed_at}, which is in the future; check this computer's clock"
            ),
            Self::Revoked { sender, fingerprint } => {
                write!(
                    f,
                    "{} of `{sender}` is revoked; ask for a new contact card",
                    named_signer(fingerprint)
                )
            }
            Self::KeyExpired { sender, fingerprint, not_after } => write!(
                f,
                "{} of `{sender}` was valid until {not_after}; ask for a new contact card, or \
                 extend not_after in the trust store",
                named_signer(fingerprint)
            ),
            Self::KeyNotYetValid { sender, fingerprint, not_before } => write!(
                f,
                "{} of `{sender}` is valid from {not_before}; check this computer's clock and \
                 not_before in the trust store",
                named_signer(fingerprint)
            ),
            Self::RoleNotAllowed { sender, fingerprint, role } => write!(
                f,
                "{} of `{sender}` may not sign a {}; see its roles in the trust store",
                named_signer(fingerprint),
                role.as_str()
            ),
            Self::SenderMismatch { claimed, signer } => write!(
                f,
                "claims to be from `{claimed}` but `{signer}` signed it; ask `{signer}` why"
            ),
            Self::Readdressed { recipient } => write!(
                f,
                "addressed to `{recipient}`, not to you; add that name to your identities if it \
                 is yours"
            ),
            Self::Expired { at } => write!(f, "expired at {at}; ask the sender to send again"),
            Self::FromFuture { created_at } => write!(
                f,
                "dated {created_at}, which is in the future; check this computer's clock and the \
                 sender's"
            ),
            Self::ReceiptMismatch { reason } => {
                write!(f, "the receipt does not belong to the message: {reason}; it is ignored")
            }
            Self::Malformed(error) => {
                write!(f, "not a valid manifest: {error}; the sender's program is at fault")
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Self {
        Self::Malformed(error)
    }
}

/// Returns how a sentence names a signer: certificates say what they are, keys do not.
pub(super) fn named_signer(fingerprint: &str) -> String {
    if fingerprint.starts_with("certificate ") {
        fingerprint.to_owned()
    } else {
        format!("key {fingerprint}")
    }
}

fn named_key(f: &mut fmt::Formatter<'_>, claimed_key: Option<&str>) -> fmt::Result {
    match claimed_key {
        Some(fingerprint) => write!(f, " (the bundle names key {})", Untrusted(fingerprint)),
        None => Ok(()),
    }
}
