//! Queued delivery: promised once the file is durable here, sent in the background.
//!
//! Each recipient has a lane (`lane.rs`). A lane sends its files in the order in which they were
//! closed: it prepares several at once, but publishes them one after the other, and a file that
//! must wait delays those behind it. Start at [`Outbox::enqueue`].
//!
//! **Invariant:** a row says `queued` only while the staged file is complete and no program may
//! write to it, so a crash at any moment delivers what was closed, and never half of something newer.

use std::sync::Arc;

use super::held::end_replaced;
use super::sender;
use super::shared::{Outbox, Wake};
use crate::mailbox::staged::{OutboxFile, SendState};
use crate::mailbox::{MailboxError, Snapshot};
use crate::protocol::{Identity, MessageId};
use crate::store::OutboxState;

impl Outbox {
    /// Makes the file durable and promises its delivery: after Ok it is sent in the background,
    /// also after a crash. Its message's id is fixed here, its time when the manifest is built.
    ///
    /// # Errors
    /// The disk's. It leaves the file Failed, and is recorded for `.dockercomms/errors`.
    pub async fn enqueue(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        self.enqueue_in(file, false).await
    }

    pub(super) async fn enqueue_in(
        &self,
        file: &Arc<OutboxFile>,
        is_unattended: bool,
    ) -> Result<(), MailboxError> {
        // Until the failure is recorded too: the promise of another close must outlast it.
        let _delivery = file.lock_delivery().await;
        let result = enqueue(self, file).await;
        if let Err(error) = &result {
            self.core.record_error(&file.subject(), error);
            sender::fail(self, file, error, is_unattended).await;
        }
        self.core.listing.touch();
        result
    }

    /// Tries a failed file again in the background, or one that waits in the queue at once.
    ///
    /// # Errors
    /// `NotPermitted` for a file that was sent, is being written, or was never complete; the
    /// registry's when it is unknown whether the failed attempt has sent it.
    pub async fn retry(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        match file.state() {
            // Perhaps a write into it failed, and its writer has not reacted yet.
            SendState::Failed if file.writer_count() > 0 => {
                return Err(MailboxError::NotPermitted("it is still being written"));
            }
            SendState::Failed if file.is_temporary() => {
                let why = "it has a temporary name; it is sent once it is renamed";
                return Err(MailboxError::NotPermitted(why));
            }
            SendState::Failed => {}
            SendState::Queued | SendState::Preparing | SendState::Prepared => {
                self.shared.queue.retry_now();
                return Ok(());
            }
            SendState::Sent => return Err(MailboxError::NotPermitted("it is already sent")),
            SendState::Draft => {
                return Err(MailboxError::NotPermitted("it is still being written"));
            }
            SendState::Abandoned => {
                return Err(MailboxError::NotPermitted("it was never complete; copy it again"));
            }
        }
        {
            let _claim = file.claim();
            let _delivery = file.lock_delivery().await;
            if file.state() != SendState::Failed {
                return Err(MailboxError::Busy);
            }
            if file.is_vouched()
                && !sender::is_published(&self.core, file).await?
                && !sender::is_whole(&self.core, file).await?
            {
                // Content that existed when it failed may be gone: a registry forgets what nothing
                // names.
                file.unpark().await?;
                file.forget_pushed();
            }
            if let Err(error) = enqueue(self, file).await {
                sender::fail(self, file, &error, true).await;
                return Err(error);
            }
        }
        self.core.listing.touch();
        if file.queue_place().is_some() {
            self.send_settled(file);
            self.shared.queue.retry_now();
        } else if self.shared.owns_leftovers {
            // Everything but the tag is in the registry: the queue is not needed.
            self.begin_settling(file);
        }
        Ok(())
    }

    /// Gives up a file that is not sent, after checking with the registry if an earlier attempt may
    /// have delivered it.
    ///
    /// # Errors
    /// `NotPermitted` when it turns out that it was sent; the registry's when that is unknown.
    pub async fn cancel(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        let _claim = file.claim();
        let _delivery = file.lock_delivery().await;
        // A crash may have come between the tag and the row, or the answer was lost.
        if file.state() != SendState::Sent
            && file.may_be_tagged()
            && sender::is_published(&self.core, file).await?
        {
            if file.state() == SendState::Failed {
                sender::renew_promise(self, file).await?;
            }
            sender::publish_once(self, file).await?;
        }
        if file.state() == SendState::Sent {
            return Err(MailboxError::NotPermitted("it is already sent"));
        }
        self.end(file).await?;
        self.unlist(file);
        Ok(())
    }

