//! Conversions between the protocol's types and SQLite's values.

use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};

use super::error::StoreError;
use crate::protocol::{Digest, Timestamp};

/// A value kept as its text. Text that no longer parses means a damaged database.
///
/// Only for reading: `Identity` displays an escaped form, so writing uses its `as_str`.
struct Text<T>(T);

impl<T: FromStr> FromSql for Text<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// Reads a value kept as its text.
pub(super) fn text<T: FromStr>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, Text<T>>(column).map(|text| text.0)
}

/// Reads a value kept as its text, or none.
pub(super) fn optional_text<T: FromStr>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, Option<Text<T>>>(column).map(|text| text.map(|text| text.0))
}

/// Reads a time kept as Unix seconds.
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_unix_secs)
}

/// Returns a length as SQLite keeps it; no file is longer than `i64::MAX` bytes.
pub(super) fn signed(len: u64) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// Checks that bytes from the database are still those that were stored.
pub(super) fn require_digest(bytes: &[u8], digest: &Digest) -> Result<(), StoreError> {
    if Digest::of(bytes) != *digest {
        return Err(StoreError::corrupt(format!("the bytes kept for {digest} have changed")));
    }
    Ok(())
}
