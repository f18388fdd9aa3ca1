//! A mount that is asked to stop: in time, with work in progress sent or handed over.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::scene::Scene;
use crate::common::{Running, Stopwatch, is_mounted, shell, wait_until, write};

/// What a mount promises, and what a busy machine adds.
const IN_TIME: Duration = Duration::from_secs(15);

#[test]
fn c05_an_unmount_sends_what_was_queued_a_moment_ago() {
    let Some(mut scene) = Scene::new() else { return };
    scene.copy("f", b"content");

    scene.mount.unmount();

    scene.expect(&[("f", b"content")]);
}

#[test]
fn f23_a_signal_during_a_send_to_a_hanging_registry_hands_over_to_the_next_mount() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let Some(mut scene) = Scene::new() else { return };
        scene.registry.pause();
        scene.copy("f", b"content");
        wait_until("the send is under way", || scene.state("f").as_deref() == Some("sending"));
        let stopwatch = Stopwatch::start();

        let ran = scene.mount.terminate(signal);

        assert!(ran.status.success(), "{ran:?}");
        assert!(stopwatch.elapsed() < IN_TIME, "{:?}", stopwatch.elapsed());
        assert!(!is_mounted(scene.mount.path()));
        scene.registry.resume();
        scene.mount.start(&scene.alice, &[]);
        scene.wait_until_sent("f");
        scene.expect(&[("f", b"content")]);
    }
}

#[test]
fn f23_a_signal_during_a_synchronous_close_fails_that_close_in_time() {
    let Some(mut scene) = Scene::new() else { return };
    scene.mount.unmount();
    scene.mount.start(&scene.alice, &["--delivery", "sync"]);
    let target = scene.mount.outbox(crate::common::BOB);
    let source = write(scene.alice.dir().join("f"), b"content");
    scene.registry.pause();
    let copying = Running::start(shell("cp \"$1\" \"$2\"", &[source, target]));
    wait_until("the close waits", || scene.state("f").as_deref() == Some("sending"));
    let stopwatch = Stopwatch::start();

    let ended = scene.mount.terminate(Signal::SIGTERM);

    assert!(ended.status.success(), "{ended:?}");
    assert!(stopwatch.elapsed() < IN_TIME, "{:?}", stopwatch.elapsed());
    assert!(!copying.end().status.success(), "nothing was promised");
    scene.registry.resume();
    scene.expect(&[]);
}

#[test]
fn f11_a_second_mount_on_the_same_state_says_who_holds_it() {
    let Some(mut scene) = Scene::new() else { return };
    let other = scene.alice.dir().join("other");
    std::fs::create_dir(&other).unwrap();

    let ran = scene.alice.run(["mount".as_ref(), other.as_os_str()]);

    assert_eq!(ran.code(), 8, "{ran:?}");
    let pid = scene.mount.server().pid().to_string();
    assert!(ran.stderr.contains(&pid), "{pid}: {ran:?}");
    assert!(!is_mounted(&other));
}
