//! Rules about the code itself: layers, circles, homes of crates, sizes, orphans, documentation,
//! links, text, the protocol's rules.
//!
//! Each rule is a pure function from text to complaints. One test runs it over the tree, the others
//! feed it a small violation, so that a rule that can no longer fail is noticed. The source is
//! scanned, not parsed: [`scan`] blanks comments and literals, [`paths`] expands `use` trees.

mod circles;
mod dependencies;
mod docs;
mod homes;
mod imports;
mod layers;
mod links;
mod orphans;
mod owners;
mod paths;
mod protocol;
mod scan;
mod size;
mod text;
mod tree;

/// Fails with all complaints at once: a reader wants the list, not its first line.
#[track_caller]
fn expect_none(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}\n", complaints.join("\n  "));
}
