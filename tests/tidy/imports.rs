//! Which file of the product imports which, and for what name.
//!
//! An import leads to the file that defines the name, through every `pub use` on the way: a
//! `mod.rs` that only declares and re-exports is skipped, one that defines items is a file like any
//! other. Methods are called without an import and are not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{Named, paths};
use super::scan::Token;
use super::tree::Module;

/// Most `use` declarations that one name may lead through; a longer chain is a chain to itself.
const USE_COUNT_MAX: usize = 16;

/// One file needs another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) from: String,
    pub(super) to: String,
    /// The path that leads there, as it is first named.
    pub(super) name: String,
    pub(super) line: usize,
}

/// Returns the imports between `modules`, one for each pair of files; what only tests compile does
/// not count.
pub(super) fn imports(modules: &[Module]) -> Vec<Import> {
    let product: Vec<(&Module, Vec<Token>)> =
        modules.iter().filter(|m| !m.test).map(|m| (m, m.tokens())).collect();
    let names = Names::of(&product);
    let mut found: BTreeMap<(String, String), Import> = BTreeMap::new();
    for (module, tokens) in &product {
        let used = words_outside_use(tokens);
        for named in paths(tokens, &module.path) {
            // A re-export alone needs nothing from the file.
            let passed_on =
                named.exported && named.alias.as_deref().is_none_or(|a| !used.contains(a));
            if named.test || passed_on {
                continue;
            }
            let Some(to) = names.home_of(&named) else { continue };
            if to != module.file {
                let from = module.file.clone();
                let name = named.segments.join("::");
                let import =
                    Import { from: from.clone(), to: to.to_owned(), name, line: named.line };
                found.entry((from, to.to_owned())).or_insert(import);
            }
        }
    }
    found.into_values().collect()
}

/// Where the names of the crate are at home; a key is a whole path without `crate`.
#[derive(Default)]
struct Names {
    modules: BTreeMap<Vec<String>, String>,
    items: BTreeMap<Vec<String>, String>,
    uses: BTreeMap<Vec<String>, Named>,
}

impl Names {
    fn of(product: &[(&Module, Vec<Token>)]) -> Self {
        let mut names = Self::default();
        for (module, tokens) in product {
            names.modules.insert(module.path.clone(), module.file.clone());
            for (inline, item) in definitions(tokens) {
                let mut path = module.path.clone();
                path.extend(inline);
                names.modules.insert(path.clone(), module.file.clone());
                path.push(item);
                names.items.insert(path, module.file.clone());
            }
            for named in paths(tokens, &module.path).into_iter().filter(|named| !named.test) {
                if let Some(alias) = &named.alias {
                    let path = [&named.module[..], std::slice::from_ref(alias)].concat();
                    names.uses.insert(path, named);
                }
            }
        }
        names
    }

    /// Returns the file that defines what `named` leads to, unless it belongs to a foreign crate.
    fn home_of(&self, named: &Named) -> Option<&str> {
        self.home(&self.absolute(named)?, USE_COUNT_MAX)
    }

    /// Returns the path from the root of the crate; a relative one starts at a name of its module.
    fn absolute(&self, named: &Named) -> Option<Vec<String>> {
        if named.ours {
            return Some(named.segments.clone());
        }
        let first = [&named.module[..], &named.segments[..1]].concat();
        let is_itself = named.segments.len() == 1 && named.alias == named.segments.first().cloned();
        let is_known = self.modules.contains_key(&first)
            || self.items.contains_key(&first)
            || (self.uses.contains_key(&first) && !is_itself);
        is_known.then(|| [&named.module[..], &named.segments[..]].concat())
    }

    fn home(&self, path: &[String], uses_left: usize) -> Option<&str> {
        for end in 1..=path.len() {
            let (start, rest) = path.split_at(end);
            let item = self.items.get(start);
            if self.modules.contains_key(start) && (item.is_none() || !rest.is_empty()) {
                continue;
            }
            if let Some(file) = item {
                return Some(file);
            }
            if let Some(named) = self.uses.get(start) {
                let target = self.absolute(named)?;
                return self.home(&[&target[..], rest].concat(), uses_left.checked_sub(1)?);
            }
            // What a macro has defined.
            return self.file_of(&path[..end - 1]);
        }
        self.file_of(path)
    }

    /// Returns the file of a module, but none for a folder: what is used of that is named with it.
    fn file_of(&self, module: &[String]) -> Option<&str> {
        let file = self.modules.get(module)?;
        let is_folder = file.ends_with("/mod.rs") || file.ends_with("/lib.rs");
        (!is_folder).then_some(file)
    }
}

