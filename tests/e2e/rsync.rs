//! rsync with directories of its own below the recipient's: `--delay-updates`, `--partial-dir`.
//!
//! Both make a directory with a temporary name and rename out of it, at the end or after a repeated
//! run. Each file arrives exactly once, whatever ended the first run.

use std::path::Path;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::delivery::Delivery;
use super::errors::refusing;
use crate::common::{
    BOB, Running, alice_and_bob, names_in, random_bytes, read, run, shell, tool, wait_until, write,
};

const DELIVERIES: [&str; 2] = ["delivery = \"sync\"", "delivery = \"queued\""];

/// Options that make rsync keep a directory below the target, and that directory.
const VARIANTS: [(&str, &str); 3] = [
    ("-a --delay-updates", ".~tmp~"),
    ("-a --partial --partial-dir=.rsync-partial", ".rsync-partial"),
    // Keeps the beginning of what an interruption left, and writes the rest behind it.
    ("-a --no-whole-file --partial --partial-dir=.rsync-partial", ".rsync-partial"),
];

/// Larger than what rsync copies in a second at the rate of a run that is to be killed.
const BIG_LEN: usize = 3 << 20;

/// Runs `each` for every variant and delivery, where there is an rsync.
fn for_each_way(each: impl Fn(&str, &str, &'static str)) {
    if tool("rsync").is_none() {
        return;
    }
    for delivery in DELIVERIES {
        for (options, dir) in VARIANTS {
            each(options, dir, delivery);
        }
    }
}

/// Asserts that a second identical run transfers nothing.
#[track_caller]
fn assert_nothing_left(delivery: &Delivery, options: &str) {
    delivery.mount.wait_until_all_sent(BOB);
    let again = delivery.sh(&format!("rsync {options} --itemize-changes src/ $OUT/"));
    // It may say `.f...p`, since a sent file is read-only; `<f` or `>f` would be a transfer.
    assert!(!again.contains('<') && !again.contains('>'), "{options}: {again}");
}

#[test]
fn several_files_arrive_once_each_and_a_second_run_sends_nothing() {
    for_each_way(|options, _, settings| {
        let delivery = Delivery::with_settings(&[settings]);
        let bytes = random_bytes(7, 300_000);
        std::fs::create_dir(delivery.alice.dir().join("src")).unwrap();
        for name in ["one.txt", "two.bin", "three"] {
            delivery.source(&format!("src/{name}"), &bytes);
        }
        delivery.source("src/empty", b"");

        let ran = delivery.try_sh(&format!("rsync {options} src/ $OUT/"));
        assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{options} {settings}");

        assert_nothing_left(&delivery, options);
        let bytes = bytes.as_slice();
        delivery.expect(&[
            ("one.txt", bytes),
            ("two.bin", bytes),
            ("three", bytes),
            ("empty", b""),
        ]);
    });
}

#[test]
fn a_changed_file_is_sent_again_and_the_others_are_not() {
    for_each_way(|options, _, settings| {
        let mut delivery = Delivery::with_settings(&[settings]);
        std::fs::create_dir(delivery.alice.dir().join("src")).unwrap();
        delivery.source("src/one.txt", b"first");
        delivery.source("src/two.txt", b"stays");
        delivery.sh(&format!("rsync {options} src/ $OUT/"));
        delivery.mount.wait_until_all_sent(BOB);
        delivery.source("src/one.txt", b"second, longer");

        delivery.sh(&format!("rsync {options} src/ $OUT/"));

        assert_nothing_left(&delivery, options);
        assert_eq!(names_in(delivery.outbox()), ["one.txt", "two.txt"], "{options} {settings}");
        delivery.mount.unmount();
        let received = delivery.bob.receive();
        let names: Vec<&str> = received.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["one (2).txt", "one.txt", "two.txt"], "{options} {settings}");
        // Which of two that arrive together is the second one is not said.
        let mut contents: Vec<&[u8]> = received.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        contents.sort_unstable();
        assert_eq!(contents, [&b"first"[..], b"second, longer", b"stays"], "{options} {settings}");
    });
}

/// Starts a slow run over a small and a big file, and ends it by `signal` in the middle of the big one.
#[track_caller]
fn end_midway(delivery: &Delivery, options: &str, signal: Signal) {
    let script = format!("exec rsync {options} --bwlimit=1000 src/ \"$1/\"");
    let mut command = shell::<&Path>(&script, &[&delivery.outbox()]);
    command.current_dir(delivery.alice.dir());
    let running = Running::start(command);
    let is_midway = || {
        let names = names_in(delivery.outbox());
        let mut parts = names.iter().filter(|name| name.starts_with(".two.bin."));
        parts.any(|part| {
            let metadata = delivery.outbox().join(part).metadata();
            metadata.is_ok_and(|metadata| metadata.len() > 0)
        })
    };
    wait_until("rsync is in the middle of the big file", is_midway);
    let group = Pid::from_raw(running.pid().try_into().unwrap());
    running.signal_group(signal);
    let ran = running.end();
    // The receiver, another process, may still be tidying up.
    wait_until("every process of rsync has ended", || killpg(group, None).is_err());
    assert!(!ran.status.success(), "{options} {signal}: {ran:?}");
}

