//! The contact card: what two people exchange before they trust each other.

use std::fmt::Write as _;

use serde::Deserialize;

use super::error::{TrustError, check_len};
use super::key::PublicKey;
use super::limits::KEY_TEXT_LEN_MAX;
use crate::protocol::Identity;
use crate::sys::untrusted::is_deceptive;

/// The only form of a card so far; another one gets another name.
const FORMAT: &str = "dockercomms-contact-card-1";

/// A name and its public key, as their owner gives them away.
///
/// A card proves nothing: whoever takes one compares the fingerprint over another channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactCard {
    /// The name under which the owner sends.
    pub identity: Identity,
    /// The owner's public key.
    pub public_key: PublicKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardFile {
    format: String,
    name: String,
    fingerprint: String,
    public_key: String,
}

impl ContactCard {
    /// Returns the card as TOML.
    pub fn encode(&self) -> String {
        let mut text = String::from(
            "# A contact card. Take it with `dockercomms trust add FILE`, and compare the\n\
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
        text
    }

    /// Reads a card, which may come from anybody.
    ///
    /// # Errors
    /// When it is no card, or its fingerprint is not its key's.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let bad = |reason: &str| TrustError::Card { reason: reason.to_owned() };
        check_len("contact card", text, KEY_TEXT_LEN_MAX)?;
        // The parser's own text would quote the card, which may hold terminal escapes.
        let file: CardFile =
            toml::from_str(text).map_err(|_source| bad("not the TOML of a contact card"))?;
        if file.format != FORMAT {
            return Err(bad("another format; a newer dockercomms may know it"));
        }
        let identity = file.name.parse().map_err(|_source| bad("the name is no identity"))?;
        let public_key = PublicKey::from_pem(&file.public_key)?;
        if public_key.fingerprint() != file.fingerprint {
            return Err(bad("the fingerprint is not the key's; the card was altered"));
        }
        Ok(Self { identity, public_key })
    }
}

/// Returns `text` as a TOML basic string.
///
/// Deceptive characters are escaped: these files are shown on terminals and in editors.
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
