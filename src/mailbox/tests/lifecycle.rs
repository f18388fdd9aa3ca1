//! The end of a message: expiry, recall, garbage collection, clocks that jump.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{digest_of, draft, payload, tags};
use crate::mailbox::{MailboxError, Removal};
use crate::protocol::{Digest, ErrorClass, ReceiptStatus, Tag, media_type};
use crate::registry::fault::Fault;
use crate::registry::memory::Operation;
use crate::registry::{ManifestRef, RegistryError, Repository as _};
use crate::testing::{BEGINNING, Person, World};

const WEEK: Duration = Duration::from_hours(7 * 24);
const QUARTER: Duration = Duration::from_hours(91 * 24);
const MOST_OF_A_QUARTER: Duration = Duration::from_hours(84 * 24);

fn refusal() -> RegistryError {
    RegistryError::Rejected { reason: "not offered by this registry".into() }
}

/// Has bob read what alice has sent, so that a receipt comes back to the registry.
async fn read_all(bob: &Person, alice: &Person) {
    for item in bob.receive(alice).await {
        bob.read(&item).await.unwrap();
    }
    bob.settle().await;
}

#[tokio::test]
async fn an_expired_message_of_mine_goes_with_its_signature_and_receipts() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let old = alice.send(&bob, "old", &payload(250)).await.unwrap();
    read_all(&bob, &alice).await;
    let theirs = bob.send(&alice, "theirs", b"x").await.unwrap();
    world.clock.advance(WEEK);
    let young = alice.send(&bob, "young", b"y").await.unwrap();
    world.clock.advance(Duration::from_mins(6));

    let dry = alice.mailbox.collect_garbage(true).await.unwrap();
    let tag_count = world.memory.tags().len();
    let garbage = alice.mailbox.collect_garbage(false).await.unwrap();
    let again = alice.mailbox.collect_garbage(false).await.unwrap();

    assert_eq!((dry.messages.len(), dry.messages[0].removal), (1, None));
    assert_eq!(tag_count, 8, "a dry run deletes nothing");
    assert_eq!(garbage.messages.len(), 1);
    assert_eq!(garbage.messages[0].digest, digest_of(&old.digest));
    assert_eq!(garbage.messages[0].removal, Some(Removal::Deleted));
    assert!(garbage.messages[0].left.is_empty(), "{garbage:?}");
    assert!(garbage.registry_error.is_none());
    assert!(again.messages.is_empty(), "{again:?}");
    let left: Vec<Tag> = tags(&world, "inbox-");
    let expected: Vec<Tag> = [theirs, young].iter().map(|sent| sent.tag.parse().unwrap()).collect();
    assert!(left.len() == 2 && expected.iter().all(|tag| left.contains(tag)), "{left:?}");
    assert_eq!(tags(&world, "bundle-").len(), 2);
    assert!(tags(&world, "receipt-").is_empty());
    assert_eq!(world.memory.manifests().len(), 4);
    assert_eq!(alice.mailbox.snapshot().receipts_sent.len(), 1, "the proof stays here");
}

#[tokio::test]
async fn what_others_attached_to_my_message_is_left_to_them() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a", b"a").await.unwrap();
    let other = alice.send(&bob, "b", b"b").await.unwrap();
    let foreign: Tag =
        format!("{}1-aaaaaa", Tag::bundle_prefix(&digest_of(&sent.digest))).parse().unwrap();
    let bundle = tags(&world, &Tag::bundle_prefix(&digest_of(&other.digest))).remove(0);
    let bundle = world.faulty.resolve_tag(&bundle).await.unwrap().unwrap();
    world.memory.point_tag(&foreign, &bundle);

    alice.mailbox.recall(&digest_of(&sent.digest)).await.unwrap();

    assert_eq!(world.faulty.resolve_tag(&foreign).await.unwrap(), Some(bundle));
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_registry_that_refuses_deletion_is_told_once_and_nothing_is_lost() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    for name in ["a", "b", "c"] {
        alice.send(&bob, name, name.as_bytes()).await.unwrap();
    }
    let before = world.memory.tags();
    world.clock.advance(WEEK + Duration::from_mins(6));
    world.faulty.inject_always(Operation::DeleteManifest, Fault::fail(refusal));

    let refused = alice.mailbox.collect_garbage(false).await.unwrap();
    let tries = world.faulty.counts().of(Operation::DeleteManifest);
    let left = world.memory.tags();
    world.faulty.heal();
    let healed = alice.mailbox.collect_garbage(false).await.unwrap();

    let error = refused.registry_error.unwrap();
    assert_eq!((error.class(), refused.kept_count), (ErrorClass::NotPermitted, 3));
    assert_eq!((tries, left), (1, before));
    assert_eq!(healed.messages.len(), 3);
    assert!(world.memory.tags().is_empty());
}

