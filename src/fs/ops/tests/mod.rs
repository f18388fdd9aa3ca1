//! The operations over a real mailbox and a repository in memory, without a kernel.

mod names;
mod sealed;

use std::ffi::OsStr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Caching, Changes, Fs, Read};
use crate::fs::attr::Attr;
use crate::fs::errno;
use crate::fs::error::FsError;
use crate::fs::node::ROOT_INO;
use crate::fs::requester::Requester;
use crate::protocol::limits::PAYLOAD_LEN_MAX;
use crate::registry::RegistryError;
use crate::registry::fault::Fault;
use crate::registry::memory::Operation;
use crate::testing::{Person, World};

/// Opens a file in `outbox/` as `cp` does for a new one.
const NEW: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;

/// Alice's tree, with a directory for bob.
struct Scene {
    world: World,
    alice: Person,
    bob: Person,
    fs: Fs,
    to_bob: u64,
}

/// This process, which neither dies nor has a signal pending.
fn me() -> Requester {
    Requester::new(std::process::id())
}

/// A process that exited with code 1 and has not been waited for yet.
struct Failing(std::process::Child);

impl Failing {
    fn new() -> Self {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let child = std::process::Command::new("false").spawn().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        Self(child)
    }

    fn requester(&self) -> Requester {
        Requester::new(self.0.id())
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.0.wait().ok();
    }
}

impl Scene {
    async fn new() -> Self {
        let world = World::new();
        let (alice, bob) = world.alice_and_bob().await;
        let fs = tree(&world, &alice);
        let outbox = fs.lookup(ROOT_INO, OsStr::new("outbox")).unwrap();
        let to_bob = fs.mkdir(outbox.ino, OsStr::new("bob")).await.unwrap().ino;
        Self { world, alice, bob, fs, to_bob }
    }

    async fn create(&self, name: &str) -> (Attr, u64) {
        let created = self.fs.create(self.to_bob, OsStr::new(name), 0o644, NEW, me()).await;
        let (attr, opened) = created.unwrap();
        (attr, opened.handle)
    }

    /// What `cp` does: create, write, close; returns how the close ended.
    async fn copy(&self, name: &str, content: &[u8]) -> Result<(), FsError> {
        let (_attr, handle) = self.create(name).await;
        self.fs.write(handle, 0, content).unwrap();
        let closed = self.fs.flush(handle, me()).await;
        self.fs.release(handle);
        closed
    }

    fn find(&self, name: &str) -> Option<Attr> {
        self.fs.lookup(self.to_bob, OsStr::new(name)).ok()
    }

    fn attribute(&self, name: &str, attribute: &str) -> String {
        let ino = self.find(name).unwrap().ino;
        let full = format!("user.dockercomms.{attribute}");
        let value = self.fs.getxattr(ino, OsStr::new(&full)).unwrap_or_default();
        String::from_utf8(value).unwrap()
    }

    async fn rename(&self, from: &str, to: &str, flags: u32) -> Result<(), FsError> {
        let (from, to) = ((self.to_bob, OsStr::new(from)), (self.to_bob, OsStr::new(to)));
        self.fs.rename(from, to, flags, me()).await
    }

    /// What bob has once all work in progress has ended: names and contents.
    async fn received(&self) -> Vec<(String, Vec<u8>)> {
        self.alice.settle().await;
        let mut received = Vec::new();
        for item in self.bob.receive(&self.alice).await {
            received.push((item.name.clone(), self.bob.read(&item).await.unwrap().to_vec()));
        }
        received
    }
}

fn tree(world: &World, person: &Person) -> Fs {
    let clock = Arc::new(world.clock.clone());
    Fs::new(person.mailbox.clone(), clock, CancellationToken::new(), TaskTracker::new())
}

fn code<T>(result: Result<T, FsError>) -> i32 {
    result.err().map_or(0, |error| errno::of(&error))
}

fn pairs(files: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect()
}

