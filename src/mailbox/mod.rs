//! The product without a user interface: send, discover, read, acknowledge.
//!
//! It knows no FUSE, no errno and no command line. Metadata is answered from an immutable
//! [`Snapshot`]; everything that waits is async and bounded by the repository's deadlines. Start
//! at [`Mailbox`]; `outbox/` sends, `inbox/` receives, `receipt.rs` acknowledges.
//!
//! **Invariant:** only `trust` says what may be listed; only a durable row promises a delivery.

mod core;
mod discover;
mod error;
mod inbox;
mod lifecycle;
mod options;
mod outbox;
mod push;
mod receipt;
mod snapshot;
mod staged;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

pub use self::core::{MailboxParts, TrustSource};
pub use error::MailboxError;
pub use inbox::{Inbox, Inspection, MessageReader, PollReport};
pub use lifecycle::{CollectedMessage, Garbage, Leftovers, Recall, Remainder, Removal, SentEntry};
pub use options::{Delivery, MailboxOptions, TEMPORARY_NAMES};
pub use outbox::{Outbox, SentMessage};
pub use snapshot::{
    Directory, ErrorLine, InboxItem, OutboxDir, QuarantineItem, ReceiptItem, Snapshot,
};
pub use staged::{Event, FailureNote, OutboxFile, SendState};
pub use status::{Status, Transfer};

use self::core::Core;
use self::outbox::waiting_count;
use crate::protocol::{Digest, ReceiptStatus, Tag, Timestamp};
use crate::sys::{buffer, durable};

/// Most transfers that the status shows one by one; thousands may be queued.
const TRANSFER_COUNT_MAX: usize = 100;

/// Everything that belongs to one person on one repository. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    core: Arc<Core>,
    inbox: Inbox,
    outbox: Outbox,
}

impl Mailbox {
    /// Opens the mailbox and loads its listings; no network. Needs a tokio runtime.
    ///
    /// With `parts.recover`, Prepared files of an earlier run are published in the background.
    ///
    /// # Errors
    /// When the spool or the database cannot be used.
    pub async fn open(parts: MailboxParts) -> Result<Self, MailboxError> {
        let (spool, recover) = (parts.spool.clone(), parts.recover);
        durable::create_private_dir(&spool)
            .map_err(MailboxError::io("create the directory for staged files"))?;
        let core = Arc::new(Core::new(parts));
        core.keep_latest().await?;
        let mailbox = Self {
            inbox: Inbox::new(Arc::clone(&core)),
            outbox: Outbox::new(Arc::clone(&core), spool, recover),
            core,
        };
        // Before anything is read: what others change from now on is noticed by the first poll.
        let version = mailbox.core.store.data_version().await?;
        mailbox.core.data_version.store(version, Ordering::Relaxed);
        mailbox.load_errors().await?;
        mailbox.inbox.load().await?;
        receipt::load(&mailbox.core).await?;
        mailbox.outbox.load().await?;
        mailbox.outbox.list_trusted(&*mailbox.core.trust.current()?);
        Ok(mailbox)
    }

