//! The disk of the state fails at the worst moment (F02 to F07): the errno reaches the program that
//! writes, nothing of it is sent, then or later, and existing mail can be read.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use super::forge::payload;
use super::scene::{GOOD, Scene};
use crate::common::{
    ALICE, Fifo, Ran, Running, TestMount, is_skipped, names_in, need_root, program, read, run,
    shell, temp_dir, tool, wait_until, write,
};

/// Files enough for the program, and few enough to use up.
const INODE_COUNT: usize = 64;

/// System calls of a mount that fail from now on.
struct Refusal(Running);

impl Refusal {
    /// Lets each of `calls` on one of `paths` fail with `errno`.
    fn of(mount: &mut TestMount, paths: &[PathBuf], calls: &str, errno: &str) -> Self {
        let mut strace = program("strace").expect("the test has looked for it");
        strace.args(["-f", "-o", "/dev/null"]);
        for path in paths {
            strace.arg("-P").arg(path);
        }
        strace.args(["-e", &format!("trace={calls}")]);
        strace.args(["-e", &format!("inject={calls}:error={errno}")]);
        strace.args(["-p", &mount.server().pid().to_string()]);
        let mut strace = Running::start(strace);
        wait_until("the mount is traced", || {
            assert!(strace.is_running(), "{}", strace.errors());
            strace.errors().contains("attached")
        });
        Self(strace)
    }

    /// Lets them succeed again.
    fn end(self) {
        self.0.signal(Signal::SIGINT);
        self.0.end();
    }
}

/// Places on the disk that a close depends on.
type Places = fn(&Scene) -> Vec<PathBuf>;

fn spool(scene: &Scene) -> Vec<PathBuf> {
    vec![scene.bob.path().join("state/spool")]
}

fn staged_file(scene: &Scene) -> Vec<PathBuf> {
    let spool = spool(scene).remove(0);
    let names = names_in(&spool);
    assert_eq!(names.len(), 1, "{names:?}");
    vec![spool.join(&names[0])]
}

fn log(scene: &Scene) -> Vec<PathBuf> {
    vec![scene.bob.path().join("state/state.db-wal")]
}

/// The log, and the file that asks the disk why the log could not be written: a quota refuses both.
fn log_and_probe(scene: &Scene) -> Vec<PathBuf> {
    let probe = scene.bob.path().join("state/.probe");
    log(scene).into_iter().chain([probe]).collect()
}

/// Refuses `calls` on `places` from the middle of a copy on; asserts that `cp` says `text`, that
/// nothing is sent even once the disk works again, and that the next file is.
#[track_caller]
fn assert_close_fails(places: Places, calls: &str, errno: &str, text: &str) {
    if !need_root() || tool("strace").is_none() {
        return;
    }
    for delivery in ["sync", "queued"] {
        let scene = Scene::new();
        scene.bob.set(&format!("delivery = \"{delivery}\""));
        scene.post_good();
        let mut mount = scene.bob.mount();
        let good = mount.message(ALICE, GOOD);
        let target = mount.outbox(ALICE).join("plan.bin");
        let content = payload(20_000);
        let mut pipe = Fifo::new(scene.bob.dir().join("pipe"));
        let copying = Running::start(shell("exec cp \"$1\" \"$2\"", &[pipe.path(), &target]));
        pipe.feed(&content[..10_000]);
        wait_until("half is written", || target.metadata().is_ok_and(|file| file.len() > 0));

        let refusal = Refusal::of(&mut mount, &places(&scene), calls, errno);
        pipe.feed(&content[10_000..]);
        pipe.finish();
        let copied = copying.end();
        let read_meanwhile = read(&good);
        refusal.end();

        assert_ne!(copied.code(), 0, "{delivery}: {copied:?}");
        assert!(copied.stderr.contains(text), "{delivery}: {copied:?}");
        assert_eq!(read_meanwhile, b"good", "{delivery}");
        // The disk is well again; that makes no promise of what was none.
        run(shell("sync \"$1\"; true", &[&target]));
        copy(&scene, &mount, "next.bin").ok();
        mount.wait_for_state(mount.outbox(ALICE).join("next.bin"), "sent");
        mount.unmount();
        mount.start(&scene.bob, &[]);
        assert_eq!(sent(&scene), ["next.bin"], "{delivery}: {}", mount.errors());
        assert_ne!(mount.attribute(&target, "state").as_deref(), Some("sent"), "{delivery}");
    }
}

fn copy(scene: &Scene, mount: &TestMount, name: &str) -> Ran {
    let file = write(scene.bob.dir().join(name), payload(2000));
    run(shell("cp \"$1\" \"$2\"", &[file, mount.outbox(ALICE)]))
}

