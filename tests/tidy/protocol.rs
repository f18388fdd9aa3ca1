//! Every rule of the protocol is on its page, and every implemented one is cited by the code that
//! keeps it and by a test that watches it.

use std::collections::BTreeSet;

use super::tree;

/// The page that states the rules, one table row for each.
const PAGE: &str = "src/protocol/README.md";

/// The heading on the page below which rules need no code.
const PLANNED: &str = "## Agreed, not yet implemented";

/// The rules of the page, in its order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    implemented: Vec<u32>,
    planned: Vec<u32>,
}

impl Rules {
    /// Reads the rows that begin with the number of a rule.
    fn parse(page: &str) -> Self {
        let mut rules = Self::default();
        let mut is_planned = false;
        for line in page.lines() {
            if line.starts_with("## ") {
                is_planned = line == PLANNED;
            }
            let number = line.strip_prefix("| P").and_then(|row| row.split(" |").next());
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                let list = if is_planned { &mut rules.planned } else { &mut rules.implemented };
                list.push(number);
            }
        }
        rules
    }

    /// Returns what is wrong with the numbers: each stands once, and none is left out.
    fn gaps(&self) -> Vec<String> {
        let mut all: Vec<u32> = self.implemented.iter().chain(&self.planned).copied().collect();
        all.sort_unstable();
        let last = all.last().copied().unwrap_or_default();
        let count = |rule: &u32| all.iter().filter(|known| *known == rule).count();
        let wrong = (1..=last).filter(|rule| count(rule) != 1);
        wrong.map(|rule| format!("{PAGE}: P{rule} has {} rows", count(&rule))).collect()
    }
}

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

/// Returns each comment line of `text` that cites a rule which the page does not have, or has not as
/// an implemented one.
fn dangling(file: &str, text: &str, rules: &Rules) -> Vec<String> {
    let comments = text.lines().enumerate().filter_map(|(index, line)| {
        let (_code, comment) = line.split_once("//")?;
        Some((index + 1, comment))
    });
    let found = comments.flat_map(|(line, comment)| {
        let wrong = cited_in_prose(comment).into_iter().filter_map(move |rule| {
            let why = match rule {
                _ if rules.implemented.contains(&rule) => return None,
                _ if rules.planned.contains(&rule) => "is marked as not implemented",
                _ => "has no row",
            };
            Some(format!("{file}:{line}: P{rule} {why} in {PAGE}"))
        });
        wrong.collect::<Vec<_>>()
    });
    found.collect()
}

/// The numbers that prose cites: `P7`, but neither `p7` nor a curve such as P256.
fn cited_in_prose(text: &str) -> BTreeSet<u32> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix('P'))
        .filter(|number| number.len() <= 2)
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[test]
fn every_citation_of_a_rule_leads_to_its_row() {
    let rules = Rules::parse(&tree::read(PAGE));
    assert!(rules.implemented.len() > 20, "{rules:?}");
    let (product, suite) = (tree::product(), tree::suite());

    let mut complaints = rules.gaps();
    let modules = product.iter().chain(&suite).filter(|m| !m.file.ends_with("tidy/protocol.rs"));
    complaints.extend(modules.flat_map(|m| dangling(&m.file, &m.text, &rules)));

    super::expect_none("every rule that is cited is on its page", &complaints);
}

#[test]
fn a_citation_that_leads_nowhere_is_found() {
    let page = format!("## One\n| P1 | a |\n| P2 | b |\n\n{PLANNED}\n### More\n| P3 | c |\n");

    let rules = Rules::parse(&page);

    assert_eq!(rules, Rules { implemented: vec![1, 2], planned: vec![3] });
    assert!(rules.gaps().is_empty());
    assert!(dangling("x.rs", "f(); // P1, P2 and a key on P256, p3", &rules).is_empty());
    let complaints = dangling("x.rs", "/// P3.\nfn f() {} // P1, P4\n\"P5\"", &rules);
    assert_eq!(
        complaints,
        [
            format!("x.rs:1: P3 is marked as not implemented in {PAGE}"),
            format!("x.rs:2: P4 has no row in {PAGE}"),
        ]
    );
}

#[test]
fn a_rule_that_is_left_out_or_stands_twice_is_found() {
    let rules = Rules { implemented: vec![1, 3, 3], planned: vec![5] };

    let complaints = rules.gaps();

    let expected = [(2, 0), (3, 2), (4, 0)];
    assert_eq!(
        complaints,
        expected.map(|(rule, count)| format!("{PAGE}: P{rule} has {count} rows"))
    );
}

#[test]
fn every_rule_is_cited_by_code_and_by_a_test() {
    let rules = Rules::parse(&tree::read(PAGE)).implemented;
    let (product, suite) = (tree::product(), tree::suite());
    let code: BTreeSet<u32> =
        product.iter().filter(|m| !m.test).flat_map(|m| cited_by_code(&m.text)).collect();
    let tests: BTreeSet<u32> =
        product.iter().chain(&suite).flat_map(|m| cited_by_tests(&m.text)).collect();

    let missing = |cited: &BTreeSet<u32>, whom: &str| -> Vec<String> {
        let rules = rules.iter().filter(|rule| !cited.contains(rule));
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
