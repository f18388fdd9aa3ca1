//! What a mailbox does not support, and the errno that each program can handle.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::libc;
use nix::sys::stat::{Mode, SFlag, mknod};

use super::scene::{LONG_WINDOW, Scene, create, errno, rename};
use crate::common::{BOB, names_in, read, run, shell};

#[test]
fn directories_below_a_recipient_are_not_permitted_and_cp_r_says_so() {
    let mut scene = Scene::new();
    let source = scene.alice.dir().join("album");
    fs::create_dir(&source).unwrap();
    crate::common::write(source.join("one"), b"1");

    let made = fs::create_dir(scene.to_bob("album"));
    let copied = run(shell("cp -r \"$1\" \"$2\"", &[source.as_path(), &scene.to_bob("")]));

    assert_eq!(errno(made), libc::EPERM);
    assert_eq!(copied.code(), 1, "{copied:?}");
    assert!(copied.stderr.contains("cannot create directory"), "{copied:?}");
    assert!(copied.stderr.contains("Operation not permitted"), "{copied:?}");
    assert_eq!(scene.received(), []);
}

#[test]
fn links_and_devices_are_not_permitted() {
    let scene = Scene::with_settings(&[LONG_WINDOW]);
    let (path, other) = (scene.to_bob("report.pdf"), scene.to_bob("other"));
    create(&path, b"report");

    assert_eq!(errno(std::os::unix::fs::symlink("report.pdf", &other)), libc::EPERM);
    assert_eq!(errno(fs::hard_link(&path, &other)), libc::EPERM);
    for kind in [SFlag::S_IFIFO, SFlag::S_IFSOCK] {
        let made = mknod(&other, kind, Mode::S_IRWXU, 0).map_err(Into::into);
        assert_eq!(errno(made), libc::EPERM, "{kind:?}");
    }
    assert_eq!(names_in(scene.to_bob("")), ["report.pdf"]);
}

#[test]
fn a_file_must_lie_below_a_recipient() {
    let scene = Scene::new();

    for place in ["x", "outbox/x"] {
        assert_eq!(errno(File::create_new(scene.at(place))), libc::EPERM, "{place}");
    }
    assert_eq!(errno(fs::create_dir(scene.at("x"))), libc::EPERM);
    assert_eq!(errno(fs::remove_dir(scene.at("inbox"))), libc::EPERM);
    assert_eq!(errno(rename(scene.at("inbox"), scene.at("post"))), libc::EPERM);
    assert_eq!(errno(File::create_new(scene.at(".dockercomms/x"))), libc::EROFS);
}

#[test]
fn moving_between_recipients_makes_mv_copy() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    let to_carol = scene.mount.outbox("carol@example.com").join("report.pdf");
    create(&scene.to_bob("report.pdf"), b"report");

    let renamed = rename(scene.to_bob("report.pdf"), &to_carol);
    run(shell::<&Path>("mv \"$1\" \"$2\"", &[&scene.to_bob("report.pdf"), &to_carol])).ok();

    assert_eq!(errno(renamed), libc::EXDEV);
    assert_eq!(read(&to_carol), b"report");
    assert!(names_in(scene.to_bob("")).is_empty());
    assert_eq!(scene.received(), [], "bob's was cancelled in its window");
}

#[test]
fn names_that_cannot_be_sent_have_their_own_errno() {
    let scene = Scene::new();
    let answer =
        |name: &[u8]| errno(File::create_new(scene.to_bob("").join(OsStr::from_bytes(name))));

    assert_eq!(answer(b"\xff\xfe.txt"), libc::EILSEQ);
    assert_eq!(answer(&[b'a'; 256]), libc::ENAMETOOLONG);
    assert_eq!(answer(b"a\nb"), libc::EINVAL);
    assert_eq!(answer(b"a\x1b[2Jb"), libc::EINVAL);
    assert_eq!(answer("a\u{202e}fdp.exe".as_bytes()), libc::EINVAL);
    assert!(names_in(scene.to_bob("")).is_empty());
}

#[test]
fn every_ordinary_name_arrives_as_it_was_written() {
    let mut names = vec![
        "-rf".to_owned(),
        "$(reboot)".to_owned(),
        "50%".to_owned(),
        "a b\\c".to_owned(),
        "CON".to_owned(),
        "caf\u{e9}".to_owned(),
        "\u{65e5}\u{672c}\u{8a9e}.txt".to_owned(),
        "x".repeat(255),
    ];
    let mut scene = Scene::new();
    for name in &names {
        create(&scene.to_bob(name), name.as_bytes());
    }

    let received = scene.received();

    names.sort_unstable();
    let expected: Vec<(String, Vec<u8>)> =
        names.into_iter().map(|name| (name.clone(), name.into_bytes())).collect();
    assert_eq!(received, expected);
}

#[test]
fn names_of_recipients_are_checked() {
    let scene = Scene::new();
    let answer =
        |name: &[u8]| errno(fs::create_dir(scene.at("outbox").join(OsStr::from_bytes(name))));

    assert_eq!(answer(&[b'a'; 256]), libc::ENAMETOOLONG);
    assert_eq!(answer(b"\xff"), libc::EILSEQ);
    assert_eq!(answer(b"bob\x07"), libc::EINVAL);
    // An escape that its own rule would not have written: two names for one recipient.
    assert_eq!(answer(b"%62ob"), libc::EINVAL);
    assert_eq!(answer(BOB.as_bytes()), libc::EEXIST);
    assert_eq!(names_in(scene.at("outbox")), [BOB]);
}

#[test]
fn a_length_that_no_message_can_have_is_too_large() {
    let scene = Scene::new();
    let file = File::create_new(scene.to_bob("huge.tmp")).unwrap();

    let extended = file.set_len(1 << 62);

    assert_eq!(errno(extended), libc::EFBIG);
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let scene = Scene::new();
    let unknown: &CStr = c"user.dockercomms.nothing";

    assert_eq!(errno(scene.at("inbox/nobody").metadata()), libc::ENOENT);
    assert_eq!(errno(scene.at("outbox/nobody/x").metadata()), libc::ENOENT);
    assert_eq!(errno(File::create_new(scene.at("outbox/nobody/x"))), libc::ENOENT);
    assert_eq!(errno(fs::remove_file(scene.to_bob("x"))), libc::ENOENT);
    assert_eq!(errno(fs::read_dir(scene.at(".dockercomms/status"))), libc::ENOTDIR);
    let value = rustix::fs::getxattr(scene.at("inbox"), unknown, &mut [0_u8; 8]);
    assert_eq!(errno(value.map_err(std::io::Error::from)), libc::ENODATA);
}
