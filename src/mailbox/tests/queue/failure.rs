//! What the registry refuses, and how it is tried again.

use super::*;
use crate::protocol::{ErrorClass, Message};
use crate::registry::fault::Gate;

#[tokio::test]
async fn a_failed_file_that_is_tried_again_is_sent_and_loses_its_note() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until_failed(&alice, &file).await;
    drop(file);

    alice.restart(&world).await;
    let file = listed(&alice, "a.txt");
    assert!(file.failure_note().unwrap().text.contains("docker login"));
    world.faulty.heal();
    alice.mailbox.outbox().retry(&file).await.unwrap();
    until(&file, SendState::Sent).await;

    assert_eq!(file.failure_note(), None);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_note_that_was_removed_stays_away_and_the_file_stays() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until_failed(&alice, &file).await;

    alice.mailbox.outbox().dismiss_failure(&file).await.unwrap();
    assert_eq!(file.failure_note(), None);
    alice.restart(&world).await;

    let file = listed(&alice, "a.txt");
    assert_eq!((file.state(), file.failure_note()), (SendState::Failed, None));
    assert_eq!(file.read_at(0, 10).unwrap(), "abc");
}

#[tokio::test]
async fn with_delivery_sync_a_failure_after_the_close_leaves_a_note_and_one_of_the_close_none() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let outbox = alice.mailbox.outbox();
    let cancel = CancellationToken::new();
    let promised = draft(&alice, &bob, "promised", b"abc").await;
    outbox.prepare(&promised, &cancel).await.unwrap();
    let refused = draft(&alice, &bob, "refused", b"abc").await;
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));

    outbox.prepare(&refused, &cancel).await.unwrap_err();
    outbox.release_writer(&refused);
    outbox.release_writer(&promised);
    until_failed(&alice, &promised).await;

    assert!(promised.failure_note().is_some());
    assert_eq!(refused.failure_note(), None);
}

#[tokio::test]
async fn an_abandoned_file_is_not_tried_again() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let file = draft(&alice, &bob, "half", b"abc").await;
    alice.mailbox.outbox().abandon(&file, "killed");

    let retried = alice.mailbox.outbox().retry(&file).await;

    assert_eq!(retried.unwrap_err().class(), ErrorClass::NotPermitted);
    assert_eq!(file.state(), SendState::Abandoned);
}

#[tokio::test]
async fn a_file_whose_tag_was_refused_is_sent_when_it_is_tried_again() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = prepared_with_a_refused_tag(&world, &alice, &bob, denied).await;
    until_failed(&alice, &file).await;
    let digest = file.digest();
    world.faulty.heal();

    alice.mailbox.outbox().retry(&file).await.unwrap();

    until(&file, SendState::Sent).await;
    assert_eq!((file.digest(), file.failure_note()), (digest, None));
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_failed_file_that_is_still_open_for_writing_is_not_tried_again() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let file = draft(&alice, &bob, "half", b"abc").await;
    world.faulty.inject_always(Operation::PushBlob, Fault::fail(denied));
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap_err();

    let retried = alice.mailbox.outbox().retry(&file).await;

    assert_eq!(retried.unwrap_err().class(), ErrorClass::NotPermitted);
    assert_eq!(file.state(), SendState::Failed);
}

#[tokio::test]
async fn a_file_whose_tag_was_refused_is_sent_anew_when_a_chunk_is_gone() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    // The manifest and its signature go through; the tag does not, and then a chunk is lost.
    world.faulty.inject(Operation::PushManifest, 2..u64::MAX, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", &payload(250)).await;
    until_failed(&alice, &file).await;
    world.faulty.heal();
    let message = Message::parse(&file.manifest().unwrap()).unwrap();
    world.memory.remove_blob(&message.chunks[0].digest);

    alice.mailbox.outbox().retry(&file).await.unwrap();

    until(&file, SendState::Sent).await;
    let received = bob.receive(&alice).await;
    assert_eq!(received.len(), 1);
    assert_eq!(bob.read(&received[0]).await.unwrap(), payload(250));
}

