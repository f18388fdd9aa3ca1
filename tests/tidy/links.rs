//! What documentation points at exists: links and their headings, files that pages name, and pages
//! that comments cite.
//!
//! A page names a file by its path from the root or from a folder above the page. It may leave a
//! folder out that the same section has named before: after `mailbox/outbox/queue.rs` the file
//! `lane.rs` is the one beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::tree;

/// Ends of code spans that name a file of the repository.
const FILE_ENDS: [&str; 4] = [".rs", ".md", ".sql", ".sh"];

/// The page that names files as they were, not as they are.
const HISTORY: &str = "CHANGELOG.md";

/// Names that stood for a page; a citation has to name the page itself.
const NICKNAMES: [&str; 4] = ["DESIGN", "PROTOCOL", "SPEC", "STYLE"];

/// What can be pointed at.
struct Repository {
    files: BTreeSet<String>,
    /// The text of every Markdown page.
    pages: BTreeMap<String, String>,
}

impl Repository {
    fn here() -> Self {
        let files: BTreeSet<String> = tree::files("").into_iter().collect();
        let pages = files.iter().filter(|file| tree::is_kind(file, "md"));
        let pages = pages.map(|file| (file.clone(), tree::read(file))).collect();
        Self { files, pages }
    }

    /// Returns whether a file or a folder has this path.
    fn has(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let next = self.files.range(below.clone()..).next();
        self.files.contains(path) || next.is_some_and(|file| file.starts_with(&below))
    }

    /// Returns the path that `name` has when it is looked up in `folder` and those above it.
    fn find(&self, name: &str, folder: &Path) -> Option<String> {
        let paths = folder.ancestors().map(|above| normal(&above.join(name)));
        paths.into_iter().find(|path| self.has(path))
    }
}

#[test]
fn what_a_page_points_at_exists() {
    let repository = Repository::here();
    assert!(repository.pages.len() >= 8, "{:?}", repository.pages.keys());

    let complaints: Vec<String> = repository
        .pages
        .iter()
        .flat_map(|(page, text)| {
            let links = broken_links(page, text, &repository);
            links.into_iter().chain(missing_files(page, text, &repository))
        })
        .collect();

    super::expect_none("what a page points at exists", &complaints);
}

#[test]
fn what_a_comment_cites_exists() {
    let repository = Repository::here();
    let (product, suite) = (tree::product(), tree::suite());

    let modules = product.iter().chain(&suite).filter(|m| !m.file.ends_with("tidy/links.rs"));
    let complaints: Vec<String> =
        modules.flat_map(|m| broken_citations(&m.file, &m.text, &repository)).collect();

    super::expect_none("what a comment cites exists", &complaints);
}

/// Returns the relative links of a page that lead to no file, or to no heading of it.
fn broken_links(page: &str, text: &str, repository: &Repository) -> Vec<String> {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let prose = without_code_blocks(text);
    let mut complaints = Vec::new();
    for target in links(&prose) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor)),
            None => (target, None),
        };
        let path = if path.is_empty() { page.to_owned() } else { normal(&folder.join(path)) };
        if !repository.has(&path) {
            complaints.push(format!("{page}: link to {target}"));
        } else if let (Some(anchor), Some(text)) = (anchor, repository.pages.get(&path))
            && !anchors(text).contains(anchor)
        {
            complaints.push(format!("{page}: link to {target}, which has no such heading"));
        }
    }
    complaints
}

/// Returns the files that a page names and the repository does not have.
fn missing_files(page: &str, text: &str, repository: &Repository) -> Vec<String> {
    if page == HISTORY {
        return Vec::new();
    }
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    // The folders that the section has named so far.
    let mut named: Vec<PathBuf> = Vec::new();
    let mut complaints = Vec::new();
    for line in without_code_blocks(text).lines() {
        if line.starts_with('#') {
            named.clear();
        }
        for span in spans(line) {
            let is_file = names_a_file(span);
            if !is_file && !span.ends_with('/') {
                continue;
            }
            let places = named.iter().rev().map(PathBuf::as_path).chain([folder]);
            let found = places.into_iter().find_map(|place| repository.find(span, place));
            match found {
                Some(path) if span.ends_with('/') => named.push(path.into()),
                Some(path) => named.extend(Path::new(&path).parent().map(Path::to_path_buf)),
                None if is_file => complaints.push(format!("{page}: names `{span}`")),
                None => {}
            }
        }
    }
    complaints
}

/// Returns the pages that comments of `text` cite in vain: `src/README.md "Errors"`.
fn broken_citations(file: &str, text: &str, repository: &Repository) -> Vec<String> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((_code, comment)) = line.split_once("//") else { continue };
        let at = format!("{file}:{}", index + 1);
        let mut words = comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let Some(name) = words.find(|word| NICKNAMES.contains(word)) {
            complaints.push(format!("{at}: {name} is the name of no page"));
        }
        for (page, heading) in cited_pages(comment) {
            let Some(path) = repository.find(page, folder) else {
                complaints.push(format!("{at}: {page} is not there"));
                continue;
            };
            let text = repository.pages.get(&path).map_or("", String::as_str);
            if let Some(heading) = heading
                && !headings(text).any(|known| known == heading)
            {
                complaints.push(format!("{at}: {page} has no heading \"{heading}\""));
            }
        }
    }
    complaints
}

