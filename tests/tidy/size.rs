//! Files stay small enough to be read in one go. (Functions: clippy, 80 lines.)

use std::collections::BTreeSet;

use super::scan;
use super::tree;

/// Most lines of a file, the code of its tests not counted. See .github/CONTRIBUTING.md "House style".
const FILE_LINES_MAX: usize = 500;

/// Most lines of a file of tests: they are long lists and are read one test at a time.
const TEST_FILE_LINES_MAX: usize = 800;

/// What a file aims at. Longer ones are reported, not refused.
const FILE_LINES_AIM: usize = 200;

/// Returns the number of lines of `text` without the items that only tests compile.
fn lines_without_tests(text: &str) -> usize {
    let test_lines: BTreeSet<usize> =
        scan::tokens(text).iter().filter(|t| t.test).map(|t| t.line).collect();
    let all = text.lines().count();
    match (test_lines.first(), test_lines.last()) {
        // Comments between the tests belong to them: the span counts, when it ends the file.
        (Some(first), Some(last)) if *last + 1 >= all => first - 1,
        _ => all - test_lines.len(),
    }
}

fn check(file: &str, text: &str, only_tests: bool) -> Option<String> {
    let (lines, max) = if only_tests {
        (text.lines().count(), TEST_FILE_LINES_MAX)
    } else {
        (lines_without_tests(text), FILE_LINES_MAX)
    };
    (lines > max).then(|| format!("{file}: {lines} lines, at most {max}; split it by what it does"))
}

#[test]
fn files_can_be_read_in_one_go() {
    let product = tree::product();
    let suite = tree::suite();

    let mut complaints: Vec<String> =
        product.iter().filter_map(|m| check(&m.file, &m.text, m.test)).collect();
    complaints.extend(suite.iter().filter_map(|m| check(&m.file, &m.text, true)));

    let mut long: Vec<(usize, &str)> = product
        .iter()
        .filter(|m| !m.test)
        .map(|m| (lines_without_tests(&m.text), m.file.as_str()))
        .filter(|(lines, _)| *lines > FILE_LINES_AIM)
        .collect();
    long.sort_unstable();
    println!("{} of {} files are longer than {FILE_LINES_AIM} lines:", long.len(), product.len());
    for (lines, file) in long.iter().rev() {
        println!("  {lines} {file}");
    }
    super::expect_none("files can be read in one go", &complaints);
}

#[test]
fn a_long_file_is_found() {
    let line = "fn f() {}\n";

    assert_eq!(check("x.rs", &line.repeat(FILE_LINES_MAX), false), None);
    assert!(check("x.rs", &line.repeat(FILE_LINES_MAX + 1), false).is_some());
    assert_eq!(check("x.rs", &line.repeat(FILE_LINES_MAX + 1), true), None);
    assert!(check("x.rs", &line.repeat(TEST_FILE_LINES_MAX + 1), true).is_some());
}

#[test]
fn the_tests_inside_a_file_do_not_count() {
    let tests = "    // why\n    fn t() {}\n\n".repeat(FILE_LINES_MAX);
    let file = format!("fn f() {{}}\n\n#[cfg(test)]\nmod tests {{\n{tests}}}\n");

    assert_eq!(lines_without_tests(&file), 2);
}
