//! Sent messages that are looked after: a tag that is taken away, a message that is lost, and what
//! is sent once more.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use super::{digest_of, payload, tags};
use crate::mailbox::{Content, MailboxError, ResendRefusal, Resent};
use crate::protocol::{Digest, ErrorClass, Message, MessageId, Tag};
use crate::registry::fault::{Fault, FaultyRepository};
use crate::registry::memory::Operation;
use crate::registry::{ManifestRef, RegistryError, Repository as _};
use crate::store::{Finding, PUT_BACK_COUNT_MAX, PresenceRecord, Standing};
use crate::testing::{Person, World};

/// Longer than the pause between two rounds, and than the first interval.
const A_WHILE: Duration = Duration::from_secs(150);

/// Longer than the longest interval.
const LONG: Duration = Duration::from_hours(25);

/// A message that was sent, and everything to spoil it.
struct Scene {
    world: World,
    alice: Person,
    bob: Person,
    digest: Digest,
    tag: Tag,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new();
        let (alice, bob) = world.alice_and_bob().await;
        let sent = alice.send(&bob, "report", &payload(250)).await.unwrap();
        // So that the repository is there, whatever happens to this message.
        bob.send(&alice, "other", b"other").await.unwrap();
        let (digest, tag) = (digest_of(&sent.digest), sent.tag.parse().unwrap());
        Self { world, alice, bob, digest, tag }
    }

    /// Lets some time pass, after which alice's mount polls.
    async fn look_after(&self, time: Duration) {
        self.world.clock.advance(time);
        self.alice.mailbox.poll_once().await;
        self.alice.settle().await;
    }

    /// Looks twice, as a confirmed finding needs.
    async fn look_twice(&self) {
        self.look_after(A_WHILE).await;
        self.look_after(A_WHILE).await;
    }

    /// Looks often enough for several attempts; the message does not expire.
    async fn look_for_days(&self) {
        for _ in 0..22 {
            self.look_after(Duration::from_hours(2)).await;
        }
    }

    fn take_tag(&self) {
        assert!(self.world.memory.remove_tag(&self.tag), "the tag is there to be taken");
    }

    async fn is_tagged(&self) -> bool {
        self.world.memory.resolve_tag(&self.tag).await.unwrap() == Some(self.digest)
    }

    fn codes(&self) -> Vec<String> {
        let errors = Arc::clone(&self.alice.mailbox.snapshot().errors);
        errors.iter().map(|line| line.code.clone()).collect()
    }

    fn state(&self) -> &'static str {
        let snapshot = self.alice.mailbox.snapshot();
        let file = snapshot.outbox_files().find(|file| file.name() == "report").unwrap();
        snapshot.shown_state(file)
    }

    async fn record(&self) -> PresenceRecord {
        let rows = self.alice.mailbox.core.store.unconfirmed().await.unwrap();
        rows.into_iter().find(|row| row.digest == self.digest).unwrap().record
    }

    fn remove_message(&self) {
        self.world.memory.remove_tag(&self.tag);
        assert!(self.world.memory.remove_manifest(&self.digest));
    }

    fn pushes(&self) -> u64 {
        self.world.faulty.counts().of(Operation::PushManifest)
    }
}

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
