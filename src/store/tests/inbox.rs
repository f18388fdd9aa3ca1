use super::super::{Admission, SeenTag, SeenVerdict};
use super::*;
use crate::protocol::ReceiptStatus;

async fn admit(store: &Store, new: NewInbox) -> InboxEntry {
    match store.admit(vec![new]).await.unwrap().remove(0) {
        Admission::New(entry) => entry,
        other => panic!("not new: {other:?}"),
    }
}

async fn names(store: &Store) -> Vec<String> {
    let entries = inbox_entries(store).await.unwrap();
    entries.iter().map(|entry| entry.listed_name.to_string()).collect()
}

#[tokio::test]
async fn an_admitted_message_survives_a_restart() {
    let (dir, store) = new_store().await;
    let new = arrived("report.pdf", 1);

    let entry = admit(&store, new.clone()).await;
    let store = reopen(&dir, store).await;

    let expected = InboxEntry {
        id: entry.id,
        digest: new.digest,
        manifest: new.manifest,
        message_id: new.message_id,
        sender: new.sender,
        recipient: new.recipient,
        file_name: new.file_name.clone(),
        listed_name: new.file_name,
        signer: new.signer,
        tag: new.tag,
        arrived_at: new.arrived_at,
        created_at: new.created_at,
        expires_at: new.expires_at,
        dismissed: false,
        receipt: None,
        chunk_count: 3,
        complete: false,
    };
    assert_eq!(entry, expected);
    assert_eq!(store.inbox_by_digest(&expected.digest).await.unwrap(), Some(expected.clone()));
    assert_eq!(inbox_entries(&store).await.unwrap(), [expected]);
    assert_eq!(store.inbox_by_digest(&Digest::of(b"other")).await.unwrap(), None);
}

#[tokio::test]
async fn a_message_that_never_expires_stays_so() {
    let (_dir, store) = new_store().await;

    let entry = admit(&store, NewInbox { expires_at: None, ..arrived("a", 1) }).await;

    assert_eq!(entry.expires_at, None);
}

#[tokio::test]
async fn two_messages_of_one_name_keep_their_numbers_for_ever() {
    let (dir, store) = new_store().await;
    let first = admit(&store, arrived("report.pdf", 1)).await;
    admit(&store, arrived("report.pdf", 2)).await;

    store.set_dismissed(&first.digest, true).await.unwrap();
    let store = reopen(&dir, store).await;
    admit(&store, arrived("report.pdf", 3)).await;

    let expected = ["report.pdf", "report (2).pdf", "report (3).pdf"];
    assert_eq!(names(&store).await, expected);
    store.set_dismissed(&first.digest, false).await.unwrap();
    assert_eq!(names(&store).await, expected);
}

#[tokio::test]
async fn a_number_that_another_file_has_as_its_own_name_is_skipped() {
    let (_dir, store) = new_store().await;

    for (n, name) in ["a (2).txt", "a.txt", "a.txt", "a (3).txt"].into_iter().enumerate() {
        admit(&store, arrived(name, n as u128)).await;
    }

    assert_eq!(names(&store).await, ["a (2).txt", "a.txt", "a (3).txt", "a (3) (2).txt"]);
}

#[tokio::test]
async fn names_of_different_senders_do_not_collide() {
    let (_dir, store) = new_store().await;
    admit(&store, arrived("a", 1)).await;

    let other = admit(&store, NewInbox { sender: bob(), ..arrived("a", 2) }).await;

    assert_eq!(other.listed_name.as_str(), "a");
}

