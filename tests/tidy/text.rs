//! What must not be in the text: unfinished work, look-alike letters, traces of one machine.

use super::scan::tokens;
use super::tree;

/// Marks of unfinished work. Split, so that this file does not contain them.
const UNFINISHED: [&str; 5] = [
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("HA", "CK:"),
];

/// Words that reveal where or by whom something was made, which readers need not know.
const TRACES: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/user"),
    concat!("farm-", "bench"),
    concat!("sub", "agent"),
];

/// The hosts that product, scripts and settings may name: an unknown one is a mirror or a mistake.
const HOSTS: [&str; 15] = [
    "apache.org",
    "auth.docker.io",
    "deb.debian.org",
    "dl.google.com",
    "docs.rs",
    "ghcr.io",
    "github.com",
    "githubusercontent.com",
    "in-toto.io",
    "index.docker.io",
    "nexte.st",
    "registry-1.docker.io",
    "rustup.rs",
    "sigstage.dev",
    "sigstore.dev",
];

/// Ends of host names that have no owner (RFC 2606), or belong to this machine only.
const RESERVED: [&str; 6] =
    [".example", "example.com", "example.org", "example.net", ".invalid", "localhost"];

#[test]
fn source_is_ascii() {
    let complaints: Vec<String> = tree::product()
        .iter()
        .filter(|m| !m.test)
        .flat_map(|m| not_ascii(&m.file, &m.text))
        .collect();

    super::expect_none("source is ASCII (tests may quote anything)", &complaints);
}

fn not_ascii(file: &str, text: &str) -> Vec<String> {
    let test_from = tokens(text).iter().find(|t| t.test).map_or(usize::MAX, |t| t.line);
    let lines = text.lines().enumerate().take_while(|(index, _)| index + 1 < test_from);
    let found = lines.filter_map(|(index, line)| {
        let c = line.chars().find(|c| !c.is_ascii())?;
        Some(format!("{file}:{}: `{}`", index + 1, c.escape_unicode()))
    });
    found.collect()
}

#[test]
fn a_letter_that_is_not_ascii_is_found() {
    assert_eq!(not_ascii("x.rs", "fn f() {}\n// a \u{2013} b"), ["x.rs:2: `\\u{2013}`"]);
    assert!(not_ascii("x.rs", "#[cfg(test)] mod t { const A: &str = \"\u{e9}\"; }").is_empty());
}

#[test]
fn nothing_is_unfinished() {
    let complaints: Vec<String> =
        all_text().iter().flat_map(|(file, text)| contains_any(file, text, &UNFINISHED)).collect();

    super::expect_none("nothing is unfinished", &complaints);
}

#[test]
fn nothing_tells_where_it_was_made() {
    let complaints: Vec<String> =
        all_text().iter().flat_map(|(file, text)| contains_any(file, text, &TRACES)).collect();

    super::expect_none("nothing reveals where it was made", &complaints);
}

/// Returns every text file of the repository with its content.
fn all_text() -> Vec<(String, String)> {
    let files = tree::files("").into_iter();
    files.map(|file| (tree::read(&file), file)).map(|(text, file)| (file, text)).collect()
}

fn contains_any(file: &str, text: &str, words: &[&str]) -> Vec<String> {
    let found = text.lines().enumerate().filter_map(|(index, line)| {
        let word = words.iter().find(|word| is_in(line, word))?;
        Some(format!("{file}:{}: `{word}`", index + 1))
    });
    found.collect()
}

/// Returns whether `word` occurs in `line` on its own and not inside a longer word.
fn is_in(line: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    // The start of an absolute path follows no other part of a path.
    let starts = |at: usize| !line[..at].ends_with(in_word);
    let ends =
        |at: usize| !word.ends_with(char::is_alphanumeric) || !line[at..].starts_with(in_word);
    line.match_indices(word).any(|(at, _)| starts(at) && ends(at + word.len()))
}

#[test]
fn unfinished_work_and_traces_are_found() {
    for word in UNFINISHED.iter().chain(&TRACES) {
        let text = format!("first\n// see {word} here");

        assert_eq!(contains_any("x", &text, &[*word]).len(), 1, "{word}");
    }
    assert!(contains_any("x", "AUTODOCS", &UNFINISHED).is_empty());
    assert!(contains_any("x", concat!("profiles/wo", "rk/key"), &TRACES).is_empty());
}

