//! What the registry refuses waits: with its reason, across restarts, until something changes.

use super::*;
use crate::chunk::LayerEncoder;
use crate::protocol::{Compression, Digest, ReceiptStatus};
use crate::registry::fault::Gate;

/// Every refusal that passes.
fn refusals() -> Vec<fn() -> RegistryError> {
    fn rejected(reason: &str) -> RegistryError {
        RegistryError::Rejected { reason: reason.into() }
    }
    vec![
        denied,
        || RegistryError::not_found("repository"),
        || rejected("not offered by this registry (status 405)"),
        || rejected("in conflict with existing content (status 409)"),
        || rejected("too large for this registry (status 413)"),
        || rejected("the registry is full (status 507)"),
        || rejected("not accepted (status 400)"),
        || RegistryError::LoginUnreadable { reason: "no helper".into() },
        || RegistryError::DirectoryDenied { reason: "no permission" },
        || RegistryError::Malformed { reason: "junk".into() },
        || RegistryError::NoSpace,
        || RegistryError::WebPage,
        || RegistryError::Configuration("the registry does not accept the name".into()),
        || RegistryError::Io(std::io::Error::other("not a directory")),
        || RegistryError::Unreachable("refused".into()),
    ]
}

/// As [`alice_and_bob`], with pauses that no test waits for.
async fn patient_alice_and_bob(world: &World) -> (Person, Person) {
    let alice = world
        .person_with("alice", |options| {
            options.delivery = Delivery::Queued;
            options.queue_pause = Duration::from_hours(1);
        })
        .await;
    let bob = world.person("bob").await;
    alice.trust_person(&bob);
    bob.trust_person(&alice);
    (alice, bob)
}

fn layer_of(content: &[u8]) -> Digest {
    LayerEncoder::new(Compression::Zstd).unwrap().encode(0, content).unwrap().digest
}

#[tokio::test]
async fn every_refusal_is_waited_out_and_the_file_arrives_once() {
    for make in refusals() {
        for operation in [Operation::BlobExists, Operation::PushBlob, Operation::PushManifest] {
            let world = World::new();
            let (alice, bob) = alice_and_bob(&world).await;
            world.faulty.inject_always(operation, Fault::fail(make));
            let file = copy(&alice, &bob, "a.txt", b"abc").await;
            until_refused(&file).await;
            let (class, text) = file.error().unwrap();
            assert_eq!((class, file.failure_note()), (make().class(), None), "{text}");
            assert!(!matches!(file.state(), SendState::Failed), "{file:?}");

            world.faulty.heal();

            until(&file, SendState::Sent).await;
            assert_eq!(received(&alice, &bob).await, [named("a.txt", b"abc")], "{text}");
            assert_eq!(file.error(), None);
        }
    }
}

#[tokio::test]
async fn with_delivery_sync_a_refused_tag_waits_too() {
    for make in refusals() {
        let world = World::new();
        let alice = world
            .person_with("alice", |options| options.queue_pause = Duration::from_millis(1))
            .await;
        let bob = world.person("bob").await;
        bob.trust_person(&alice);
        let file = prepared_with_a_refused_tag(&world, &alice, &bob, make).await;
        until_refused(&file).await;
        assert_eq!((file.state(), file.failure_note()), (SendState::Prepared, None));
        let status = alice.mailbox.status();
        assert_eq!((status.outbox_waiting, status.outbox_failed), (1, 0));
        assert!(status.waiting_why.unwrap().starts_with(make().class().code()));

        world.faulty.heal();

        until(&file, SendState::Sent).await;
        assert_eq!(bob.receive(&alice).await.len(), 1);
        assert_eq!(alice.mailbox.status().outbox_waiting, 0);
    }
}

