//! A registry that hangs never blocks a program: a signal frees every waiting caller.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::{
    ALICE, BOB, Home, Registry, Running, TestMount, alice_and_bob, random_bytes, run, shell,
    temp_dir, wait_until, write,
};

/// The promise is about a second; this is where a test calls it a hang.
const FREED_WITHIN: Duration = Duration::from_secs(5);

const LEN: usize = 100_000;

#[test]
fn ctrl_c_frees_a_copy_that_waits_in_close_and_nothing_is_sent() {
    frees_a_waiting_copy(Signal::SIGINT);
}

#[test]
fn sigterm_frees_a_copy_that_waits_in_close_and_nothing_is_sent() {
    frees_a_waiting_copy(Signal::SIGTERM);
}

#[test]
fn kill_9_frees_a_copy_that_waits_in_close_and_nothing_is_sent() {
    frees_a_waiting_copy(Signal::SIGKILL);
}

#[track_caller]
fn frees_a_waiting_copy(signal: Signal) {
    let Some(registry) = Registry::docker() else { return };
    let (alice, bob) = alice_and_bob(&registry.reference("mail"));
    let mut mount = alice.mount();
    let target = mount.outbox(BOB).join("f");
    let source = write(alice.dir().join("f"), random_bytes(1, LEN));
    registry.pause();
    let copying = Running::start(shell("exec cp \"$1\" \"$2\"", &[&source, &target]));
    mount.wait_for_state(&target, "sending");

    copying.signal_group(signal);

    let ran = copying.end_within(FREED_WITHIN);
    assert!(!ran.status.success(), "{ran:?}");
    registry.resume();
    mount.wait_for_state(&target, "abandoned");
    mount.unmount();
    assert_eq!(bob.receive(), [], "nothing was sent");
}

#[test]
fn a_copy_works_again_after_an_interrupted_one() {
    let Some(registry) = Registry::docker() else { return };
    let (alice, bob) = alice_and_bob(&registry.reference("mail"));
    let mut mount = alice.mount();
    let target = mount.outbox(BOB).join("f");
    let bytes = random_bytes(1, LEN);
    let source = write(alice.dir().join("f"), &bytes);
    registry.pause();
    let copying = Running::start(shell("exec cp \"$1\" \"$2\"", &[&source, &target]));
    mount.wait_for_state(&target, "sending");
    copying.signal(Signal::SIGINT);
    copying.end_within(FREED_WITHIN);
    registry.resume();

    run(shell("cp \"$1\" \"$2\"", &[&source, &target])).ok();

    mount.wait_for_state(&target, "sent");
    mount.unmount();
    assert_eq!(bob.receive(), [("f".to_owned(), bytes)]);
}

#[test]
fn ctrl_c_frees_a_reader_that_waits_for_a_chunk() {
    frees_a_waiting_reader(Signal::SIGINT);
}

#[test]
fn kill_9_frees_a_reader_that_waits_for_a_chunk() {
    frees_a_waiting_reader(Signal::SIGKILL);
}

#[track_caller]
fn frees_a_waiting_reader(signal: Signal) {
    let Some(registry) = Registry::docker() else { return };
    let (_alice, mount) = message_waits(&registry);
    let message = mount.message(ALICE, "f");
    registry.pause();
    let reading = Running::start(shell("exec cat \"$1\"", &[&message]));
    wait_until("cat waits in read", || waits_in_read(reading.pid()));

    reading.signal(signal);

    let ran = reading.end_within(FREED_WITHIN);
    assert!(!ran.status.success(), "{ran:?}");
    assert_eq!(ran.stdout, b"", "not a byte came");
    registry.resume();
    assert!(crate::common::read(&message) == random_bytes(1, LEN));
}

#[test]
fn a_waiting_reader_does_not_hold_up_listings() {
    let Some(registry) = Registry::docker() else { return };
    let (_alice, mount) = message_waits(&registry);
    let message = mount.message(ALICE, "f");
    registry.pause();
    let readers: Vec<Running> =
        (0..8).map(|_| Running::start(shell("exec cat \"$1\"", &[&message]))).collect();
    wait_until("they wait", || readers.iter().all(|reader| waits_in_read(reader.pid())));

    let listing = Running::start(shell("ls -lR \"$1\" && df \"$1\"", &[mount.path()]));

    assert!(listing.end_within(FREED_WITHIN).ok().contains("inbox"));
    registry.resume();
    for reader in readers {
        reader.end().ok();
    }
}

/// Sends one message to bob, and mounts his mailbox.
fn message_waits(registry: &Registry) -> (Home, TestMount) {
    let (alice, bob) = alice_and_bob(&registry.reference("mail"));
    let source = write(alice.dir().join("f"), random_bytes(1, LEN));
    let mut command = alice.command();
    command.arg("send").arg(&source).args(["--to", BOB]);
    run(command).ok();
    let mount = bob.mount();
    (bob, mount)
}

/// Returns whether a process is inside `read(2)`, by the number of its system call.
fn waits_in_read(pid: u32) -> bool {
    let wanted = ["folio_wait", "fuse", "request_wait"];
    let stack = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    wanted.iter().any(|name| stack.contains(name))
}

#[test]
fn an_unmount_does_not_wait_for_a_registry_that_hangs() {
    let Some(registry) = Registry::docker() else { return };
    let directory = temp_dir();
    let (alice, _bob) = alice_and_bob(&registry.reference("mail"));
    let mut mount = alice.mount();
    let target = mount.outbox(BOB).join("f");
    let source = write(directory.path().join("f"), random_bytes(1, LEN));
    registry.pause();
    let copying = Running::start(shell("exec cp \"$1\" \"$2\"", &[&source, &target]));
    mount.wait_for_state(&target, "sending");

    mount.terminate(Signal::SIGTERM);

    assert!(!copying.end_within(FREED_WITHIN).status.success());
    registry.resume();
}
