//! Directories with temporary names below a recipient: what lies in one is local, a rename out of
//! it sends.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::libc;

use super::scene::{LONG_WINDOW, Scene, close, create, errno, rename};
use crate::common::{BOB, names_in, program, read, run};

const DELIVERIES: [&str; 2] = ["delivery = \"sync\"", "delivery = \"queued\""];

/// The directories that rsync makes.
const NAMES: [&str; 2] = [".~tmp~", ".rsync-partial"];

/// Makes a temporary directory below bob's.
#[track_caller]
fn make(scene: &Scene, name: &str) -> PathBuf {
    let path = scene.to_bob(name);
    fs::create_dir(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    path
}

#[test]
fn only_a_directory_with_a_temporary_name_can_be_made() {
    let scene = Scene::new();
    for name in ["photos", "tmp", ".tmp", ".~tmp~2", ".rsync", ".git", "a.part", "New Folder"] {
        assert_eq!(errno(fs::create_dir(scene.to_bob(name))), libc::EPERM, "{name}");
    }
    for name in NAMES {
        let path = make(&scene, name);

        assert_eq!(errno(fs::create_dir(&path)), libc::EEXIST, "{name}");
        for below in ["photos", ".~tmp~", ".rsync-partial"] {
            assert_eq!(errno(fs::create_dir(path.join(below))), libc::EPERM, "{name}/{below}");
        }
        let answer = errno(fs::create_dir(scene.at("outbox").join(BOB).join(name).join("../x")));
        assert_eq!(answer, libc::EPERM, "{name}");
        assert_eq!(errno(File::create_new(&path)), libc::EEXIST, "{name}");
        assert_eq!(errno(File::create(&path)), libc::EISDIR, "{name}");
    }
    assert_eq!(names_in(scene.to_bob("")), [".rsync-partial", ".~tmp~"]);
    let metadata = scene.to_bob("").metadata().unwrap();
    assert_eq!(metadata.nlink(), 4, "`find` counts on it");
    // A name that a file has is not free for a directory.
    let other = scene.at("outbox/carol@example.org");
    fs::create_dir(&other).unwrap();
    create(&other.join(".~tmp~"), b"a file");
    assert_eq!(errno(fs::create_dir(other.join(".~tmp~"))), libc::EEXIST);
    assert_eq!(errno(fs::remove_dir(other.join(".~tmp~"))), libc::ENOTDIR);
}

#[test]
fn what_lies_in_one_is_listed_and_never_sent() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery, "settle = \"0s\""]);
        for name in NAMES {
            let dir = make(&scene, name);
            create(&dir.join("one.txt"), b"one");
            create(&dir.join("empty"), b"");
            close(File::create_new(dir.join("x.tmp")).unwrap());

            assert_eq!(names_in(&dir), ["empty", "one.txt", "x.tmp"], "{delivery} {name}");
            assert_eq!(read(dir.join("one.txt")), b"one");
            // The same name beside it is another file.
            assert_eq!(errno(fs::metadata(scene.to_bob("one.txt"))), libc::ENOENT);
        }
        let rows = scene.alice.json(["ls", "outbox", "--offline"]);
        let mut names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        names.retain(|name| name.contains("one.txt"));

        assert_eq!(names, [".rsync-partial/one.txt", ".~tmp~/one.txt"], "{delivery}");
        assert_eq!(scene.received(), [], "{delivery}");
    }
}

#[test]
fn a_rename_out_of_one_sends_under_the_new_name_and_keeps_the_inode() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery]);
        let dir = make(&scene, ".~tmp~");
        create(&dir.join("one.txt"), b"one");
        create(&dir.join("two.txt"), b"two");
        let before = dir.join("one.txt").metadata().unwrap();

        rename(dir.join("one.txt"), scene.to_bob("one.txt")).unwrap();
        rename(dir.join("two.txt"), scene.to_bob("other.txt")).unwrap();
        scene.mount.wait_for_state(scene.to_bob("one.txt"), "sent");
        scene.mount.wait_for_state(scene.to_bob("other.txt"), "sent");

        let after = scene.to_bob("one.txt").metadata().unwrap();
        assert_eq!((after.ino(), after.len()), (before.ino(), 3), "{delivery}");
        assert_eq!(names_in(&dir), Vec::<String>::new(), "{delivery}");
        let expected = [("one.txt".into(), b"one".to_vec()), ("other.txt".into(), b"two".to_vec())];
        assert_eq!(scene.received(), expected, "{delivery}");
    }
}