    /// Returns whether the journal says that the file was sent, even if it is gone since; for the
    /// command line, which sees a mount's files as they were a moment ago.
    ///
    /// # Errors
    /// The database's.
    pub async fn was_sent(&self, file: &OutboxFile) -> Result<bool, MailboxError> {
        let entry = self.core.store.outbox(file.id()).await?;
        Ok(entry.is_some_and(|entry| entry.state == OutboxState::Sent))
    }

    /// Makes a waiting file Failed, as what no attempt can send makes it.
    #[cfg(test)]
    pub(in crate::mailbox) async fn give_up(&self, file: &Arc<OutboxFile>, error: MailboxError) {
        let _claim = file.claim();
        let _delivery = file.lock_delivery().await;
        sender::fail(self, file, &error, true).await;
    }

    /// Removes the note about a failure; the file stays as it is.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn dismiss_failure(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        file.dismissed(file.dismissing().save(&self.core.store).await?);
        self.core.listing.touch();
        Ok(())
    }

    /// Allows the queue to send a file whose settle window is over.
    pub(super) fn send_settled(&self, file: &Arc<OutboxFile>) {
        file.settle();
        file.park();
        self.wake(Wake::Lane(file.recipient().clone()));
    }

    /// Sends what is queued until nothing is left or the registry does not answer, as an unmount
    /// does; what is left stays in the durable queue.
    pub(in crate::mailbox) async fn drain(&self) {
        for file in self.core.listing.snapshot().outbox_files() {
            if file.is_queued() {
                file.settle();
            }
        }
        self.wake_lanes();
        self.shared.queue.idle().await;
    }
}

/// Makes the row Queued, once. The caller holds the delivery lock.
async fn enqueue(outbox: &Outbox, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
    let Some(version) = file.version_to_queue()? else { return Ok(()) };
    // Opened again and closed without a change, or only its tag was refused.
    if sender::renew_promise(outbox, file).await? {
        return Ok(());
    }
    file.unpark().await?;
    file.sync_staged().await?;
    let id = MessageId::from_uuid(uuid::Uuid::new_v4());
    let saved = file.queueing(version, id).save(&outbox.core.store).await?;
    end_replaced(outbox, file);
    let queued = file.queued(saved);
    outbox.shared.queue.release(file, queued.old_place);
    outbox.shared.queue.insert(queued.place, file);
    if queued.is_same {
        return Ok(());
    }
    // Written in the meantime: this content is not what the caller closed.
    leave_queue(outbox, file).await?;
    Err(MailboxError::Busy)
}

/// Removes a file from the queue because it is about to change: from here on a crash leaves a
/// draft. The caller holds the delivery lock.
pub(super) async fn leave_queue(outbox: &Outbox, file: &OutboxFile) -> Result<(), MailboxError> {
    let Some(step) = file.leaving_queue() else { return Ok(()) };
    let left = file.left_queue(step.save(&outbox.core.store).await?);
    if outbox.shared.queue.release(file, left) {
        // Files behind it may have waited for it.
        outbox.wake(Wake::Lane(file.recipient().clone()));
    }
    Ok(())
}

/// Soon removes from the queue a file that changed although it was queued: its writer does not
/// wait.
pub(super) fn leave_queue_soon(outbox: &Outbox, recipient: Identity, place: i64) {
    let task = outbox.clone();
    outbox.core.spawn(async move {
        let Some(file) = task.shared.queue.file(&recipient, place) else { return };
        let _claim = file.claim();
        let _delivery = file.lock_delivery().await;
        if file.is_voided(place)
            && let Err(error) = leave_queue(&task, &file).await
        {
            task.core.record_error(&file.subject(), &error);
        }
    });
}

/// Returns how many files of the listing wait for their delivery in the background.
pub(in crate::mailbox) fn waiting_count(snapshot: &Snapshot) -> usize {
    snapshot.outbox_files().filter(|file| is_waiting(file)).count()
}

/// Returns whether a file waits for its delivery in the background: in the queue, or for its tag
/// after an attempt that failed.
pub(in crate::mailbox) fn is_waiting(file: &OutboxFile) -> bool {
    file.is_queued() || (file.state() == SendState::Prepared && file.error().is_some())
}
