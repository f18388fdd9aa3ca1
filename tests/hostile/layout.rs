//! An image-layout directory that other users can write to (F27): links, tricks with paths, files
//! that change, no space and no permission give the answers that a hostile registry gets.

use std::fs::{create_dir, remove_dir, remove_file};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::forge::payload;
use super::scene::{GOOD, PATIENCE, timed};
use crate::common::{
    BOB, Fifo, Home, Ran, Running, alice_and_bob, names_in, need_root, read, repository, run,
    shell, temp_dir, write,
};

/// Alice and bob on one directory, with a message `bad` and a good one from her in it.
struct Shared {
    alice: Home,
    bob: Home,
    dir: TempDir,
    /// The blob of the layer of `bad`.
    layer: PathBuf,
}

impl Shared {
    fn new() -> Self {
        let dir = temp_dir();
        let (alice, bob) = alice_and_bob(&repository(&dir));
        let mut shared = Self { alice, bob, dir, layer: PathBuf::new() };
        let before = names_in(shared.blobs());
        shared.send("bad", &payload(5000)).ok();
        // The layer is by far the largest of what came.
        shared.layer = names_in(shared.blobs())
            .into_iter()
            .filter(|name| !before.contains(name))
            .map(|name| shared.blobs().join(name))
            .max_by_key(|path| path.metadata().unwrap().len())
            .unwrap();
        shared.send(GOOD, b"good").ok();
        shared
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    fn blobs(&self) -> PathBuf {
        self.root().join("blobs/sha256")
    }

    fn index(&self) -> PathBuf {
        self.root().join("index.json")
    }

    fn send(&self, name: &str, bytes: &[u8]) -> Ran {
        let file = write(self.alice.dir().join(name), bytes);
        self.alice.run(["send".as_ref(), file.as_os_str(), "--to".as_ref(), BOB.as_ref()])
    }

    /// Runs bob's `recv`; returns the names of all that he has received, and what it said.
    fn receive(&self) -> (Vec<String>, Ran) {
        let out = self.bob.dir().join("received");
        std::fs::create_dir_all(&out).unwrap();
        let (ran, took) =
            timed(|| self.bob.run(["recv".as_ref(), "--out".as_ref(), out.as_os_str()]));
        assert!(took < PATIENCE, "{took:?}");
        let names = names_in(&out);
        for name in &names {
            let expected = if name == GOOD { b"good".to_vec() } else { payload(5000) };
            assert!(read(out.join(name)) == expected, "{name} has other bytes");
        }
        (names, ran)
    }
}

/// Puts something in the place of a blob, given a copy of its bytes.
type Trick = fn(blob: &Path, copy: &Path);

#[test]
fn f27_what_is_no_regular_blob_is_not_read_and_hides_nothing() {
    let tricks: [(&str, Trick); 6] = [
        ("a link to the same bytes", |blob, copy| symlink(copy, blob).unwrap()),
        ("a link to a device", |blob, _copy| symlink("/dev/zero", blob).unwrap()),
        ("a link in a circle", |blob, _copy| symlink(blob, blob).unwrap()),
        ("a pipe", |blob, _copy| drop(Fifo::new(blob))),
        ("a directory", |blob, _copy| create_dir(blob).unwrap()),
        ("other bytes", |blob, _copy| drop(write(blob, payload(4000)))),
    ];
    let shared = Shared::new();
    let copy = write(shared.dir.path().join("copy"), read(&shared.layer));
    for (what, trick) in tricks {
        remove_file(&shared.layer).unwrap();
        trick(&shared.layer, &copy);

        let is_first = !shared.bob.dir().join("received").exists();
        let (names, ran) = shared.receive();

        assert_eq!(names, [GOOD], "{what}: {ran:?}");
        // The good one comes the first time: only a part was received then.
        assert_eq!(ran.code(), if is_first { 6 } else { 4 }, "{what}: {ran:?}");
        assert!(ran.stderr.contains("bad from"), "{what}: {ran:?}");
        if shared.layer.is_dir() && !shared.layer.is_symlink() {
            remove_dir(&shared.layer).unwrap();
            write(&shared.layer, "");
        }
    }
    remove_file(&shared.layer).unwrap();
    write(&shared.layer, read(&copy));
    let (names, ran) = shared.receive();
    assert_eq!(names, ["bad", GOOD], "{ran:?}");
}

#[test]
fn f27_an_index_that_is_huge_or_points_elsewhere_is_no_way_out_of_the_directory() {
    let shared = Shared::new();
    let whole = read(shared.index());
    let secret = write(shared.dir.path().join("secret"), read(&shared.layer));
    let point = |digest: &str| {
        let mut index: Value = serde_json::from_slice(&whole).unwrap();
        let entries = index["manifests"].as_array_mut().unwrap();
        let mut entry = entries[0].clone();
        entry["digest"] = json!(digest);
        entries.insert(0, entry);
        index.to_string()
    };

    std::fs::File::options().write(true).open(shared.index()).unwrap().set_len(1 << 30).unwrap();
    let (huge, ran) = shared.receive();
    assert!(huge.is_empty(), "{ran:?}");
    assert_eq!(ran.code(), 4, "{ran:?}");
    for digest in ["sha256:../../../secret", "../../secret", "sha256:", "md5:0", "/etc/passwd"] {
        write(shared.index(), point(digest));
        let ran = shared.bob.run(["ls", "inbox"]);
        assert_eq!(ran.code(), 0, "{digest}: {ran:?}");
        assert!(ran.text().contains(GOOD), "{digest}: {ran:?}");
    }

    write(shared.index(), &whole);
    let (names, ran) = shared.receive();
    assert_eq!(names, ["bad", GOOD], "{ran:?}");
    assert_eq!(read(secret), read(&shared.layer));
}

#[test]
fn f27_a_blob_that_changes_while_it_is_read_is_read_rightly_or_not_at_all() {
    let shared = Shared::new();
    let copy = write(shared.dir.path().join("copy"), read(&shared.layer));
    let change = "while :; do \
        cat \"$2\" > \"$1\"; : > \"$1\"; head -c 1000 \"$2\" > \"$1\"; \
        rm -f \"$1\"; cat \"$2\" /dev/null > \"$1\"; done";
    let changing = Running::start(shell(change, &[&shared.layer, &copy]));

    for _ in 0..5 {
        shared.receive();
    }
    changing.signal_group(nix::sys::signal::Signal::SIGKILL);
    changing.end();
    write(&shared.layer, read(&copy));

    let (names, ran) = shared.receive();

    assert_eq!(names, ["bad", GOOD], "{ran:?}");
}

/// Mounts a file system on the shared directory, with what is in it.
fn put_on(shared: &Shared, options: &str) {
    let kept = shared.dir.path().join("kept");
    run(shell("cp -a \"$1\" \"$2\"", &[&shared.root(), &kept])).ok();
    mount(Some("tmpfs"), &shared.root(), Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
    run(shell("cp -a \"$1/.\" \"$2\"", &[&kept, &shared.root()])).ok();
}

#[test]
fn f27_a_directory_that_is_read_only_or_full_is_read_and_refuses_a_send() {
    if !need_root() {
        return;
    }
    let shared = Shared::new();
    put_on(&shared, "size=4m,mode=0700");
    let root = shared.root();
    let set_flags = |flags: MsFlags| {
        let flags = MsFlags::MS_REMOUNT | flags;
        mount(None::<&str>, &root, None::<&str>, flags, None::<&str>).unwrap();
    };

    set_flags(MsFlags::MS_RDONLY);
    let read_only = shared.send("more", b"more");
    let listed = shared.bob.run(["ls", "inbox"]);
    set_flags(MsFlags::empty());
    let filled = run(shell("cat /dev/zero > \"$1/filler\"", &[&root]));
    let full = shared.send("more", &payload(100_000));
    let (names, received) = shared.receive();
    remove_file(root.join("filler")).unwrap();
    let at_last = shared.send("bad", &payload(5000));
    let (again, _) = shared.receive();
    umount2(&root, MntFlags::MNT_DETACH).unwrap();

    assert_eq!(read_only.code(), 3, "{read_only:?}");
    assert!(listed.text().contains(GOOD), "{listed:?}");
    assert!(filled.stderr.contains("No space left"), "{filled:?}");
    assert_eq!(full.code(), 1, "{full:?}");
    assert!(full.stderr.contains("space"), "{full:?}");
    assert_eq!(names, ["bad", GOOD], "{received:?}");
    assert_eq!(at_last.code(), 0, "{at_last:?}");
    // What had no room for its receipt is known all the same; the second one of a name is new.
    assert_eq!(again, ["bad", "bad (2)", GOOD]);
}
