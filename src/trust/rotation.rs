//! The statement that one key replaces another, signed by both.
//!
//! Anyone who trusts the old key can check that its owner made the new one. The new key signs too,
//! so that another person's key cannot be passed off as a successor. A statement proves nothing
//! about a stolen key: the thief can write one.

use super::base64;
use super::error::TrustError;
use super::key::{PublicKey, SigningKey};
use crate::protocol::Timestamp;

/// The first line of the signed text; no manifest, statement or card begins with it.
const FORMAT: &str = "dockercomms-key-rotation-1";

/// Most rotations that a contact card carries, the newest: anyone who missed more compares
/// fingerprints.
pub const ROTATION_COUNT_MAX: usize = 8;

/// A key was replaced by its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    previous: PublicKey,
    next: PublicKey,
    rotated_at: Timestamp,
    signature: Vec<u8>,
    confirmation: Vec<u8>,
}

impl Rotation {
    /// States that `next` replaces `previous`; both are ours.
    pub fn sign(previous: &SigningKey, next: &SigningKey, rotated_at: Timestamp) -> Self {
        let (old, new) = (previous.public_key(), next.public_key());
        let statement = statement(&old, &new, rotated_at);
        Self {
            signature: previous.sign(&statement),
            confirmation: next.sign(&statement),
            previous: old,
            next: new,
            rotated_at,
        }
    }

    /// Parses a statement that was written to a file, and checks both signatures.
    ///
    /// # Errors
    /// When it is not a statement about these keys, or one of them has not signed it.
    pub fn verify(
        previous: PublicKey,
        next: PublicKey,
        rotated_at: Timestamp,
        signature: &str,
        confirmation: &str,
    ) -> Result<Self, TrustError> {
        let bad = |reason: &str| TrustError::Card { reason: reason.to_owned() };
        let decode = |text: &str| {
            base64::decode(text).ok_or_else(|| bad("a rotation's signature is not base64"))
        };
        let (signature, confirmation) = (decode(signature)?, decode(confirmation)?);
        if previous == next {
            return Err(bad("a key cannot replace itself"));
        }
        let statement = statement(&previous, &next, rotated_at);
        if !previous.verifies(&statement, &signature) {
            return Err(bad("the old key has not signed its replacement"));
        }
        if !next.verifies(&statement, &confirmation) {
            return Err(bad("the new key has not confirmed that it replaces the old one"));
        }
        Ok(Self { previous, next, rotated_at, signature, confirmation })
    }

    /// Returns the key that was replaced.
    pub fn previous(&self) -> &PublicKey {
        &self.previous
    }

    /// Returns its successor.
    pub fn next(&self) -> &PublicKey {
        &self.next
    }

    /// Returns the time of the rotation, by the owner's clock.
    pub fn rotated_at(&self) -> Timestamp {
        self.rotated_at
    }

    /// Returns the old key's signature in base64.
    pub fn signature(&self) -> String {
        base64::encode(&self.signature)
    }

    /// Returns the new key's signature in base64.
    pub fn confirmation(&self) -> String {
        base64::encode(&self.confirmation)
    }
}

/// Returns the bytes that both keys sign. Fingerprints name keys in full: they are SHA-256.
fn statement(previous: &PublicKey, next: &PublicKey, rotated_at: Timestamp) -> Vec<u8> {
    let (old, new) = (previous.fingerprint(), next.fingerprint());
    format!("{FORMAT}\n{old}\n{new}\n{rotated_at}\n").into_bytes()
}
