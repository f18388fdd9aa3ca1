//! Receipts issued and received, and the queue of those still to be pushed.

use std::fmt;
use std::str::FromStr;

use rusqlite::{OptionalExtension as _, Row, named_params};

use super::row::{optional_text, text, time};
use super::{Store, StoreError};
use crate::protocol::{Digest, Identity, ProtocolError, ReceiptStatus, Timestamp};

/// Most received receipts kept for one message: anyone with write access can claim to have it.
/// Signed ones are kept before unsigned ones, newer before older.
pub const RECEIPTS_PER_MESSAGE_MAX: u32 = 64;

/// Most receipts returned by one [`Store::due_receipts`].
const DUE_COUNT_MAX: u32 = 256;

/// Whether a receipt is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiptDirection {
    /// We issued it for a message in the inbox.
    Issued,
    /// We received it for a message that we sent.
    Received,
}

impl ReceiptDirection {
    /// Returns the word kept in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Received => "received",
        }
    }
}

impl fmt::Display for ReceiptDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReceiptDirection {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Issued, Self::Received]
            .into_iter()
            .find(|direction| direction.as_str() == text)
            .ok_or(ProtocolError::BadField { field: "direction", reason: "unknown" })
    }
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptEntry {
    /// The digest of the receipt manifest; always present when received.
    pub manifest_digest: Option<Digest>,
    /// The digest of the message manifest.
    pub message: Digest,
    /// Whether it is ours.
    pub direction: ReceiptDirection,
    /// The other side: the message's sender when issued, its recipient when received.
    pub peer: Identity,
    /// The message's file name as listed.
    pub file_name: String,
    /// The outcome.
    pub status: ReceiptStatus,
    /// Whether its author checked everything (P21); an assertion of the author.
    pub verified: bool,
    /// Whether a signature of its author verified (P22); otherwise it proves nothing.
    pub signed: bool,
    /// Why, raw.
    pub reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The contents of its file in the mount.
    pub json: String,
}

/// A receipt to push when the registry can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQueuedReceipt {
    /// The digest of the message manifest.
    pub message: Digest,
    /// The outcome.
    pub status: ReceiptStatus,
    /// Whether everything was checked (P21).
    pub verified: bool,
    /// Why.
    pub reason: Option<String>,
    /// Now; it stays the receipt's time, so that a retry builds the same manifest.
    pub created_at: Timestamp,
}

/// A receipt that waits to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedReceipt {
    /// Its id for [`Store::retry_receipt`] and [`Store::receipt_done`].
    pub id: i64,
    /// The digest of the message manifest.
    pub message: Digest,
    /// The outcome.
    pub status: ReceiptStatus,
    /// Whether everything was checked (P21).
    pub verified: bool,
    /// Why.
    pub reason: Option<String>,
    /// The receipt's time.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// The earliest time of the next attempt.
    pub next_at: Timestamp,
}

