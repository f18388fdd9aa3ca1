//! No two files import each other, directly or indirectly. Calls of methods of one type that is
//! implemented in several files are not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Import, imports};
use super::tree;

/// Folders whose files may still import each other in a circle. Empty, and meant to stay so.
const ALLOWED: [&str; 0] = [];

/// Files that reach each other through imports, and the imports among them.
struct Circle<'a> {
    files: Vec<&'a str>,
    imports: Vec<&'a Import>,
}

/// Returns the circles, each as large as it gets (a strongly connected component).
fn circles(imports: &[Import]) -> Vec<Circle<'_>> {
    let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for import in imports {
        targets.entry(&import.from).or_default().push(&import.to);
    }
    let targets_of: BTreeMap<&str, BTreeSet<&str>> =
        targets.keys().map(|file| (*file, reached_from(file, &targets))).collect();
    let reaches =
        |from: &str, to: &str| targets_of.get(from).is_some_and(|files| files.contains(to));
    let mut found: Vec<Circle<'_>> = Vec::new();
    for file in targets_of.keys().filter(|file| reaches(file, file)) {
        if found.iter().any(|circle| circle.files.contains(file)) {
            continue;
        }
        let files: Vec<&str> =
            targets_of[file].iter().copied().filter(|other| reaches(other, file)).collect();
        let is_inside = |import: &&Import| {
            files.contains(&import.from.as_str()) && files.contains(&import.to.as_str())
        };
        found.push(Circle { imports: imports.iter().filter(is_inside).collect(), files });
    }
    found
}

fn reached_from<'a>(start: &str, targets: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut open: Vec<&str> = targets.get(start).cloned().unwrap_or_default();
    let mut found = BTreeSet::new();
    while let Some(file) = open.pop() {
        if found.insert(file) {
            open.extend(targets.get(file).into_iter().flatten());
        }
    }
    found
}