/// Returns the pages that a comment names, each with the heading in quotes behind it.
fn cited_pages(comment: &str) -> Vec<(&str, Option<&str>)> {
    let in_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let ends = comment.match_indices(".md").map(|(at, end)| at + end.len());
    let ends = ends.filter(|end| !comment[*end..].starts_with(|c| in_path(c) && c != '.'));
    let cited = ends.map(|end| {
        let start = comment[..end].rfind(|c| !in_path(c)).map_or(0, |at| at + 1);
        let quoted = comment[end..].trim_start_matches('`').strip_prefix(" \"");
        (&comment[start..end], quoted.and_then(|rest| rest.split('"').next()))
    });
    cited.filter(|(page, _heading)| *page != ".md").collect()
}

/// Returns the text of each heading.
fn headings(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    lines.filter_map(|line| line.trim_start_matches('#').strip_prefix(' ')).map(str::trim)
}

/// Returns the fragments by which a page's headings are reached, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let prose = without_code_blocks(text);
    for heading in headings(&prose) {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let slug: String = heading.to_lowercase().chars().filter(kept).collect();
        let slug = slug.replace(' ', "-");
        let numbered = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(numbered).find(|s| !anchors.contains(s));
        anchors.extend(free);
    }
    anchors
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

/// Returns the code spans of a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns whether a code span names a file or folder of the source.
fn names_a_file(span: &str) -> bool {
    let plain =
        span.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let ours = ["src/", "tests/", "scripts/", ".ci/", ".config/", ".github/"];
    plain
        && !span.starts_with('/')
        && (FILE_ENDS.iter().any(|end| span.ends_with(end) && span.len() > end.len())
            || ours.iter().any(|folder| span.starts_with(folder)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository of empty files and two pages.
    fn small() -> Repository {
        let map = "# The map\n## Where, and `why`\n```sh\n# no heading\n```\n## Twice\n## Twice\n";
        let pages = [("README.md", "# Small"), ("src/README.md", map)];
        let files = ["src/a/b.rs", "src/a/in/c.rs", "src/e/d.rs", "scripts/run"];
        let names = pages.iter().map(|(page, _text)| page).chain(&files);
        Repository {
            files: names.map(|&name| name.to_owned()).collect(),
            pages: pages.map(|(page, text)| (page.to_owned(), text.to_owned())).into(),
        }
    }

    #[test]
    fn a_link_to_no_file_or_heading_is_found() {
        let links = |page, text| broken_links(page, text, &small());

        let good = "[a](src/README.md#where-and-why) [b](src/README.md#twice-1) [c](#small)
[d](https://a.example/x#y) [e](src/a) [f](scripts/run)
```
[no](link)
```";
        assert_eq!(links("README.md", good), Vec::<String>::new());
        assert_eq!(links("src/README.md", "[up](../README.md) [b](a/b.rs)"), Vec::<String>::new());
        assert_eq!(
            links("src/README.md", "[map](src/README.md)"),
            ["src/README.md: link to src/README.md"]
        );
        for bad in ["[x](src/README.md#no-heading)", "[x](#where)", "[x](src/README.md#twice-2)"] {
            let complaints = links("README.md", bad);
            assert!(complaints[0].ends_with("which has no such heading"), "{bad}: {complaints:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_not_reached_is_found() {
        let missing = |page, text| missing_files(page, text, &small());

        let good = "`src/a/b.rs` `scripts/run` `x.pdf` `.md`\n```\n`z.rs`\n```";
        assert_eq!(missing("README.md", good), Vec::<String>::new());
        let good = "`a/b.rs` then `in/c.rs` and `e/` with `d.rs`, `README.md`, `tests/`";
        assert_eq!(missing("src/README.md", good), ["src/README.md: names `tests/`"]);
        // The folder was named in another section, or never.
        assert_eq!(missing("src/README.md", "`a/b.rs`\n## Next\n`in/c.rs`").len(), 1);
        assert_eq!(missing("README.md", "`b.rs`"), ["README.md: names `b.rs`"]);
        assert_eq!(missing("scripts/README.md", "`walk.sh` `src/b/`").len(), 2);
        assert!(missing(HISTORY, "`gone.rs`").is_empty());
    }

    #[test]
    fn a_citation_of_no_page_or_heading_is_found() {
        let broken = |text: &str| broken_citations("src/a/b.rs", text, &small());

        let good = "//! See `README.md` and src/README.md \"Where, and `why`\".\nf(\"DESIGN\");";
        assert_eq!(broken(good), Vec::<String>::new());
        assert_eq!(
            broken("\n// src/README.md \"Errors\""),
            ["src/a/b.rs:2: src/README.md has no heading \"Errors\""]
        );
        assert_eq!(broken("f(); // a/README.md"), ["src/a/b.rs:1: a/README.md is not there"]);
        assert_eq!(
            broken("/// As DESIGN 6 says."),
            ["src/a/b.rs:1: DESIGN is the name of no page"]
        );
    }
}
