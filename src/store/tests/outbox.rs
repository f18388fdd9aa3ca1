use super::super::{OutboxChange, OutboxEntry, OutboxState, StoreError, StoredError};
use super::*;
use crate::protocol::{ErrorClass, ReceiptStatus};

#[tokio::test]
async fn a_new_entry_is_an_empty_draft() {
    let (_dir, store) = new_store().await;

    let id = store.insert_outbox(draft(".report.pdf.part")).await.unwrap();

    let expected = OutboxEntry {
        id,
        recipient: bob(),
        directory: None,
        name: ".report.pdf.part".to_owned(),
        state: OutboxState::Draft,
        spool: ".report.pdf.part.spool".to_owned(),
        len: 0,
        mtime: at(0),
        mode: 0o600,
        created_at: at(0),
        updated_at: at(0),
        queue_place: None,
        message_id: None,
        message: None,
        tag: None,
        error: None,
        unattended: false,
        hidden: false,
        receipt: None,
    };
    assert_eq!(store.outbox(id).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn every_change_of_an_entry_survives_a_restart() {
    let (dir, store) = new_store().await;
    let id = store.insert_outbox(draft("a.tmp")).await.unwrap();
    let error = StoredError { code: "unreachable".to_owned(), text: "no route\u{1b}".to_owned() };

    let change = OutboxChange {
        updated_at: Some(at(5)),
        directory: Some(Some(".~tmp~".to_owned())),
        name: Some("a.pdf".to_owned()),
        state: Some(OutboxState::Prepared),
        len: Some(5 << 40),
        mtime: Some(at(-100)),
        mode: Some(0o644),
        message_id: None,
        message: Some(Some(prepared("a"))),
        error: Some(Some(error.clone())),
        unattended: Some(true),
        hidden: Some(true),
        receipt: Some(Some(ReceiptStatus::Rejected)),
        leaves_queue: false,
        replaces: Vec::new(),
    };
    store.update_outbox(id, change).await.unwrap();
    let store = reopen(&dir, store).await;

    let entry = store.outbox(id).await.unwrap().unwrap();
    let expected = OutboxEntry {
        id,
        recipient: bob(),
        directory: Some(".~tmp~".to_owned()),
        name: "a.pdf".to_owned(),
        state: OutboxState::Prepared,
        spool: "a.tmp.spool".to_owned(),
        len: 5 << 40,
        mtime: at(-100),
        mode: 0o644,
        created_at: at(0),
        updated_at: at(5),
        queue_place: None,
        message_id: Some(prepared("a").id),
        message: Some(prepared("a")),
        tag: Some(prepared("a").tag),
        error: Some(error),
        unattended: true,
        hidden: true,
        receipt: Some(ReceiptStatus::Rejected),
    };
    assert_eq!(entry, expected);
    assert_eq!(store.outbox_by_digest(&prepared("a").digest).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn an_empty_change_changes_nothing_and_some_none_clears() {
    let (_dir, store) = new_store().await;
    let id = store.insert_outbox(draft("a")).await.unwrap();
    let error = Some(StoredError { code: "c".to_owned(), text: "t".to_owned() });
    let change = OutboxChange {
        message: Some(Some(prepared("a"))),
        error: Some(error.clone()),
        ..OutboxChange::default()
    };
    store.update_outbox(id, change).await.unwrap();

    store.update_outbox(id, OutboxChange::default()).await.unwrap();
    let kept = store.outbox(id).await.unwrap().unwrap();
    let clear = OutboxChange { message: Some(None), error: Some(None), ..OutboxChange::default() };
    store.update_outbox(id, clear).await.unwrap();
    let cleared = store.outbox(id).await.unwrap().unwrap();

    assert_eq!((kept.message, kept.error), (Some(prepared("a")), error));
    assert_eq!((cleared.message, cleared.tag, cleared.error), (None, None, None));
}

#[tokio::test]
async fn each_state_is_kept() {
    let (_dir, store) = new_store().await;
    let id = store.insert_outbox(draft("a")).await.unwrap();

    for state in [
        OutboxState::Queued,
        OutboxState::Prepared,
        OutboxState::Sent,
        OutboxState::Failed,
        OutboxState::Abandoned,
        OutboxState::Draft,
    ] {
        let change = OutboxChange { state: Some(state), ..OutboxChange::default() };
        store.update_outbox(id, change).await.unwrap();
        assert_eq!(store.outbox(id).await.unwrap().unwrap().state, state);
    }
}

#[tokio::test]
async fn entries_are_listed_by_id_and_a_removed_id_is_not_used_again() {
    let (dir, store) = new_store().await;
    let first = store.insert_outbox(draft("z")).await.unwrap();
    let second = store.insert_outbox(draft("a")).await.unwrap();
    let hide = OutboxChange { hidden: Some(true), ..OutboxChange::default() };
    store.update_outbox(first, hide).await.unwrap();

    let listed = store.outbox_rows().await.unwrap().entries;
    store.remove_outbox(second).await.unwrap();
    store.remove_outbox(second).await.unwrap();
    let store = reopen(&dir, store).await;
    let third = store.insert_outbox(draft("b")).await.unwrap();

    let listed: Vec<_> = listed.iter().map(|entry| (entry.id, entry.hidden)).collect();
    assert_eq!(listed, [(first, true), (second, false)]);
    assert!(third > second);
    assert_eq!(store.outbox(second).await.unwrap(), None);
}

#[tokio::test]
async fn changing_a_removed_entry_is_an_error() {
    let (_dir, store) = new_store().await;

    let changed = store.update_outbox(1, OutboxChange::default()).await;

    let error = changed.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn a_prepared_message_that_changed_on_disk_is_never_handed_out() {
    for column in ["manifest", "bundle"] {
        let (dir, store) = new_store().await;
        let id = store.insert_outbox(draft("a")).await.unwrap();
        let change = OutboxChange { message: Some(Some(prepared("a"))), ..OutboxChange::default() };
        store.update_outbox(id, change).await.unwrap();
        let database = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
        database.execute(&format!("UPDATE outbox SET {column} = x'00'"), []).unwrap();

        let entry = store.outbox(id).await;
        let rows = store.outbox_rows().await.unwrap();

        assert!(matches!(entry, Err(StoreError::Corrupt { .. })), "{entry:?}");
        assert_eq!((rows.entries, rows.damaged), (vec![], vec![id]));
    }
}

#[tokio::test]
async fn f10_a_change_of_any_value_of_a_row_is_noticed_and_the_other_rows_are_read() {
    let (dir, store) = new_store().await;
    let other = store.insert_outbox(draft("other")).await.unwrap();
    let id = store.insert_outbox(draft("a.txt")).await.unwrap();
    let error = StoredError { code: "timed-out".into(), text: "why".into() };
    let change = OutboxChange {
        message: Some(Some(prepared("a"))),
        error: Some(Some(error)),
        receipt: Some(Some(ReceiptStatus::Accepted)),
        directory: Some(Some(".~tmp~".into())),
        ..OutboxChange::default()
    };
    store.enqueue_outbox(id, change).await.unwrap();
    let whole = store.outbox_rows().await.unwrap();
    assert_eq!((whole.entries.len(), &whole.damaged), (2, &vec![]));
    let database = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    let columns: Vec<(String, String)> = database
        .prepare("SELECT name, type FROM pragma_table_info('outbox')")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();

    for (column, kind) in &columns {
        let changed = match (column.as_str(), kind.as_str()) {
            // Words that are as good as those that were there.
            ("state", _) => "'sent'".to_owned(),
            ("receipt", _) => "'rejected'".to_owned(),
            ("hidden" | "unattended", _) => format!("1 - {column}"),
            ("id", _) => "id + 100".to_owned(),
            (_, "INTEGER") => format!("{column} + 1"),
            (_, "TEXT") => format!("substr({column}, 2) || substr({column}, 1, 1)"),
            _ => "x'00'".to_owned(),
        };
        database.execute_batch("CREATE TEMP TABLE kept AS SELECT * FROM outbox").unwrap();
        let sql = format!("UPDATE outbox SET {column} = {changed} WHERE id = ?1");
        assert_eq!(database.execute(&sql, [id]).unwrap(), 1);

        let rows = store.outbox_rows().await.unwrap();

        let left: Vec<i64> = rows.entries.iter().map(|entry| entry.id).collect();
        let damaged = if column == "id" { id + 100 } else { id };
        assert_eq!((left, rows.damaged), (vec![other], vec![damaged]), "{column}");
        let restore = "DELETE FROM outbox; INSERT INTO outbox SELECT * FROM kept; DROP TABLE kept";
        database.execute_batch(restore).unwrap();
        assert_eq!(store.outbox_rows().await.unwrap(), whole, "{column}");
    }
    assert_eq!(columns.len(), 25);
}

#[tokio::test]
async fn recipients_are_a_sorted_set_that_survives_a_restart() {
    let (dir, store) = new_store().await;

    for identity in [bob(), alice(), bob()] {
        store.add_recipient(&identity).await.unwrap();
    }
    let store = reopen(&dir, store).await;
    let both = store.recipients().await.unwrap();
    store.remove_recipient(&alice()).await.unwrap();
    store.remove_recipient(&alice()).await.unwrap();

    assert_eq!(both, [alice(), bob()]);
    assert_eq!(store.recipients().await.unwrap(), [bob()]);
}

#[tokio::test]
async fn queued_entries_have_places_in_the_order_of_their_queueing_and_an_id_that_stays() {
    let (dir, store) = new_store().await;
    let first = store.insert_outbox(draft("a")).await.unwrap();
    let second = store.insert_outbox(draft("b")).await.unwrap();
    let with_id = |n| OutboxChange { message_id: Some(message_id(n)), ..OutboxChange::default() };

    let place = store.enqueue_outbox(second, with_id(2)).await.unwrap();
    let later = store.enqueue_outbox(first, with_id(1)).await.unwrap();
    let store = reopen(&dir, store).await;

    assert!(place < later);
    let entry = store.outbox(first).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.queue_place), (OutboxState::Queued, Some(later)));
    assert_eq!((entry.message_id, entry.message), (Some(message_id(1)), None));
}

#[tokio::test]
async fn an_entry_keeps_its_place_until_it_leaves_the_queue() {
    let (_dir, store) = new_store().await;
    let id = store.insert_outbox(draft("a")).await.unwrap();
    let place = store.enqueue_outbox(id, OutboxChange::default()).await.unwrap();
    let to = |state| OutboxChange { state: Some(state), ..OutboxChange::default() };

    store.update_outbox(id, to(OutboxState::Prepared)).await.unwrap();
    let prepared = store.outbox(id).await.unwrap().unwrap();
    store.update_outbox(id, to(OutboxState::Failed)).await.unwrap();
    let failed = store.outbox(id).await.unwrap().unwrap();

    assert_eq!(prepared.queue_place, Some(place));
    assert_eq!(failed.queue_place, None);
}

#[tokio::test]
async fn a_prepared_entry_can_leave_the_queue() {
    let (_dir, store) = new_store().await;
    let id = store.insert_outbox(draft("a")).await.unwrap();
    let prepared = Some(OutboxState::Prepared);
    store.enqueue_outbox(id, OutboxChange::default()).await.unwrap();
    store.update_outbox(id, OutboxChange { state: prepared, ..Default::default() }).await.unwrap();

    let change = OutboxChange { leaves_queue: true, ..OutboxChange::default() };
    store.update_outbox(id, change).await.unwrap();

    let entry = store.outbox(id).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.queue_place), (OutboxState::Prepared, None));
}

#[tokio::test]
async fn a_promise_ends_those_it_replaces_unless_they_have_moved_on() {
    let (_dir, store) = new_store().await;
    let in_state = async |name: &str, state: OutboxState| {
        let id = store.insert_outbox(draft(name)).await.unwrap();
        let change = OutboxChange { state: Some(state), ..OutboxChange::default() };
        store.update_outbox(id, change).await.unwrap();
        id
    };
    let sent = in_state("sent", OutboxState::Sent).await;
    let queued = in_state("queued", OutboxState::Queued).await;
    let moved_on = in_state("moved on", OutboxState::Prepared).await;
    let own_way = in_state("own way", OutboxState::Prepared).await;
    let new = in_state("new", OutboxState::Draft).await;
    let replaces = vec![
        (sent, Some(OutboxState::Sent)),
        (queued, Some(OutboxState::Queued)),
        (moved_on, Some(OutboxState::Queued)),
        (own_way, None),
    ];

    let change = OutboxChange { replaces, ..OutboxChange::default() };
    store.enqueue_outbox(new, change).await.unwrap();

    let entries = store.outbox_rows().await.unwrap().entries;
    let left: Vec<_> = entries.iter().map(|entry| (entry.id, entry.hidden)).collect();
    assert_eq!(left, [(sent, true), (moved_on, false), (own_way, true), (new, false)]);
}
