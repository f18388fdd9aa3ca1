//! What was found out about sent messages that no receipt has confirmed yet.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::row::{optional_text, text, time};
use super::{Store, StoreError};
use crate::protocol::{Digest, ProtocolError, Timestamp};

/// How often the tag of one message is put back, in its whole life: whoever takes it away a fourth
/// time does so on purpose, and two programs must not fight over it without end. The migration
/// checks it too.
pub const PUT_BACK_COUNT_MAX: u32 = 3;

/// How matters stand with a sent message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Standing {
    /// Its tag is looked at, and put back.
    #[default]
    Watched,
    /// The registry refuses to have its tag put back, of which the user was told.
    Refused,
    /// Its tag was put back as often as it ever is.
    GivenUp,
    /// The registry no longer has it.
    Lost,
    /// The user has sent it once more, as another message.
    Resent,
    /// It has expired.
    Over,
}

impl Standing {
    const ALL: [Self; 6] =
        [Self::Watched, Self::Refused, Self::GivenUp, Self::Lost, Self::Resent, Self::Over];

    /// Returns the word kept in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watched => "watched",
            Self::Refused => "refused",
            Self::GivenUp => "given-up",
            Self::Lost => "lost",
            Self::Resent => "resent",
            Self::Over => "over",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Standing {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|standing| standing.as_str() == text)
            .ok_or(ProtocolError::BadField { field: "standing", reason: "unknown" })
    }
}

/// What is wrong with a sent message, by one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finding {
    /// Its tag is gone or points elsewhere, and its manifest is there.
    Untagged,
    /// Its tag and its manifest are gone.
    Gone,
}

impl Finding {
    /// Returns the word kept in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untagged => "untagged",
            Self::Gone => "gone",
        }
    }
}

impl FromStr for Finding {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Untagged, Self::Gone]
            .into_iter()
            .find(|finding| finding.as_str() == text)
            .ok_or(ProtocolError::BadField { field: "finding", reason: "unknown" })
    }
}

/// What is known about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceRecord {
    /// How matters stand.
    pub standing: Standing,
    /// What the last look found wrong.
    pub finding: Option<Finding>,
    /// How often its tag was put back, or may have been.
    pub put_back_count: u32,
    /// Of how many of these the user was told.
    pub told_count: u32,
    /// When this last changed.
    pub at: Timestamp,
}

/// A sent message that no receipt has confirmed, neither withdrawn nor resent nor known to be over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Its row in the outbox.
    pub id: i64,
    /// Its digest.
    pub digest: Digest,
    /// When it was sent, or its row last changed.
    pub sent_at: Timestamp,
    /// What is known about it.
    pub record: PresenceRecord,
}

/// The row of a message, or of one that has none.
const COLUMNS: &str = "coalesce(standing, 'watched') AS standing, finding, \
     coalesce(put_back_count, 0) AS put_back_count, coalesce(told_count, 0) AS told_count, \
     coalesce(at, 0) AS at";

/// What a sent message is that may still have to be put back.
const IS_UNCONFIRMED: &str = "state = 'sent' AND receipt IS NULL AND digest IS NOT NULL \
     AND digest NOT IN (SELECT digest FROM withdrawn) \
     AND coalesce(standing, 'watched') NOT IN ('resent', 'over')";

impl Store {
    /// Returns the sent messages that no receipt has confirmed, the oldest first, also those that
    /// were removed from the list. Only small columns are read; there may be thousands.
    pub async fn unconfirmed(&self) -> Result<Vec<Unconfirmed>, StoreError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT id, digest, updated_at, {COLUMNS} FROM outbox LEFT JOIN presence \
                 USING (digest) WHERE {IS_UNCONFIRMED} ORDER BY id"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Unconfirmed {
                    id: row.get("id")?,
                    digest: text(row, "digest")?,
                    sent_at: time(row, "updated_at")?,
                    record: record(row)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Keeps what a look has found out. A message that the user has sent once more stays that, and
    /// the count of puts back stays as it is.
    pub async fn record_presence(
        &self,
        digest: &Digest,
        standing: Standing,
        finding: Option<Finding>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let digest = digest.to_string();
        self.write(move |transaction| {
            transaction.execute(
                "INSERT INTO presence (digest, standing, finding, put_back_count, told_count, at) \
                 VALUES (?1, ?2, ?3, 0, 0, ?4) ON CONFLICT (digest) DO UPDATE SET \
                 standing = ?2, finding = ?3, at = ?4 WHERE standing <> 'resent'",
                (digest, standing.as_str(), finding.map(Finding::as_str), at.unix_secs()),
            )?;
            Ok(())
        })
        .await
    }

