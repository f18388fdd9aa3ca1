//! Queued delivery: what a close promises, in which order it is kept, and who may end it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{draft, name, payload, tags};
use crate::mailbox::{Delivery, OutboxFile, SendState};
use crate::protocol::{ErrorClass, Message};
use crate::registry::RegistryError;
use crate::registry::fault::{Fault, Gate};
use crate::registry::memory::Operation;
use crate::testing::{Person, World};

/// Far above what anything here takes; it only ends what hangs.
const WITHIN: Duration = Duration::from_mins(1);

/// Alice, whose closes are queued, and bob, who trusts her.
async fn alice_and_bob(world: &World) -> (Person, Person) {
    let alice = world
        .person_with("alice", |options| {
            options.delivery = Delivery::Queued;
            options.queue_pause = Duration::from_millis(1);
        })
        .await;
    let bob = world.person("bob").await;
    alice.trust_person(&bob);
    bob.trust_person(&alice);
    (alice, bob)
}

/// Writes and closes a file, as `cp` does.
async fn copy(alice: &Person, bob: &Person, file: &str, content: &[u8]) -> Arc<OutboxFile> {
    let copied = draft(alice, bob, file, content).await;
    alice.mailbox.outbox().enqueue(&copied).await.unwrap();
    alice.mailbox.outbox().release_writer(&copied);
    copied
}

/// Waits until a file is in `state`.
async fn until(file: &OutboxFile, state: SendState) {
    let mut states = file.watch_states();
    let reached = tokio::time::timeout(WITHIN, states.wait_for(|now| *now == state)).await;
    assert!(reached.is_ok(), "{file:?} is not {state}: {:?}", file.error());
}

fn listed(alice: &Person, file: &str) -> Arc<OutboxFile> {
    let snapshot = alice.mailbox.snapshot();
    let found = snapshot.outbox_files().find(|listed| listed.name() == file).cloned();
    found.unwrap()
}

fn denied() -> RegistryError {
    RegistryError::Denied { reason: "no push".into() }
}

fn stop_registry(world: &World) {
    for operation in [Operation::BlobExists, Operation::PushBlob, Operation::PushManifest] {
        world.faulty.inject_always(operation, Fault::fail(|| RegistryError::TimedOut));
    }
}

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
async fn a_queued_file_is_delivered_after_a_restart_with_the_id_of_its_close() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let id = copy(&alice, &bob, "a.txt", &payload(250)).await.message_id();

    alice.restart(&world).await;
    let file = listed(&alice, "a.txt");
    assert_eq!((file.len(), file.message_id()), (250, id), "{file:?} {:?}", file.error());
    world.faulty.heal();

    until(&file, SendState::Sent).await;
    let received = bob.receive(&alice).await;
    assert_eq!(received.iter().map(|item| Some(item.message.id)).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn the_manifest_of_an_attempt_that_was_cut_off_is_that_of_the_next_start() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    let lost = Fault::commit_then_fail(|| RegistryError::TimedOut);
    world.faulty.inject_always(Operation::PushManifest, lost);
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    while file.digest().is_none() {
        tokio::task::yield_now().await;
    }
    let digest = file.digest();
    drop(file);

    alice.restart(&world).await;
    world.clock.advance(Duration::from_secs(1000));
    world.faulty.heal();
    let file = listed(&alice, "a.txt");
    until(&file, SendState::Sent).await;

    assert_eq!(file.digest(), digest);
    assert_eq!(bob.receive(&alice).await.len(), 1);
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
async fn what_the_registry_refuses_fails_with_a_note_and_the_next_file_is_sent() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    world.faulty.inject_next(Operation::PushBlob, 1, Fault::fail(denied));

    let first = copy(&alice, &bob, "a.txt", b"abc").await;
    until(&first, SendState::Failed).await;
    let second = copy(&alice, &bob, "b.txt", b"def").await;
    until(&second, SendState::Sent).await;

    let note = first.failure_note().unwrap();
    assert_eq!(note.name, "a.txt.FAILED.txt");
    assert!(note.text.contains("registry refused access"), "{}", note.text);
    assert_eq!(second.failure_note(), None);
    assert_eq!(tags(&world, "inbox-").len(), 1);
}

