//! Sending: what is promised when, and what survives.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{digest_of, draft, name, payload, tags};
use crate::mailbox::{MailboxError, SendState};
use crate::protocol::{ErrorClass, Tag, Timestamp};
use crate::registry::RegistryError;
use crate::registry::fault::{Fault, Gate};
use crate::registry::memory::Operation;
use crate::sys::Clock as _;
use crate::testing::World;

#[tokio::test]
async fn a_sent_file_arrives_with_every_byte() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let content = payload(1234);

    let sent = alice.send(&bob, "report.pdf", &content).await.unwrap();

    let listed = bob.receive(&alice).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, "report.pdf");
    assert_eq!(listed[0].digest, digest_of(&sent.digest));
    assert_eq!(bob.read(&listed[0]).await.unwrap(), content);
}

#[tokio::test]
async fn whom_i_trust_has_a_directory_and_i_have_none() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let carol = world.person("carol@example.com").await;
    alice.trust_person(&carol);

    alice.restart(&world).await;

    let dirs: Vec<_> = alice.mailbox.snapshot().outbox.keys().cloned().collect();
    assert_eq!(dirs, [bob.identity.dir_name(), carol.identity.dir_name()]);
}

/// P18: the tag is the commit.
#[tokio::test]
async fn nothing_is_tagged_before_it_is_published() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", &payload(250)).await;

    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();

    assert_eq!(file.state(), SendState::Prepared);
    assert!(tags(&world, "inbox-").is_empty());
    assert_eq!(tags(&world, "bundle-").len(), 1);
    alice.mailbox.outbox().release_writer(&file);
    alice.settle().await;
    assert_eq!(file.state(), SendState::Sent);
    assert_eq!(tags(&world, "inbox-").len(), 1);
}

#[tokio::test]
async fn preparing_twice_pushes_once() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", &payload(250)).await;
    let outbox = alice.mailbox.outbox();
    let cancel = CancellationToken::new();

    outbox.prepare(&file, &cancel).await.unwrap();
    let digest = file.digest();
    let pushes = world.faulty.counts().of(Operation::PushManifest);
    outbox.prepare(&file, &cancel).await.unwrap();

    assert_eq!(file.digest(), digest);
    assert_eq!(world.faulty.counts().of(Operation::PushManifest), pushes);
}

/// P2.
#[tokio::test]
async fn a_message_is_dated_when_it_is_signed_and_not_when_its_copy_began() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    world.clock.advance(Duration::from_hours(1));
    let signed_at = Timestamp::from(world.clock.now());

    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    world.clock.advance(Duration::from_hours(1));
    alice.mailbox.outbox().publish(&file).await.unwrap();

    let item = bob.receive(&alice).await.remove(0);
    assert_eq!(item.message.envelope.created_at, signed_at);
}

#[tokio::test]
async fn a_failed_close_sends_nothing_and_says_why() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", &payload(250)).await;
    world.faulty.inject_always(
        Operation::PushManifest,
        Fault::fail(|| RegistryError::Denied { reason: "no push".into() }),
    );

    let result = alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await;

    assert_eq!(result.unwrap_err().class(), ErrorClass::Denied);
    assert_eq!(file.state(), SendState::Failed);
    let errors = &alice.mailbox.snapshot().errors;
    assert!(errors.iter().any(|line| line.subject.contains("a.txt") && line.code == "denied"));
    alice.mailbox.outbox().release_writer(&file);
    alice.settle().await;
    assert!(tags(&world, "inbox-").is_empty());
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_pushes_the_same_message() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", &payload(250)).await;
    let outbox = alice.mailbox.outbox();
    world.faulty.inject_next(
        Operation::PushManifest,
        1,
        Fault::commit_then_fail(|| RegistryError::TimedOut),
    );

    let first = outbox.prepare(&file, &CancellationToken::new()).await;
    outbox.prepare(&file, &CancellationToken::new()).await.unwrap();
    outbox.publish(&file).await.unwrap();

    assert_eq!(first.unwrap_err().class(), ErrorClass::TimedOut);
    assert_eq!(tags(&world, "inbox-").len(), 1);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn an_interrupted_close_leaves_a_draft() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", &payload(250)).await;
    let gate = Gate::closed();
    world.faulty.inject_always(Operation::PushBlob, Fault::hold(&gate));
    let cancel = CancellationToken::new();
    let outbox = alice.mailbox.outbox();

    let interrupt = async {
        gate.wait_for_arrivals(1).await;
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(outbox.prepare(&file, &cancel), interrupt);

    assert!(matches!(result, Err(MailboxError::Interrupted)), "{result:?}");
    assert_eq!(file.state(), SendState::Draft);
    gate.open();
}