#[tokio::test]
async fn what_waits_is_shown_with_its_reason_and_its_next_attempt() {
    let world = World::new();
    let (mut alice, bob) = patient_alice_and_bob(&world).await;
    world.faulty.inject_always(Operation::PushBlob, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until_refused(&file).await;
    until_paused(&alice).await;
    drop(file);

    for _ in 0..2 {
        let status = alice.mailbox.status();
        let why = "denied: registry refused access: no push";
        assert_eq!(status.waiting_why.as_deref(), Some(why));
        assert_eq!((status.outbox_waiting, status.outbox_failed), (1, 0));
        assert!(status.next_attempt.is_some());
        let [transfer] = &status.transfers[..] else { panic!("{:?}", status.transfers) };
        assert_eq!((transfer.state.as_str(), transfer.why.as_deref()), ("queued", Some(why)));
        let errors = alice.mailbox.snapshot().errors.iter().filter(|e| e.code == "denied").count();
        assert!(errors >= 1);
        // The reason outlives the process.
        alice.restart(&world).await;
        until_paused(&alice).await;
    }
}

#[tokio::test]
async fn a_restart_tries_at_once_what_waits_for_hours() {
    let world = World::new();
    let (mut alice, bob) = patient_alice_and_bob(&world).await;
    world.faulty.inject_always(Operation::PushBlob, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    let id = file.message_id();
    until_refused(&file).await;
    drop(file);
    world.faulty.heal();

    alice.restart(&world).await;

    let file = listed(&alice, "a.txt");
    until(&file, SendState::Sent).await;
    assert_eq!(file.message_id(), id);
    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"abc")]);
}

#[tokio::test]
async fn a_new_login_ends_the_pause() {
    for delivery in [Delivery::Sync, Delivery::Queued] {
        let world = World::new();
        let alice = world
            .person_with("alice", |options| {
                options.delivery = delivery;
                options.queue_pause = Duration::from_hours(1);
            })
            .await;
        let bob = world.person("bob").await;
        bob.trust_person(&alice);
        let file = match delivery {
            Delivery::Sync => prepared_with_a_refused_tag(&world, &alice, &bob, denied).await,
            Delivery::Queued => {
                world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
                copy(&alice, &bob, "a.txt", b"abc").await
            }
        };
        until_refused(&file).await;
        until_paused(&alice).await;
        world.faulty.heal();

        world.faulty.change_login();

        until(&file, SendState::Sent).await;
        assert_eq!(bob.receive(&alice).await.len(), 1, "{delivery:?}");
    }
}

#[tokio::test]
async fn a_login_that_changes_during_an_attempt_ends_the_pause_that_follows() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    let gate = Gate::closed();
    world.faulty.inject_next(Operation::BlobExists, 1, Fault::hold(&gate));
    world.faulty.inject_next(Operation::PushBlob, 1, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    gate.wait_for_arrivals(1).await;

    world.faulty.change_login();
    alice.mailbox.outbox().look_at_login().await;
    gate.open();

    until(&file, SendState::Sent).await;
}

#[tokio::test]
async fn a_registry_that_answers_again_ends_the_pause_and_one_that_always_does_does_not() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    world.faulty.inject_always(Operation::PushBlob, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until_refused(&file).await;
    until_paused(&alice).await;
    let attempts = world.faulty.counts().of(Operation::PushBlob);

    // Polls succeed all along: nothing has changed.
    for _ in 0..50 {
        alice.mailbox.poll_once().await;
    }
    assert_eq!(world.faulty.counts().of(Operation::PushBlob), attempts);
    world.faulty.inject_next(Operation::ListTags, 1, Fault::fail(|| RegistryError::TimedOut));
    alice.mailbox.poll_once().await;
    world.faulty.heal();
    alice.mailbox.poll_once().await;

    until(&file, SendState::Sent).await;
}

#[tokio::test]
async fn a_person_ends_the_pause_of_either_delivery() {
    for delivery in [Delivery::Sync, Delivery::Queued] {
        let world = World::new();
        let alice = world
            .person_with("alice", |options| {
                options.delivery = delivery;
                options.queue_pause = Duration::from_hours(1);
            })
            .await;
        let bob = world.person("bob").await;
        let file = match delivery {
            Delivery::Sync => prepared_with_a_refused_tag(&world, &alice, &bob, denied).await,
            Delivery::Queued => {
                world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
                copy(&alice, &bob, "a.txt", b"abc").await
            }
        };
        until_refused(&file).await;
        until_paused(&alice).await;
        world.faulty.heal();

        alice.mailbox.outbox().retry(&file).await.unwrap();

        until(&file, SendState::Sent).await;
    }
}

