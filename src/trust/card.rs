//! The contact card: what two people exchange before they trust each other.

use std::fmt::Write as _;

use serde::Deserialize;

use super::error::{TrustError, check_len};
use super::key::PublicKey;
use super::limits::KEY_TEXT_LEN_MAX;
use super::rotation::{ROTATION_COUNT_MAX, Rotation};
use crate::protocol::Identity;
use crate::sys::untrusted::is_deceptive;

/// The only format of a card so far; another one gets another name.
const FORMAT: &str = "dockercomms-contact-card-1";

/// A name and its public key, as their owner publishes them.
///
/// A card proves nothing: the recipient compares the fingerprint over another channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactCard {
    /// The name under which the owner sends.
    pub identity: Identity,
    /// The owner's public key.
    pub public_key: PublicKey,
    /// The rotations that replaced earlier keys, the oldest first; each signed by both keys.
    pub rotations: Vec<Rotation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardFile {
    format: String,
    name: String,
    fingerprint: String,
    public_key: String,
    #[serde(default)]
    rotation: Vec<RotationFile>,
}

/// A rotation as TOML; the successor is the next one's `previous_key`, or for the last one the
/// card's key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotationFile {
    previous_key: String,
    rotated_at: String,
    signature: String,
    confirmation: String,
}

impl ContactCard {
    /// Returns the card as TOML.
    pub fn encode(&self) -> String {
        let mut text = String::from(
            "# A contact card. Add it with `dockercomms trust add FILE`, and compare the\n\
             # fingerprint with its owner over another channel first.\n",
        );
        // Writing to a String cannot fail.
        write!(
            text,
            "format = \"{FORMAT}\"\nname = {}\nfingerprint = \"{}\"\npublic_key = \"\"\"\n{}\"\"\"\n",
            quoted(self.identity.as_str()),
            self.public_key.fingerprint(),
            self.public_key.to_pem()
        )
        .ok();
        for rotation in &self.rotations {
            write!(
                text,
                "\n[[rotation]]\nprevious_key = \"\"\"\n{}\"\"\"\nrotated_at = \"{}\"\n\
                 signature = \"{}\"\nconfirmation = \"{}\"\n",
                rotation.previous().to_pem(),
                rotation.rotated_at(),
                rotation.signature(),
                rotation.confirmation()
            )
            .ok();
        }
        text
    }

    /// Returns the keys that led to this one, the nearest first.
    pub fn previous_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.rotations.iter().rev().map(Rotation::previous)
    }

    /// Parses a card, which may come from anyone.
    ///
    /// # Errors
    /// When it is not a card, its fingerprint is not its key's, or a rotation is not signed by both
    /// keys.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let bad = |reason: &str| TrustError::Card { reason: reason.to_owned() };
        check_len("contact card", text, KEY_TEXT_LEN_MAX)?;
        // The parser's own text would quote the card, which may contain terminal escapes.
        let file: CardFile =
            toml::from_str(text).map_err(|_source| bad("not the TOML of a contact card"))?;
        if file.format != FORMAT {
            return Err(bad("unknown format; a newer dockercomms may support it"));
        }
        let identity =
            file.name.parse().map_err(|_source| bad("the name is not a valid identity"))?;
        let public_key = PublicKey::from_pem(&file.public_key)?;
        if public_key.fingerprint() != file.fingerprint {
            return Err(bad("the fingerprint is not the key's; the card was altered"));
        }
        if file.rotation.len() > ROTATION_COUNT_MAX {
            return Err(bad("too many rotations"));
        }
        let mut rotations = Vec::with_capacity(file.rotation.len());
        let mut next = public_key.clone();
        // Backwards from the card's own key, so that each statement fits the next one.
        for entry in file.rotation.iter().rev() {
            let previous = PublicKey::from_pem(&entry.previous_key)?;
            let rotated_at = entry
                .rotated_at
                .parse()
                .map_err(|_source| bad("the time of a rotation is invalid"))?;
            let (signature, confirmation) = (&entry.signature, &entry.confirmation);
            let rotation = Rotation::verify(previous, next, rotated_at, signature, confirmation)?;
            next = rotation.previous().clone();
            rotations.push(rotation);
        }
        rotations.reverse();
        Ok(Self { identity, public_key, rotations })
    }
}

/// Returns `text` as a TOML basic string.
///
/// Deceptive characters are escaped: these files are displayed in terminals and editors.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            _ if is_deceptive(c) => {
                // Writing to a String cannot fail.
                write!(quoted, "\\U{:08X}", u32::from(c)).ok();
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
