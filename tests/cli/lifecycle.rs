//! `recall`, `gc` and `key rotate`: what they say, with which exit code, and what is true then.

use serde_json::json;

use super::{failure, send};
use crate::common::{
    ALICE, BOB, Home, Registry, alice_and_bob, names_in, read, repository, temp_dir, write,
};

#[test]
fn a_message_is_recalled_by_digest_prefix_message_id_and_tag() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    for field in ["digest", "prefix", "message_id", "tag"] {
        let path = write(alice.dir().join("a.txt"), "hello");
        let sent = alice.json(["send".as_ref(), path.as_os_str(), "--to".as_ref(), BOB.as_ref()]);
        let text = |field: &str| sent[0][field].as_str().unwrap().to_owned();
        let reference = match field {
            "prefix" => text("digest")[7..19].to_owned(),
            field => text(field),
        };

        let recalled = alice.json(["recall", &reference]);

        assert_eq!(recalled[0]["digest"], sent[0]["digest"], "{field}");
        assert_eq!(recalled[0]["registry"], "deleted");
        assert_eq!((&recalled[0]["receipt"], &recalled[0]["left"]), (&json!(null), &json!([])));
        let again = alice.json(["recall", &text("digest")]);
        assert_eq!(again[0]["registry"], "already-gone");
    }
    let listed = alice.json(["ls", "outbox"]);
    assert_eq!(listed[0]["state"], "recalled");
    assert!(bob.receive().is_empty());
}

#[test]
fn a_recall_after_the_receipt_is_only_a_part_of_what_was_wanted() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    bob.receive();

    let recalled = alice.run(["recall", &digest]);

    assert_eq!(recalled.code(), 6, "{recalled:?}");
    assert!(recalled.text().contains("too late"), "{recalled:?}");
    assert!(recalled.text().contains("deleted from the registry"), "{recalled:?}");
}

#[test]
fn what_is_no_message_of_mine_is_not_found() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    bob.run(["ls"]).ok();

    let theirs = bob.run(["recall", &digest]);
    let nobodys = bob.run(["recall", "0123456789ab"]);

    assert!(failure(&theirs, 5).contains("only its sender"), "{theirs:?}");
    failure(&nobodys, 5);
    assert_eq!(bob.receive().len(), 1);
}

#[test]
fn a_registry_that_refuses_deletion_says_so_and_nothing_is_broken() {
    let Some(registry) = Registry::docker_without_deletion() else { return };
    let (alice, bob) = alice_and_bob(&registry.reference("mail"));
    let digest = send(&alice, BOB, "a.txt", b"hello");

    let recalled = alice.run(["recall", &digest]);
    let collected = alice.run(["gc"]);
    let examined = alice.run(["doctor", "--write"]);

    let text = failure(&recalled, 3);
    assert!(text.contains("not recalled") && text.contains("storage.delete.enabled"), "{text}");
    assert_eq!(alice.json(["ls", "outbox"])[0]["state"], "sent");
    assert_eq!(collected.code(), 0, "nothing has expired: {collected:?}");
    assert!(examined.text().contains("cannot be deleted"), "{examined:?}");
    assert_eq!(bob.receive().len(), 1);
}

#[test]
fn a_message_on_docker_registry_is_recalled_without_a_trace() {
    let Some(registry) = Registry::docker() else { return };
    let (alice, bob) = alice_and_bob(&registry.reference("mail"));
    let digest = send(&alice, BOB, "a.txt", b"hello");

    let recalled = alice.json(["recall", &digest]);
    let examined = alice.run(["doctor", "--write"]);

    assert_eq!(recalled[0]["registry"], "deleted");
    assert_eq!(recalled[0]["left"], json!([]));
    assert!(examined.text().contains("can be deleted"), "{examined:?}");
    assert!(examined.text().contains("fallback"), "no referrers API: {examined:?}");
    assert!(bob.receive().is_empty());
}

#[test]
fn a_collection_that_finds_nothing_deletes_nothing() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    send(&alice, BOB, "a.txt", b"hello");
    let blobs = || names_in(dir.path().join("repository/blobs/sha256"));
    let before = blobs();

    for arguments in [&["gc", "--dry-run"][..], &["gc"]] {
        let ran = alice.json(arguments);

        let summary = &ran[0];
        assert_eq!(ran.len(), 1, "{ran:?}");
        assert_eq!(summary["dry_run"], arguments.len() == 2);
        for count in ["message_count", "kept_count", "swept_blob_count", "sent_count"] {
            assert_eq!(summary[count], 0, "{count}");
        }
    }
    assert!(alice.run(["gc"]).ok().contains("deleted 0 expired messages"));
    assert_eq!(blobs(), before);
    assert_eq!(bob.receive().len(), 1);
}

#[test]
fn a_rotated_key_is_vouched_for_and_what_came_before_stays_readable() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    send(&alice, BOB, "old.txt", b"old");
    send(&alice, ALICE, "to myself.txt", b"me");
    let old = alice.json(["key", "show"])[0]["fingerprint"].clone();

    let rotated = alice.json(["key", "rotate"]);
    send(&alice, BOB, "new.txt", b"new");
    let first = bob.dir().join("first");
    std::fs::create_dir(&first).unwrap();
    let waiting = bob.run(["recv", "--out", "first"]);
    let card = alice.card();
    let taken = bob.json(["trust", "add", card.to_str().unwrap(), "--yes"]);
    let received = bob.receive();

    let shown = alice.json(["key", "show"]);
    assert_eq!(rotated[0]["previous_fingerprint"], old);
    assert_eq!(shown[0]["fingerprint"], rotated[0]["fingerprint"]);
    assert_eq!(shown[0]["history"][0]["fingerprint"], old);
    assert_eq!(names_in(first), ["old.txt"], "{waiting:?}");
    assert_eq!(taken[0]["result"], "key-added");
    assert_eq!(taken[0]["vouched_by"], old);
    assert_eq!(received, [("new.txt".to_owned(), b"new".to_vec())]);
    assert_eq!(alice.receive().len(), 1, "my own old key still counts for me");
    let retired = rotated[0]["retired"].as_str().unwrap();
    assert!(String::from_utf8(read(retired)).unwrap().contains("PRIVATE KEY"));
}

#[test]
fn a_card_that_the_old_key_has_not_signed_is_not_vouched_for() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let thief = Home::init(ALICE, &repository(&dir));
    thief.run(["key", "rotate"]).ok();
    let card = thief.card();

    let asked = bob.run(["trust", "add", card.to_str().unwrap()]);
    let taken = bob.json(["trust", "add", card.to_str().unwrap(), "--yes"]);

    failure(&asked, 9);
    assert_eq!(taken[0]["vouched_by"], json!(null));
    drop(alice);
}
