//! The row of a file after a transition: derived together with memory, saved by the caller.
//!
//! A [`RowChange`] follows a transition that memory has already made. A [`Step`] comes before it:
//! memory follows only once the row says so, which [`Saved`] proves. Nothing outside
//! this room builds an [`OutboxChange`].

use crate::protocol::{Digest, MessageId};
use crate::store::{OutboxChange, Store, StoreError};

use super::promise::Version;

/// A change of one row that a transition implies.
#[derive(Debug)]
#[must_use = "memory and journal disagree until it is saved"]
pub(in crate::mailbox) struct RowChange {
    id: i64,
    change: OutboxChange,
}

impl RowChange {
    pub(super) fn new(id: i64, change: OutboxChange) -> Self {
        Self { id, change }
    }

    /// Makes the change durable.
    ///
    /// # Errors
    /// The database's; `NotFound` when the row is gone.
    pub(in crate::mailbox) async fn save(self, store: &Store) -> Result<(), StoreError> {
        store.update_outbox(self.id, self.change).await
    }
}

/// A transition that the row makes first.
#[derive(Debug)]
#[must_use = "nothing has happened until it is saved"]
pub(in crate::mailbox) struct Step<T> {
    row: RowChange,
    then: T,
}

/// Proof that the row has made its transition; memory follows.
#[derive(Debug)]
#[must_use = "memory must follow its row"]
pub(in crate::mailbox) struct Saved<T> {
    id: i64,
    then: T,
}

impl<T> Saved<T> {
    /// Returns what follows in memory.
    ///
    /// # Panics
    /// When the row is not that of the file `id`.
    pub(super) fn of(self, id: i64) -> T {
        assert_eq!(self.id, id, "a file follows its own row");
        self.then
    }
}

impl<T> Step<T> {
    pub(super) fn new(row: RowChange, then: T) -> Self {
        Self { row, then }
    }

    /// Makes the transition durable.
    ///
    /// # Errors
    /// The database's; `NotFound` when the row is gone. Nothing has happened then.
    pub(in crate::mailbox) async fn save(self, store: &Store) -> Result<Saved<T>, StoreError> {
        let id = self.row.id;
        self.row.save(store).await?;
        Ok(Saved { id, then: self.then })
    }
}

/// Everything but the tag of the message is in the registry: a restart publishes the tag.
#[derive(Debug)]
pub(in crate::mailbox) struct Promising {
    pub(super) digest: Digest,
}

/// The tag exists.
#[derive(Debug)]
pub(in crate::mailbox) struct Sending;

/// The file waits for its delivery in the background.
#[derive(Debug)]
pub(in crate::mailbox) struct Queueing {
    pub(super) id: MessageId,
    pub(super) version: Version,
    pub(super) place: i64,
}

/// The file leaves the queue because it is about to change.
#[derive(Debug)]
pub(in crate::mailbox) struct Leaving;

/// The file is never sent unless it is written again.
#[derive(Debug)]
pub(in crate::mailbox) struct Abandoning;

/// The user has seen the failure.
#[derive(Debug)]
pub(in crate::mailbox) struct Dismissing;

/// A file that gets its place in the queue from the row.
#[derive(Debug)]
#[must_use = "nothing has happened until it is saved"]
pub(in crate::mailbox) struct QueueStep {
    row: RowChange,
    id: MessageId,
    version: Version,
}

impl QueueStep {
    pub(super) fn new(row: RowChange, id: MessageId, version: Version) -> Self {
        Self { row, id, version }
    }

    /// Makes the row Queued, behind all others.
    ///
    /// # Errors
    /// The database's; `NotFound` when the row is gone. Nothing has happened then.
    pub(in crate::mailbox) async fn save(
        self,
        store: &Store,
    ) -> Result<Saved<Queueing>, StoreError> {
        let id = self.row.id;
        let place = store.enqueue_outbox(id, self.row.change).await?;
        Ok(Saved { id, then: Queueing { id: self.id, version: self.version, place } })
    }
}

#[cfg(test)]
pub(super) mod model {
    //! A row in memory, for tests that need no database.

    use super::{QueueStep, Queueing, RowChange, Saved, Step};
    use crate::store::{OutboxEntry, OutboxState};

    impl RowChange {
        pub(in crate::mailbox::staged) fn apply(self, row: &mut OutboxEntry) {
            assert_eq!(self.id, row.id);
            self.change.apply(row);
        }
    }

    impl<T> Step<T> {
        pub(in crate::mailbox::staged) fn apply(self, row: &mut OutboxEntry) -> Saved<T> {
            self.row.apply(row);
            Saved { id: row.id, then: self.then }
        }
    }

    impl QueueStep {
        pub(in crate::mailbox::staged) fn apply(
            self,
            row: &mut OutboxEntry,
            place: i64,
        ) -> Saved<Queueing> {
            self.row.apply(row);
            row.state = OutboxState::Queued;
            row.queue_place = Some(place);
            Saved { id: row.id, then: Queueing { id: self.id, version: self.version, place } }
        }
    }
}
