//! In which order files are sent, and what they wait for.

use super::*;
use crate::protocol::ErrorClass;
use crate::registry::fault::Gate;

#[tokio::test]
async fn a_close_succeeds_without_the_registry_and_the_file_arrives_later() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);

    let file = copy(&alice, &bob, "a.txt", &payload(250)).await;
    assert!(file.is_queued() && file.message_id().is_some());
    assert!(tags(&world, "").is_empty());
    world.faulty.heal();

    until(&file, SendState::Sent).await;
    let received = bob.receive(&alice).await;
    assert_eq!(received.len(), 1);
    assert_eq!(Some(received[0].message.id), file.message_id());
    assert_eq!(bob.read(&received[0]).await.unwrap(), payload(250));
}

#[tokio::test]
async fn a_file_that_waits_holds_up_those_behind_it() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let gate = Gate::closed();
    world.faulty.inject_next(Operation::PushBlob, 1, Fault::hold(&gate));

    let first = copy(&alice, &bob, "1", b"first").await;
    gate.wait_for_arrivals(1).await;
    let others =
        [copy(&alice, &bob, "2", b"second").await, copy(&alice, &bob, "3", b"third").await];
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tags(&world, "inbox-").len(), 0);
    assert!(others.iter().all(|file| file.state() != SendState::Sent));
    gate.open();

    for file in others.iter().chain([&first]) {
        until(file, SendState::Sent).await;
    }
}

#[tokio::test]
async fn many_files_keep_the_order_of_their_closes_through_failures() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let unreachable = || Fault::fail(|| RegistryError::TimedOut);
    for call in (0..200).step_by(7) {
        world.faulty.inject(Operation::PushManifest, call..call + 1, unreachable());
    }

    let mut files = Vec::new();
    for number in 0..30 {
        files.push(copy(&alice, &bob, &format!("f{number}"), &payload(number)).await);
        // What bob sees at any moment is the beginning of what alice closed.
        let seen = bob.receive(&alice).await.len();
        let names: Vec<_> = bob.listed(&alice).iter().map(|item| item.name.clone()).collect();
        assert!((0..seen).all(|n| names.contains(&format!("f{n}"))), "{names:?}");
    }
    for file in &files {
        until(file, SendState::Sent).await;
    }

    assert_eq!(bob.receive(&alice).await.len(), 30);
    assert_eq!(tags(&world, "inbox-").len(), 30);
}

#[tokio::test]
async fn a_registry_that_asks_for_time_gets_it_unless_a_person_is_in_a_hurry() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let hour = Some(Duration::from_hours(1));
    let throttled = move || RegistryError::Throttled { retry_after: hour };
    world.faulty.inject_always(Operation::BlobExists, Fault::fail(throttled));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until_paused(&alice).await;
    let asked = world.faulty.counts().of(Operation::BlobExists);

    alice.mailbox.outbox().registry_answers();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.faulty.counts().of(Operation::BlobExists), asked);
    assert_eq!(file.error().map(|(class, _text)| class), Some(ErrorClass::Unreachable));
    world.faulty.heal();
    alice.mailbox.outbox().retry(&file).await.unwrap();

    until(&file, SendState::Sent).await;
}

#[tokio::test]
async fn a_queue_that_pauses_goes_on_when_the_registry_answers_a_poll() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until_paused(&alice).await;
    world.faulty.heal();

    alice.mailbox.outbox().registry_answers();

    until(&file, SendState::Sent).await;
}

#[tokio::test]
async fn a_registry_that_fails_now_and_then_does_not_make_the_pauses_grow() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    for at in (3..1000).step_by(4) {
        let fault = Fault::fail(|| RegistryError::TimedOut);
        world.faulty.inject(Operation::ResolveTag, at..at + 1, fault);
    }

    let mut files = Vec::new();
    for n in 0..60 {
        files.push(copy(&alice, &bob, &format!("f{n}"), b"abc").await);
    }
    // Dozens of pauses of a millisecond; doubled each time they are hours.
    for file in &files {
        until(file, SendState::Sent).await;
    }

    assert_eq!(bob.receive(&alice).await.len(), 60);
}

#[tokio::test]
async fn delivery_is_chosen_by_recipient() {
    let world = World::new();
    let bob = "bob".parse().unwrap();
    let alice = world
        .person_with("alice", |options| {
            options.delivery_of = [("carol".parse().unwrap(), Delivery::Queued)].into();
        })
        .await;

    let options = alice.mailbox.options();

    assert_eq!(options.delivery_for(&bob), Delivery::Sync);
    assert_eq!(options.delivery_for(&"carol".parse().unwrap()), Delivery::Queued);
}

#[tokio::test]
async fn a_file_in_the_queue_is_not_held_open() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);

    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until_paused(&alice).await;

    assert!(file.is_parked());
    assert_eq!(file.read_at(1, 10).unwrap(), "bc");
    assert_eq!(alice.mailbox.status().outbox_waiting, 1);
}

#[tokio::test]
async fn a_file_that_got_the_place_of_one_just_sent_is_sent_as_well() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let sent = copy(&alice, &bob, "a.txt", b"abc").await;
    let next = copy(&alice, &bob, "b.txt", b"def").await;
    let place = next.queue_place().unwrap();

    // As when the row of the one was cleared before its entry in memory.
    alice.mailbox.outbox().queue().remove(&sent, place);
    world.faulty.heal();

    until(&next, SendState::Sent).await;
    assert_eq!(bob.receive(&alice).await.len(), 2);
}
