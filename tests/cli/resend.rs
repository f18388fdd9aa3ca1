//! `resend`: what goes once more, what does not, and how that is said.

use super::{failure, send};
use crate::common::{BOB, alice_and_bob, read, repository, temp_dir, write};

#[test]
fn a_recalled_message_is_sent_once_more_from_its_file() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    alice.run(["recall", &digest]).ok();
    let file = alice.dir().join("a.txt");

    let resent = alice.json(["resend", &digest, file.to_str().unwrap()]);

    assert_eq!(resent[0]["repeats"].as_str(), Some(digest.as_str()));
    assert_eq!((&resent[0]["to"], &resent[0]["name"]), (&BOB.into(), &"a.txt".into()));
    assert_ne!(resent[0]["digest"].as_str(), Some(digest.as_str()));
    assert_eq!(bob.receive(), [("a.txt".to_owned(), b"hello".to_vec())]);
    let listed = alice.json(["ls", "outbox"]);
    assert_eq!((listed.len(), &listed[0]["digest"]), (1, &resent[0]["digest"]));
}

#[test]
fn what_the_recipient_has_or_finds_is_refused_unless_again_is_given() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");

    let there = alice.run(["resend", &digest]);
    assert_eq!(bob.receive().len(), 1);
    let accepted = alice.run(["resend", &digest]);
    let again = alice.run(["resend", &digest, "--again"]);

    let text = failure(&there, 1);
    assert!(text.contains("a second time") && text.contains("--again"), "{text}");
    let text = failure(&accepted, 1);
    assert!(text.contains("has accepted it") && text.contains("--again"), "{text}");
    assert_eq!(again.code(), 0, "{again:?}");
    assert_eq!(bob.receive().len(), 1, "the second one");
}

#[test]
fn content_that_is_gone_is_asked_for_and_only_the_right_file_is_taken() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    std::fs::remove_dir_all(dir.path().join("repository")).unwrap();
    let other = write(alice.dir().join("other.txt"), "hullo");
    let file = alice.dir().join("a.txt");

    let gone = alice.run(["resend", &digest]);
    let wrong = alice.run(["resend", &digest, other.to_str().unwrap()]);
    let missing = alice.run(["resend", &digest, "/does/not/exist"]);
    let folder = alice.run(["resend", &digest, "/tmp"]);
    let right = alice.run(["resend", &digest, file.to_str().unwrap()]);

    let text = failure(&gone, 5);
    assert!(
        text.contains("no longer has its content") && text.contains("resend REF FILE"),
        "{text}"
    );
    let text = failure(&wrong, 4);
    assert!(text.contains("not the one that was sent"), "{text}");
    failure(&missing, 5);
    failure(&folder, 1);
    assert_eq!(right.code(), 0, "{right:?}");
    assert!(right.text().contains(&format!("repeats {digest}")), "{right:?}");
    assert_eq!(bob.receive(), [("a.txt".to_owned(), read(file))]);
}

#[test]
fn what_is_not_mine_cannot_be_sent_once_more() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    bob.run(["ls"]).ok();

    let theirs = bob.run(["resend", &digest, "--again"]);
    let nobodys = bob.run(["resend", "0123456789ab"]);

    assert!(failure(&theirs, 5).contains("not a message that you sent"), "{theirs:?}");
    failure(&nobodys, 5);
}

#[test]
fn doctor_looks_for_what_was_sent() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let check = || {
        let checks = alice.json(["doctor"]);
        let sent = checks.into_iter().find(|check| check["check"] == "sent").unwrap();
        (sent["outcome"].clone(), sent["detail"].as_str().unwrap().to_owned())
    };
    let none = check();
    send(&alice, BOB, "a.txt", b"hello");
    let there = check();
    std::fs::remove_dir_all(dir.path().join("repository")).unwrap();
    let gone = check();

    assert_eq!((none.0, there.0), ("ok".into(), "ok".into()));
    assert!(there.1.starts_with("1 message without a receipt, 1 of them"), "{}", there.1);
    assert_eq!(gone.0, "warning");
    assert!(gone.1.contains("1 not found, such as inbox-"), "{}", gone.1);
    drop(bob);
}
