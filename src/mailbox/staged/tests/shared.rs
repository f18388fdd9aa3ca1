//! One content for several recipients: each has its own promise, place and outcome.

use super::*;

fn pair(desk: &Desk) -> [Staging; 2] {
    let mut pair: Vec<_> = desk.draft(&["bob", "carol"]);
    let _changed = pair[0].file.write_at(0, b"content").unwrap();
    let [carol, bob] = [pair.pop().unwrap(), pair.pop().unwrap()];
    [bob, carol]
}

#[test]
fn a_write_voids_every_promise() {
    let desk = Desk::new();
    let [mut bob, mut carol] = pair(&desk);
    bob.prepare(Trouble::None).unwrap();
    carol.enqueue(Trouble::None).unwrap();
    let place = carol.file.queue_place().unwrap();

    let changed = bob.file.write_at(0, b"other").unwrap();

    assert_eq!(changed.voided, [("carol".parse().unwrap(), place)]);
    assert_eq!(bob.file.state(), SendState::Draft);
    assert_eq!(carol.file.state(), SendState::Draft);
}

#[test]
fn each_is_sent_separately_and_the_last_one_ends_the_staged_bytes() {
    let desk = Desk::new();
    let [mut bob, mut carol] = pair(&desk);
    let staged = desk.dir.path().join(bob.file.unique_name());
    bob.prepare(Trouble::None).unwrap();
    bob.publish(Trouble::None).unwrap();

    assert_eq!(bob.file.state(), SendState::Sent);
    assert_eq!(carol.file.state(), SendState::Draft);
    assert!(staged.exists() && carol.file.is_readable_here());

    carol.prepare(Trouble::None).unwrap();
    assert_ne!(carol.file.digest(), bob.file.digest());
    carol.publish(Trouble::None).unwrap();
    assert!(!staged.exists());
    assert!(!carol.file.is_readable_here());
}

#[test]
fn a_content_that_one_recipient_has_is_immutable() {
    let desk = Desk::new();
    let [mut bob, mut carol] = pair(&desk);
    bob.prepare(Trouble::None).unwrap();
    bob.publish(Trouble::None).unwrap();

    let written = carol.file.write_at(0, b"other").map(drop);

    assert!(matches!(written, Err(MailboxError::NotPermitted(_))), "{written:?}");
    assert!(!carol.open());
}

#[test]
fn a_failure_or_a_removal_of_one_leaves_the_other() {
    let desk = Desk::new();
    let [mut bob, mut carol] = pair(&desk);
    assert!(bob.prepare(Trouble::Refused).is_err());
    carol.prepare(Trouble::None).unwrap();

    let _left = bob.file.remove();
    bob.file.remove_staged();

    assert_eq!(bob.file.state(), SendState::Failed);
    assert_eq!(carol.file.state(), SendState::Prepared);
    assert_eq!(carol.bytes(), b"content");
    assert!(carol.publish(Trouble::None).is_some());
}

#[test]
fn renaming_one_leaves_the_promise_of_the_other() {
    let desk = Desk::new();
    let [mut bob, mut carol] = pair(&desk);
    bob.prepare(Trouble::None).unwrap();
    carol.prepare(Trouble::None).unwrap();

    bob.rename("for-bob.pdf");

    assert_eq!(bob.file.state(), SendState::Draft);
    assert_eq!(carol.file.state(), SendState::Prepared);
    assert!(carol.publish(Trouble::None).is_some());
}

#[test]
fn what_one_delivery_reads_is_not_parked_by_the_other() {
    let desk = Desk::new();
    let [mut bob, mut carol] = pair(&desk);
    bob.file.close_writer();
    bob.enqueue(Trouble::None).unwrap();
    carol.enqueue(Trouble::None).unwrap();
    assert!(carol.file.begin_delivery().unwrap());

    bob.file.park();
    assert!(!bob.file.is_parked(), "a delivery is at work on it");
    carol.file.defer_delivery();
    bob.file.park();

    assert!(bob.file.is_parked());
}