/// Returns the items that a file defines with the inline modules around them.
fn definitions(tokens: &[Token]) -> Vec<(Vec<String>, String)> {
    const KINDS: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let after = |n: usize| tokens.get(at + n).map_or("", |t| t.text.as_str());
        let is_outside = depth == inline.last().map_or(0, |(_, opened)| opened + 1);
        let name = match token.text.as_str() {
            "mod" if after(2) == "{" => {
                inline.push((after(1).to_owned(), depth));
                continue;
            }
            "{" => {
                depth += 1;
                continue;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                inline.pop_if(|(_, opened)| *opened == depth);
                continue;
            }
            "macro_rules" if after(1) == "!" => after(2),
            kind if KINDS.contains(&kind) => after(1),
            _ => continue,
        };
        let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name != "fn";
        if is_outside && is_name && !token.test {
            let around = inline.iter().map(|(name, _)| name.clone()).collect();
            found.push((around, name.to_owned()));
        }
    }
    found
}

/// Returns the words of the code without its `use` declarations and its tests.
fn words_outside_use(tokens: &[Token]) -> BTreeSet<&str> {
    let mut words = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_captures = tokens.get(at + 1).is_some_and(|t| t.text == "<");
        if tokens[at].text == "use" && !is_captures {
            at += tokens[at..].iter().take_while(|t| t.text != ";").count();
        } else {
            if !tokens[at].test {
                words.insert(tokens[at].text.as_str());
            }
            at += 1;
        }
    }
    words
}

/// Returns a product of the files in `sources`, each a path below `src/` and its text.
#[cfg(test)]
pub(super) fn product_of(sources: &[(&str, &str)]) -> Vec<Module> {
    let module = |(file, text): &(&str, &str)| {
        let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
        Module {
            file: format!("src/{file}"),
            path: path.split('/').map(str::to_owned).collect(),
            test: path.ends_with("/tests"),
            text: (*text).to_owned(),
        }
    };
    sources.iter().map(module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sources: &[(&str, &str)]) -> Vec<String> {
        let imports = imports(&product_of(sources));
        imports.iter().map(|i| format!("{}>{}", &i.from[4..], &i.to[4..])).collect()
    }

    #[test]
    fn every_kind_of_path_leads_to_the_file_that_defines_the_name() {
        let target = ("a/b.rs", "pub struct B; pub const C: B = B; macro_rules! d { () => {} }");
        let folder = ("a/mod.rs", "mod b; pub use b::{B, C as E}; pub(crate) use b::d;");
        for text in [
            "use crate::a::b::B;",
            "use crate::a::B;",
            "use crate::a::E as F;",
            "use super::a::{self, B};",
            "use crate::a; fn f() -> a::B { a::B }",
            "use crate::a as z; fn f() { let x = z::b::B; }",
            "fn f(x: &crate::a::B) {}",
            "fn f() { super::a::b::B::new::<u8>(); }",
            "fn f() { crate::a::d!(); }",
            "use crate::a::b;",
            "mod inner { fn f() { super::super::a::E; } }",
            "pub use crate::a::B; fn f(x: B) {}",
        ] {
            assert_eq!(found(&[target, folder, ("c.rs", text)]), ["c.rs>a/b.rs"], "{text}");
        }
    }

    #[test]
    fn what_needs_no_other_file_is_no_import() {
        let target = ("a/b.rs", "pub struct B; use super::b::B as C; fn f() { self::g(); }");
        let folder = ("a/mod.rs", "mod b; pub use b::B;");
        for text in [
            "use crate::a;",
            "pub use crate::a::B;",
            "use b::B; use std::fmt; fn f() -> fmt::Result { Vec::new() }",
            "#[cfg(test)] mod tests { use crate::a::B; }",
            "pub(in crate::a) fn f() {} // crate::a::B",
            "use c; use self::c as d; fn f() { d::e(); }",
        ] {
            assert_eq!(found(&[target, folder, ("c.rs", text)]), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_folder_that_defines_items_is_a_file_like_any_other() {
        let folder = ("a/mod.rs", "mod b; mod c; pub use c::C; struct A { b: b::B }");
        let b = ("a/b.rs", "use super::A; pub struct B;");

        let found = found(&[folder, b, ("a/c.rs", "pub struct C;")]);

        assert_eq!(found, ["a/b.rs>a/mod.rs", "a/mod.rs>a/b.rs"]);
    }
}
