//! `send` and `recv`: files there and back without a mount.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::{Duration, SystemTime};

use super::{failure, send};
use crate::common::{
    BOB, Running, alice_and_bob, log_like, names_in, random_bytes, read, repository, temp_dir,
    write,
};

#[test]
fn several_files_with_odd_names_arrive_whole() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let files = [
        ("report 2026.pdf", random_bytes(1, 300_000)),
        ("\u{e9}t\u{e9} \u{2014} \u{65e5}\u{672c}.txt", b"unicode".to_vec()),
        ("-dash", b"dash".to_vec()),
        ("empty", Vec::new()),
        ("100% 'quoted' \"$HOME\" \\.log", log_like(100_000)),
        (".hidden.part", b"send sends what it is given".to_vec()),
    ];
    for (name, content) in &files {
        write(alice.dir().join(name), content);
    }

    let mut command = alice.command();
    command.args(["send", "--chunk-bytes", "64KiB", "--to", BOB, "--"]);
    command.args(files.iter().map(|(name, _)| name));
    crate::common::run(command).ok();

    let mut expected: Vec<(String, Vec<u8>)> =
        files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    expected.sort();
    assert_eq!(bob.receive(), expected);
}

#[test]
fn a_name_that_is_not_text_arrives_in_its_safe_form() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let names = [&b"latin-\xe9.txt"[..], b"new\nline"];
    for name in names {
        write(alice.dir().join(OsStr::from_bytes(name)), "x");
    }
    let mut command = alice.command();
    command.args(["send", "--to", BOB]).args(names.map(OsStr::from_bytes));

    crate::common::run(command).ok();

    let received: Vec<String> = bob.receive().into_iter().map(|(name, _)| name).collect();
    assert_eq!(received.len(), 2, "{received:?}");
    for name in received {
        assert!(!name.contains(char::is_control), "{name:?}");
    }
}

#[test]
fn standard_input_is_a_file_with_a_given_name() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let content = random_bytes(2, 200_000);
    let mut command = alice.command();
    command.args(["send", "-", "--name", "from pipe.bin", "--to", BOB]);

    Running::start_with_input(command, &content).end().ok();

    assert_eq!(bob.receive(), [("from pipe.bin".to_owned(), content)]);
}

#[test]
fn a_name_that_is_a_path_is_refused() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));

    for name in ["a/b", "..", ".", "", "x\u{1b}[2J", "/etc/passwd"] {
        let mut command = alice.command();
        command.args(["send", "-", "--to", BOB]).arg(format!("--name={name}"));
        let ran = Running::start_with_input(command, b"x").end();

        assert_ne!(ran.code(), 0, "{name:?}: {ran:?}");
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
    }
    assert_eq!(bob.receive(), []);
}

#[test]
fn gzip_is_read_like_zstd() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let content = log_like(500_000);
    write(alice.dir().join("a.log"), &content);

    alice.run(["send", "a.log", "--to", BOB, "--compression", "gzip"]).ok();

    assert_eq!(bob.receive(), [("a.log".to_owned(), content)]);
}

#[test]
fn a_file_is_received_once_and_again_only_when_asked() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    send(&alice, BOB, "a.txt", b"hello");

    bob.run(["recv", "--out", "."]).ok();
    let again = bob.run(["recv", "--out", "."]);
    assert_eq!((again.code(), again.text().as_str()), (0, ""), "{again:?}");
    assert!(again.stderr.contains("nothing new"), "{again:?}");
    assert!(!names_in(bob.dir()).contains(&"a (2).txt".to_owned()));
    bob.run(["recv", "--all"]).ok();

    assert_eq!(read(bob.dir().join("a.txt")), b"hello");
    assert_eq!(read(bob.dir().join("a (2).txt")), b"hello");
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let out = bob.dir().join("out");
    std::fs::create_dir(&out).unwrap();
    write(out.join("a.txt"), "mine");
    symlink("../stolen", out.join("b.txt")).unwrap();
    std::fs::create_dir(out.join("c.txt")).unwrap();
    for name in ["a.txt", "b.txt", "c.txt"] {
        send(&alice, BOB, name, b"theirs");
    }

    bob.run(["recv".as_ref(), "--out".as_ref(), out.as_os_str()]).ok();

    assert_eq!(read(out.join("a.txt")), b"mine");
    assert!(!bob.dir().join("stolen").exists());
    for name in ["a (2).txt", "b (2).txt", "c (2).txt"] {
        assert_eq!(read(out.join(name)), b"theirs", "{:?}", names_in(&out));
    }
    assert_eq!(names_in(&out).len(), 6, "{:?}", names_in(&out));
}

#[test]
fn a_received_file_is_private_and_has_the_time_it_was_sent() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    send(&alice, BOB, "a.txt", b"hello");

    let received = bob.json(["recv"]);

    let metadata = std::fs::metadata(bob.dir().join("a.txt")).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let sent: dockercomms::protocol::Timestamp =
        received[0]["created_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(metadata.mtime(), sent.unix_secs());
}

#[test]
fn a_directory_that_is_not_there_costs_no_message() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    send(&alice, BOB, "a.txt", b"hello");

    failure(&bob.run(["recv", "--out", "missing"]), 5);

    assert!(
        alice.json(["ls", "receipts"]).is_empty(),
        "a receipt for a file that was not received"
    );
    assert_eq!(bob.receive().len(), 1);
}

#[test]
fn max_takes_the_oldest_and_since_leaves_the_old() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    for name in ["a", "b", "c"] {
        send(&alice, BOB, name, name.as_bytes());
    }

    assert!(bob.json(["recv", "--since", "2100-01-01"]).is_empty());
    assert_eq!(bob.json(["recv", "--max", "2"]).len(), 2);
    assert_eq!(bob.json(["recv", "--since", "1d"]).len(), 1);
    assert!(bob.json(["recv"]).is_empty());
}

#[test]
fn the_sender_learns_that_it_arrived() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    assert!(alice.json(["ls", "receipts"]).is_empty());

    bob.receive();

    let receipts = alice.json(["ls", "receipts"]);
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    assert_eq!(receipts[0]["receipt"], "accepted");
    assert_eq!(receipts[0]["digest"], digest.as_str());
}

#[test]
fn a_message_to_somebody_else_is_not_received() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    send(&alice, "carol@example.com", "a.txt", b"hello");

    assert_eq!(bob.receive(), []);
    assert!(bob.json(["ls", "quarantine"]).is_empty());
}

#[test]
fn one_can_write_to_oneself() {
    let dir = temp_dir();
    let (_alice, bob) = alice_and_bob(&repository(&dir));
    send(&bob, BOB, "note.txt", b"remember");

    assert_eq!(bob.receive(), [("note.txt".to_owned(), b"remember".to_vec())]);
}

#[test]
fn an_old_file_s_time_does_not_make_the_message_old() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let path = write(alice.dir().join("old.txt"), "old");
    let old = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();

    alice.run(["send", "old.txt", "--to", BOB, "--ttl", "1d"]).ok();

    assert_eq!(bob.receive().len(), 1);
}

#[test]
fn two_people_at_one_repository_at_once_lose_nothing() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let start = |number: usize| {
        let path = write(alice.dir().join(format!("{number}.txt")), number.to_string());
        let mut command = alice.command();
        command.arg("send").arg(path).args(["--to", BOB]);
        Running::start(command)
    };

    let started: Vec<Running> = (0..6).map(start).collect();
    for sending in started {
        sending.end().ok();
    }

    assert_eq!(bob.receive().len(), 6);
}
