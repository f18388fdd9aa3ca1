//! Asks the disk why the database could not be written.
//!
//! SQLite reports "I/O error" for a used-up quota, and for a full disk when it cannot enlarge the
//! index of its log; the errno is not available without `unsafe`. The disk still knows.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use rusqlite::ErrorCode;

use super::error::StoreError;
use crate::sys::durable::create_private;

/// The probe's name: one that a crash leaves behind is replaced by the next.
const PROBE_NAME: &str = ".probe";

/// The least that a commit writes: one page.
const PROBE_LEN: usize = 4096;

/// Returns the disk's own reason for an I/O error of SQLite, or the error when the disk has none.
pub(super) fn explain(error: StoreError, state_dir: &Path) -> StoreError {
    let StoreError::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) = &error else {
        return error;
    };
    if !matches!(failure.code, ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) {
        return error;
    }
    match write_probe(state_dir).map_err(StoreError::from) {
        // A disk that fails in another way has already reported that to SQLite.
        Ok(()) | Err(StoreError::Io(_)) => error,
        Err(reason) => reason,
    }
}

fn write_probe(state_dir: &Path) -> io::Result<()> {
    let path = state_dir.join(PROBE_NAME);
    fs::remove_file(&path).ok();
    let mut probe = create_private(&path)?;
    let written = probe.write_all(&[0; PROBE_LEN]).and_then(|()| probe.sync_all());
    fs::remove_file(&path).ok();
    written
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failure(code: i32) -> StoreError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn an_error_that_the_disk_does_not_explain_stays_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let left_by_a_crash = dir.path().join(PROBE_NAME);
        create_private(&left_by_a_crash).unwrap();

        let broken = explain(failure(ffi::SQLITE_IOERR_FSYNC), dir.path());
        let gone = explain(failure(ffi::SQLITE_IOERR_WRITE), &dir.path().join("gone"));
        let busy = explain(failure(ffi::SQLITE_BUSY), Path::new("/proc"));

        assert!(matches!(broken, StoreError::Sqlite(_)), "{broken:?}");
        assert!(matches!(gone, StoreError::Sqlite(_)), "{gone:?}");
        assert!(matches!(busy, StoreError::Busy), "{busy:?}");
        assert!(!left_by_a_crash.exists());
    }
}