    /// Starts the background work of a mount: polling, and receipts in both directions.
    pub fn start(&self) {
        let mailbox = self.clone();
        self.core.spawn(async move {
            let stop = mailbox.core.stop.clone();
            loop {
                mailbox.poll_once().await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = mailbox.wait_for_poll() => {}
                }
            }
        });
    }

    /// Waits for the next poll, and takes what expires meanwhile off the list at its time.
    async fn wait_for_poll(&self) {
        let poll_at = tokio::time::Instant::now() + self.core.options.poll;
        while tokio::time::Instant::now() < poll_at {
            let at = match self.inbox.time_to_expiry() {
                Some(left) => poll_at.min(tokio::time::Instant::now() + left),
                None => poll_at,
            };
            tokio::time::sleep_until(at).await;
            self.inbox.drop_expired();
        }
    }

    async fn poll_once(&self) {
        let stop = self.core.stop.clone();
        let work = async {
            // First of all, for these need no registry.
            buffer::release_idle();
            self.inbox.drop_expired();
            if let Err(error) = self.follow_others().await {
                self.core.record_error("state", &error);
            }
            // A trust store that cannot be read is the inbox's error.
            if let Ok(trust) = self.core.trust.current() {
                self.outbox.list_trusted(&trust);
            }
            let was_away = self.core.health.lock().last_error.is_some();
            if let Err(error) = self.inbox.poll().await {
                self.core.record_poll_error(&error);
                return;
            }
            if was_away {
                self.outbox.registry_answers();
            }
            if let Err(error) = self.flush_receipts().await {
                self.core.record_error("receipts", &error);
            }
            if let Err(error) = self.poll_receipts().await {
                self.core.record_error("receipts", &error);
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Lists what other processes on the same state have changed since the last look.
    async fn follow_others(&self) -> Result<(), MailboxError> {
        let core = &self.core;
        let version = core.store.data_version().await?;
        if core.data_version.load(Ordering::Relaxed) == version {
            if self.outbox.is_behind() {
                self.outbox.follow().await?;
            }
            return Ok(());
        }
        self.inbox.load().await?;
        receipt::load(core).await?;
        self.outbox.follow().await?;
        // Only now: what could not be looked at is looked at again.
        core.data_version.store(version, Ordering::Relaxed);
        Ok(())
    }

    /// Publishes what is Prepared at once, sends what is queued while the registry answers, stops
    /// the background work and waits for it.
    ///
    /// Ends after `within` at the latest; what is not published then stays in the durable queue.
    pub async fn shutdown(&self, within: Duration) {
        let last_words = async {
            self.outbox.publish_all().await;
            self.outbox.drain().await;
        };
        // Being late is no failure: the next start goes on. Half of the time is for the rest.
        tokio::time::timeout(within / 2, last_words).await.ok();
        self.stop(within / 2).await;
    }

    /// Stops the background work and waits for it; what is not sent yet stays as it is.
    ///
    /// Ends after `within` at the latest.
    pub async fn stop(&self, within: Duration) {
        self.core.stop.cancel();
        tokio::time::timeout(within, self.core.join()).await.ok();
        // Staged files are locked while they are listed; the next owner must be able to take them.
        self.core.listing.update(|snapshot| *snapshot = Snapshot::default());
    }

    /// Returns a counter that changes whenever a listing changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.core.listing.changes()
    }

    /// Returns the immutable view that metadata calls read. Cheap.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.core.listing.snapshot()
    }

    /// Returns the behaviour it was opened with.
    pub fn options(&self) -> &MailboxOptions {
        &self.core.options
    }

    /// Returns the fingerprint of the key that signs what I send.
    pub fn signer(&self) -> String {
        self.core.key.public_key().fingerprint()
    }

    /// Returns what was sent to me.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Returns what I send.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Asks the registry which manifest a tag names.
    ///
    /// # Errors
    /// The registry's.
    pub async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, MailboxError> {
        Ok(self.core.repository.resolve_tag(tag).await?)
    }

    /// Returns who I am, how the registry is and what is under way.
    pub fn status(&self) -> Status {
        let core = &self.core;
        let snapshot = core.listing.snapshot();
        let health = core.health.lock().clone();
        let files: Vec<_> = snapshot.outbox_files().collect();
        let count = |wanted: fn(SendState) -> bool| {
            files.iter().filter(|file| wanted(file.state())).count()
        };
        let cache = core.cache.stats();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            me: core.options.me.iter().map(|me| me.as_str().to_owned()).collect(),
            fingerprint: core.key.public_key().fingerprint(),
            repository: core.repository.reference(),
            registry: match (&health.last_error, health.last_success) {
                (Some(error), _) => error.clone(),
                (None, Some(_)) => "ok".to_owned(),
                (None, None) => "not polled yet".to_owned(),
            },
            last_poll: health.last_success.map(|time| time.to_string()),
            inbox_count: snapshot.inbox.values().map(|names| names.len()).sum(),
            delivery: core.options.delivery.as_str(),
            outbox_queued: count(|state| {
                matches!(
                    state,
                    SendState::Draft
                        | SendState::Queued
                        | SendState::Preparing
                        | SendState::Prepared
                )
            }),
            outbox_waiting: waiting_count(&snapshot),
            next_attempt: self.outbox.next_attempt().map(|time| time.to_string()),
            outbox_damaged: self.outbox.damaged_count(),
            outbox_failed: count(|state| matches!(state, SendState::Failed | SendState::Abandoned)),
            quarantine_count: snapshot.quarantine.values().map(|names| names.len()).sum(),
            transfers: files
                .iter()
                .filter(|file| {
                    matches!(
                        file.state(),
                        SendState::Draft | SendState::Queued | SendState::Preparing
                    ) && !file.is_temporary()
                })
                .take(TRANSFER_COUNT_MAX)
                .map(|file| transfer(file))
                .collect(),
            blobs_fetched: core.blobs_fetched.load(Ordering::Relaxed),
            blob_bytes_fetched: core.blob_bytes_fetched.load(Ordering::Relaxed),
            cache_memory_bytes: cache.memory_bytes,
            cache_disk_bytes: cache.disk_bytes,
        }
    }

    /// Remembers an error for `.dockercomms/errors`: what it was about, and the error.
    pub fn record_error(&self, subject: &str, error: &MailboxError) {
        self.core.record_error(subject, error);
    }

    /// Gives a receipt for a message that I received; durable first, pushed at once if possible.
    ///
    /// Giving the same receipt again is no error and does nothing (P23).
    ///
    /// # Errors
    /// `NotFound` when no such message was admitted.
    pub async fn acknowledge(
        &self,
        message: &Digest,
        status: ReceiptStatus,
        reason: Option<&str>,
    ) -> Result<(), MailboxError> {
        self.enqueue_receipt(message, status, reason).await?;
        let core = Arc::clone(&self.core);
        self.core.spawn(async move {
            if let Err(error) = receipt::flush(&core).await {
                core.record_error("receipts", &error);
            }
        });
        Ok(())
    }

    /// Gives a receipt and pushes it before this returns; for the command line.
    ///
    /// # Errors
    /// Why it did not go out; it is kept then, and goes out with the next ones.
    pub async fn acknowledge_now(
        &self,
        message: &Digest,
        status: ReceiptStatus,
        reason: Option<&str>,
    ) -> Result<(), MailboxError> {
        self.enqueue_receipt(message, status, reason).await?;
        let failures = receipt::flush(&self.core).await?.failures;
        let failure = failures
            .into_iter()
            .find(|(failed, error)| failed == message || error.class().is_transient());
        if let Some((_message, error)) = failure {
            return Err(error);
        }
        // Asked for a second time while the first one waits for its next attempt.
        let waiting = self.core.store.due_receipts(Timestamp::from_unix_secs(i64::MAX)).await?;
        if waiting.iter().any(|queued| queued.message == *message && queued.status == status) {
            return Err(MailboxError::NotYetSent);
        }
        Ok(())
    }

    async fn enqueue_receipt(
        &self,
        message: &Digest,
        status: ReceiptStatus,
        reason: Option<&str>,
    ) -> Result<(), MailboxError> {
        let entry = self.core.store.inbox_by_digest(message).await?;
        let entry = entry.ok_or(MailboxError::NotFound("message"))?;
        let verified = entry.complete && status == ReceiptStatus::Accepted;
        receipt::enqueue(&self.core, *message, status, verified, reason).await?;
        Ok(())
    }

    /// Pushes every receipt that is due, now; returns how many went out.
    ///
    /// # Errors
    /// The database's; failures of the registry are recorded and tried again.
    pub async fn flush_receipts(&self) -> Result<usize, MailboxError> {
        Ok(receipt::flush(&self.core).await?.count)
    }

    /// Looks for receipts of what I sent, now; returns how many are new proof.
    ///
    /// # Errors
    /// The registry's or the database's.
    pub async fn poll_receipts(&self) -> Result<usize, MailboxError> {
        receipt::collect(&self.core).await
    }

    /// Waits until no background task runs; for tests, which have no settle window.
    #[cfg(any(test, feature = "testing"))]
    pub async fn idle(&self) {
        self.core.idle().await;
    }

    async fn load_errors(&self) -> Result<(), MailboxError> {
        let lines: Vec<ErrorLine> = self
            .core
            .store
            .errors()
            .await?
            .into_iter()
            .map(|entry| ErrorLine {
                at: entry.at,
                code: entry.code,
                subject: entry.subject,
                text: entry.text,
                hint: entry.hint,
            })
            .collect();
        self.core.listing.update(|snapshot| snapshot.errors = Arc::new(lines));
        Ok(())
    }
}

fn transfer(file: &OutboxFile) -> Transfer {
    let (bytes_done, bytes_total) = file.progress();
    Transfer {
        direction: "send",
        peer: file.recipient().dir_name(),
        name: file.name(),
        state: file.state().to_string(),
        bytes_done,
        bytes_total,
    }
}
