//! The mount dies while programs copy into it: what was reported to `cp` is what happens.

use nix::sys::signal::Signal;

use super::dying::{Point, Tally, die_at, passed, points};
use super::world::{World, three_chunks};
use crate::common::{ALICE, BOB, Ran, Running, TestMount, names_in, run, shell, wait_until};

/// Mounts alice's mailbox until the server dies at `point`; returns whether it did.
pub(super) fn dies_while_mounting(world: &World, point: &Point) -> bool {
    let dir = world.alice.dir().join("mnt");
    std::fs::create_dir_all(&dir).unwrap();
    let mut command = world.alice.command();
    command.args(["--json", "mount", "--foreground", "--poll", "1"]).arg(&dir);
    command.env("DOCKERCOMMS_CRASH_AT", point.to_string());
    let mut server = Running::start(command);
    // Undisturbed, a recovery ends with the unmount.
    wait_until("the server is dead or up", || {
        !server.is_running() || server.output().contains("\"mounted\"")
    });
    if server.is_running() {
        let settled = || !world.outbox().iter().any(|(_, state)| state == "prepared");
        wait_until("the server is dead or done", || !server.is_running() || settled());
        if server.is_running() {
            server.signal(Signal::SIGTERM);
        }
    }
    let ran = server.end();
    // A program that dies while it mounts may leave a dead mount point; the next mount replaces it.
    wait_until("the mount is gone", || {
        run(shell("umount -l \"$1\" 2>&1", &[&dir]));
        !crate::common::is_mounted(&dir)
    });
    crate::common::ended_by(&ran) == Some(Signal::SIGKILL)
}

/// Copies straight to the name that is sent.
pub(super) const COPY: &str = "cp \"$1\" \"$2\"";

/// Copies as a browser does, after removing what was sent before.
const REMOVE_COPY_RENAME: &str =
    "rm \"${2%/*}/first\" && cp \"$1\" \"$2.part\" && mv \"$2.part\" \"$2\"";

/// Runs a script that ends with `f` in alice's mount, and waits until it is sent or the server is
/// dead; returns how the script ended and whether the server died.
pub(super) fn run_in_mount(world: &World, script: &str, point: Option<&Point>) -> (Ran, bool) {
    let file = world.source("f", &three_chunks());
    die_at(&world.alice, point);
    let mut mount = TestMount::doomed(&world.alice);
    die_at(&world.alice, None);
    // Without a mount there the script must not succeed.
    wait_until("the mount is there, or the server is dead", || {
        mount.path().join("outbox").exists() || !mount.server().is_running()
    });
    let target = mount.path().join("outbox").join(BOB).join("f");
    let script = format!("mkdir \"${{2%/*}}\" 2>/dev/null; {script}");
    let ran = run(shell(&script, &[file.as_ref(), target.as_path()]));
    let is_sent = || world.outbox().iter().any(|(name, state)| name == "f" && state == "sent");
    // A program fails a moment before its dying server is gone.
    wait_until("f is sent, or the server is dead", || {
        !mount.server().is_running() || ran.status.success() && is_sent()
    });
    let died = mount.unmount_or_die();
    (ran, died)
}

/// Makes a world in which bob has got `first` from alice: a start is not what is tried here.
pub(super) fn world_with_history() -> World {
    let world = World::new();
    let first = world.source("first", b"first");
    world.alice.run(["send", &first, "--to", BOB]).ok();
    world.receive();
    world
}

/// Judges what became of `f` after `script` in a mount ended with or without success.
pub(super) fn judge(tally: &mut Tally, point: &Point, world: &World, succeeded: bool) {
    world.recover();
    let sent = world.outbox().iter().any(|(name, state)| name == "f" && state == "sent");
    world.receive();
    if succeeded && !sent {
        tally.lose(point, "f, for which the program had a 0");
    }
    let mut wanted = vec![("first".to_owned(), b"first".to_vec())];
    wanted.extend(sent.then(|| ("f".to_owned(), three_chunks())));
    tally.compare(point, &wanted, &world.received());
    world.age();
    tally.expect_clean(point, &world.litter());
}

/// Reads `f` in bob's mount and waits until its receipt is given or the server is dead; returns
/// what was read and whether the server died.
fn read_in_mount(world: &World, point: Option<&Point>) -> (Vec<u8>, bool) {
    die_at(&world.bob, point);
    let mut mount = TestMount::doomed(&world.bob);
    die_at(&world.bob, None);
    let dir = mount.inbox(ALICE);
    wait_until("f is listed, or the server is dead", || {
        !mount.server().is_running() || names_in(&dir).iter().any(|name| name == "f")
    });
    let ran = run(shell("exec cat \"$1\"", &[dir.join("f")]));
    let is_given = || world.receipts().1.iter().any(|name| name == "f.accepted.json");
    wait_until("the receipt is given, or the server is dead", || {
        !mount.server().is_running() || is_given()
    });
    (ran.stdout, mount.unmount_or_die())
}