#[test]
fn a_rename_out_of_one_to_a_temporary_name_sends_nothing() {
    let mut scene = Scene::new();
    let dir = make(&scene, ".~tmp~");
    create(&dir.join("one.txt"), b"one");

    rename(dir.join("one.txt"), scene.to_bob("one.part")).unwrap();

    assert_eq!(names_in(scene.to_bob("")), [".~tmp~", "one.part"]);
    assert_eq!(scene.received(), []);
}

#[test]
fn a_rename_into_one_takes_a_promise_back() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[LONG_WINDOW, delivery]);
        let dir = make(&scene, ".rsync-partial");
        create(&scene.to_bob("one.txt"), b"one");
        let before = scene.mount.attribute(scene.to_bob("one.txt"), "state").unwrap();
        assert!(["prepared", "queued"].contains(&before.as_str()), "{delivery}: {before}");

        rename(scene.to_bob("one.txt"), dir.join("one.txt")).unwrap();
        let inside = scene.mount.attribute(dir.join("one.txt"), "state").unwrap();

        assert_ne!(inside, before, "{delivery}");
        assert_eq!(read(dir.join("one.txt")), b"one");
        assert_eq!(scene.received(), [], "{delivery}");
        // Nor at the next start.
        scene.mount.start(&scene.alice, &[]);
        assert_eq!(names_in(&dir), ["one.txt"], "{delivery}");
        assert_eq!(scene.received(), [], "{delivery}");
    }
}

#[test]
fn a_sent_file_stays_where_it_is() {
    let mut scene = Scene::new();
    let dir = make(&scene, ".~tmp~");
    let path = scene.sent("one.txt", b"one");

    assert_eq!(errno(rename(&path, dir.join("one.txt"))), libc::EPERM);

    assert_eq!(names_in(&dir), Vec::<String>::new());
    assert_eq!(scene.received(), [("one.txt".to_owned(), b"one".to_vec())]);
}

#[test]
fn renames_over_existing_targets_replace_them_as_usual() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    let dir = make(&scene, ".~tmp~");
    create(&dir.join("one.txt"), b"new");
    create(&dir.join("two.txt"), b"inside");
    create(&dir.join("three.txt"), b"replaces two");
    create(&scene.to_bob("one.txt"), b"old, in its window");

    rename(dir.join("three.txt"), dir.join("two.txt")).unwrap();
    rename(dir.join("one.txt"), scene.to_bob("one.txt")).unwrap();

    assert_eq!(names_in(&dir), ["two.txt"]);
    assert_eq!(read(dir.join("two.txt")), b"replaces two");
    assert_eq!(read(scene.to_bob("one.txt")), b"new");
    assert_eq!(scene.received(), [("one.txt".to_owned(), b"new".to_vec())]);
}