#[tokio::test]
async fn a_file_changed_after_its_close_is_signed_again() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let outbox = alice.mailbox.outbox();
    let file = draft(&alice, &bob, "log", b"one\n").await;
    outbox.prepare(&file, &CancellationToken::new()).await.unwrap();

    let again = outbox.open_for_write(&file, false).await.unwrap();
    alice.mailbox.outbox().write_at(&again, 4, b"two\n").unwrap();
    outbox.prepare(&again, &CancellationToken::new()).await.unwrap();
    outbox.release_writer(&again);
    outbox.release_writer(&again);
    alice.settle().await;

    let listed = bob.receive(&alice).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(bob.read(&listed[0]).await.unwrap(), "one\ntwo\n");
}

#[tokio::test]
async fn a_renamed_file_is_sent_under_its_new_name_alone() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let outbox = alice.mailbox.outbox();
    let file = draft(&alice, &bob, ".a.txt.Xy12ab", &payload(150)).await;
    outbox.release_writer(&file);
    alice.settle().await;
    assert!(world.memory.blobs().is_empty(), "a temporary name is never uploaded");

    outbox.rename(&file, &name("a.txt")).await.unwrap();
    outbox.prepare(&file, &CancellationToken::new()).await.unwrap();
    outbox.publish(&file).await.unwrap();

    let listed = bob.receive(&alice).await;
    assert_eq!(listed.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["a.txt"]);
}

#[tokio::test]
async fn a_sent_message_is_immutable_and_writing_anew_makes_another() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.txt", b"first").await.unwrap();
    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    let outbox = alice.mailbox.outbox();

    assert_eq!(
        alice.mailbox.outbox().write_at(&file, 0, b"x").unwrap_err().class(),
        ErrorClass::NotPermitted
    );
    let refused = outbox.open_for_write(&file, false).await;
    assert_eq!(refused.unwrap_err().class(), ErrorClass::NotPermitted);

    let new = outbox.open_for_write(&file, true).await.unwrap();
    alice.mailbox.outbox().write_at(&new, 0, b"second").unwrap();
    outbox.prepare(&new, &CancellationToken::new()).await.unwrap();
    outbox.publish(&new).await.unwrap();
    let names: Vec<_> = bob.receive(&alice).await.iter().map(|item| item.name.clone()).collect();
    assert_eq!(names, ["a (2).txt", "a.txt"]);
    assert_eq!(alice.mailbox.snapshot().outbox_files().count(), 1);
}

#[tokio::test]
async fn an_end_within_the_settle_window_sends_what_is_closed_and_not_what_is_open() {
    let world = World::new();
    let mut alice = world
        .person_with("alice", |options| {
            options.settle = Duration::from_hours(1);
            options.settle_empty = Duration::from_hours(1);
        })
        .await;
    let bob = world.person("bob").await;
    bob.trust_person(&alice);
    let outbox = alice.mailbox.outbox();
    for (name, content) in [("empty", &b""[..]), ("late-store", b"late"), ("x.part", b"half")] {
        outbox.release_writer(&draft(&alice, &bob, name, content).await);
    }
    drop(draft(&alice, &bob, "open", b"half").await);

    alice.restart(&world).await;

    let listed = bob.receive(&alice).await;
    let names: Vec<_> = listed.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["empty", "late-store"]);
}

#[tokio::test]
async fn a_prepared_file_is_published_after_a_restart() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", &payload(250)).await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(|| RegistryError::TimedOut));
    drop(file);

    alice.restart(&world).await;
    world.faulty.heal();
    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(bob.receive(&alice).await.len(), 1);
    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!(file.state(), SendState::Sent);
}