#[test]
fn a_mount_that_dies_anywhere_in_a_read_gives_its_receipt_once_in_the_end() {
    let template = World::new();
    let file = template.source("f", &three_chunks());
    template.alice.run(["send", &file, "--to", BOB]).ok();
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.bob, || {
        assert_eq!(read_in_mount(&undisturbed, None).0, three_chunks());
    });
    let mut tally = Tally::default();

    let wanted = ["inbox.", "receipt.", "cache."];
    let all = points(&passed).into_iter();
    for point in all.filter(|point| wanted.iter().any(|start| point.name.starts_with(start))) {
        let world = template.copy();
        let (_, died) = read_in_mount(&world, Some(&point));
        if died {
            tally.crash_elsewhere();
        }
        let (again, _) = read_in_mount(&world, None);
        let named = |bytes: Vec<u8>| vec![("f".to_owned(), bytes)];
        tally.compare(&point, &named(three_chunks()), &named(again));
        world.alice.run(["ls", "receipts"]).ok();
        let (received, issued) = world.receipts();
        for names in [received, issued] {
            match names.as_slice() {
                [] => tally.lose(&point, "the receipt"),
                [_] => {}
                _ => tally.double(&point, "the receipt"),
            }
        }
        world.age();
        tally.expect_clean(&point, &world.litter());
    }

    tally.finish("reading in a mount");
}

fn die_everywhere(scenario: &str, script: &str) {
    let template = world_with_history();
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.alice, || {
        assert!(run_in_mount(&undisturbed, script, None).0.status.success());
    });
    let mut tally = Tally::default();

    for point in points(&passed).into_iter().filter(|point| point.name.starts_with("outbox.")) {
        let world = template.copy();
        let (ran, died) = run_in_mount(&world, script, Some(&point));
        assert!(died, "{point} was passed before, and now nothing died there: {ran:?}");
        tally.crash_elsewhere();
        judge(&mut tally, &point, &world, ran.status.success());
    }

    tally.finish(scenario);
}

#[test]
fn a_mount_that_dies_anywhere_in_a_copy_keeps_what_cp_was_told() {
    die_everywhere("copying into a mount", COPY);
}

#[test]
fn a_mount_that_dies_anywhere_in_a_rename_keeps_what_mv_was_told() {
    die_everywhere("renaming in a mount", REMOVE_COPY_RENAME);
}

#[test]
fn every_place_is_passed_by_what_these_tests_do() {
    let world = World::new();
    let file = world.source("f", &three_chunks());
    let received = world.received_dir();
    let recv = ["recv", "--out", &received.to_string_lossy()].map(str::to_owned);
    let fresh = crate::common::Home::new();
    let mut seen: Vec<String> = Vec::new();
    let mut watch = |home: &crate::common::Home, act: &dyn Fn()| {
        seen.extend(passed(home, act).into_keys());
    };

    watch(&fresh, &|| fresh.initialise("carol@example.com", "oci:repository"));
    watch(&fresh, &|| fresh.trust(&world.bob));
    let staged = Point { name: "outbox.create.staged".into(), passing: 1 };
    super::dying::dies(&world.alice, &staged, &["send", &file, "--to", BOB]);
    watch(&world.alice, &|| world.recover());
    let recorded = Point { name: "outbox.create.recorded".into(), passing: 1 };
    super::dying::dies(&world.alice, &recorded, &["send", &file, "--to", BOB]);
    watch(&world.alice, &|| drop(world.alice.run(["send", &file, "--to", BOB]).ok()));
    let first = world.source("first", b"first");
    world.alice.run(["send", &first, "--to", BOB]).ok();
    watch(&world.alice, &|| {
        // `f` is sent already: the rename replaces it.
        run_in_mount(&world, REMOVE_COPY_RENAME, None).0.ok();
    });
    let trust = world.bob.path().join("config/trust.toml");
    std::fs::remove_file(trust).unwrap();
    watch(&world.bob, &|| drop(world.bob.run(&recv).ok()));
    world.bob.trust(&world.alice);
    watch(&world.bob, &|| drop(read_in_mount(&world, None)));
    watch(&world.bob, &|| drop(world.bob.run(&recv).ok()));
    let answered = super::receiving::world_with_mail();
    answered.receive();
    watch(&answered.alice, &|| drop(answered.alice.run(["ls", "receipts"]).ok()));
    let untagged = super::watching::Untagged::new();
    watch(&untagged.world.alice, &|| {
        assert_eq!(untagged.mount_until_put_back(None), (false, 1));
    });

    let missing: Vec<String> =
        super::points::in_source().into_iter().filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no test dies at {missing:?}");
}