#[tokio::test]
async fn only_what_is_never_read_bypasses_the_cache() {
    let scene = Scene::new().await;
    let create = async |name: &str, access| {
        let name = OsStr::new(name);
        let flags = libc::O_CREAT | libc::O_EXCL | access;
        scene.fs.create(scene.to_bob, name, 0o644, flags, me()).await.unwrap()
    };

    let (attr, copied) = create("copied", libc::O_WRONLY).await;
    let (_, edited) = create("edited", libc::O_RDWR).await;
    let open = async |flags| scene.fs.open_writer(attr.ino, flags, me()).await.unwrap().caching;

    assert_eq!((copied.caching, edited.caching), (Caching::Written, Caching::None));
    assert_eq!(open(libc::O_WRONLY | libc::O_APPEND).await, Caching::Written);
    assert_eq!(open(libc::O_RDWR).await, Caching::None);
}

#[tokio::test]
async fn a_copied_file_is_sent_once_it_is_closed() {
    let scene = Scene::new().await;

    let closed = scene.copy("report.pdf", b"hello").await;

    assert!(closed.is_ok(), "{closed:?}");
    assert_eq!(scene.received().await, pairs(&[("report.pdf", b"hello")]));
    let sent = scene.find("report.pdf").unwrap();
    assert_eq!((sent.len, sent.mode), (5, 0o600));
    assert_eq!(scene.attribute("report.pdf", "state"), "sent");
}

#[tokio::test]
async fn a_file_whose_writer_dies_is_never_sent() {
    let scene = Scene::new().await;
    let failing = Failing::new();
    let (_attr, handle) = scene.create("half.bin").await;
    scene.fs.write(handle, 0, b"only a half").unwrap();

    scene.fs.flush(handle, failing.requester()).await.unwrap();
    scene.fs.release(handle);

    assert_eq!(scene.received().await, []);
    assert_eq!(scene.attribute("half.bin", "state"), "abandoned");
    assert_ne!(scene.attribute("half.bin", "error"), "");
}

#[tokio::test]
async fn a_close_that_fails_says_why_and_sends_nothing() {
    let scene = Scene::new().await;
    let down = || RegistryError::Unreachable("down".into());
    scene.world.faulty.inject_always(Operation::PushBlob, Fault::fail(down));

    let closed = scene.copy("report.pdf", b"hello").await;
    scene.world.faulty.heal();

    assert_eq!(code(closed), libc::EHOSTUNREACH);
    assert_eq!(scene.received().await, []);
    assert_eq!(scene.attribute("report.pdf", "state"), "failed");
    let errors = scene.alice.mailbox.snapshot();
    assert!(errors.errors.iter().any(|line| line.subject.ends_with("bob/report.pdf")));
}

#[tokio::test]
async fn an_interrupted_close_frees_its_caller_and_sends_nothing() {
    let scene = Scene::new().await;
    let gate = crate::registry::fault::Gate::closed();
    scene.world.faulty.inject_always(Operation::PushBlob, Fault::hold(&gate));
    let (_attr, handle) = scene.create("report.pdf").await;
    scene.fs.write(handle, 0, b"hello").unwrap();
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();

    let closed = scene.fs.flush(handle, Requester::new(gone.id())).await;
    scene.fs.release(handle);
    gate.open();

    assert_eq!(code(closed), libc::EINTR);
    assert_eq!(scene.received().await, []);
    assert_eq!(scene.attribute("report.pdf", "state"), "abandoned");
}

#[tokio::test]
async fn writing_an_abandoned_file_again_sends_it() {
    let scene = Scene::new().await;
    let failing = Failing::new();
    let (attr, handle) = scene.create("again.txt").await;
    scene.fs.write(handle, 0, b"half").unwrap();
    scene.fs.flush(handle, failing.requester()).await.unwrap();
    scene.fs.release(handle);

    let flags = libc::O_WRONLY | libc::O_TRUNC;
    let opened = scene.fs.open_writer(attr.ino, flags, me()).await.unwrap();
    scene.fs.write(opened.handle, 0, b"whole").unwrap();
    scene.fs.flush(opened.handle, me()).await.unwrap();
    scene.fs.release(opened.handle);

    assert_eq!(scene.received().await, pairs(&[("again.txt", b"whole")]));
}

