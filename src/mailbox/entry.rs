//! What an entry of the outbox is called here, and what its message is called on the wire.
//!
//! A Linux file system tells two spellings of one name apart, and so does `outbox/`: each is a file
//! of its own. The wire knows one spelling, NFC (P7). An [`EntryPath`] says where a file lies.

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

/// Where a file lies below its recipient: in the recipient's directory, or in a local one in there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryPath {
    text: String,
    directory: Option<EntryName>,
    name: EntryName,
}

impl EntryPath {
    /// Returns the path of `name` in `directory`, or directly below the recipient.
    pub fn new(directory: Option<EntryName>, name: EntryName) -> Self {
        let text = below(directory.as_ref().map(EntryName::as_str), name.as_str());
        Self { text, directory, name }
    }

    /// Returns the path of a row; one that was never valid gets its safe form.
    pub(super) fn stored(directory: Option<&str>, name: &str) -> Self {
        Self::new(directory.map(EntryName::sanitize), EntryName::sanitize(name))
    }

    /// Returns the path below the recipient's directory: `report.pdf` or `.~tmp~/report.pdf`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the directory below the recipient's; what lies in one stays local.
    pub fn directory(&self) -> Option<&EntryName> {
        self.directory.as_ref()
    }

    /// Returns the name in its directory.
    pub fn name(&self) -> &EntryName {
        &self.name
    }

    /// Returns the name on the wire (P7).
    pub fn file_name(&self) -> &FileName {
        self.name.file_name()
    }
}

/// Returns the path of `name` below a recipient, as text.
pub(super) fn below(directory: Option<&str>, name: &str) -> String {
    directory.map_or_else(|| name.to_owned(), |directory| format!("{directory}/{name}"))
}

impl From<EntryName> for EntryPath {
    fn from(name: EntryName) -> Self {
        Self::new(None, name)
    }
}

impl FromStr for EntryPath {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((directory, name)) => Ok(Self::new(Some(directory.parse()?), name.parse()?)),
            None => Ok(text.parse::<EntryName>()?.into()),
        }
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_at_most_one_directory() {
        let flat: EntryPath = "cafe\u{301}".parse().unwrap();
        let deep: EntryPath = ".~tmp~/cafe\u{301}".parse().unwrap();

        assert_eq!((flat.as_str(), flat.directory()), ("cafe\u{301}", None));
        assert_eq!(deep.as_str(), ".~tmp~/cafe\u{301}");
        assert_eq!(deep.directory().map(EntryName::as_str), Some(".~tmp~"));
        assert_eq!(deep.name(), flat.name());
        assert_eq!(deep.file_name().as_str(), "caf\u{e9}");
        for refused in ["a/b/c", "/a", "a/", "a//b", "../a", "a/..", "", "/"] {
            assert!(refused.parse::<EntryPath>().is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_row_has_the_path_that_was_written_into_it() {
        for path in ["report.pdf", ".~tmp~/report.pdf"] {
            let path: EntryPath = path.parse().unwrap();
            let directory = path.directory().map(EntryName::as_str);

            assert_eq!(EntryPath::stored(directory, path.name().as_str()), path);
        }
        assert_eq!(EntryPath::stored(Some("a/b"), "c/d").as_str(), "a%2Fb/c%2Fd");
    }

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
