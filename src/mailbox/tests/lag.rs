//! A registry that denies for a while what it has confirmed, or whose answers are lost.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{draft, payload, tags};
use crate::mailbox::{Delivery, MailboxError, SendState};
use crate::registry::fault::Fault;
use crate::registry::lag::LaggingRepository;
use crate::registry::memory::{MemoryRepository, Operation};
use crate::registry::{RegistryError, Repository};
use crate::testing::{Person, World};

/// More requests than anything here makes for one name.
const LONG: u64 = 1000;

fn lagging(lag: u64) -> World {
    let memory = MemoryRepository::new();
    let inner: Arc<dyn Repository> = Arc::new(memory.clone());
    World { memory, ..World::over(Arc::new(LaggingRepository::new(inner, lag))) }
}

fn lost() -> Fault {
    Fault::commit_then_fail(|| RegistryError::TimedOut)
}

/// Ends the lag, and asserts that bob has exactly one message, of this content.
async fn assert_arrived_once(world: &World, alice: &Person, content: &[u8]) {
    // A reader whose registry no longer lags.
    let readers = World::over(Arc::new(world.memory.clone()));
    let bob = readers.person("bob").await;
    bob.trust_person(alice);
    let received = bob.receive(alice).await;
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(bob.read(&received[0]).await.unwrap(), content);
    assert_eq!(tags(world, "inbox-").len(), 1);
}

#[tokio::test]
async fn a_confirmed_tag_that_is_denied_afterwards_is_sent() {
    for lag in [1, 2, 5, LONG] {
        for len in [0, 3, 250] {
            let world = lagging(lag);
            let (alice, bob) = world.alice_and_bob().await;

            let sent = alice.send(&bob, "a.txt", &payload(len)).await;

            assert!(sent.is_ok(), "{lag} {len}: {sent:?}");
            assert_arrived_once(&world, &alice, &payload(len)).await;
        }
    }
}

#[tokio::test]
async fn in_both_deliveries_a_confirmed_tag_makes_the_file_sent() {
    for delivery in [Delivery::Sync, Delivery::Queued] {
        let world = lagging(LONG);
        let alice = world.person_with("alice", |options| options.delivery = delivery).await;
        let bob = world.person("bob").await;
        let outbox = alice.mailbox.outbox();
        let file = draft(&alice, &bob, "a.txt", &payload(250)).await;

        match delivery {
            Delivery::Sync => outbox.prepare(&file, &CancellationToken::new()).await.unwrap(),
            Delivery::Queued => outbox.enqueue(&file).await.unwrap(),
        }
        outbox.release_writer(&file);
        alice.settle().await;

        assert_eq!(file.state(), SendState::Sent, "{delivery:?} {:?}", file.error());
        assert_arrived_once(&world, &alice, &payload(250)).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_at_a_registry_that_lags_is_asked_for_again_and_arrives_once() {
    let world = lagging(LONG);
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    world.faulty.inject_next(Operation::PushManifest, 1, lost());

    let first = alice.mailbox.outbox().publish(&file).await;
    let second = alice.mailbox.outbox().publish(&file).await;

    assert!(first.is_err() && second.is_ok(), "{first:?} {second:?}");
    assert_arrived_once(&world, &alice, b"abc").await;
}

#[tokio::test]
async fn a_start_after_an_answer_was_lost_at_a_registry_that_lags_delivers_once() {
    let world = lagging(LONG);
    let (mut alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    world.faulty.inject_next(Operation::PushManifest, 1, lost());
    alice.mailbox.outbox().publish(&file).await.unwrap_err();
    drop(file);

    alice.restart(&world).await;
    alice.settle().await;

    assert_arrived_once(&world, &alice, b"abc").await;
}

#[tokio::test]
async fn where_tags_are_immutable_a_second_push_that_is_refused_is_no_failure() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    // The tag is there, and the registry denies it once more.
    let immutable = || RegistryError::Rejected { reason: "an immutable tag".into() };
    world.faulty.inject_next(Operation::PushManifest, 1, Fault::commit_then_fail(immutable));

    let published = alice.mailbox.outbox().publish(&file).await;

    assert!(published.is_ok(), "{published:?}");
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

/// Sends a file as `send` does, in a process that ends afterwards, while nothing confirms the tag.
async fn send_unconfirmed(world: &World, alice: &mut Person, bob: &Person, fault: Fault) {
    let first = world.faulty.counts().of(Operation::PushManifest) + 2;
    world.faulty.inject(Operation::PushManifest, first..u64::MAX, fault);
    let sent = alice.send(bob, "a.txt", &payload(250)).await;
    assert!(matches!(sent, Err(MailboxError::Unconfirmed(_))), "{sent:?}");
    alice.mailbox.stop(Duration::from_secs(5)).await;
    world.faulty.heal();
    alice.reopen_beside(world).await;
}

#[tokio::test]
async fn a_send_that_is_repeated_because_nothing_confirmed_it_arrives_once() {
    let denied = || RegistryError::Denied { reason: "no push".into() };
    for (is_tagged, fault) in [
        (true, lost()),
        (false, Fault::fail(|| RegistryError::TimedOut)),
        (false, Fault::fail(denied)),
        (true, Fault::commit_then_fail(|| RegistryError::Unreachable("cut".into()))),
    ] {
        let world = lagging(LONG);
        let (mut alice, bob) = world.alice_and_bob().await;
        send_unconfirmed(&world, &mut alice, &bob, fault).await;
        assert_eq!(tags(&world, "inbox-").len(), usize::from(is_tagged));

        let again = alice.send(&bob, "a.txt", &payload(250)).await;

        assert!(again.is_ok(), "{again:?}");
        assert_arrived_once(&world, &alice, &payload(250)).await;
        // What a later mount finds is done.
        alice.restart(&world).await;
        alice.settle().await;
        assert_arrived_once(&world, &alice, &payload(250)).await;
    }
}

#[tokio::test]
async fn another_content_or_name_after_an_unconfirmed_send_is_another_message() {
    for (name, content) in [("a.txt", payload(251)), ("b.txt", payload(250))] {
        let world = World::new();
        let (mut alice, bob) = world.alice_and_bob().await;
        send_unconfirmed(&world, &mut alice, &bob, lost()).await;

        alice.send(&bob, name, &content).await.unwrap();

        assert_eq!(tags(&world, "inbox-").len(), 2, "{name}");
    }
}

#[tokio::test]
async fn an_unconfirmed_message_that_has_expired_is_not_what_a_repetition_sends() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    send_unconfirmed(&world, &mut alice, &bob, lost()).await;
    world.clock.advance(Duration::from_secs(alice.options.ttl_secs + 1));

    alice.send(&bob, "a.txt", &payload(250)).await.unwrap();

    assert_eq!(bob.receive(&alice).await.len(), 1);
}
