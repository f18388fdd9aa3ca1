//! What an address is: the form that the name of a new recipient has.
//!
//! P1 takes any text as an identity, since a name is what two people agree on. A name that nobody
//! agreed on yet comes from a keyboard or a program: `cp -r photos outbox/` means no recipient
//! called `photos`. Such a name must be an address. Start at [`check_address`].
//!
//! **Must never:** decide about what arrives on the wire, or about a name that is known already.

use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::identity::Identity;
use super::limits::NAME_LEN_MAX;
use crate::sys::untrusted::is_deceptive;

/// Longest local part in bytes, by RFC 5321.
const LOCAL_LEN_MAX: usize = 64;

/// Separates recipients in lists, of which an address is one member.
const LIST_CHARACTERS: &str = ",;";

/// Has a meaning in mail headers, paths, patterns or URLs.
const PUNCTUATION: &str = "<>:*?\"()[]/\\%";

/// Stands between words, never first or last.
const JOINERS: [char; 2] = ['.', '-'];

/// The part of an address that a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressPart {
    /// What stands before the `@`.
    Local,
    /// What stands after the `@`.
    Domain,
}

impl AddressPart {
    const fn place(self) -> &'static str {
        match self {
            Self::Local => "before",
            Self::Domain => "after",
        }
    }
}

/// Why a text is not an address. The set is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AddressProblem {
    /// There is no text.
    #[error("it is empty")]
    Empty,
    /// More bytes than an identity may have (P1).
    #[error("it is longer than 255 bytes")]
    TooLong,
    /// A control, bidirectional or zero-width character.
    #[error("it has an invisible character")]
    Invisible,
    /// White space, also at its ends.
    #[error("it has a space")]
    Space,
    /// Several recipients in one name.
    #[error("it has `{0}`, which separates several recipients")]
    List(char),
    /// Punctuation of headers, paths, patterns or URLs.
    #[error("it has `{0}`")]
    Punctuation(char),
    /// No `@`.
    #[error("it has no `@`")]
    NoAt,
    /// More than one `@`.
    #[error("it has more than one `@`")]
    SeveralAts,
    /// One of the two parts is missing.
    #[error("it has nothing {} the `@`", .0.place())]
    NoPart(AddressPart),
    /// The local part is too long.
    #[error("it has more than 64 bytes before the `@`")]
    LocalTooLong,
    /// A part begins or ends with a dot or a hyphen.
    #[error("the part {} the `@` begins or ends with `{joiner}`", .part.place())]
    Edge {
        /// Which part.
        part: AddressPart,
        /// The dot or the hyphen.
        joiner: char,
    },
    /// Two dots with nothing between them.
    #[error("it has two dots in a row after the `@`")]
    EmptyLabel,
    /// A domain has letters, digits, `-` and `_`.
    #[error("it has `{0}` after the `@`")]
    DomainCharacter(char),
    /// The same text has a composed form, which is the one to use.
    #[error("it is not in the composed form of Unicode (NFC)")]
    NotComposed,
}

impl AddressProblem {
    /// Returns whether no identity of any form may be like that, or none in a directory's name.
    pub fn is_of_any_name(self) -> bool {
        matches!(self, Self::Empty | Self::TooLong | Self::Invisible | Self::Punctuation('%'))
    }
}

/// Checks that `text` is an address: one `@` between a local part and a domain, whose labels
/// consist of letters and digits of any script, `-` and `_`. Case is kept, and one label is enough.
///
/// # Errors
/// The first problem, in the order in which a person would look for it.
pub fn check_address(text: &str) -> Result<(), AddressProblem> {
    check_length(text)?;
    check_characters(text)?;
    let (local, domain) = text.split_once('@').ok_or(AddressProblem::NoAt)?;
    if domain.contains('@') {
        return Err(AddressProblem::SeveralAts);
    }
    check_part(AddressPart::Local, local)?;
    if local.len() > LOCAL_LEN_MAX {
        return Err(AddressProblem::LocalTooLong);
    }
    check_part(AddressPart::Domain, domain)?;
    domain.split('.').try_for_each(check_label)?;
    if is_nfc(text) { Ok(()) } else { Err(AddressProblem::NotComposed) }
}

