//! A registry that collects what nothing names yet, between two steps of a send.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{draft, payload, tags};
use crate::mailbox::{Delivery, OutboxFile, SendState};
use crate::protocol::{Digest, EMPTY_BYTES, ErrorClass, Message, ReceiptStatus};
use crate::registry::RegistryError;
use crate::registry::fault::{Fault, Gate};
use crate::registry::memory::Operation;
use crate::testing::{Person, World};

/// The pushes of a message: its manifest, its signature's, its tag.
const PUSH_COUNT: u64 = 3;

/// Most pushes of one manifest: the first, and one after each repair.
const ATTEMPT_COUNT: u64 = 4;

/// What a collection takes.
#[derive(Debug, Clone, Copy)]
enum Loss {
    FirstChunk,
    Config,
    EveryBlob,
    Everything,
}

const LOSSES: [Loss; 4] = [Loss::FirstChunk, Loss::Config, Loss::EveryBlob, Loss::Everything];

impl Loss {
    fn collect(self, world: &World) {
        let empty = Digest::of(EMPTY_BYTES);
        let blobs = world.memory.blobs();
        match self {
            Self::FirstChunk => {
                // A signature is JSON; a chunk is not.
                let is_chunk = |blob: &&Digest| !world.memory.blob(blob).unwrap().starts_with(b"{");
                assert!(world.memory.remove_blob(blobs.iter().find(is_chunk).unwrap()));
            }
            Self::Config => assert!(world.memory.remove_blob(&empty)),
            Self::EveryBlob => {
                for blob in &blobs {
                    assert!(world.memory.remove_blob(blob));
                }
            }
            Self::Everything => {
                Self::EveryBlob.collect(world);
                for manifest in world.memory.manifests() {
                    world.memory.remove_manifest(&manifest);
                }
                for tag in world.memory.tags() {
                    world.memory.remove_tag(&tag);
                }
            }
        }
    }
}

fn unknown() -> Fault {
    Fault::fail(|| RegistryError::BlobUnknown { digests: Vec::new() })
}

async fn alice_with(world: &World, delivery: Delivery) -> (Person, Person) {
    let alice = world.person_with("alice", |options| options.delivery = delivery).await;
    let bob = world.person("bob").await;
    alice.trust_person(&bob);
    bob.trust_person(&alice);
    (alice, bob)
}

/// Closes a file and waits for all that follows.
async fn deliver(alice: &Person, file: &Arc<OutboxFile>, delivery: Delivery) {
    let outbox = alice.mailbox.outbox();
    match delivery {
        Delivery::Sync => outbox.prepare(file, &CancellationToken::new()).await.unwrap(),
        Delivery::Queued => outbox.enqueue(file).await.unwrap(),
    }
    outbox.release_writer(file);
    alice.settle().await;
}

async fn assert_arrived(world: &World, alice: &Person, bob: &Person, content: &[u8], id: &str) {
    let received = bob.receive(alice).await;
    assert_eq!(received.len(), 1, "{id}");
    assert_eq!(bob.read(&received[0]).await.unwrap(), content, "{id}");
    assert_eq!(tags(world, "inbox-").len(), 1, "{id}");
}

#[tokio::test]
async fn what_is_collected_between_two_pushes_is_pushed_again_in_both_deliveries() {
    for delivery in [Delivery::Sync, Delivery::Queued] {
        for loss in LOSSES {
            for step in 0..PUSH_COUNT {
                let id = format!("{delivery:?} {loss:?} before push {step}");
                let world = World::new();
                let (alice, bob) = alice_with(&world, delivery).await;
                let gate = Gate::closed();
                world.faulty.inject(Operation::PushManifest, step..step + 1, Fault::hold(&gate));
                let file = draft(&alice, &bob, "a.bin", &payload(250)).await;

                let collection = async {
                    gate.wait_for_arrivals(1).await;
                    loss.collect(&world);
                    gate.open();
                };
                tokio::join!(deliver(&alice, &file, delivery), collection);

                assert_eq!(file.state(), SendState::Sent, "{id} {:?}", file.error());
                assert_arrived(&world, &alice, &bob, &payload(250), &id).await;
            }
        }
    }
}

#[tokio::test]
async fn a_message_that_is_completed_again_stays_the_same_message() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.bin", &payload(250)).await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    let before = (file.digest(), file.message_id(), file.manifest());
    Loss::Everything.collect(&world);
    world.clock.advance(Duration::from_mins(1));

    alice.mailbox.outbox().publish(&file).await.unwrap();

    assert_eq!((file.digest(), file.message_id(), file.manifest()), before);
    assert_arrived(&world, &alice, &bob, &payload(250), "").await;
}

