//! Whose directories can be made, whose stay, and what goes to people without a key here.

use std::io::Cursor;
use std::sync::Arc;
use std::time::SystemTime;

use super::{draft, name, payload, tags};
use crate::mailbox::options::MailboxOptions;
use crate::mailbox::{EntryName, MailboxError, SendState};
use crate::protocol::Identity;
use crate::testing::{Person, World};

/// The default of the product: addresses only.
fn addresses_only(options: &mut MailboxOptions) {
    options.outbox_new.clear();
}

async fn send_to(person: &Person, recipient: &str) -> Result<(), MailboxError> {
    let (recipient, file): (Identity, EntryName) =
        (recipient.parse().unwrap(), "a".parse().unwrap());
    let content = Box::new(Cursor::new(b"content".to_vec()));
    let (mtime, progress) = (SystemTime::UNIX_EPOCH, Arc::new(|_bytes| {}));
    let sent = person.mailbox.outbox().send(&recipient, &file, content, mtime, progress);
    sent.await.map(drop)
}

fn error_codes(person: &Person) -> Vec<(String, String)> {
    let snapshot = person.mailbox.snapshot();
    snapshot.errors.iter().map(|line| (line.code.clone(), line.subject.clone())).collect()
}

#[tokio::test]
async fn a_name_that_is_no_address_gets_no_directory_no_row_and_one_line() {
    let world = World::new();
    let alice = world.person_with("alice", addresses_only).await;
    let outbox = alice.mailbox.outbox();

    for dir in ["photos", "New Folder", "a@x,b@y", "a@x%2Cb@y", "%zz", "@team", "%40team", "*"] {
        for _again in 0..3 {
            let made = outbox.add_recipient_dir(dir).await;
            assert!(matches!(made, Err(MailboxError::NotARecipient(_))), "{dir}: {made:?}");
        }
        let recipient = dir.parse().unwrap();
        let created = outbox.create(&recipient, &name("x"), 0o600).await;
        assert!(matches!(created, Err(MailboxError::NotARecipient(_))), "{dir}");
        assert!(send_to(&alice, dir).await.is_err(), "{dir}");
    }

    assert!(alice.mailbox.snapshot().outbox.is_empty());
    assert_eq!(std::fs::read_dir(alice.home().join("state/spool")).unwrap().count(), 0);
    assert!(tags(&world, "").is_empty());
    let lines = error_codes(&alice);
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert!(lines.contains(&("bad-name".into(), "outbox/photos".into())), "{lines:?}");
}

/// Whatever is allowed, a directory has the name that was asked for.
#[tokio::test]
async fn a_pattern_does_not_make_a_directory_of_another_name() {
    let world = World::new();
    let alice = world.person("alice").await;
    let outbox = alice.mailbox.outbox();

    for dir in ["%zz", "%41", "a,b", "@team"] {
        assert!(outbox.add_recipient_dir(dir).await.is_err(), "{dir}");
    }
    for dir in ["photos", "a%2Cb", "%40team", "team%2Fa"] {
        assert_eq!(outbox.add_recipient_dir(dir).await.unwrap().dir_name(), dir);
    }
}

#[tokio::test]
async fn a_card_that_is_added_while_mounted_counts_at_once() {
    let world = World::new();
    let alice = world.person_with("alice", addresses_only).await;
    let bob = world.person("bob").await;
    assert!(alice.send(&bob, "a.txt", b"x").await.is_err());

    alice.trust_person(&bob);

    alice.send(&bob, "a.txt", b"x").await.unwrap();
    assert_eq!(alice.mailbox.outbox().add_recipient_dir("bob").await.unwrap(), bob.identity);
    alice.distrust(&bob);
    let refused = alice.mailbox.outbox().judge("bob");
    assert!(refused.is_err(), "{refused:?}");
    // The directory is listed, so it stays useful.
    alice.send(&bob, "b.txt", b"y").await.unwrap();
}

#[tokio::test]
async fn i_may_write_to_myself_under_any_name() {
    let world = World::new();
    let more = |options: &mut MailboxOptions| {
        addresses_only(options);
        options.me.push("spiffe://acme/ci".parse().unwrap());
    };
    let ci = world.person_with("ci", more).await;

    for me in ["ci", "spiffe://acme/ci"] {
        send_to(&ci, me).await.unwrap();
    }

    assert_eq!(ci.mailbox.status().outbox_unheld.recipient_count, 0);
}

