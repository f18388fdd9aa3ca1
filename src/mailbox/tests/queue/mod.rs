//! Queued delivery: what a close promises, and how it is kept. Start at [`alice_and_bob`].

mod change;
mod failure;
mod order;
mod replace;
mod restart;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{draft, name, payload, tags};
use crate::mailbox::{Delivery, OutboxFile, SendState};
use crate::registry::RegistryError;
use crate::registry::fault::Fault;
use crate::registry::memory::Operation;
use crate::store::OutboxState;
use crate::testing::{Person, World};

/// Far above what anything here takes; it only ends tests that hang.
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

/// Makes a queued file whose tag cannot be resolved for now; its lane waits until the tag is
/// requested.
async fn prepared_in_a_waiting_lane(
    world: &World,
    alice: &Person,
    bob: &Person,
) -> Arc<OutboxFile> {
    // The first request is for a free tag, the second begins the publish.
    let from = world.faulty.counts().of(Operation::ResolveTag) + 1;
    let hour = Some(Duration::from_hours(1));
    let throttled = Fault::fail(move || RegistryError::Throttled { retry_after: hour });
    world.faulty.inject(Operation::ResolveTag, from..u64::MAX, throttled);
    let file = copy(alice, bob, "prepared", b"abc").await;
    while alice.mailbox.status().next_attempt.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(file.state(), SendState::Prepared);
    world.faulty.heal();
    file
}

/// Waits until the settle window of a queued file is over.
async fn until_settled(file: &OutboxFile) {
    while !file.is_parked() {
        tokio::task::yield_now().await;
    }
}

/// Returns what bob has from alice, by name.
async fn received(alice: &Person, bob: &Person) -> Vec<(String, Vec<u8>)> {
    let mut received = Vec::new();
    for item in bob.receive(alice).await {
        received.push((item.name.clone(), bob.read(&item).await.unwrap().to_vec()));
    }
    received
}

fn named(name: &str, content: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), content.to_vec())
}

/// Returns the number and state of every row, hidden ones too.
async fn rows(alice: &Person) -> Vec<(i64, OutboxState, bool)> {
    let entries = alice.mailbox.core.store.outbox_rows().await.unwrap().entries;
    entries.into_iter().map(|entry| (entry.id, entry.state, entry.hidden)).collect()
}

/// Makes every attempt to publish fail with `error`, and nothing before it.
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

/// Waits until a file shows why it waits.
async fn until_refused(file: &OutboxFile) {
    let shown = async {
        while file.error().is_none() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(WITHIN, shown).await.is_ok(), "{file:?} was never refused");
}

/// Waits until a file was refused, and makes it Failed, as earlier versions did.
async fn until_failed(alice: &Person, file: &Arc<OutboxFile>) {
    until_refused(file).await;
    alice.mailbox.outbox().give_up(file, denied().into()).await;
    assert_eq!(file.state(), SendState::Failed);
}

/// Waits until alice's queue waits for its next attempt.
async fn until_paused(alice: &Person) {
    while alice.mailbox.status().next_attempt.is_none() {
        tokio::task::yield_now().await;
    }
}

/// Makes a file whose tag is in the registry, although alice got a refusal.
async fn sent_unseen(world: &World, alice: &Person, bob: &Person) -> Arc<OutboxFile> {
    world.faulty.inject(Operation::PushManifest, 2..u64::MAX, Fault::commit_then_fail(denied));
    // A free tag, the begin of the publish, and then whether the refused push has worked.
    let unknown = Fault::fail(|| RegistryError::TimedOut);
    world.faulty.inject(Operation::ResolveTag, 2..u64::MAX, unknown);
    let file = copy(alice, bob, "a.txt", b"abc").await;
    until_failed(alice, &file).await;
    world.faulty.heal();
    file
}

/// As [`sent_unseen`]; alice has been restarted since.
async fn sent_unnoticed(world: &World, alice: &mut Person, bob: &Person) -> Arc<OutboxFile> {
    drop(sent_unseen(world, alice, bob).await);
    alice.restart(world).await;
    listed(alice, "a.txt")
}
