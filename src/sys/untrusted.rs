//! Text from outside: which characters are deceptive, and how it is displayed.

use std::fmt::{self, Write as _};

/// Shows text from a registry or a peer with control and deceptive characters escaped.
///
/// A name or an error page must not move a cursor, ring a bell or reverse the reading order. Joiners
/// and direction marks are shown as they are where they spell something: between characters past
/// ASCII, and beside a letter of a script that is written from right to left.
#[derive(Debug, Clone, Copy)]
pub struct Untrusted<'a>(pub &'a str);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = None;
        let mut rest = self.0.chars();
        while let Some(c) = rest.next() {
            if is_deceptive(c) && !spells(before, c, rest.clone().next()) {
                let mut escaped = String::new();
                push_escaped(&mut escaped, c);
                f.write_str(&escaped)?;
            } else {
                f.write_char(c)?;
            }
            before = Some(c);
        }
        Ok(())
    }
}

/// Returns whether `c` could change what a person sees or where a terminal writes.
///
/// Control characters, bidirectional overrides and isolates, zero-width and tag characters,
/// line and paragraph separators.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}')
}

/// Returns whether `c` is a joiner or a direction mark where a script or an emoji needs one.
fn spells(before: Option<char>, c: char, after: Option<char>) -> bool {
    let is_letter = |c: char| !c.is_ascii() && !is_deceptive(c);
    match c {
        '\u{200C}' | '\u{200D}' => before.is_some_and(is_letter) && after.is_some_and(is_letter),
        '\u{061C}' | '\u{200E}' | '\u{200F}' => {
            before.is_some_and(is_right_to_left) || after.is_some_and(is_right_to_left)
        }
        _ => false,
    }
}

/// Returns whether `c` is in a block of letters that are written from right to left.
fn is_right_to_left(c: char) -> bool {
    let is_in_block = matches!(c,
        '\u{0590}'..='\u{08FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}'
        | '\u{10800}'..='\u{10FFF}' | '\u{1E800}'..='\u{1EFFF}');
    is_in_block && !is_deceptive(c)
}

/// Appends the UTF-8 bytes of `c` as `%XX`.
pub fn push_escaped(out: &mut String, c: char) {
    let mut buffer = [0; 4];
    for byte in c.encode_utf8(&mut buffer).bytes() {
        // Writing to a String cannot fail.
        write!(out, "%{byte:02X}").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_and_bidi_overrides_are_shown_escaped() {
        let shown = Untrusted("a\u{1b}]0;x\u{7}\u{202e}b\r\n\u{e9}").to_string();

        assert_eq!(shown, "a%1B]0;x%07%E2%80%AEb%0D%0A\u{e9}");
    }

    #[test]
    fn joiners_and_direction_marks_are_shown_where_they_spell_something() {
        let shown = [
            "\u{645}\u{6cc}\u{200c}\u{62e}.txt",
            "\u{915}\u{94d}\u{200d}\u{937}",
            "\u{1f468}\u{200d}\u{1f469}",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "\u{5d3}\u{200f}.pdf",
            "a \u{200e}\u{5d3}",
            "\u{661}\u{61c}-",
        ];
        for text in shown {
            assert_eq!(Untrusted(text).to_string(), text);
        }

        let escaped = [
            ("bob\u{200d}", "bob%E2%80%8D"),
            ("bo\u{200c}b", "bo%E2%80%8Cb"),
            ("b\u{f6}\u{200d}b", "b\u{f6}%E2%80%8Db"),
            ("\u{915}\u{200d}\u{200d}\u{937}", "\u{915}%E2%80%8D%E2%80%8D\u{937}"),
            ("\u{200c}", "%E2%80%8C"),
            ("bob\u{200f}", "bob%E2%80%8F"),
            ("\u{61c}\u{61c}", "%D8%9C%D8%9C"),
            ("\u{5d3}\u{202e}\u{5d3}", "\u{5d3}%E2%80%AE\u{5d3}"),
            ("\u{5d3}\u{200b}\u{ad}\u{feff}", "\u{5d3}%E2%80%8B%C2%AD%EF%BB%BF"),
        ];
        for (text, expected) in escaped {
            assert_eq!(Untrusted(text).to_string(), expected);
        }
    }
}