/// Returns the names that were sent to alice, once for each message.
fn sent(scene: &Scene) -> Vec<String> {
    let tags = scene.registry.tags("inbox-");
    let manifests = tags.iter().filter_map(|tag| scene.registry.manifest_of(tag));
    let annotations = manifests.map(|manifest| {
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["annotations"].clone()
    });
    annotations
        .filter(|all| all["dockercomms.recipient"] == ALICE)
        .map(|all| all["dockercomms.filename"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn f02_a_disk_that_is_full_exactly_at_the_close_fails_it() {
    assert_close_fails(log, "pwrite64", "ENOSPC", "No space left on device");
}

#[test]
fn f05_a_quota_that_is_used_up_fails_the_copy() {
    assert_close_fails(staged_file, "pwrite64", "EDQUOT", "Disk quota exceeded");
}

#[test]
fn f05_a_quota_that_the_journal_uses_up_fails_the_close() {
    assert_close_fails(log_and_probe, "pwrite64,write", "EDQUOT", "Disk quota exceeded");
}

#[test]
fn f06_a_directory_that_is_not_made_durable_fails_the_close() {
    assert_close_fails(spool, "fsync,fdatasync", "EIO", "Input/output error");
}

#[test]
fn f06_a_journal_that_is_not_made_durable_fails_the_close() {
    assert_close_fails(log, "fsync,fdatasync", "EIO", "Input/output error");
}

/// A file system that holds the state of the scene's bob.
struct StateDisk {
    state: PathBuf,
}

impl StateDisk {
    /// Moves the state onto what `mount` mounts on its directory.
    fn under(scene: &Scene, mount: impl FnOnce(&Path)) -> Self {
        let state = scene.bob.path().join("state");
        let kept = scene.bob.dir().join("state.kept");
        run(shell("cp -a \"$1\" \"$2\"", &[&state, &kept])).ok();
        mount(&state);
        let disk = Self { state };
        run(shell("cp -a \"$1/.\" \"$2\"", &[&kept, &disk.state])).ok();
        disk
    }
}

impl Drop for StateDisk {
    fn drop(&mut self) {
        umount2(&self.state, MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn f04_a_disk_without_inodes_refuses_the_copy_and_delivers_what_comes() {
    if !need_root() {
        return;
    }
    let scene = Scene::new();
    scene.post_good();
    let disk = StateDisk::under(&scene, |state| {
        let options = format!("size=8m,nr_inodes={INODE_COUNT},mode=0700");
        let options = Some(options.as_str());
        mount(Some("tmpfs"), state, Some("tmpfs"), MsFlags::empty(), options).unwrap();
    });
    let mount = scene.bob.mount();
    mount.outbox(ALICE);
    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
    let fill = "mkdir \"$1/full\" && i=0; while : > \"$1/full/$i\"; do i=$((i + 1)); done";
    let filled = run(shell(fill, &[&disk.state]));
    assert!(filled.stderr.contains("No space left"), "{filled:?}");

    let refused = copy(&scene, &mount, "plan.bin");
    scene.letter("later").post(&scene.registry, &scene.alice, crate::common::BOB);
    let later = read(mount.message(ALICE, "later"));
    run(shell("rm -r \"$1/full\"", &[&disk.state])).ok();

    assert!(refused.stderr.contains("No space left on device"), "{refused:?}");
    assert_eq!(later, payload(2500));
    assert!(names_in(mount.outbox(ALICE)).is_empty(), "{}", mount.errors());
    copy(&scene, &mount, "plan.bin").ok();
    mount.wait_until_all_sent(ALICE);
    assert_eq!(sent(&scene), ["plan.bin"]);
    drop(mount);
    drop(disk);
}

#[test]
fn f07_a_disk_that_turns_read_only_refuses_the_outbox_and_leaves_the_inbox() {
    if !need_root() || tool("mkfs.ext4").is_none() {
        return;
    }
    if !Path::new("/dev/loop-control").exists() {
        assert!(is_skipped("loop"), "no loop devices: set DOCKERCOMMS_TEST_SKIP=loop");
        return;
    }
    let scene = Scene::new();
    scene.letter("read").post(&scene.registry, &scene.alice, crate::common::BOB);
    scene.post_good();
    let images = temp_dir();
    let image = images.path().join("image");
    let disk = StateDisk::under(&scene, |state| {
        let make =
            "truncate -s 32M \"$1\" && mkfs.ext4 -q -F \"$1\" && mount -o loop \"$1\" \"$2\"";
        run(shell(make, &[&image, state])).ok();
    });
    let mut mount = scene.bob.mount();
    let (kept, cold) = (mount.message(ALICE, GOOD), mount.message(ALICE, "read"));
    assert_eq!(read(&kept), b"good");
    mount.outbox(ALICE);
    // What ext4 does by itself when it finds its disk damaged.
    run(shell("mount -o remount,abort \"$1\"", &[&disk.state])).ok();

    let refused = copy(&scene, &mount, "plan.bin");

    assert!(refused.stderr.contains("Read-only file system"), "{refused:?}");
    assert_eq!(names_in(mount.inbox(ALICE)), [GOOD, "read"]);
    assert_eq!((read(&kept), read(&cold)), (b"good".to_vec(), payload(2500)));
    mount.unmount();
    let repair = "umount \"$2\" && mount -o loop \"$1\" \"$2\"";
    run(shell(repair, &[&image, &disk.state])).ok();
    mount.start(&scene.bob, &[]);
    copy(&scene, &mount, "plan.bin").ok();
    mount.wait_until_all_sent(ALICE);
    assert_eq!(sent(&scene), ["plan.bin"]);
    assert_eq!(names_in(mount.inbox(ALICE)), [GOOD, "read"]);
    drop(mount);
    drop(disk);
}