#[tokio::test]
async fn a_close_with_nothing_written_sends_nothing() {
    let scene = Scene::new().await;
    let (_attr, handle) = scene.create("shell.txt").await;

    // `cmd > file`: the shell closes its copy of the descriptor before the command writes.
    scene.fs.flush(handle, me()).await.unwrap();
    let before = scene.world.memory.tags().len();
    scene.fs.write(handle, 0, b"late").unwrap();
    scene.fs.flush(handle, me()).await.unwrap();
    scene.fs.release(handle);

    assert_eq!(before, 0);
    assert_eq!(scene.received().await, pairs(&[("shell.txt", b"late")]));
}

#[tokio::test]
async fn a_write_that_failed_is_repeated_by_the_close() {
    let scene = Scene::new().await;
    let (_attr, handle) = scene.create("big.bin").await;
    scene.fs.write(handle, 0, b"start").unwrap();

    let written = scene.fs.write(handle, PAYLOAD_LEN_MAX, b"x");
    let closed = scene.fs.flush(handle, me()).await;
    scene.fs.release(handle);

    assert_eq!(code(written), libc::EFBIG);
    assert_eq!(code(closed), libc::EFBIG);
    assert_eq!(scene.received().await, []);
}

#[tokio::test]
async fn a_temporary_name_stays_local_until_it_is_renamed() {
    let scene = Scene::new().await;
    scene.copy(".report.pdf.Xa1b2c", b"hello").await.unwrap();
    let before = scene.received().await;

    scene.rename(".report.pdf.Xa1b2c", "report.pdf", 0).await.unwrap();

    assert_eq!(before, []);
    assert!(scene.find(".report.pdf.Xa1b2c").is_none());
    assert_eq!(scene.received().await, pairs(&[("report.pdf", b"hello")]));
}

#[tokio::test]
async fn a_rename_that_cannot_send_reports_it() {
    let scene = Scene::new().await;
    scene.copy("x.part", b"hello").await.unwrap();
    scene
        .world
        .faulty
        .inject_always(Operation::PushManifest, Fault::fail(|| RegistryError::TimedOut));

    let renamed = scene.rename("x.part", "x.bin", 0).await;
    scene.world.faulty.heal();

    assert_eq!(code(renamed), libc::ETIMEDOUT);
    assert_eq!(scene.received().await, []);
}

#[tokio::test]
async fn an_abandoned_file_is_not_completed_by_a_rename() {
    let scene = Scene::new().await;
    let failing = Failing::new();
    let (_attr, handle) = scene.create("x.part").await;
    scene.fs.write(handle, 0, b"half").unwrap();
    scene.fs.flush(handle, failing.requester()).await.unwrap();
    scene.fs.release(handle);

    scene.rename("x.part", "x.bin", 0).await.unwrap();

    assert_eq!(scene.received().await, []);
    assert_eq!(scene.attribute("x.bin", "state"), "abandoned");
}

#[tokio::test]
async fn a_sent_file_is_overwritten_by_a_new_message_and_not_changed() {
    let scene = Scene::new().await;
    scene.copy("report.pdf", b"first").await.unwrap();
    // Names count in order of arrival, so the first one arrives first.
    scene.received().await;
    let sent = scene.find("report.pdf").unwrap();
    // Names are numbered in the order of arrival, and both messages are of the same second.
    scene.received().await;

    let appended = scene.fs.open_writer(sent.ino, libc::O_WRONLY | libc::O_APPEND, me()).await;
    let truncated = scene.fs.truncate(sent.ino, 0).await;
    let flags = libc::O_WRONLY | libc::O_TRUNC;
    let opened = scene.fs.open_writer(sent.ino, flags, me()).await.unwrap();
    // The kernel keeps its inode across the truncation and requests the new size.
    assert_eq!(scene.fs.getattr(sent.ino).unwrap().len, 0);
    scene.fs.write(opened.handle, 0, b"second!").unwrap();
    scene.fs.flush(opened.handle, me()).await.unwrap();
    scene.fs.release(opened.handle);

    assert_eq!((code(appended), code(truncated)), (libc::EPERM, libc::EPERM));
    assert_eq!(scene.find("report.pdf").unwrap().ino, sent.ino);
    let mut received = scene.received().await;
    received.sort();
    assert_eq!(received, pairs(&[("report (2).pdf", b"second!"), ("report.pdf", b"first")]));
}

