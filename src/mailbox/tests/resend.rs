//! Sending once more what the registry has lost, and not what would arrive twice.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use super::scene::Scene;
use super::{digest_of, payload};
use crate::mailbox::{Content, MailboxError, ResendRefusal, Resent};
use crate::protocol::{Digest, ErrorClass};
use crate::registry::fault::Fault;
use crate::registry::memory::Operation;
use crate::registry::{RegistryError, Repository as _};
use crate::store::PUT_BACK_COUNT_MAX;
use crate::testing::{Person, World};

async fn resend(
    person: &Person,
    digest: &Digest,
    content: Content,
    again: bool,
) -> Result<Resent, MailboxError> {
    person.mailbox.resend(digest, content, again, Arc::new(|_bytes| {})).await
}

fn file(content: &[u8]) -> Content {
    Content::File(Box::new(Cursor::new(content.to_vec())))
}

fn refusal(result: Result<Resent, MailboxError>) -> ResendRefusal {
    match result {
        Err(MailboxError::Resend(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn what_was_given_up_goes_once_more_from_the_registry() {
    let scene = Scene::new().await;
    for _ in 0..=PUT_BACK_COUNT_MAX {
        scene.take_tag();
        scene.look_twice().await;
    }

    let resent = resend(&scene.alice, &scene.digest, Content::Registry, false).await.unwrap();

    assert_ne!(resent.message.digest, scene.digest.to_string());
    let listed = scene.bob.receive(&scene.alice).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, "report");
    assert_eq!(scene.bob.read(&listed[0]).await.unwrap(), payload(250));
    let unconfirmed = scene.alice.mailbox.core.store.unconfirmed().await.unwrap();
    assert_eq!(unconfirmed.len(), 1, "the old one is no longer looked after");
    assert_eq!(unconfirmed[0].digest.to_string(), resent.message.digest);
}

#[tokio::test]
async fn a_lost_message_goes_once_more_from_its_file_and_only_from_that() {
    let scene = Scene::new().await;
    scene.remove_message();
    for blob in scene.world.memory.blobs() {
        scene.world.memory.remove_blob(&blob);
    }
    scene.look_twice().await;

    let without = resend(&scene.alice, &scene.digest, Content::Registry, false).await;
    let content = payload(250);
    let mut changed = content.clone();
    changed[120] ^= 1;
    let longer = [content.clone(), vec![0]].concat();
    let mut wrong = Vec::new();
    for bytes in [&changed[..], &content[..249], &content[..100], &longer, b""] {
        wrong.push(refusal(resend(&scene.alice, &scene.digest, file(bytes), false).await));
    }
    let listed = scene.alice.mailbox.snapshot().outbox_files().count();
    let resent = resend(&scene.alice, &scene.digest, file(&content), false).await.unwrap();
    let second = resend(&scene.alice, &scene.digest, file(&content), false).await;

    assert_eq!(refusal(second), ResendRefusal::AlreadyResent);
    assert_eq!(refusal(without), ResendRefusal::ContentGone);
    assert_eq!(wrong, vec![ResendRefusal::OtherContent; 5]);
    assert_eq!(listed, 1, "a refusal leaves nothing behind");
    assert_eq!(resent.recipient, scene.bob.identity);
    assert_eq!(scene.state(), "sent");
    let received = scene.bob.receive(&scene.alice).await;
    assert_eq!(received.len(), 1);
    assert_eq!(scene.bob.read(&received[0]).await.unwrap(), content);
    assert_eq!(scene.alice.mailbox.status().outbox_lost, 0);
}

#[tokio::test]
async fn an_empty_message_goes_once_more_from_an_empty_file() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "empty", b"").await.unwrap();
    let digest = digest_of(&sent.digest);
    alice.mailbox.recall(&digest).await.unwrap();

    let wrong = resend(&alice, &digest, file(b"x"), false).await;
    resend(&alice, &digest, file(b""), false).await.unwrap();

    assert_eq!(refusal(wrong), ResendRefusal::OtherContent);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn what_would_arrive_twice_goes_once_more_only_when_asked_to() {
    let scene = Scene::new().await;

    let there = resend(&scene.alice, &scene.digest, Content::Registry, false).await;
    let item = scene.bob.receive(&scene.alice).await.remove(0);
    scene.bob.read(&item).await.unwrap();
    scene.bob.settle().await;
    scene.take_tag();
    // The receipt is in the registry; alice has not seen it yet.
    let accepted = resend(&scene.alice, &scene.digest, Content::Registry, false).await;
    let again = resend(&scene.alice, &scene.digest, Content::Registry, true).await;

    assert_eq!(refusal(there), ResendRefusal::StillThere);
    assert_eq!(refusal(accepted), ResendRefusal::Accepted);
    assert!(again.is_ok(), "{again:?}");
    assert_eq!(scene.bob.receive(&scene.alice).await.len(), 2);
}

#[tokio::test]
async fn what_is_over_goes_once_more() {
    for why in ["recalled", "expired"] {
        let scene = Scene::new().await;
        if why == "recalled" {
            scene.alice.mailbox.recall(&scene.digest).await.unwrap();
        } else {
            scene.world.clock.advance(Duration::from_hours(8 * 24));
        }

        let resent = resend(&scene.alice, &scene.digest, file(&payload(250)), false).await;

        assert!(resent.is_ok(), "{why}: {resent:?}");
        assert_eq!(scene.bob.receive(&scene.alice).await.len(), 1, "{why}");
    }
}

#[tokio::test]
async fn what_is_not_sent_and_what_is_not_mine_is_not_sent_once_more() {
    let scene = Scene::new().await;
    let theirs = resend(&scene.bob, &scene.digest, Content::Registry, true).await.unwrap_err();
    let down = || RegistryError::Unreachable("down".into());
    scene.world.faulty.inject_always(Operation::ResolveTag, Fault::fail(down));

    let away = resend(&scene.alice, &scene.digest, Content::Registry, false).await.unwrap_err();

    assert_eq!(theirs.class(), ErrorClass::NotFound);
    assert_eq!(away.class(), ErrorClass::Unreachable);
}

#[tokio::test]
async fn a_newer_file_of_the_name_that_waits_is_not_given_up_for_an_old_one() {
    let scene = Scene::new().await;
    scene.remove_message();
    let snapshot = scene.alice.mailbox.snapshot();
    let sent = snapshot.outbox_files().find(|file| file.name() == "report").unwrap();
    scene.alice.mailbox.outbox().remove(sent).await.unwrap();
    let waiting = super::draft(&scene.alice, &scene.bob, "report", b"newer").await;

    let refused = resend(&scene.alice, &scene.digest, file(&payload(250)), false).await;

    assert_eq!(refusal(refused), ResendRefusal::NameTaken);
    assert!(!waiting.is_unlinked());
}

#[tokio::test]
async fn a_second_message_that_is_not_confirmed_yet_is_looked_after_in_place_of_the_first() {
    let scene = Scene::new().await;
    scene.take_tag();
    // Manifest and signature are taken; the tag is not.
    let first = scene.pushes() + 2;
    let denied = || RegistryError::Denied { reason: "no push".into() };
    scene.world.faulty.inject(Operation::PushManifest, first..u64::MAX, Fault::fail(denied));

    let sent = resend(&scene.alice, &scene.digest, Content::Registry, false).await;
    scene.world.faulty.heal();
    let again = resend(&scene.alice, &scene.digest, Content::Registry, false).await;
    scene.look_twice().await;

    assert!(matches!(sent, Err(MailboxError::Unconfirmed(_))), "{sent:?}");
    assert_eq!(refusal(again), ResendRefusal::AlreadyResent);
    assert!(!scene.is_tagged().await, "the old one would arrive beside the new one");
}

#[tokio::test]
async fn a_second_message_that_came_to_nothing_leaves_the_first_one_as_it_was() {
    let scene = Scene::new().await;
    scene.take_tag();
    let denied = || RegistryError::Denied { reason: "no push".into() };
    scene.world.faulty.inject_always(Operation::PushManifest, Fault::fail(denied));
    resend(&scene.alice, &scene.digest, Content::Registry, false).await.unwrap_err();

    scene.world.faulty.heal();
    scene.look_twice().await;

    assert!(scene.is_tagged().await);
}

#[tokio::test]
async fn a_time_that_the_clock_once_showed_neither_doubles_a_message_nor_ends_its_watch() {
    let scene = Scene::new().await;
    let right = scene.alice.mailbox.core.now().unix_secs().unsigned_abs();
    scene.look_after(Duration::from_hours(24 * 90)).await;
    scene.world.clock.jump_to(right + 60);

    let refused = resend(&scene.alice, &scene.digest, Content::Registry, false).await;
    let (alice, bob) = (&scene.alice, &scene.bob);
    let sent = alice.send(bob, "second", b"second").await.unwrap();
    scene.world.memory.remove_tag(&sent.tag.parse().unwrap());
    scene.look_twice().await;

    assert_eq!(refusal(refused), ResendRefusal::StillThere);
    let tag = sent.tag.parse().unwrap();
    let found = scene.world.memory.resolve_tag(&tag).await.unwrap();
    assert_eq!(found, Some(digest_of(&sent.digest)), "it is looked after");
}
