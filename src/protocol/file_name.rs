//! One safe path component, valid by construction (P7).

use std::fmt;
use std::str::FromStr;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use unicode_segmentation::UnicodeSegmentation as _;

use super::error::ProtocolError;
use super::limits::NAME_LEN_MAX;
use super::name_text::refused;
use crate::sys::untrusted::push_escaped;

/// A file name that is safe as one path component.
///
/// UTF-8 in NFC, 1 to 255 bytes, neither `.` nor `..`, no `/`, no control characters, and nothing
/// that turns the reading order beyond the name. Any other text may be in it: it is shown through
/// `Untrusted`.
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
        let text: String = text.nfc().collect();
        let refused = refused(&text);
        let mut safe = String::with_capacity(text.len());
        for (at, c) in text.char_indices() {
            if c == '/' || refused.binary_search(&at).is_ok() {
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
            // Of a name that begins with nothing but marks, whose ends were cut.
            if matches!(safe.as_str(), "" | "." | "..") {
                safe = "unnamed".into();
            }
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
    let kept = stem.get(..cut_at(stem, room)).unwrap_or_default();
    let mut joined = format!("{kept}{suffix}{extension}");
    // What begins in the part that stays may have had its end in the other one.
    for at in refused(&joined).into_iter().rev() {
        joined.remove(at);
    }
    if is_nfc(&joined) { joined } else { joined.nfc().collect() }
}

/// Returns where to cut `text` so that at most `room` bytes stay: between two letters as people
/// see them, unless the first one alone is longer.
fn cut_at(text: &str, room: usize) -> usize {
    let whole = text.grapheme_indices(true).map(|(at, letter)| at + letter.len());
    match whole.take_while(|end| *end <= room).last() {
        Some(end) => end,
        None => text.floor_char_boundary(room),
    }
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
        if !refused(text).is_empty() {
            return bad("has a control character, or turns the reading order and not back");
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

    use super::super::name_text::ORDINARY_NAMES;
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
            ("\u{202d}a\u{202c}.b", "%E2%80%ADa%E2%80%AC.b"),
            ("\u{2066}a", "%E2%81%A6a"),
            ("\u{2066}a\u{2067}b\u{2069}", "%E2%81%A6a\u{2067}b\u{2069}"),
            ("a\u{2069}.pdf", "a%E2%81%A9.pdf"),
            ("a\u{2028}b\u{2029}", "a%E2%80%A8b%E2%80%A9"),
            ("c1\u{9b}\u{7f}", "c1%C2%9B%7F"),
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

    #[test]
    fn letters_and_marks_of_every_script_stay_as_they_are() {
        for (what, text) in ORDINARY_NAMES {
            let name: FileName = text.parse().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(name.as_str(), text, "{what}");
            assert_eq!(FileName::sanitize(text), name, "{what}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_letters_as_people_see_them() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        let half = "\u{915}\u{94d}\u{200d}\u{937}";
        for letter in [family, half, "\u{2764}\u{fe0f}", "1\u{fe0f}\u{20e3}", "\u{1f1e9}\u{1f1ea}"]
        {
            let name = FileName::sanitize(&format!("{}.jpg", letter.repeat(90)));

            let stem = name.as_str().strip_suffix(".jpg").unwrap();
            assert_eq!(stem.len() % letter.len(), 0, "{stem}");
            assert!(stem.len() + letter.len() > 251, "{stem}");
        }
    }

    #[test]
    fn a_name_that_is_cut_closes_every_isolate_that_it_keeps() {
        let cases = [
            (
                format!("\u{2067}{}\u{2069}.pdf", "n".repeat(300)),
                format!("{}.pdf", "n".repeat(248)),
            ),
            (
                format!("{}\u{2067}{}.pdf\u{2069}", "n".repeat(300), "m".repeat(9)),
                format!("{}.pdf", "n".repeat(248)),
            ),
            (format!("{}{}", "\u{2066}".repeat(90), "\u{2069}".repeat(90)), "unnamed".into()),
            (format!("{}.{}.", "\u{2066}".repeat(84), "\u{2069}".repeat(84)), "unnamed".into()),
        ];

        for (given, expected) in cases {
            assert_eq!(FileName::sanitize(&given).as_str(), expected);
        }
    }

    /// Texts of the characters that the rule is about, and of parts of letters.
    fn marked() -> impl Strategy<Value = String> {
        let parts = [
            "\u{2066}",
            "\u{2067}",
            "\u{2068}",
            "\u{2069}",
            "\u{202a}",
            "\u{202b}",
            "\u{202c}",
            "\u{202d}",
            "\u{202e}",
            "\u{200d}",
            "\u{200c}",
            "\u{fe0f}",
            "\u{1f468}",
            "\u{94d}",
            "\u{915}",
            "\u{5d0}",
            "\u{301}",
            "e",
            ".",
            "/",
            "\n",
            "\u{e007f}",
            "long long text ",
        ];
        proptest::collection::vec(proptest::sample::select(parts.to_vec()), 0..200)
            .prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn sanitize_always_gives_a_valid_name(
            text in prop_oneof![any::<String>(), marked()],
            n in 0u32..1000,
        ) {
            let name = FileName::sanitize(&text);
            prop_assert_eq!(name.as_str().parse::<FileName>(), Ok(name.clone()));
            let numbered = name.numbered(n);
            prop_assert_eq!(numbered.as_str().parse::<FileName>(), Ok(numbered.clone()));
        }
    }
}
