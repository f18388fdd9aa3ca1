use super::super::{
    NewQueuedReceipt, QueuedReceipt, RECEIPTS_PER_MESSAGE_MAX, ReceiptDirection, ReceiptEntry,
};
use super::*;
use crate::protocol::ReceiptStatus;

fn received(n: u32, signed: bool) -> ReceiptEntry {
    ReceiptEntry {
        manifest_digest: Some(Digest::of(&n.to_le_bytes())),
        message: Digest::of(b"message"),
        direction: ReceiptDirection::Received,
        peer: bob(),
        file_name: "report.pdf".to_owned(),
        status: ReceiptStatus::Accepted,
        verified: true,
        signed,
        reason: None,
        created_at: at(n.into()),
        json: format!("{{\"n\":{n}}}"),
    }
}

fn issued(status: ReceiptStatus) -> ReceiptEntry {
    ReceiptEntry {
        manifest_digest: None,
        direction: ReceiptDirection::Issued,
        status,
        reason: Some("not mine\u{1b}".to_owned()),
        ..received(0, true)
    }
}

fn queue(status: ReceiptStatus) -> NewQueuedReceipt {
    NewQueuedReceipt {
        message: Digest::of(b"message"),
        status,
        verified: true,
        reason: Some("why".to_owned()),
        created_at: at(0),
    }
}

#[tokio::test]
async fn receipts_survive_a_restart_the_oldest_first() {
    let (dir, store) = new_store().await;
    let (newer, older) = (received(2, true), received(1, false));

    assert!(store.put_receipt(newer.clone()).await.unwrap());
    assert!(store.put_receipt(older.clone()).await.unwrap());
    let store = reopen(&dir, store).await;

    assert_eq!(store.receipts().await.unwrap(), [older, newer]);
}

#[tokio::test]
async fn one_receipt_is_issued_for_each_message_and_status() {
    let (_dir, store) = new_store().await;
    let accepted = issued(ReceiptStatus::Accepted);
    let rejected = issued(ReceiptStatus::Rejected);
    let pushed = ReceiptEntry { manifest_digest: Some(Digest::of(b"m")), ..accepted.clone() };

    assert!(store.put_receipt(accepted).await.unwrap());
    assert!(store.put_receipt(rejected.clone()).await.unwrap());
    assert!(!store.put_receipt(pushed.clone()).await.unwrap());

    assert_eq!(store.receipts().await.unwrap(), [pushed, rejected]);
}

#[tokio::test]
async fn a_receipt_received_again_is_replaced_by_what_is_known_now() {
    let (_dir, store) = new_store().await;

    assert!(store.put_receipt(received(1, false)).await.unwrap());
    assert!(!store.put_receipt(received(1, true)).await.unwrap());

    assert_eq!(store.receipts().await.unwrap(), [received(1, true)]);
}

#[tokio::test]
async fn the_newest_signed_receipt_counts() {
    let (_dir, store) = new_store().await;
    let message = Digest::of(b"message");
    assert_eq!(store.receipt_that_counts(&message).await.unwrap(), None);

    for receipt in [
        received(3, true),
        received(2, true),
        received(9, false),
        ReceiptEntry { created_at: at(99), ..issued(ReceiptStatus::Rejected) },
        ReceiptEntry { message: Digest::of(b"other"), ..received(50, true) },
    ] {
        store.put_receipt(receipt).await.unwrap();
    }

    assert_eq!(store.receipt_that_counts(&message).await.unwrap(), Some(received(3, true)));
}

#[tokio::test]
async fn unsigned_claims_cannot_push_out_a_signed_receipt() {
    let (_dir, store) = new_store().await;
    store.put_receipt(received(0, true)).await.unwrap();
    store.put_receipt(issued(ReceiptStatus::Accepted)).await.unwrap();

    for n in 1..=RECEIPTS_PER_MESSAGE_MAX + 5 {
        store.put_receipt(received(n, false)).await.unwrap();
    }

    let receipts = store.receipts().await.unwrap();
    assert_eq!(receipts.len(), RECEIPTS_PER_MESSAGE_MAX as usize + 1);
    assert!(receipts.contains(&received(0, true)));
    assert!(receipts.contains(&issued(ReceiptStatus::Accepted)));
    assert!(receipts.contains(&received(RECEIPTS_PER_MESSAGE_MAX + 5, false)));
}

#[tokio::test]
async fn a_queued_receipt_is_due_until_it_is_done() {
    let (dir, store) = new_store().await;

    assert!(store.enqueue_receipt(queue(ReceiptStatus::Accepted)).await.unwrap());
    assert!(!store.enqueue_receipt(queue(ReceiptStatus::Accepted)).await.unwrap());
    let store = reopen(&dir, store).await;
    let due = store.due_receipts(at(0)).await.unwrap();

    let [receipt] = due.as_slice() else { panic!("{due:?}") };
    let expected = QueuedReceipt {
        id: receipt.id,
        message: Digest::of(b"message"),
        status: ReceiptStatus::Accepted,
        verified: true,
        reason: Some("why".to_owned()),
        created_at: at(0),
        attempts: 0,
        next_at: at(0),
    };
    assert_eq!(receipt, &expected);
    store.receipt_done(receipt.id).await.unwrap();
    assert_eq!(store.due_receipts(at(999)).await.unwrap(), []);
}

#[tokio::test]
async fn a_failed_attempt_waits_for_its_time() {
    let (_dir, store) = new_store().await;
    store.enqueue_receipt(queue(ReceiptStatus::Accepted)).await.unwrap();
    store.enqueue_receipt(queue(ReceiptStatus::Rejected)).await.unwrap();
    let id = store.due_receipts(at(0)).await.unwrap()[0].id;

    store.retry_receipt(id, at(60)).await.unwrap();
    let early = store.due_receipts(at(59)).await.unwrap();
    let late = store.due_receipts(at(60)).await.unwrap();

    assert_eq!(early.len(), 1);
    assert_ne!(early[0].id, id);
    assert_eq!(late.len(), 2);
    assert_eq!((late[1].id, late[1].attempts, late[1].next_at), (id, 1, at(60)));
}

#[tokio::test]
async fn an_outcome_that_was_issued_is_not_queued_again() {
    let (_dir, store) = new_store().await;
    store.put_receipt(issued(ReceiptStatus::Accepted)).await.unwrap();

    assert!(!store.enqueue_receipt(queue(ReceiptStatus::Accepted)).await.unwrap());
    assert!(store.enqueue_receipt(queue(ReceiptStatus::Rejected)).await.unwrap());
}
