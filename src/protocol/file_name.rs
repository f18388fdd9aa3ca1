//! One safe path component, valid by construction (P7).

use std::fmt;
use std::str::FromStr;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::error::ProtocolError;
use super::limits::NAME_LEN_MAX;
use crate::sys::untrusted::{is_deceptive, push_escaped};

/// A file name that is safe as one path component and on a terminal.
///
/// UTF-8 in NFC, 1 to 255 bytes, neither `.` nor `..`, no `/`, no control or deceptive characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(String);

impl FileName {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a safe name from anything a peer may have written.
    ///
    /// What the rule does not allow is percent-escaped, so different names mostly stay different;
    /// a name that is too long loses its middle and keeps its extension. The result is never a
    /// path, and names that are already safe do not change.
    pub fn sanitize(text: &str) -> Self {
        if let Ok(name) = text.parse() {
            return name;
        }
        let mut safe = String::with_capacity(text.len());
        for c in text.nfc() {
            if c == '/' || is_deceptive(c) {
                push_escaped(&mut safe, c);
            } else {
                safe.push(c);
            }
        }
        // An accent may now follow the last letter of an escape and combine with it.
        if !is_nfc(&safe) {
            safe = safe.nfc().collect();
        }
        match safe.as_str() {
            "" => safe.push_str("unnamed"),
            "." => safe = "%2E".into(),
            ".." => safe = "%2E%2E".into(),
            _ => {}
        }
        if safe.len() > NAME_LEN_MAX {
            safe = shortened(&safe, NAME_LEN_MAX, "");
        }
        Self(safe)
    }

    /// Returns the name of the `n`-th message with this name in a listing: `report (2).pdf`.
    pub fn numbered(&self, n: u32) -> Self {
        if n < 2 {
            return self.clone();
        }
        Self(shortened(&self.0, NAME_LEN_MAX, &format!(" ({n})")))
    }
}

/// Splits `name` into stem and extension (with its dot); a leading dot starts no extension.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= 20 => name.split_at(at),
        _ => (name, ""),
    }
}

/// Inserts `suffix` before the extension and cuts the stem so that all fits in `len_max` bytes.
fn shortened(name: &str, len_max: usize, suffix: &str) -> String {
    let (stem, extension) = split_extension(name);
    let room = len_max.saturating_sub(suffix.len() + extension.len());
    let mut cut = stem.len().min(room);
    while !stem.is_char_boundary(cut) {
        cut -= 1;
    }
    let (kept, _) = stem.split_at(cut);
    // A cut between a letter and its accent must not leave a form that is not NFC.
    let joined = format!("{kept}{suffix}{extension}");
    if is_nfc(&joined) { joined } else { joined.nfc().collect() }
}

impl FromStr for FileName {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |reason| Err(ProtocolError::BadName { what: "file name", reason });
        if text.is_empty() {
            return bad("empty");
        }
        if text.len() > NAME_LEN_MAX {
            return bad("longer than 255 bytes");
        }
        if text == "." || text == ".." {
            return bad("a directory");
        }
        if text.contains('/') {
            return bad("has a slash");
        }
        if text.chars().any(is_deceptive) {
            return bad("has a control or bidirectional character");
        }
        if !is_nfc(text) {
            return bad("not in Unicode normal form C");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_become_one_harmless_component() {
        let cases = [
            ("../x", "..%2Fx"),
            ("a/b", "a%2Fb"),
            ("", "unnamed"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("a\u{1b}[2J", "a%1B[2J"),
            ("exe\u{202e}fdp", "exe%E2%80%AEfdp"),
            ("nul\0", "nul%00"),
            ("line\nbreak", "line%0Abreak"),
            ("cafe\u{301}", "caf\u{e9}"),
            ("-rf", "-rf"),
            ("%2e%2e", "%2e%2e"),
            ("$(id)", "$(id)"),
        ];

        for (given, expected) in cases {
            assert_eq!(FileName::sanitize(given).as_str(), expected);
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let name = FileName::sanitize(&format!("{}.pdf", "\u{e9}".repeat(200)));

        assert!(name.as_str().len() <= 255);
        assert!(name.as_str().ends_with("\u{e9}.pdf"));
    }

    #[test]
    fn numbered_names_put_the_number_before_the_extension() {
        let cases = [
            ("report.pdf", "report (2).pdf"),
            ("Makefile", "Makefile (2)"),
            (".bashrc", ".bashrc (2)"),
            ("a.tar.gz", "a.tar (2).gz"),
        ];

        for (given, expected) in cases {
            let name: FileName = given.parse().unwrap();
            assert_eq!(name.numbered(2).as_str(), expected);
            assert_eq!(name.numbered(1), name);
        }
    }

    proptest! {
        #[test]
        fn sanitize_always_gives_a_valid_name(text in any::<String>(), n in 0u32..1000) {
            let name = FileName::sanitize(&text);
            prop_assert_eq!(name.as_str().parse::<FileName>(), Ok(name.clone()));
            let numbered = name.numbered(n);
            prop_assert_eq!(numbered.as_str().parse::<FileName>(), Ok(numbered.clone()));
        }
    }
}