#[test]
fn nothing_is_unsafe_or_ignored() {
    let complaints: Vec<String> = tree::product()
        .iter()
        .chain(&tree::suite())
        .flat_map(|m| forbidden_code(&m.file, &m.text))
        .collect();

    super::expect_none("no unsafe code, no test that does not run", &complaints);
}

fn forbidden_code(file: &str, text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut complaints = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = |n: usize| at.checked_sub(n).map_or("", |at| tokens[at].text.as_str());
        let bad = match token.text.as_str() {
            // `unsafe_code`, the name of the lint, is another word.
            "unsafe" => true,
            "ignore" => before(1) == "[" && before(2) == "#",
            _ => false,
        };
        if bad {
            complaints.push(format!("{file}:{}: `{}`", token.line, token.text));
        }
    }
    complaints
}

#[test]
fn unsafe_and_ignored_are_found() {
    assert_eq!(forbidden_code("x.rs", "\nfn f() { unsafe { g() } }"), ["x.rs:2: `unsafe`"]);
    assert_eq!(forbidden_code("x.rs", "#[test] #[ignore] fn f() {}").len(), 1);
    assert_eq!(forbidden_code("x.rs", "#[ignore = \"slow\"] fn f() {}").len(), 1);
    assert!(
        forbidden_code("x.rs", "// unsafe\nfn ignore() { a[ignore] = \"unsafe\"; }").is_empty()
    );
}

#[test]
fn only_known_hosts_are_named() {
    let tests: Vec<String> =
        tree::product().into_iter().filter(|m| m.test).map(|m| m.file).collect();
    let complaints: Vec<String> = all_text()
        .iter()
        .filter(|(file, _)| !file.starts_with("tests/") && !tests.contains(file))
        .flat_map(|(file, text)| unknown_hosts(file, &before_tests(file, text)))
        .collect();

    super::expect_none("only known hosts are named (tests/tidy/text.rs)", &complaints);
}

/// Returns a Rust file up to its tests, which may name any host.
fn before_tests(file: &str, text: &str) -> String {
    if !tree::is_kind(file, "rs") {
        return text.to_owned();
    }
    let test_from = tokens(text).iter().find(|t| t.test).map_or(usize::MAX, |t| t.line);
    text.lines().take(test_from - 1).fold(String::new(), |out, line| out + line + "\n")
}

fn unknown_hosts(file: &str, text: &str) -> Vec<String> {
    let known = |host: &str| {
        let below = |end: &str| host == end || host.ends_with(&format!(".{end}"));
        HOSTS.iter().any(|end| below(end)) || RESERVED.iter().any(|end| host.ends_with(end))
    };
    let is_name = |host: &str| host.contains('.') && host.contains(|c: char| c.is_alphabetic());
    let found = text.lines().enumerate().flat_map(|(index, line)| {
        let hosts = hosts(line).into_iter().filter(|host| is_name(host) && !known(host));
        hosts.map(move |host| format!("{file}:{}: {host}", index + 1)).collect::<Vec<_>>()
    });
    found.collect()
}

/// Returns the host of each HTTP address in `line`.
fn hosts(line: &str) -> Vec<String> {
    let starts = ["http://", "https://"]
        .into_iter()
        .flat_map(|scheme| line.match_indices(scheme).map(move |(at, _)| at + scheme.len()));
    let authority_end = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '@' | ':');
    let hosts = starts.map(|start| {
        let rest = &line[start..];
        let authority = &rest[..rest.find(authority_end).unwrap_or(rest.len())];
        let host = authority.rsplit('@').next().unwrap_or("");
        host.split(':').next().unwrap_or("").trim_end_matches('.').to_ascii_lowercase()
    });
    hosts.collect()
}

#[test]
fn an_unknown_host_is_found() {
    let text = "https://github.com/a http://127.0.0.1:5000 https://r.example/x https://localhost/
curl https://me:pw@mirror.corp.test:8443/x";

    assert_eq!(unknown_hosts("x", text), ["x:2: mirror.corp.test"]);
    assert_eq!(unknown_hosts("x", "https://notgithub.com").len(), 1);
}