#[tokio::test]
async fn a_sent_file_opened_and_then_cut_to_nothing_is_a_new_message() {
    let scene = Scene::new().await;
    scene.copy("note.txt", b"first").await.unwrap();
    scene.received().await;
    let sent = scene.find("note.txt").unwrap();

    // As vim does: nothing is lost if it stops in between.
    let open = scene.fs.open_writer(sent.ino, libc::O_WRONLY, me()).await.unwrap().handle;
    assert!(scene.fs.is_sealed(open));
    scene.fs.unseal(open, 0).await.unwrap();
    scene.fs.write(open, 0, b"second!").unwrap();
    scene.fs.flush(open, me()).await.unwrap();
    scene.fs.release(open);

    let mut received = scene.received().await;
    received.sort();
    assert_eq!(received, pairs(&[("note (2).txt", b"second!"), ("note.txt", b"first")]));
}

#[tokio::test]
async fn a_sent_file_refuses_the_change_of_a_part() {
    let scene = Scene::new().await;
    scene.copy("note.txt", b"first").await.unwrap();
    scene.received().await;
    let sent = scene.find("note.txt").unwrap();
    let open = async |flags| scene.fs.open_writer(sent.ino, flags, me()).await;
    let untouched = open(libc::O_WRONLY).await.unwrap().handle;
    let handle = open(libc::O_WRONLY).await.unwrap().handle;

    let changes = [
        scene.fs.write_anew(handle, 1, b"x").await.map(|_written| ()),
        scene.fs.write_anew(handle, 0, b"x").await.map(|_written| ()),
        scene.fs.write(handle, 0, b"x").map(|_written| ()),
        scene.fs.unseal(handle, 3).await,
        scene.fs.fallocate(handle, 0, 9, 0),
        scene.fs.flush_now(handle).unwrap(),
        scene.fs.fsync(handle, me()).await,
        open(libc::O_RDWR | libc::O_APPEND).await.map(|_opened| ()),
    ];

    assert!(changes.into_iter().all(|change| code(change) == libc::EPERM));
    assert_eq!(code(scene.fs.flush_now(untouched).unwrap()), 0);
    scene.fs.release(handle);
    scene.fs.release(untouched);
    assert_eq!(scene.received().await, pairs(&[("note.txt", b"first")]));
    assert_eq!(scene.attribute("note.txt", "state"), "sent");
}

#[tokio::test]
async fn a_received_message_is_read_dismissed_and_acknowledged_through_the_tree() {
    let scene = Scene::new().await;
    scene.alice.send(&scene.bob, "report.pdf", &[7; 250]).await.unwrap();
    scene.bob.receive(&scene.alice).await;
    let fs = tree(&scene.world, &scene.bob);
    let inbox = fs.lookup(ROOT_INO, OsStr::new("inbox")).unwrap().ino;
    let alice = fs.lookup(inbox, OsStr::new("alice")).unwrap().ino;
    let message = fs.lookup(alice, OsStr::new("report.pdf")).unwrap();

    let refused = fs.open_now(message.ino, libc::O_RDWR).unwrap();
    let opened = fs.open_now(message.ino, libc::O_RDONLY).unwrap().unwrap();
    let bytes = match fs.read(opened.handle, 240, 100).unwrap() {
        Read::Now(bytes) => bytes,
        Read::Later(open) => fs.read_later(open, 240, 100, me()).await.unwrap(),
    };
    let receipt = OsStr::new("user.dockercomms.receipt");
    let wanted = fs.setxattr(message.ino, receipt, b"rejected:not mine", 0).unwrap().unwrap();
    fs.carry_out(wanted).await.unwrap();
    scene.bob.settle().await;
    let shown = fs.getxattr(message.ino, receipt).unwrap();
    fs.unlink(alice, OsStr::new("report.pdf")).await.unwrap();

    assert_eq!(code(refused), libc::EROFS);
    assert_eq!((message.len, bytes.as_ref()), (250, &[7; 10][..]));
    assert_eq!(shown, b"rejected");
    assert_eq!(code(fs.lookup(alice, OsStr::new("report.pdf"))), libc::ENOENT);
    assert_eq!(code(fs.rmdir(inbox, OsStr::new("alice")).await), 0);
}

