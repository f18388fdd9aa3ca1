//! What I send: staged files on their way to recipients.
//!
//! A file is a draft while it is written, Queued once it is complete and its delivery is left to the
//! background, Prepared once everything but the tag is in the registry and a durable row says so,
//! and Sent once its tag exists. Which close means "send it" is decided above, by `fs`; this room
//! never guesses. Start at [`Outbox`]; the state of a file belongs to the room `staged/`, which this
//! one drives: `writing.rs` and `closing.rs` for programs, `sender.rs` to the registry, `queue.rs`
//! and `lane.rs` in the background, `recover.rs` at a start.
//!
//! **Invariant:** once `prepare` or `enqueue` has returned Ok the message is published exactly
//! once, also after a crash; without it, never.

mod closing;
mod delivery;
mod directory;
mod empty;
mod held;
mod known;
mod lane;
mod local;
mod names;
mod opening;
mod patience;
mod pausing;
mod queue;
mod recipients;
mod recover;
mod repair;
mod repeat;
mod replace;
mod rewriting;
mod round;
mod sender;
mod shared;
mod stage;
mod upload;
mod upload_pool;
mod writing;

pub(super) use delivery::{is_waiting, waiting_count};
pub use recipients::unheld_in;
pub use shared::Outbox;
pub use stage::SentMessage;
