//! State has one owner: what only one folder may name.

use super::scan::tokens;
use super::tree;

/// A name, the folders that may say it, and the promise that another would break.
const OWNED: [(&str, &[&str], &str); 3] = [
    (
        "OutboxChange",
        &["src/store/", "src/mailbox/staged/"],
        "a row changes with the state of its file",
    ),
    ("update_outbox", &["src/store/", "src/mailbox/staged/"], "a row changes by a transition"),
    ("enqueue_outbox", &["src/store/", "src/mailbox/staged/"], "a row changes by a transition"),
];

/// What a staged file must not know: the outbox, which drives it, knows both.
const UNKNOWN: [&str; 7] =
    ["Core", "Outbox", "Repository", "registry", "outbox", "reading", "inbox"];

fn check(file: &str, text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut complaints = Vec::new();
    for token in tokens.iter().filter(|token| !token.test) {
        for (name, folders, promise) in OWNED {
            if token.text == name && !folders.iter().any(|folder| file.starts_with(folder)) {
                complaints.push(format!("{file}:{}: `{name}`: {promise}", token.line));
            }
        }
        if file.starts_with("src/mailbox/staged/") && UNKNOWN.contains(&token.text.as_str()) {
            let (line, name) = (token.line, &token.text);
            complaints.push(format!("{file}:{line}: `{name}`: a staged file does not know it"));
        }
    }
    complaints
}

#[test]
fn a_row_of_the_outbox_is_changed_by_the_staged_file_alone() {
    let product = tree::product();
    let modules = product.iter().filter(|m| !m.test && !m.file.starts_with("src/testing/"));

    let complaints: Vec<String> = modules.flat_map(|m| check(&m.file, &m.text)).collect();

    super::expect_none("state has one owner (src/README.md)", &complaints);
}

#[test]
fn another_owner_and_a_staged_file_that_knows_too_much_are_found() {
    for (file, text) in [
        ("src/mailbox/outbox/lane.rs", "let change = OutboxChange::default();"),
        ("src/cli/queue.rs", "fn f() { store.update_outbox(1, change) }"),
        ("src/mailbox/staged/file.rs", "use crate::mailbox::core::Core;"),
    ] {
        assert_eq!(check(file, text).len(), 1, "{file}");
    }
    let test = "#[cfg(test)] mod tests { use crate::store::OutboxChange; }";
    assert!(check("src/mailbox/lifecycle/leftovers.rs", test).is_empty());
    assert!(check("src/mailbox/staged/row.rs", "use crate::store::OutboxChange;").is_empty());
}
