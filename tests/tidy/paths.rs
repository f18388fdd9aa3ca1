//! The paths that a source file names: `use` trees expanded, and paths inside expressions.

use super::scan::Token;

/// One path as it was written, `self` and `super` resolved.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    pub(super) test: bool,
    /// It starts at the root of this crate; otherwise at a foreign crate or a local name.
    pub(super) ours: bool,
    /// The module it stands in (without `crate`), inline modules included.
    pub(super) module: Vec<String>,
    /// The name that a `use` gives it; none for a path in an expression.
    pub(super) alias: Option<String>,
    /// A `pub use` of any reach.
    pub(super) exported: bool,
}

/// Returns every path in `tokens`, the file of the module `module` (without `crate`).
pub(super) fn paths(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let mut module = module.to_vec();
    let mut inline_ends = Vec::new();
    let mut depth = 0_usize;
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "use" if is_name(tokens, at + 1) || is_text(tokens, at + 1, "::") => {
                let mut raw = Vec::new();
                let end = use_tree(tokens, at + 1, &[], &mut raw);
                let exported = at > 0 && matches!(tokens[at - 1].text.as_str(), "pub" | ")");
                found.extend(raw.into_iter().map(|(path, alias)| {
                    let alias = alias.or_else(|| last_name(&path));
                    Named { alias, exported, ..resolve(path, &tokens[at], &module) }
                }));
                at = end;
                continue;
            }
            "mod" if is_text(tokens, at + 2, "{") => {
                module.push(tokens[at + 1].text.clone());
                inline_ends.push(depth);
            }
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inline_ends.last() == Some(&depth) {
                    inline_ends.pop();
                    module.pop();
                }
            }
            _ if is_name(tokens, at) && is_text(tokens, at + 1, "::") => {
                let path = expression_path(tokens, at);
                let len = path.len();
                // The rest of a longer path (`<T as Trait>::name`) and `$crate` start nothing.
                let starts = at == 0 || !matches!(tokens[at - 1].text.as_str(), "::" | "$");
                if starts {
                    found.push(resolve(path, &tokens[at], &module));
                }
                at += 2 * len - 1;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn is_text(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|t| t.text == text)
}

fn is_name(tokens: &[Token], at: usize) -> bool {
    tokens.get(at).is_some_and(|t| t.text.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

fn expression_path(tokens: &[Token], start: usize) -> Vec<String> {
    let mut path = vec![tokens[start].text.clone()];
    let mut at = start + 1;
    while is_text(tokens, at, "::") && is_name(tokens, at + 1) {
        path.push(tokens[at + 1].text.clone());
        at += 2;
    }
    path
}

/// Adds the paths of the `use` tree at `start` and their `as` names to `found`; returns the place
/// after it.
fn use_tree(
    tokens: &[Token],
    start: usize,
    prefix: &[String],
    found: &mut Vec<(Vec<String>, Option<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut alias = None;
    let mut at = start;
    loop {
        match tokens.get(at).map(|t| t.text.as_str()) {
            Some("{") => {
                at += 1;
                while at < tokens.len() && !is_text(tokens, at, "}") {
                    at = use_tree(tokens, at, &path, found);
                    if is_text(tokens, at, ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some("::") => at += 1,
            Some("as") => {
                alias = tokens.get(at + 1).map(|t| t.text.clone());
                at += 2;
            }
            Some("," | "}" | ";") | None => break,
            Some(segment) => {
                path.push(segment.to_owned());
                at += 1;
            }
        }
    }
    found.push((path, alias));
    at
}

/// Returns the name that a `use` of `path` brings into scope.
fn last_name(path: &[String]) -> Option<String> {
    path.iter().rev().find(|s| *s != "self").cloned()
}

fn resolve(mut path: Vec<String>, token: &Token, module: &[String]) -> Named {
    if path.len() > 1 && path.last().is_some_and(|s| s == "self") {
        path.pop();
    }
    let mut base = match path.first().map(String::as_str) {
        Some("crate" | "dockercomms") => Some(Vec::new()),
        Some("self" | "super") => Some(module.to_vec()),
        _ => None,
    };
    if let Some(base) = &mut base {
        let ups = path.iter().take_while(|s| *s == "self" || *s == "super");
        for _ in ups.filter(|s| *s == "super") {
            base.pop();
        }
        let rest = path
            .iter()
            .skip_while(|s| matches!(s.as_str(), "self" | "super" | "crate" | "dockercomms"));
        base.extend(rest.cloned());
    }
    let ours = base.is_some();
    Named {
        segments: base.unwrap_or(path),
        line: token.line,
        test: token.test,
        ours,
        module: module.to_vec(),
        alias: None,
        exported: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::tokens;
    use super::*;

    fn found(source: &str, module: &str) -> Vec<String> {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        let named = paths(&tokens(source), &module);
        let text = |n: &Named| format!("{}{}", if n.ours { "/" } else { "" }, n.segments.join("/"));
        named.iter().map(text).collect()
    }

    #[test]
    fn use_trees_are_expanded() {
        let source = "use crate::{a::{self, B as C}, d::*}; use e::{F, g::H}; pub use ::i::J;";

        let expected = ["/a", "/a/B", "/d/*", "e/F", "e/g/H", "i/J"];
        assert_eq!(found(source, "x"), expected);
    }

    #[test]
    fn a_use_knows_its_name_and_whether_it_is_exported() {
        let source = "use crate::a::{self, B as C}; pub(super) use d::E; pub use f::*; g::h();";

        let named = paths(&tokens(source), &[]);

        let shown: Vec<_> = named.iter().map(|n| (n.alias.as_deref(), n.exported)).collect();
        let used = |name| (Some(name), false);
        assert_eq!(shown[..2], [used("a"), used("C")]);
        assert_eq!(shown[2..], [(Some("E"), true), (Some("*"), true), (None, false)]);
    }

    #[test]
    fn paths_in_expressions_are_found() {
        let source =
            "fn f(x: crate::a::B) -> <Vec<u8> as c::D>::E { g::h::<u8>(i::J { k: 1 }); k }";

        assert_eq!(found(source, "x"), ["/a/B", "c/D", "g/h", "i/J"]);
    }

    #[test]
    fn super_and_self_are_resolved_through_inline_modules() {
        let source =
            "use super::a; mod t { use super::super::b; use self::c; } use super::super::d;";

        assert_eq!(found(source, "x::y"), ["/x/a", "/x/b", "/x/y/t/c", "/d"]);
    }

    #[test]
    fn a_capture_list_and_a_macro_root_are_no_paths() {
        assert_eq!(
            found("fn f() -> impl A + use<'a> { $crate::b::c() }", "x"),
            Vec::<String>::new()
        );
    }
}
