//! The end of a message on real registries and in a mount.

use std::sync::Arc;
use std::time::Duration;

use dockercomms::protocol::ErrorClass;
use dockercomms::registry::{
    RemoteOptions, RemoteRepository, Repository, RepositoryReference, conformance,
};
use dockercomms::testing::{Person, World};

use crate::common::{
    BOB, Registry, alice_and_bob, repository, run, shell, temp_dir, wait_until, write,
};

/// Longer than a message lives by default, with the tolerance for clocks.
const LIFETIME: Duration = Duration::from_mins(7 * 24 * 60 + 6);

fn remote(registry: &Registry) -> Arc<dyn Repository> {
    let reference: RepositoryReference = registry.reference("mail").parse().unwrap();
    Arc::new(RemoteRepository::open(&reference, &RemoteOptions::default()).unwrap())
}

/// Alice sends two files, bob reads one; then their time is over.
async fn expired_mail(world: &World) -> (Person, Person) {
    let (alice, bob) = world.alice_and_bob().await;
    for (name, len) in [("large", 250), ("small", 10)] {
        alice.send(&bob, name, &vec![7; len]).await.unwrap();
    }
    let item = bob.receive(&alice).await.remove(0);
    bob.read(&item).await.unwrap();
    bob.settle().await;
    world.clock.advance(LIFETIME);
    (alice, bob)
}

async fn tags(repository: &Arc<dyn Repository>) -> Vec<String> {
    let tags = repository.list_tags("").await.unwrap().tags;
    tags.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn expired_messages_leave_docker_registry_without_a_trace() {
    let Some(registry) = Registry::docker() else { return };
    let repository = remote(&registry);
    let world = World::over(Arc::clone(&repository));
    let (alice, _bob) = expired_mail(&world).await;
    let before = tags(&repository).await;

    let garbage = alice.mailbox.collect_garbage(false).await.unwrap();

    assert!(before.iter().any(|tag| tag.starts_with("receipt-")), "{before:?}");
    assert!(before.iter().any(|tag| tag.starts_with("sha256-")), "{before:?}");
    assert!(garbage.registry_error.is_none(), "{garbage:?}");
    assert_eq!(garbage.messages.len(), 2);
    assert!(garbage.messages.iter().all(|message| message.left.is_empty()), "{garbage:?}");
    assert_eq!(tags(&repository).await, [""; 0]);
}

#[tokio::test]
async fn expired_messages_stay_on_a_registry_that_refuses_deletion() {
    let Some(registry) = Registry::docker_without_deletion() else { return };
    let repository = remote(&registry);
    let world = World::over(Arc::clone(&repository));
    let (alice, _bob) = expired_mail(&world).await;
    let before = tags(&repository).await;

    let garbage = alice.mailbox.collect_garbage(false).await.unwrap();

    let error = garbage.registry_error.unwrap();
    assert!(matches!(error.class(), ErrorClass::NotPermitted | ErrorClass::Denied), "{error:?}");
    assert_eq!((garbage.kept_count, garbage.messages.len()), (2, 0));
    assert_eq!(tags(&repository).await, before);
}

#[tokio::test]
async fn expired_messages_leave_crane_although_it_keeps_the_tags_of_deleted_manifests() {
    let Some(registry) = Registry::crane() else { return };
    let repository = remote(&registry);
    let world = World::over(Arc::clone(&repository));
    let (alice, _bob) = expired_mail(&world).await;

    let garbage = alice.mailbox.collect_garbage(false).await.unwrap();

    assert!(garbage.registry_error.is_none(), "{garbage:?}");
    assert_eq!(tags(&repository).await, [""; 0]);
}

#[tokio::test]
async fn docker_registry_keeps_the_contract_of_deletion() {
    let Some(registry) = Registry::docker() else { return };

    conformance::check(remote(&registry)).await;
}

#[test]
fn a_message_is_recalled_by_its_path_while_mounted_and_shown_so() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let sending = alice.mount();
    let send = |name: &str| {
        let source = write(alice.dir().join(name), name);
        alice.run(["send".as_ref(), source.as_os_str(), "--to".as_ref(), BOB.as_ref()]).ok();
    };
    send("read.txt");
    assert_eq!(bob.receive().len(), 1);
    send("unread.txt");
    let file = |name: &str| sending.path().join("outbox").join(BOB).join(name);
    for name in ["read.txt", "unread.txt"] {
        wait_until(&format!("{name} is listed"), || {
            sending.attribute(file(name), "state").as_deref() == Some("sent")
        });
    }

    let late = alice.run(["recall".as_ref(), file("read.txt").as_os_str()]);
    let early = alice.run(["recall".as_ref(), file("unread.txt").as_os_str()]);

    assert_eq!(late.code(), 6, "{late:?}");
    assert_eq!(early.code(), 0, "{early:?}");
    for name in ["read.txt", "unread.txt"] {
        wait_until(&format!("{name} is shown as recalled"), || {
            sending.attribute(file(name), "state").as_deref() == Some("recalled")
        });
    }
    assert!(bob.receive().is_empty());
}

#[test]
fn a_file_that_was_copied_into_the_mount_is_recalled_by_its_path() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let mount = alice.mount();
    let file = mount.outbox(BOB).join("draft.txt");
    let source = write(alice.dir().join("draft.txt"), "too early");
    run(shell("cp \"$1\" \"$2\"", &[source.as_path(), &file])).ok();
    mount.wait_for_state(&file, "sent");

    let recalled = alice.run(["recall".as_ref(), file.as_os_str()]);

    assert_eq!(recalled.code(), 0, "{recalled:?}");
    wait_until("it is shown as recalled", || {
        mount.attribute(&file, "state").as_deref() == Some("recalled")
    });
    assert!(bob.receive().is_empty());
    run(shell("cp \"$1\" \"$2\"", &[source.as_path(), &mount.outbox(BOB).join("final.txt")])).ok();
    mount.wait_for_state(mount.outbox(BOB).join("final.txt"), "sent");
    assert_eq!(bob.receive(), [("final.txt".to_owned(), b"too early".to_vec())]);
}
