//! The mount's process dies: nothing half is sent, nothing promised is lost or sent twice.

use std::path::Path;

use nix::sys::signal::Signal;

use super::delivery::Delivery;
use crate::common::{Fifo, Running, is_mounted, random_bytes, run, shell, wait_until};

const CHUNK_BYTES: &str = "chunk_bytes = \"64KiB\"";

/// So long that nothing is published before the test kills the mount.
const LONG_WINDOW: &str = "settle = \"20s\"";

#[test]
fn a_mount_killed_in_the_middle_of_a_copy_sends_nothing() {
    let bytes = random_bytes(4, 300_000);
    let mut delivery = Delivery::with_settings(&[CHUNK_BYTES]);
    let target = delivery.outbox().join("f");
    let (copying, pipe) = copy_half(&delivery, &bytes, &target);

    delivery.mount.kill();
    drop(pipe);

    assert!(!copying.end().status.success(), "cp must not believe that it was sent");
    delivery.mount.start(&delivery.alice, &[]);
    delivery.mount.wait_for_state(&target, "abandoned");
    delivery.expect_received(&[]);
}

#[test]
fn a_copy_after_a_crash_completes_what_was_abandoned() {
    let bytes = random_bytes(4, 300_000);
    let mut delivery = Delivery::with_settings(&[CHUNK_BYTES]);
    let target = delivery.outbox().join("f");
    let (copying, pipe) = copy_half(&delivery, &bytes, &target);
    delivery.mount.kill();
    drop(pipe);
    copying.end();
    delivery.mount.start(&delivery.alice, &[]);
    delivery.source("f", &bytes);

    delivery.sh("cp f $OUT/f");

    delivery.expect(&[("f", &bytes)]);
}

#[test]
fn a_mount_killed_right_after_close_delivers_exactly_once() {
    let bytes = random_bytes(4, 300_000);
    let mut delivery = Delivery::with_settings(&[CHUNK_BYTES, LONG_WINDOW]);
    delivery.source("f", &bytes);

    delivery.sh("cp f $OUT/f");
    delivery.mount.kill();
    delivery.mount.start(&delivery.alice, &[]);

    delivery.mount.wait_for_state(delivery.outbox().join("f"), "sent");
    delivery.expect(&[("f", &bytes)]);
}

#[test]
fn repeated_crashes_around_the_publication_deliver_exactly_once() {
    let mut delivery = Delivery::with_settings(&["settle = \"0s\""]);
    let names: Vec<String> = (0..6).map(|number| format!("f{number}")).collect();
    for name in &names {
        delivery.source(name, name);

        delivery.sh(&format!("cp {name} $OUT/{name}"));
        delivery.mount.kill();
        delivery.mount.start(&delivery.alice, &[]);
    }

    let messages: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    delivery.expect(&messages);
}

#[test]
fn f18_a_killed_mount_leaves_no_dead_mount_point() {
    let mut delivery = Delivery::new();
    let path = delivery.mount.path().to_owned();

    delivery.mount.kill();

    wait_until("the mount point is free", || !is_mounted(&path));
    let ran = run(shell("ls -l \"$1\"", &[&path]));
    assert!(ran.status.success(), "{ran:?}");
    assert!(!ran.stderr.contains("not connected"), "{ran:?}");
}

#[test]
fn f18_a_mount_starts_over_a_dead_one() {
    let mut delivery = Delivery::new();
    delivery.source("f", b"after");

    // At once: whether the dead mount is gone already or not, starting again works.
    delivery.mount.kill();
    delivery.mount.start(&delivery.alice, &[]);
    delivery.sh("cp f $OUT/f");

    delivery.expect(&[("f", b"after")]);
}

#[test]
fn c05_an_unmount_publishes_what_was_promised() {
    let mut delivery = Delivery::with_settings(&[LONG_WINDOW]);
    delivery.source("f", b"promised");

    delivery.sh("cp f $OUT/f");

    delivery.expect_received(&[("f", b"promised")]);
}

#[test]
fn a_terminated_mount_publishes_what_was_promised() {
    let mut delivery = Delivery::with_settings(&[LONG_WINDOW]);
    delivery.source("f", b"promised");
    delivery.sh("cp f $OUT/f");

    let ran = delivery.mount.terminate(Signal::SIGTERM);

    assert!(ran.status.success(), "{ran:?}");
    assert!(!is_mounted(delivery.mount.path()));
    let received = delivery.bob.receive();
    assert_eq!(received, [("f".to_owned(), b"promised".to_vec())]);
}

/// Starts a copy that stands still after half of `bytes`, as long as the pipe is kept.
#[track_caller]
fn copy_half(delivery: &Delivery, bytes: &[u8], target: &Path) -> (Running, Fifo) {
    let mut fifo = Fifo::new(delivery.alice.dir().join("pipe"));
    let copying = Running::start(shell("exec cp \"$1\" \"$2\"", &[fifo.path(), target]));
    fifo.feed(&bytes[..bytes.len() / 2]);
    wait_until("half is written", || target.metadata().is_ok_and(|metadata| metadata.len() > 0));
    (copying, fifo)
}
