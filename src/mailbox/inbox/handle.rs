//! The inbox and its verbs: poll, open, dismiss, restore.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;

use super::health::Health;
use super::report::PollReport;
use super::shared::Shared;
use super::{listing, poll};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::reading::{MessageReader, Purpose, Reading};
use crate::mailbox::receipt::Giving;
use crate::mailbox::snapshot::InboxItem;
use crate::protocol::Digest;
use crate::trust::Refusal;

/// What was sent to me.
#[derive(Clone)]
pub struct Inbox {
    pub(super) shared: Arc<Shared>,
}

impl Inbox {
    pub(in crate::mailbox) fn new(
        core: Arc<Core>,
        reading: Arc<Reading>,
        giving: Arc<Giving>,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(core, reading, giving)) }
    }

    /// Lists what is in the database; no network.
    pub(in crate::mailbox) async fn load(&self) -> Result<(), MailboxError> {
        let core = &self.shared.core;
        let trust = core.trust.current()?;
        listing::reload(&self.shared, &trust).await?;
        // The next poll need not list them again.
        self.shared.listed_under.advance(&trust);
        for entry in core.store.quarantine_entries().await? {
            listing::add_note(core, &entry);
        }
        Ok(())
    }

    /// Polls once: lists, discovers, verifies, admits.
    ///
    /// # Errors
    /// When the repository cannot be listed; what was listed before stays.
    pub async fn poll(&self) -> Result<PollReport, MailboxError> {
        let shared = &self.shared;
        let _alone = shared.polling.lock().await;
        shared.core.keep_latest().await?;
        let result = poll::poll(shared).await;
        shared.health.note(shared.core.now(), result.as_ref().err());
        result
    }

    /// Returns how the registry answered the last poll.
    pub(in crate::mailbox) fn health(&self) -> Health {
        self.shared.health.get()
    }

    /// Removes what has expired from the list; open files stay readable.
    pub(in crate::mailbox) fn drop_expired(&self) {
        listing::drop_expired(&self.shared.core);
    }

    /// Returns how long until the next listed message expires, at least a moment.
    pub(in crate::mailbox) fn time_to_expiry(&self) -> Option<Duration> {
        let core = &self.shared.core;
        let expires_at = listing::next_expiry(core)?;
        let left = expires_at.unix_secs().saturating_sub(core.latest().unix_secs());
        // Times are whole seconds: a clock just before one must not make us spin.
        Some(Duration::from_secs(left.max(1).unsigned_abs()))
    }

    /// Opens a listed message; each open file has its own read-ahead.
    ///
    /// # Errors
    /// `NotFound` when no such message is listed.
    pub fn open(&self, digest: &Digest) -> Result<MessageReader, MailboxError> {
        let snapshot = self.shared.core.listing.snapshot();
        self.open_item(snapshot.message(digest).ok_or(MailboxError::NotFound("message"))?)
    }

    /// Opens a listed message for a caller that stores the payload and then acknowledges it.
    ///
    /// A receipt sent when the last byte was read would be wrong if the caller died before the file
    /// was safe, and the message would not be fetched again.
    ///
    /// # Errors
    /// As [`Self::open_item`].
    pub fn open_to_keep(&self, item: &InboxItem) -> Result<MessageReader, MailboxError> {
        self.open_for(item, Purpose::Keep)
    }

    /// Opens a message by its entry in a snapshot, even if it has left the list since.
    ///
    /// # Errors
    /// `Refused` when its signer is no longer trusted: a change of trust takes effect at the
    /// next open, not at the next poll.
    pub fn open_item(&self, item: &InboxItem) -> Result<MessageReader, MailboxError> {
        self.open_for(item, Purpose::Receive)
    }

    fn open_for(&self, item: &InboxItem, purpose: Purpose) -> Result<MessageReader, MailboxError> {
        let trust = self.shared.core.trust.current()?;
        if !trust.still_trusts(&item.sender, &item.signer) {
            let refusal = Refusal::UnknownSender {
                claimed: item.sender.clone(),
                claimed_key: Some(item.signer.clone()),
            };
            return Err(refusal.into());
        }
        let message = item.message.clone();
        Ok(MessageReader::new(&self.shared.reading, item.digest, message, purpose))
    }

    /// Hides a message here; the registry is untouched.
    ///
    /// # Errors
    /// `NotFound` when it was never admitted.
    pub async fn dismiss(&self, digest: &Digest) -> Result<(), MailboxError> {
        self.shared.core.store.set_dismissed(digest, true).await?;
        listing::remove(&self.shared.core, digest);
        Ok(())
    }

    /// Lists a dismissed message again, under its old name.
    ///
    /// # Errors
    /// `NotFound` when it was never admitted; `Refused` when it has since expired, which leaves it
    /// dismissed.
    pub async fn restore(&self, digest: &Digest) -> Result<(), MailboxError> {
        let entry = self.shared.core.store.inbox_by_digest(digest).await?;
        let mut entry = entry.ok_or(MailboxError::NotFound("message"))?;
        if let Some(at) = entry.expires_at.filter(|end| self.shared.core.latest() >= *end) {
            return Err(Refusal::Expired { at }.into());
        }
        self.shared.core.store.set_dismissed(digest, false).await?;
        entry.dismissed = false;
        let trust = self.shared.core.trust.current()?;
        listing::add(&self.shared, &trust, vec![entry])
    }

    /// Returns the dismissed messages.
    ///
    /// # Errors
    /// The database's.
    pub async fn dismissed(&self) -> Result<Vec<Arc<InboxItem>>, MailboxError> {
        let mut items = Vec::new();
        let mut pages = pin!(self.shared.core.store.inbox_pages());
        while let Some(page) = pages.try_next().await? {
            for entry in page.into_iter().filter(|entry| entry.dismissed) {
                items.push(Arc::new(listing::item_of(entry)?));
            }
        }
        Ok(items)
    }
}
