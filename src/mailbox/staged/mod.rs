//! Staged files: content on the local disk, and what is promised of it.
//!
//! An [`OutboxFile`] owns its state. The parts say what they are: content (`content.rs`: open,
//! parked or gone), promise (`promise.rs`: a place in the queue, a prepared message), place
//! (`place.rs`: name, standing, what it has replaced) and outcome (`outcome.rs`: state and failure).
//! Every change of state goes through the table in `state.rs`, and every transition returns the row
//! that it implies (`row.rs`), so memory and journal are derived together. One content may be shared
//! by several promises, each with its own place, queue and outcome.
//!
//! Today's outbox makes one promise of each content: before it makes several, it has to lock the
//! delivery of all of them, and to take all of them out of the queue, before one is written to.
//!
//! This room knows no registry, no queue and no task: the outbox drives it. What it needs (the
//! spool directory, the clock, the rule for temporary names) comes with the [`StagingArea`]. The
//! lock order is stated in `lock.rs`. Start at [`OutboxFile`].
//!
//! **Invariant:** memory never forgets what a row promises, and promises nothing that no row says.

mod area;
mod attributes;
mod chunks;
mod claim;
mod content;
mod delivering;
mod failure;
mod file;
mod lock;
mod member;
mod naming;
mod outcome;
mod place;
mod promise;
mod queueing;
mod rewriting;
mod row;
mod spool;
mod state;
#[cfg(test)]
mod tests;
mod uploading;
mod writing;

pub(super) use area::StagingArea;
pub(super) use chunks::Pending;
pub(super) use delivering::{MessageBasis, Tagging};
pub use failure::FailureNote;
pub(super) use file::NewContent;
pub use file::OutboxFile;
pub(super) use lock::assert_no_file_locked;
pub(super) use naming::{ReplacedFile, Resumption};
pub(super) use promise::LeftPlace;
pub(super) use queueing::Readiness;
pub(super) use spool::Spool;
pub use state::{Event, SendState};
pub(super) use uploading::{ChunkClaim, Extent, Uploaded};
pub(super) use writing::Changed;