#[tokio::test]
async fn a_removed_draft_is_not_sent_and_its_recipient_can_go() {
    let scene = Scene::new().await;
    let (attr, handle) = scene.create("x.txt").await;
    scene.fs.write(handle, 0, b"hello").unwrap();
    let outbox = scene.fs.lookup(ROOT_INO, OsStr::new("outbox")).unwrap().ino;

    let full = scene.fs.rmdir(outbox, OsStr::new("bob")).await;
    scene.fs.unlink(scene.to_bob, OsStr::new("x.txt")).await.unwrap();
    scene.fs.write(handle, 5, b" again").unwrap();
    scene.fs.flush(handle, me()).await.unwrap();
    let unlinked = scene.fs.getattr(attr.ino).unwrap();
    scene.fs.release(handle);

    assert_eq!(code(full), libc::ENOTEMPTY);
    assert_eq!((unlinked.link_count, unlinked.len), (0, 11));
    assert_eq!(scene.received().await, []);
    assert_eq!(code(scene.fs.rmdir(outbox, OsStr::new("bob")).await), 0);
}

#[tokio::test]
async fn a_file_is_given_up_only_by_its_own_message_id() {
    let scene = Scene::new().await;
    let (attr, handle) = scene.create("x.txt").await;
    scene.fs.write(handle, 0, b"hello").unwrap();
    scene.fs.flush(handle, me()).await.unwrap();
    let id = scene.attribute("x.txt", "message_id");
    let cancel = |value: &str| {
        scene.fs.setxattr(attr.ino, OsStr::new(crate::fs::xattr::CANCEL), value.as_bytes(), 0)
    };

    let other = cancel("12345678-9abc-4def-8123-456789abcdef");
    let number = cancel("999999");
    scene.fs.carry_out(cancel(&id).unwrap().unwrap()).await.unwrap();
    scene.fs.release(handle);

    assert_eq!([code(other), code(number)], [libc::ENOENT; 2]);
    assert_eq!(code(scene.fs.lookup(scene.to_bob, OsStr::new("x.txt"))), libc::ENOENT);
    assert_eq!(scene.received().await, []);
}

#[tokio::test]
async fn fsync_confirms_a_finished_file_and_never_sends_a_draft() {
    let scene = Scene::new().await;
    let (attr, handle) = scene.create("x.txt").await;
    scene.fs.write(handle, 0, b"hello").unwrap();

    scene.fs.fsync(handle, me()).await.unwrap();
    let pushed_by_fsync = scene.world.memory.tags().len();
    scene.fs.flush(handle, me()).await.unwrap();
    scene.fs.release(handle);
    let reader = scene.fs.open_now(attr.ino, libc::O_RDONLY).unwrap().unwrap();
    scene.fs.fsync(reader.handle, me()).await.unwrap();

    assert_eq!(pushed_by_fsync, 0);
    assert_eq!(scene.attribute("x.txt", "state"), "sent");
}

#[tokio::test]
async fn the_file_system_never_looks_full() {
    let scene = Scene::new().await;

    let space = scene.fs.statfs().unwrap();

    assert!(space.block_count > 0 && space.free_block_count > 0);
}