#[tokio::test]
async fn a_failed_file_that_was_sent_unnoticed_is_not_sent_twice() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    let file = sent_unnoticed(&world, &mut alice, &bob).await;

    alice.mailbox.outbox().retry(&file).await.unwrap();

    until(&file, SendState::Sent).await;
    assert_eq!(tags(&world, "inbox-").len(), 1);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_close_that_failed_does_not_undo_the_promise_of_the_next_one() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let outbox = alice.mailbox.outbox();
    let cancel = CancellationToken::new();
    for number in 0..20 {
        let file = draft(&alice, &bob, &format!("f{number}"), &payload(250)).await;
        world.faulty.inject_next(Operation::PushManifest, 1, Fault::fail(denied));

        let closes = tokio::join!(outbox.prepare(&file, &cancel), outbox.prepare(&file, &cancel));

        assert!(matches!(closes, (Err(_), Ok(()))), "{closes:?}");
        let entry = alice.mailbox.core.store.outbox(file.id()).await.unwrap().unwrap();
        assert_eq!((entry.state, file.state()), (OutboxState::Prepared, SendState::Prepared));
    }
}

#[tokio::test]
async fn a_failure_that_waits_for_its_turn_does_not_undo_the_promise_of_a_new_content() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let outbox = alice.mailbox.outbox();
    let first = prepared_in_a_waiting_lane(&world, &alice, &bob).await;
    let second = copy(&alice, &bob, "second", b"old").await;
    until_settled(&second).await;
    let gate = Gate::closed();
    world.faulty.inject_always(Operation::ResolveTag, Fault::hold(&gate));
    world.faulty.inject_next(Operation::PushBlob, 1, Fault::fail(denied));
    let pushes = world.faulty.counts().of(Operation::PushBlob);
    outbox.retry(&first).await.unwrap();
    gate.wait_for_arrivals(1).await;
    while world.faulty.counts().of(Operation::PushBlob) == pushes {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }

    let again = outbox.open_for_write(&second, true).await.unwrap();
    alice.mailbox.outbox().write_at(&again, 0, b"new").unwrap();
    outbox.enqueue(&again).await.unwrap();
    outbox.release_writer(&again);
    gate.open();

    until(&first, SendState::Sent).await;
    until(&again, SendState::Sent).await;
    let expected = [named("prepared", b"abc"), named("second", b"new")];
    assert_eq!(received(&alice, &bob).await, expected);
}

#[tokio::test]
async fn a_file_that_is_refused_while_the_one_before_it_must_wait_is_sent_after_it() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let first = prepared_in_a_waiting_lane(&world, &alice, &bob).await;
    let second = copy(&alice, &bob, "second", b"def").await;
    until_settled(&second).await;
    let gate = Gate::closed();
    world.faulty.inject_next(Operation::ResolveTag, 1, Fault::hold(&gate));
    world.faulty.inject_next(Operation::PushManifest, 1, Fault::fail(|| RegistryError::TimedOut));
    world.faulty.inject_next(Operation::PushBlob, 1, Fault::fail(denied));
    let pushes = world.faulty.counts().of(Operation::PushBlob);

    alice.mailbox.outbox().retry(&first).await.unwrap();
    gate.wait_for_arrivals(1).await;
    while world.faulty.counts().of(Operation::PushBlob) == pushes {
        tokio::task::yield_now().await;
    }
    gate.open();

    until(&first, SendState::Sent).await;
    until(&second, SendState::Sent).await;
    assert_eq!(second.failure_note(), None);
}

#[tokio::test]
async fn a_file_whose_tag_is_taken_is_sent_under_another_one_after_a_pause() {
    let world = World::new();
    let (queued, bob) = alice_and_bob(&world).await;
    let file = prepared_in_a_waiting_lane(&world, &queued, &bob).await;
    let taken = file.tag().unwrap();
    world.memory.replace_manifest_at_tag(&taken, file.manifest().unwrap().split_off(1));
    world.faulty.inject_next(Operation::PushManifest, 1, Fault::fail(|| RegistryError::TimedOut));

    queued.mailbox.outbox().retry(&file).await.unwrap();

    until(&file, SendState::Sent).await;
    assert_ne!(file.tag(), Some(taken));
}

#[tokio::test]
async fn with_delivery_sync_a_file_whose_tag_is_taken_is_sent_under_another_one_after_a_pause() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    let taken = file.tag().unwrap();
    world.memory.replace_manifest_at_tag(&taken, file.manifest().unwrap().split_off(1));
    world.faulty.inject_next(Operation::PushManifest, 1, Fault::fail(|| RegistryError::TimedOut));

    alice.mailbox.outbox().release_writer(&file);

    until(&file, SendState::Sent).await;
    assert_ne!(file.tag(), Some(taken));
}