#[tokio::test]
async fn a_message_that_never_expires_is_never_collected() {
    let world = World::new();
    let alice = world.person_with("alice", |options| options.ttl_secs = 0).await;
    let bob = world.person("bob").await;
    bob.trust_person(&alice);
    alice.send(&bob, "a", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    bob.mailbox.inbox().dismiss(&item.digest).await.unwrap();
    world.clock.advance(QUARTER * 40);

    let sender = alice.mailbox.collect_garbage(false).await.unwrap();
    let receiver = bob.mailbox.collect_garbage(false).await.unwrap();

    assert!(sender.messages.is_empty() && sender.leftovers.sent_count == 0, "{sender:?}");
    assert_eq!(receiver.leftovers.rows.inbox_count, 0, "its row keeps it dismissed");
    assert!(bob.receive(&alice).await.is_empty());
}

#[tokio::test]
async fn what_is_old_goes_from_the_lists_and_what_could_be_replayed_stays() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a", &payload(250)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    bob.mailbox.inbox().dismiss(&item.digest).await.unwrap();
    let failed = draft(&alice, &bob, "failed", b"abc").await;
    alice.mailbox.outbox().abandon(&failed, "test");
    alice.settle().await;
    let tag: Tag = sent.tag.parse().unwrap();
    let bytes =
        world.memory.fetch_manifest(&ManifestRef::Tag(tag.clone()), 1 << 20).await.unwrap().bytes;

    world.clock.advance(MOST_OF_A_QUARTER);
    let early = bob.mailbox.collect_garbage(false).await.unwrap();
    world.clock.advance(WEEK + WEEK);
    let late = bob.mailbox.collect_garbage(false).await.unwrap();
    let own = alice.mailbox.collect_garbage(false).await.unwrap();
    world.memory.replace_manifest_at_tag(&tag, bytes);

    assert_eq!(early.leftovers.rows.inbox_count, 0);
    assert_eq!(late.leftovers.rows.inbox_count, 1);
    assert_eq!((own.messages.len(), own.leftovers.sent_count), (1, 1));
    assert!(bob.receive(&alice).await.is_empty(), "a replayed message is expired");
    assert_eq!(own.leftovers.unsent_count, 0, "its staged file is open here");
}

