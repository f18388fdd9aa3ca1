//! The table of exit codes, each by a situation that people really get into.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::{failure, send};
use crate::common::{
    ALICE, BOB, Fifo, Home, HttpServer, Running, alice_and_bob, names_in, need_root, read,
    repository, run, temp_dir, wait_until, write,
};

/// A reference on a port that nothing listens on.
const NOBODY_THERE: &str = "docker://127.0.0.1:1/mail";

/// Returns the file of a blob in an image-layout directory.
fn blob(dir: &tempfile::TempDir, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").expect("a digest");
    dir.path().join("repository/blobs/sha256").join(hex)
}

#[test]
fn one_for_what_has_no_meaning_here() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));

    let ran = alice.run(["send", "/", "--to", BOB, "--new"]);

    let text = failure(&ran, 1);
    assert!(text.contains("directory") && text.contains("hint: "), "{text}");
}

#[test]
fn one_for_a_machine_that_cannot_mount() {
    if !need_root() {
        return;
    }
    let dir = temp_dir();
    let alice = Home::of_ordinary_user();
    alice.initialise(ALICE, &repository(&dir));
    let mail = alice.dir().join("mail");
    let mut mkdir = alice.foreign("mkdir");
    mkdir.arg(&mail);
    run(mkdir).ok();
    let mut command = alice.command();
    // No `fusermount3` can be found.
    command.env("PATH", alice.dir()).arg("mount").arg(&mail);

    let ran = run(command);

    let text = failure(&ran, 1);
    assert!(text.contains("fusermount3") && text.contains("package fuse3"), "{text}");
}

#[test]
fn two_for_a_message_that_nobody_vouches_for() {
    let dir = temp_dir();
    let (alice, bob) = (Home::init(ALICE, &repository(&dir)), Home::init(BOB, &repository(&dir)));
    let digest = send(&alice, BOB, "a.txt", b"hello");

    let ran = bob.run(["verify", &digest]);
    let explained = bob.run(["verify", &digest, "--explain"]);

    let text = failure(&ran, 2);
    assert!(text.contains(ALICE) && text.contains("--explain"), "{text}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    failure(&explained, 2);
    assert!(explained.text().lines().count() > 1, "{explained:?}");
}

#[test]
fn two_for_a_signature_by_another_key_than_the_sender_s() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let mallory = Home::init(ALICE, &repository(&dir));
    let genuine = send(&alice, BOB, "a.txt", b"hello");
    let forged = send(&mallory, BOB, "a.txt", b"hello");

    bob.run(["verify", &genuine]).ok();
    failure(&bob.run(["verify", &forged]), 2);
}

#[test]
fn three_for_a_registry_that_lets_nobody_in() {
    for status in [401, 403] {
        let body = r#"{"errors":[{"code":"DENIED","message":"no"}]}"#;
        let server = HttpServer::start(move |_method, _target| (status, body.to_owned()));
        let alice = Home::init(ALICE, &server.reference("mail"));
        write(alice.dir().join("a.txt"), "hello");

        let ran = alice.run(["send", "a.txt", "--to", BOB, "--new"]);

        assert!(failure(&ran, 3).contains("docker login"), "{status}: {ran:?}");
    }
}

#[test]
fn three_for_a_directory_of_somebody_else_saying_how_to_share_it() {
    if !need_root() {
        return;
    }
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    send(&alice, BOB, "a.txt", b"hello");
    let bob = Home::of_ordinary_user();
    bob.initialise(BOB, &repository(&dir));
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();

    let received = bob.run(["recv"]);

    let text = failure(&received, 3);
    assert!(text.contains("chmod") && !text.contains("docker login"), "{text}");
}

#[test]
fn four_for_bytes_that_are_not_what_was_signed() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    let manifest: serde_json::Value = serde_json::from_slice(&read(blob(&dir, &digest))).unwrap();
    let layer = blob(&dir, manifest["layers"][0]["digest"].as_str().unwrap());
    let mut bytes = read(&layer);
    bytes[20] ^= 1;
    std::fs::remove_file(&layer).unwrap();
    write(&layer, bytes);

    let ran = bob.run(["verify", &digest]);

    failure(&ran, 4);
    assert!(!ran.text().contains("verified"), "{ran:?}");
}

#[test]
fn four_for_what_is_no_message() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    let manifest: serde_json::Value = serde_json::from_slice(&read(blob(&dir, &digest))).unwrap();
    // A receipt is a manifest in the same repository, but no message.
    bob.receive();
    let index = read(dir.path().join("repository/index.json"));
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let is_receipt = |entry: &&serde_json::Value| {
        entry["artifactType"].as_str().is_some_and(|kind| kind.contains("receipt"))
            || entry["annotations"]["org.opencontainers.image.ref.name"]
                .as_str()
                .is_some_and(|tag| tag.starts_with("receipt-"))
    };
    let receipts = index["manifests"].as_array().unwrap();
    let receipt = receipts.iter().find(is_receipt).expect("a receipt in the index");
    assert_ne!(receipt["digest"], manifest["config"]["digest"]);

    let ran = alice.run(["verify", receipt["digest"].as_str().unwrap()]);

    failure(&ran, 4);
}

