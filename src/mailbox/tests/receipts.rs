//! Receipts: issued after everything was checked, believed only when signed by the recipient.

use std::time::Duration;

use super::{digest_of, payload, tags};
use crate::protocol::{Descriptor, ReceiptDraft, ReceiptStatus, Tag, TagRandom, Timestamp};
use crate::protocol::{ImageManifest, media_type};
use crate::registry::fault::Fault;
use crate::registry::memory::Operation;
use crate::registry::{ManifestRef, RegistryError, Repository as _};
use crate::testing::{Person, World};

/// The receipt files that `person` sees for what they sent.
fn sent_receipts(person: &Person) -> Vec<String> {
    let snapshot = person.mailbox.snapshot();
    snapshot.receipts_sent.values().flat_map(|names| names.keys().cloned()).collect()
}

#[tokio::test]
async fn the_receipt_follows_the_last_verified_chunk_and_not_before() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(250)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let reader = bob.mailbox.inbox().open(&item.digest).unwrap();

    reader.read_at(0, 100).await.unwrap();
    bob.settle().await;
    assert!(tags(&world, "receipt-").is_empty());

    reader.read_at(200, 50).await.unwrap();
    reader.read_at(100, 100).await.unwrap();
    bob.settle().await;
    assert_eq!(tags(&world, "receipt-").len(), 1);
    assert_eq!(alice.mailbox.poll_receipts().await.unwrap(), 1);
    assert_eq!(sent_receipts(&alice), ["a.bin.accepted.json"]);
    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!(file.receipt(), Some(ReceiptStatus::Accepted));
}

#[tokio::test]
async fn verified_chunks_are_remembered_over_a_restart() {
    let world = World::new();
    let (alice, mut bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(200)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    bob.mailbox.inbox().open(&item.digest).unwrap().read_at(0, 100).await.unwrap();
    bob.settle().await;

    bob.restart(&world).await;
    bob.mailbox.inbox().open(&item.digest).unwrap().read_at(100, 100).await.unwrap();
    bob.settle().await;

    assert_eq!(tags(&world, "receipt-").len(), 1);
}

/// P23.
#[tokio::test]
async fn the_same_receipt_is_given_once() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);

    bob.read(&item).await.unwrap();
    bob.settle().await;
    bob.mailbox.acknowledge(&item.digest, ReceiptStatus::Accepted, None).await.unwrap();
    bob.settle().await;

    assert_eq!(tags(&world, "receipt-").len(), 1);
}

#[tokio::test]
async fn a_manual_rejection_reaches_the_sender_with_its_reason() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);

    let reason = Some("not for me\u{1b}[2J");
    bob.mailbox.acknowledge(&item.digest, ReceiptStatus::Rejected, reason).await.unwrap();
    bob.settle().await;
    alice.mailbox.poll_receipts().await.unwrap();

    let snapshot = alice.mailbox.snapshot();
    let receipt = &snapshot.receipts_sent["bob"]["a.bin.rejected.json"];
    assert!(receipt.json.contains("not for me?[2J"), "{}", receipt.json);
    assert!(receipt.json.contains("\"proof\": \"signed\""), "{}", receipt.json);
}

/// P21: `verified` needs every chunk, whatever the status says.
#[tokio::test]
async fn a_receipt_given_before_everything_was_read_does_not_say_verified() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(250)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    bob.mailbox.inbox().open(&item.digest).unwrap().read_at(0, 100).await.unwrap();

    bob.mailbox.acknowledge(&item.digest, ReceiptStatus::Accepted, None).await.unwrap();
    bob.settle().await;
    alice.mailbox.poll_receipts().await.unwrap();

    let snapshot = alice.mailbox.snapshot();
    let receipt = &snapshot.receipts_sent["bob"]["a.bin.accepted.json"];
    assert!(receipt.json.contains("\"verified\": false"), "{}", receipt.json);
}

#[tokio::test]
async fn a_signed_layer_that_is_no_chunk_is_rejected_by_receipt() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let manifest = crate::testing::message_manifest(&alice, &bob, "a.bin", 3, b"not a layer");
    crate::testing::push_signed(&world, &alice, &bob, &manifest, &[b"not a layer"]);
    let item = bob.receive(&alice).await.remove(0);

    let read = bob.read(&item).await;
    bob.settle().await;
    alice.mailbox.poll_receipts().await.unwrap();

    assert_eq!(read.unwrap_err().class(), crate::protocol::ErrorClass::Malformed);
    let issued = &bob.mailbox.snapshot().receipts_issued;
    assert!(issued["alice"]["a.bin.rejected.json"].json.contains("bad-layer"));
}

#[tokio::test]
async fn a_signed_manifest_that_breaks_a_rule_is_rejected_by_receipt() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let good = crate::testing::message_manifest(&alice, &bob, "a.bin", 3, b"layer");
    let bad = String::from_utf8(good)
        .unwrap()
        .replace("\"dockercomms.total_bytes\":\"3\"", "\"dockercomms.total_bytes\":\"03\"");
    crate::testing::push_signed(&world, &alice, &bob, bad.as_bytes(), &[b"layer"]);

    assert!(bob.receive(&alice).await.is_empty());
    bob.settle().await;

    assert_eq!(bob.quarantined(), ["bad-field"]);
    assert_eq!(tags(&world, "receipt-").len(), 1);
}

