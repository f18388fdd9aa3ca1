//! A file that replaces another one: the older promise holds until there is a newer one.

use super::*;
use crate::registry::fault::Gate;
use crate::store::{NewOutbox, OutboxChange, Store};

const HOUR: Duration = Duration::from_hours(1);

/// Alice, whose settle windows outlast every test, and bob.
async fn patient_alice_and_bob(world: &World) -> (Person, Person) {
    let alice = world.person_with("alice", |options| options.settle = HOUR).await;
    let bob = world.person("bob").await;
    bob.trust_person(&alice);
    (alice, bob)
}

/// Makes a file that is prepared and waits for the end of its settle window.
async fn promise(alice: &Person, bob: &Person, content: &[u8]) -> Arc<OutboxFile> {
    let file = draft(alice, bob, "a.txt", content).await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    alice.mailbox.outbox().release_writer(&file);
    file
}

/// Writes a file under a temporary name and renames it, up to where its delivery begins.
async fn rename_over(alice: &Person, bob: &Person, content: &[u8]) -> Arc<OutboxFile> {
    let file = draft(alice, bob, "a.part", content).await;
    alice.mailbox.outbox().release_writer(&file);
    alice.mailbox.outbox().rename(&file, &name("a.txt")).await.unwrap();
    file
}

#[tokio::test]
async fn a_promised_file_is_delivered_when_a_rename_over_it_is_cut_off() {
    let world = World::new();
    let (mut alice, bob) = patient_alice_and_bob(&world).await;
    drop(promise(&alice, &bob, b"old").await);

    drop(rename_over(&alice, &bob, b"new").await);
    // An orderly end would send it.
    alice.mailbox.stop(HOUR).await;
    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"old")]);
}

#[tokio::test]
async fn a_queued_file_is_delivered_when_a_rename_over_it_is_cut_off() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let old = copy(&alice, &bob, "a.txt", b"old").await.id();

    drop(rename_over(&alice, &bob, b"new").await);
    // An orderly end would send it.
    alice.mailbox.stop(HOUR).await;
    alice.restart(&world).await;
    world.faulty.heal();
    alice.settle().await;

    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"old")]);
    assert_eq!(rows(&alice).await[0], (old, OutboxState::Sent, false));
}

#[tokio::test]
async fn a_file_that_was_replaced_before_it_was_published_is_not_sent() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    promise(&alice, &bob, b"old").await;
    let outbox = alice.mailbox.outbox();

    let new = rename_over(&alice, &bob, b"new").await;
    outbox.prepare(&new, &CancellationToken::new()).await.unwrap();
    outbox.publish(&new).await.unwrap();

    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"new")]);
    assert_eq!(rows(&alice).await, [(new.id(), OutboxState::Sent, false)]);
    assert_eq!(std::fs::read_dir(alice.home().join("state/spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_queued_file_that_was_replaced_is_not_sent() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let hour = Some(HOUR);
    let throttled = Fault::fail(move || RegistryError::Throttled { retry_after: hour });
    world.faulty.inject_next(Operation::BlobExists, 1, throttled);
    copy(&alice, &bob, "a.txt", b"old").await;
    let outbox = alice.mailbox.outbox();
    until_paused(&alice).await;

    let new = rename_over(&alice, &bob, b"new").await;
    outbox.enqueue(&new).await.unwrap();
    outbox.begin_settling(&new);
    while alice.mailbox.status().outbox_waiting == 0 {
        tokio::task::yield_now().await;
    }
    outbox.retry(&new).await.unwrap();

    until(&new, SendState::Sent).await;
    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"new")]);
    assert_eq!(rows(&alice).await, [(new.id(), OutboxState::Sent, false)]);
}

#[tokio::test]
async fn a_file_that_is_being_published_keeps_its_row_when_it_is_replaced() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let outbox = alice.mailbox.outbox();
    let gate = Gate::closed();
    let old = draft(&alice, &bob, "a.txt", b"old").await;
    outbox.prepare(&old, &CancellationToken::new()).await.unwrap();
    world.faulty.inject_next(Operation::PushManifest, 1, Fault::hold(&gate));
    outbox.release_writer(&old);
    gate.wait_for_arrivals(1).await;

    let replacing = async {
        let new = rename_over(&alice, &bob, b"new").await;
        outbox.prepare(&new, &CancellationToken::new()).await.unwrap();
        outbox.publish(&new).await.unwrap();
        new
    };
    let opening = async {
        while Arc::ptr_eq(&listed(&alice, "a.txt"), &old) {
            tokio::task::yield_now().await;
        }
        // Enough lookups in the database for a caller that would not wait.
        for _ in 0..50 {
            rows(&alice).await;
        }
        gate.open();
    };
    let (new, ()) = tokio::join!(replacing, opening);

    alice.settle().await;
    assert_eq!(bob.receive(&alice).await.len(), 2);
    let expected = [(old.id(), OutboxState::Sent, true), (new.id(), OutboxState::Sent, false)];
    assert_eq!(rows(&alice).await, expected);
}

