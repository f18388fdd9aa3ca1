//! Opening the database: whose it is, whether it is intact, which version it has.
//!
//! A database that is damaged, foreign or too new is refused and left exactly as it was.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior};
use rustix::fs::{Access, access};

use super::checksum;
use super::error::StoreError;
use crate::sys::crash;
use crate::sys::durable::{create_private, create_private_dir, rename_durable};
use crate::sys::owner::{is_of_this_user, is_open_to_others};

/// The database's name in the state directory.
pub(super) const DATABASE_NAME: &str = "state.db";

/// Shortest database: one page.
const DATABASE_LEN_MIN: u64 = 4096;

/// How long one process waits for another one's transaction, which takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Marks the file as ours in its header: "DKCM".
const APPLICATION_ID: i64 = 0x444b_434d;

/// The steps from an empty database to the newest schema; never edited once released.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
];

/// The version from which rows of the outbox have a checksum.
const SEALED_VERSION: usize = 4;

/// Settings of a connection. `FULL` makes a commit survive a power cut; the schema of the file is
/// not trusted more than its rows.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";

/// Opens the database of `state_dir`, creating both when they do not exist.
pub(super) fn open(state_dir: &Path) -> Result<Connection, StoreError> {
    prepare_dir(state_dir)?;
    let path = state_dir.join(DATABASE_NAME);
    match fs::symlink_metadata(&path) {
        Ok(metadata) => prepare_file(&path, &metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(state_dir, &path)?,
        Err(error) => return Err(error.into()),
    }
    let mut connection = connect(&path)?;
    check(&connection)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Makes the state directory, private to us; one that belongs to another user is refused.
pub(super) fn prepare_dir(state_dir: &Path) -> Result<(), StoreError> {
    // Checked before the mode is tightened: root must not change another user's directory.
    match fs::metadata(state_dir) {
        Ok(metadata) if !metadata.is_dir() => return Err(foreign(state_dir, "is not a directory")),
        Ok(metadata) => {
            require_ours(state_dir, &metadata)?;
            if is_open_to_others(&metadata) {
                tracing::warn!("the state directory was open to other users; it is now private");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    create_private_dir(state_dir)?;
    // Without this, SQLite opens the database read-only and fails later, less clearly.
    access(state_dir, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)?;
    Ok(())
}

fn prepare_file(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    if !metadata.is_file() {
        return Err(foreign(path, "is not a regular file"));
    }
    require_ours(path, metadata)?;
    // SQLite takes an empty file, or one of a few bytes, for a new database, which would silently
    // lose mail. Ours gets its name only when it is complete.
    if metadata.len() < DATABASE_LEN_MIN {
        return Err(StoreError::corrupt("the file is truncated"));
    }
    if is_open_to_others(metadata) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn require_ours(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    if !is_of_this_user(metadata) {
        return Err(foreign(path, "belongs to another user"));
    }
    Ok(())
}

fn foreign(path: &Path, reason: &'static str) -> StoreError {
    StoreError::Foreign { path: path.to_owned(), reason }
}

/// Builds the database under a temporary name and renames it only when it is complete.
fn create(state_dir: &Path, path: &Path) -> Result<(), StoreError> {
    // Two first starts at once: the second one finds the database of the first.
    let dir = File::open(state_dir)?;
    dir.lock()?;
    if path.try_exists()? {
        return Ok(());
    }
    if state_dir.join(format!("{DATABASE_NAME}-wal")).try_exists()? {
        return Err(StoreError::corrupt("the database is gone but its log is there"));
    }
    // One fixed name, which no other process uses while we hold the lock, leaves no litter after a
    // crash.
    let names = ["", "-wal", "-shm"].map(|suffix| state_dir.join(format!(".new.db{suffix}")));
    for name in &names {
        match fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let [temporary, ..] = names;
    drop(create_private(&temporary)?);
    crash::point!("store.create.file");
    let mut connection = connect(&temporary)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&mut connection)?;
    crash::point!("store.create.migrated");
    connection.close().map_err(|(_, error)| error)?;
    File::open(&temporary)?.sync_all()?;
    crash::point!("store.create.durable");
    rename_durable(&temporary, path)?;
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(PRAGMAS)?;
    if connection.is_readonly(MAIN_DB)? {
        return Err(StoreError::ReadOnly);
    }
    Ok(connection)
}

/// Refuses a database that is not ours, too new, or damaged.
fn check(connection: &Connection) -> Result<(), StoreError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION_ID {
        return Err(StoreError::corrupt("the file is not a database of this program"));
    }
    let (found, known) = (number("user_version")?, version(MIGRATIONS.len()));
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    // Not `quick_check`: it skips the indices, whose damage would admit a message twice. With
    // 10,000 messages this takes 50 ms and the quick one 45.
    let answer: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if answer != "ok" {
        return Err(StoreError::corrupt(answer));
    }
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read inside the transaction: another process may just have done it.
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(found).map_err(|_source| StoreError::corrupt("bad version"))?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        transaction.execute_batch(sql)?;
        if step + 1 == SEALED_VERSION {
            checksum::write_all(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", version(step + 1))?;
        crash::point!("store.migrate.stepped");
    }
    transaction.commit()?;
    crash::point!("store.migrate.committed");
    Ok(())
}

fn version(steps: usize) -> i64 {
    i64::try_from(steps).unwrap_or(i64::MAX)
}