#[test]
fn a_run_that_was_ended_midway_is_completed_by_the_next_one() {
    for_each_way(|options, dir, settings| {
        for signal in [Signal::SIGINT, Signal::SIGKILL] {
            let delivery = Delivery::with_settings(&[settings]);
            let bytes = random_bytes(7, BIG_LEN);
            std::fs::create_dir(delivery.alice.dir().join("src")).unwrap();
            delivery.source("src/one.txt", b"one");
            delivery.source("src/two.bin", &bytes);
            end_midway(&delivery, options, signal);
            assert!(!delivery.outbox().join("two.bin").exists(), "{options} {settings} {signal}");
            let is_kept = delivery.outbox().join(dir).join("two.bin").exists();
            assert_eq!(is_kept, signal == Signal::SIGINT, "{options} {settings} {signal}");

            delivery.sh(&format!("rsync {options} src/ $OUT/"));

            // A killed rsync cannot remove its own file; it is never sent.
            delivery.sh("rm -f $OUT/.two.bin.*");
            assert!(!delivery.outbox().join(dir).exists(), "{options} {settings} {signal}");
            assert_nothing_left(&delivery, options);
            delivery.expect(&[("one.txt", b"one"), ("two.bin", &bytes)]);
        }
    });
}

#[test]
fn a_run_continues_with_what_a_killed_mount_has_kept() {
    for_each_way(|options, _, settings| {
        let mut delivery = Delivery::with_settings(&[settings]);
        let bytes = random_bytes(7, BIG_LEN);
        std::fs::create_dir(delivery.alice.dir().join("src")).unwrap();
        delivery.source("src/one.txt", b"one");
        delivery.source("src/two.bin", &bytes);
        end_midway(&delivery, options, Signal::SIGINT);
        delivery.mount.kill();
        delivery.mount.start(&delivery.alice, &[]);

        delivery.sh(&format!("rsync {options} src/ $OUT/"));

        assert_nothing_left(&delivery, options);
        delivery.expect(&[("one.txt", b"one"), ("two.bin", &bytes)]);
    });
}

#[test]
fn what_a_dead_writer_has_left_whole_is_sent_by_the_run_that_finds_it_complete() {
    for_each_way(|options, dir, settings| {
        let delivery = Delivery::with_settings(&[settings]);
        let bytes = random_bytes(7, 300_000);
        std::fs::create_dir(delivery.alice.dir().join("src")).unwrap();
        delivery.source("src/two.bin", &bytes);
        std::fs::create_dir(delivery.outbox().join(dir)).unwrap();
        // It has written everything, and dies before it says so.
        let script =
            format!("sh -c 'exec > $OUT/{dir}/two.bin; cat src/two.bin; kill -9 $$' || true");
        delivery.sh(&script);
        delivery.mount.wait_for_state(delivery.outbox().join(dir).join("two.bin"), "abandoned");

        let ran = delivery.try_sh(&format!("rsync {options} src/ $OUT/"));

        assert!(ran.status.success(), "{options} {settings}: {ran:?}");
        assert_nothing_left(&delivery, options);
        delivery.expect(&[("two.bin", &bytes)]);
    });
}

#[test]
fn a_refused_rename_reaches_rsync_and_leaves_the_file_in_its_directory() {
    if tool("rsync").is_none() {
        return;
    }
    let server = refusing(403, "DENIED");
    let (alice, _bob) = alice_and_bob(&server.reference("mail"));
    alice.set("deadline = \"3s\"");
    let mount = alice.mount();
    let outbox = mount.outbox(BOB);
    write(alice.dir().join("report.bin"), b"report");
    let mut command = shell::<&Path>("rsync -a --delay-updates report.bin \"$1/\"", &[&outbox]);
    command.current_dir(alice.dir());

    let ran = run(command);

    assert!(!ran.status.success(), "{ran:?}");
    assert!(ran.stderr.contains("Permission denied"), "{ran:?}");
    assert!(!outbox.join("report.bin").exists());
    assert_eq!(read(outbox.join(".~tmp~/report.bin")), b"report");
    assert!(mount.errors().contains("report.bin"), "{}", mount.errors());
    // It waits for a rename, not for the registry.
    let rows = alice.json(["queue", "ls"]);
    assert_eq!(rows[0]["name"], ".~tmp~/report.bin", "{rows:?}");
    let retried = alice.run(["queue", "retry", &format!("{BOB}/.~tmp~/report.bin")]);
    assert!(!retried.status.success(), "{retried:?}");
    assert_eq!(names_in(outbox.join(".~tmp~")), ["report.bin"]);
}
