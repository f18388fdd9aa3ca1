//! What a close leads to: the settle window, the preparation, the publish, or the end.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::directory::listed;
use super::held::release_replaced;
use super::sender;
use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::options::Delivery;
use crate::mailbox::staged::{OutboxFile, SendState};
use crate::mailbox::temporary_names::controlled_by;
use crate::protocol::{Digest, Identity};

impl Outbox {
    /// Drops a writer reference; after the last one the settle window begins.
    ///
    /// Content that no close has prepared (late stores of a mapping, child processes) is prepared
    /// in the background; its failure shows in the file's state. Empty files wait longer.
    pub fn release_writer(&self, file: &Arc<OutboxFile>) {
        file.close_writer();
        self.begin_settling(file);
    }

    /// Restarts the settle window, unless a program may still write.
    pub fn begin_settling(&self, file: &Arc<OutboxFile>) {
        let Some(window) = file.begin_window() else { return };
        let options = &self.core.options;
        let length = if window.is_empty { options.settle_empty } else { options.settle };
        let (outbox, file) = (self.clone(), Arc::clone(file));
        self.core.spawn(async move {
            tokio::select! {
                () = outbox.core.stop.cancelled() => {}
                () = tokio::time::sleep(length) => {}
            }
            outbox.settle(&file, window.number).await;
        });
    }

    /// Begins the settle window of what waits for the control file `name`, which is off the list.
    ///
    /// Programs that download remove it once they have closed the complete file.
    pub(super) fn control_gone(&self, recipient: &Identity, name: &str) {
        let snapshot = self.core.listing.snapshot();
        if let Some(download) = controlled_by(name)
            && let Some(file) = listed(&snapshot, recipient, download)
            && file.state() == SendState::Draft
        {
            self.begin_settling(&file);
        }
    }

    /// Ends the settle window `number`, unless the file was opened or renamed since.
    async fn settle(&self, file: &Arc<OutboxFile>, number: u64) {
        if !file.is_window_open(number) {
            return;
        }
        // What was promised is sent, whatever lies beside it by now.
        if file.state() == SendState::Draft {
            // What a program has only begun to write anew was reported to it.
            if file.is_partly_rewritten()
                || self.core.listing.snapshot().stays_local(file)
                || self.waits_for_working_copy(file)
            {
                return;
            }
            let delivered = match self.delivery_of(file) {
                Delivery::Sync => self.prepare_in(file, &self.core.stop.child_token(), true).await,
                Delivery::Queued => self.enqueue_in(file, true).await,
            };
            if delivered.is_err() {
                return;
            }
        }
        if file.queue_place().is_some() {
            self.send_settled(file);
        } else if file.state() == SendState::Prepared {
            sender::publish(self.clone(), Arc::clone(file)).await;
        }
    }

    /// Pushes every chunk, the manifest by digest and its bundle, and journals Prepared.
    ///
    /// Immediately if nothing changed since the last time.
    ///
    /// # Errors
    /// `Interrupted` when `cancel` was set: the file is a draft again. Any other error leaves it
    /// Failed, and is recorded for `.dockercomms/errors`.
    pub async fn prepare(
        &self,
        file: &Arc<OutboxFile>,
        cancel: &CancellationToken,
    ) -> Result<(), MailboxError> {
        self.prepare_in(file, cancel, false).await
    }

    async fn prepare_in(
        &self,
        file: &Arc<OutboxFile>,
        cancel: &CancellationToken,
        is_unattended: bool,
    ) -> Result<(), MailboxError> {
        // Until the failure is recorded too: the promise of another close must outlast it.
        let _delivery = tokio::select! {
            biased;
            delivery = file.lock_delivery() => delivery,
            () = cancel.cancelled() => return Err(MailboxError::Interrupted),
        };
        let result = tokio::select! {
            biased;
            result = sender::prepare(self, file) => result,
            () = cancel.cancelled() => Err(MailboxError::Interrupted),
        };
        match &result {
            Ok(()) => {}
            Err(MailboxError::Interrupted) => file.interrupt_delivery(),
            Err(error) => {
                self.core.record_error(&file.subject(), error);
                sender::fail(self, file, error, is_unattended).await;
            }
        }
        self.core.listing.touch();
        result
    }

    /// Publishes the tag of a Prepared file now, without a settle window, and waits for it.
    ///
    /// # Errors
    /// The registry's; the file stays Prepared and is tried again from the queue.
    pub async fn publish(&self, file: &Arc<OutboxFile>) -> Result<Digest, MailboxError> {
        let _delivery = file.lock_delivery().await;
        sender::publish_once(self, file).await
    }

    /// Waits until a Prepared file is Sent.
    ///
    /// # Errors
    /// `NotYetSent` after `within`, or why it will not be sent.
    pub async fn wait_sent(
        &self,
        file: &Arc<OutboxFile>,
        within: Duration,
    ) -> Result<(), MailboxError> {
        let mut states = file.watch_states();
        let ended = states.wait_for(|state| {
            matches!(state, SendState::Sent | SendState::Failed | SendState::Abandoned)
        });
        match tokio::time::timeout(within, ended).await {
            Ok(Ok(state)) if *state == SendState::Sent => Ok(()),
            Ok(Ok(_)) => Err(MailboxError::NotPermitted("the file was not sent")),
            Ok(Err(_closed)) => Err(MailboxError::TaskLost),
            Err(_elapsed) => Err(MailboxError::NotYetSent),
        }
    }

    /// Marks a file whose writer died or failed: it is never sent unless written again.
    pub fn abandon(&self, file: &Arc<OutboxFile>, why: &str) {
        if !file.abandon(why) {
            return;
        }
        release_replaced(self, file);
        let (outbox, file) = (self.clone(), Arc::clone(file));
        self.core.spawn(async move {
            let _delivery = file.lock_delivery().await;
            let Some(step) = file.abandoning() else { return };
            match step.save(&outbox.core.store).await {
                Ok(saved) => {
                    outbox.shared.queue.release(&file, file.abandoned(saved));
                    // Files behind it may have waited.
                    outbox.wake_lanes();
                }
                Err(error) => tracing::warn!("cannot record an abandoned file: {error}"),
            }
            outbox.core.listing.touch();
        });
    }

    /// Makes what was written durable on the local disk, as `fsync` of a draft means.
    ///
    /// # Errors
    /// The disk's.
    pub async fn sync_spool(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        file.sync_staged().await
    }

    /// Ends every settle window of this process, as an unmount does: what is Prepared is published
    /// at once, what is closed and not yet prepared (empty files, late stores of a mapping) is
    /// sent.
    ///
    /// The settle windows of other processes' files are left alone.
    pub(in crate::mailbox) async fn publish_all(&self) {
        let snapshot = self.core.listing.snapshot();
        let ours = || snapshot.outbox_files().filter(|file| self.is_ours(file));
        for file in ours() {
            if file.state() == SendState::Prepared
                && file.queue_place().is_none()
                && let Err(error) = self.publish(file).await
            {
                // It stays in the durable queue: the next start publishes it.
                self.core.record_error(&file.subject(), &error);
            }
        }
        // Last, because nothing was promised about them, and time is short.
        for file in ours() {
            if file.state() == SendState::Draft {
                self.settle(file, file.window()).await;
            }
        }
    }
}
