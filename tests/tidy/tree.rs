//! The files of the repository and the module tree of its Rust code.

use std::fs;
use std::path::{Path, PathBuf};

use super::scan::{self, Token};

/// One Rust file that a `mod` declaration reaches.
#[derive(Debug)]
pub(super) struct Module {
    /// Its file, relative to the root of the repository.
    pub(super) file: String,
    /// Its path without `crate`; the root of a binary is named after the file.
    pub(super) path: Vec<String>,
    /// Only tests compile it.
    pub(super) test: bool,
    pub(super) text: String,
}

impl Module {
    pub(super) fn tokens(&self) -> Vec<Token> {
        scan::tokens(&self.text)
    }
}

/// Returns the root of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the text of a file below the root.
pub(super) fn read(file: &str) -> String {
    let bytes = fs::read(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the files below `folder`, relative to the root and sorted, without build output.
pub(super) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a listed entry").path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && !path.is_symlink() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if name != ".git" {
                found.push(relative(&path));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let below = path.strip_prefix(root()).expect("a path below the root");
    below.to_string_lossy().into_owned()
}

/// Returns whether the name of `file` ends in `.extension`.
pub(super) fn is_kind(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

/// Returns the modules of the library and of the program.
pub(super) fn product() -> Vec<Module> {
    let mut modules = modules("src/lib.rs", &[]);
    if root().join("src/main.rs").exists() {
        modules.extend(self::modules("src/main.rs", &["main"]));
    }
    modules
}

/// Returns the modules of the test suite.
pub(super) fn suite() -> Vec<Module> {
    modules("tests/main.rs", &["tests"])
}

/// Returns the modules that `root_file` reaches through `mod` declarations.
fn modules(root_file: &str, path: &[&str]) -> Vec<Module> {
    let path: Vec<String> = path.iter().map(|s| (*s).to_owned()).collect();
    let mut open =
        vec![Module { file: root_file.to_owned(), path, test: false, text: read(root_file) }];
    let mut found = Vec::new();
    while let Some(module) = open.pop() {
        let folder = child_folder(&module.file);
        for (inline, name, test) in declarations(&module.tokens()) {
            let base = inline.iter().fold(folder.clone(), |folder, part| folder.join(part));
            let candidates = [base.join(format!("{name}.rs")), base.join(&name).join("mod.rs")];
            let file = candidates.iter().find(|file| root().join(file).exists());
            let file = file.unwrap_or_else(|| panic!("{}: no file for mod {name}", module.file));
            let file = file.to_string_lossy().into_owned();
            let mut path = module.path.clone();
            path.extend(inline);
            path.push(name);
            let text = read(&file);
            open.push(Module { file, path, test: test || module.test, text });
        }
        found.push(module);
    }
    found
}

fn child_folder(file: &str) -> PathBuf {
    let file = Path::new(file);
    let folder = file.parent().unwrap_or(Path::new(""));
    let stem = file.file_stem().unwrap_or_default();
    if stem == "mod" || stem == "lib" || stem == "main" {
        folder.to_path_buf()
    } else {
        folder.join(stem)
    }
}

/// Returns the `mod name;` in `tokens` with the inline modules around them and whether they are tests.
pub(super) fn declarations(tokens: &[Token]) -> Vec<(Vec<String>, String, bool)> {
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let after = |n: usize| tokens.get(at + n).map_or("", |t| t.text.as_str());
        match token.text.as_str() {
            "mod" if after(2) == ";" => {
                let around = inline.iter().map(|(name, _)| name.clone()).collect();
                found.push((around, after(1).to_owned(), token.test));
            }
            "mod" if after(2) == "{" => inline.push((after(1).to_owned(), depth)),
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inline.pop_if(|(_, opened)| *opened == depth);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_know_tests_and_inline_modules() {
        let source = "mod a; #[cfg(test)] mod b; pub mod c { fn f() {} mod d; } mod e { } mod g;";

        let found = declarations(&scan::tokens(source));

        let shown: Vec<String> = found
            .iter()
            .map(|(around, name, test)| format!("{}/{name}/{test}", around.join(".")))
            .collect();
        assert_eq!(shown, ["/a/false", "/b/true", "c/d/false", "/g/false"]);
    }

    #[test]
    fn the_tree_knows_what_only_tests_compile() {
        let modules = product();

        let is_test = |file: &str| modules.iter().find(|m| m.file == file).map(|m| m.test);
        assert_eq!(is_test("src/protocol/digest.rs"), Some(false));
        assert_eq!(is_test("src/protocol/tests/messages.rs"), Some(true));
        assert_eq!(is_test("src/testing/mod.rs"), Some(true));
    }
}