#[test]
fn five_for_what_is_not_there() {
    let dir = temp_dir();
    let (alice, _bob) = alice_and_bob(&repository(&dir));
    let unknown = format!("sha256:{}", "ab".repeat(32));

    for arguments in [
        vec!["verify", unknown.as_str()],
        vec!["verify", "abcdef012345"],
        vec!["verify", "7f3c9a1e-0000-4000-8000-000000000001"],
        vec!["ack", unknown.as_str(), "--status", "accepted"],
        vec!["restore", "abcdef012345"],
        vec!["send", "nothing.txt", "--to", BOB],
        vec!["trust", "add", "nothing.card", "--yes"],
        vec!["trust", "rm", "carol@example.com"],
    ] {
        failure(&alice.run(&arguments), 5);
    }
}

#[test]
fn six_when_some_were_sent_and_others_not() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    write(alice.dir().join("a.txt"), "a");
    write(alice.dir().join("c.txt"), "c");

    let ran = alice.run(["send", "a.txt", "b.txt", "c.txt", "--to", BOB]);

    let text = failure(&ran, 6);
    assert!(text.contains("b.txt was not sent"), "{text}");
    assert_eq!(ran.text().lines().count(), 2, "{ran:?}");
    let names: Vec<String> = bob.receive().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.txt", "c.txt"]);
}

#[test]
fn seven_for_a_registry_that_cannot_be_reached() {
    let alice = Home::init(ALICE, NOBODY_THERE);
    alice.set("deadline = \"1s\"");
    write(alice.dir().join("a.txt"), "hello");

    let sent = alice.run(["send", "a.txt", "--to", BOB, "--new"]);
    let received = alice.run(["recv"]);
    let listed = alice.run(["ls"]);

    assert!(failure(&sent, 7).contains("doctor"), "{sent:?}");
    failure(&received, 7);
    // The list is shown all the same, and says that it may be old.
    assert_eq!(listed.code(), 0, "{listed:?}");
    assert!(listed.stderr.contains("may be old"), "{listed:?}");
}

#[test]
fn seven_for_a_receipt_that_did_not_go_out_and_it_follows() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    bob.run(["ls"]).ok();
    bob.set("deadline = \"1s\"");
    bob.set_variable("DOCKERCOMMS_REGISTRY", Some(NOBODY_THERE.as_ref()));

    let said = bob.run(["ack", &digest, "--status", "rejected", "--reason", "wrong version"]);
    bob.set_variable("DOCKERCOMMS_REGISTRY", None);

    let text = failure(&said, 7);
    assert!(said.text().is_empty() && text.contains("kept"), "{said:?}");
    wait_until("it goes out with the next command that sends receipts", || {
        bob.run(["recv", "--max", "0"]).ok();
        alice.run(["ls", "receipts"]).ok().contains("rejected")
    });
}

#[test]
fn f11_eight_for_a_second_mount_naming_the_first() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let mut first = alice.mount();
    let other = alice.dir().join("other");
    std::fs::create_dir(&other).unwrap();

    let ran = alice.run(["mount".as_ref(), other.as_os_str()]);

    let pid = first.server().pid().to_string();
    let text = failure(&ran, 8);
    assert!(text.contains(&pid), "process {pid}: {text}");
    // The first one continues as if nothing had happened.
    assert!(first.path().join("inbox").exists());
}

