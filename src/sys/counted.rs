//! A number of things, as in a sentence.

use std::fmt;

/// Shows a count with its noun: `1 message`, `2 messages`, `3 entries`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted(pub usize, pub &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = *self;
        match (count, noun.strip_suffix('y')) {
            (1, _) => write!(f, "1 {noun}"),
            (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o']) => write!(f, "{count} {stem}ies"),
            _ => write!(f, "{count} {noun}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_else_plural() {
        for (counted, expected) in [
            (Counted(0, "message"), "0 messages"),
            (Counted(1, "message"), "1 message"),
            (Counted(2, "inbox entry"), "2 inbox entries"),
            (Counted(2, "key"), "2 keys"),
        ] {
            assert_eq!(counted.to_string(), expected);
        }
    }
}
