use super::*;
use crate::protocol::ReceiptStatus;
use crate::store::{
    Finding, OutboxChange, OutboxState, PUT_BACK_COUNT_MAX, Standing, Unconfirmed, Withdrawal,
};

/// Adds a row in `state` with a message of its own; returns its id and digest.
async fn row(store: &Store, name: &str, state: OutboxState) -> (i64, Digest) {
    let id = store.insert_outbox(draft(name)).await.unwrap();
    let message = prepared(name);
    let digest = message.digest;
    let change = OutboxChange {
        state: Some(state),
        message: Some(Some(message)),
        updated_at: Some(at(5)),
        ..OutboxChange::default()
    };
    store.update_outbox(id, change).await.unwrap();
    (id, digest)
}

async fn only(store: &Store) -> Unconfirmed {
    let mut rows = store.unconfirmed().await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

#[tokio::test]
async fn only_what_is_sent_without_a_receipt_is_unconfirmed() {
    let (_dir, store) = new_store().await;
    let (id, digest) = row(&store, "sent", OutboxState::Sent).await;
    row(&store, "prepared", OutboxState::Prepared).await;
    row(&store, "failed", OutboxState::Failed).await;
    let (received, _) = row(&store, "received", OutboxState::Sent).await;
    let receipt = Some(Some(ReceiptStatus::Rejected));
    let change = OutboxChange { receipt, ..OutboxChange::default() };
    store.update_outbox(received, change).await.unwrap();
    let (hidden, hidden_digest) = row(&store, "hidden", OutboxState::Sent).await;
    let change = OutboxChange { hidden: Some(true), ..OutboxChange::default() };
    store.update_outbox(hidden, change).await.unwrap();
    let (_, recalled) = row(&store, "recalled", OutboxState::Sent).await;
    store.record_withdrawal(&recalled, Withdrawal::Recalled, at(9)).await.unwrap();
    let (_, resent) = row(&store, "resent", OutboxState::Sent).await;
    store.record_presence(&resent, Standing::Resent, None, at(9)).await.unwrap();
    let (_, over) = row(&store, "over", OutboxState::Sent).await;
    store.record_presence(&over, Standing::Over, None, at(9)).await.unwrap();

    let rows = store.unconfirmed().await.unwrap();

    let found: Vec<_> = rows.iter().map(|row| (row.id, row.digest, row.sent_at)).collect();
    assert_eq!(found, [(id, digest, at(5)), (hidden, hidden_digest, at(5))]);
    let record = rows[0].record;
    assert_eq!((record.standing, record.finding), (Standing::Watched, None));
    assert_eq!((record.put_back_count, record.told_count), (0, 0));
}

#[tokio::test]
async fn what_was_found_out_outlives_a_restart() {
    let (dir, store) = new_store().await;
    let (_, digest) = row(&store, "a", OutboxState::Sent).await;

    for standing in [Standing::Lost, Standing::GivenUp, Standing::Refused, Standing::Watched] {
        for finding in [Some(Finding::Gone), Some(Finding::Untagged), None] {
            store.record_presence(&digest, standing, finding, at(7)).await.unwrap();
            let found = only(&store).await.record;
            assert_eq!((found.standing, found.finding, found.at), (standing, finding, at(7)));
        }
    }
    store.record_presence(&digest, Standing::Lost, Some(Finding::Gone), at(8)).await.unwrap();
    let store = reopen(&dir, store).await;

    assert_eq!(only(&store).await.record.standing, Standing::Lost);
    assert_eq!(store.lost_messages().await.unwrap(), [digest].into());
}

#[tokio::test]
async fn a_tag_is_put_back_at_most_three_times_whatever_is_recorded_in_between() {
    let (dir, mut store) = new_store().await;
    let (_, digest) = row(&store, "a", OutboxState::Sent).await;
    let mut counts = Vec::new();

    for n in 0..5 {
        counts.push(store.begin_put_back(&digest, at(n)).await.unwrap());
        store.record_told(&digest).await.unwrap();
        store.record_presence(&digest, Standing::Watched, None, at(n)).await.unwrap();
        store.take_back_put_back(&digest).await.unwrap();
        store = reopen(&dir, store).await;
    }

    assert_eq!(counts, [Some(1), Some(2), Some(PUT_BACK_COUNT_MAX), None, None]);
}

#[tokio::test]
async fn a_count_that_came_to_nothing_is_taken_back_once() {
    let (_dir, store) = new_store().await;
    let (_, digest) = row(&store, "a", OutboxState::Sent).await;
    store.begin_put_back(&digest, at(1)).await.unwrap();
    store.record_told(&digest).await.unwrap();
    store.begin_put_back(&digest, at(2)).await.unwrap();

    store.take_back_put_back(&digest).await.unwrap();
    store.take_back_put_back(&digest).await.unwrap();

    let record = only(&store).await.record;
    assert_eq!((record.put_back_count, record.told_count), (1, 1), "what was told stays");
}

#[tokio::test]
async fn nothing_is_put_back_that_was_withdrawn_confirmed_lost_or_sent_once_more() {
    for why in ["recalled", "receipt", "lost", "given up", "resent", "over", "unknown"] {
        let (_dir, store) = new_store().await;
        let (id, mut digest) = row(&store, "a", OutboxState::Sent).await;
        let keep = |standing| store.record_presence(&digest, standing, None, at(1));
        match why {
            "recalled" => {
                store.record_withdrawal(&digest, Withdrawal::Recalled, at(1)).await.unwrap();
            }
            "receipt" => {
                let receipt = Some(Some(ReceiptStatus::Accepted));
                let change = OutboxChange { receipt, ..OutboxChange::default() };
                store.update_outbox(id, change).await.unwrap();
            }
            "lost" => keep(Standing::Lost).await.unwrap(),
            "given up" => keep(Standing::GivenUp).await.unwrap(),
            "resent" => keep(Standing::Resent).await.unwrap(),
            "over" => keep(Standing::Over).await.unwrap(),
            _ => digest = Digest::of(b"another one"),
        }

        assert_eq!(store.begin_put_back(&digest, at(2)).await.unwrap(), None, "{why}");
    }
}

#[tokio::test]
async fn what_was_sent_once_more_stays_that() {
    let (_dir, store) = new_store().await;
    let (_, digest) = row(&store, "a", OutboxState::Sent).await;
    store.record_presence(&digest, Standing::Resent, None, at(1)).await.unwrap();

    store.record_presence(&digest, Standing::Lost, Some(Finding::Gone), at(2)).await.unwrap();

    assert!(store.unconfirmed().await.unwrap().is_empty());
    assert!(store.lost_messages().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_known_of_a_message_goes_with_its_row_and_not_before() {
    let (_dir, store) = new_store().await;
    let (id, digest) = row(&store, "a", OutboxState::Sent).await;
    store.record_presence(&digest, Standing::Lost, None, at(1)).await.unwrap();

    store.purge_history(at(100), false).await.unwrap();
    let kept = store.lost_messages().await.unwrap().len();
    store.remove_outbox(id).await.unwrap();
    store.purge_history(at(0), false).await.unwrap();
    let young = store.lost_messages().await.unwrap().len();
    store.purge_history(at(100), false).await.unwrap();

    assert_eq!((kept, young), (1, 1));
    assert!(store.lost_messages().await.unwrap().is_empty());
}