#[tokio::test]
async fn a_start_completes_what_the_registry_has_collected_while_nothing_was_mounted() {
    for loss in LOSSES {
        for pause in [Duration::ZERO, Duration::from_hours(3 * 24)] {
            let id = format!("{loss:?} {pause:?}");
            let world = World::new();
            let (mut alice, bob) = world.alice_and_bob().await;
            let file = draft(&alice, &bob, "a.bin", &payload(250)).await;
            alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
            let digest = file.digest();
            alice.mailbox.stop(Duration::from_secs(5)).await;
            drop(file);
            loss.collect(&world);
            world.clock.advance(pause);

            alice.restart(&world).await;
            alice.settle().await;

            let sent = alice.mailbox.sent_messages().await.unwrap();
            assert_eq!(sent.iter().map(|sent| Some(sent.digest)).collect::<Vec<_>>(), [digest]);
            assert_arrived(&world, &alice, &bob, &payload(250), &id).await;
        }
    }
}

#[tokio::test]
async fn a_signature_that_was_collected_with_its_untagged_message_is_attached_again() {
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.bin", &payload(250)).await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    alice.mailbox.stop(Duration::from_secs(5)).await;
    drop(file);
    // All blobs stay, so no push is refused.
    for manifest in world.memory.manifests() {
        world.memory.remove_manifest(&manifest);
        world.memory.remove_referrers(&manifest);
    }
    for tag in world.memory.tags() {
        world.memory.remove_tag(&tag);
    }
    world.clock.advance(Duration::from_hours(2));

    alice.restart(&world).await;
    alice.settle().await;

    assert_arrived(&world, &alice, &bob, &payload(250), "").await;
}

#[tokio::test]
async fn a_registry_that_says_it_has_a_chunk_and_refuses_the_manifest_gets_it_again() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    world.faulty.inject(Operation::PushManifest, 0..2, unknown());
    let file = draft(&alice, &bob, "a.bin", &payload(250)).await;

    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();

    // Three chunks and the configuration, and only in the second round all once more; the signature
    // in up to three rounds, each of which ends as soon as the manifest is refused.
    let pushes = world.faulty.counts().of(Operation::PushBlob);
    assert!((4 + 4..=4 + 4 + 3).contains(&pushes), "{pushes}");
}

#[tokio::test]
async fn a_registry_that_never_keeps_it_is_given_up_after_a_few_rounds() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    world.faulty.inject_always(Operation::PushManifest, unknown());
    let file = draft(&alice, &bob, "a.bin", &payload(250)).await;

    let prepared = alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await;

    let error = prepared.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unreachable);
    assert!(error.hint().unwrap().contains("garbage"), "{:?}", error.hint());
    assert_eq!(world.faulty.counts().of(Operation::PushManifest), ATTEMPT_COUNT);
    assert!(tags(&world, "inbox-").is_empty());
}

#[tokio::test]
async fn staged_bytes_that_are_not_those_of_the_message_are_never_pushed_in_its_place() {
    for damage in [b"short".to_vec(), payload(251)] {
        let world = World::new();
        let (mut alice, bob) = world.alice_and_bob().await;
        let file = draft(&alice, &bob, "a.bin", &payload(250)).await;
        alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
        let staged = alice.home().join("state/spool").join(file.unique_name());
        alice.mailbox.stop(Duration::from_secs(5)).await;
        drop(file);
        let other: Vec<u8> = damage.iter().map(|byte| byte ^ 1).collect();
        let mut staged = std::fs::File::create(&staged).unwrap();
        std::io::Write::write_all(&mut staged, &other).unwrap();
        drop(staged);
        Loss::EveryBlob.collect(&world);

        alice.restart(&world).await;
        alice.settle().await;

        let snapshot = alice.mailbox.snapshot();
        let file = snapshot.outbox_files().next().unwrap();
        assert_eq!(file.state(), SendState::Failed, "{:?}", file.error());
        assert!(file.failure_note().unwrap().text.contains("copy the file again"));
        assert!(tags(&world, "inbox-").is_empty());
    }
}

#[tokio::test]
async fn a_receipt_whose_configuration_was_collected_is_pushed_all_the_same() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(250)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let gate = Gate::closed();
    world.faulty.inject_next(Operation::PushManifest, 1, Fault::hold(&gate));

    let collection = async {
        gate.wait_for_arrivals(1).await;
        Loss::Config.collect(&world);
        gate.open();
    };
    let given = bob.mailbox.acknowledge_now(&item.digest, ReceiptStatus::Accepted, None);
    let (given, ()) = tokio::join!(given, collection);

    given.unwrap();
    assert_eq!(alice.mailbox.poll_receipts().await.unwrap(), 1);
}

#[tokio::test]
async fn a_payload_whose_chunks_are_equal_is_pushed_again_once_for_all() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let file = draft(&alice, &bob, "a.bin", &[7; 300]).await;
    alice.mailbox.outbox().prepare(&file, &CancellationToken::new()).await.unwrap();
    let chunks = Message::parse(&file.manifest().unwrap()).unwrap().chunks;
    Loss::EveryBlob.collect(&world);

    alice.mailbox.outbox().publish(&file).await.unwrap();

    assert_eq!(chunks.len(), 3);
    assert_arrived(&world, &alice, &bob, &[7; 300], "").await;
}
