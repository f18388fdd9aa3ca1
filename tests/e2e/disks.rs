//! What a user sees when the disk is full, or cannot be written to.

use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::common::{
    ALICE, BOB, Home, Ran, TestMount, alice_and_bob, need_root, program, random_bytes, read,
    repository, run, shell, temp_dir, tool, write,
};

/// A directory of a home on a file system of a few megabytes of its own.
struct TinyDisk {
    dir: PathBuf,
}

impl TinyDisk {
    /// Mounts it on `home/DIR`.
    fn under(home: &Home, dir: &str) -> Self {
        let dir = home.path().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let options = Some("size=6m,mode=0700");
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), options).unwrap();
        Self { dir }
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let filler = self.dir.join("filler");
        let ran = run(shell("cat /dev/zero > \"$1\"", &[&filler]));
        assert!(ran.stderr.contains("No space left"), "{ran:?}");
        filler
    }

    /// Forbids or allows writing.
    fn set_read_only(&self, is_read_only: bool) {
        let mut flags = MsFlags::MS_REMOUNT;
        flags.set(MsFlags::MS_RDONLY, is_read_only);
        mount(None::<&str>, &self.dir, None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        umount2(&self.dir, MntFlags::MNT_DETACH).ok();
    }
}

/// Alice with a full disk; the fields go in this order, the mount first.
pub(super) struct FullDisk {
    pub(super) mount: TestMount,
    disk: TinyDisk,
    pub(super) alice: Home,
    pub(super) bob: Home,
    _repository: tempfile::TempDir,
}

impl FullDisk {
    pub(super) fn new() -> Self {
        let directory = temp_dir();
        let (alice, bob) = (Home::new(), Home::init(BOB, &repository(&directory)));
        std::fs::create_dir_all(alice.path()).unwrap();
        let disk = TinyDisk::under(&alice, "state");
        alice.initialise(ALICE, &repository(&directory));
        alice.trust(&bob);
        bob.trust(&alice);
        let mount = alice.mount();
        mount.outbox(BOB);
        Self { mount, disk, alice, bob, _repository: directory }
    }

    fn copy(&self, name: &str, len: usize) -> Ran {
        let source = write(self.alice.dir().join(name), random_bytes(1, len));
        run(shell("cp \"$1\" \"$2\"", &[source.as_path(), &self.mount.outbox(BOB)]))
    }
}

#[test]
fn f01_a_full_disk_fails_the_copy_with_no_space_left_and_sends_nothing() {
    if !need_root() {
        return;
    }
    let mut full = FullDisk::new();

    let ran = full.copy("large", 16 << 20);

    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    full.mount.unmount();
    assert_eq!(full.bob.receive(), []);
}

#[test]
fn f01_a_small_file_is_sent_after_a_large_one_did_not_fit() {
    if !need_root() {
        return;
    }
    let mut full = FullDisk::new();
    full.copy("large", 16 << 20);
    std::fs::remove_file(full.mount.outbox(BOB).join("large")).unwrap();

    full.copy("small", 1000).ok();

    full.mount.unmount();
    assert_eq!(full.bob.receive(), [("small".to_owned(), random_bytes(1, 1000))]);
}

#[test]
fn f02_a_program_that_ignores_a_failed_write_hears_of_it_at_close_and_sends_nothing() {
    if !need_root() || tool("python3").is_none() {
        return;
    }
    let mut full = FullDisk::new();
    let script = "
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
failed = 0
for _ in range(64):
    try:
        os.write(fd, os.urandom(1 << 18))
    except OSError as error:
        failed = error.errno
try:
    os.close(fd)
    print('closed', errno.errorcode.get(failed))
except OSError as error:
    print(errno.errorcode[error.errno], errno.errorcode.get(failed))
";
    let Some(mut python) = program("python3") else { return };
    python.args(["-c", script]).arg(full.mount.outbox(BOB).join("f"));

    let said = run(python).ok();

    assert_eq!(said, "ENOSPC ENOSPC\n");
    full.mount.wait_for_state(full.mount.outbox(BOB).join("f"), "abandoned");
    full.mount.unmount();
    assert_eq!(full.bob.receive(), []);
}

