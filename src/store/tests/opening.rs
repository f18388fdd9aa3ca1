use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rusqlite::ffi;

use super::super::{InboxEntry, OutboxChange, OutboxEntry, StoreError};
use super::*;
use crate::protocol::ErrorClass;

const PAGE_LEN: usize = 4096;

async fn open_error(dir: &Path) -> StoreError {
    Store::open(dir).await.expect_err("opened")
}

/// A closed database with enough rows to have interior, leaf, overflow and index pages.
async fn filled_state() -> TempDir {
    let (dir, store) = new_store().await;
    for n in 0..60 {
        let manifest = vec![u8::try_from(n + 1).unwrap(); 9_000];
        let digest = Digest::of(&manifest);
        store.admit(vec![NewInbox { digest, manifest, ..arrived("a", n) }]).await.unwrap();
        let id = store.insert_outbox(draft(&format!("{n}"))).await.unwrap();
        let message = Some(Some(prepared(&format!("{n}"))));
        store.update_outbox(id, OutboxChange { message, ..OutboxChange::default() }).await.unwrap();
    }
    drop(store);
    dir
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_state_is_private() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");

    let store = Store::open(&dir).await.unwrap();
    store.set_meta("a", "b").await.unwrap();

    assert_eq!(mode(&dir), 0o700);
    for file in fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["state.db"], "a closed state is one file");
}

#[tokio::test]
async fn modes_that_are_too_open_are_repaired() {
    let dir = filled_state().await;
    let database = dir.path().join("state.db");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();

    let _store = Store::open(dir.path()).await.unwrap();

    assert_eq!((mode(dir.path()), mode(&database)), (0o700, 0o600));
}

#[tokio::test]
async fn a_commit_is_synchronous_and_in_the_log() {
    let (_dir, store) = new_store().await;

    let settings = store
        .read(|connection| {
            let text = |pragma: &str| -> Result<String, StoreError> {
                let sql = format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}");
                Ok(connection.query_row(&sql, [], |row| row.get(0))?)
            };
            Ok([text("journal_mode")?, text("synchronous")?, text("foreign_keys")?])
        })
        .await
        .unwrap();

    assert_eq!(settings, ["wal", "2", "1"]);
}

#[tokio::test]
async fn f10_a_garbled_page_is_noticed_and_the_file_is_left_as_it_is() {
    let dir = filled_state().await;
    let path = dir.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    let page_count = whole.len() / PAGE_LEN;
    assert!(page_count > 100, "{page_count}");

    for page in 0..page_count {
        for garbage in [[0_u8; PAGE_LEN], [0xa5; PAGE_LEN]] {
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.seek(SeekFrom::Start((page * PAGE_LEN) as u64)).unwrap();
            file.write_all(&garbage).unwrap();
            drop(file);
            let damaged = fs::read(&path).unwrap();

            let found = load_all(dir.path()).await.map(|_| ());

            assert!(matches!(found, Err(StoreError::Corrupt { .. })), "page {page}: {found:?}");
            assert!(fs::read(&path).unwrap() == damaged, "page {page} was changed");
            remove_log(dir.path());
            restore(&path, &whole);
        }
    }
}

/// Opens the state and reads all mail: damage inside a long value shows only then.
async fn load_all(dir: &Path) -> Result<(Vec<InboxEntry>, Vec<OutboxEntry>), StoreError> {
    let store = Store::open(dir).await?;
    let outbox = store.outbox_rows().await?;
    match outbox.damaged.first() {
        Some(id) => Err(StoreError::corrupt(format!("row {id}"))),
        None => Ok((inbox_entries(&store).await?, outbox.entries)),
    }
}

#[tokio::test]
async fn f10_one_flipped_bit_in_a_digest_is_noticed_wherever_it_counts() {
    let dir = filled_state().await;
    let path = dir.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    let mail = load_all(dir.path()).await.unwrap();
    let digest = Digest::of(&[1; 9_000]).to_string();
    let places = (0..whole.len()).filter(|at| whole[*at..].starts_with(digest.as_bytes()));

    let mut noticed_count = 0;
    for place in places {
        let mut damaged = whole.clone();
        damaged[place + 20] ^= 1;
        restore(&path, &damaged);

        match load_all(dir.path()).await {
            Err(StoreError::Corrupt { .. }) => noticed_count += 1,
            // SQLite leaves old copies in the unused part of a page.
            found => assert!(found.is_ok_and(|found| found == mail), "{place}"),
        }
        remove_log(dir.path());
    }

    // In the row, and in the index, where it would admit the message twice.
    assert_eq!(noticed_count, 2);
}

/// A refused database may leave an empty log, which belongs to the damaged file.
fn remove_log(dir: &Path) {
    for name in ["state.db-wal", "state.db-shm"] {
        fs::remove_file(dir.join(name)).ok();
    }
}

