//! `--json`: every verb prints objects, one per line, with the members that scripts rely on.

use serde_json::Value;

use super::send;
use crate::common::{ALICE, BOB, Home, alice_and_bob, repository, run, temp_dir, write};

/// Runs a verb with `--json` and checks that each line is an object with `members`.
#[track_caller]
fn objects(home: &Home, arguments: &[&str], members: &[&str]) -> Vec<Value> {
    let lines = home.json(arguments);
    assert!(!lines.is_empty(), "{arguments:?} printed nothing");
    for line in &lines {
        for member in members {
            assert!(line.get(member).is_some(), "{arguments:?}: no `{member}` in {line}");
        }
    }
    lines
}

#[test]
fn every_verb_prints_objects() {
    let dir = temp_dir();
    let registry = repository(&dir);
    let (alice, bob) = alice_and_bob(&registry);
    write(alice.dir().join("a.txt"), "hello");

    objects(&alice, &["init"], &["me", "registry", "config", "key", "fingerprint", "card"]);
    let sent = objects(
        &alice,
        &["send", "a.txt", "--to", BOB],
        &["to", "name", "digest", "message_id", "bytes"],
    );
    let digest = sent[0]["digest"].as_str().unwrap();
    let listed = objects(&bob, &["ls"], &["listing", "peer", "name", "bytes", "at", "digest"]);
    assert_eq!(listed[0]["digest"], sent[0]["digest"]);
    assert_eq!((listed[0]["peer"].as_str(), listed[0]["bytes"].as_u64()), (Some(ALICE), Some(5)));
    let verified =
        objects(&bob, &["verify", digest, "--explain"], &["sender", "signer", "explain"]);
    assert_eq!(verified[0]["verified"], true);
    let received = objects(
        &bob,
        &["recv"],
        &["path", "sender", "digest", "message_id", "bytes", "created_at"],
    );
    assert_eq!(received[0]["digest"], sent[0]["digest"]);
    objects(&bob, &["ack", digest, "--status", "accepted"], &["message", "status"]);
    objects(&alice, &["ls", "receipts"], &["peer", "name", "receipt", "digest"]);
    let outbox = objects(&alice, &["ls", "outbox"], &["peer", "name", "state", "receipt"]);
    assert_eq!(outbox[0]["receipt"], "accepted");
    objects(&alice, &["status"], &["mount", "me", "fingerprint", "inbox_count"]);
    objects(&alice, &["key", "show"], &["me", "fingerprint", "algorithm", "path", "public_key"]);
    objects(&alice, &["key", "export"], &["name", "fingerprint", "public_key", "card"]);
    objects(&alice, &["trust", "ls"], &["senders"]);
    objects(&alice, &["trust", "export"], &["senders"]);
    objects(&alice, &["trust", "pending"], &["pending"]);
    objects(&alice, &["trust", "rm", BOB], &["removed"]);
    let card = bob.card();
    let added = ["trust", "add", card.to_str().unwrap(), "--yes"];
    objects(&alice, &added, &["name", "fingerprint", "result"]);
    objects(&alice, &["doctor"], &["check", "outcome", "detail"]);
}

#[test]
fn what_is_refused_is_an_object_too() {
    let dir = temp_dir();
    let (alice, bob) = (Home::init(ALICE, &repository(&dir)), Home::init(BOB, &repository(&dir)));
    let digest = send(&alice, BOB, "a.txt", b"hello");

    let listed = bob.json(["ls"]).len();
    let quarantine = objects(&bob, &["ls", "quarantine"], &["peer", "name", "why", "digest"]);
    let pending = objects(&bob, &["trust", "pending"], &["pending"]);
    let mut command = bob.command();
    command.args(["--json", "verify", &digest]);
    let verified = run(command);

    assert_eq!(listed, 0);
    assert_eq!(quarantine[0]["why"], "unknown-sender");
    assert_eq!(pending[0]["pending"][0]["claimed_sender"], ALICE);
    let shown: Value = serde_json::from_str(verified.text().trim_end()).unwrap();
    assert_eq!(shown["verified"], false);
    assert_eq!(shown["code"], "unknown-sender");
    let error: Value = serde_json::from_str(verified.stderr.trim_end()).unwrap();
    assert_eq!(error["exit"], 2);
}

#[test]
fn an_empty_listing_prints_nothing_and_is_no_error() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));

    for listing in ["inbox", "outbox", "receipts", "quarantine"] {
        assert_eq!(alice.json(["ls", listing]), Vec::<Value>::new(), "{listing}");
        let ran = alice.run(["ls", listing]);
        assert_eq!((ran.code(), ran.stderr.as_str()), (0, "nothing there\n"), "{ran:?}");
    }
    assert_eq!(alice.json(["recv"]), Vec::<Value>::new());
    assert_eq!(alice.json(["restore"]), Vec::<Value>::new());
}

#[test]
fn mounting_and_unmounting_say_where() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let place = alice.dir().join("mnt");
    std::fs::create_dir(&place).unwrap();
    let place = place.to_str().unwrap();

    let mounted = alice.json(["mount", place]);
    let status = alice.json(["status"]);
    let unmounted = alice.json(["umount", place]);

    assert_eq!(mounted[0]["mounted"], place);
    assert_eq!(status[0]["mount"]["dir"], place);
    assert!(unmounted[0].is_object(), "{unmounted:?}");
    assert_eq!(alice.json(["status"])[0]["mount"], Value::Null);
}