fn check_length(text: &str) -> Result<(), AddressProblem> {
    match text.len() {
        0 => Err(AddressProblem::Empty),
        1..=NAME_LEN_MAX => Ok(()),
        _ => Err(AddressProblem::TooLong),
    }
}

fn check_characters(text: &str) -> Result<(), AddressProblem> {
    let problem = text.chars().find_map(|c| {
        if is_deceptive(c) {
            Some(AddressProblem::Invisible)
        } else if c.is_whitespace() {
            Some(AddressProblem::Space)
        } else if LIST_CHARACTERS.contains(c) {
            Some(AddressProblem::List(c))
        } else {
            PUNCTUATION.contains(c).then_some(AddressProblem::Punctuation(c))
        }
    });
    problem.map_or(Ok(()), Err)
}

fn check_part(part: AddressPart, text: &str) -> Result<(), AddressProblem> {
    if text.is_empty() {
        return Err(AddressProblem::NoPart(part));
    }
    let is_edge = |joiner: &char| text.starts_with(*joiner) || text.ends_with(*joiner);
    match JOINERS.into_iter().find(is_edge) {
        Some(joiner) => Err(AddressProblem::Edge { part, joiner }),
        None => Ok(()),
    }
}

fn check_label(label: &str) -> Result<(), AddressProblem> {
    if label.is_empty() {
        return Err(AddressProblem::EmptyLabel);
    }
    // A mark completes the letter before it, as the vowels of many scripts do.
    let is_misplaced = |(index, c): &(usize, char)| {
        let is_mark = *index > 0 && is_combining_mark(*c);
        !(is_mark || is_label_character(*c)) || (*index == 0 && is_combining_mark(*c))
    };
    match label.chars().enumerate().find(is_misplaced) {
        Some((_, c)) => Err(AddressProblem::DomainCharacter(c)),
        None => Ok(()),
    }
}

fn is_label_character(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_')
}

/// Returns the address inside a text that is not one: what `Otto <otto@example.org>`,
/// `mailto:otto@example.org` and an address with a space at its end were meant to be.
pub fn address_inside(text: &str) -> Option<Identity> {
    let composed: String = text.nfc().collect();
    let mut inner = composed.trim();
    if let Some((_, tail)) = inner.rsplit_once('<') {
        inner = tail.split_once('>').map_or(tail, |(head, _)| head).trim();
    }
    if let Some((scheme, tail)) = inner.split_once(':')
        && scheme.eq_ignore_ascii_case("mailto")
    {
        inner = tail.split_once('?').map_or(tail, |(head, _)| head);
    }
    inner = inner.trim_matches(is_wrapping);
    if inner == text || check_address(inner).is_err() {
        return None;
    }
    inner.parse().ok()
}

/// What a copied address may have around it.
fn is_wrapping(c: char) -> bool {
    c.is_whitespace() || is_deceptive(c) || "\"'.,;()[]".contains(c)
}

/// Returns `user@host` as an address, whatever characters the two names have; `None` when nothing
/// of one of them is left.
pub fn local_address(user: &str, host: &str) -> Option<Identity> {
    let user = plain_part(user, LOCAL_LEN_MAX);
    let host = plain_part(host, NAME_LEN_MAX.saturating_sub(user.len() + 1));
    let text = format!("{user}@{host}");
    check_address(&text).ok()?;
    text.parse().ok()
}

/// Keeps letters, digits, `-`, `_` and single dots; anything else becomes `_`.
fn plain_part(text: &str, len_max: usize) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.trim().trim_matches(JOINERS).nfc() {
        let c = if is_label_character(c) || c == '.' { c } else { '_' };
        let is_second_dot = c == '.' && plain.ends_with('.');
        if !is_second_dot && plain.len() + c.len_utf8() <= len_max {
            plain.push(c);
        }
    }
    plain.trim_end_matches(JOINERS).to_owned()
}
