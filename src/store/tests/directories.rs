//! Directories below a recipient: rows from before there were any, and rows that lie in one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::OutboxChange;
use super::*;

/// The checksum that version 4 wrote for the row of [`write_version_4`].
const CHECKSUM: &str = "sha256:72f6da6cb6a6c4d10ca28475c837f0a77d380e87791274e44c5d9b792c697b1b";

/// Writes a database as version 4 left it: one entry, with its checksum.
fn write_version_4(path: &Path) {
    fs::File::create(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let old = rusqlite::Connection::open(path).unwrap();
    for step in [
        include_str!("../migrations/0001.sql"),
        include_str!("../migrations/0002.sql"),
        include_str!("../migrations/0003.sql"),
        include_str!("../migrations/0004.sql"),
    ] {
        old.execute_batch(step).unwrap();
    }
    old.pragma_update(None, "application_id", 0x444b_434d).unwrap();
    old.pragma_update(None, "user_version", 4).unwrap();
    old.execute(
        "INSERT INTO outbox (id, recipient, name, state, spool, len, mtime, mode, created_at, \
         updated_at, hidden, checksum) VALUES (7, 'bob@example.com', 'r\u{e9}sum\u{e9}.pdf', 'draft', \
         's1', 5, 2, 384, 4, 5, 0, ?1)",
        [CHECKSUM],
    )
    .unwrap();
}

fn change(path: &Path, sql: &str) {
    let database = rusqlite::Connection::open(path).unwrap();
    assert_eq!(database.execute(sql, []).unwrap(), 1);
}

#[tokio::test]
async fn a_row_from_before_directories_keeps_its_checksum_and_lies_in_none() {
    let (dir, store) = new_store().await;
    drop(store);
    let path = dir.path().join("state.db");
    fs::remove_file(&path).unwrap();
    write_version_4(&path);

    let store = Store::open(dir.path()).await.unwrap();

    let rows = store.outbox_rows().await.unwrap();
    assert_eq!(rows.damaged, Vec::<i64>::new());
    let [entry] = rows.entries.try_into().unwrap();
    assert_eq!((entry.directory, entry.name.as_str()), (None, "r\u{e9}sum\u{e9}.pdf"));
    let checksum = store
        .read(|connection| {
            Ok(connection
                .query_row("SELECT checksum FROM outbox", [], |row| row.get::<_, String>(0))?)
        })
        .await
        .unwrap();
    assert_eq!(checksum, CHECKSUM);
}

#[tokio::test]
async fn a_damaged_row_from_before_directories_is_still_noticed() {
    let (dir, store) = new_store().await;
    drop(store);
    let path = dir.path().join("state.db");
    fs::remove_file(&path).unwrap();
    write_version_4(&path);
    change(&path, "UPDATE outbox SET recipient = 'rob@example.com'");

    let store = Store::open(dir.path()).await.unwrap();

    let rows = store.outbox_rows().await.unwrap();
    assert_eq!((rows.entries.len(), rows.damaged), (0, vec![7]));
}

#[tokio::test]
async fn a_row_keeps_its_directory_until_it_leaves_it() {
    let (dir, store) = new_store().await;
    let directory = Some(".~tmp~".to_owned());
    let new = NewOutbox { directory: directory.clone(), ..draft("one.txt") };
    let id = store.insert_outbox(new).await.unwrap();

    let store = reopen(&dir, store).await;
    let inside = store.outbox(id).await.unwrap().unwrap();
    store.update_outbox(id, OutboxChange::default()).await.unwrap();
    let unchanged = store.outbox(id).await.unwrap().unwrap();
    let out = OutboxChange { directory: Some(None), ..OutboxChange::default() };
    store.update_outbox(id, out).await.unwrap();
    let store = reopen(&dir, store).await;
    let outside = store.outbox(id).await.unwrap().unwrap();

    assert_eq!((inside.directory, inside.name.as_str()), (directory.clone(), "one.txt"));
    assert_eq!(unchanged.directory, directory);
    assert_eq!((outside.directory, outside.name.as_str()), (None, "one.txt"));
}

#[tokio::test]
async fn a_row_that_lost_gained_or_changed_its_directory_is_damaged() {
    let tmp = Some(".~tmp~".to_owned());
    for (directory, damage) in
        [(tmp.clone(), "NULL"), (tmp.clone(), "'.~tmq~'"), (tmp, "''"), (None, "'.~tmp~'")]
    {
        let (dir, store) = new_store().await;
        let new = NewOutbox { directory, ..draft("one.txt") };
        let id = store.insert_outbox(new).await.unwrap();
        drop(store);
        let sql = format!("UPDATE outbox SET directory = {damage}");
        change(&dir.path().join("state.db"), &sql);

        let store = Store::open(dir.path()).await.unwrap();

        assert_eq!(store.outbox_rows().await.unwrap().damaged, [id], "{damage}");
    }
}
