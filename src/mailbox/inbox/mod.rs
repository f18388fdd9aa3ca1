//! What was sent to me: discovered, verified, listed; read lazily.
//!
//! A poll finds tags, `discover` finds bundles, `admit` judges, `settle` makes durable, `reader`
//! fetches chunk by chunk.
//! Start at [`Inbox`].
//!
//! **Invariant:** nothing is listed before its signature verified, and no byte of a chunk is
//! returned before the layer's digest matched the signed manifest.

mod admit;
mod fetch;
mod inspect;
mod listing;
mod poll;
mod prefetch;
mod reader;
mod recheck;
mod room;
mod settle;
mod verified;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;

pub(crate) use fetch::Fetcher;
pub use inspect::Inspection;
pub use reader::MessageReader;
use reader::Purpose;
pub(crate) use recheck::Turns;
pub(crate) use verified::Verified;

use super::MailboxError;
use super::core::Core;
use super::snapshot::InboxItem;
use crate::protocol::Digest;
use crate::trust::Refusal;

/// What one poll found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct PollReport {
    /// Messages that are new in the inbox.
    pub admitted: usize,
    /// Candidates that were refused.
    pub quarantined: usize,
    /// Candidates that wait for their bundle or their time.
    pub pending: usize,
    /// Whether a bound ended the listing early.
    pub truncated: bool,
}

/// What was sent to me.
#[derive(Clone)]
pub struct Inbox {
    core: Arc<Core>,
}

impl Inbox {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Lists what the database knows; no network.
    pub(super) async fn load(&self) -> Result<(), MailboxError> {
        let trust = self.core.trust.current()?;
        listing::reload(&self.core, &trust).await?;
        // The next poll need not list them once more.
        self.core.loaded_trust_changed(&trust);
        for entry in self.core.store.quarantine_entries().await? {
            listing::add_note(&self.core, &entry);
        }
        Ok(())
    }

    /// Polls once: lists, discovers, verifies, admits.
    ///
    /// # Errors
    /// When the repository cannot be listed; what was listed before stays.
    pub async fn poll(&self) -> Result<PollReport, MailboxError> {
        let _alone = self.core.polling.lock().await;
        self.core.keep_latest().await?;
        let result = poll::poll(&self.core).await;
        self.core.note_health(result.as_ref().err());
        result
    }

    /// Takes what has expired off the list; open files stay readable.
    pub(super) fn drop_expired(&self) {
        listing::drop_expired(&self.core);
    }

    /// Returns how long until the next listed message expires, at least a moment.
    pub(super) fn time_to_expiry(&self) -> Option<Duration> {
        let expires_at = listing::next_expiry(&self.core)?;
        let left = expires_at.unix_secs().saturating_sub(self.core.latest().unix_secs());
        // Times are whole seconds: a clock that stands just before one must not make us spin.
        Some(Duration::from_secs(left.max(1).unsigned_abs()))
    }

    /// Opens a listed message; each open file has its own read-ahead.
    ///
    /// # Errors
    /// `NotFound` when no such message is listed.
    pub fn open(&self, digest: &Digest) -> Result<MessageReader, MailboxError> {
        let snapshot = self.core.listing.snapshot();
        self.open_item(snapshot.message(digest).ok_or(MailboxError::NotFound("message"))?)
    }

    /// Opens a listed message for a caller that puts the payload somewhere and acknowledges it then.
    ///
    /// A receipt that went out when the last byte was read would be wrong if the caller died
    /// before the file was safe, and the message would not be fetched again.
    ///
    /// # Errors
    /// As [`Self::open_item`].
    pub fn open_to_keep(&self, item: &InboxItem) -> Result<MessageReader, MailboxError> {
        self.open_for(item, Purpose::Keep)
    }

    /// Opens a message by its entry in a snapshot, which may have left the list since.
    ///
    /// # Errors
    /// `Refused` when its signer is not trusted any more: a change of trust takes effect at the
    /// next open, not at the next poll.
    pub fn open_item(&self, item: &InboxItem) -> Result<MessageReader, MailboxError> {
        self.open_for(item, Purpose::Receive)
    }

    fn open_for(&self, item: &InboxItem, purpose: Purpose) -> Result<MessageReader, MailboxError> {
        let trust = self.core.trust.current()?;
        if !trust.still_trusts(&item.sender, &item.signer) {
            let refusal = Refusal::UnknownSender {
                claimed: item.sender.clone(),
                claimed_key: Some(item.signer.clone()),
            };
            return Err(refusal.into());
        }
        Ok(MessageReader::new(&self.core, item.digest, item.message.clone(), purpose))
    }

    /// Hides a message here; the registry is untouched.
    ///
    /// # Errors
    /// `NotFound` when it was never admitted.
    pub async fn dismiss(&self, digest: &Digest) -> Result<(), MailboxError> {
        self.core.store.set_dismissed(digest, true).await?;
        listing::remove(&self.core, digest);
        Ok(())
    }

    /// Lists a dismissed message again, under its old name.
    ///
    /// # Errors
    /// `NotFound` when it was never admitted; `Refused` when it has expired meanwhile, which leaves
    /// it dismissed.
    pub async fn restore(&self, digest: &Digest) -> Result<(), MailboxError> {
        let entry = self.core.store.inbox_by_digest(digest).await?;
        let mut entry = entry.ok_or(MailboxError::NotFound("message"))?;
        if let Some(at) = entry.expires_at.filter(|end| self.core.latest() >= *end) {
            return Err(Refusal::Expired { at }.into());
        }
        self.core.store.set_dismissed(digest, false).await?;
        entry.dismissed = false;
        let trust = self.core.trust.current()?;
        listing::add(&self.core, &trust, vec![entry])
    }

    /// Returns the messages that are dismissed.
    ///
    /// # Errors
    /// The database's.
    pub async fn dismissed(&self) -> Result<Vec<Arc<InboxItem>>, MailboxError> {
        let mut items = Vec::new();
        let mut pages = pin!(self.core.store.inbox_pages());
        while let Some(page) = pages.try_next().await? {
            for entry in page.into_iter().filter(|entry| entry.dismissed) {
                items.push(Arc::new(listing::item_of(entry)?));
            }
        }
        Ok(items)
    }
}
