//! Checksums of the outbox's rows: a row that has changed since it was written is noticed when
//! it is read.
//!
//! SQLite notices damage to the structure of its pages, not to the contents of a row, and a flipped
//! bit in a name or a recipient would send a file to the wrong person.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::protocol::Digest;

/// The column that holds the checksum of the others.
const CHECKSUM: &str = "checksum";

/// Returns whether the row of the outbox is as it was written.
pub(super) fn matches(row: &Row<'_>) -> rusqlite::Result<bool> {
    let kept: Option<String> = row.get(CHECKSUM)?;
    Ok(kept.is_some_and(|kept| checksum(row).is_ok_and(|checksum| checksum == kept)))
}

/// Writes the checksum of a row that has just been written.
pub(super) fn write(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT * FROM outbox WHERE id = ?1")?;
    let checksum = statement.query_row([id], checksum)?;
    let mut statement =
        connection.prepare_cached("UPDATE outbox SET checksum = ?2 WHERE id = ?1")?;
    statement.execute((id, checksum))?;
    Ok(())
}

/// Writes the checksum of every row, as an older version has left it.
pub(super) fn write_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT id FROM outbox")?;
    let ids: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.into_iter().try_for_each(|id| write(connection, id))
}

/// Computes the checksum of a row.
///
/// Excludes the blobs, which have digests of their own among the other columns. A column that is
/// NULL does not count, so that a later version can add one.
fn checksum(row: &Row<'_>) -> rusqlite::Result<String> {
    let mut bytes = Vec::new();
    for (index, name) in row.as_ref().column_names().enumerate() {
        let number;
        let value = match row.get_ref(index)? {
            ValueRef::Text(_) if name == CHECKSUM => continue,
            ValueRef::Text(text) => text,
            ValueRef::Integer(integer) => {
                number = integer.to_string();
                number.as_bytes()
            }
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => continue,
        };
        // With its length, so that no value can be mistaken for the beginning of the next one.
        bytes.extend_from_slice(format!("{name} {} ", value.len()).as_bytes());
        bytes.extend_from_slice(value);
    }
    Ok(Digest::of(&bytes).to_string())
}
