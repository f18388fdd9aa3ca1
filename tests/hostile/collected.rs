//! A registry that collects blobs before the manifest that names them is there.

use super::forge::payload;
use super::registry::{Class, Fault, Registry};
use crate::common::{
    BOB, Home, Ran, Registry as RealRegistry, TestMount, alice_and_bob, read, run, shell, write,
};

/// The pushes of one message: its manifest, its signature's, its tag.
const PUSH_COUNT: u64 = 3;

const LEN: usize = 200_000;

fn send(alice: &Home) -> Ran {
    let file = write(alice.dir().join("plan.bin"), payload(LEN)).display().to_string();
    alice.run(["send", file.as_str(), "--to", BOB, "--chunk-bytes", "64KiB"])
}

fn copy(alice: &Home, mount: &TestMount) -> Ran {
    let source = write(alice.dir().join("plan.bin"), payload(LEN));
    run(shell("cp \"$1\" \"$2\"", &[source, mount.outbox(BOB)]))
}

#[track_caller]
fn assert_arrives_once(bob: &Home, id: &str) {
    assert!(bob.receive() == [("plan.bin".to_owned(), payload(LEN))], "{id}");
}

#[test]
fn a_send_pushes_again_what_was_collected() {
    for has_referrers in [true, false] {
        for count in 1..=PUSH_COUNT {
            let registry = Registry::start_with(has_referrers, 100);
            let (alice, bob) = alice_and_bob(&registry.reference());
            registry.collect_before_manifests(count);

            let ran = send(&alice);

            assert_eq!(ran.code(), 0, "{has_referrers} {count}: {ran:?}");
            assert_eq!(registry.tags("inbox-").len(), 1, "{has_referrers} {count}");
            assert_arrives_once(&bob, &format!("{has_referrers} {count}"));
        }
    }
}

#[test]
fn a_copy_pushes_again_what_was_collected_in_both_deliveries() {
    for delivery in ["sync", "queued"] {
        let registry = Registry::start();
        let (alice, bob) = alice_and_bob(&registry.reference());
        alice.set(&format!("delivery = \"{delivery}\""));
        let mount = alice.mount();
        registry.collect_before_manifests(2);

        copy(&alice, &mount).ok();

        mount.wait_for_state(mount.outbox(BOB).join("plan.bin"), "sent");
        assert_eq!(registry.tags("inbox-").len(), 1, "{delivery}");
        assert_arrives_once(&bob, delivery);
    }
}

#[test]
fn a_registry_that_keeps_no_blob_is_given_up_and_named() {
    let registry = Registry::start();
    let (alice, _bob) = alice_and_bob(&registry.reference());
    registry.collect_before_manifests(u64::MAX);

    let ran = send(&alice);

    assert_eq!(ran.code(), 7, "{ran:?}");
    for part in ["was not sent", "does not have all that the manifest names", "garbage"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert!(registry.tags("").is_empty());
}

#[test]
fn a_copy_to_a_registry_that_keeps_no_blob_fails_with_sync_and_waits_with_queued() {
    let registry = Registry::start();
    let (alice, bob) = alice_and_bob(&registry.reference());
    let mount = alice.mount();
    registry.collect_before_manifests(u64::MAX);

    let copied = copy(&alice, &mount);

    assert!(copied.stderr.contains("No route to host"), "{copied:?}");
    drop(mount);
    alice.set("delivery = \"queued\"");
    let mount = alice.mount();
    let name = mount.outbox(BOB).join("late.bin");
    let source = write(alice.dir().join("late.bin"), payload(LEN));
    run(shell("cp \"$1\" \"$2\"", &[&source, &name])).ok();
    crate::common::wait_until("it waits", || {
        mount.attribute(&name, "error").is_some_and(|error| error.contains("manifest names"))
    });
    registry.collect_before_manifests(0);
    mount.wait_for_state(&name, "sent");
    assert!(bob.receive() == [("late.bin".to_owned(), payload(LEN))]);
    assert_eq!(read(&source), payload(LEN));
}

#[test]
fn what_was_collected_while_nothing_was_mounted_is_pushed_by_the_next_mount() {
    let registry = Registry::start();
    let (alice, bob) = alice_and_bob(&registry.reference());
    alice.set("deadline = \"2s\"");
    registry.fail_on(Class::ManifestPut, "/manifests/inbox-", u64::MAX, Fault::Close);
    assert_eq!(send(&alice).code(), 7);
    registry.collect_blobs();
    registry.heal();

    let mount = alice.mount();

    mount.wait_for_state(mount.outbox(BOB).join("plan.bin"), "sent");
    assert_arrives_once(&bob, "by the mount");
}

#[test]
fn a_real_registry_whose_blobs_were_deleted_before_the_tag_gets_them_again() {
    let Some(registry) = RealRegistry::docker() else { return };
    let (alice, bob) = alice_and_bob(&registry.reference("mail"));
    // Longer than the test: the end of the mount publishes.
    alice.set("settle = \"10m\"");
    let mut mount = alice.mount();
    copy(&alice, &mount).ok();
    let name = mount.outbox(BOB).join("plan.bin");
    assert_eq!(mount.attribute(&name, "state").as_deref(), Some("prepared"));

    registry.forget_blobs("mail");
    mount.unmount().ok();

    assert_arrives_once(&bob, "docker-registry");
}