#[test]
fn a_rename_over_a_sent_file_is_a_new_message() {
    let mut scene = Scene::new();
    let dir = make(&scene, ".~tmp~");
    scene.sent("one.txt", b"first");
    create(&dir.join("one.txt"), b"second");

    rename(dir.join("one.txt"), scene.to_bob("one.txt")).unwrap();
    scene.mount.wait_for_state(scene.to_bob("one.txt"), "sent");

    let mut contents: Vec<Vec<u8>> = scene.received().into_iter().map(|(_, it)| it).collect();
    contents.sort_unstable();
    assert_eq!(contents, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn moving_into_the_directory_of_another_recipient_crosses_devices() {
    let scene = Scene::new();
    let dir = make(&scene, ".~tmp~");
    let carol = scene.at("outbox/carol@example.org");
    fs::create_dir(&carol).unwrap();
    fs::create_dir(carol.join(".~tmp~")).unwrap();
    create(&dir.join("one.txt"), b"one");

    for target in ["one.txt", ".~tmp~/one.txt"] {
        let answer = errno(rename(dir.join("one.txt"), carol.join(target)));
        assert_eq!(answer, libc::EXDEV, "{target}");
    }
    assert_eq!(errno(rename(&dir, carol.join(".rsync-partial"))), libc::EXDEV);
    for target in ["", "outbox"] {
        let answer = errno(rename(dir.join("one.txt"), scene.at(target).join("one.txt")));
        assert_eq!(answer, libc::EPERM, "{target}");
    }
    assert_eq!(names_in(&dir), ["one.txt"]);
}

#[test]
fn the_directory_itself_keeps_its_name() {
    let scene = Scene::new();
    let dir = make(&scene, ".~tmp~");
    create(&dir.join("one.txt"), b"one");
    create(&scene.to_bob("x.part"), b"x");

    for target in ["photos", ".rsync-partial", ".tmp", ".~tmp~2"] {
        assert_eq!(errno(rename(&dir, scene.to_bob(target))), libc::EPERM, "{target}");
    }
    // The kernel decides these.
    assert_eq!(errno(rename(&dir, scene.to_bob("x.part"))), libc::ENOTDIR);
    assert_eq!(errno(rename(scene.to_bob("x.part"), &dir)), libc::EISDIR);
    assert_eq!(names_in(scene.to_bob("")), [".~tmp~", "x.part"]);
}

#[test]
fn rmdir_takes_an_empty_one_and_rm_r_takes_all() {
    let mut scene = Scene::new();
    let dir = make(&scene, ".~tmp~");
    create(&dir.join("one.txt"), b"one");
    create(&dir.join("two.txt"), b"two");

    assert_eq!(errno(fs::remove_dir(&dir)), libc::ENOTEMPTY);
    fs::remove_file(dir.join("one.txt")).unwrap();
    assert_eq!(errno(fs::remove_dir(&dir)), libc::ENOTEMPTY);
    fs::remove_file(dir.join("two.txt")).unwrap();
    fs::remove_dir(&dir).unwrap();
    assert_eq!(errno(fs::remove_dir(&dir)), libc::ENOENT);
    make(&scene, ".~tmp~");
    create(&dir.join("one.txt"), b"one");
    let carol = scene.at("outbox/carol@example.org");
    fs::create_dir(&carol).unwrap();
    fs::create_dir(carol.join(".~tmp~")).unwrap();
    assert_eq!(errno(fs::remove_dir(&carol)), libc::ENOTEMPTY, "also with nothing but directories");
    for path in [&dir, &carol] {
        let mut remove = program("rm").unwrap();
        remove.arg("-r").arg(path);
        run(remove).ok();
    }

    assert_eq!(names_in(scene.to_bob("")), Vec::<String>::new());
    assert!(!carol.exists());
    assert_eq!(scene.received(), []);
}

#[test]
fn what_lies_in_one_outlasts_an_unmount_and_a_kill() {
    let mut scene = Scene::new();
    let dir = make(&scene, ".~tmp~");
    create(&dir.join("one.txt"), b"one");

    scene.mount.unmount();
    scene.mount.start(&scene.alice, &[]);
    assert_eq!(read(dir.join("one.txt")), b"one");
    create(&dir.join("two.txt"), b"two");
    scene.mount.kill();
    scene.mount.start(&scene.alice, &[]);

    assert_eq!(names_in(&dir), ["one.txt", "two.txt"]);
    let mut remove = program("rm").unwrap();
    remove.arg("-r").arg(dir.join("two.txt"));
    run(remove).ok();
    rename(dir.join("one.txt"), scene.to_bob("one.txt")).unwrap();
    fs::remove_dir(&dir).unwrap();
    assert_eq!(scene.received(), [("one.txt".to_owned(), b"one".to_vec())]);
}

#[test]
fn attributes_of_one_are_accepted() {
    let scene = Scene::new();
    let dir = make(&scene, ".~tmp~");
    let metadata = dir.metadata().unwrap();

    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    chown(&dir, Some(metadata.uid()), Some(metadata.gid())).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_500_000_000_123_456_789);
    File::open(&dir).unwrap().set_modified(then).unwrap();
    for (name, answer) in [("user.note", Ok(())), ("security.x", Err(libc::EOPNOTSUPP))] {
        let set = rustix::fs::setxattr(&dir, name, b"x", rustix::fs::XattrFlags::empty());
        assert_eq!(set.map_err(rustix::io::Errno::raw_os_error), answer, "{name}");
    }

    assert_eq!(dir.metadata().unwrap().mode() & 0o7777, 0o700, "mail stays private");
}

#[test]
fn both_spellings_of_a_name_lie_in_one_and_arrive() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    let dir = make(&scene, ".~tmp~");
    for (name, bytes) in [("caf\u{e9}", b"1"), ("cafe\u{301}", b"2")] {
        create(&dir.join(name), bytes);
    }

    for name in names_in(&dir) {
        rename(dir.join(&name), scene.to_bob(&name)).unwrap();
    }

    let received = scene.received();
    let names: Vec<&str> = received.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["caf\u{e9}", "caf\u{e9} (2)"]);
}