#[tokio::test]
async fn a_prepared_file_keeps_its_promise_when_its_staged_bytes_are_lost() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let content = payload(250);
    let file = draft(&alice, &bob, "a.txt", &content).await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(|| RegistryError::TimedOut));
    let staged = alice.home().join("state/spool").join(file.unique_name());
    drop(file);

    // What a power cut leaves of bytes that had not reached the disk.
    std::fs::File::options().write(true).open(staged).unwrap().set_len(0).unwrap();
    alice.restart(&world).await;

    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!((file.state(), file.len()), (SendState::Prepared, 250));
    let read = alice.mailbox.outbox().reader(&file).unwrap().read_at(0, 250).await.unwrap();
    assert_eq!(read, content, "from the registry");
    let renamed = alice.mailbox.outbox().rename(&file, &name("b.txt")).await;
    assert!(matches!(renamed, Err(MailboxError::NotPermitted(_))), "{renamed:?}");
    let opened = alice.mailbox.outbox().open_for_write(&file, false).await;
    assert!(matches!(opened, Err(MailboxError::NotPermitted(_))), "{opened:?}");
    world.faulty.heal();
    alice.restart(&world).await;
    alice.settle().await;
    let listed = bob.receive(&alice).await;
    assert_eq!(bob.read(&listed[0]).await.unwrap(), content);
}

#[tokio::test]
async fn a_draft_of_an_earlier_run_is_shown_and_never_sent() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "half.bin", &payload(130)).await;
    drop(file);

    alice.restart(&world).await;
    alice.settle().await;

    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!(file.state(), SendState::Abandoned);
    assert_eq!(file.len(), 130);
    assert!(tags(&world, "inbox-").is_empty());
}

#[tokio::test]
async fn a_removed_draft_is_gone_and_its_handle_still_works() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    let outbox = alice.mailbox.outbox();

    outbox.remove(&file).await.unwrap();
    alice.mailbox.outbox().write_at(&file, 3, b"def").unwrap();
    outbox.release_writer(&file);
    alice.settle().await;

    assert_eq!(file.read_at(0, 10).unwrap(), "abcdef");
    assert_eq!(alice.mailbox.snapshot().outbox_files().count(), 0);
    assert!(tags(&world, "inbox-").is_empty());
    let staged = std::fs::read_dir(alice.home().join("state/spool")).unwrap().count();
    assert_eq!(staged, 0);
}

/// P3: one session for one mount or one command.
#[tokio::test]
async fn tags_of_one_run_share_their_session_and_another_run_has_another() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let sessions = || -> std::collections::BTreeSet<String> {
        let part = |tag: &Tag| tag.as_str().rsplit('-').nth(1).map(str::to_owned);
        tags(&world, "inbox-").iter().filter_map(part).collect()
    };

    alice.send(&bob, "a.txt", b"abc").await.unwrap();
    alice.send(&bob, "b.txt", b"abcd").await.unwrap();
    let first = sessions();
    alice.restart(&world).await;
    alice.send(&bob, "c.txt", b"abcde").await.unwrap();

    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(sessions().len(), 2, "{:?}", sessions());
}

/// P4.
#[tokio::test]
async fn a_taken_tag_gets_a_new_message_id() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.txt", b"abc").await;
    let outbox = alice.mailbox.outbox();
    outbox.prepare(&file, &CancellationToken::new()).await.unwrap();
    let other = alice.send(&bob, "other", b"x").await.unwrap();
    let tag = file.tag().unwrap();
    world.memory.point_tag(&tag, &digest_of(&other.digest));
    let first_id = file.message_id();

    outbox.publish(&file).await.unwrap();

    assert_ne!(file.message_id(), first_id);
    assert_eq!(bob.receive(&alice).await.len(), 2);
}

#[tokio::test]
async fn an_empty_file_is_a_message_of_one_empty_chunk() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;

    alice.send(&bob, "empty", b"").await.unwrap();

    let listed = bob.receive(&alice).await;
    assert_eq!(listed[0].message.envelope.chunk_count, 1);
    assert_eq!(bob.read(&listed[0]).await.unwrap(), "");
}