#[test]
fn nine_for_a_usage_or_a_configuration_that_cannot_be() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    write(alice.dir().join("a.txt"), "hello");

    for arguments in [
        vec!["frobnicate"],
        vec!["send", "a.txt"],
        vec!["send", "a.txt", "--to", ""],
        vec!["send", "-", "--to", BOB, "--new"],
        vec!["send", "a.txt", "a.txt", "--name", "x", "--to", BOB, "--new"],
        vec!["send", "a.txt", "--to", BOB, "--new", "--compression", "lzma"],
        vec!["send", "a.txt", "--to", BOB, "--new", "--chunk-bytes", "1"],
        vec!["recv", "--since", "yesterday"],
        vec!["verify", "hello"],
        vec!["ls", "attic"],
        vec!["man", "frobnicate"],
        vec!["--profile", "../x", "ls"],
        vec!["--profile", "work", "ls"],
        vec!["init", "--me", "carol@example.com"],
    ] {
        let ran = alice.run(&arguments);

        assert_eq!(ran.code(), 9, "{ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    }
}

#[test]
fn nine_before_anything_is_set_up() {
    let home = Home::new();
    let card = Home::init(BOB, "oci:/nowhere").card();
    let card = card.to_str().unwrap();
    std::fs::create_dir(home.dir().join("mail")).unwrap();

    for verb in [
        vec!["ls"],
        vec!["status"],
        vec!["key", "show"],
        vec!["doctor"],
        vec!["send", "a.txt", "--to", BOB],
        vec!["recv"],
        vec!["mount", "mail"],
        vec!["mount", "mail", "--foreground"],
        vec!["trust", "add", card, "--yes"],
        vec!["trust", "ls"],
        vec!["trust", "rm", BOB],
    ] {
        let ran = home.run(&verb);

        assert_eq!(ran.code(), 9, "{ran:?}");
        let text = format!("{ran:?}");
        assert!(text.contains("no identity") && text.contains("init --home"), "{ran:?}");
        assert!(!home.path().exists(), "{verb:?} wrote something");
    }
}

#[test]
fn nine_for_a_mistyped_profile_in_a_home_that_is_set_up() {
    let home = Home::init(ALICE, "oci:/nowhere");
    std::fs::create_dir(home.dir().join("mail")).unwrap();

    for verb in [vec!["send", "a.txt", "--to", BOB], vec!["recv"], vec!["mount", "mail"]] {
        let ran = home.run(["--profile", "wrok"].into_iter().chain(verb));

        assert!(failure(&ran, 9).contains("--profile wrok init"), "{ran:?}");
        assert!(!home.path().join("config/profiles").exists(), "{ran:?}");
    }
}

#[test]
fn nine_for_a_setting_that_nobody_knows_naming_it_and_the_line() {
    let dir = temp_dir();
    for (line, expected) in [
        ("dellivery = \"sync\"", "dellivery"),
        ("poll = \"soon\"", "poll"),
        ("poll = \"1ms\"", "poll"),
        ("deadline = [1]", "deadline"),
        ("chunk_bytes = \"1TiB\"", "chunk_bytes"),
        ("delivery = \"later\"", "delivery"),
        ("compression = \"lzma\"", "compression"),
        ("[profile", "config.toml"),
    ] {
        let alice = Home::init(ALICE, &repository(&dir));
        alice.set(line);

        let ran = alice.run(["ls"]);

        assert!(failure(&ran, 9).contains(expected), "{line}: {ran:?}");
        let file = String::from_utf8(read(alice.path().join("config/config.toml"))).unwrap();
        let number = format!("line {}", file.lines().count());
        let is_syntax = ran.stderr.contains("config.toml");
        assert!(!is_syntax || ran.stderr.contains(&number), "{number}: {ran:?}");
    }
}

#[test]
fn a_hundred_and_thirty_when_interrupted_and_nothing_is_sent() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let mut fifo = Fifo::new(alice.dir().join("slow.txt"));
    let mut command = alice.command();
    command.args(["send", "slow.txt", "--to", BOB]);
    let sending = Running::start(command);
    fifo.feed(b"half");
    wait_until("the draft is there", || {
        alice.run(["ls", "outbox", "--offline"]).text().contains("slow.txt")
    });

    sending.signal(Signal::SIGINT);
    let ran = sending.end();
    fifo.finish();

    failure(&ran, 130);
    assert_eq!(bob.receive(), []);
    let staged = names_in(alice.path().join("state/spool"));
    assert!(staged.is_empty(), "a copy stayed behind: {staged:?}");
    assert!(alice.json(["ls", "outbox", "--offline"]).is_empty());
}

#[test]
fn every_failure_is_one_object_with_json() {
    let alice = Home::init(ALICE, NOBODY_THERE);
    alice.set("deadline = \"1s\"");
    let mut command = alice.command();
    command.args(["--json", "recv"]);

    let ran = run(command);

    assert_eq!(ran.code(), 7, "{ran:?}");
    let error: serde_json::Value = serde_json::from_str(ran.stderr.trim_end()).unwrap();
    assert_eq!((error["exit"].as_u64(), error["code"].as_str()), (Some(7), Some("unreachable")));
    assert!(error["hint"].is_string() && error["causes"].is_array(), "{error}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn a_usage_error_is_an_object_with_json_too() {
    for arguments in
        [vec!["--json", "send"], vec!["--json", "frobnicate"], vec!["ls", "x", "--json"]]
    {
        let ran = Home::new().run(arguments);

        let error: serde_json::Value = serde_json::from_str(ran.stderr.trim_end()).unwrap();
        assert_eq!((ran.code(), error["exit"].as_u64()), (9, Some(9)), "{ran:?}");
        assert!(!error["error"].as_str().unwrap().is_empty(), "{ran:?}");
    }
}

#[test]
fn a_place_that_cannot_be_mounted_on_is_said_to_be_one() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let full = alice.dir().join("full");
    std::fs::create_dir(&full).unwrap();
    let file = write(full.join("file"), "x");

    for (place, expected) in
        [(alice.dir().join("missing"), "missing"), (full, "empty"), (file, "directory")]
    {
        let mounted = alice.run(["mount".as_ref(), place.as_os_str()]);
        let unmounted = alice.run(["umount".as_ref(), place.as_os_str()]);

        assert!(failure(&mounted, 9).contains(expected), "{mounted:?}");
        failure(&unmounted, 5);
    }
}
