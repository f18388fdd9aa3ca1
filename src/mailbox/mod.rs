//! The product without a user interface: send, discover, read, acknowledge.
//!
//! It knows no FUSE, no errno and no command line. Metadata is answered from an immutable
//! [`Snapshot`]; everything that waits is async and bounded by the repository's deadlines. Start at
//! [`Mailbox`]; `staged/` keeps what is to be sent, `outbox/` sends to whom `recipient/` lets it, `inbox/` receives, `reading/`
//! fetches the content of both, `receipt/` acknowledges, `lifecycle/` ends messages. They share
//! `core.rs`; `discover.rs` finds signatures and `push.rs` attaches them.
//!
//! **Invariant:** only `trust` decides what may be listed; only a durable row promises a delivery.

mod core;
mod discover;
mod entry;
mod error;
mod handle;
mod inbox;
mod incident;
mod lifecycle;
mod local;
mod options;
mod outbox;
mod parts;
mod pattern;
mod push;
mod reading;
mod receipt;
mod recipient;
mod snapshot;
mod staged;
mod status;
mod temporary_names;
#[cfg(test)]
mod tests;
mod trust_mark;

pub use entry::{EntryName, EntryPath};
pub use error::MailboxError;
pub use handle::Mailbox;
pub use inbox::{Inbox, Inspection, PollReport};
pub use incident::{Incident, ResendRefusal};
pub use lifecycle::{
    CollectedMessage, Content, Garbage, Leftovers, Recall, Remainder, Removal, Resent, SentEntry,
};
pub use options::{
    CHECK_SENT_DEFAULT, Delivery, HISTORY_DEFAULT, MailboxOptions, POLL_DEFAULT,
    QUEUE_PAUSE_DEFAULT, SETTLE_DEFAULT,
};
pub use outbox::{Outbox, SentMessage, unheld_in};
pub use parts::{FixedTrust, MailboxParts, TrustSource};
pub use reading::MessageReader;
pub use recipient::{
    Judged, KnownNames, NotARecipient, Standing, Unheld, UnheldRecipient, did_you_mean, judge,
};
pub use snapshot::{
    Directory, ErrorLine, InboxItem, OutboxDir, QuarantineItem, ReceiptItem, Snapshot,
};
pub use staged::{Event, FailureNote, OutboxFile, SendState};
pub use status::{Status, Transfer};
pub use temporary_names::TEMPORARY_NAMES;
