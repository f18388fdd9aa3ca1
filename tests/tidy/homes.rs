//! One foreign crate has one home, and the pure layers stay pure.

use super::paths::paths;
use super::scan::tokens;
use super::tree;

/// Where a foreign crate may be named. Anything else is free, and `testing` may use everything.
const HOMES: [(&str, &[&str]); 16] = [
    ("clap", &["src/cli/", "src/main.rs"]),
    ("clap_complete", &["src/cli/"]),
    ("indicatif", &["src/cli/"]),
    ("tracing_subscriber", &["src/cli/"]),
    ("toml", &["src/config/", "src/app/", "src/trust/"]),
    ("fuser", &["src/fs/"]),
    ("oci_client", &["src/registry/"]),
    ("reqwest", &["src/registry/"]),
    ("docker_credential", &["src/registry/remote/"]),
    ("rusqlite", &["src/store/"]),
    ("p256", &["src/trust/"]),
    ("ed25519_dalek", &["src/trust/"]),
    ("sigstore_verify", &["src/trust/"]),
    ("zstd", &["src/chunk/"]),
    ("blake3", &["src/chunk/", "src/cache/"]),
    ("flate2", &["src/chunk/"]),
];

/// What a layer must never name, with the promise it would break (table of `src/README.md`).
const NEVER: [(&str, &[&str], &str); 6] = [
    (
        "src/protocol/",
        &[
            "std::fs",
            "std::net",
            "std::io",
            "std::env",
            "std::process",
            "std::thread",
            "SystemTime::now",
            "Instant",
        ],
        "the wire format does no I/O and reads no clock",
    ),
    (
        "src/protocol/",
        &["tokio", "tracing", "getrandom", "futures_util", "async_trait", "uuid::Uuid::new_v4"],
        "the wire format is synchronous, silent and draws no random numbers",
    ),
    (
        "src/chunk/",
        &["std::fs", "std::net", "std::path", "std::env", "tokio", "tracing"],
        "chunks touch no path and no socket",
    ),
    ("src/trust/", &["std::net", "tokio", "reqwest"], "trust fetches nothing"),
    ("src/store/", &["tokio::spawn", "tokio::task"], "SQLite has a thread, not a runtime"),
    ("src/mailbox/", &["nix::errno", "rustix::io"], "the mailbox knows no errno"),
];

fn check(file: &str, text: &str, only_tests: bool) -> Vec<String> {
    if file.starts_with("src/testing/") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for named in paths(&tokens(text), &[]) {
        if named.ours {
            continue;
        }
        let first = named.segments[0].as_str();
        let home = HOMES.iter().find(|(name, _)| *name == first);
        if let Some((_, homes)) = home
            && !homes.iter().any(|home| file.starts_with(home))
        {
            let homes = homes.join(" or ");
            complaints.push(format!("{file}:{}: `{first}` belongs to {homes}", named.line));
        }
        // A unit test may time itself or use a temporary directory.
        if named.test || only_tests {
            continue;
        }
        let path = format!("{}::", named.segments.join("::"));
        for (folder, names, promise) in NEVER {
            let never = |name: &&str| path.starts_with(&format!("{name}::"));
            if file.starts_with(folder) && names.iter().any(never) {
                let path = path.trim_end_matches("::");
                complaints.push(format!("{file}:{}: `{path}`: {promise}", named.line));
            }
        }
    }
    complaints
}

#[test]
fn one_foreign_crate_has_one_home() {
    let modules = tree::product();

    let complaints: Vec<String> =
        modules.iter().flat_map(|m| check(&m.file, &m.text, m.test)).collect();

    super::expect_none("one foreign crate has one home (src/README.md)", &complaints);
}

#[test]
fn the_homes_name_dependencies_that_exist() {
    let manifest = tree::read("Cargo.toml").replace('-', "_");

    for (name, _) in HOMES {
        assert!(manifest.lines().any(|line| line.starts_with(&format!("{name} = "))), "{name}");
    }
}

#[test]
fn a_foreign_crate_away_from_home_is_found() {
    for (file, text) in [
        ("src/cli/mount.rs", "use fuser::MountOption;"),
        ("src/mailbox/mod.rs", "fn f(c: &rusqlite::Connection) {}"),
        ("src/registry/layout/mod.rs", "use docker_credential::get_credential;"),
        ("src/trust/key.rs", "use {std::fmt, clap::Parser};"),
        ("src/fs/tree.rs", "#[cfg(test)] mod tests { use reqwest::Client; }"),
    ] {
        let complaints = check(file, text, false);

        assert_eq!(complaints.len(), 1, "{file}: {complaints:?}");
    }
}

#[test]
fn an_impure_layer_is_found() {
    for (file, text) in [
        ("src/protocol/tag.rs", "use std::{fmt, io::Read};"),
        ("src/protocol/tag.rs", "fn f() { tracing::info!(\"x\"); tokio::spawn(g()); }"),
        ("src/chunk/frame.rs", "use std::path::Path;"),
    ] {
        assert!(!check(file, text, false).is_empty(), "{text}");
        assert!(check(file, text, true).is_empty(), "{text}");
    }
}

#[test]
fn a_name_in_a_comment_or_a_string_is_no_use() {
    let text = "// fuser::mount\nconst A: &str = \"rusqlite::Error\"; use crate::fs::fuser;";

    assert!(check("src/cli/mount.rs", text, false).is_empty());
}
