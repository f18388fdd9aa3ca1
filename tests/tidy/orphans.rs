//! No stray files: every source file is compiled, every script is listed and runs.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use super::tree;

/// Files below `scripts/` that are sourced or read, not run.
const SCRIPT_PARTS: [&str; 2] = ["scripts/README.md", "scripts/lib.sh"];

/// Returns the Rust files among `files` that are not among `reached`.
fn unreached<'a>(files: &'a [String], reached: &BTreeSet<&str>) -> Vec<&'a String> {
    let is_rust = |file: &&String| tree::is_kind(file, "rs");
    files.iter().filter(is_rust).filter(|file| !reached.contains(file.as_str())).collect()
}

/// Returns what is wrong with one script.
fn check_script(file: &str, text: &str, executable: bool, readme: &str) -> Vec<String> {
    let name = file.trim_start_matches("scripts/");
    let mut complaints = Vec::new();
    if !readme.contains(&format!("| `{name}` |")) && file != "scripts/README.md" {
        complaints.push(format!("{file}: not in the table of scripts/README.md"));
    }
    if SCRIPT_PARTS.contains(&file) {
        return complaints;
    }
    if !executable {
        complaints.push(format!("{file}: not executable"));
    }
    if !text.starts_with("#!") {
        complaints.push(format!("{file}: no interpreter line"));
    }
    // Python's argparse has --help of its own.
    if !text.contains("--help") && !text.contains("argparse") {
        complaints.push(format!("{file}: no --help"));
    }
    complaints
}

#[test]
fn every_source_file_is_compiled() {
    let product = tree::product();
    let suite = tree::suite();
    let reached: BTreeSet<&str> =
        product.iter().chain(&suite).map(|module| module.file.as_str()).collect();
    let mut files = tree::files("src");
    files.extend(tree::files("tests"));

    let complaints: Vec<String> = unreached(&files, &reached)
        .iter()
        .filter(|file| !is_own_target(file))
        .map(|file| format!("{file}: no `mod` declaration reaches it"))
        .collect();

    super::expect_none("every source file is compiled", &complaints);
}

/// Returns whether `file` belongs to a target of its own: a benchmark or a fuzz target.
fn is_own_target(file: &str) -> bool {
    file.starts_with("tests/benches/") || file.starts_with("tests/fuzz/")
}

#[test]
fn a_forgotten_file_is_found() {
    let files = ["src/a.rs", "src/b.rs", "src/b.sql"].map(str::to_owned);

    assert_eq!(unreached(&files, &BTreeSet::from(["src/a.rs"])), ["src/b.rs"]);
}

#[test]
fn every_script_is_listed_and_runs() {
    let readme = tree::read("scripts/README.md");

    let complaints: Vec<String> = tree::files("scripts")
        .iter()
        .flat_map(|file| {
            let metadata = tree::root().join(file).metadata().expect("a listed file");
            let executable = metadata.permissions().mode() & 0o111 != 0;
            check_script(file, &tree::read(file), executable, &readme)
        })
        .collect();

    super::expect_none("every script is listed and runs", &complaints);
}

#[test]
fn a_script_that_nobody_can_find_or_run_is_found() {
    let readme = "| `good` | does it |";
    let text = "#!/bin/sh\n# --help\n";

    assert!(check_script("scripts/good", text, true, readme).is_empty());
    assert_eq!(check_script("scripts/bad", text, true, readme).len(), 1);
    assert_eq!(check_script("scripts/good", text, false, readme).len(), 1);
    assert_eq!(check_script("scripts/good", "echo", true, readme).len(), 2);
}
