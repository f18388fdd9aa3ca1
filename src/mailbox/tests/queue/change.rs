//! Files that are written to, renamed or removed after their close.

use super::*;
use crate::protocol::ErrorClass;
use crate::registry::fault::Gate;

#[tokio::test]
async fn removing_a_file_cancels_it_even_while_the_registry_hangs() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    let gate = Gate::closed();
    world.faulty.inject_always(Operation::PushBlob, Fault::hold(&gate));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    gate.wait_for_arrivals(1).await;

    alice.mailbox.outbox().remove(&file).await.unwrap();
    world.faulty.heal();
    gate.open();
    alice.settle().await;
    alice.restart(&world).await;

    assert_eq!(alice.mailbox.snapshot().outbox_files().count(), 0);
    assert!(tags(&world, "inbox-").is_empty());
    assert_eq!(std::fs::read_dir(alice.home().join("state/spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_queued_file_that_is_opened_again_is_a_draft_at_once_and_sent_as_it_was_closed_last() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let outbox = alice.mailbox.outbox();
    let gate = Gate::closed();
    world.faulty.inject_always(Operation::PushBlob, Fault::hold(&gate));
    let file = copy(&alice, &bob, "log", b"one\n").await;
    gate.wait_for_arrivals(1).await;

    let again = outbox.open_for_write(&file, false).await.unwrap();
    assert_eq!((again.state(), again.is_queued()), (SendState::Draft, false));
    alice.mailbox.outbox().write_at(&again, 4, b"two\n").unwrap();
    world.faulty.heal();
    gate.open();
    outbox.enqueue(&again).await.unwrap();
    outbox.release_writer(&again);
    until(&again, SendState::Sent).await;

    let received = bob.receive(&alice).await;
    assert_eq!(received.len(), 1);
    assert_eq!(bob.read(&received[0]).await.unwrap(), "one\ntwo\n");
}

#[tokio::test]
async fn a_late_store_after_the_close_is_queued_anew() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let outbox = alice.mailbox.outbox();
    let file = draft(&alice, &bob, "mapped", b"one").await;
    outbox.enqueue(&file).await.unwrap();

    alice.mailbox.outbox().write_at(&file, 0, b"two").unwrap();
    assert_eq!(file.state(), SendState::Draft);
    outbox.release_writer(&file);
    until(&file, SendState::Sent).await;

    let received = bob.receive(&alice).await;
    assert_eq!(received.len(), 1);
    assert_eq!(bob.read(&received[0]).await.unwrap(), "two");
}

#[tokio::test]
async fn a_queued_file_that_is_renamed_is_sent_under_its_new_name_alone() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let file = copy(&alice, &bob, "old", b"abc").await;

    alice.mailbox.outbox().rename(&file, &name("new")).await.unwrap();
    // A crash right here must keep the promise of the first close.
    drop(file);
    alice.restart(&world).await;
    world.faulty.heal();
    until(&listed(&alice, "new"), SendState::Sent).await;

    let received = bob.receive(&alice).await;
    assert_eq!(received.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["new"]);
}

#[tokio::test]
async fn cancelling_what_was_sent_unnoticed_says_so() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let outbox = alice.mailbox.outbox();
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    outbox.prepare(&file, &CancellationToken::new()).await.unwrap();
    let lost = Fault::commit_then_fail(|| RegistryError::TimedOut);
    world.faulty.inject_next(Operation::PushManifest, 1, lost);
    outbox.publish(&file).await.unwrap_err();

    let cancelled = outbox.cancel(&file).await;

    assert_eq!(cancelled.unwrap_err().class(), ErrorClass::NotPermitted);
    assert_eq!(file.state(), SendState::Sent);
    // A late `rm` by a file manager is distinguished from a cancellation.
    outbox.remove(&file).await.unwrap();
    assert!(outbox.was_sent(&file).await.unwrap());
    let draft = draft(&alice, &bob, "b.txt", b"abc").await;
    outbox.remove(&draft).await.unwrap();
    assert!(!outbox.was_sent(&draft).await.unwrap());
}

#[tokio::test]
async fn cancelling_a_failed_file_that_was_delivered_says_so() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    let file = sent_unnoticed(&world, &mut alice, &bob).await;

    let cancelled = alice.mailbox.outbox().cancel(&file).await;

    assert_eq!(cancelled.unwrap_err().class(), ErrorClass::NotPermitted);
    assert_eq!(rows(&alice).await, [(file.id(), OutboxState::Sent, false)]);
    assert_eq!((file.state(), file.failure_note()), (SendState::Sent, None));
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn cancelling_what_may_be_delivered_is_refused_while_nobody_knows() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let file = sent_unseen(&world, &alice, &bob).await;
    world.faulty.inject_always(Operation::ResolveTag, Fault::fail(|| RegistryError::TimedOut));

    let cancelled = alice.mailbox.outbox().cancel(&file).await;

    assert_eq!(cancelled.unwrap_err().class(), ErrorClass::TimedOut);
    assert_eq!(rows(&alice).await, [(file.id(), OutboxState::Failed, false)]);
}

#[tokio::test]
async fn cancelling_what_the_registry_never_had_needs_no_registry() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    world.faulty.inject_always(Operation::ResolveTag, Fault::fail(|| RegistryError::TimedOut));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;

    alice.mailbox.outbox().cancel(&file).await.unwrap();

    assert!(rows(&alice).await.is_empty() && alice.mailbox.snapshot().outbox_files().count() == 0);
}
