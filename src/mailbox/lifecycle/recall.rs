//! Recalls a sent message, and reports honestly how far that reaches.

use super::withdraw::{Receipts, Remainder, Removal, withdraw};
use crate::mailbox::core::describe;
use crate::mailbox::{Mailbox, MailboxError};
use crate::protocol::{Digest, Identity, MessageId, ReceiptStatus, Tag};
use crate::store::{OutboxEntry, OutboxState, Withdrawal};

/// A message that this state has sent, listed in `outbox/` or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentEntry {
    /// The message's identity.
    pub digest: Digest,
    /// Its UUID.
    pub id: MessageId,
    /// The tag that committed it.
    pub tag: Tag,
}

/// How far a recall reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// The message's identity.
    pub digest: Digest,
    /// The recipient.
    pub recipient: Identity,
    /// The file's name.
    pub name: String,
    /// The registry's answer.
    pub removal: Removal,
    /// The recipient's verified receipt; the recipient then has the file.
    pub receipt: Option<ReceiptStatus>,
    /// Why receipts could not be searched for.
    pub receipt_unknown: Option<String>,
    /// What the registry still holds of it.
    pub left: Vec<Remainder>,
}

impl Mailbox {
    /// Returns every message that this state has sent, including those removed from `outbox/`.
    ///
    /// # Errors
    /// The database's.
    pub async fn sent_messages(&self) -> Result<Vec<SentEntry>, MailboxError> {
        let entries = self.core.store.outbox_rows().await?.entries;
        let sent = entries.into_iter().filter(|entry| entry.state == OutboxState::Sent);
        let messages = sent.filter_map(|entry| entry.message);
        Ok(messages
            .map(|message| SentEntry { digest: message.digest, id: message.id, tag: message.tag })
            .collect())
    }

    /// Deletes a message that I sent from the registry and marks it as recalled.
    ///
    /// A recipient that has received it keeps it; the result contains the receipt if one came back.
    /// Recalling twice is not an error.
    ///
    /// # Errors
    /// `NotFound` when it is not a message of mine, `Busy` when it is not yet sent; the registry's
    /// when it refuses: nothing has changed then.
    pub async fn recall(&self, digest: &Digest) -> Result<Recall, MailboxError> {
        let entry = self.core.store.outbox_by_digest(digest).await?;
        let entry = entry.ok_or(MailboxError::NotFound("message of mine"))?;
        let (Some(message), OutboxState::Sent) = (&entry.message, entry.state) else {
            return Err(MailboxError::Busy);
        };
        // Before the deletion: a receipt that exists now means that the recall comes too late.
        let receipt_unknown = self.look_for_receipt(&entry).await.err();
        let mut withdrawn = withdraw(&self.core, message, Receipts::Keep).await?;
        let (store, now) = (&self.core.store, self.core.now());
        store.record_withdrawal(digest, Withdrawal::Recalled, now).await?;
        // A mount may have put the tag back between the deletion and its record.
        if matches!(self.core.repository.resolve_tag(&message.tag).await, Ok(Some(found)) if found == *digest)
        {
            let again = withdraw(&self.core, message, Receipts::Keep).await?;
            withdrawn.left.extend(again.left);
        }
        if let Some(file) = self.snapshot().outbox_files().find(|file| file.id() == entry.id) {
            file.set_withdrawn(Withdrawal::Recalled);
            self.core.listing.touch();
        }
        let receipt = store.receipt_that_counts(digest).await?.map(|receipt| receipt.status);
        Ok(Recall {
            digest: *digest,
            recipient: entry.recipient,
            name: entry.name,
            removal: withdrawn.removal,
            receipt,
            receipt_unknown: receipt_unknown.map(|error| describe(&error)),
            left: withdrawn.left,
        })
    }

    pub(super) async fn look_for_receipt(&self, entry: &OutboxEntry) -> Result<(), MailboxError> {
        let listed = self.snapshot().outbox_files().find(|file| file.id() == entry.id).cloned();
        let file = listed.unwrap_or_else(|| self.outbox.unlisted(entry.clone()));
        self.collecting.collect_one(&file).await.map(|_count| ())
    }
}