#[tokio::test]
async fn directories_and_files_of_an_earlier_version_go_on() {
    let world = World::new();
    let mut alice = world.person("alice").await;
    let photos = world.person("photos").await;
    let odd = ["photos", "New Folder", "a%2Cb"];
    for dir in odd {
        alice.mailbox.outbox().add_recipient_dir(dir).await.unwrap();
    }
    let promised = draft(&alice, &photos, "promised.bin", &payload(300)).await;
    promised_to_the_queue(&alice, &promised).await;

    addresses_only(&mut alice.options);
    alice.restart(&world).await;

    let dirs: Vec<_> = alice.mailbox.snapshot().outbox.keys().cloned().collect();
    assert_eq!(dirs, ["New Folder", "a%2Cb", "photos"]);
    alice.mailbox.outbox().publish_all().await;
    alice.settle().await;
    alice.send(&photos, "another.bin", &payload(200)).await.unwrap();
    photos.trust_person(&alice);
    let listed: Vec<_> =
        photos.receive(&alice).await.iter().map(|item| item.name.clone()).collect();
    assert_eq!(listed, ["another.bin", "promised.bin"]);
    assert!(alice.mailbox.outbox().add_recipient_dir("videos").await.is_err());
}

async fn promised_to_the_queue(alice: &Person, file: &Arc<crate::mailbox::OutboxFile>) {
    let stop = tokio_util::sync::CancellationToken::new();
    alice.mailbox.outbox().prepare(file, &stop).await.unwrap();
    assert_eq!(file.state(), SendState::Prepared);
}

#[tokio::test]
async fn a_near_miss_is_made_and_said_once() {
    let world = World::new();
    let alice = world.person_with("alice@example.org", addresses_only).await;
    let bob = world.person("bob@example.org").await;
    alice.trust_person(&bob);
    let outbox = alice.mailbox.outbox();

    for _again in 0..2 {
        outbox.add_recipient_dir("bbo@example.org").await.unwrap();
        outbox.add_recipient_dir("Bob@example.org").await.unwrap();
        outbox.add_recipient_dir("dave@elsewhere.example").await.unwrap();
    }

    let snapshot = alice.mailbox.snapshot();
    let lines: Vec<_> = snapshot
        .errors
        .iter()
        .map(|line| format!("{} {} {}", line.code, line.text, line.hint.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        lines,
        [
            "near-miss `bbo@example.org` is new here, and almost `bob@example.org` \
             did you mean `bob@example.org`? If so, remove the new directory",
            "near-miss `Bob@example.org` is new here, and almost `bob@example.org` \
             did you mean `bob@example.org`? If so, remove the new directory",
        ]
    );
}

#[tokio::test]
async fn the_status_counts_what_goes_to_people_without_a_key_here() {
    let world = World::new();
    let alice = world.person_with("alice@example.org", addresses_only).await;
    let (bob, carol) =
        (world.person("bob@example.org").await, world.person("carol@example.org").await);
    alice.trust_person(&bob);
    alice.send(&bob, "a.txt", b"x").await.unwrap();
    alice.mailbox.outbox().add_recipient_dir("bobb@example.org").await.unwrap();
    let open = draft(&alice, &carol, "open.txt", b"not promised").await;

    let before = alice.mailbox.status().outbox_unheld;
    alice.send(&carol, "b.txt", b"y").await.unwrap();
    alice.send(&carol, "c.txt", b"z").await.unwrap();
    let after = alice.mailbox.status().outbox_unheld;
    alice.trust_person(&carol);
    // Any verdict reads the trust store.
    alice.mailbox.outbox().judge("carol@example.org").unwrap();
    let trusted = alice.mailbox.status().outbox_unheld;

    assert_eq!((before.file_count, before.recipient_count), (0, 2));
    assert_eq!(
        after.to_string(),
        "2 files to people whose key you do not hold: \
         bobb@example.org (0; almost bob@example.org), carol@example.org (2)"
    );
    assert_eq!((trusted.file_count, trusted.recipient_count), (0, 1));
    alice.mailbox.outbox().release_writer(&open);
}
