//! Names that are equal in NFC and spelled differently: files of their own here, one name on the
//! wire.

use std::fs::{self, File};
use std::path::PathBuf;

use nix::libc;

use super::scene::{LONG_WINDOW, Scene, close, create, errno, rename};
use crate::common::{ALICE, BOB, names_in, program, read, run, write};

/// Pairs that are equal in NFC: the first one is.
const PAIRS: [[&str; 2]; 5] = [
    ["caf\u{e9}.txt", "cafe\u{301}.txt"],
    ["\u{ac00}.txt", "\u{1100}\u{1161}.txt"],
    ["\u{c5}.txt", "\u{212b}.txt"],
    ["\u{1e69}.txt", "s\u{307}\u{323}.txt"],
    ["\u{915}\u{93c}.txt", "\u{958}.txt"],
];

const DELIVERIES: [&str; 2] = ["delivery = \"sync\"", "delivery = \"queued\""];

/// What arrives of two files called `name` here, the first and the second content in any order.
#[track_caller]
fn assert_both_arrived(received: &[(String, Vec<u8>)], name: &str, contents: [&[u8]; 2]) {
    let second = name.replace(".txt", " (2).txt");
    let find = |name: &str| {
        let found = received.iter().find(|(received, _)| received == name);
        found.unwrap_or_else(|| panic!("{name} is not in {received:?}")).1.as_slice()
    };
    let mut found = [find(name), find(&second)];
    found.sort_unstable();
    assert_eq!(found, contents);
}

#[test]
fn both_spellings_of_a_name_arrive_when_they_are_copied_at_once() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[LONG_WINDOW, delivery]);
        for [one, other] in PAIRS {
            for (name, bytes) in [(one, b"1"), (other, b"2")] {
                let source = write(scene.alice.dir().join("source"), bytes);
                let mut copy = program("cp").unwrap();
                copy.arg(source).arg(scene.to_bob(name));
                run(copy).ok();
            }
        }

        let mut listed: Vec<&str> = PAIRS.concat();
        listed.sort_unstable();
        assert_eq!(names_in(scene.to_bob("")), listed, "{delivery}");
        let received = scene.received();

        assert_eq!(received.len(), 2 * PAIRS.len(), "{delivery}: {received:?}");
        for [name, _other] in PAIRS {
            assert_both_arrived(&received, name, [b"1", b"2"]);
        }
    }
}

#[test]
fn both_spellings_of_a_name_arrive_when_they_are_sent_by_the_command_line() {
    let mut scene = Scene::new();
    let files = PAIRS[0].map(|name| write(scene.alice.dir().join(name), name));
    let mut command = scene.alice.command();
    command.arg("send").args(files).args(["--to", BOB]);

    run(command).ok();

    let received = scene.received();
    assert_eq!(received.len(), 2, "{received:?}");
    let [composed, decomposed] = PAIRS[0];
    assert_both_arrived(&received, composed, [decomposed.as_bytes(), composed.as_bytes()]);
}

#[test]
fn the_other_spelling_does_not_exist_until_it_is_created() {
    let scene = Scene::with_settings(&[LONG_WINDOW]);
    for [one, other] in PAIRS {
        create(&scene.to_bob(other), b"as it is spelled");

        assert_eq!(errno(fs::metadata(scene.to_bob(one))), libc::ENOENT, "{one}");
        assert_eq!(errno(fs::remove_file(scene.to_bob(one))), libc::ENOENT, "{one}");
        assert_eq!(errno(rename(scene.to_bob(one), scene.to_bob("x"))), libc::ENOENT, "{one}");
        close(File::create_new(scene.to_bob(one)).unwrap());
        assert_eq!(errno(File::create_new(scene.to_bob(other))), libc::EEXIST, "{other}");
        assert_eq!(read(scene.to_bob(other)), b"as it is spelled");
    }
}

#[test]
fn a_file_is_removed_and_renamed_under_its_own_spelling() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    let [composed, decomposed] = PAIRS[0].map(|name| scene.to_bob(name));
    create(&composed, b"removed");
    create(&decomposed, b"kept");
    fs::remove_file(&composed).unwrap();
    assert_eq!(names_in(scene.to_bob("")), [PAIRS[0][1]]);

    rename(&decomposed, &composed).unwrap();

    assert_eq!(names_in(scene.to_bob("")), [PAIRS[0][0]]);
    assert_eq!(scene.received(), [(PAIRS[0][0].to_owned(), b"kept".to_vec())]);
}

#[test]
fn a_spelling_outlasts_the_mount_and_shows_the_name_on_the_wire() {
    let mut scene = Scene::new();
    let [composed, decomposed] = PAIRS[0];
    let path = scene.sent(decomposed, b"report");
    assert_eq!(scene.mount.attribute(&path, "filename").as_deref(), Some(composed));

    scene.mount.unmount();
    scene.mount.start(&scene.alice, &[]);

    assert_eq!(names_in(scene.to_bob("")), [decomposed]);
    assert_eq!(read(scene.to_bob(decomposed)), b"report");
    let rows = scene.alice.json(["ls", "outbox", "--offline", "--json"]);
    assert_eq!(rows[0]["name"], decomposed, "{rows:?}");
}

#[test]
fn what_has_arrived_is_found_under_either_spelling() {
    let mut scene = Scene::new();
    let [composed, decomposed] = PAIRS[0];
    scene.sent(decomposed, b"report");

    let mount = scene.bob.mount();
    mount.wait_for_file(mount.message(ALICE, composed));

    let either: [PathBuf; 2] = PAIRS[0].map(|name| mount.inbox(ALICE).join(name));
    for path in either {
        assert_eq!(read(path), b"report");
    }
    scene.mount.unmount();
}

#[test]
fn a_name_must_fit_as_it_is_spelled_and_in_nfc() {
    let mut scene = Scene::new();
    let create_new = |name: &str| errno(File::create_new(scene.to_bob(name)));
    // 300 bytes that would be 200, 150 bytes that would be 300, and 126 that are 252.
    assert_eq!(create_new(&"e\u{301}".repeat(100)), libc::ENAMETOOLONG);
    assert_eq!(create_new(&"\u{958}".repeat(50)), libc::ENAMETOOLONG);
    create(&scene.to_bob(&"\u{958}".repeat(42)), b"long");

    let received = scene.received();

    assert_eq!(received, [("\u{915}\u{93c}".repeat(42), b"long".to_vec())]);
}