/// Returns the number of files in the largest circle of each folder directly below `src/`.
fn largest_by_folder(circles: &[Circle<'_>]) -> BTreeMap<String, usize> {
    let mut largest = BTreeMap::new();
    for circle in circles {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for file in &circle.files {
            let folder = file.split('/').take(2).collect::<Vec<_>>().join("/");
            *counts.entry(folder).or_default() += 1;
        }
        for (folder, count) in counts {
            let most = largest.entry(folder).or_insert(0);
            *most = count.max(*most);
        }
    }
    largest
}

fn check(circles: &[Circle<'_>], allowed: &[&str]) -> Vec<String> {
    let lies_in = |circle: &Circle<'_>, folder: &str| {
        circle.files.iter().all(|file| file.starts_with(&format!("{folder}/")))
    };
    let mut complaints: Vec<String> = circles
        .iter()
        .filter(|circle| !allowed.iter().any(|folder| lies_in(circle, folder)))
        .map(|circle| {
            let line = |import: &&Import| {
                let Import { from, to, name, line } = import;
                format!("\n    {from}:{line} -> {to} because of `{name}`")
            };
            let lines: String = circle.imports.iter().map(line).collect();
            format!("{} files import each other:{lines}", circle.files.len())
        })
        .collect();
    for folder in allowed.iter().filter(|folder| !circles.iter().any(|c| lies_in(c, folder))) {
        complaints.push(format!("{folder} has no circle; take it off the list"));
    }
    complaints
}

#[test]
fn no_files_import_each_other() {
    let modules = tree::product();
    let imports = imports(&modules);
    assert!(imports.len() > modules.len(), "{} imports", imports.len());

    let circles = circles(&imports);

    for (folder, count) in largest_by_folder(&circles) {
        println!("{folder}: the largest circle has {count} files");
    }
    super::expect_none("no files import each other", &check(&circles, &ALLOWED));
}

#[cfg(test)]
mod tests {
    use super::super::imports::product_of;
    use super::*;

    /// Returns the files of each circle among `sources`.
    fn found(sources: &[(&str, &str)]) -> Vec<String> {
        let imports = imports(&product_of(sources));
        circles(&imports).iter().map(|circle| circle.files.join(" ")).collect()
    }

    #[test]
    fn a_circle_of_two_or_three_is_found() {
        let a = ("a.rs", "use crate::b::B; pub struct A;");
        let c = ("c.rs", "use super::a::A; pub struct C;");

        let two = found(&[a, ("b.rs", "pub struct B(super::a::A);"), c]);
        let three = found(&[a, ("b.rs", "fn f() { crate::c::C } pub struct B;"), c]);
        let none = found(&[a, ("b.rs", "pub struct B;"), c]);

        assert_eq!(two, ["src/a.rs src/b.rs"]);
        assert_eq!(three, ["src/a.rs src/b.rs src/c.rs"]);
        assert_eq!(none, Vec::<String>::new());
    }

    #[test]
    fn a_circle_through_a_re_export_is_found() {
        let folder = ("f/mod.rs", "mod a; mod b; pub use a::A; pub use b::{B as C};");
        let a = ("f/a.rs", "pub struct A; fn f(x: super::C) {}");

        let circle = found(&[folder, a, ("f/b.rs", "pub struct B; use super::A;")]);
        let none = found(&[folder, a, ("f/b.rs", "pub struct B;")]);

        assert_eq!(circle, ["src/f/a.rs src/f/b.rs"]);
        assert_eq!(none, Vec::<String>::new());
    }

    #[test]
    fn a_folder_that_only_re_exports_is_in_no_circle() {
        let folder = "mod a; pub use a::A; pub use super::g::G;";
        let (a, g) = (("f/a.rs", "pub struct A(super::G);"), ("g.rs", "pub struct G;"));

        assert_eq!(found(&[("f/mod.rs", folder), a, g]), Vec::<String>::new());
        let own = format!("{folder} pub struct F(A);");
        assert_eq!(found(&[("f/mod.rs", &own), a, g]), Vec::<String>::new());
        let needs_it = ("f/a.rs", "pub struct A; fn f(x: super::F) {}");
        assert_eq!(found(&[("f/mod.rs", &own), needs_it, g]), ["src/f/a.rs src/f/mod.rs"]);
    }

    #[test]
    fn a_file_that_imports_itself_or_is_imported_by_tests_is_in_no_circle() {
        let own =
            ("a.rs", "use crate::a::B; pub enum B { C } fn f() { self::B::C; super::a::f(); }");
        let tests = "pub struct D; #[cfg(test)] mod tests { use crate::e::E; }";

        assert_eq!(found(&[own]), Vec::<String>::new());
        assert_eq!(
            found(&[("d/mod.rs", tests), ("e.rs", "pub struct E(crate::d::D);")]),
            Vec::<String>::new()
        );
        let module = [("d/tests.rs", "use crate::e::E;"), ("d/mod.rs", "pub struct D;")];
        assert_eq!(
            found(&[module[0], module[1], ("e.rs", "pub struct E(crate::d::D);")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_complaint_names_each_import_and_an_idle_exception() {
        let sources = [
            ("m/mod.rs", "mod a; mod b;"),
            ("m/a.rs", "\nuse super::b::B; pub struct A;"),
            ("m/b.rs", "use super::a::A; pub struct B;"),
        ];
        let imports = imports(&product_of(&sources));
        let circles = circles(&imports);

        let complaints = check(&circles, &[]);

        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("2 files import each other:"), "{complaints:?}");
        assert!(complaints[0].contains("src/m/a.rs:2 -> src/m/b.rs because of `m::b::B`"));
        assert!(check(&circles, &["src/m"]).is_empty());
        assert_eq!(check(&circles, &["src/m", "src/n"]).len(), 1);
        assert_eq!(largest_by_folder(&circles), BTreeMap::from([("src/m".to_owned(), 2)]));
    }
}
