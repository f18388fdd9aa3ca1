//! Patterns of names, as the settings `temporary_names` and `outbox_new` have them.
//!
//! Pure: `*` stands for any run of characters, `?` for one character, `XXXXXX` for six random letters
//! and digits, as in mktemp(1). Start at [`matches_any`].
//!
//! **Invariant:** matching ends after at most as many steps as the pattern times the name is long.

/// In a pattern: six random letters and digits, as in mktemp(1).
const RANDOM: &str = "XXXXXX";

/// Returns whether `name` matches one of `patterns`.
pub(super) fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

/// Returns whether `text` looks as if mkstemp(3) had drawn it, and not as if a person had written it:
/// it has a capital, and is not a word such as `README`, `Backup` or `DRAFT2`.
///
/// Of the 62^6 names that mkstemp draws, 3.8 % have no capital (36^6) and 1.8 % are words, in capitals
/// or with one in front, with or without a number behind (for each kind the sum of 26^k 10^(6-k)): more
/// than nine of ten are recognized. The others are signed once more under their final name. In
/// exchange `.env.sample`, `.env.SAMPLE`, `.log.202401` and `.log.2024q1` are sent.
pub(super) fn is_random(text: &str) -> bool {
    let is_drawn = text.len() == RANDOM.len() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let word = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_word = word.bytes().all(|b| b.is_ascii_uppercase())
        || word.bytes().skip(1).all(|b| b.is_ascii_lowercase());
    is_drawn && !is_word && text.bytes().any(|b| b.is_ascii_uppercase())
}

/// Matches `name` against `pattern`, with one place to return to: the last `*`.
///
/// What stands between two `*` has a fixed length, so its first occurrence is as good as any other.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut rest) = (pattern, name);
    let mut last_star = None;
    loop {
        if let Some(behind) = pattern.strip_prefix('*') {
            (pattern, last_star) = (behind, Some((behind, rest)));
        } else if pattern.is_empty() && rest.is_empty() {
            return true;
        } else if let Some(advanced) = advance(pattern, rest) {
            (pattern, rest) = advanced;
        } else {
            // The `*` takes one more character.
            let Some((behind, from)) = last_star else { return false };
            let mut chars = from.chars();
            if chars.next().is_none() {
                return false;
            }
            (pattern, rest) = (behind, chars.as_str());
            last_star = Some((behind, rest));
        }
    }
}

/// Matches the first element of `pattern` with the beginning of `name`; returns what is left.
fn advance<'a>(pattern: &'a str, name: &'a str) -> Option<(&'a str, &'a str)> {
    if let Some(behind) = pattern.strip_prefix(RANDOM) {
        let (drawn, rest) = name.split_at_checked(RANDOM.len())?;
        return is_random(drawn).then_some((behind, rest));
    }
    let (mut wanted, mut found) = (pattern.chars(), name.chars());
    let (element, character) = (wanted.next()?, found.next()?);
    (element == '?' || element == character).then_some((wanted.as_str(), found.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_language_of_patterns() {
        for (pattern, name) in [
            ("", ""),
            ("*", ""),
            ("*", "a"),
            ("**", "ab"),
            ("a*", "a"),
            ("a*b*c", "aXbYc"),
            ("*ab", "aab"),
            ("?", "\u{e9}"),
            ("a?c", "abc"),
            ("*?", "a"),
            ("XXXXXX", "aB3dE6"),
            ("*XXXXXXz", "aB3dE6aB3dE6z"),
            ("XXXXXXX", "aB3dE6X"),
            ("[a]", "[a]"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("?", ""),
            ("*?", ""),
            ("a*b", "ab c"),
            ("ab*ba", "aba"),
            ("XXXXXX", "aB3dE"),
            ("XXXXXX", "aB3d\u{e9}"),
            ("XXXXXX", "abcdef"),
            ("XXXXXX", "XXXXXX"),
            ("XXXXX", "aB3dE"),
            ("[a]", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_its_size_allows() {
        let pattern = "*a".repeat(10_000) + "b";

        assert!(!matches(&pattern, &"a".repeat(255)));
        assert!(matches(&"*".repeat(10_000), &"a".repeat(255)));
    }

    /// The definition, in exponential time.
    fn defined(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', behind @ ..], _) => {
                (0..=name.len()).any(|taken| defined(behind, &name[taken..]))
            }
            (['X', 'X', 'X', 'X', 'X', 'X', behind @ ..], _) => {
                name.len() >= 6 && {
                    let (drawn, rest) = name.split_at(6);
                    is_random(&drawn.iter().collect::<String>()) && defined(behind, rest)
                }
            }
            ([element, behind @ ..], [character, rest @ ..]) => {
                (*element == '?' || element == character) && defined(behind, rest)
            }
            (_, []) | ([], _) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_its_definition_says(
            pattern in "(\\*|\\?|a|B|XXXXXX|X){0,6}",
            name in "[aBX\u{e9}]{0,14}",
        ) {
            let of = |text: &str| text.chars().collect::<Vec<_>>();

            prop_assert_eq!(matches(&pattern, &name), defined(&of(&pattern), &of(&name)));
        }

        #[test]
        fn any_text_is_a_pattern(pattern in ".{0,40}", name in ".{0,40}") {
            matches(&pattern, &name);
            prop_assert!(matches("*", &name));
        }
    }
}
