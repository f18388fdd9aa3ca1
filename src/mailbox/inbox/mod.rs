//! What was sent to me: discovered, verified, listed.
//!
//! A poll finds tags, `admit` judges what they name, `verdicts` makes the outcome durable,
//! `listing` shows it, `recheck` resolves checked tags again. Start at [`Inbox`].
//!
//! **Invariant:** nothing is listed before its signature is verified.

mod admit;
mod cursor;
mod handle;
mod health;
mod inspect;
mod listing;
mod poll;
mod recheck;
mod report;
mod shared;
mod verdicts;

pub use handle::Inbox;
pub use inspect::Inspection;
pub use report::PollReport;
