//! What a start finds, and delivers.

use super::*;
use crate::store::Store;
use crate::sys::Clock as _;

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
async fn a_file_that_was_being_written_again_at_a_restart_is_never_sent() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let file = copy(&alice, &bob, "log", b"one\n").await;
    let again = alice.mailbox.outbox().open_for_write(&file, false).await.unwrap();
    alice.mailbox.outbox().write_at(&again, 4, b"tw").unwrap();
    drop((file, again));

    world.faulty.heal();
    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(listed(&alice, "log").state(), SendState::Abandoned);
    assert!(tags(&world, "inbox-").is_empty());
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
async fn a_prepared_file_of_the_queue_that_is_written_again_is_read_as_promised_after_a_restart() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    // The first request is for a free tag, the second begins the publish.
    let from = world.faulty.counts().of(Operation::ResolveTag) + 1;
    let unreachable = Fault::fail(|| RegistryError::TimedOut);
    world.faulty.inject(Operation::ResolveTag, from..u64::MAX, unreachable);
    let file = copy(&alice, &bob, "a.txt", b"promised").await;
    until(&file, SendState::Prepared).await;
    let open = alice.mailbox.outbox().open_for_write(&file, true).await.unwrap();
    alice.mailbox.outbox().write_at(&open, 0, b"half of").unwrap();
    drop((file, open));

    alice.restart(&world).await;
    let file = listed(&alice, "a.txt");
    let read = alice.mailbox.outbox().reader(&file).unwrap().read_at(0, 100).await.unwrap();
    world.faulty.heal();
    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(read, "promised");
    let received = bob.receive(&alice).await;
    assert_eq!(bob.read(&received[0]).await.unwrap(), "promised");
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
    until_failed(&alice, &file).await;
    world.faulty.heal();

    alice.mailbox.outbox().retry(&file).await.unwrap();

    until(&file, SendState::Sent).await;
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_promise_made_again_after_a_refused_tag_outlives_a_restart() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let file = prepared_with_a_refused_tag(&world, &alice, &bob, denied).await;
    until_failed(&alice, &file).await;
    let open = alice.mailbox.outbox().open_for_write(&file, false).await.unwrap();
    alice.mailbox.outbox().prepare(&open, &CancellationToken::new()).await.unwrap();
    let row = rows(&alice).await;
    let id = file.id();
    drop((file, open));

    alice.mailbox.shutdown(Duration::from_secs(5)).await;
    world.faulty.heal();
    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(row, [(id, OutboxState::Prepared, false)]);
    assert_eq!(listed(&alice, "a.txt").state(), SendState::Sent);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_queued_file_that_was_cut_on_the_disk_is_abandoned_and_not_sent() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let file = copy(&alice, &bob, "a.txt", b"abc").await;
    let staged = alice.home().join("state/spool").join(file.unique_name());
    drop(file);
    alice.mailbox.shutdown(Duration::from_secs(5)).await;

    std::fs::File::options().write(true).open(staged).unwrap().set_len(0).unwrap();
    world.faulty.heal();
    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(listed(&alice, "a.txt").state(), SendState::Abandoned);
    assert!(bob.receive(&alice).await.is_empty());
}

#[tokio::test]
async fn f10_a_row_that_is_damaged_meanwhile_takes_neither_the_file_nor_what_is_staged() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let id = copy(&alice, &bob, "a.txt", b"abc").await.id();
    let spool = alice.home().join("state/spool");
    let staged = spool.join(listed(&alice, "a.txt").unique_name());
    let other = Store::open(&alice.home().join("state")).await.unwrap();

    other.damage_outbox(id).await;
    alice.mailbox.follow_others().await.unwrap();

    assert_eq!((listed(&alice, "a.txt").id(), alice.mailbox.status().outbox_damaged), (id, 1));
    alice.restart(&world).await;
    world.faulty.heal();
    alice.settle().await;
    assert_eq!(alice.mailbox.snapshot().outbox_files().count(), 0);
    // Long enough for what a crash left, and not for what may have been promised.
    let file = std::fs::File::options().write(true).open(&staged).unwrap();
    file.set_modified(world.clock.now() - Duration::from_hours(48)).unwrap();
    let garbage = alice.mailbox.collect_garbage(false).await.unwrap();
    assert_eq!((garbage.leftovers.staged_count, garbage.leftovers.unsent_count), (0, 0));
    assert_eq!(std::fs::read(&staged).unwrap(), b"abc");
    assert!(tags(&world, "inbox-").is_empty());

    world.clock.advance(alice.options.history);
    let garbage = alice.mailbox.collect_garbage(false).await.unwrap();
    assert_eq!((garbage.leftovers.staged_count, garbage.leftovers.unsent_count), (1, 1));
    alice.restart(&world).await;
    assert_eq!(alice.mailbox.status().outbox_damaged, 0);
}
