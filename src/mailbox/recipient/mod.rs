//! Who may become a recipient: a name that is known, that the user allowed, or that is an address.
//!
//! `cp -r photos outbox/` makes a directory, and a typing error is another person's name: neither may
//! carry a file away. Pure: names in, a verdict with its reason out. Start at [`judge`]; `near.rs`
//! finds what was probably meant, `unheld.rs` counts what goes to people without a key here.
//!
//! **Must never:** decide about a directory that is listed already, or about what arrives.

mod near;
#[cfg(test)]
mod tests;
mod unheld;

use std::fmt;

pub use self::near::KnownNames;
pub use self::unheld::{Unheld, UnheldRecipient};
use super::pattern::matches_any;
use crate::protocol::{AddressProblem, Identity, address_inside, check_address};
use crate::sys::Untrusted;

/// Why a name may be a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is in the trust store, or one of my own; any form will do.
    Known,
    /// The user allows such names (`outbox_new`); any form will do.
    Allowed,
    /// It is an address, of a person whose key is not held.
    Address,
}

/// A name that may be a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The name.
    pub recipient: Identity,
    /// Why.
    pub standing: Standing,
    /// Known names that are almost this one, the nearest first; none when it is known itself.
    pub near: Vec<Identity>,
}

/// A name that cannot be a new recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not an address: {problem}", Untrusted(name))]
pub struct NotARecipient {
    /// What was given.
    pub name: String,
    /// Why it is not an address.
    pub problem: AddressProblem,
    /// What may have been meant, the most likely first.
    pub meant: Vec<Identity>,
}

impl NotARecipient {
    /// Returns what to do next, in one sentence.
    pub fn hint(&self) -> String {
        match (did_you_mean(&self.meant), self.problem) {
            (Some(question), _) => question,
            (None, AddressProblem::List(_)) => "send to each recipient separately".to_owned(),
            (None, problem) if problem.is_of_any_name() => {
                "name a recipient like `user@example.org`".to_owned()
            }
            (None, _) => "name a recipient like `user@example.org`, copy files into \
                          outbox/RECIPIENT/, or allow this name in the setting `outbox_new`, which \
                          a mount reads when it starts"
                .to_owned(),
        }
    }
}

/// Decides whether `name` may become a recipient. The first line that applies:
///
/// | name | verdict |
/// |---|---|
/// | in the trust store, or my own | [`Standing::Known`] |
/// | matches a pattern of `outbox_new` | [`Standing::Allowed`] |
/// | an address | [`Standing::Address`] |
/// | anything else | refused |
///
/// # Errors
/// With the reason, and what may have been meant.
pub fn judge(
    name: &str,
    known: &KnownNames,
    outbox_new: &[String],
) -> Result<Judged, NotARecipient> {
    let problem = check_address(name).err();
    let Ok(recipient) = name.parse::<Identity>() else {
        return Err(refused(name, problem.unwrap_or(AddressProblem::Invisible), known));
    };
    let standing = match problem {
        _ if known.contains(&recipient) => {
            return Ok(Judged { recipient, standing: Standing::Known, near: Vec::new() });
        }
        _ if matches_any(outbox_new, name) => Standing::Allowed,
        None => Standing::Address,
        Some(problem) => return Err(refused(name, problem, known)),
    };
    let near = known.near(name);
    Ok(Judged { recipient, standing, near })
}

/// Refuses a name that is not even an identity in the form that its place needs.
pub(super) fn refuse(name: &str, known: &KnownNames) -> NotARecipient {
    // `%` is the one character that the escape of directories adds, and no address has it.
    let problem = check_address(name).err().unwrap_or(AddressProblem::Punctuation('%'));
    refused(name, problem, known)
}

fn refused(name: &str, problem: AddressProblem, known: &KnownNames) -> NotARecipient {
    let inner = address_inside(name);
    let mut meant = Vec::new();
    let typed = inner.as_ref().map_or(name, Identity::as_str);
    // An address that is known is certain; otherwise a known name that is almost it comes first.
    if inner.as_ref().is_none_or(|inner| !known.contains(inner)) {
        meant = known.near(typed);
        meant.extend(known.of_local_part(typed));
    }
    meant.extend(inner);
    NotARecipient { name: name.to_owned(), problem, meant }
}

/// Returns the question after what was probably meant; `None` when nothing is similar.
pub fn did_you_mean(names: &[Identity]) -> Option<String> {
    (!names.is_empty()).then(|| format!("did you mean {}?", Alternatives(names)))
}

/// Names as alternatives in a sentence: `a`, `b` or `c`.
pub(super) struct Alternatives<'a>(pub(super) &'a [Identity]);

impl fmt::Display for Alternatives<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            match index {
                0 => {}
                _ if index + 1 == self.0.len() => f.write_str(" or ")?,
                _ => f.write_str(", ")?,
            }
            write!(f, "`{}`", Untrusted(name.as_str()))?;
        }
        Ok(())
    }
}
