//! The end of a message: withdrawn by its sender, expired, forgotten.
//!
//! `withdraw` removes one message of mine from the registry, `recall` does so before its time,
//! `collect` for all whose time is over, together with unused data on this machine. Start at
//! [`Mailbox::recall`](super::Mailbox::recall) and
//! [`Mailbox::collect_garbage`](super::Mailbox::collect_garbage).
//!
//! **Invariant:** nothing is deleted from a registry except a message in our own journal, its
//! signature, and receipts that name it in full.

mod collect;
mod leftovers;
mod recall;
mod withdraw;

pub use collect::{CollectedMessage, Garbage};
pub use leftovers::Leftovers;
pub use recall::{Recall, SentEntry};
pub use withdraw::{Remainder, Removal};
