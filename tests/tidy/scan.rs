//! Rust source as tokens, without comments and the insides of literals.

/// One identifier, `::` or other character of the code.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
    /// It belongs to an item that only tests compile.
    pub(super) test: bool,
}

/// Returns the tokens of `source`, with the items under `#[cfg(test)]` marked.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = split(&blank(source));
    mark_tests(&mut tokens);
    tokens
}

/// Returns `source` with comments and the insides of literals replaced by spaces, line by line.
pub(super) fn blank(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Returns the end of the comment or literal that starts at `at`, or `at` when none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1);
    match chars[at] {
        '/' if next == Some(&'/') => {
            (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len())
        }
        '/' if next == Some(&'*') => block_comment_end(chars, at),
        '"' => string_end(chars, at),
        '\'' => char_end(chars, at),
        'r' if at == 0 || !is_word(chars[at - 1]) || is_literal_prefix(chars, at) => {
            raw_string_end(chars, at)
        }
        _ => at,
    }
}

/// Returns whether the `r` at `at` follows the `b` or `c` of a literal such as `br"..."`.
fn is_literal_prefix(chars: &[char], at: usize) -> bool {
    matches!(chars[at - 1], 'b' | 'c') && (at < 2 || !is_word(chars[at - 2]))
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Returns the end of a character literal, or `start` for a lifetime.
fn char_end(chars: &[char], start: usize) -> usize {
    if chars.get(start + 1) == Some(&'\\') {
        // The escaped character itself may be a quote.
        let close = (start + 3..chars.len()).find(|i| chars[*i] == '\'');
        return close.map_or(chars.len(), |i| i + 1);
    }
    if chars.get(start + 2) == Some(&'\'') { start + 3 } else { start }
}

/// Returns the end of a raw string, or `start` for any other word that begins with `r`.
fn raw_string_end(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let quote = start + 1 + hashes;
    if chars.get(quote) != Some(&'"') {
        return start;
    }
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    (quote + 1..chars.len()).find(|i| closes(*i)).map_or(chars.len(), |i| i + 1 + hashes)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn split(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let len = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                tokens.push(Token { text: rest[..len].to_owned(), line: index + 1, test: false });
            }
            rest = &rest[len..];
        }
    }
    tokens
}

fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        if !starts_attribute(tokens, at) {
            at += 1;
            continue;
        }
        let attribute_end = group_end(tokens, at + 1);
        if is_test_attribute(&tokens[at..attribute_end]) {
            let end = item_end(tokens, attribute_end);
            for token in &mut tokens[at..end] {
                token.test = true;
            }
            at = end;
        } else {
            at = attribute_end;
        }
    }
}

fn starts_attribute(tokens: &[Token], at: usize) -> bool {
    tokens[at].text == "#" && tokens.get(at + 1).is_some_and(|t| t.text == "[")
}

/// Returns whether an attribute compiles its item for tests only.
fn is_test_attribute(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|t| t.text == word);
    let cfg = attribute.get(2).is_some_and(|t| t.text == "cfg");
    (cfg && has("test") && !has("not")) || (attribute.len() == 4 && has("test"))
}

/// Returns the place after the group that opens at `open`.
fn group_end(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Returns the place after the item, field or statement that starts at `start`.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    while at < tokens.len() && starts_attribute(tokens, at) {
        at = group_end(tokens, at + 1);
    }
    let word = tokens[at..].iter().find(|t| t.text != "pub").map_or("", |t| t.text.as_str());
    let to_semicolon = matches!(word, "use" | "let" | "static" | "type");
    let block_item = matches!(
        word,
        "fn" | "async" | "mod" | "impl" | "struct" | "enum" | "trait" | "const" | "extern" | "("
    );
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" => return at + 1,
            "," if !to_semicolon && !block_item => return at + 1,
            "}" | ")" | "]" => return at,
            "{" if !to_semicolon => return group_end(tokens, at),
            "(" | "[" | "{" => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|t| t.text).filter(|t| is_word_text(t)).collect()
    }

    fn is_word_text(text: &str) -> bool {
        text.chars().all(is_word)
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        let source = r##"a // b
            /* c /* d */ e */ f "g \" h" i r#"j " k"# l b"m" n br"o" p 'q' r '\'' s '"' t"##;

        let found = words(source);

        // `b` is the prefix of the byte strings; the code never uses it as a name.
        let expected = ["a", "f", "i", "l", "b", "n", "b", "p", "r", "s", "t"];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_lifetime_is_no_literal() {
        assert_eq!(
            words("fn f<'a>(x: &'a str) { g('x') }"),
            ["fn", "f", "a", "x", "a", "str", "g"]
        );
    }

    #[test]
    fn lines_are_kept() {
        let found = tokens("/* one\ntwo */\n\"a\nb\" here");

        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 4);
    }

    #[test]
    fn a_raw_identifier_is_no_string() {
        assert_eq!(words("r#type r \"x\" bar\"y\" z"), ["r", "type", "r", "bar", "z"]);
    }

    #[test]
    fn items_for_tests_are_marked_and_nothing_after_them() {
        for item in [
            "#[cfg(test)] mod tests { fn f() { inner(); } }",
            "#[cfg(any(test, feature = \"testing\"))] pub mod inner;",
            "#[cfg(test)] use inner::{a, b};",
            "#[cfg(test)] #[derive(Debug)] pub(crate) struct inner { a: [u8; 3] }",
            "#[cfg(test)] const inner: [u8; 3] = [0; 3];",
            "#[test] fn inner<A, B>(x: (A, B)) {}",
        ] {
            let found = tokens(&format!("before(); {item} after();"));

            let is_test = |word: &str| found.iter().find(|t| t.text == word).map(|t| t.test);
            assert_eq!(is_test("before"), Some(false), "{item}");
            assert_eq!(is_test("inner"), Some(true), "{item}");
            assert_eq!(is_test("after"), Some(false), "{item}");
        }
    }

    #[test]
    fn what_is_compiled_without_tests_is_not_marked() {
        for source in ["#[cfg(not(test))] use inner;", "#[cfg(unix)] fn inner() {}"] {
            assert!(tokens(source).iter().all(|t| !t.test), "{source}");
        }
    }

    #[test]
    fn a_field_for_tests_ends_at_its_comma() {
        let found = tokens("struct S { #[cfg(test)] inner: u8, after: u8 }");

        assert!(found.iter().any(|t| t.text == "inner" && t.test));
        assert!(found.iter().any(|t| t.text == "after" && !t.test));
    }
}
