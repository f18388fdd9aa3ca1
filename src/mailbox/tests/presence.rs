//! Sent messages that are looked after: a tag that is taken away, a message that is lost, and what
//! is sent once more.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{A_WHILE, LONG, Scene};
use super::{digest_of, payload, tags};
use crate::protocol::{Message, MessageId, Tag};
use crate::registry::fault::{Fault, FaultyRepository};
use crate::registry::memory::Operation;
use crate::registry::{ManifestRef, RegistryError, Repository as _};
use crate::store::{Finding, PUT_BACK_COUNT_MAX, Standing};
use crate::testing::World;

#[tokio::test]
async fn a_tag_that_was_taken_away_is_put_back_and_the_message_arrives_once() {
    let scene = Scene::new().await;
    scene.take_tag();
    assert!(scene.bob.receive(&scene.alice).await.is_empty());

    scene.look_after(A_WHILE).await;
    let after_one = scene.is_tagged().await;
    scene.look_after(A_WHILE).await;

    assert!(!after_one, "one look proves nothing");
    assert!(scene.is_tagged().await);
    let listed = scene.bob.receive(&scene.alice).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(scene.bob.read(&listed[0]).await.unwrap(), payload(250));
    assert_eq!(scene.codes(), ["tag-put-back"]);
    assert_eq!(scene.record().await.put_back_count, 1);
    assert_eq!(scene.state(), "sent");
    scene.look_twice().await;
    assert_eq!(scene.bob.receive(&scene.alice).await.len(), 1);
    assert_eq!(scene.codes(), ["tag-put-back"], "said once");
}

#[tokio::test]
async fn a_tag_that_points_to_anything_else_is_put_back() {
    for foreign in ["junk", "manifest of somebody", "another message of ours"] {
        let scene = Scene::new().await;
        let other = scene.alice.send(&scene.bob, "second", b"second").await.unwrap();
        match foreign {
            "another message of ours" => {
                scene.world.memory.point_tag(&scene.tag, &digest_of(&other.digest));
            }
            other => {
                scene.world.memory.replace_manifest_at_tag(&scene.tag, other.to_owned());
            }
        }

        for _ in 0..4 {
            scene.look_after(A_WHILE).await;
        }

        assert!(scene.is_tagged().await, "{foreign}");
        assert_eq!(scene.codes(), ["tag-put-back"], "{foreign}");
        let errors = Arc::clone(&scene.alice.mailbox.snapshot().errors);
        assert!(errors[0].text.contains("pointed to sha256:"), "{}", errors[0].text);
        assert_eq!(scene.bob.receive(&scene.alice).await.len(), 2, "{foreign}");
    }
}

#[tokio::test]
async fn a_tag_is_put_back_three_times_and_never_again_not_even_after_a_restart() {
    let mut scene = Scene::new().await;
    let pushes_before = scene.pushes();

    for round in 1..=PUT_BACK_COUNT_MAX {
        scene.take_tag();
        scene.look_twice().await;
        assert!(scene.is_tagged().await, "{round}");
        scene.alice.restart(&scene.world).await;
    }
    scene.take_tag();
    scene.look_twice().await;
    scene.alice.restart(&scene.world).await;
    for _ in 0..10 {
        scene.look_after(LONG / 8).await;
    }

    assert!(!scene.is_tagged().await);
    assert_eq!(scene.pushes() - pushes_before, u64::from(PUT_BACK_COUNT_MAX));
    let expected = ["tag-put-back", "tag-put-back", "tag-put-back", "tag-given-up"];
    assert_eq!(scene.codes(), expected);
    let errors = Arc::clone(&scene.alice.mailbox.snapshot().errors);
    assert!(errors[2].text.contains("3 of at most 3"), "{}", errors[2].text);
    assert!(errors[3].hint.as_ref().unwrap().contains("dockercomms resend"), "{errors:?}");
    assert_eq!(scene.record().await.standing, Standing::GivenUp);
    assert_eq!(scene.state(), "sent", "the registry still has it");
}

#[tokio::test]
async fn a_registry_that_shows_the_tag_late_is_not_corrected() {
    let scene = Scene::new().await;
    let pushes = scene.pushes();
    scene.take_tag();
    scene.look_after(A_WHILE).await;
    assert_eq!(scene.record().await.finding, Some(Finding::Untagged));

    scene.world.memory.point_tag(&scene.tag, &scene.digest);
    scene.look_after(A_WHILE).await;
    let good = scene.record().await;
    scene.take_tag();
    scene.look_after(LONG).await;

    assert_eq!(good.finding, None);
    assert_eq!(scene.record().await.finding, Some(Finding::Untagged), "counted from the start");
    assert_eq!(scene.pushes(), pushes);
    assert!(scene.codes().is_empty());
}