#[tokio::test]
async fn a_stranger_gets_no_receipt_at_all() {
    let world = World::new();
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    alice.send(&bob, "a.bin", b"abc").await.unwrap();

    bob.receive(&alice).await;
    bob.settle().await;

    assert!(tags(&world, "receipt-").is_empty());
}

/// P22.
#[tokio::test]
async fn an_unsigned_receipt_is_a_claim_and_never_proof() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a.bin", b"abc").await.unwrap();
    let digest = digest_of(&sent.digest);
    let reference = ManifestRef::Digest(digest);
    let message = world.memory.fetch_manifest(&reference, 1 << 20).await.unwrap();
    let forged = ReceiptDraft {
        message: &Descriptor::of(media_type::IMAGE_MANIFEST, &message.bytes),
        annotations: &ImageManifest::parse(&message.bytes).unwrap().annotations,
        status: ReceiptStatus::Accepted,
        verified: true,
        reason: None,
        created_at: Timestamp::from_unix_secs(1_790_000_001),
        with_subject: true,
    };
    let tag = Tag::receipt(&digest, Timestamp::from_unix_secs(1), TagRandom::new(1));
    world.memory.replace_manifest_at_tag(&tag, forged.encode());

    assert_eq!(alice.mailbox.poll_receipts().await.unwrap(), 0);

    assert_eq!(sent_receipts(&alice), ["a.bin.accepted.unsigned-claim.json"]);
    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!(file.receipt(), None);
}

/// P20: it is still proof.
#[tokio::test]
async fn a_registry_that_refuses_a_subject_gets_the_receipt_without_it() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let refuses = || RegistryError::Rejected { reason: "a subject".to_owned() };
    world.faulty.inject_next(Operation::PushManifest, 1, Fault::fail(refuses));

    bob.read(&item).await.unwrap();
    bob.settle().await;

    let tag = tags(&world, "receipt-").remove(0);
    let pushed = world.memory.fetch_manifest(&ManifestRef::Tag(tag), 1 << 20).await.unwrap();
    assert_eq!(ImageManifest::parse(&pushed.bytes).unwrap().subject, None);
    assert_eq!(alice.mailbox.poll_receipts().await.unwrap(), 1);
    assert_eq!(sent_receipts(&alice), ["a.bin.accepted.json"]);
}

#[tokio::test]
async fn a_receipt_becomes_proof_once_its_author_is_trusted() {
    let world = World::new();
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    bob.trust_person(&alice);
    alice.send(&bob, "a.bin", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    bob.read(&item).await.unwrap();
    bob.settle().await;

    assert_eq!(alice.mailbox.poll_receipts().await.unwrap(), 0);
    alice.trust_person(&bob);

    assert_eq!(alice.mailbox.poll_receipts().await.unwrap(), 1);
    assert_eq!(sent_receipts(&alice), ["a.bin.accepted.json"]);
}

#[tokio::test]
async fn a_receipt_survives_a_registry_that_is_down() {
    let world = World::new();
    let (alice, mut bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    world.faulty.inject_always(Operation::PushManifest, Fault::fail(|| RegistryError::TimedOut));

    bob.read(&item).await.unwrap();
    bob.settle().await;
    bob.restart(&world).await;
    world.faulty.heal();
    world.clock.advance(Duration::from_secs(30));

    assert_eq!(bob.mailbox.flush_receipts().await.unwrap(), 1);
    assert_eq!(alice.mailbox.poll_receipts().await.unwrap(), 1);
}

#[tokio::test]
async fn a_later_rejection_counts_over_an_earlier_acceptance() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    bob.read(&item).await.unwrap();
    bob.settle().await;
    alice.mailbox.poll_receipts().await.unwrap();

    world.clock.advance(Duration::from_mins(1));
    bob.mailbox.acknowledge(&item.digest, ReceiptStatus::Rejected, Some("wrong")).await.unwrap();
    bob.settle().await;
    for _ in 0..60 {
        alice.mailbox.poll_receipts().await.unwrap();
    }

    let file = alice.mailbox.snapshot().outbox_files().next().cloned().unwrap();
    assert_eq!(file.receipt(), Some(ReceiptStatus::Rejected));
    assert_eq!(sent_receipts(&alice), ["a.bin.accepted.json", "a.bin.rejected.json"]);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_for_one_receipt_is_not_asked_for_the_others() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    for name in ["a", "b", "c"] {
        alice.send(&bob, name, b"abc").await.unwrap();
    }
    let items = bob.receive(&alice).await;
    let hangs = || Fault::fail(|| RegistryError::TimedOut);
    world.faulty.inject_always(Operation::BlobExists, hangs());
    world.faulty.inject_always(Operation::PushBlob, hangs());
    for item in &items {
        bob.mailbox.acknowledge(&item.digest, ReceiptStatus::Accepted, None).await.unwrap();
    }
    bob.settle().await;
    world.clock.advance(Duration::from_hours(1));

    let before = world.faulty.counts().of(Operation::BlobExists);
    let none = bob.mailbox.flush_receipts().await.unwrap();
    let asked = world.faulty.counts().of(Operation::BlobExists) - before;
    world.faulty.heal();
    world.clock.advance(Duration::from_hours(1));
    let all = bob.mailbox.flush_receipts().await.unwrap();

    assert_eq!((none, asked, all), (0, 1, 3));
}
