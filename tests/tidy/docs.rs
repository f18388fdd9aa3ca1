//! Documentation is where it is looked for, and what it points at exists.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::tree;

/// Ends of code spans in a README that name a file of the repository.
const FILE_ENDS: [&str; 4] = [".rs", ".md", ".sql", ".sh"];

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
fn what_a_readme_points_at_exists() {
    let files: BTreeSet<String> = tree::files("").into_iter().collect();
    let readmes: Vec<&String> = files.iter().filter(|file| file.ends_with("README.md")).collect();
    assert!(readmes.len() >= 2, "{readmes:?}");

    let complaints: Vec<String> =
        readmes.iter().flat_map(|file| dangling(file, &tree::read(file), &files)).collect();

    super::expect_none("what a README points at exists", &complaints);
}

/// Returns the relative links and mentioned files of one README that do not exist.
fn dangling(readme: &str, text: &str, files: &BTreeSet<String>) -> Vec<String> {
    let folder = Path::new(readme).parent().unwrap_or(Path::new(""));
    let mut complaints = Vec::new();
    let prose = without_code_blocks(text);
    for target in links(&prose) {
        let path = target.split('#').next().unwrap_or("");
        if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
            continue;
        }
        if !exists(&normal(&folder.join(path)), files) {
            complaints.push(format!("{readme}: link to {target}"));
        }
    }
    for span in spans(&prose) {
        if names_a_file(span) && !is_mentioned(span, files) {
            complaints.push(format!("{readme}: mentions `{span}`"));
        }
    }
    complaints
}

fn without_code_blocks(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Returns the targets of the inline links.
fn links(text: &str) -> Vec<&str> {
    let starts = text.match_indices("](").map(|(at, _)| &text[at + 2..]);
    starts.filter_map(|rest| rest.split(')').next()).map(str::trim).collect()
}

/// Returns the code spans.
fn spans(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Tells whether a code span names a file or folder of the source.
fn names_a_file(span: &str) -> bool {
    let plain =
        span.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let ours = ["src/", "tests/", "scripts/", ".ci/", ".config/"];
    plain
        && !span.starts_with('/')
        && (FILE_ENDS.iter().any(|end| span.ends_with(end) && span.len() > end.len())
            || ours.iter().any(|folder| span.starts_with(folder)))
}

/// Tells whether some file or folder ends with the path `span`: a README may leave the start out.
fn is_mentioned(span: &str, files: &BTreeSet<String>) -> bool {
    let span = span.trim_end_matches('/');
    files.iter().any(|file| {
        let mut prefix = Path::new(file);
        loop {
            if prefix.ends_with(span) {
                return true;
            }
            match prefix.parent() {
                Some(parent) => prefix = parent,
                None => return false,
            }
        }
    })
}

fn exists(path: &str, files: &BTreeSet<String>) -> bool {
    files.iter().any(|file| Path::new(file).starts_with(path))
}

/// Resolves `..` and `.` without looking at the disk.
fn normal(path: &Path) -> String {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out.to_string_lossy().into_owned()
}

#[test]
fn a_dangling_link_or_mention_is_found() {
    let files: BTreeSet<String> =
        ["README.md", "src/README.md", "src/a/b.rs", "scripts/run"].map(str::to_owned).into();

    let good =
        "[map](src/README.md#top) [x](https://a.example) `a/b.rs` `b.rs` `scripts/run` `x.pdf`
```
[no](link) `c.rs`
```";
    assert_eq!(dangling("README.md", good, &files), Vec::<String>::new());
    assert!(dangling("src/README.md", "[up](../README.md)", &files).is_empty());
    for bad in ["[map](README.md)", "`c.rs`", "see `scripts/walk`", "`src/b/`"] {
        assert_eq!(dangling("scripts/README.md", bad, &files).len(), 1, "{bad}");
    }
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