#[tokio::test]
async fn a_person_who_asks_during_an_attempt_gets_another_one() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    let gate = Gate::closed();
    world.faulty.inject_next(Operation::BlobExists, 1, Fault::hold(&gate));
    world.faulty.inject_next(Operation::PushBlob, 1, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    gate.wait_for_arrivals(1).await;

    alice.mailbox.outbox().queue().retry_now();
    gate.open();

    until(&file, SendState::Sent).await;
}

#[tokio::test]
async fn one_refused_file_lets_those_behind_it_pass() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    let too_large = || RegistryError::Rejected { reason: "too large (status 413)".into() };
    world.faulty.inject_on(Operation::PushBlob, &layer_of(b"large"), Fault::fail(too_large));
    let large = copy(&alice, &bob, "large", b"large").await;
    let mut others = Vec::new();
    for number in 0..10 {
        let (name, content) = (format!("f{number}"), format!("content {number}"));
        others.push(copy(&alice, &bob, &name, content.as_bytes()).await);
    }

    for other in &others {
        until(other, SendState::Sent).await;
    }
    until_refused(&large).await;
    // One that comes while only the refused one is left.
    until_paused(&alice).await;
    let late = copy(&alice, &bob, "late", b"late").await;
    until(&late, SendState::Sent).await;
    assert_eq!(large.state(), SendState::Queued);
    world.faulty.heal();
    alice.mailbox.outbox().retry(&large).await.unwrap();
    until(&large, SendState::Sent).await;
    assert_eq!(bob.receive(&alice).await.len(), 12);
}

#[tokio::test]
async fn all_of_a_long_queue_is_sent_once_after_a_registry_that_refused_everything() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    world.faulty.inject_always(Operation::PushBlob, Fault::fail(denied));
    let mut files = vec![copy(&alice, &bob, "f0", b"content 0").await];
    until_refused(&files[0]).await;
    for number in 1..100 {
        let (name, content) = (format!("f{number}"), format!("content {number}"));
        files.push(copy(&alice, &bob, &name, content.as_bytes()).await);
    }
    while alice.mailbox.status().next_attempt.is_none() {
        tokio::task::yield_now().await;
    }
    world.faulty.heal();

    alice.mailbox.outbox().retry(&files[0]).await.unwrap();

    for file in &files {
        until(file, SendState::Sent).await;
    }
    assert_eq!(bob.receive(&alice).await.len(), 100);
    // All of them once.
    let attempts = world.faulty.counts().of(Operation::PushManifest);
    assert_eq!(attempts, 300);
}

#[tokio::test]
async fn several_refused_files_at_the_head_of_a_queue_block_it_for_no_longer_than_a_pause() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let refused: Vec<String> = (0..7).map(|number| format!("refused {number}")).collect();
    for content in &refused {
        let layer = layer_of(content.as_bytes());
        world.faulty.inject_on(Operation::PushBlob, &layer, Fault::fail(denied));
    }
    let mut files = Vec::new();
    for content in &refused {
        files.push(copy(&alice, &bob, content, content.as_bytes()).await);
    }

    let last = copy(&alice, &bob, "last", b"last").await;

    until(&last, SendState::Sent).await;
    assert!(files.iter().all(|file| file.state() != SendState::Failed));
    world.faulty.heal();
    for file in &files {
        until(file, SendState::Sent).await;
    }
    assert_eq!(bob.receive(&alice).await.len(), 8);
}

#[tokio::test]
async fn a_refused_file_that_is_written_again_is_tried_at_once() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    world.faulty.inject_on(Operation::PushBlob, &layer_of(b"large"), Fault::fail(denied));
    world.faulty.inject_on(Operation::PushBlob, &layer_of(b"other"), Fault::fail(denied));
    let other = copy(&alice, &bob, "other", b"other").await;
    until_refused(&other).await;
    let file = copy(&alice, &bob, "a.txt", b"large").await;
    until_refused(&file).await;
    until_paused(&alice).await;

    let again = alice.mailbox.outbox().open_for_write(&file, true).await.unwrap();
    alice.mailbox.outbox().write_at(&again, 0, b"small").unwrap();
    alice.mailbox.outbox().enqueue(&again).await.unwrap();
    alice.mailbox.outbox().release_writer(&again);

    until(&again, SendState::Sent).await;
    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"small")]);
}

