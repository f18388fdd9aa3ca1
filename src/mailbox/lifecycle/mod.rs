//! What becomes of a message: lost and put back, withdrawn by its sender, expired, forgotten.
//!
//! `withdraw` removes one message of mine from the registry, `recall` does so before its time,
//! `collect` for all whose time is over, together with unused data on this machine. Start at
//! [`Mailbox::recall`](super::Mailbox::recall) and
//! [`Mailbox::collect_garbage`](super::Mailbox::collect_garbage). `watching` looks after what was
//! sent until then, and `resend` sends once more what the registry has lost.
//!
//! **Invariant:** nothing is deleted from a registry except a message in our own journal, its
//! signature, and receipts that name it in full.

mod collect;
mod leftovers;
mod presence;
mod recall;
mod resend;
mod watching;
mod withdraw;

pub use collect::{CollectedMessage, Garbage};
pub use leftovers::Leftovers;
pub use recall::{Recall, SentEntry};
pub use resend::{Content, Resent};
pub(super) use watching::Watching;
pub use withdraw::{Remainder, Removal};