#[tokio::test]
async fn an_old_failure_goes_with_its_staged_file_and_leaves_the_list() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "failed", &payload(300)).await;
    alice.mailbox.outbox().abandon(&file, "test");
    alice.settle().await;
    drop(file);
    world.clock.advance(QUARTER);
    alice.restart(&world).await;
    assert_eq!(alice.mailbox.snapshot().outbox_files().count(), 1);

    let dry = alice.mailbox.collect_garbage(true).await.unwrap();
    let swept = alice.mailbox.collect_garbage(false).await.unwrap();

    assert_eq!(alice.mailbox.snapshot().outbox_files().count(), 0);
    assert_eq!((dry.leftovers.unsent_count, dry.leftovers.staged_bytes), (1, 300));
    assert_eq!(swept.leftovers, dry.leftovers);
    assert_eq!(std::fs::read_dir(alice.home().join("state/spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn cached_chunks_go_with_the_last_message_that_has_them() {
    let world = World::new();
    let alice = world.person_with("alice", |options| options.ttl_secs = 60).await;
    let bob = world.person("bob").await;
    bob.trust_person(&alice);
    alice.send(&bob, "short", &payload(250)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    bob.read(&item).await.unwrap();
    let young = bob.mailbox.collect_garbage(false).await.unwrap();
    world.clock.advance(Duration::from_mins(6));

    let old = bob.mailbox.collect_garbage(false).await.unwrap();

    assert_eq!(young.leftovers.chunk_count, 0);
    assert_eq!(old.leftovers.chunk_count, 3);
    assert_eq!(bob.mailbox.collect_garbage(false).await.unwrap().leftovers.chunk_count, 0);
}

#[tokio::test]
async fn a_recalled_message_is_gone_for_who_has_not_seen_it() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "oops", b"secret").await.unwrap();
    let digest = digest_of(&sent.digest);

    let recall = alice.mailbox.recall(&digest).await.unwrap();
    let again = alice.mailbox.recall(&digest).await.unwrap();

    assert_eq!((recall.removal, recall.receipt), (Removal::Deleted, None));
    assert!(recall.left.is_empty() && recall.receipt_unknown.is_none(), "{recall:?}");
    assert_eq!(again.removal, Removal::AlreadyGone);
    assert!(bob.receive(&alice).await.is_empty());
    assert!(world.memory.tags().is_empty() && world.memory.manifests().is_empty());
    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!(file.own_state(), "recalled");
}

#[tokio::test]
async fn a_recall_says_that_it_comes_too_late_and_leaves_the_proof() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a", b"abc").await.unwrap();
    read_all(&bob, &alice).await;

    let recall = alice.mailbox.recall(&digest_of(&sent.digest)).await.unwrap();
    alice.restart(&world).await;

    assert_eq!(recall.receipt, Some(ReceiptStatus::Accepted));
    assert_eq!(tags(&world, "receipt-").len(), 1);
    assert_eq!(bob.receive(&alice).await.len(), 1, "what was delivered stays");
    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!(file.own_state(), "recalled", "also after a restart");
}

#[tokio::test]
async fn a_refused_recall_changes_nothing() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a", b"abc").await.unwrap();
    world.faulty.inject_always(Operation::DeleteManifest, Fault::fail(refusal));

    let recall = alice.mailbox.recall(&digest_of(&sent.digest)).await;

    assert!(matches!(recall, Err(MailboxError::Registry(RegistryError::Rejected { .. }))));
    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!(file.own_state(), "sent");
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_part_that_stays_is_named() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a", b"abc").await.unwrap();
    let bundle = tags(&world, "bundle-").remove(0);
    let digest = world.faulty.resolve_tag(&bundle).await.unwrap().unwrap();
    world.faulty.inject_on(Operation::DeleteManifest, &digest, Fault::fail(refusal));

    let recall = alice.mailbox.recall(&digest_of(&sent.digest)).await.unwrap();

    assert_eq!(recall.left.len(), 1);
    assert_eq!(recall.left[0].what, bundle.to_string());
    assert!(recall.left[0].why.contains("not offered"), "{recall:?}");
}

#[tokio::test]
async fn a_tag_that_somebody_else_took_over_is_left_alone() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let mine = alice.send(&bob, "a", b"abc").await.unwrap();
    let other = alice.send(&bob, "b", b"xyz").await.unwrap();
    let tag: Tag = mine.tag.parse().unwrap();
    world.memory.point_tag(&tag, &digest_of(&other.digest));

    alice.mailbox.recall(&digest_of(&mine.digest)).await.unwrap();

    let target = world.faulty.resolve_tag(&tag).await.unwrap();
    assert_eq!(target, Some(digest_of(&other.digest)));
}

#[tokio::test]
async fn only_my_own_sent_messages_can_be_recalled() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a", b"abc").await.unwrap();
    bob.receive(&alice).await;

    let theirs = bob.mailbox.recall(&digest_of(&sent.digest)).await;

    assert!(matches!(theirs, Err(MailboxError::NotFound(_))), "{theirs:?}");
    assert_eq!(world.faulty.counts().of(Operation::DeleteManifest), 0);
}

