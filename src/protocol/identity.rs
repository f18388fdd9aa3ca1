//! Names of senders and recipients, and the tag prefix that addresses one.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32HEX_NOPAD;
use sha2::{Digest as _, Sha256};

use super::error::ProtocolError;
use super::limits::NAME_LEN_MAX;
use crate::sys::untrusted::{is_deceptive, push_escaped};

/// The name of a sender or recipient: exact bytes, case-sensitive (P1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(String);

impl Identity {
    /// Returns the exact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the prefix that addresses this identity in tags.
    pub fn recipient_tag(&self) -> RecipientTag {
        let full = BASE32HEX_NOPAD.encode(&Sha256::digest(self.0.as_bytes())).to_lowercase();
        RecipientTag(full.chars().take(RecipientTag::LEN).collect())
    }

    /// Returns the name of this identity's directory in a mount.
    ///
    /// `/`, `%`, deceptive characters and the names `.` and `..` are percent-escaped, so the name
    /// is one path component and [`Identity::from_dir_name`] is its inverse. So are `,` and a leading
    /// `@`, which are left to directories that stand for several recipients.
    pub fn dir_name(&self) -> String {
        if self.0.chars().all(|c| c == '.') {
            return self.0.replace('.', "%2E");
        }
        let mut name = String::with_capacity(self.0.len());
        for (at, c) in self.0.char_indices() {
            let is_reserved = matches!(c, '/' | '%' | ',') || (c == '@' && at == 0);
            if is_reserved || is_deceptive(c) {
                push_escaped(&mut name, c);
            } else {
                name.push(c);
            }
        }
        name
    }

    /// Reads an identity from the name of its directory.
    ///
    /// # Errors
    /// When the name does not decode to an identity, or is not that identity's only encoding.
    pub fn from_dir_name(name: &str) -> Result<Self, ProtocolError> {
        let bad = |reason| ProtocolError::BadName { what: "identity", reason };
        let mut bytes = Vec::with_capacity(name.len());
        let mut rest = name.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            if first != b'%' {
                bytes.push(first);
                continue;
            }
            let (code, tail) = rest.split_at_checked(2).ok_or_else(|| bad("stray %"))?;
            let code = data_encoding::HEXUPPER.decode(code).map_err(|_source| bad("stray %"))?;
            bytes.extend_from_slice(&code);
            rest = tail;
        }
        let identity: Self =
            String::from_utf8(bytes).map_err(|_source| bad("not UTF-8"))?.parse()?;
        if identity.dir_name() != name {
            return Err(bad("not in its one escaped form"));
        }
        Ok(identity)
    }
}

impl FromStr for Identity {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |reason| Err(ProtocolError::BadName { what: "identity", reason });
        if text.is_empty() {
            return bad("empty");
        }
        if text.len() > NAME_LEN_MAX {
            return bad("longer than 255 bytes");
        }
        if text.chars().any(char::is_control) {
            return bad("has a control character");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Identity {
    /// Writes the escaped form, which is safe on a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dir_name())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// `lower(base32hex(sha256(recipient)))[:26]`, by the specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecipientTag(String);

impl RecipientTag {
    /// Its length in characters.
    pub const LEN: usize = 26;

    /// Returns the 26 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RecipientTag {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == Self::LEN
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'v').contains(&b));
        if !well_formed {
            return Err(ProtocolError::bad("tag", "recipient part is not 26 base32hex digits"));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recipient_tags_equal_the_published_vectors() {
        let vectors = [
            ("alice@example.com", "vu6pg6fs1o9bu394h4n4b63u4i"),
            ("Alice@example.com", "pmu77ghn3i1a46iessj7v8f4jr"),
            ("bob", "g6r3fm7sqb3dkoqpsqb324t12s"),
            ("team-a", "ir18gr2hq7fr940tjvmcvtj22f"),
        ];

        for (name, tag) in vectors {
            let identity: Identity = name.parse().unwrap();
            assert_eq!(identity.recipient_tag().as_str(), tag);
            assert_eq!(tag.parse(), Ok(identity.recipient_tag()));
        }
        assert_eq!(Identity(String::new()).recipient_tag().as_str(), "seoc8gkovge196nruj49irtp4g");
    }

    #[test]
    fn names_that_are_no_identity_are_refused() {
        for text in ["", "a\nb", "\u{1b}[2J", "tab\t", &"x".repeat(256)] {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_directory_name_is_one_component() {
        for (name, dir) in [
            ("a/b", "a%2Fb"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("50%", "50%25"),
            ("x@y", "x@y"),
            ("a@x,b@y", "a@x%2Cb@y"),
            (",", "%2C"),
            ("@team", "%40team"),
            ("@@", "%40@"),
            ("@a,@b", "%40a%2C@b"),
        ] {
            let identity: Identity = name.parse().unwrap();
            assert_eq!(identity.dir_name(), dir);
            assert_eq!(Identity::from_dir_name(dir), Ok(identity));
        }
        for dir in ["..", "a%2fb", "%", "%4", "%41", "a/b", "a,b", "@team", "x%40y", "a%2cb"] {
            assert!(Identity::from_dir_name(dir).is_err(), "{dir}");
        }
    }

    proptest! {
        #[test]
        fn dir_name_round_trips(text in "\\PC{1,40}") {
            let identity: Identity = text.parse().unwrap();
            prop_assert!(!identity.dir_name().contains('/'));
            prop_assert_eq!(Identity::from_dir_name(&identity.dir_name()), Ok(identity));
        }
    }
}
