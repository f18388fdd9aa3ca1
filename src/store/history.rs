//! What the past leaves behind: withdrawn messages, and rows that are old enough to be removed.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use rusqlite::Transaction;

use super::row::text;
use super::{Store, StoreError};
use crate::protocol::{Digest, ProtocolError, Timestamp};

/// Why a message of ours is no longer in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Withdrawal {
    /// The user recalled it.
    Recalled,
    /// It expired.
    Expired,
}

impl Withdrawal {
    /// Returns the word kept in the database and shown as the file's state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recalled => "recalled",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Withdrawal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Withdrawal {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Recalled, Self::Expired]
            .into_iter()
            .find(|why| why.as_str() == text)
            .ok_or(ProtocolError::BadField { field: "withdrawal", reason: "unknown" })
    }
}

/// How many rows [`Store::purge_history`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgedRows {
    /// Received messages, which no replay can bring back.
    pub inbox_count: usize,
    /// Notes in quarantine.
    pub quarantine_count: usize,
    /// Lines of `errors`.
    pub error_count: usize,
}

impl Store {
    /// Records that a message of ours was deleted from the registry; the first reason stays.
    pub async fn record_withdrawal(
        &self,
        digest: &Digest,
        why: Withdrawal,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let digest = digest.to_string();
        self.write(move |transaction| {
            transaction.execute(
                "INSERT OR IGNORE INTO withdrawn (digest, why, at) VALUES (?1, ?2, ?3)",
                (digest, why.as_str(), at.unix_secs()),
            )?;
            Ok(())
        })
        .await
    }

    /// Returns the messages of ours that were deleted from the registry.
    pub async fn withdrawals(&self) -> Result<HashMap<Digest, Withdrawal>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT digest, why FROM withdrawn")?;
            let rows =
                statement.query_map([], |row| Ok((text(row, "digest")?, text(row, "why")?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Removes what was over before `before`; with `dry_run` only counts it.
    ///
    /// A received message is removed if it expired before then: a replay would be refused for its
    /// date. One that never expires stays permanently, since its row is what keeps it dismissed, or
    /// from being listed twice. A message with a receipt still to be pushed stays as well.
    pub async fn purge_history(
        &self,
        before: Timestamp,
        dry_run: bool,
    ) -> Result<PurgedRows, StoreError> {
        self.write(move |transaction| {
            let purge = |condition| purge(transaction, condition, before, dry_run);
            purge(
                "withdrawn WHERE at < ?1 \
                 AND digest NOT IN (SELECT digest FROM outbox WHERE digest IS NOT NULL)",
            )?;
            purge(
                "presence WHERE at < ?1 \
                 AND digest NOT IN (SELECT digest FROM outbox WHERE digest IS NOT NULL)",
            )?;
            Ok(PurgedRows {
                inbox_count: purge(
                    "inbox WHERE expires_at < ?1 \
                     AND digest NOT IN (SELECT message FROM receipt_queue)",
                )?,
                quarantine_count: purge("quarantine WHERE updated_at < ?1")?,
                error_count: purge("errors WHERE at < ?1")?,
            })
        })
        .await
    }
}

/// Removes the rows that `condition`, a constant, selects by table and clause.
fn purge(
    transaction: &Transaction<'_>,
    condition: &'static str,
    before: Timestamp,
    dry_run: bool,
) -> Result<usize, StoreError> {
    let before = [before.unix_secs()];
    if dry_run {
        let count = format!("SELECT count(*) FROM {condition}");
        let count: i64 = transaction.query_row(&count, before, |row| row.get(0))?;
        return Ok(usize::try_from(count).unwrap_or_default());
    }
    Ok(transaction.execute(&format!("DELETE FROM {condition}"), before)?)
}
