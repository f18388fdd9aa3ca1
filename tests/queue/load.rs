//! Very many files in the queue.

use super::scene::{Scene, file_count};
use crate::common::{Running, Stopwatch, wait_until_within};
use std::time::Duration;

/// How long a queue of ten thousand may take on a busy machine.
const LONG: Duration = Duration::from_mins(30);

#[test]
fn five_hundred_files_wait_without_holding_a_file_open_each() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();

    scene.copy_many(500);

    let server = scene.mount.server().pid();
    wait_until_within(crate::common::DEADLINE, "the staged files are closed", || {
        let open = std::fs::read_dir(format!("/proc/{server}/fd")).unwrap().count();
        open < 200
    });
    assert_eq!(scene.mount.status()["outbox_waiting"], 500);
    assert_eq!(scene.mount.status()["transfers"].as_array().unwrap().len(), 100);
    assert_eq!(scene.alice.json(["queue", "ls"]).len(), 500);
}

#[test]
fn many_files_are_queued_killed_and_sent() {
    let count = file_count(200);
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();
    let stopwatch = Stopwatch::start();

    scene.copy_many(count);
    let queued = stopwatch.elapsed();
    scene.mount.kill();
    scene.mount.start(&scene.alice, &[]);
    let restarted = stopwatch.elapsed();
    assert_eq!(scene.mount.status()["outbox_waiting"], count);
    scene.registry.start();
    wait_until_within(LONG, "the queue is empty", || {
        let status = scene.mount.status();
        status["outbox_queued"] == 0 && status["outbox_failed"] == 0
    });
    let sent = stopwatch.elapsed();

    println!(
        "queue-load: {count} files queued in {:.1} s, restarted after kill -9 in {:.1} s, sent in {:.1} s",
        queued.as_secs_f64(),
        restarted.saturating_sub(queued).as_secs_f64(),
        sent.saturating_sub(restarted).as_secs_f64(),
    );
    let mut ls = scene.bob.command();
    ls.args(["--json", "ls", "inbox"]);
    // Each is fetched and verified before it is listed.
    let listed = Running::start(ls).end_within(LONG).ok().lines().count();
    println!("queue-load: {listed} received, {} lost or doubled", listed.abs_diff(count));
    assert_eq!(listed, count);
}
