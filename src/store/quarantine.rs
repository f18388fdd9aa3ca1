//! What was refused and why; never the payload.

use rusqlite::{Row, Transaction, named_params};

use super::row::{text, time};
use super::{Store, StoreError};
use crate::protocol::{Digest, Tag, Timestamp};

/// Most entries kept, the newest: anyone with write access can fill the quarantine.
pub const QUARANTINE_COUNT_MAX: i64 = 10_000;

/// A message that is not listed in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineEntry {
    /// The manifest's digest; one entry for each.
    pub digest: Digest,
    /// The tag it was found under.
    pub tag: Tag,
    /// The claimed sender, raw.
    pub claimed_sender: String,
    /// The file name it claims, raw.
    pub file_name: String,
    /// The reason code.
    pub code: String,
    /// The reason as a sentence.
    pub why: String,
    /// Whether it still waits for its bundle (P18).
    pub pending: bool,
    /// When it was first refused.
    pub first_seen: Timestamp,
    /// When it was last checked.
    pub updated_at: Timestamp,
}

impl Store {
    /// Adds entries or replaces those of the same digests, whose `first_seen` stays; all or none.
    pub async fn upsert_quarantine(&self, entries: Vec<QuarantineEntry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write(move |transaction| {
            for entry in &entries {
                upsert(transaction, entry)?;
            }
            transaction
                .prepare_cached(
                    "DELETE FROM quarantine WHERE id <= (SELECT id FROM quarantine \
                     ORDER BY id DESC LIMIT 1 OFFSET ?1)",
                )?
                .execute([QUARANTINE_COUNT_MAX])?;
            Ok(())
        })
        .await
    }

    /// Returns the entries, the oldest first.
    pub async fn quarantine_entries(&self) -> Result<Vec<QuarantineEntry>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT * FROM quarantine ORDER BY id")?;
            let rows = statement.query_map([], entry)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn upsert(transaction: &Transaction<'_>, entry: &QuarantineEntry) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO quarantine (digest, tag, claimed_sender, file_name, code, why, \
             pending, first_seen, updated_at) VALUES (:digest, :tag, :claimed_sender, \
             :file_name, :code, :why, :pending, :first_seen, :updated_at) \
             ON CONFLICT (digest) DO UPDATE SET tag = excluded.tag, \
             claimed_sender = excluded.claimed_sender, file_name = excluded.file_name, \
             code = excluded.code, why = excluded.why, pending = excluded.pending, \
             updated_at = excluded.updated_at",
        )?
        .execute(named_params! {
            ":digest": entry.digest.to_string(),
            ":tag": entry.tag.as_str(),
            ":claimed_sender": entry.claimed_sender,
            ":file_name": entry.file_name,
            ":code": entry.code,
            ":why": entry.why,
            ":pending": entry.pending,
            ":first_seen": entry.first_seen.unix_secs(),
            ":updated_at": entry.updated_at.unix_secs(),
        })?;
    Ok(())
}

/// Removes an entry, if there is one, because its message was admitted.
pub(super) fn remove(transaction: &Transaction<'_>, digest: &Digest) -> Result<(), StoreError> {
    transaction
        .prepare_cached("DELETE FROM quarantine WHERE digest = ?1")?
        .execute([digest.to_string()])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<QuarantineEntry> {
    Ok(QuarantineEntry {
        digest: text(row, "digest")?,
        tag: text(row, "tag")?,
        claimed_sender: row.get("claimed_sender")?,
        file_name: row.get("file_name")?,
        code: row.get("code")?,
        why: row.get("why")?,
        pending: row.get("pending")?,
        first_seen: time(row, "first_seen")?,
        updated_at: time(row, "updated_at")?,
    })
}
