//! The queue's side of a file: entering, leaving, and whether it may be sent now.
//!
//! The order of the places, and which task sends, are not known here.

use super::file::OutboxFile;
use super::promise::{LeftPlace, Version};
use super::row::{Leaving, QueueStep, Queueing, RowChange, Saved, Step};
use super::state::{Event, SendState};
use crate::mailbox::MailboxError;
use crate::protocol::MessageId;
use crate::store::{OutboxChange, OutboxState};

/// Whether the queue may send a file now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mailbox) enum Readiness {
    /// It is being written or in progress, for an unknown time: those behind it need not wait.
    Absent,
    /// Its settle window is open: those behind it wait, for half a second.
    Settling,
    /// It may be sent.
    Ready,
}

/// The place in the queue that a file has been given.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mailbox) struct Queued {
    pub(in crate::mailbox) place: i64,
    /// A place it had before, to be given up.
    pub(in crate::mailbox) old_place: LeftPlace,
    /// Whether it is still the content that was closed.
    pub(in crate::mailbox) is_same: bool,
}

impl OutboxFile {
    /// Returns the version to queue; `None` when the file is already queued or sent.
    ///
    /// # Errors
    /// `NotPermitted` when what is staged may not be what was closed, and nothing is prepared.
    pub(in crate::mailbox) fn version_to_queue(&self) -> Result<Option<Version>, MailboxError> {
        self.with(|content, member| {
            if matches!(member.state(), SendState::Sent | SendState::Queued) {
                return Ok(None);
            }
            content.require_whole()?;
            if !content.is_vouched() && !member.is_pushed(content) {
                return Err(MailboxError::NotPermitted("copy the file again"));
            }
            Ok(Some(member.version(content)))
        })
    }

    /// Promises the delivery of `version` under the message id `id`.
    pub(in crate::mailbox) fn queueing(&self, version: Version, id: MessageId) -> QueueStep {
        let replaces = self.replaced_rows();
        let change = self.staged().with(|inner| OutboxChange {
            updated_at: Some(self.now()),
            message: Some(None),
            message_id: Some(id),
            error: Some(None),
            unattended: Some(false),
            replaces,
            ..self.described(inner)
        });
        QueueStep::new(RowChange::new(self.id(), change), id, version)
    }

    /// Gives the file the place in the queue that its row has.
    pub(in crate::mailbox) fn queued(&self, saved: Saved<Queueing>) -> Queued {
        let row = saved.of(self.id());
        self.with(|content, member| {
            let old_place = member.promise.enter_queue(row.place, row.id);
            let is_same = member.version(content) == row.version && member.apply(Event::Enqueued);
            Queued { place: row.place, old_place, is_same }
        })
    }

    /// Removes a file from the queue because it is about to change: from the saved row on a crash
    /// leaves a draft. `None` when it has no place.
    ///
    /// A prepared message stays promised until another one takes its place; without one in the
    /// queue, a start after a crash does not mistake the bytes staged by then for its content.
    pub(in crate::mailbox) fn leaving_queue(&self) -> Option<Step<Leaving>> {
        self.with(|content, member| {
            member.promise.queue_place()?;
            let is_pushed = member.is_pushed(content);
            let change = OutboxChange {
                updated_at: Some(self.now()),
                state: (!is_pushed).then_some(OutboxState::Draft),
                message: (!is_pushed).then_some(None),
                leaves_queue: true,
                ..OutboxChange::default()
            };
            Some(Step::new(RowChange::new(self.id(), change), Leaving))
        })
    }

    /// Gives up the place that the row no longer has, and returns it.
    pub(in crate::mailbox) fn left_queue(&self, saved: Saved<Leaving>) -> LeftPlace {
        let Leaving = saved.of(self.id());
        self.with(|_, member| {
            member.promise.forget_unpushed();
            member.promise.leave_queue()
        })
    }

    /// Returns whether the file is a draft or failed although it has `place` in the queue.
    pub(in crate::mailbox) fn is_voided(&self, place: i64) -> bool {
        self.with(|_, member| {
            matches!(member.state(), SendState::Draft | SendState::Failed)
                && member.promise.queue_place() == Some(place)
        })
    }

    /// Allows the queue to send the file: its settle window is over.
    pub(in crate::mailbox) fn settle(&self) {
        self.with(|_, member| member.promise.settle());
    }

    /// Returns whether the queue may send the file now.
    pub(in crate::mailbox) fn readiness(&self) -> Readiness {
        self.with(|content, member| {
            let waits = matches!(member.state(), SendState::Queued | SendState::Prepared)
                && member.promise.queue_place().is_some()
                && member.place.is_active();
            if content.writer_count() > 0 || !waits {
                Readiness::Absent
            } else if member.promise.is_settled() {
                Readiness::Ready
            } else {
                Readiness::Settling
            }
        })
    }

    /// Returns whether a lane that has taken the file may still continue with it.
    pub(in crate::mailbox) fn is_due(&self) -> bool {
        self.with(|content, member| {
            member.promise.queue_place().is_some()
                && content.writer_count() == 0
                && member.place.is_active()
                && matches!(member.state(), SendState::Queued | SendState::Prepared)
        })
    }
}