#[tokio::test]
async fn a_file_whose_tag_may_be_there_goes_its_way_when_it_is_replaced() {
    let world = World::new();
    let (alice, bob) = patient_alice_and_bob(&world).await;
    let outbox = alice.mailbox.outbox();
    let old = promise(&alice, &bob, b"old").await;
    let lost = Fault::commit_then_fail(|| RegistryError::TimedOut);
    world.faulty.inject_next(Operation::PushManifest, 1, lost);
    outbox.publish(&old).await.unwrap_err();

    let new = rename_over(&alice, &bob, b"new").await;
    outbox.prepare(&new, &CancellationToken::new()).await.unwrap();
    outbox.publish(&new).await.unwrap();
    outbox.publish(&old).await.unwrap();

    let expected = [(old.id(), OutboxState::Sent, true), (new.id(), OutboxState::Sent, false)];
    assert_eq!(rows(&alice).await, expected);
    assert_eq!(bob.receive(&alice).await.len(), 2);
}

#[tokio::test]
async fn a_rename_that_fails_leaves_the_promise_and_the_name_of_the_file_it_replaced() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let outbox = alice.mailbox.outbox();
    stop_registry(&world);
    let old = copy(&alice, &bob, "a.txt", b"old").await;

    let new = rename_over(&alice, &bob, b"new").await;
    outbox.prepare(&new, &CancellationToken::new()).await.unwrap_err();
    outbox.rename_back(&new, &name("a.part")).await.unwrap();
    world.faulty.heal();

    assert!(Arc::ptr_eq(&listed(&alice, "a.txt"), &old));
    until(&old, SendState::Sent).await;
    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"old")]);
    assert!(rows(&alice).await.contains(&(old.id(), OutboxState::Sent, false)));
}

#[tokio::test]
async fn a_rename_that_fails_leaves_a_sent_file_listed() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.txt", b"old").await.unwrap();
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));

    let new = rename_over(&alice, &bob, b"new").await;
    let outbox = alice.mailbox.outbox();
    outbox.prepare(&new, &CancellationToken::new()).await.unwrap_err();
    outbox.rename_back(&new, &name("a.part")).await.unwrap();

    assert_eq!(listed(&alice, "a.txt").state(), SendState::Sent);
    alice.restart(&world).await;
    assert_eq!(listed(&alice, "a.txt").state(), SendState::Sent);
}

#[tokio::test]
async fn removing_a_file_that_replaced_another_one_cancels_both() {
    let world = World::new();
    let (mut alice, bob) = patient_alice_and_bob(&world).await;
    drop(promise(&alice, &bob, b"old").await);

    let new = rename_over(&alice, &bob, b"new").await;
    alice.mailbox.outbox().remove(&new).await.unwrap();
    drop(new);
    alice.restart(&world).await;
    alice.settle().await;

    assert!(received(&alice, &bob).await.is_empty() && rows(&alice).await.is_empty());
}

#[tokio::test]
async fn a_send_that_fails_leaves_the_queued_file_of_its_name() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let old = copy(&alice, &bob, "a.txt", b"old").await;

    let sent = alice.send(&bob, "a.txt", b"new").await;
    world.faulty.heal();

    assert!(sent.is_err(), "{sent:?}");
    assert!(Arc::ptr_eq(&listed(&alice, "a.txt"), &old));
    until(&old, SendState::Sent).await;
    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"old")]);
    assert_eq!(rows(&alice).await, [(old.id(), OutboxState::Sent, false)]);
}

