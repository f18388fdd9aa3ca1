//! The mailbox's verbs for receipts: acknowledge, flush, poll.

use std::sync::Arc;

use crate::mailbox::MailboxError;
use crate::mailbox::handle::Mailbox;
use crate::protocol::{Digest, ReceiptStatus, Timestamp};

impl Mailbox {
    /// Issues a receipt for a message that I received; durable first, pushed at once if possible.
    ///
    /// Issuing the same receipt again is not an error and does nothing (P23).
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
        let (core, giving) = (Arc::clone(&self.core), Arc::clone(&self.giving));
        self.core.spawn(async move {
            if let Err(error) = giving.flush().await {
                core.record_error("receipts", &error);
            }
        });
        Ok(())
    }

    /// Issues a receipt and pushes it before this returns; for the command line.
    ///
    /// # Errors
    /// Why it was not pushed; it is kept, and is pushed with the next ones.
    pub async fn acknowledge_now(
        &self,
        message: &Digest,
        status: ReceiptStatus,
        reason: Option<&str>,
    ) -> Result<(), MailboxError> {
        self.enqueue_receipt(message, status, reason).await?;
        let failures = self.giving.flush().await?.failures;
        let failure = failures
            .into_iter()
            .find(|(failed, error)| failed == message || error.class().is_transient());
        if let Some((_message, error)) = failure {
            return Err(error);
        }
        // Requested again while the first one waits for its next attempt.
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
        self.giving.enqueue(*message, status, verified, reason).await?;
        Ok(())
    }

    /// Pushes every receipt that is due, now; returns how many were pushed.
    ///
    /// # Errors
    /// The database's; failures of the registry are recorded and tried again.
    pub async fn flush_receipts(&self) -> Result<usize, MailboxError> {
        Ok(self.giving.flush().await?.count)
    }

    /// Looks for receipts of what I sent, now; returns how many are new proof.
    ///
    /// # Errors
    /// The registry's or the database's.
    pub async fn poll_receipts(&self) -> Result<usize, MailboxError> {
        self.collecting.collect().await
    }
}
