//! Imports go downward only; siblings never import each other; only tests import `testing`.

use super::paths::{Named, paths};
use super::scan::tokens;
use super::tree;

/// The layers of `src/README.md`, lowest first. Modules of one row do not know each other.
const LAYERS: [&[&str]; 5] = [
    &["sys"],
    &["protocol"],
    &["cache", "chunk", "registry", "store", "trust"],
    &["mailbox"],
    &["fs"],
];

/// The composition on top: knows everything, also itself.
const TOP: [&str; 4] = ["app", "cli", "config", "main"];

/// Returns what is wrong with the imports of the module `path`, whose source is `text`.
fn check(file: &str, path: &[&str], text: &str, only_tests: bool) -> Vec<String> {
    let Some(from) = path.first() else {
        return Vec::new(); // lib.rs declares modules and imports nothing
    };
    if *from == "testing" {
        return Vec::new();
    }
    let Some(from_rank) = rank(from) else {
        return vec![format!("{file}: `{from}` has no layer; add it to tests/tidy/layers.rs")];
    };
    let owned: Vec<String> = path.iter().map(|s| (*s).to_owned()).collect();
    let complaint = |named: &Named| {
        let to = named.segments.first().map_or("", String::as_str);
        let at = format!("{file}:{}", named.line);
        if to == *from || !named.ours {
            return None;
        }
        if to == "testing" {
            let allowed = named.test || only_tests;
            return (!allowed).then(|| format!("{at}: only tests may import `testing`"));
        }
        match rank(to) {
            None => Some(format!("{at}: `crate::{to}` has no layer")),
            Some(rank) if rank < from_rank || (rank == from_rank && rank == LAYERS.len()) => None,
            Some(rank) if rank == from_rank => {
                Some(format!("{at}: `{from}` and `{to}` are siblings"))
            }
            Some(_) => Some(format!("{at}: `{from}` imports `{to}`, which is above it")),
        }
    };
    paths(&tokens(text), &owned).iter().filter_map(complaint).collect()
}

fn rank(module: &str) -> Option<usize> {
    if TOP.contains(&module) {
        return Some(LAYERS.len());
    }
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn imports_go_downward_only() {
    let modules = tree::product();

    let complaints: Vec<String> = modules
        .iter()
        .flat_map(|module| {
            let path: Vec<&str> = module.path.iter().map(String::as_str).collect();
            check(&module.file, &path, &module.text, module.test)
        })
        .collect();

    super::expect_none("imports go downward only (src/README.md)", &complaints);
}

#[test]
fn an_upward_import_is_found() {
    for (path, text) in [
        (&["protocol"][..], "use crate::registry::Repository;"),
        (&["sys", "clock"][..], "fn f() { crate::protocol::Digest::of(b\"\"); }"),
        (&["mailbox", "inbox"][..], "use crate::{sys, fs::tree::Node};"),
        (&["mailbox"][..], "use super::fs;"),
        (&["fs"][..], "fn f(x: &crate::cli::Cli) {}"),
    ] {
        let complaints = check("x.rs", path, text, false);

        assert_eq!(complaints.len(), 1, "{text}: {complaints:?}");
        assert!(complaints[0].contains("above"), "{complaints:?}");
    }
}

#[test]
fn a_sibling_is_found() {
    let complaints = check("x.rs", &["chunk"], "\nuse crate::trust::Key;", false);

    assert_eq!(complaints, ["x.rs:2: `chunk` and `trust` are siblings"]);
}

#[test]
fn testing_belongs_to_tests() {
    let import = "use crate::testing::World;";

    assert_eq!(check("x.rs", &["store"], import, false).len(), 1);
    assert!(check("x.rs", &["store"], import, true).is_empty());
    let inside = format!("#[cfg(test)] mod tests {{ {import} }}");
    assert!(check("x.rs", &["store"], &inside, false).is_empty());
}

#[test]
fn a_module_without_a_layer_is_found() {
    assert_eq!(check("x.rs", &["util"], "", false).len(), 1);
    assert_eq!(check("x.rs", &["fs"], "use crate::util::f;", false).len(), 1);
}

#[test]
fn downward_and_own_imports_are_allowed() {
    let text = "use crate::protocol::Digest; use super::inbox; use std::fs; // crate::cli";

    assert!(check("x.rs", &["mailbox", "outbox"], text, false).is_empty());
    assert!(check("x.rs", &["cli"], "use crate::{app, config};", false).is_empty());
}