#[tokio::test]
async fn a_file_that_gets_the_place_of_a_refused_one_is_tried_at_once() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    for content in [b"one", b"two"] {
        world.faulty.inject_on(Operation::PushBlob, &layer_of(content), Fault::fail(denied));
    }
    let one = copy(&alice, &bob, "one", b"one").await;
    until_refused(&one).await;
    let two = copy(&alice, &bob, "two", b"two").await;
    until_refused(&two).await;
    until_paused(&alice).await;

    alice.mailbox.outbox().cancel(&two).await.unwrap();
    let third = copy(&alice, &bob, "third", b"third").await;

    until(&third, SendState::Sent).await;
    assert_eq!(one.state(), SendState::Queued);
}

#[tokio::test]
async fn a_request_while_another_file_is_under_way_is_not_lost() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    world.faulty.inject_on(Operation::PushBlob, &layer_of(b"old"), Fault::fail(denied));
    let old = copy(&alice, &bob, "old", b"old").await;
    until_refused(&old).await;
    until_paused(&alice).await;
    world.faulty.heal();
    let gate = Gate::closed();
    world.faulty.inject_on(Operation::PushBlob, &layer_of(b"new"), Fault::hold(&gate));
    let new = copy(&alice, &bob, "new", b"new").await;
    gate.wait_for_arrivals(1).await;

    alice.mailbox.outbox().retry(&old).await.unwrap();
    gate.open();

    until(&new, SendState::Sent).await;
    until(&old, SendState::Sent).await;
}

#[tokio::test]
async fn what_no_attempt_can_send_fails_with_a_note_and_the_next_file_is_sent() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    stop_registry(&world);
    let gone = copy(&alice, &bob, "gone", b"abc").await;
    until_refused(&gone).await;
    // No attempt has the staged file open.
    until_paused(&alice).await;
    let next = copy(&alice, &bob, "next", b"def").await;

    std::fs::remove_file(alice.home().join("state/spool").join(gone.unique_name())).unwrap();
    world.faulty.heal();
    alice.mailbox.outbox().retry(&next).await.unwrap();

    until(&next, SendState::Sent).await;
    until(&gone, SendState::Failed).await;
    assert_eq!(gone.failure_note().unwrap().name, "gone.FAILED.txt");
    assert_eq!(received(&alice, &bob).await, [named("next", b"def")]);
}

#[tokio::test]
async fn a_message_that_waited_longer_than_it_lives_is_made_when_it_can_be_sent() {
    // Refused before there is a message, with its manifest, and with nothing but its tag.
    for (operation, taken) in
        [(Operation::PushBlob, 0), (Operation::PushManifest, 0), (Operation::PushManifest, 2)]
    {
        let world = World::new();
        let (alice, bob) = patient_alice_and_bob(&world).await;
        world.faulty.inject(operation, taken..u64::MAX, Fault::fail(denied));
        let file = copy(&alice, &bob, "a.txt", b"abc").await;
        until_refused(&file).await;
        until_paused(&alice).await;
        world.clock.advance(Duration::from_secs(alice.options.ttl_secs * 2));
        world.faulty.heal();

        alice.mailbox.outbox().retry(&file).await.unwrap();

        until(&file, SendState::Sent).await;
        assert_eq!(received(&alice, &bob).await, [named("a.txt", b"abc")], "{operation:?} {taken}");
        assert_eq!(tags(&world, "inbox-").len(), 1);
    }
}

#[tokio::test]
async fn a_receipt_that_was_refused_is_pushed_at_once_when_the_login_changes() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.txt", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    let given = bob.mailbox.acknowledge_now(&item.digest, ReceiptStatus::Accepted, None).await;
    given.unwrap_err();
    world.faulty.heal();

    // The clock stands still: the next attempt is not due.
    bob.mailbox.poll_once().await;
    assert!(tags(&world, "receipt-").is_empty());
    world.faulty.change_login();
    bob.mailbox.poll_once().await;

    assert_eq!(tags(&world, "receipt-").len(), 1);
}
