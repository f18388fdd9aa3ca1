//! Text from outside: which characters are deceptive, and how it is displayed.

use std::fmt::{self, Write as _};

/// Shows text from a registry or a peer with control and deceptive characters escaped.
///
/// A name or an error page must not move a cursor, ring a bell or reverse the reading order.
#[derive(Debug, Clone, Copy)]
pub struct Untrusted<'a>(pub &'a str);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_deceptive(c) {
                let mut escaped = String::new();
                push_escaped(&mut escaped, c);
                f.write_str(&escaped)?;
            } else {
                f.write_char(c)?;
            }
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
}