fn restore(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test]
async fn f10_a_truncated_database_is_refused() {
    let dir = filled_state().await;
    let path = dir.path().join("state.db");
    let whole = fs::metadata(&path).unwrap().len();
    let page = PAGE_LEN as u64;

    for len in [whole - page, whole - page - 1, whole / 2, page, page - 1, 100, 1, 0] {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();

        let error = open_error(dir.path()).await;

        assert!(matches!(error, StoreError::Corrupt { .. }), "{len}: {error:?}");
        assert_eq!(error.class(), ErrorClass::Internal);
        assert_eq!(fs::metadata(&path).unwrap().len(), len, "never reset");
    }
}

#[tokio::test]
async fn f10_a_log_without_its_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("state.db-wal")).unwrap();

    let error = open_error(dir.path()).await;

    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    other.execute_batch("CREATE TABLE mail (id)").unwrap();
    drop(other);

    let error = open_error(dir.path()).await;

    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn f26_a_newer_database_is_refused() {
    let dir = filled_state().await;
    let database = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);

    let error = open_error(dir.path()).await;

    assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Configuration);
}

#[tokio::test]
async fn a_database_that_is_no_regular_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = filled_state().await;
    let path = dir.path().join("state.db");

    symlink(other.path().join("state.db"), &path).unwrap();
    let link = open_error(dir.path()).await;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let directory = open_error(dir.path()).await;

    assert!(matches!(link, StoreError::Foreign { .. }), "{link:?}");
    assert!(matches!(directory, StoreError::Foreign { .. }), "{directory:?}");
}

#[tokio::test]
async fn a_state_directory_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::File::create(&path).unwrap();

    let error = open_error(&path).await;

    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn a_state_of_another_user_is_refused_and_not_touched() {
    // `/` belongs to root; as root, use a directory of `nobody` as the other user's.
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
    let root = fs::metadata(dir.path()).unwrap().uid() == 0;
    let path = if root {
        std::os::unix::fs::chown(&theirs, Some(65_534), None).unwrap();
        theirs
    } else {
        "/".into()
    };
    let before = mode(&path);

    let error = open_error(&path).await;

    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    assert_eq!(mode(&path), before);
}

#[tokio::test]
async fn a_crash_during_the_first_start_leaves_nothing_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".new.db", ".new.db-wal", ".new.db-shm"] {
        fs::File::create(dir.path().join(name)).unwrap().write_all(b"torn").unwrap();
    }

    let store = Store::open(dir.path()).await.unwrap();

    assert_eq!(store.outbox_rows().await.unwrap().entries, []);
    assert!(!dir.path().join(".new.db").exists());
}

#[tokio::test]
async fn two_first_starts_at_once_share_one_database() {
    let dir = tempfile::tempdir().unwrap();

    let opened = (0..8).map(|_| Store::open(dir.path()));
    let stores: Vec<_> = futures_util::future::join_all(opened).await;
    for (n, store) in stores.iter().enumerate() {
        store.as_ref().unwrap().set_meta(&n.to_string(), "here").await.unwrap();
    }

    let last = stores.last().unwrap().as_ref().unwrap();
    for n in 0..8 {
        assert_eq!(last.get_meta(&n.to_string()).await.unwrap().as_deref(), Some("here"));
    }
}

#[tokio::test]
async fn f10_commits_that_are_only_in_the_log_survive_a_kill() {
    let (dir, store) = new_store().await;
    store.set_meta("a", "committed").await.unwrap();
    // A copy of the files of a running program is what a power cut leaves.
    let copy = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.db-wal"] {
        let mut bytes = Vec::new();
        fs::File::open(dir.path().join(name)).unwrap().read_to_end(&mut bytes).unwrap();
        fs::File::create(copy.path().join(name)).unwrap().write_all(&bytes).unwrap();
    }

    let survivor = Store::open(copy.path()).await.unwrap();

    assert_eq!(survivor.get_meta("a").await.unwrap().as_deref(), Some("committed"));
}

#[tokio::test]
async fn f11_a_second_lock_names_the_process_that_holds_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let first = Store::lock(&state).unwrap();

    let second = Store::lock(&state).unwrap_err();
    drop(first);
    let third = Store::lock(&state);

    let pid = std::process::id();
    assert!(matches!(second, StoreError::Locked { pid: named } if named == pid), "{second:?}");
    assert_eq!(second.class(), ErrorClass::Busy);
    assert!(second.to_string().contains(&pid.to_string()));
    assert!(third.is_ok(), "{third:?}");
    assert_eq!(mode(&state), 0o700);
}

#[tokio::test]
async fn f11_a_stale_lock_file_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("lock")).unwrap().write_all(b"1\n").unwrap();

    let lock = Store::lock(dir.path());

    assert!(lock.is_ok(), "{lock:?}");
}

#[tokio::test]
async fn f02_a_full_disk_fails_the_write_and_changes_nothing() {
    let (_dir, store) = new_store().await;
    store.set_meta("a", "before").await.unwrap();
    store
        .read(|connection| {
            let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            connection.pragma_update(None, "max_page_count", pages)?;
            Ok(())
        })
        .await
        .unwrap();

    let error = store.set_meta("a", &"x".repeat(1 << 20)).await.unwrap_err();

    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert_eq!(error.class(), ErrorClass::NoSpace);
    assert_eq!(store.get_meta("a").await.unwrap().as_deref(), Some("before"));
}

