//! What was sent to me: discovered, verified, listed.
//!
//! A poll finds tags, `admit` judges what they name, `settle` makes it durable, `listing` shows it,
//! `recheck` asks again about tags that were settled. Start at [`Inbox`].
//!
//! **Invariant:** nothing is listed before its signature verified.

mod admit;
mod cursor;
mod handle;
mod health;
mod inspect;
mod listing;
mod poll;
mod recheck;
mod report;
mod settle;
mod shared;

pub use handle::Inbox;
pub use inspect::Inspection;
pub use report::PollReport;
