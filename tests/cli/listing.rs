//! `ls`, `ack`, `status`, `doctor`: what people read.

use std::time::Duration;

use dockercomms::store::Store;
use dockercomms::sys::{Clock as _, SystemClock};

use super::{failure, send};
use crate::common::{ALICE, BOB, Home, alice_and_bob, repository, temp_dir, write};

#[test]
fn each_listing_shows_its_own() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let carol = Home::init("carol@example.com", &repository(&dir));
    let digest = send(&alice, BOB, "report.pdf", b"hello");
    send(&carol, BOB, "offer.txt", b"buy");

    let inbox = bob.run(["ls"]).ok();
    let quarantine = bob.run(["ls", "quarantine"]).ok();
    let outbox = alice.run(["ls", "outbox"]).ok();

    let short = &digest["sha256:".len()..][..12];
    assert!(inbox.contains(short) && inbox.contains(ALICE) && inbox.contains("report.pdf"));
    assert!(!inbox.contains("offer.txt"), "{inbox}");
    assert!(quarantine.contains("carol@example.com (claimed)"), "{quarantine}");
    assert!(quarantine.contains("unknown-sender"), "{quarantine}");
    assert!(!quarantine.contains("report.pdf"), "{quarantine}");
    assert!(outbox.contains(BOB) && outbox.contains("sent"), "{outbox}");
}

#[test]
fn a_long_name_is_cut_for_a_terminal_only() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let long = format!("{}.pdf", "n".repeat(251));
    send(&alice, BOB, &long, b"hello");

    let Some(ran) = super::on_terminal(&bob, "ls", "") else { return };
    let shown = ran.text();
    let piped = bob.run(["ls"]).ok();
    let json = bob.json(["ls"]);

    let line = shown.lines().find(|line| line.contains(ALICE)).unwrap_or_default();
    assert!(line.len() < 160 && line.contains("...") && line.contains("n.pdf"), "{shown}");
    assert!(piped.contains(&long), "{piped}");
    assert_eq!(json[0]["name"], long.as_str());
}

#[test]
fn one_thing_is_not_called_several() {
    let dir = temp_dir();
    let (alice, bob) = (Home::init(ALICE, &repository(&dir)), Home::init(BOB, &repository(&dir)));
    alice.trust(&bob);
    send(&alice, BOB, "a.txt", b"hello");

    let received = bob.run(["recv"]);
    let pending = bob.run(["trust", "pending"]).ok();
    let examined = alice.run(["doctor"]).text();

    for (text, expected) in
        [(received.stderr, "1 message;"), (pending, "1 message "), (examined, "1 sender\n")]
    {
        assert!(text.contains(expected), "{expected:?}: {text}");
    }
}

#[test]
fn doctor_recommends_something_else_than_doctor() {
    let alice = Home::init(ALICE, "docker://127.0.0.1:1/mail");
    alice.set("deadline = \"1s\"");

    let ran = alice.run(["doctor"]);

    let text = ran.text();
    assert_eq!(ran.code(), 7, "{ran:?}");
    let after = text.lines().skip_while(|line| !line.contains("FAIL  registry"));
    let hint = after.skip(1).find(|line| line.contains("hint: ")).unwrap_or_default();
    assert!(hint.contains("network") && !hint.contains("doctor"), "{ran:?}");
}

#[test]
fn looking_at_the_list_issues_no_receipt() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");

    bob.run(["ls"]).ok();
    bob.run(["verify", &digest]).ok();

    assert!(alice.json(["ls", "receipts"]).is_empty());
    assert!(bob.json(["ls", "receipts"]).is_empty());
}

#[test]
fn a_rejection_reaches_the_sender_with_its_reason() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    bob.run(["ls"]).ok();

    let short = &digest["sha256:".len()..][..12];
    bob.run(["ack", short, "--status", "rejected", "--reason", "wrong quarter"]).ok();

    let receipts = alice.json(["ls", "receipts"]);
    assert_eq!(receipts[0]["receipt"], "rejected", "{receipts:?}");
    assert_eq!(receipts[0]["digest"], digest.as_str());
    assert_eq!(alice.json(["ls", "outbox"])[0]["receipt"], "rejected");
    // A message that was answered is not fetched again.
    assert_eq!(bob.receive(), []);
}

#[test]
fn the_same_receipt_again_changes_nothing() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    bob.receive();

    bob.run(["ack", &digest, "--status", "accepted"]).ok();

    assert_eq!(alice.json(["ls", "receipts"]).len(), 1);
    assert_eq!(bob.json(["ls", "receipts"]).len(), 1);
}

#[test]
fn every_form_of_a_reference_names_the_message() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    write(alice.dir().join("a.txt"), "hello");
    let sent = alice.json(["send", "a.txt", "--to", BOB]);
    let text = |member: &str| sent[0][member].as_str().unwrap().to_owned();
    bob.run(["ls"]).ok();
    let hex = text("digest")["sha256:".len()..].to_owned();

    for reference in [
        text("digest"),
        hex.clone(),
        hex[..12].to_owned(),
        format!("sha256:{}", &hex[..8]),
        text("message_id"),
    ] {
        let verified = bob.json(["verify", &reference]);

        assert_eq!(verified[0]["digest"], sent[0]["digest"], "{reference}");
    }
    failure(&bob.run(["verify", &hex[..3]]), 9);
}

#[test]
fn status_never_asks_the_registry() {
    let alice = Home::init(ALICE, "docker://127.0.0.1:1/mail");

    let status = alice.run(["status"]).ok();

    assert!(status.contains(ALICE) && status.contains("127.0.0.1:1/mail"), "{status}");
    assert!(status.contains("SHA256:"), "{status}");
}

#[test]
fn doctor_finds_what_is_wrong_and_says_what_to_do() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));

    let healthy = alice.run(["doctor", "--write"]);
    alice.set("deadline = \"1s\"");
    write(alice.path().join("config/trust.toml"), "[[sender]]\nname = 7\n");
    let sick = alice.run(["doctor"]);

    assert_eq!(healthy.code(), 0, "{healthy:?}");
    let text = healthy.text();
    assert!(text.contains("you trust no one") && text.contains("trust add"), "{text}");
    assert!(text.contains("can be pushed"), "{text}");
    assert_ne!(sick.code(), 0, "{sick:?}");
    assert!(sick.text().contains("FAIL  trust"), "{sick:?}");
}

#[test]
fn what_doctor_writes_is_not_mail() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));

    alice.run(["doctor", "--write"]).ok();

    for home in [&alice, &bob] {
        assert!(home.json(["ls"]).is_empty());
        assert!(home.json(["ls", "quarantine"]).is_empty());
    }
}

#[test]
fn doctor_takes_back_a_time_that_a_wrong_clock_has_left() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    alice.run(["ls"]).ok();
    let day = Duration::from_hours(24);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&alice.path().join("state")).await.unwrap();
        store.raise_clock((SystemClock.now() + day).into()).await.unwrap();
    });

    let warned = alice.run(["doctor"]).ok();
    let trusted = alice.run(["doctor", "--trust-clock"]).ok();
    let afterwards = alice.run(["doctor"]).ok();

    assert!(warned.contains("warn  expiry") && warned.contains("--trust-clock"), "{warned}");
    for text in [trusted, afterwards] {
        assert!(text.contains("ok    expiry"), "{text}");
    }
}