#[test]
fn codes_of_sqlite_have_their_class() {
    let cases = [
        (ffi::SQLITE_FULL, ErrorClass::NoSpace),
        (ffi::SQLITE_READONLY, ErrorClass::ReadOnly),
        (ffi::SQLITE_READONLY_DBMOVED, ErrorClass::ReadOnly),
        (ffi::SQLITE_BUSY, ErrorClass::Busy),
        (ffi::SQLITE_BUSY_SNAPSHOT, ErrorClass::Busy),
        (ffi::SQLITE_LOCKED, ErrorClass::Busy),
        (ffi::SQLITE_CORRUPT, ErrorClass::Internal),
        (ffi::SQLITE_NOTADB, ErrorClass::Internal),
        (ffi::SQLITE_IOERR_FSYNC, ErrorClass::Internal),
    ];

    for (code, class) in cases {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert_eq!(StoreError::from(error).class(), class, "{code}");
    }
}

#[test]
fn f04_f05_f06_f07_errors_of_the_disk_have_their_class() {
    let cases = [
        (libc::ENOSPC, ErrorClass::NoSpace),
        (libc::EDQUOT, ErrorClass::QuotaExceeded),
        (libc::EROFS, ErrorClass::ReadOnly),
        (libc::EACCES, ErrorClass::ReadOnly),
        (libc::EIO, ErrorClass::Internal),
    ];

    for (errno, class) in cases {
        let error = StoreError::from(std::io::Error::from_raw_os_error(errno));
        assert_eq!(error.class(), class, "{errno}");
    }
}

#[tokio::test]
async fn a_dropped_caller_does_not_stop_the_write() {
    let (dir, store) = new_store().await;

    let mut write = Box::pin(store.set_meta("a", "b"));
    // One poll hands it to the thread; after that no caller waits for it.
    let _polled = futures_util::poll!(&mut write);
    drop(write);
    let store = reopen(&dir, store).await;

    assert_eq!(store.get_meta("a").await.unwrap().as_deref(), Some("b"));
}

#[tokio::test]
async fn another_process_may_read_and_write_at_the_same_time() {
    let (dir, store) = new_store().await;
    let other = Store::open(dir.path()).await.unwrap();

    store.set_meta("a", "1").await.unwrap();
    other.set_meta("a", "2").await.unwrap();

    assert_eq!(store.get_meta("a").await.unwrap().as_deref(), Some("2"));
}

#[tokio::test]
async fn f26_a_database_of_the_first_version_is_upgraded_with_all_its_mail() {
    let (dir, store) = new_store().await;
    drop(store);
    fs::remove_file(dir.path().join("state.db")).unwrap();
    write_version_1(&dir.path().join("state.db"));

    let store = Store::open(dir.path()).await.unwrap();

    let entries = store.outbox_rows().await.unwrap().entries;
    let kept: Vec<_> = entries.iter().map(|entry| (entry.id, entry.name.as_str())).collect();
    assert_eq!(kept, [(3, "three"), (5, "five")]);
    let five = &entries[1];
    assert_eq!(five.message.as_ref(), Some(&prepared("five")));
    assert_eq!((five.message_id, five.queue_place), (Some(prepared("five").id), None));
    assert!(!five.unattended && five.hidden);
    let found = store.outbox_by_digest(&prepared("five").digest).await.unwrap();
    assert_eq!(found.map(|entry| entry.id), Some(5));
    let unconfirmed = store.unconfirmed().await.unwrap();
    assert_eq!(unconfirmed.iter().map(|row| row.id).collect::<Vec<_>>(), [5]);
    // 9 was used and removed before the upgrade.
    assert_eq!(store.insert_outbox(draft("new")).await.unwrap(), 10);
    store.enqueue_outbox(10, OutboxChange::default()).await.unwrap();
}

/// Writes a database as version 1 left it: two entries, and a third that was removed.
fn write_version_1(path: &Path) {
    fs::File::create(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let old = rusqlite::Connection::open(path).unwrap();
    old.execute_batch(include_str!("../migrations/0001.sql")).unwrap();
    old.pragma_update(None, "application_id", 0x444b_434d).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    for (id, name) in [(3, "three"), (5, "five"), (9, "nine")] {
        old.execute(
            "INSERT INTO outbox (id, recipient, name, state, spool, len, mtime, mode, created_at, \
             updated_at, hidden) VALUES (?1, 'bob', ?2, 'sent', ?2, 1, 2, 3, 4, 5, 1)",
            rusqlite::params![id, name],
        )
        .unwrap();
    }
    old.execute("DELETE FROM outbox WHERE id = 9", []).unwrap();
    let message = prepared("five");
    old.execute(
        "UPDATE outbox SET digest = ?1, message_id = ?2, session = ?3, tag = ?4, bundle_digest = ?5, \
         manifest = ?6, bundle = ?7 WHERE id = 5",
        rusqlite::params![
            message.digest.to_string(),
            message.id.to_string(),
            message.session,
            message.tag.as_str(),
            Digest::of(&message.bundle).to_string(),
            message.manifest,
            message.bundle,
        ],
    )
    .unwrap();
}