#[tokio::test]
async fn a_young_message_is_not_looked_for() {
    let scene = Scene::new().await;
    scene.take_tag();
    let before = scene.world.faulty.counts().of(Operation::ManifestPresence);

    for _ in 0..11 {
        scene.look_after(Duration::from_secs(10)).await;
    }

    assert_eq!(scene.world.faulty.counts().of(Operation::ManifestPresence), before);
    scene.look_after(Duration::from_secs(20)).await;
    assert_eq!(scene.world.faulty.counts().of(Operation::ManifestPresence), before + 1);
}

#[tokio::test]
async fn what_is_confirmed_withdrawn_expired_or_switched_off_is_not_looked_for() {
    for why in ["receipt", "recalled", "expired", "switched off"] {
        let mut scene = Scene::new().await;
        match why {
            "receipt" => {
                let item = scene.bob.receive(&scene.alice).await.remove(0);
                scene.bob.read(&item).await.unwrap();
                scene.bob.settle().await;
                scene.alice.mailbox.poll_receipts().await.unwrap();
            }
            "recalled" => drop(scene.alice.mailbox.recall(&scene.digest).await.unwrap()),
            "expired" => scene.world.clock.advance(Duration::from_hours(8 * 24)),
            _ => {
                scene.alice.options.check_sent = Duration::ZERO;
                scene.alice.restart(&scene.world).await;
            }
        }
        scene.world.memory.remove_tag(&scene.tag);
        let (pushes, counts) = (scene.pushes(), scene.world.faulty.counts());
        let looks = counts.of(Operation::ManifestPresence);

        for _ in 0..4 {
            scene.look_after(A_WHILE).await;
        }

        assert_eq!(scene.pushes(), pushes, "{why}");
        let counts = scene.world.faulty.counts();
        assert_eq!(counts.of(Operation::ManifestPresence), looks, "{why}");
        assert!(scene.codes().is_empty(), "{why}: {:?}", scene.codes());
    }
}

#[tokio::test]
async fn a_message_that_the_registry_no_longer_has_is_lost_and_never_pushed_by_itself() {
    let mut scene = Scene::new().await;
    let pushes = scene.pushes();
    scene.remove_message();

    scene.look_after(A_WHILE).await;
    let after_one = scene.state();
    scene.look_after(A_WHILE).await;

    assert_eq!((after_one, scene.state()), ("sent", "lost"));
    assert_eq!(scene.alice.mailbox.status().outbox_lost, 1);
    assert_eq!(scene.codes(), ["lost"]);
    scene.alice.restart(&scene.world).await;
    assert_eq!(scene.state(), "lost", "after a restart too");
    for _ in 0..4 {
        scene.look_after(LONG).await;
    }
    assert_eq!(scene.codes(), ["lost"], "said once");
    assert_eq!(scene.pushes(), pushes);
}

#[tokio::test]
async fn what_was_lost_is_shown_so_after_it_has_expired_too() {
    let mut scene = Scene::new().await;
    scene.remove_message();
    scene.look_twice().await;

    scene.look_after(Duration::from_hours(8 * 24)).await;
    scene.look_after(LONG).await;
    scene.alice.restart(&scene.world).await;

    assert_eq!(scene.state(), "lost");
}

#[tokio::test]
async fn a_lost_message_whose_tag_is_there_again_is_sent_again() {
    let scene = Scene::new().await;
    let reference = ManifestRef::Digest(scene.digest);
    let manifest = scene.world.memory.fetch_manifest(&reference, 1 << 20).await.unwrap().bytes;
    scene.remove_message();
    scene.look_twice().await;
    assert_eq!(scene.state(), "lost");

    scene.world.memory.replace_manifest_at_tag(&scene.tag, manifest);
    scene.look_after(LONG).await;

    assert_eq!(scene.state(), "sent");
    assert_eq!(scene.alice.mailbox.status().outbox_lost, 0);
    assert_eq!(scene.record().await.standing, Standing::Watched);
    scene.take_tag();
    scene.look_after(LONG).await;
    scene.look_after(A_WHILE).await;
    assert!(scene.is_tagged().await, "it is looked after as before");
}

#[tokio::test]
async fn a_receipt_for_a_lost_message_counts() {
    let scene = Scene::new().await;
    let item = scene.bob.receive(&scene.alice).await.remove(0);
    scene.remove_message();
    scene.look_twice().await;
    assert_eq!(scene.state(), "lost");

    scene.bob.read(&item).await.unwrap();
    scene.bob.settle().await;
    scene.alice.mailbox.poll_receipts().await.unwrap();

    assert_eq!(scene.state(), "sent");
    assert_eq!(scene.alice.mailbox.status().outbox_lost, 0);
}