impl Store {
    /// Keeps a receipt and returns whether it was new.
    ///
    /// An issued one replaces the one for the same message and status (P23); a received one
    /// replaces the one of the same manifest.
    pub async fn put_receipt(&self, receipt: ReceiptEntry) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let manifest = receipt.manifest_digest.map(|digest| digest.to_string());
            let known: Option<i64> = match receipt.direction {
                ReceiptDirection::Issued => transaction
                    .prepare_cached(
                        "SELECT id FROM receipts \
                         WHERE direction = 'issued' AND message = ?1 AND status = ?2",
                    )?
                    .query_row((receipt.message.to_string(), receipt.status.as_str()), |row| {
                        row.get(0)
                    }),
                ReceiptDirection::Received => transaction
                    .prepare_cached(
                        "SELECT id FROM receipts \
                         WHERE direction = 'received' AND manifest_digest = ?1",
                    )?
                    .query_row([&manifest], |row| row.get(0)),
            }
            .optional()?;
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO receipts (id, manifest_digest, message, direction, \
                     peer, file_name, status, verified, signed, reason, created_at, json) VALUES \
                     (:id, :manifest_digest, :message, :direction, :peer, :file_name, :status, \
                     :verified, :signed, :reason, :created_at, :json)",
                )?
                .execute(named_params! {
                    ":id": known,
                    ":manifest_digest": manifest,
                    ":message": receipt.message.to_string(),
                    ":direction": receipt.direction.as_str(),
                    ":peer": receipt.peer.as_str(),
                    ":file_name": receipt.file_name,
                    ":status": receipt.status.as_str(),
                    ":verified": receipt.verified,
                    ":signed": receipt.signed,
                    ":reason": receipt.reason,
                    ":created_at": receipt.created_at.unix_secs(),
                    ":json": receipt.json,
                })?;
            transaction
                .prepare_cached(
                    "DELETE FROM receipts WHERE id IN (SELECT id FROM receipts \
                     WHERE message = ?1 AND direction = 'received' \
                     ORDER BY signed DESC, created_at DESC, id DESC LIMIT -1 OFFSET ?2)",
                )?
                .execute((receipt.message.to_string(), RECEIPTS_PER_MESSAGE_MAX))?;
            Ok(known.is_none())
        })
        .await
    }

    /// Returns all receipts, the oldest first.
    pub async fn receipts(&self) -> Result<Vec<ReceiptEntry>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT * FROM receipts ORDER BY created_at, id")?;
            let rows = statement.query_map([], receipt)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Returns the received receipt that counts for a message: the newest signed one (P23).
    pub async fn receipt_that_counts(
        &self,
        message: &Digest,
    ) -> Result<Option<ReceiptEntry>, StoreError> {
        let message = message.to_string();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM receipts WHERE message = ?1 AND direction = 'received' AND signed \
                 ORDER BY created_at DESC, id DESC LIMIT 1",
            )?;
            Ok(statement.query_row([message], receipt).optional()?)
        })
        .await
    }

    /// Queues a receipt, due at once, and returns whether it was new.
    ///
    /// Does nothing if the same outcome is already queued or issued (P23).
    pub async fn enqueue_receipt(&self, new: NewQueuedReceipt) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let inserted = transaction
                .prepare_cached(
                    "INSERT INTO receipt_queue \
                     (message, status, verified, reason, created_at, attempts, next_at) \
                     SELECT :message, :status, :verified, :reason, :now, 0, :now \
                     WHERE NOT EXISTS (SELECT 1 FROM receipts WHERE direction = 'issued' \
                     AND message = :message AND status = :status) \
                     ON CONFLICT (message, status) DO NOTHING",
                )?
                .execute(named_params! {
                    ":message": new.message.to_string(),
                    ":status": new.status.as_str(),
                    ":verified": new.verified,
                    ":reason": new.reason,
                    ":now": new.created_at.unix_secs(),
                })?;
            Ok(inserted == 1)
        })
        .await
    }

    /// Returns queued receipts that are due at `now`, the most overdue first, at most 256.
    pub async fn due_receipts(&self, now: Timestamp) -> Result<Vec<QueuedReceipt>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM receipt_queue WHERE next_at <= ?1 ORDER BY next_at, id LIMIT ?2",
            )?;
            let rows = statement.query_map((now.unix_secs(), DUE_COUNT_MAX), queued)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Counts a failed attempt and sets when the next one is due.
    pub async fn retry_receipt(&self, id: i64, next_at: Timestamp) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute(
                "UPDATE receipt_queue SET attempts = attempts + 1, next_at = ?2 WHERE id = ?1",
                (id, next_at.unix_secs()),
            )?;
            Ok(())
        })
        .await
    }

    /// Removes a receipt from the queue: it was pushed, or never will be.
    pub async fn receipt_done(&self, id: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute("DELETE FROM receipt_queue WHERE id = ?1", [id])?;
            Ok(())
        })
        .await
    }
}

fn receipt(row: &Row<'_>) -> rusqlite::Result<ReceiptEntry> {
    Ok(ReceiptEntry {
        manifest_digest: optional_text(row, "manifest_digest")?,
        message: text(row, "message")?,
        direction: text(row, "direction")?,
        peer: text(row, "peer")?,
        file_name: row.get("file_name")?,
        status: text(row, "status")?,
        verified: row.get("verified")?,
        signed: row.get("signed")?,
        reason: row.get("reason")?,
        created_at: time(row, "created_at")?,
        json: row.get("json")?,
    })
}

fn queued(row: &Row<'_>) -> rusqlite::Result<QueuedReceipt> {
    Ok(QueuedReceipt {
        id: row.get("id")?,
        message: text(row, "message")?,
        status: text(row, "status")?,
        verified: row.get("verified")?,
        reason: row.get("reason")?,
        created_at: time(row, "created_at")?,
        attempts: row.get("attempts")?,
        next_at: time(row, "next_at")?,
    })
}