#[test]
fn f01_mail_is_read_while_the_disk_is_full_and_sent_again_once_there_is_room() {
    if !need_root() {
        return;
    }
    let mut full = FullDisk::new();
    let note = write(full.bob.dir().join("note"), "for alice");
    full.bob.run(["send".as_ref(), note.as_os_str(), "--to".as_ref(), ALICE.as_ref()]).ok();
    let note = full.mount.message(BOB, "note");
    let filler = full.disk.fill();

    assert_eq!(read(&note), b"for alice");
    let refused = full.copy("small", 100_000);
    assert!(refused.stderr.contains("No space left on device"), "{refused:?}");
    assert_eq!(full.mount.status()["outbox_queued"], 0);
    std::fs::remove_file(filler).unwrap();
    full.copy("small", 100_000).ok();

    full.mount.wait_for_state(full.mount.outbox(BOB).join("small"), "sent");
    full.mount.unmount();
    assert_eq!(full.bob.receive(), [("small".to_owned(), random_bytes(1, 100_000))]);
}

#[test]
fn f02_a_close_whose_delivery_is_queued_promises_nothing_on_a_full_disk() {
    if !need_root() {
        return;
    }
    let mut full = FullDisk::new();
    full.mount.unmount();
    full.alice.set("delivery = \"queued\"");
    full.mount.start(&full.alice, &[]);
    let filler = full.disk.fill();

    let refused = full.copy("report", 100_000);
    std::fs::remove_file(filler).unwrap();
    full.copy("other", 100_000).ok();

    assert!(refused.stderr.contains("No space left on device"), "{refused:?}");
    full.mount.wait_for_state(full.mount.outbox(BOB).join("other"), "sent");
    full.mount.unmount();
    assert_eq!(full.bob.receive(), [("other".to_owned(), random_bytes(1, 100_000))]);
}

#[test]
fn f03_a_full_cache_costs_time_and_no_mail() {
    if !need_root() {
        return;
    }
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let cache = TinyDisk::under(&bob, "cache");
    let filler = cache.fill();
    let content = random_bytes(2, 16 << 20);
    let source = write(alice.dir().join("large"), &content);
    alice.run(["send".as_ref(), source.as_os_str(), "--to".as_ref(), BOB.as_ref()]).ok();
    let mount = bob.mount();

    let read_when_full = read(mount.message(ALICE, "large"));
    std::fs::remove_file(filler).unwrap();
    let read_again = read(mount.message(ALICE, "large"));

    assert!(read_when_full == content && read_again == content);
    drop(mount);
    drop(cache);
}

#[test]
fn f07_a_state_that_cannot_be_written_stops_a_start_with_its_reason_and_loses_nothing() {
    if !need_root() {
        return;
    }
    let mut full = FullDisk::new();
    full.mount.unmount();
    full.disk.set_read_only(true);
    let source = write(full.alice.dir().join("report"), "report");
    let arguments = ["send".as_ref(), source.as_os_str(), "--to".as_ref(), BOB.as_ref()];

    let sent = full.alice.run(arguments);
    let mounted = full.alice.run(["mount".as_ref(), full.mount.path().as_os_str()]);

    for ran in [&sent, &mounted] {
        assert!(!ran.status.success(), "{ran:?}");
        assert!(ran.stderr.to_lowercase().contains("read-only"), "{ran:?}");
    }
    assert!(sent.stderr.contains("hint: make it writable"), "{sent:?}");
    full.disk.set_read_only(false);
    full.alice.run(arguments).ok();
    assert_eq!(full.bob.receive(), [("report".to_owned(), b"report".to_vec())]);
}