#[tokio::test]
async fn nothing_is_claimed_when_the_registry_does_not_say() {
    let denied = || RegistryError::Denied { reason: "no permission".into() };
    let down = || RegistryError::Unreachable("down".into());
    let faults: [(&str, Operation, Fault); 6] = [
        ("403 for a tag", Operation::ResolveTag, Fault::fail(denied)),
        ("403 for a manifest", Operation::ManifestPresence, Fault::fail(denied)),
        ("no tag", Operation::ResolveTag, Fault::fail(down)),
        ("no manifest", Operation::ManifestPresence, Fault::fail(down)),
        ("no time", Operation::ManifestPresence, Fault::fail(|| RegistryError::TimedOut)),
        ("a page", Operation::ManifestPresence, Fault::fail(|| RegistryError::WebPage)),
    ];
    for (what, operation, fault) in faults {
        let scene = Scene::new().await;
        scene.remove_message();
        scene.world.faulty.inject_always(operation, fault);
        let pushes = scene.pushes();

        for _ in 0..4 {
            scene.look_after(LONG / 8).await;
        }

        assert_eq!(scene.state(), "sent", "{what}");
        assert_eq!(scene.pushes(), pushes, "{what}");
        assert!(scene.codes().is_empty(), "{what}: {:?}", scene.codes());
    }
}

#[tokio::test]
async fn a_whole_repository_that_is_gone_loses_nothing_until_it_is_there_again() {
    let scene = Scene::new().await;
    for manifest in scene.world.memory.manifests() {
        scene.world.memory.remove_manifest(&manifest);
    }
    for tag in scene.world.memory.tags() {
        scene.world.memory.remove_tag(&tag);
    }

    for _ in 0..4 {
        scene.look_after(LONG / 8).await;
    }
    assert_eq!(scene.state(), "sent", "the repository may be away");
    scene.alice.send(&scene.bob, "next", b"next").await.unwrap();
    scene.look_after(LONG).await;
    scene.look_after(A_WHILE).await;
    scene.look_after(A_WHILE).await;

    assert_eq!(scene.state(), "lost");
}

