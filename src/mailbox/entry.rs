//! What an entry of the outbox is called here, and what its message is called on the wire.
//!
//! A Linux file system tells two spellings of one name apart, and so does `outbox/`: each is a file
//! of its own. The wire knows one spelling, NFC (P7).

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization as _;

use crate::protocol::limits::NAME_LEN_MAX;
use crate::protocol::{FileName, ProtocolError};

/// The name of an entry in a directory of the outbox, spelled as a program spelled it.
///
/// UTF-8, at most 255 bytes, and a [`FileName`] once it is in NFC. Names are equal when their bytes
/// are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName {
    text: String,
    file_name: FileName,
}

impl EntryName {
    /// Returns the name as it is spelled.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the name on the wire (P7); different entries may share it.
    pub fn file_name(&self) -> &FileName {
        &self.file_name
    }

    /// Makes a name from anything; one that is allowed keeps its spelling.
    pub fn sanitize(text: &str) -> Self {
        text.parse().unwrap_or_else(|_refused| FileName::sanitize(text).into())
    }
}

impl From<FileName> for EntryName {
    fn from(file_name: FileName) -> Self {
        Self { text: file_name.as_str().to_owned(), file_name }
    }
}

impl FromStr for EntryName {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // NFC is mostly shorter, and sometimes longer: both have to fit, here and at the recipient's.
        if text.len() > NAME_LEN_MAX {
            let reason = "longer than 255 bytes";
            return Err(ProtocolError::BadName { what: "file name", reason });
        }
        let normalized: String = text.nfc().collect();
        Ok(Self { text: text.to_owned(), file_name: normalized.parse()? })
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_are_two_names_and_one_file_name() {
        for (one, other) in [
            ("caf\u{e9}.txt", "cafe\u{301}.txt"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
            ("\u{212b}", "\u{c5}"),
            ("\u{1e69}", "s\u{307}\u{323}"),
        ] {
            let (one, other): (EntryName, EntryName) =
                (one.parse().unwrap(), other.parse().unwrap());

            assert_ne!(one, other);
            assert_eq!(one.file_name(), other.file_name());
        }
    }

    #[test]
    fn a_name_must_fit_as_it_is_spelled_and_on_the_wire() {
        let fits_in_nfc_alone = "e\u{301}".repeat(100);
        // A composition exclusion: NFC takes it apart.
        let fits_as_spelled_alone = "\u{958}".repeat(50);

        assert!(fits_in_nfc_alone.len() > 255 && fits_as_spelled_alone.len() < 255);
        assert!(fits_in_nfc_alone.parse::<EntryName>().is_err());
        assert!(fits_as_spelled_alone.parse::<EntryName>().is_err());
        assert!("\u{958}".repeat(42).parse::<EntryName>().is_ok());
    }

    #[test]
    fn what_is_not_allowed_becomes_its_safe_form_and_what_is_stays() {
        let decomposed = "cafe\u{301}.txt";

        assert_eq!(EntryName::sanitize(decomposed).as_str(), decomposed);
        assert_eq!(EntryName::sanitize("a/b").as_str(), "a%2Fb");
        for refused in ["", ".", "..", "a/b", "a\nb", "a\u{202e}b"] {
            assert!(refused.parse::<EntryName>().is_err(), "{refused:?}");
        }
    }
}
