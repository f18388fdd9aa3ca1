//! Local directories below a recipient, and files that are renamed out of them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{draft, name, payload};
use crate::mailbox::{EntryName, MailboxError, OutboxFile, SendState};
use crate::registry::RegistryError;
use crate::registry::fault::Fault;
use crate::registry::memory::Operation;
use crate::testing::{Person, World};

const DIR: &str = ".~tmp~";

fn make(alice: &Person, bob: &Person, directory: &str) -> Result<(), MailboxError> {
    let directory: EntryName = directory.parse().unwrap();
    alice.mailbox.outbox().make_directory(&bob.identity, &directory)
}

/// Alice with a directory for bob.
async fn alice_and_bob(world: &World) -> (Person, Person) {
    let (alice, bob) = world.alice_and_bob().await;
    alice.mailbox.outbox().add_recipient_dir(&bob.identity.dir_name()).await.unwrap();
    (alice, bob)
}

/// Writes and closes a file in the directory, as rsync does.
async fn kept(alice: &Person, bob: &Person, content: &[u8]) -> Arc<OutboxFile> {
    let file = draft(alice, bob, ".~tmp~/a.txt", content).await;
    alice.mailbox.outbox().sync_spool(&file).await.unwrap();
    alice.mailbox.outbox().release_writer(&file);
    alice.settle().await;
    file
}

fn listed(alice: &Person) -> Vec<String> {
    alice.mailbox.snapshot().outbox_files().map(|file| file.name()).collect()
}

#[tokio::test]
async fn a_directory_is_made_once_for_a_known_recipient_under_a_local_name() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let carol = world.person("carol@example.com").await;
    let _file = draft(&alice, &bob, ".rsync-partial", b"a file").await;

    assert!(make(&alice, &bob, DIR).is_ok());
    assert!(matches!(make(&alice, &bob, DIR), Err(MailboxError::Exists)));
    assert!(matches!(make(&alice, &bob, ".rsync-partial"), Err(MailboxError::Exists)));
    assert!(matches!(make(&alice, &bob, "photos"), Err(MailboxError::NotPermitted(_))));
    assert!(matches!(make(&alice, &carol, DIR), Err(MailboxError::NotFound(_))));
}

#[tokio::test]
async fn a_file_is_made_only_in_a_directory_that_is_there_and_not_in_its_place() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let outbox = alice.mailbox.outbox();
    let create = |path: &'static str| {
        let recipient = bob.identity.clone();
        async move { outbox.create(&recipient, &name(path), 0o600).await.map(|_| ()) }
    };

    let before = create(".~tmp~/a.txt").await;
    make(&alice, &bob, DIR).unwrap();

    assert!(matches!(before, Err(MailboxError::NotFound(_))), "{before:?}");
    assert!(create(".~tmp~/a.txt").await.is_ok());
    assert!(matches!(create(".~tmp~/a.txt").await, Err(MailboxError::Exists)));
    assert!(matches!(create(DIR).await, Err(MailboxError::Exists)));
    assert_eq!(listed(&alice), [".~tmp~/a.txt"]);
}

#[tokio::test]
async fn a_directory_is_removed_when_it_is_empty() {
    let world = World::new();
    let (alice, bob) = alice_and_bob(&world).await;
    let outbox = alice.mailbox.outbox();
    make(&alice, &bob, DIR).unwrap();
    let file = kept(&alice, &bob, b"a").await;

    assert!(!outbox.remove_directory(&bob.identity, DIR).unwrap());
    outbox.remove(&file).await.unwrap();
    assert!(outbox.remove_directory(&bob.identity, DIR).unwrap());

    let gone = outbox.remove_directory(&bob.identity, DIR);
    assert!(matches!(gone, Err(MailboxError::NotFound(_))), "{gone:?}");
}

#[tokio::test]
async fn what_lies_in_a_directory_outlasts_a_restart_and_is_not_sent() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    make(&alice, &bob, DIR).unwrap();
    let file = kept(&alice, &bob, &payload(250)).await;
    assert_eq!(file.state(), SendState::Draft);
    drop(file);

    alice.restart(&world).await;
    alice.settle().await;

    assert_eq!(listed(&alice), [".~tmp~/a.txt"]);
    let snapshot = alice.mailbox.snapshot();
    let dir = &snapshot.outbox[&bob.identity.dir_name()];
    assert!(dir.directories.contains(DIR));
    assert_eq!(dir.file(Some(DIR), "a.txt").unwrap().state(), SendState::Draft);
    assert!(bob.receive(&alice).await.is_empty());
}

#[tokio::test]
async fn a_rename_that_fails_leaves_both_names_as_they_were() {
    let world = World::new();
    let (mut alice, bob) = alice_and_bob(&world).await;
    make(&alice, &bob, DIR).unwrap();
    alice.send(&bob, "a.txt", b"older").await.unwrap();
    let file = kept(&alice, &bob, b"newer").await;
    let denied = || RegistryError::Denied { reason: "no push".into() };
    let outbox = alice.mailbox.outbox().clone();
    let (from, to) = (name(".~tmp~/a.txt"), name("a.txt"));

    world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    outbox.rename(&file, &to).await.unwrap();
    outbox.prepare(&file, &CancellationToken::new()).await.unwrap_err();
    outbox.rename_back(&file, &from).await.unwrap();

    assert_eq!(listed(&alice), [".~tmp~/a.txt", "a.txt"]);
    assert_eq!(file.state(), SendState::Failed);
    let retried = outbox.retry(&file).await;
    assert!(matches!(retried, Err(MailboxError::NotPermitted(_))), "{retried:?}");
    drop(file);
    drop(outbox);
    world.faulty.heal();
    alice.restart(&world).await;
    assert_eq!(listed(&alice), [".~tmp~/a.txt", "a.txt"]);
    let received = bob.receive(&alice).await;
    assert_eq!(received.len(), 1);
    assert_eq!(bob.read(&received[0]).await.unwrap(), "older");
}