#[tokio::test]
async fn a_failed_file_that_is_tried_again_is_sent_and_loses_its_note() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until(&file, SendState::Failed).await;
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
    until(&file, SendState::Failed).await;

    alice.mailbox.outbox().dismiss_failure(&file).await.unwrap();
    assert_eq!(file.failure_note(), None);
    alice.restart(&world).await;

    let file = listed(&alice, "a.txt");
    assert_eq!((file.state(), file.failure_note()), (SendState::Failed, None));
    assert_eq!(file.read_at(0, 10).unwrap(), "abc");
}

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
    assert_eq!(std::fs::read_dir(alice.home().join("spool")).unwrap().count(), 0);
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
    again.write_at(4, b"two\n").unwrap();
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
async fn a_file_that_was_being_written_again_at_a_restart_is_never_sent() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let file = copy(&alice, &bob, "log", b"one\n").await;
    let again = alice.mailbox.outbox().open_for_write(&file, false).await.unwrap();
    again.write_at(4, b"tw").unwrap();
    drop((file, again));

    world.faulty.heal();
    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(listed(&alice, "log").state(), SendState::Abandoned);
    assert!(tags(&world, "inbox-").is_empty());
}

#[tokio::test]
async fn a_late_store_after_the_close_is_queued_anew() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let outbox = alice.mailbox.outbox();
    let file = draft(&alice, &bob, "mapped", b"one").await;
    outbox.enqueue(&file).await.unwrap();

    file.write_at(0, b"two").unwrap();
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
async fn a_registry_that_asks_for_time_gets_it_unless_a_person_is_in_a_hurry() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let hour = Some(Duration::from_hours(1));
    let throttled = move || RegistryError::Throttled { retry_after: hour };
    world.faulty.inject_always(Operation::BlobExists, Fault::fail(throttled));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    while alice.mailbox.status().next_attempt.is_none() {
        tokio::task::yield_now().await;
    }
    let asked = world.faulty.counts().of(Operation::BlobExists);

    alice.mailbox.core.queue.registry_answers();
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
    while alice.mailbox.status().next_attempt.is_none() {
        tokio::task::yield_now().await;
    }
    world.faulty.heal();

    alice.mailbox.core.queue.registry_answers();

    until(&file, SendState::Sent).await;
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
    alice.settle().await;

    assert!(promised.failure_note().is_some());
    assert_eq!(refused.failure_note(), None);
}

#[tokio::test]
async fn a_prepared_file_whose_tag_exists_already_is_sent_without_another_push() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    let lost = Fault::commit_then_fail(|| RegistryError::TimedOut);
    world.faulty.inject_next(Operation::PushManifest, 1, lost);
    alice.mailbox.outbox().publish(&file).await.unwrap_err();
    let pushes = world.faulty.counts().of(Operation::PushManifest);
    drop(file);

    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(listed(&alice, "a.txt").state(), SendState::Sent);
    assert_eq!(world.faulty.counts().of(Operation::PushManifest), pushes);
    assert_eq!(bob.receive(&alice).await.len(), 1);
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
    // A file manager's `rm` a moment too late is told apart from a cancellation.
    outbox.remove(&file).await.unwrap();
    assert!(outbox.was_sent(&file).await.unwrap());
    let draft = draft(&alice, &bob, "b.txt", b"abc").await;
    outbox.remove(&draft).await.unwrap();
    assert!(!outbox.was_sent(&draft).await.unwrap());
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
async fn a_file_in_the_queue_is_not_held_open() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);

    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    while alice.mailbox.status().next_attempt.is_none() {
        tokio::task::yield_now().await;
    }

    assert!(file.is_parked());
    assert_eq!(file.read_at(1, 10).unwrap(), "bc");
    assert_eq!(alice.mailbox.status().outbox_waiting, 1);
}

