//! The power fails: the disk forgets everything not made durable; what was acknowledged stays.
//!
//! Everything is on an ext4 image of its own. The program dies or ends, the file system is shut
//! down without writing anything else, and mounted again, which replays its journal.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::dying::{Point, Tally, dies, passed, points};
use super::mounted::{run_in_mount, world_with_history};
use super::world::{World, three_chunks};
use super::{mounted, receiving, sending};
use crate::common::{BOB, is_skipped, need_root, run, shell, temp_dir, tool, wait_until};

/// Makes ext4 stop at once, without flushing its log: `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`.
const SHUT_DOWN: &str = "exec python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack(\"I\", 2))' \"$1\"";

/// Mounts so that nothing is written out by the clock: only what was requested is durable.
const MOUNT: &str = "exec mount -o loop,commit=300 \"$1\" \"$2\"";

/// A disk that can lose its power.
struct Disk {
    dir: TempDir,
}

impl Disk {
    /// Makes one; `None` when the test may not.
    #[track_caller]
    fn new() -> Option<Self> {
        if !need_root() || tool("python3").is_none() || tool("mkfs.ext4").is_none() {
            return None;
        }
        if !Path::new("/dev/loop-control").exists() {
            assert!(is_skipped("loop"), "no loop devices: set DOCKERCOMMS_TEST_SKIP=loop");
            return None;
        }
        let disk = Self { dir: temp_dir() };
        let script = "truncate -s 96M \"$1\" && exec mkfs.ext4 -q -F \"$1\"";
        run(shell(script, &[&disk.image()])).ok();
        std::fs::create_dir(disk.path()).unwrap();
        disk.mount();
        Some(disk)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    #[track_caller]
    fn mount(&self) {
        run(shell(MOUNT, &[self.image(), self.path()])).ok();
    }

    /// Returns a directory on the disk.
    fn temp_dir(&self) -> TempDir {
        tempfile::tempdir_in(self.path()).expect("a directory on the disk")
    }

    /// Copies `template` to the disk, durably.
    fn copy(&self, template: &World) -> World {
        let world = template.copy_to(|| self.temp_dir());
        run(shell("exec sync -f \"$1\"", &[self.path()])).ok();
        world
    }

    /// Cuts the power and brings it back.
    #[track_caller]
    fn cut(&self) {
        run(shell(SHUT_DOWN, &[self.path()])).ok();
        wait_until("no process uses the dead disk", || {
            run(shell("exec umount \"$1\"", &[self.path()])).status.success()
        });
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(shell("umount \"$1\" || umount -l \"$1\"; true", &[self.path()]));
    }
}

#[test]
fn power_cuts_while_sending_lose_nothing_that_was_promised() {
    let Some(disk) = Disk::new() else { return };
    let template = World::new();
    let file = template.source("f", &three_chunks());
    let undisturbed = template.copy();
    let send = ["send", &file, "--to", BOB];
    let passed = passed(&undisturbed.alice, || drop(undisturbed.alice.run(send).ok()));
    let mut tally = Tally::default();

    for point in points(&passed) {
        let world = disk.copy(&template);
        let ran = dies(&world.alice, &point, &send);
        disk.cut();
        tally.crash(&ran);
        let before = world.outbox();
        sending::judge(&mut tally, &point, &world, ran.status.success(), &before);
    }

    tally.finish("sending, with power cuts");
}

#[test]
fn power_cuts_while_receiving_lose_no_file_that_has_a_receipt() {
    let Some(disk) = Disk::new() else { return };
    let template = receiving::world_with_mail();
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.bob, || undisturbed.receive());
    let mut tally = Tally::default();

    for point in points(&passed) {
        let world = disk.copy(&template);
        let out = world.received_dir();
        let ran = dies(&world.bob, &point, &["recv", "--out", &out.to_string_lossy()]);
        disk.cut();
        tally.crash(&ran);
        receiving::judge(&mut tally, &point, &world);
    }

    tally.finish("receiving, with power cuts");
}

#[test]
fn a_power_cut_right_after_success_loses_nothing() {
    let Some(disk) = Disk::new() else { return };
    let point = Point { name: "the end".into(), passing: 1 };
    let mut tally = Tally::default();

    let world = disk.copy(&World::new());
    let file = world.source("f", &three_chunks());
    world.alice.run(["send", &file, "--to", BOB]).ok();
    disk.cut();
    tally.crash_elsewhere();
    sending::judge(&mut tally, &point, &world, true, &[]);

    let world = disk.copy(&receiving::world_with_mail());
    world.receive();
    disk.cut();
    tally.crash_elsewhere();
    receiving::judge(&mut tally, &point, &world);

    // A mount that dies with the power right after `cp` had its 0, before the tag is published.
    let world = disk.copy(&world_with_history());
    let tagging = Point { name: "outbox.prepare.journaled".into(), passing: 1 };
    let (copied, died) = run_in_mount(&world, mounted::COPY, Some(&tagging));
    disk.cut();
    assert!(died, "the mount dies in the middle of the close");
    tally.crash_elsewhere();
    mounted::judge(&mut tally, &tagging, &world, copied.status.success());

    let world = disk.copy(&world_with_history());
    let tagging = Point { name: "outbox.publish.tagged".into(), passing: 1 };
    let (copied, died) = run_in_mount(&world, mounted::COPY, Some(&tagging));
    disk.cut();
    assert!(died && copied.status.success(), "the mount dies after the close: {copied:?}");
    tally.crash_elsewhere();
    mounted::judge(&mut tally, &tagging, &world, true);

    tally.finish("ending, with power cuts");
}
