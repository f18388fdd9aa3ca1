//! Documentation is where readers look for it: on top of each module, in a README, in the help.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::tree;

#[test]
fn every_folder_says_what_it_is() {
    let complaints: Vec<String> = tree::product()
        .iter()
        .chain(&tree::suite())
        .filter(|m| m.file.ends_with("/mod.rs") || !m.test)
        .filter_map(|m| undocumented(&m.file, &m.text))
        .collect();

    super::expect_none("module docs come first", &complaints);
}

fn undocumented(file: &str, text: &str) -> Option<String> {
    // Tests of a module are described by its name.
    if file.ends_with("/tests/mod.rs") && file.starts_with("src/") {
        return None;
    }
    let documented = text.starts_with("//! ") || text.starts_with("#![doc = include_str!");
    (!documented).then(|| format!("{file}: does not start with `//!`"))
}

#[test]
fn a_module_without_docs_is_found() {
    assert_eq!(undocumented("src/a/mod.rs", "//! What it is.\n"), None);
    assert!(undocumented("src/a/mod.rs", "// What it is.\n//! Too late.").is_some());
    assert!(undocumented("src/a/mod.rs", "").is_some());
}

#[test]
fn every_error_class_has_the_errno_and_exit_code_of_the_map() {
    let map = tree::read("src/README.md");
    let (errno, exit) = (tree::read("src/fs/errno.rs"), tree::read("src/cli/exit.rs"));
    assert!(tested(&errno).len() > 20 && tested(&exit).len() > 10);

    let complaints = other_than_in_the_map(&map, &tested(&errno), &tested(&exit));

    super::expect_none("the table of errors is the code's", &complaints);
}

/// Returns the rows `(ErrorClass::Name, value)` of the tables in the tests of a file.
fn tested(text: &str) -> BTreeMap<&str, &str> {
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix("(ErrorClass::"));
    rows.filter_map(|row| row.strip_suffix("),")?.split_once(", ")).collect()
}

/// Returns the classes whose row in `map` says something else than the tables of the tests.
fn other_than_in_the_map(
    map: &str,
    errnos: &BTreeMap<&str, &str>,
    exits: &BTreeMap<&str, &str>,
) -> Vec<String> {
    let complaints = errnos.iter().filter_map(|(class, errno)| {
        let rows = map.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let mut rows = cells.filter(|cells| cells[1].contains(&format!("`{class}`")));
        let Some(row) = rows.next() else { return Some(format!("{class} has no row")) };
        let errno = errno.trim_start_matches("libc::");
        let has = |at: usize, value: &str| row.get(at).is_some_and(|cell| cell.starts_with(value));
        let exit_fits = exits.get(class).is_none_or(|exit| row.get(3) == Some(exit));
        (!has(2, &format!("`{errno}`")) || !exit_fits).then(|| format!("{class}: {row:?}"))
    });
    complaints.collect()
}

#[test]
fn a_class_that_the_map_tells_otherwise_is_found() {
    let errnos =
        tested("  (ErrorClass::Busy, libc::EBUSY),\n  (ErrorClass::Denied, libc::EACCES),\n");
    let exits = tested("(ErrorClass::Busy, 8),\n");
    let differs = |map| other_than_in_the_map(map, &errnos, &exits).len();

    assert_eq!(differs("| `Busy` | `EBUSY` | 8 |\n| `Denied` (why) | `EACCES` | 3 |"), 0);
    assert_eq!(differs("| `Busy` | `EBUSY` | 7 |\n| `Denied` | `EPERM` | 3 |"), 2);
    assert_eq!(differs("| `Busy` | `EBUSY` | 8 |"), 1);
}

#[test]
fn every_environment_variable_is_documented() {
    let mut documented: String = tree::files("")
        .iter()
        .filter(|file| tree::is_kind(file, "md"))
        .map(|file| tree::read(file))
        .collect();
    documented.push_str(&help());
    let mut users = tree::files("src");
    for folder in ["scripts", "tests", ".ci"] {
        users.extend(tree::files(folder));
    }
    users.retain(|file| !tree::is_kind(file, "md") && !file.starts_with("tests/tidy/"));
    for file in users.iter().filter(|file| file.starts_with("scripts/")) {
        documented.push_str(&header(&tree::read(file)));
    }

    let complaints: Vec<String> = users
        .iter()
        .flat_map(|file| undocumented_variables(file, &tree::read(file), &documented))
        .collect();

    super::expect_none("environment variables are in a README or in --help", &complaints);
}

/// Returns what the program says about itself.
fn help() -> String {
    let program = option_env!("CARGO_BIN_EXE_dockercomms");
    let Some(program) = program else { return String::new() };
    let verbs = ["", "mount", "init", "send", "recv"];
    let texts = verbs.map(|verb| {
        let args: Vec<&str> = [verb, "--help"].into_iter().filter(|a| !a.is_empty()).collect();
        let output = Command::new(program).args(args).output().expect("the program starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    texts.concat()
}

/// Returns the comment at the top of a script, which is its help.
fn header(script: &str) -> String {
    let lines = script.lines().take_while(|line| line.starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

fn undocumented_variables(file: &str, text: &str, documented: &str) -> Vec<String> {
    let unknown = variables(text).into_iter().filter(|name| !variables(documented).contains(name));
    unknown.map(|name| format!("{file}: {name}")).collect()
}

/// Returns the names of our environment variables in `text`.
fn variables(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("DOCKERCOMMS_").map(|(at, _)| &text[at..]);
    let names = starts.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    names.filter(|name| !name.ends_with('_')).collect()
}

#[test]
fn an_undocumented_variable_is_found() {
    let documented = "`DOCKERCOMMS_HOME` is a directory";

    assert!(undocumented_variables("x", "env(\"DOCKERCOMMS_HOME\")", documented).is_empty());
    let complaints = undocumented_variables("x", "env(\"DOCKERCOMMS_HOM\")", documented);
    assert_eq!(complaints, ["x: DOCKERCOMMS_HOM"]);
}
