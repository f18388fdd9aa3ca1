//! The tags that were checked, so that a poll checks only new ones.
//!
//! A set, never a watermark by time: a tag may appear late with an old date (P24).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use rusqlite::Transaction;

use super::row::text;
use super::{Store, StoreError};
use crate::protocol::{Digest, ProtocolError, Tag};

/// Most tags remembered, about 200 MiB; the oldest are forgotten first.
///
/// A forgotten tag is checked again; its message is never listed twice.
pub const SEEN_COUNT_MAX: i64 = 1_000_000;

/// The outcome of checking a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeenVerdict {
    /// It is in the inbox.
    Admitted,
    /// It was refused.
    Quarantined,
    /// It does not concern us.
    Ignored,
    /// It waits for its bundle (P18) and is checked again.
    Pending,
}

impl SeenVerdict {
    /// Returns the word kept in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Quarantined => "quarantined",
            Self::Ignored => "ignored",
            Self::Pending => "pending",
        }
    }
}

impl fmt::Display for SeenVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SeenVerdict {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Admitted, Self::Quarantined, Self::Ignored, Self::Pending]
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
            .ok_or(ProtocolError::BadField { field: "verdict", reason: "unknown" })
    }
}

/// What a tag pointed to when it was last checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenTag {
    /// The manifest's digest; a different one later raises an alarm (P25).
    pub digest: Digest,
    /// The outcome.
    pub verdict: SeenVerdict,
}

impl Store {
    /// Returns the tags seen so far that start with `prefix`.
    pub async fn seen_tags(&self, prefix: &str) -> Result<HashMap<Tag, SeenTag>, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |connection| {
            // Tags are ASCII, so every tag with the prefix sorts before prefix + DEL.
            let mut statement = connection.prepare_cached(
                "SELECT tag, digest, verdict FROM seen \
                 WHERE tag >= ?1 AND tag < ?1 || char(127)",
            )?;
            let rows = statement.query_map([prefix], |row| {
                let seen = SeenTag { digest: text(row, "digest")?, verdict: text(row, "verdict")? };
                Ok((text(row, "tag")?, seen))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Records the outcome of a tag, replacing an earlier one.
    pub async fn record_seen(
        &self,
        tag: &Tag,
        digest: &Digest,
        verdict: SeenVerdict,
    ) -> Result<(), StoreError> {
        self.record_all_seen(vec![(tag.clone(), SeenTag { digest: *digest, verdict })]).await
    }

    /// Records the outcomes of tags, replacing earlier ones; all or nothing.
    pub async fn record_all_seen(&self, tags: Vec<(Tag, SeenTag)>) -> Result<(), StoreError> {
        if tags.is_empty() {
            return Ok(());
        }
        self.write(move |transaction| {
            for (tag, seen) in &tags {
                record(transaction, tag, seen)?;
            }
            forget_oldest(transaction)
        })
        .await
    }

    /// Forgets tags, usually those that the registry no longer has.
    #[cfg(test)]
    pub async fn forget_seen(&self, tags: &[Tag]) -> Result<(), StoreError> {
        let tags = tags.to_vec();
        self.write(move |transaction| {
            let mut statement = transaction.prepare_cached("DELETE FROM seen WHERE tag = ?1")?;
            for tag in &tags {
                statement.execute([tag.as_str()])?;
            }
            Ok(())
        })
        .await
    }
}

/// Records one tag; [`forget_oldest`] follows in the same transaction.
pub(super) fn record(
    transaction: &Transaction<'_>,
    tag: &Tag,
    seen: &SeenTag,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO seen (tag, digest, verdict) VALUES (?1, ?2, ?3) \
             ON CONFLICT (tag) DO UPDATE \
             SET digest = excluded.digest, verdict = excluded.verdict",
        )?
        .execute((tag.as_str(), seen.digest.to_string(), seen.verdict.as_str()))?;
    Ok(())
}

/// Keeps no more than [`SEEN_COUNT_MAX`] tags.
pub(super) fn forget_oldest(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    transaction
        .prepare_cached("DELETE FROM seen WHERE id <= (SELECT max(id) FROM seen) - ?1")?
        .execute([SEEN_COUNT_MAX])?;
    Ok(())
}