#[tokio::test]
async fn a_registry_that_refuses_to_have_the_tag_back_is_told_once() {
    let rejected = || RegistryError::Rejected { reason: "an immutable tag".into() };
    let denied = || RegistryError::Denied { reason: "no permission".into() };
    for (what, fault) in [("immutable", Fault::fail(rejected)), ("read-only", Fault::fail(denied))]
    {
        let scene = Scene::new().await;
        scene.take_tag();
        let pushes = scene.pushes();
        scene.world.faulty.inject_always(Operation::PushManifest, fault);

        for _ in 0..3 {
            scene.look_after(LONG).await;
            scene.look_after(A_WHILE).await;
        }

        assert_eq!(scene.codes(), ["tag-not-put-back"], "{what}");
        let tries = scene.pushes() - pushes;
        assert!((2..=6).contains(&tries), "{what}: {tries}");
        assert_eq!(scene.record().await.put_back_count, 0, "{what}: nothing was put back");
        scene.world.faulty.heal();
        scene.look_after(LONG).await;
        scene.look_after(A_WHILE).await;
        assert!(scene.is_tagged().await, "{what}");
        assert_eq!(scene.codes(), ["tag-not-put-back", "tag-put-back"], "{what}");
        assert_eq!(scene.record().await.standing, Standing::Watched, "{what}");
    }
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_stays_counted() {
    let down = || RegistryError::Unreachable("down".into());
    let scene = Scene::new().await;

    for _ in 0..PUT_BACK_COUNT_MAX {
        scene.take_tag();
        let lost = Fault::commit_then_fail(down);
        scene.world.faulty.inject_next(Operation::PushManifest, 1, lost);
        scene.look_for_days().await;
    }

    assert!(scene.is_tagged().await);
    assert_eq!(scene.record().await.put_back_count, PUT_BACK_COUNT_MAX);
}

#[tokio::test]
async fn a_signature_that_is_gone_is_put_back_before_the_tag() {
    let scene = Scene::new().await;
    scene.take_tag();
    for tag in tags(&scene.world, &Tag::bundle_prefix(&scene.digest)) {
        scene.world.memory.remove_tag(&tag);
    }
    scene.world.memory.remove_referrers(&scene.digest);

    scene.look_twice().await;

    assert!(scene.is_tagged().await);
    assert_eq!(scene.bob.receive(&scene.alice).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_was_removed_from_the_list_is_looked_after_too() {
    let scene = Scene::new().await;
    let file = {
        let snapshot = scene.alice.mailbox.snapshot();
        Arc::clone(snapshot.outbox_files().find(|file| file.name() == "report").unwrap())
    };
    scene.alice.mailbox.outbox().remove(&file).await.unwrap();
    scene.take_tag();

    scene.look_twice().await;

    assert!(scene.is_tagged().await);
}

#[tokio::test]
async fn two_programs_with_one_identity_each_look_after_what_they_have_sent() {
    let scene = Scene::new().await;
    let twin = scene.world.person("alice").await;
    scene.take_tag();

    for _ in 0..4 {
        scene.world.clock.advance(A_WHILE);
        twin.mailbox.poll_once().await;
    }

    assert!(!scene.is_tagged().await, "it is not in the twin's journal");
}

#[tokio::test]
async fn thousands_of_messages_cost_a_few_requests_a_minute() {
    const COUNT: u64 = 5_000;
    let world = World::new();
    let (mut alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "first", b"first").await.unwrap();
    let row = alice.mailbox.core.store.outbox_by_digest(&digest_of(&sent.digest)).await.unwrap();
    let row = row.unwrap();
    let template = Message::parse(&row.message.as_ref().unwrap().manifest).unwrap();
    let copies = (0..COUNT).map(|n| {
        let id = MessageId::from_uuid(uuid::Uuid::new_v4());
        let copy = Message { id, ..template.clone() };
        let tag = format!("{}{n}", Tag::message_prefix(&bob.identity.recipient_tag()));
        (format!("copy {n}"), tag.parse().unwrap(), copy.encode().unwrap())
    });
    alice.mailbox.core.store.copy_sent(row.id, copies.collect()).await.unwrap();
    world.clock.advance(Duration::from_hours(1));
    let requests = |faulty: &FaultyRepository| {
        [Operation::ResolveTag, Operation::ManifestPresence, Operation::PushManifest]
            .map(|operation| faulty.counts().of(operation))
            .iter()
            .sum::<u64>()
    };
    alice.restart(&world).await;
    let before = requests(&world.faulty);
    let pushes = || world.faulty.counts().of(Operation::PushManifest);
    let pushes_before = pushes();

    let (mut most, minutes) = (0, 30);
    for _ in 0..minutes * 12 {
        let so_far = requests(&world.faulty);
        alice.mailbox.poll_once().await;
        most = most.max(requests(&world.faulty) - so_far);
        world.clock.advance(Duration::from_secs(5));
    }

    let asked = requests(&world.faulty) - before;
    // None of the copies is in the registry, which is the most expensive case.
    assert!(most <= 4, "{most} requests in one poll");
    assert!(asked >= 2 * minutes && asked <= 12 * minutes, "{asked} in {minutes} minutes");
    assert_eq!(pushes(), pushes_before);
}

#[tokio::test]
async fn hundreds_of_expired_messages_do_not_keep_the_others_waiting() {
    let scene = Scene::new().await;
    let store = &scene.alice.mailbox.core.store;
    let row = store.outbox_by_digest(&scene.digest).await.unwrap().unwrap();
    let template = Message::parse(&row.message.as_ref().unwrap().manifest).unwrap();
    let copies = (0..300).map(|n| {
        let id = MessageId::from_uuid(uuid::Uuid::new_v4());
        let mut copy = Message { id, ..template.clone() };
        copy.envelope.ttl_secs = 1;
        let tag = format!("{}{n}", Tag::message_prefix(&scene.bob.identity.recipient_tag()));
        (format!("copy {n}"), tag.parse().unwrap(), copy.encode().unwrap())
    });
    store.copy_sent(row.id, copies.collect()).await.unwrap();
    scene.take_tag();
    let looks = scene.world.faulty.counts().of(Operation::ManifestPresence);

    // Longer than the tolerance for clocks, after which a ttl of a second is over.
    scene.look_after(Duration::from_mins(10)).await;
    for _ in 0..12 {
        scene.look_after(Duration::from_secs(20)).await;
    }

    assert_eq!(store.unconfirmed().await.unwrap().len(), 1, "what is over is known to be");
    let asked = scene.world.faulty.counts().of(Operation::ManifestPresence) - looks;
    assert!(asked >= 1, "{asked}");
}

#[tokio::test]
async fn a_registry_that_cannot_take_the_tag_back_uses_up_no_attempt() {
    let scene = Scene::new().await;
    scene.take_tag();
    let full = || RegistryError::Throttled { retry_after: None };
    scene.world.faulty.inject_always(Operation::PushManifest, Fault::fail(full));
    scene.look_for_days().await;

    scene.world.faulty.heal();
    scene.look_for_days().await;

    assert!(scene.is_tagged().await);
    assert_eq!(scene.codes(), ["tag-put-back"]);
}
