//! The dependencies: few, each with a reason, from one source, and really used.

use std::collections::BTreeSet;

use super::paths::paths;
use super::tree;

/// Most packages in `Cargo.lock`. rustls with aws-lc, tokio, clap, the curves and sigstore-verify (29
/// of them, for certificates) make most of it; a change that needs more raises the number in the
/// same commit and says for what. The last ones are the table of look-alike letters, and where a
/// long name may be cut.
const PACKAGE_COUNT_MAX: usize = 387;

/// Packages whose purpose every Rust programmer knows; all others say in a comment why they are here.
const WELL_KNOWN: [&str; 30] = [
    "bytes",
    "clap",
    "clap_complete",
    "clap_mangen",
    "data-encoding",
    "dockercomms",
    "flate2",
    "futures-util",
    "getrandom",
    "humantime",
    "indicatif",
    "lru",
    "parking_lot",
    "proptest",
    "rusqlite",
    "serde",
    "serde_json",
    "sha2",
    "tar",
    "tempfile",
    "thiserror",
    "time",
    "tokio",
    "tokio-util",
    "toml",
    "tracing",
    "tracing-subscriber",
    "unicode-normalization",
    "uuid",
    "zstd",
];

/// Packages that must never come back, with the reason.
const BANNED: [(&str, &str); 4] = [
    ("openssl-sys", "one TLS stack: rustls"),
    ("native-tls", "one TLS stack: rustls"),
    ("anyhow", "errors carry a class; an opaque one has none"),
    ("fuse3", "`fuser` is here already"),
];

#[test]
fn the_number_of_packages_is_a_decision() {
    let lock = tree::read("Cargo.lock");

    let names = package_names(&lock);

    println!("{} packages, at most {PACKAGE_COUNT_MAX}", names.len());
    assert!(
        names.len() <= PACKAGE_COUNT_MAX,
        "{} packages in Cargo.lock, at most {PACKAGE_COUNT_MAX}: is the new one worth it?",
        names.len()
    );
}

#[test]
fn packages_come_from_one_source_and_none_is_banned() {
    let lock = tree::read("Cargo.lock");

    super::expect_none("packages are allowed", &banned(&lock));
}

fn package_names(lock: &str) -> Vec<&str> {
    lock.lines()
        .filter_map(|line| line.strip_prefix("name = "))
        .map(|n| n.trim_matches('"'))
        .collect()
}

fn banned(lock: &str) -> Vec<String> {
    let names = package_names(lock);
    let found = BANNED.iter().filter(|(name, _)| names.contains(name));
    let mut complaints: Vec<String> = found.map(|(name, why)| format!("{name}: {why}")).collect();
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let registry = "\"registry+https://github.com/rust-lang/crates.io-index\"";
    let foreign: BTreeSet<&str> = sources.filter(|source| *source != registry).collect();
    complaints.extend(foreign.iter().map(|source| format!("{source} is not crates.io")));
    complaints
}

#[test]
fn a_banned_package_or_source_is_found() {
    let lock = "[[package]]\nname = \"anyhow\"\nsource = \"git+https://x.example/anyhow\"\n";

    assert_eq!(package_names(lock), ["anyhow"]);
    assert_eq!(banned(lock).len(), 2);
    assert!(banned("[[package]]\nname = \"serde\"\n").is_empty());
}

#[test]
fn an_unusual_dependency_has_a_reason() {
    let manifest = tree::read("Cargo.toml");
    let dependencies = dependencies(&manifest);
    assert!(dependencies.len() > 20, "{dependencies:?}");

    super::expect_none("an unusual dependency has a reason", &without_reason(&dependencies));
}

/// Returns section, name and line of each dependency in `Cargo.toml`.
fn dependencies(manifest: &str) -> Vec<(&str, &str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if section.ends_with("dependencies")
            && let Some((name, _)) = line.split_once('=')
        {
            found.push((section, name.trim(), line));
        }
    }
    found
}

fn without_reason(dependencies: &[(&str, &str, &str)]) -> Vec<String> {
    let silent = |line: &str| !line.contains(" # ");
    // A pinned version is unusual whatever its package.
    let unusual = |name: &str, line: &str| !WELL_KNOWN.contains(&name) || line.contains("\"=");
    let found = dependencies.iter().filter(|(_, name, line)| unusual(name, line) && silent(line));
    found.map(|(_, name, _)| format!("{name}: add `# why`")).collect()
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nserde = \"1\"\nodd = \"1\"
[dev-dependencies]\nodder = \"1\" # tests only\ntokio = \"=1.2.3\"\n[lints.rust]\na = \"b\"";

    let found = without_reason(&dependencies(manifest));

    assert_eq!(found, ["odd: add `# why`", "tokio: add `# why`"]);
}

#[test]
fn every_dependency_is_used() {
    let manifest = tree::read("Cargo.toml");
    let modules = tree::product();
    let used: BTreeSet<String> = modules
        .iter()
        .flat_map(|module| paths(&module.tokens(), &module.path))
        .filter(|named| !named.ours)
        .map(|named| named.segments[0].clone())
        .collect();

    super::expect_none("every dependency is used", &unused(&dependencies(&manifest), &used));
}

fn unused(dependencies: &[(&str, &str, &str)], used: &BTreeSet<String>) -> Vec<String> {
    let runtime = dependencies.iter().filter(|(section, ..)| *section == "dependencies");
    let unused = runtime.filter(|(_, name, _)| !used.contains(&name.replace('-', "_")));
    unused.map(|(_, name, _)| (*name).to_owned()).collect()
}

#[test]
fn an_unused_dependency_is_found() {
    let manifest = "[dependencies]\nserde-json = \"1\"\nodd = \"1\"\n[dev-dependencies]\nx = \"1\"";
    let used = BTreeSet::from(["serde_json".to_owned()]);

    assert_eq!(unused(&dependencies(manifest), &used), ["odd"]);
}
