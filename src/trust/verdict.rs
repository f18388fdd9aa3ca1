//! Types that state what has been proven about a message.

use std::fmt;

use bytes::Bytes;

use super::refusal::Refusal;
use crate::protocol::{Digest, Envelope, FileName, Identity, Message, ProtocolError};

/// The proven signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The name of the trust store's entry.
    pub sender: Identity,
    /// The fingerprint of the key that signed; for a certificate, whose key is used only once,
    /// `certificate SUBJECT from ISSUER` instead.
    pub key_fingerprint: String,
}

/// A message manifest that parsed: its digest is known, everything else is a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedMessage {
    digest: Digest,
    manifest: Bytes,
    message: Message,
}

impl UnverifiedMessage {
    /// Parses and hashes the exact bytes received; a digest from elsewhere is never used.
    ///
    /// # Errors
    /// When the manifest breaks the protocol.
    pub fn parse(manifest: Bytes) -> Result<Self, ProtocolError> {
        let message = Message::parse(&manifest)?;
        Ok(Self { digest: Digest::of(&manifest), manifest, message })
    }

    /// Returns the digest of the bytes: the message's identity (P25).
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the bytes as received.
    pub fn manifest(&self) -> &Bytes {
        &self.manifest
    }

    /// Returns what the manifest says; nothing has been proven about it.
    pub fn claims(&self) -> &Message {
        &self.message
    }
}

/// A message that was signed by its sender, addressed to me and current when it was verified.
///
/// Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedMessage {
    message: UnverifiedMessage,
    signer: Signer,
}

impl VerifiedMessage {
    pub(super) fn new(message: UnverifiedMessage, signer: Signer) -> Self {
        Self { message, signer }
    }

    /// Restores what was verified before, from a row of our own durable database.
    ///
    /// The row must have been written from a [`VerifiedMessage`] and from nothing else. The bytes
    /// are hashed and parsed again, and must still name the sender; signatures and trust store are
    /// not checked again.
    ///
    /// # Errors
    /// When the bytes are not a message of `sender`: the row is damaged.
    pub fn from_trusted_store(
        manifest: Bytes,
        sender: Identity,
        key_fingerprint: String,
    ) -> Result<Self, ProtocolError> {
        let message = UnverifiedMessage::parse(manifest)?;
        if message.message.envelope.sender != sender {
            return Err(ProtocolError::BadField {
                field: "dockercomms.sender",
                reason: "not the sender that was verified",
            });
        }
        Ok(Self { message, signer: Signer { sender, key_fingerprint } })
    }

    /// Returns the message's identity (P25).
    pub fn digest(&self) -> &Digest {
        &self.message.digest
    }

    /// Returns the signed bytes.
    pub fn manifest(&self) -> &Bytes {
        &self.message.manifest
    }

    /// Returns the signed content.
    pub fn message(&self) -> &Message {
        &self.message.message
    }

    /// Returns the signed envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.message.message.envelope
    }

    /// Returns the proven sender.
    pub fn sender(&self) -> &Identity {
        &self.signer.sender
    }

    /// Returns who signed.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Returns the file's name, made safe (P7).
    pub fn file_name(&self) -> FileName {
        FileName::sanitize(&self.message.message.envelope.filename)
    }
}

/// A message that was refused, and why. It is returned so that quarantine can list its claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedMessage {
    /// Why.
    pub refusal: Refusal,
    /// What was refused.
    pub message: UnverifiedMessage,
}

impl fmt::Display for RefusedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.refusal, f)
    }
}

impl std::error::Error for RefusedMessage {}