#[tokio::test]
async fn the_same_manifest_under_another_tag_is_one_message() {
    let (_dir, store) = new_store().await;
    let first = admit(&store, arrived("a", 1)).await;
    store.set_dismissed(&first.digest, true).await.unwrap();

    let again = store.admit(vec![NewInbox { tag: tag("other"), ..arrived("a", 1) }]).await.unwrap();

    let known = InboxEntry { dismissed: true, ..first };
    assert_eq!(again, [Admission::AlreadyKnown(known)]);
    assert_eq!(inbox_entries(&store).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_message_id_used_twice_by_its_sender_is_a_duplicate() {
    let (_dir, store) = new_store().await;
    let first = admit(&store, arrived("a", 1)).await;
    let copy = NewInbox { message_id: message_id(1), ..arrived("b", 2) };

    let same_sender = store.admit(vec![copy.clone()]).await.unwrap();
    let other_sender = store.admit(vec![NewInbox { sender: bob(), ..copy }]).await.unwrap();

    assert_eq!(same_sender, [Admission::DuplicateId { first: first.digest }]);
    // Using a message's id first must not keep that message out.
    assert!(matches!(other_sender[..], [Admission::New(_)]), "{other_sender:?}");
}

#[tokio::test]
async fn messages_that_are_admitted_together_are_numbered_in_their_order() {
    let (_dir, store) = new_store().await;
    let twice = arrived("a", 2);
    let same_id = NewInbox { message_id: message_id(1), ..arrived("b", 4) };

    let together = vec![arrived("a", 1), twice.clone(), twice, same_id, arrived("a", 3)];
    let admissions = store.admit(together).await.unwrap();

    assert_eq!(names(&store).await, ["a", "a (2)", "a (3)"]);
    assert!(
        matches!(
            admissions[..],
            [
                Admission::New(_),
                Admission::New(_),
                Admission::AlreadyKnown(_),
                Admission::DuplicateId { .. },
                Admission::New(_)
            ]
        ),
        "{admissions:?}"
    );
}

#[tokio::test]
async fn of_messages_admitted_together_all_are_kept_or_none() {
    let (dir, store) = new_store().await;
    admit(&store, arrived("damaged", 1)).await;
    let database = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    database.execute("UPDATE inbox SET manifest = x'00'", []).unwrap();

    let admitted = store.admit(vec![arrived("a", 2), arrived("damaged", 1)]).await;

    assert!(matches!(admitted, Err(StoreError::Corrupt { .. })), "{admitted:?}");
    assert_eq!(store.inbox_by_digest(&arrived("a", 2).digest).await.unwrap(), None);
    assert_eq!(store.seen_tags("inbox-x-2").await.unwrap(), [].into());
}

#[tokio::test]
async fn an_admission_settles_the_tag_and_a_duplicate_settles_nothing() {
    let (dir, store) = new_store().await;
    let (new, duplicate) =
        (arrived("a", 1), NewInbox { message_id: message_id(1), ..arrived("b", 2) });

    store.admit(vec![new.clone(), duplicate]).await.unwrap();
    let store = reopen(&dir, store).await;

    let seen = SeenTag { digest: new.digest, verdict: SeenVerdict::Admitted };
    assert_eq!(store.seen_tags("inbox-x-").await.unwrap(), [(new.tag, seen)].into());
}

#[tokio::test]
async fn a_large_inbox_comes_page_by_page_in_the_order_of_arrival() {
    let (_dir, store) = new_store().await;
    let all: Vec<NewInbox> = (0..600).map(|n| arrived("a", n)).collect();
    store.admit(all.clone()).await.unwrap();

    let pages: Vec<Vec<InboxEntry>> = store.inbox_pages().try_collect().await.unwrap();

    assert!(pages.len() > 2 && pages.iter().all(|page| page.len() < 300), "{}", pages.len());
    let digests = pages.iter().flatten().map(|entry| entry.digest);
    assert!(digests.eq(all.iter().map(|new| new.digest)));
}

#[tokio::test]
async fn concurrent_admissions_give_each_message_its_own_name() {
    let (_dir, store) = new_store().await;

    let all = (0..20).map(|n| admit(&store, arrived("a", n)));
    futures_util::future::join_all(all).await;

    let mut names = names(&store).await;
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 20);
}

#[tokio::test]
async fn a_message_is_complete_when_every_chunk_was_verified_once() {
    let (dir, store) = new_store().await;
    let new = NewInbox { chunk_count: 10, ..arrived("a", 1) };
    let digest = admit(&store, new).await.digest;

    assert!(!store.mark_chunks_verified(&digest, &[9, 0, 9]).await.unwrap());
    let store = reopen(&dir, store).await;
    assert_eq!(store.verified_chunks(&digest).await.unwrap(), [0, 9]);
    assert!(!store.mark_chunks_verified(&digest, &[1, 2, 3, 4, 5, 6, 7]).await.unwrap());
    assert!(store.mark_chunks_verified(&digest, &[8]).await.unwrap());

    assert!(store.mark_chunks_verified(&digest, &[]).await.unwrap());
    assert!(store.inbox_by_digest(&digest).await.unwrap().unwrap().complete);
    assert_eq!(store.verified_chunks(&digest).await.unwrap(), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_without_chunks_is_complete_at_once() {
    let (_dir, store) = new_store().await;

    let entry = admit(&store, NewInbox { chunk_count: 0, ..arrived("empty", 1) }).await;

    assert!(entry.complete);
    assert!(store.mark_chunks_verified(&entry.digest, &[]).await.unwrap());
}

#[tokio::test]
async fn a_chunk_that_the_message_does_not_have_is_not_marked() {
    let (_dir, store) = new_store().await;
    let digest = admit(&store, arrived("a", 1)).await.digest;

    for index in [3, 7, 8, u32::MAX] {
        let marked = store.mark_chunks_verified(&digest, &[0, index]).await;
        assert!(matches!(marked, Err(StoreError::NotFound { .. })), "{index}: {marked:?}");
    }

    // One wrong index fails the whole call.
    assert_eq!(store.verified_chunks(&digest).await.unwrap(), [0_u32; 0]);
}

#[tokio::test]
async fn an_unknown_message_cannot_be_changed() {
    let (_dir, store) = new_store().await;
    let digest = Digest::of(b"unknown");

    let errors = [
        store.set_dismissed(&digest, true).await.unwrap_err(),
        store.set_receipt_issued(&digest, ReceiptStatus::Accepted).await.unwrap_err(),
        store.mark_chunks_verified(&digest, &[0]).await.unwrap_err(),
        store.verified_chunks(&digest).await.unwrap_err(),
    ];

    for error in errors {
        assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_issued_receipt_is_remembered() {
    let (dir, store) = new_store().await;
    let digest = admit(&store, arrived("a", 1)).await.digest;

    store.set_receipt_issued(&digest, ReceiptStatus::Accepted).await.unwrap();
    let store = reopen(&dir, store).await;

    let entry = store.inbox_by_digest(&digest).await.unwrap().unwrap();
    assert_eq!(entry.receipt, Some(ReceiptStatus::Accepted));
}

#[tokio::test]
async fn a_row_that_changed_on_disk_is_never_handed_out() {
    for change in [
        "manifest = x'00'",
        "verified = x''",
        "digest = 'sha256:zz'",
        "listed_name = '../x'",
        "sender = ''",
        "tag = '../../x'",
        "chunk_count = 99",
    ] {
        let (dir, store) = new_store().await;
        admit(&store, arrived("a", 1)).await;
        let database = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
        database.execute(&format!("UPDATE inbox SET {change}"), []).unwrap();

        let entries = inbox_entries(&store).await;

        assert!(matches!(entries, Err(StoreError::Corrupt { .. })), "{change}: {entries:?}");
    }
}
