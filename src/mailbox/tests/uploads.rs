//! Uploads: which chunks go to the registry, when, and how often.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{draft, payload};
use crate::protocol::Compression;
use crate::registry::fault::{Fault, Gate};
use crate::registry::memory::Operation;
use crate::testing::World;

#[tokio::test]
async fn a_close_joins_the_uploads_beside_the_copy_and_pushes_each_chunk_once() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let gate = Gate::closed();
    world.faulty.inject_next(Operation::PushBlob, 2, Fault::hold(&gate));
    let content = payload(950);
    let file = draft(&alice, &bob, "a.bin", &content).await;
    gate.wait_for_arrivals(2).await;

    let outbox = alice.mailbox.outbox();
    let cancel = CancellationToken::new();
    let close = outbox.prepare(&file, &cancel);
    let (closed, ()) = tokio::join!(close, async {
        // The close has sent what it can while two chunks of the copy are still in transfer.
        while file.progress().0 < 750 {
            tokio::task::yield_now().await;
        }
        gate.open();
    });

    closed.unwrap();
    // Ten chunks, the empty configuration and the bundle.
    assert_eq!(world.faulty.counts().of(Operation::PushBlob), 12);
    outbox.publish(&file).await.unwrap();
    let listed = bob.receive(&alice).await;
    assert_eq!(bob.read(&listed[0]).await.unwrap(), content);
}

#[tokio::test]
async fn a_copy_far_ahead_of_the_registry_waits_for_it() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let gate = Gate::closed();
    world.faulty.inject_always(Operation::PushBlob, Fault::hold(&gate));

    let file = draft(&alice, &bob, "a.bin", &payload(350)).await;
    assert!(!file.is_far_ahead(0, 350), "three chunks may wait");
    alice.mailbox.outbox().write_at(&file, 350, &payload(100)).unwrap();
    assert!(file.is_far_ahead(350, 100));
    assert!(!file.is_far_ahead(410, 10), "only the write that fills a chunk waits");

    let mut waiting = std::pin::pin!(file.wait_for_uploads(Duration::MAX));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    gate.open();
    waiting.await;
    assert!(!file.is_far_ahead(350, 100));
}

#[tokio::test]
async fn a_copy_waits_once_for_a_registry_that_takes_nothing() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let gate = Gate::closed();
    world.faulty.inject_always(Operation::PushBlob, Fault::hold(&gate));
    let file = draft(&alice, &bob, "a.bin", &payload(450)).await;
    assert!(file.is_far_ahead(350, 100));

    file.wait_for_uploads(Duration::ZERO).await;
    assert!(!file.is_far_ahead(350, 100));

    // Once it has taken a chunk, there is something to wait for again.
    gate.open();
    while file.progress().0 < 100 {
        tokio::task::yield_now().await;
    }
    let gate = Gate::closed();
    world.faulty.heal();
    world.faulty.inject_always(Operation::PushBlob, Fault::hold(&gate));
    alice.mailbox.outbox().write_at(&file, 450, &payload(450)).unwrap();
    assert!(file.is_far_ahead(450, 450));
    gate.open();
}

#[tokio::test]
async fn resending_the_same_bytes_uploads_no_chunk() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(950)).await.unwrap();
    let before = world.memory.blobs().len();

    alice.send(&bob, "b.bin", &payload(950)).await.unwrap();

    // One new blob: the bundle of the second message.
    assert_eq!(world.memory.blobs().len(), before + 1);
}

#[tokio::test]
async fn the_same_bytes_for_somebody_else_are_not_compressed_again() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let carol = world.person("carol").await;
    carol.trust_person(&alice);
    alice.send(&bob, "a.bin", &payload(950)).await.unwrap();
    let uploads = alice.mailbox.outbox().uploads();
    assert_eq!(uploads.compressed_count(), 10);

    alice.send(&carol, "a.bin", &payload(950)).await.unwrap();
    assert_eq!(uploads.compressed_count(), 10);
    // The last chunk differs, and only that.
    alice.send(&carol, "longer.bin", &payload(960)).await.unwrap();
    assert_eq!(uploads.compressed_count(), 11);

    let listed = carol.receive(&alice).await;
    assert_eq!(carol.read(&listed[0]).await.unwrap(), payload(950));
    assert_eq!(carol.read(&listed[1]).await.unwrap(), payload(960));
}

#[tokio::test]
async fn a_layer_that_has_left_the_registry_is_pushed_again() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(950)).await.unwrap();
    for blob in world.memory.blobs() {
        world.memory.remove_blob(&blob);
    }

    alice.send(&bob, "b.bin", &payload(950)).await.unwrap();

    let listed = bob.receive(&alice).await;
    let again = listed.iter().find(|item| item.name == "b.bin").unwrap();
    assert_eq!(bob.read(again).await.unwrap(), payload(950));
}

#[tokio::test]
async fn what_one_compression_has_made_is_not_sent_to_who_wants_the_other() {
    let world = World::new();
    let (bob, carol) = (world.person("bob").await, world.person("carol").await);
    let wants_gzip = (carol.identity.clone(), Compression::Gzip);
    let alice = world
        .person_with("alice", |options| {
            options.compression_of.insert(wants_gzip.0, wants_gzip.1);
        })
        .await;
    alice.trust_person(&carol);
    carol.trust_person(&alice);
    alice.send(&bob, "a.bin", &payload(950)).await.unwrap();

    alice.send(&carol, "a.bin", &payload(950)).await.unwrap();

    let listed = carol.receive(&alice).await;
    assert_eq!(listed[0].message.envelope.compression, Compression::Gzip);
    assert_eq!(carol.read(&listed[0]).await.unwrap(), payload(950));
}
