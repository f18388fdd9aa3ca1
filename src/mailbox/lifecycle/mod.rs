//! The end of a message: withdrawn by its sender, expired, forgotten.
//!
//! `withdraw` takes one message of mine out of the registry, `recall` does so before its time,
//! `collect` for all whose time is over, together with what lies on this machine unused.
//! Start at [`Mailbox::recall`](super::Mailbox::recall) and
//! [`Mailbox::collect_garbage`](super::Mailbox::collect_garbage).
//!
//! **Invariant:** nothing is deleted from a registry that is not a message in our own journal, its
//! signature, or a receipt that names it in full.

mod collect;
mod leftovers;
mod recall;
mod withdraw;

pub use collect::{CollectedMessage, Garbage};
pub use leftovers::Leftovers;
pub use recall::{Recall, SentEntry};
pub use withdraw::{Remainder, Removal};