#[tokio::test]
async fn a_message_replaced_by_a_newer_one_can_still_be_recalled_and_knows_its_receipt() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let first = alice.send(&bob, "a", b"one").await.unwrap();
    read_all(&bob, &alice).await;
    alice.send(&bob, "a", b"two").await.unwrap();

    let recall = alice.mailbox.recall(&digest_of(&first.digest)).await.unwrap();

    assert_eq!(recall.receipt, Some(ReceiptStatus::Accepted));
    assert_eq!(tags(&world, "inbox-").len(), 1);
}

#[tokio::test]
async fn a_mounted_message_leaves_the_list_at_its_time_with_the_registry_down() {
    let world = World::new();
    let alice = world.person_with("alice", |options| options.ttl_secs = 60).await;
    let bob = world.person_with("bob", |options| options.poll = Duration::from_hours(24)).await;
    bob.trust_person(&alice);
    alice.send(&bob, "a", &payload(250)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let reader = bob.mailbox.inbox().open_item(&item).unwrap();
    reader.read_at(0, 250).await.unwrap();
    world.faulty.inject_always(Operation::ListTags, Fault::fail(|| RegistryError::TimedOut));
    let mut changes = bob.mailbox.changes();
    world.clock.advance(Duration::from_secs(359));
    bob.mailbox.start();
    let gone = changes.wait_for(|_| bob.listed(&alice).is_empty());

    world.clock.advance(Duration::from_secs(1));
    tokio::time::timeout(Duration::from_mins(1), gone).await.unwrap().unwrap();

    assert_eq!(reader.read_at(0, 250).await.unwrap(), payload(250), "an open file ends its read");
    bob.mailbox.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn f16_a_clock_that_is_set_back_revives_nothing_not_even_after_a_restart() {
    let world = World::new();
    let alice = world.person_with("alice", |options| options.ttl_secs = 60).await;
    let (mut bob, late) = (world.person("bob").await, world.person("bob").await);
    bob.trust_person(&alice);
    late.trust_person(&alice);
    alice.send(&bob, "a", b"abc").await.unwrap();
    assert_eq!(bob.receive(&alice).await.len(), 1);
    world.clock.advance(Duration::from_mins(10));
    assert!(bob.receive(&alice).await.is_empty());
    assert!(late.receive(&alice).await.is_empty());

    world.clock.jump_to(BEGINNING);
    let mounted = (bob.receive(&alice).await.len(), late.receive(&alice).await.len());
    bob.restart(&world).await;

    assert_eq!(mounted, (0, 0));
    assert!(bob.receive(&alice).await.is_empty());
}

#[tokio::test]
async fn f16_a_clock_that_was_a_year_ahead_deletes_nothing_and_can_be_forgiven() {
    let world = World::new();
    let (alice, mut bob) = world.alice_and_bob().await;
    alice.send(&bob, "a", b"abc").await.unwrap();
    assert_eq!(bob.receive(&alice).await.len(), 1);
    let manifests = world.memory.manifests().len();
    let year = Duration::from_hours(365 * 24);
    world.clock.jump_to(BEGINNING + year.as_secs());
    assert!(bob.receive(&alice).await.is_empty(), "expired, by this clock");
    bob.restart(&world).await;
    assert!(bob.receive(&alice).await.is_empty());

    world.clock.jump_to(BEGINNING + 60);
    alice.send(&bob, "b", b"later").await.unwrap();
    let unforgiven = bob.receive(&alice).await.len();
    // What `doctor --trust-clock` does.
    bob.mailbox.core.store.lower_clock(bob.mailbox.core.now()).await.unwrap();
    bob.restart(&world).await;
    let forgiven = bob.receive(&alice).await;
    // Before anything is read: that gives receipts, in the background.
    let left = world.memory.manifests().len();

    assert_eq!(unforgiven, 0);
    let names: Vec<&str> = forgiven.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["a", "b"], "{:?}", bob.quarantined());
    assert_eq!(bob.read(&forgiven[0]).await.unwrap(), "abc");
    assert_eq!(bob.read(&forgiven[1]).await.unwrap(), "later");
    assert_eq!(left, 2 * manifests, "the registry lost nothing");
}

#[tokio::test]
async fn f16_a_clock_that_is_set_back_a_year_during_a_send_loses_and_doubles_nothing() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a", b"abc").await;
    world.faulty.inject_next(Operation::PushManifest, 1, Fault::fail(refusal));
    let outbox = alice.mailbox.outbox();
    outbox.prepare(&file, &CancellationToken::new()).await.unwrap_err();

    world.clock.jump_to(BEGINNING - 365 * 24 * 3600);
    outbox.prepare(&file, &CancellationToken::new()).await.unwrap();
    outbox.publish(&file).await.unwrap();
    world.clock.jump_to(BEGINNING + 60);

    assert_eq!(tags(&world, "inbox-").len(), 1);
    // The message was made, and its time recorded, when its sender closed the file.
    assert_eq!(bob.receive(&alice).await.len(), 1, "{:?}", bob.quarantined());
}

