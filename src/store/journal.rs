//! The last errors that a user should see, and small facts that must outlive a process.

use rusqlite::OptionalExtension as _;

use super::row::time;
use super::{Store, StoreError};
use crate::protocol::Timestamp;

/// Most errors kept, the newest: more than a person reads.
pub const ERROR_COUNT_MAX: u32 = 200;

/// The key under which the latest time ever seen is kept.
const CLOCK_KEY: &str = "clock-high-water";

/// How far the clock moves, in seconds, before its mark is written again: a poll every few seconds
/// must not keep a disk from sleeping.
const CLOCK_STEP_SECS: i64 = 60;

/// One line of `.dockercomms/errors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorEntry {
    /// When it happened.
    pub at: Timestamp,
    /// `ErrorClass::code` or a reason code.
    pub code: String,
    /// What it is about: a file, a message, the registry.
    pub subject: String,
    /// What failed and why.
    pub text: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Store {
    /// Keeps an error; beyond [`ERROR_COUNT_MAX`] the oldest are removed.
    pub async fn record_error(&self, error: ErrorEntry) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute(
                "INSERT INTO errors (at, code, subject, text, hint) VALUES (?1, ?2, ?3, ?4, ?5)",
                (error.at.unix_secs(), error.code, error.subject, error.text, error.hint),
            )?;
            transaction.execute(
                "DELETE FROM errors WHERE id <= (SELECT max(id) FROM errors) - ?1",
                [ERROR_COUNT_MAX],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns the last errors, the oldest first.
    pub async fn errors(&self) -> Result<Vec<ErrorEntry>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM errors ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                Ok(ErrorEntry {
                    at: time(row, "at")?,
                    code: row.get("code")?,
                    subject: row.get("subject")?,
                    text: row.get("text")?,
                    hint: row.get("hint")?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Returns a small fact by its name.
    #[cfg(test)]
    pub async fn get_meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.read(move |connection| select_meta(connection, &key)).await
    }

    /// Keeps a small fact under a name.
    #[cfg(test)]
    pub async fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.write(move |transaction| replace_meta(transaction, &key, &value)).await
    }

    /// Returns the latest time kept by [`Store::raise_clock`]; zero when there is none.
    pub async fn clock_mark(&self) -> Result<Timestamp, StoreError> {
        self.read(mark_of).await
    }

    /// Forgets times later than `now`, which a wrong clock has left.
    pub async fn lower_clock(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |transaction| {
            replace_meta(transaction, CLOCK_KEY, &now.unix_secs().to_string())
        })
        .await
    }

    /// Returns the latest time that this state has ever seen, `now` included.
    ///
    /// A clock that was set back must not make expired messages valid again. The stored time may
    /// lag by a minute.
    pub async fn raise_clock(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        self.write(move |transaction| {
            let mark = mark_of(transaction)?;
            if now >= mark.saturating_add_secs(CLOCK_STEP_SECS) {
                replace_meta(transaction, CLOCK_KEY, &now.unix_secs().to_string())?;
            }
            Ok(now.max(mark))
        })
        .await
    }
}

fn mark_of(connection: &rusqlite::Connection) -> Result<Timestamp, StoreError> {
    match select_meta(connection, CLOCK_KEY)? {
        None => Ok(Timestamp::from_unix_secs(0)),
        Some(secs) => secs
            .parse()
            .map(Timestamp::from_unix_secs)
            .map_err(|_source| StoreError::corrupt("the clock's mark is not a number")),
    }
}

fn select_meta(connection: &rusqlite::Connection, key: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

fn replace_meta(
    connection: &rusqlite::Connection,
    key: &str,
    value: &str,
) -> Result<(), StoreError> {
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
    Ok(())
}
