//! Every rule of the protocol is cited by the code that keeps it and by a test that watches it.

use std::collections::BTreeSet;

use super::tree;

/// The last rule: they are P1 to P28.
const RULE_LAST: u32 = 28;

/// The numbers that `text` cites, as `P7` in prose or `p7_` in a name.
fn cited(text: &str) -> BTreeSet<u32> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix(['P', 'p'])?.parse().ok())
        .collect()
}

/// Returns what the comments cite outside of tests.
fn cited_by_code(text: &str) -> BTreeSet<u32> {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let comments = code.lines().filter_map(|line| line.split_once("//"));
    comments.flat_map(|(_code, comment)| cited(comment)).collect()
}

/// Returns what the names and docs of the tests in `text` cite.
fn cited_by_tests(text: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let (mut docs, mut is_test) = (String::new(), false);
    for line in text.lines().map(str::trim_start) {
        if let Some(doc) = line.strip_prefix("///") {
            docs += doc;
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            if let (true, Some(name)) = (is_test, name) {
                found.extend(cited(&docs));
                found.extend(cited(name));
            }
            (docs, is_test) = (String::new(), false);
        }
    }
    found
}

#[test]
fn every_rule_is_cited_by_code_and_by_a_test() {
    let (product, suite) = (tree::product(), tree::suite());
    let code: BTreeSet<u32> =
        product.iter().filter(|m| !m.test).flat_map(|m| cited_by_code(&m.text)).collect();
    let tests: BTreeSet<u32> =
        product.iter().chain(&suite).flat_map(|m| cited_by_tests(&m.text)).collect();

    let missing = |cited: &BTreeSet<u32>, whom: &str| -> Vec<String> {
        let rules = (1..=RULE_LAST).filter(|rule| !cited.contains(rule));
        rules.map(|rule| format!("P{rule} is cited by no {whom}")).collect()
    };
    let complaints = [missing(&code, "comment of the source"), missing(&tests, "test")].concat();

    super::expect_none("every rule of the protocol has its code and its test", &complaints);
}

#[test]
fn a_citation_is_a_whole_word_where_it_counts() {
    assert_eq!(cited("(P2, P13) p7_x P256x XP4 PX"), [2, 7, 13].into());

    let text = "/// P1.\nfn f() {} // P2\n#[cfg(test)]\nmod tests {\n// P3\n}";
    assert_eq!(cited_by_code(text), [1, 2].into());

    let text =
        "/// P1.\nfn f() {}\n// P2\n/// P3.\n#[tokio::test]\nasync fn p4_x() {}\nfn p5_y() {}";
    assert_eq!(cited_by_tests(text), [3, 4].into());
}