#[tokio::test]
async fn a_send_takes_the_place_of_the_failed_file_of_its_name_once_it_is_promised() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    let old = copy(&alice, &bob, "a.txt", b"old").await;
    until_failed(&alice, &old).await;

    alice.send(&bob, "a.txt", b"new").await.unwrap_err();
    let kept = rows(&alice).await;
    world.faulty.heal();
    alice.send(&bob, "a.txt", b"new").await.unwrap();

    assert_eq!(kept, [(old.id(), OutboxState::Failed, false)]);
    assert_eq!(received(&alice, &bob).await, [named("a.txt", b"new")]);
    assert_eq!(rows(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_sent_file_stays_replaced_when_the_first_attempt_to_replace_it_failed() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    for restarts in [false, true] {
        alice.send(&bob, "a.txt", b"old").await.unwrap();
        world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
        alice.send(&bob, "a.txt", b"failed").await.unwrap_err();
        world.faulty.heal();
        if restarts {
            alice.restart(&world).await;
        }

        alice.send(&bob, "a.txt", b"new").await.unwrap();
        let new = listed(&alice, "a.txt");
        alice.mailbox.outbox().remove(&new).await.unwrap();
        drop(new);
        alice.restart(&world).await;

        assert_eq!(alice.mailbox.snapshot().outbox_files().count(), 0, "{restarts}");
        assert!(rows(&alice).await.iter().all(|(_, _, is_hidden)| *is_hidden), "{restarts}");
    }
}

/// Makes alice, restarted, with an "a.txt" that failed and one beneath it that was sent.
async fn with_a_failed_file_over_a_sent_one(world: &World) -> Person {
    let (mut alice, bob) = alice_and_bob(world).await;
    alice.send(&bob, "a.txt", b"old").await.unwrap();
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    alice.send(&bob, "a.txt", b"failed").await.unwrap_err();
    alice.restart(world).await;
    alice
}

#[tokio::test]
async fn removing_a_failed_file_removes_the_sent_one_beneath_it_after_a_restart_too() {
    let world = World::new();
    let mut alice = with_a_failed_file_over_a_sent_one(&world).await;
    let failed = listed(&alice, "a.txt");
    assert_eq!(failed.state(), SendState::Failed);

    alice.mailbox.outbox().remove(&failed).await.unwrap();
    drop(failed);
    alice.restart(&world).await;

    assert_eq!(alice.mailbox.snapshot().outbox_files().count(), 0);
}

#[tokio::test]
async fn a_file_can_be_removed_when_the_sent_one_beneath_it_was_collected() {
    let world = World::new();
    let alice = with_a_failed_file_over_a_sent_one(&world).await;
    let sent = rows(&alice).await[0].0;
    alice.mailbox.core.store.remove_outbox(sent).await.unwrap();

    let removed = alice.mailbox.outbox().remove(&listed(&alice, "a.txt")).await;

    assert!(removed.is_ok(), "{removed:?}");
    assert!(rows(&alice).await.is_empty());
}

#[tokio::test]
async fn what_another_process_sent_is_listed_when_the_older_file_of_its_name_is_sent() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let old = prepared_in_a_waiting_lane(&world, &alice, &bob).await;
    let other = Store::open(&alice.home().join("state")).await.unwrap();
    let new = NewOutbox {
        recipient: bob.identity.clone(),
        directory: None,
        name: old.name(),
        spool: "staged elsewhere".into(),
        created_at: alice.mailbox.core.now(),
    };
    let new = other.insert_outbox(new).await.unwrap();
    let change = OutboxChange { state: Some(OutboxState::Sent), ..OutboxChange::default() };
    other.update_outbox(new, change).await.unwrap();

    alice.mailbox.follow_others().await.unwrap();
    let meanwhile = listed(&alice, &old.name()).id();
    alice.mailbox.outbox().retry(&old).await.unwrap();
    until(&old, SendState::Sent).await;
    alice.mailbox.follow_others().await.unwrap();
    let afterwards = listed(&alice, &old.name());
    alice.mailbox.outbox().remove(&afterwards).await.unwrap();

    assert_eq!((meanwhile, afterwards.id()), (old.id(), new));
    assert_eq!(rows(&alice).await.iter().filter(|(_, _, is_hidden)| *is_hidden).count(), 2);
}

#[tokio::test]
async fn a_replaced_file_that_goes_its_own_way_is_sent_and_not_listed_after_a_restart() {
    for is_removed in [false, true] {
        let world = World::new();
        let (mut alice, bob) = world.alice_and_bob().await;
        let refused = Fault::fail(|| RegistryError::TimedOut);
        // Manifest and bundle are deleted first, then the tag.
        world.faulty.inject(Operation::PushManifest, 2..3, refused);
        alice.send(&bob, "a.txt", b"old").await.unwrap_err();

        let outbox = alice.mailbox.outbox().clone();
        let new = draft(&alice, &bob, "a.part", b"newer").await;
        outbox.rename(&new, &name("a.txt")).await.unwrap();
        if is_removed {
            outbox.remove(&new).await.unwrap();
        } else {
            outbox.prepare(&new, &CancellationToken::new()).await.unwrap();
            outbox.publish(&new).await.unwrap();
        }
        drop((new, outbox));
        alice.restart(&world).await;
        alice.settle().await;
        alice.restart(&world).await;

        let listed: Vec<_> = alice.mailbox.snapshot().outbox_files().map(|f| f.len()).collect();
        assert_eq!(listed, if is_removed { vec![] } else { vec![5] }, "{is_removed}");
        let rows: Vec<_> = rows(&alice).await.iter().map(|row| (row.1, row.2)).collect();
        let (sent, hidden) = ((OutboxState::Sent, false), (OutboxState::Sent, true));
        assert_eq!(rows, if is_removed { vec![hidden] } else { vec![hidden, sent] });
        assert_eq!(bob.receive(&alice).await.len(), if is_removed { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_replaced_file_whose_row_is_gone_holds_up_no_other() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    stop_registry(&world);
    let old = copy(&alice, &bob, "a.txt", b"old").await;
    let middle = copy(&alice, &bob, "middle", b"middle").await;
    until_settled(&middle).await;
    until_paused(&alice).await;
    // Another process has replaced it.
    alice.mailbox.core.store.remove_outbox(old.id()).await.unwrap();
    drop(rename_over(&alice, &bob, b"new").await);
    let later = copy(&alice, &bob, "later", b"later").await;
    until_settled(&later).await;
    world.faulty.heal();

    alice.mailbox.outbox().retry(&later).await.unwrap();

    let mut states = later.watch_states();
    let sent = states.wait_for(|state| *state == SendState::Sent);
    assert!(tokio::time::timeout(Duration::from_secs(10), sent).await.is_ok(), "{later:?}");
}