    /// Takes back that a message was sent once more: nothing was.
    pub async fn take_back_resent(
        &self,
        digest: &Digest,
        before: Standing,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let digest = digest.to_string();
        self.write(move |transaction| {
            transaction.execute(
                "UPDATE presence SET standing = ?2, at = ?3 WHERE digest = ?1",
                (digest, before.as_str(), at.unix_secs()),
            )?;
            Ok(())
        })
        .await
    }

    /// Counts that the tag of a message is about to be put back, and returns which time this is;
    /// `None` when it must not be: a receipt has come, the message was withdrawn or sent once more
    /// in the meantime, or this was done [`PUT_BACK_COUNT_MAX`] times.
    pub async fn begin_put_back(
        &self,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        let digest = digest.to_string();
        self.write(move |transaction| {
            let Some(record) = watched(transaction, &digest)? else { return Ok(None) };
            if record.put_back_count >= PUT_BACK_COUNT_MAX {
                return Ok(None);
            }
            let count = record.put_back_count + 1;
            transaction.execute(
                "INSERT INTO presence (digest, standing, put_back_count, told_count, at) \
                 VALUES (?1, 'watched', ?2, 0, ?3) ON CONFLICT (digest) DO UPDATE SET \
                 finding = NULL, put_back_count = ?2, at = ?3",
                (digest, count, at.unix_secs()),
            )?;
            Ok(Some(count))
        })
        .await
    }

    /// Takes back the last count: the registry has answered that it did nothing.
    pub async fn take_back_put_back(&self, digest: &Digest) -> Result<(), StoreError> {
        let digest = digest.to_string();
        self.write(move |transaction| {
            transaction.execute(
                "UPDATE presence SET put_back_count = put_back_count - 1 \
                 WHERE digest = ?1 AND put_back_count > told_count",
                [digest],
            )?;
            Ok(())
        })
        .await
    }

    /// Notes that the user was told of every time that the tag was put back.
    pub async fn record_told(&self, digest: &Digest) -> Result<(), StoreError> {
        let digest = digest.to_string();
        self.write(move |transaction| {
            transaction.execute(
                "UPDATE presence SET told_count = put_back_count WHERE digest = ?1",
                [digest],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns how matters stand with a message; one that was never looked at is watched.
    pub async fn standing(&self, digest: &Digest) -> Result<Standing, StoreError> {
        let digest = digest.to_string();
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT standing FROM presence WHERE digest = ?1")?;
            let standing = statement.query_row([digest], |row| text(row, "standing")).optional()?;
            Ok(standing.unwrap_or_default())
        })
        .await
    }

    /// Returns the messages of ours that the registry no longer has, without a receipt.
    pub async fn lost_messages(&self) -> Result<HashSet<Digest>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT digest FROM presence WHERE standing = 'lost'")?;
            let rows = statement.query_map([], |row| text(row, "digest"))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Returns what is known about a message whose tag may be put back.
fn watched(connection: &Connection, digest: &str) -> Result<Option<PresenceRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM outbox LEFT JOIN presence USING (digest) \
         WHERE digest = ?1 AND {IS_UNCONFIRMED} \
         AND coalesce(standing, 'watched') IN ('watched', 'refused')"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([digest], record).optional()?)
}

fn record(row: &Row<'_>) -> rusqlite::Result<PresenceRecord> {
    Ok(PresenceRecord {
        standing: text(row, "standing")?,
        finding: optional_text(row, "finding")?,
        put_back_count: row.get("put_back_count")?,
        told_count: row.get("told_count")?,
        at: time(row, "at")?,
    })
}

#[cfg(test)]
impl Store {
    /// Adds copies of a sent row that differ in name, manifest and tag, in one transaction.
    pub async fn copy_sent(
        &self,
        id: i64,
        copies: Vec<(String, crate::protocol::Tag, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            for (name, tag, manifest) in copies {
                let digest = Digest::of(&manifest).to_string();
                transaction.execute(
                    "INSERT INTO outbox (recipient, name, state, spool, len, mtime, mode, \
                     created_at, updated_at, hidden, digest, message_id, session, tag, \
                     bundle_digest, manifest, bundle) SELECT recipient, ?2, state, ?2, len, mtime, \
                     mode, created_at, updated_at, hidden, ?3, message_id, session, ?4, \
                     bundle_digest, ?5, bundle FROM outbox WHERE id = ?1",
                    (id, name, digest, tag.as_str(), manifest),
                )?;
                super::checksum::write(transaction, transaction.last_insert_rowid())?;
            }
            Ok(())
        })
        .await
    }
}
