//! A copy that is killed midway sends nothing, is shown as abandoned, and can be repeated.
//!
//! To a file system the end of a killed program looks like an ordinary close of a shorter file.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::delivery::Delivery;
use crate::common::{Fifo, Running, random_bytes, shell, tool, wait_until};

/// A chunk and a bit, so that some kills find chunks already uploaded.
const CHUNK_BYTES: &str = "chunk_bytes = \"64KiB\"";

/// How a program comes to its end.
#[derive(Debug, Clone, Copy)]
enum End {
    /// A signal to the program.
    Signal(Signal),
    /// A signal to the whole group, as Ctrl-C in a terminal.
    Group(Signal),
    /// The program ends by itself once the whole input was written.
    Itself,
}

/// One kill: the script that copies from the pipe `$1` to `$2`, its end, and the bytes fed before.
type Kill = (&'static str, &'static str, End, usize);

const CP: &str = "exec cp \"$1\" \"$2\"";
const CAT: &str = "exec cat \"$1\" > \"$2\"";
const CAT_IN_SHELL: &str = "cat \"$1\" > \"$2\"; true";
const DD: &str = "exec dd if=\"$1\" of=\"$2\" bs=4k 2>&1";
const TEE: &str = "exec tee \"$2\" < \"$1\" > tee.out";
const INSTALL: &str = "exec install -m 644 \"$1\" \"$2\"";
const PYTHON: &str = "exec python3 -c 'import sys
source = open(sys.argv[1], \"rb\", buffering=0)
target = open(sys.argv[2], \"wb\", buffering=0)
while chunk := source.read(4096): target.write(chunk)' \"$1\" \"$2\"";
const PYTHON_ABORT: &str = "exec python3 -c 'import os, sys
target = open(sys.argv[2], \"wb\", buffering=0)
target.write(open(sys.argv[1], \"rb\").read(50000))
os.abort()' \"$1\" \"$2\"";
const PYTHON_EXIT: &str = "exec python3 -c 'import os, sys
target = open(sys.argv[2], \"wb\", buffering=0)
target.write(open(sys.argv[1], \"rb\").read(50000))
os._exit(3)' \"$1\" \"$2\"";

/// The 22 kills.
const KILLS: [Kill; 22] = [
    ("cp-int-0", CP, End::Signal(Signal::SIGINT), 0),
    ("cp-int-1", CP, End::Signal(Signal::SIGINT), 1),
    ("cp-int-half", CP, End::Signal(Signal::SIGINT), 100_000),
    ("cp-int-group", CP, End::Group(Signal::SIGINT), 300_000),
    ("cp-term-0", CP, End::Signal(Signal::SIGTERM), 0),
    ("cp-term", CP, End::Signal(Signal::SIGTERM), 65_536),
    ("cp-hup", CP, End::Signal(Signal::SIGHUP), 131_072),
    ("cp-quit", CP, End::Signal(Signal::SIGQUIT), 131_073),
    ("cp-kill-0", CP, End::Signal(Signal::SIGKILL), 0),
    ("cp-kill", CP, End::Signal(Signal::SIGKILL), 4_096),
    ("cp-kill-late", CP, End::Signal(Signal::SIGKILL), 600_000),
    ("cat-int", CAT, End::Signal(Signal::SIGINT), 70_000),
    ("cat-pipe", CAT, End::Signal(Signal::SIGPIPE), 70_000),
    ("shell-int-group", CAT_IN_SHELL, End::Group(Signal::SIGINT), 70_000),
    ("shell-kill-group", CAT_IN_SHELL, End::Group(Signal::SIGKILL), 70_000),
    ("dd-kill", DD, End::Signal(Signal::SIGKILL), 200_000),
    ("tee-term", TEE, End::Signal(Signal::SIGTERM), 10_000),
    ("install-term", INSTALL, End::Signal(Signal::SIGTERM), 90_000),
    ("python-term", PYTHON, End::Signal(Signal::SIGTERM), 90_000),
    ("python-segv", PYTHON, End::Signal(Signal::SIGSEGV), 90_000),
    ("python-abort", PYTHON_ABORT, End::Itself, 50_000),
    ("python-exit-3", PYTHON_EXIT, End::Itself, 50_000),
];

#[test]
fn twenty_two_kills_in_the_middle_of_a_copy_send_nothing() {
    if tool("python3").is_none() {
        return;
    }
    let mut delivery = Delivery::with_settings(&[CHUNK_BYTES]);

    for (name, script, end, fed) in KILLS {
        kill_midway(&delivery, name, script, end, fed);
    }

    for (name, ..) in KILLS {
        delivery.mount.wait_for_state(delivery.outbox().join(name), "abandoned");
    }
    delivery.expect_received(&[]);
}

#[test]
fn a_copy_stopped_by_timeout_sends_nothing() {
    let mut delivery = Delivery::new();
    let mut fifo = Fifo::new(delivery.alice.dir().join("pipe"));

    for (name, signal) in [("t-term", "TERM"), ("t-int", "INT"), ("t-kill", "KILL")] {
        let script = format!("timeout -s {signal} 0.5 cp \"$1\" \"$2\"");
        let copying = start(&script, fifo.path(), &delivery.outbox().join(name));
        fifo.feed(b"half of it");
        let ran = copying.end();
        fifo.finish();
        assert!(!ran.status.success(), "{ran:?}");
        delivery.mount.wait_for_state(delivery.outbox().join(name), "abandoned");
    }

    delivery.expect_received(&[]);
}

#[test]
fn a_killed_download_under_a_temporary_name_sends_nothing() {
    let mut delivery = Delivery::new();

    kill_midway(&delivery, "big.iso.part", CP, End::Signal(Signal::SIGTERM), 90_000);

    delivery.mount.wait_for_state(delivery.outbox().join("big.iso.part"), "abandoned");
    delivery.expect_received(&[]);
}

#[test]
fn cp_again_over_an_abandoned_file_sends_it() {
    let bytes = random_bytes(9, 200_000);
    let delivery = Delivery::with_settings(&[CHUNK_BYTES]);
    delivery.source("report.pdf", &bytes);
    kill_midway(&delivery, "report.pdf", CP, End::Signal(Signal::SIGINT), 100_000);
    delivery.mount.wait_for_state(delivery.outbox().join("report.pdf"), "abandoned");

    delivery.sh("cp report.pdf $OUT/report.pdf");

    delivery.expect(&[("report.pdf", &bytes)]);
}

#[test]
fn an_opening_that_writes_nothing_does_not_send_what_a_dead_writer_left() {
    let mut delivery = Delivery::new();
    kill_midway(&delivery, "report.pdf", CP, End::Signal(Signal::SIGKILL), 100_000);
    let target = delivery.outbox().join("report.pdf");
    delivery.mount.wait_for_state(&target, "abandoned");

    // Neither reports what the close answers, an interruption.
    delivery.sh(": >> $OUT/report.pdf; dd if=/dev/null of=$OUT/report.pdf conv=notrunc");

    delivery.mount.wait_for_state(&target, "abandoned");
    delivery.expect_received(&[]);
}

#[test]
fn mv_that_is_killed_keeps_its_source_and_sends_nothing() {
    let mut delivery = Delivery::new();
    let pipe = delivery.alice.dir().join("pipe");
    let mut fifo = Fifo::new(&pipe);
    let target = delivery.outbox().join("moved");
    let moving = start("exec cp \"$1\" \"$2\" && rm \"$1\"", &pipe, &target);
    fifo.feed(&random_bytes(1, 10_000));
    wait_for_len(&target, 10_000);

    moving.signal_group(Signal::SIGTERM);

    assert!(!moving.end().status.success());
    assert!(pipe.exists());
    delivery.mount.wait_for_state(&target, "abandoned");
    delivery.expect_received(&[]);
}

/// Starts a copy, feeds it exactly `fed` bytes, and ends it there.
#[track_caller]
fn kill_midway(delivery: &Delivery, name: &str, script: &str, end: End, fed: usize) {
    let pipe = delivery.alice.dir().join(format!("{name}.pipe"));
    let mut fifo = Fifo::new(&pipe);
    let target = delivery.outbox().join(name);
    let copying = start(script, &pipe, &target);
    // Opening the pipe for writing already waits until the program reads from it.
    fifo.feed(&random_bytes(2, fed));
    match end {
        End::Itself => {}
        End::Signal(signal) => {
            wait_for_len(&target, fed);
            copying.signal(signal);
        }
        End::Group(signal) => {
            wait_for_len(&target, fed);
            copying.signal_group(signal);
        }
    }
    let ran = copying.end();
    assert!(!ran.status.success(), "{name}: {ran:?}");
}

/// Waits until a file in the outbox exists and has at least the whole buffers of `fed` bytes.
#[track_caller]
fn wait_for_len(target: &Path, fed: usize) {
    // Programs write whole buffers only; what a pipe holds back is less than the largest of them.
    let least = if fed > 300_000 { fed - 262_144 } else { fed.min(1) };
    wait_until("the copy is under way", || {
        target.metadata().is_ok_and(|metadata| metadata.len() >= least as u64)
    });
}

fn start(script: &str, from: &Path, to: &Path) -> Running {
    let mut command: Command = shell(script, &[from, to]);
    command.current_dir(from.parent().unwrap());
    Running::start(command)
}