/// Lets every attempt to publish fail with `error`, and nothing before it.
async fn prepared_with_a_refused_tag(
    world: &World,
    alice: &Person,
    bob: &Person,
    error: fn() -> RegistryError,
) -> Arc<OutboxFile> {
    let file = draft(alice, bob, "a.txt", b"abc").await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(error));
    alice.mailbox.outbox().release_writer(&file);
    file
}

#[tokio::test]
async fn a_file_whose_tag_was_refused_is_sent_when_it_is_tried_again() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = prepared_with_a_refused_tag(&world, &alice, &bob, denied).await;
    until(&file, SendState::Failed).await;
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
async fn a_prepared_file_of_the_queue_that_is_written_again_is_read_as_promised_after_a_restart() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    // The first look is for a free tag, the second begins the publish.
    let from = world.faulty.counts().of(Operation::ResolveTag) + 1;
    let unreachable = Fault::fail(|| RegistryError::TimedOut);
    world.faulty.inject(Operation::ResolveTag, from..u64::MAX, unreachable);
    let file = copy(&alice, &bob, "a.txt", b"promised").await;
    until(&file, SendState::Prepared).await;
    let open = alice.mailbox.outbox().open_for_write(&file, true).await.unwrap();
    open.write_at(0, b"half of").unwrap();
    drop((file, open));

    alice.restart(&world).await;
    let file = listed(&alice, "a.txt");
    let read = file.reader().unwrap().read_at(0, 100).await.unwrap();
    world.faulty.heal();
    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(read, "promised");
    let received = bob.receive(&alice).await;
    assert_eq!(bob.read(&received[0]).await.unwrap(), "promised");
}

#[tokio::test]
async fn a_file_whose_tag_was_refused_is_sent_anew_when_a_chunk_is_gone() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    // The manifest and its signature go through; the tag does not, and then a chunk is lost.
    world.faulty.inject(Operation::PushManifest, 2..3, Fault::fail(denied));
    let file = copy(&alice, &bob, "a.txt", &payload(250)).await;
    until(&file, SendState::Failed).await;
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
    world.faulty.inject(Operation::PushManifest, 2..3, Fault::commit_then_fail(denied));
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    until(&file, SendState::Failed).await;
    drop(file);
    alice.restart(&world).await;
    let file = listed(&alice, "a.txt");

    alice.mailbox.outbox().retry(&file).await.unwrap();

    until(&file, SendState::Sent).await;
    assert_eq!(tags(&world, "inbox-").len(), 1);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn what_an_earlier_run_prepared_is_published_when_it_is_tried_again() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    drop(file);
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    alice.restart(&world).await;
    let file = listed(&alice, "a.txt");
    until(&file, SendState::Failed).await;
    world.faulty.heal();

    alice.mailbox.outbox().retry(&file).await.unwrap();

    until(&file, SendState::Sent).await;
    assert_eq!(bob.receive(&alice).await.len(), 1);
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
    alice.mailbox.core.queue.forget(&sent, place);
    world.faulty.heal();

    until(&next, SendState::Sent).await;
    assert_eq!(bob.receive(&alice).await.len(), 2);
}

#[tokio::test]
async fn regression_a_send_of_the_same_name_keeps_what_is_queued() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let queued = copy(&alice, &bob, "a.txt", &payload(250)).await;

    alice.send(&bob, "a.txt", &payload(70)).await.unwrap_err();
    assert!(!queued.is_unlinked(), "{queued:?}");
    world.faulty.heal();

    until(&queued, SendState::Sent).await;
    let received = bob.receive(&alice).await;
    assert_eq!(received.len(), 1);
    assert_eq!(bob.read(&received[0]).await.unwrap(), payload(250));
}
