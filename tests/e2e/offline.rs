//! The registry is down or hangs: listings answer at once, copies fail in time with the right
//! words, nothing is lost, and everything works again when it is back.

use std::time::Duration;

use crate::common::{
    ALICE, BOB, Home, Ran, Registry, Running, TestMount, alice_and_bob, read, run, shell,
    wait_until, write,
};

/// Far below the registry's deadline of a minute, far above what memory needs on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

/// So short that a test can wait for it.
const SHORT_DEADLINE: &str = "deadline = \"2s\"";

#[test]
fn listings_are_answered_from_memory_while_the_registry_hangs() {
    let Some(registry) = Registry::docker() else { return };
    let (bob, mount) = bob_with_a_message(&registry);
    registry.pause();

    for script in [
        "ls -lR \"$1\"",
        "find \"$1\" -name '*.txt'",
        "stat \"$1\"/inbox/*/*",
        "df \"$1\"",
        "du -a \"$1\"",
        "cat \"$1\"/.dockercomms/status",
        "getfattr -d \"$1\"/inbox/*/*",
        "mkdir \"$1\"/outbox/carol@example.com && ls \"$1\"/outbox",
    ] {
        let running = Running::start(shell(script, &[mount.path()]));
        assert!(!running.end_within(AT_ONCE).ok().is_empty(), "{script}");
    }

    registry.resume();
    drop(bob);
}

#[test]
fn a_message_that_was_read_before_is_read_again_without_the_registry() {
    let Some(mut registry) = Registry::docker() else { return };
    let (_bob, mount) = bob_with_a_message(&registry);
    let message = mount.message(ALICE, "hello.txt");
    assert_eq!(read(&message), b"hello");

    registry.stop();

    assert_eq!(read(&message), b"hello");
}

#[test]
fn a_copy_to_a_registry_that_is_down_fails_with_no_route_to_host() {
    let Some(mut registry) = Registry::docker() else { return };
    let (alice, bob) = short_of_patience(&registry);
    let mut mount = alice.mount();
    mount.outbox(BOB);
    registry.stop();

    let ran = copy(&alice, &mount);

    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("No route to host"), "{ran:?}");
    explains(&mount);
    registry.start();
    arrives_when_copied_again(&alice, &bob, &mut mount);
}

#[test]
fn a_copy_to_a_registry_that_hangs_fails_with_connection_timed_out() {
    let Some(registry) = Registry::docker() else { return };
    let (alice, bob) = short_of_patience(&registry);
    let mut mount = alice.mount();
    mount.outbox(BOB);
    registry.pause();

    let ran = copy(&alice, &mount);

    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("Connection timed out"), "{ran:?}");
    explains(&mount);
    registry.resume();
    arrives_when_copied_again(&alice, &bob, &mut mount);
}

#[test]
fn mv_to_a_registry_that_is_down_keeps_its_source() {
    let Some(mut registry) = Registry::docker() else { return };
    let (alice, _bob) = short_of_patience(&registry);
    let mount = alice.mount();
    let target = mount.outbox(BOB);
    let source = write(alice.dir().join("report.pdf"), b"precious");
    registry.stop();

    let ran = run(shell("mv \"$1\" \"$2\"", &[&source, &target]));

    assert_eq!(ran.code(), 1, "{ran:?}");
    assert_eq!(read(&source), b"precious");
}

#[test]
fn a_read_of_a_cold_message_fails_in_time_and_works_later() {
    let Some(mut registry) = Registry::docker() else { return };
    let (alice, bob) = short_of_patience(&registry);
    send(&alice);
    bob.set(SHORT_DEADLINE);
    let mount = bob.mount();
    let message = mount.message(ALICE, "hello.txt");
    registry.stop();

    let ran = run(shell("cat \"$1\"", &[&message]));

    assert_eq!(ran.code(), 1, "{ran:?}");
    assert_eq!(ran.stdout, b"");
    assert!(ran.stderr.contains("No route to host"), "{ran:?}");
    registry.start();
    wait_until("it can be read", || run(shell("cat \"$1\"", &[&message])).stdout == b"hello");
}

#[test]
fn a_mount_starts_while_the_registry_is_down_and_receives_when_it_is_back() {
    let Some(mut registry) = Registry::docker() else { return };
    let (alice, bob) = short_of_patience(&registry);
    send(&alice);
    bob.set(SHORT_DEADLINE);
    registry.stop();

    let mount = bob.mount();

    let listing = Running::start(shell("ls \"$1\"", &[mount.path()]));
    assert!(listing.end_within(AT_ONCE).ok().contains("inbox"));
    registry.start();
    assert_eq!(read(mount.message(ALICE, "hello.txt")), b"hello");
}

/// The two, with alice not waiting long for the registry.
fn short_of_patience(registry: &Registry) -> (Home, Home) {
    let (alice, bob) = alice_and_bob(&registry.reference("mail"));
    alice.set(SHORT_DEADLINE);
    (alice, bob)
}

fn bob_with_a_message(registry: &Registry) -> (Home, TestMount) {
    let (alice, bob) = alice_and_bob(&registry.reference("mail"));
    send(&alice);
    let mount = bob.mount();
    mount.message(ALICE, "hello.txt");
    (bob, mount)
}

#[track_caller]
fn send(alice: &Home) {
    let source = write(alice.dir().join("hello.txt"), b"hello");
    let mut command = alice.command();
    command.arg("send").arg(source).args(["--to", BOB]);
    run(command).ok();
}

#[track_caller]
fn copy(alice: &Home, mount: &TestMount) -> Ran {
    let source = write(alice.dir().join("report.pdf"), b"report");
    let target = mount.path().join("outbox").join(BOB);
    run(shell("cp \"$1\" \"$2\"", &[&source, &target]))
}

/// The mount says what failed, and what to do.
#[track_caller]
fn explains(mount: &TestMount) {
    let errors = mount.errors();
    assert!(errors.contains("outbox/bob@example.com/report.pdf"), "{errors}");
    assert!(errors.contains("hint"), "{errors}");
}

#[track_caller]
fn arrives_when_copied_again(alice: &Home, bob: &Home, mount: &mut TestMount) {
    // The registry may still be waking up.
    wait_until("a copy succeeds", || copy(alice, mount).status.success());
    mount.wait_for_state(mount.path().join("outbox").join(BOB).join("report.pdf"), "sent");
    mount.unmount();
    assert_eq!(bob.receive(), [("report.pdf".to_owned(), b"report".to_vec())]);
}