#[tokio::test]
async fn f16_a_clock_that_is_wrong_in_the_past_deletes_nothing_early() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a", b"abc").await.unwrap();
    world.clock.advance(WEEK * 2);
    alice.mailbox.inbox().poll().await.unwrap();
    world.clock.jump_to(BEGINNING);

    let garbage = alice.mailbox.collect_garbage(false).await.unwrap();

    assert!(garbage.messages.is_empty());
    assert_eq!(tags(&world, "inbox-").len(), 1);
}

#[tokio::test]
async fn an_expired_message_is_not_restored_and_says_why() {
    let world = World::new();
    let alice = world.person_with("alice", |options| options.ttl_secs = 60).await;
    let bob = world.person("bob").await;
    bob.trust_person(&alice);
    alice.send(&bob, "a", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    bob.mailbox.inbox().dismiss(&item.digest).await.unwrap();

    bob.mailbox.inbox().restore(&item.digest).await.unwrap();
    let restored = bob.listed(&alice).len();
    bob.mailbox.inbox().dismiss(&item.digest).await.unwrap();
    world.clock.advance(Duration::from_mins(6));
    let expired = bob.mailbox.inbox().restore(&item.digest).await.unwrap_err();

    assert_eq!(restored, 1);
    assert_eq!(expired.class(), ErrorClass::Expired);
    assert!(bob.listed(&alice).is_empty());
}

#[tokio::test]
async fn a_bundle_of_somebody_else_that_was_tagged_as_if_it_signed_a_receipt_is_left_alone() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "old", b"old").await.unwrap();
    read_all(&bob, &alice).await;
    let receipt = tags(&world, "receipt-").remove(0);
    let receipt = world.faulty.resolve_tag(&receipt).await.unwrap().unwrap();
    // Bundles without a subject are valid, and anyone may push another tag for one.
    let theirs: Tag = "bundle-aaaaaaaaaaaa-1-aaaaaa".parse().unwrap();
    let layer = Digest::of(b"bundle");
    let bytes = format!(
        r#"{{"schemaVersion":2,"artifactType":"{0}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{1}","size":2}},"layers":[{{"mediaType":"{0}","digest":"{layer}","size":6}}]}}"#,
        media_type::BUNDLE,
        Digest::of(b"{}"),
    );
    let bundle = world.memory.replace_manifest_at_tag(&theirs, bytes.into_bytes());
    let alias = format!("{}1-aaaaaa", Tag::bundle_prefix(&receipt)).parse().unwrap();
    world.memory.point_tag(&alias, &bundle);
    world.clock.advance(WEEK + Duration::from_mins(6));

    let garbage = alice.mailbox.collect_garbage(false).await.unwrap();

    assert_eq!(garbage.messages.len(), 1);
    assert!(tags(&world, "receipt-").is_empty());
    assert_eq!(world.faulty.resolve_tag(&theirs).await.unwrap(), Some(bundle));
}
