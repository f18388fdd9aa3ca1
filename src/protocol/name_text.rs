//! Which characters a file name must not have (P7): controls, and what turns the reading order
//! beyond its own name.
//!
//! Everything else is a letter of some script: joiners and direction marks spell Persian, Hindi and
//! Hebrew, and make one emoji of several. Names of people follow a stricter rule
//! (`sys/untrusted.rs`), since those are compared by eye.

/// Returns where the characters are that P7 refuses, as byte offsets in ascending order.
///
/// An embedding or isolate is harmless within its end: it orders its own part of the name. Without
/// one it turns what stands after the name, and an end without a beginning closes what a program
/// has put around the name.
pub(super) fn refused(text: &str) -> Vec<usize> {
    let mut refused = Vec::new();
    let mut open: Vec<(usize, char)> = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '\u{202A}' | '\u{202B}' => open.push((at, POP_DIRECTIONAL_FORMATTING)),
            '\u{2066}'..='\u{2068}' => open.push((at, POP_DIRECTIONAL_ISOLATE)),
            POP_DIRECTIONAL_FORMATTING | POP_DIRECTIONAL_ISOLATE => {
                let opened = open.pop_if(|(_, end)| *end == c);
                refused.extend(opened.is_none().then_some(at));
            }
            _ if is_always_refused(c) => refused.push(at),
            _ => {}
        }
    }
    refused.extend(open.iter().map(|(at, _)| at));
    refused.sort_unstable();
    refused
}

/// Ends an embedding.
const POP_DIRECTIONAL_FORMATTING: char = '\u{202C}';

/// Ends an isolate.
const POP_DIRECTIONAL_ISOLATE: char = '\u{2069}';

/// Returns whether no name may have `c`: controls, separators of lines and paragraphs, and
/// overrides, which show Latin letters in the wrong order.
fn is_always_refused(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202D}' | '\u{202E}')
}

/// Names that people give, and what they are.
#[cfg(test)]
pub(super) const ORDINARY_NAMES: [(&str, &str); 26] = [
    ("Persian with ZWNJ", "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}.txt"),
    ("Hindi with ZWJ", "\u{915}\u{94d}\u{200d}\u{937}.pdf"),
    ("Hindi, a half letter at the end", "\u{915}\u{94d}\u{200d}.pdf"),
    ("Malayalam chillu", "\u{d28}\u{d4d}\u{200d}.txt"),
    ("Sinhala", "\u{dc1}\u{dca}\u{200d}\u{dbb}\u{dd3}.txt"),
    ("Hebrew with RLM", "\u{5d3}\u{5d5}\u{5d7} (1)\u{200f}.pdf"),
    ("Hebrew with LRM", "\u{5d3}\u{5d5}\u{5d7} C++\u{200e}.pdf"),
    ("Arabic letter mark", "\u{661}\u{61c}-\u{662}.csv"),
    ("Mongolian vowel separator", "\u{182a}\u{180e}\u{1820}"),
    ("Mongolian variation", "\u{1820}\u{180b}"),
    ("Khmer with zero width spaces", "\u{1797}\u{200b}\u{1797}.txt"),
    ("soft hyphen", "Donau\u{ad}dampf.txt"),
    ("word joiner", "a\u{2060}b"),
    ("byte order mark", "\u{feff}a.txt"),
    ("heart with VS16", "\u{2764}\u{fe0f}.png"),
    ("family with ZWJ", "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}.jpg"),
    ("heart on fire", "\u{2764}\u{fe0f}\u{200d}\u{1f525}"),
    ("keycap", "1\u{fe0f}\u{20e3}.txt"),
    ("flag", "\u{1f1e9}\u{1f1ea}.svg"),
    (
        "flag of England, by tag characters",
        "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}.svg",
    ),
    ("ideographic variation", "\u{845b}\u{e0100}.txt"),
    ("isolate with its end", "a \u{2067}\u{5d0}\u{2069} b"),
    ("first strong isolate", "\u{2068}\u{5d0}.pdf\u{2069}"),
    ("embeddings", "\u{202b}\u{5d0}\u{202c}\u{202a}b\u{202c}"),
    ("nested", "\u{2066}a\u{202b}\u{2067}b\u{2069}\u{202c}\u{2069}"),
    ("private use and noncharacters", "\u{e000}\u{fffe}\u{ffff}\u{fdd0}"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_marks_of_every_script_are_taken() {
        for (what, name) in ORDINARY_NAMES {
            assert_eq!(refused(name), [0; 0], "{what}");
        }
    }

    #[test]
    fn controls_overrides_and_isolates_without_their_end_are_refused() {
        let cases: [(&str, &[usize]); 22] = [
            ("\0", &[0]),
            ("a\x1b[2J", &[1]),
            ("a\nb\rc\td", &[1, 3, 5]),
            ("a\u{7f}", &[1]),
            ("\u{85}\u{9b}", &[0, 2]),
            ("a\u{2028}b\u{2029}", &[1, 5]),
            ("exe\u{202e}fdp", &[3]),
            ("\u{202d}a\u{202c}", &[0, 4]),
            ("\u{202e}a\u{202c}.pdf", &[0, 4]),
            ("\u{2066}a", &[0]),
            ("\u{2067}a.pdf", &[0]),
            ("a.\u{2068}pdf", &[2]),
            ("\u{202a}a", &[0]),
            ("a\u{202b}", &[1]),
            ("a\u{2069}b", &[1]),
            ("a\u{202c}b", &[1]),
            ("\u{2069}\u{2066}", &[0, 3]),
            ("\u{2066}a\u{2066}b\u{2069}", &[0]),
            // The end of another kind ends nothing.
            ("\u{2066}a\u{202c}", &[0, 4]),
            ("\u{202a}a\u{2069}", &[0, 4]),
            ("\u{2066}\u{202a}\u{2069}\u{202c}", &[0, 6]),
            ("\u{2066}\u{2069}\u{2069}", &[6]),
        ];

        for (name, expected) in cases {
            assert_eq!(refused(name), expected, "{name:?}");
        }
    }
}
