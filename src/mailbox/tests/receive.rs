//! Receiving: what is listed, what is not, and which bytes are returned.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::{digest_of, payload, tags};
use crate::protocol::limits::CHUNK_BYTES_MAX;
use crate::protocol::{ErrorClass, Identity, Tag};
use crate::registry::RegistryError;
use crate::registry::fault::{Fault, Gate};
use crate::registry::memory::Operation;
use crate::testing::{World, message_manifest, push_signed};

#[tokio::test]
async fn a_stranger_is_quarantined_until_trusted() {
    let world = World::new();
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    alice.send(&bob, "a.txt", b"abc").await.unwrap();

    assert!(bob.receive(&alice).await.is_empty());
    assert_eq!(bob.quarantined(), ["unknown-sender"]);

    bob.trust_person(&alice);
    assert_eq!(bob.receive(&alice).await.len(), 1);
    assert!(bob.quarantined().is_empty());
}

#[tokio::test]
async fn a_message_signed_by_another_key_is_never_listed() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let mallory = world.person("alice").await;

    mallory.send(&bob, "evil.sh", b"rm").await.unwrap();

    assert!(bob.receive(&alice).await.is_empty());
    assert_eq!(bob.quarantined(), ["untrusted-signer"]);
}

#[tokio::test]
async fn one_bad_message_hides_no_good_one() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let bad = alice.send(&bob, "bad", b"1").await.unwrap();
    alice.send(&bob, "good", b"2").await.unwrap();
    let tag: Tag = bad.tag.parse().unwrap();
    world.memory.replace_manifest_at_tag(&tag, "<html>login</html>");

    let listed = bob.receive(&alice).await;

    assert_eq!(listed.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(bob.quarantined(), ["not-json"]);
}

/// P18: messages whose tag comes first wait for their bundle.
#[tokio::test]
async fn messages_that_wait_are_listed_together_the_oldest_first() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let mut sent = Vec::new();
    for n in 0..5 {
        world.clock.advance(Duration::from_secs(1));
        sent.push(digest_of(&alice.send(&bob, "a", &[n]).await.unwrap().digest));
    }
    bob.mailbox.inbox().poll().await.unwrap();
    let mut late = Vec::new();
    for n in 5..10 {
        world.clock.advance(Duration::from_secs(1));
        late.push(digest_of(&alice.send(&bob, "a", &[n]).await.unwrap().digest));
    }
    let changes = bob.mailbox.changes();
    let before = *changes.borrow();

    let report = bob.mailbox.inbox().poll().await.unwrap();

    assert_eq!(report.admitted, 5);
    assert_eq!(*changes.borrow(), before + 1, "each was listed alone");
    let mut listed = bob.listed(&alice);
    listed.sort_by_key(|item| item.message.envelope.created_at);
    assert!(listed.iter().map(|item| item.digest).eq(sent.into_iter().chain(late)));
    let expected: Vec<String> = std::iter::once("a".to_owned())
        .chain((2..11).map(|number| format!("a ({number})")))
        .collect();
    assert!(listed.iter().map(|item| &item.name).eq(&expected));
}

#[tokio::test]
async fn a_start_reads_the_inbox_once() {
    let world = World::new();
    let (alice, mut bob) = world.alice_and_bob().await;
    alice.send(&bob, "a", b"abc").await.unwrap();
    bob.receive(&alice).await;
    bob.restart(&world).await;
    let loaded = bob.listed(&alice).remove(0);

    bob.mailbox.poll_once().await;

    assert!(Arc::ptr_eq(&loaded, &bob.listed(&alice)[0]), "it was read again");
}

#[tokio::test]
async fn a_message_without_a_bundle_waits_ten_minutes_and_is_then_refused() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a.txt", b"abc").await.unwrap();
    world.memory.remove_referrers(&digest_of(&sent.digest));
    let bundles = tags(&world, "bundle-");
    for tag in &bundles {
        world.memory.remove_tag(tag);
    }

    assert!(bob.receive(&alice).await.is_empty());
    let pending = bob.mailbox.inbox().poll().await.unwrap();
    assert_eq!(pending.pending, 1);
    world.clock.advance(Duration::from_secs(601));
    let refused = bob.mailbox.inbox().poll().await.unwrap();
    assert_eq!((refused.pending, refused.quarantined), (0, 1));
}

/// P26.
#[tokio::test]
async fn a_message_retagged_to_somebody_else_is_not_theirs() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let carol = world.person("carol").await;
    carol.trust_person(&alice);
    let sent = alice.send(&bob, "a.txt", b"abc").await.unwrap();
    let prefix = Tag::message_prefix(&carol.identity.recipient_tag());
    let stolen: Tag = format!("{prefix}20260921-00000000-00000000").parse().unwrap();
    world.memory.point_tag(&stolen, &digest_of(&sent.digest));

    assert!(carol.receive(&alice).await.is_empty());
    assert_eq!(carol.quarantined(), ["readdressed"]);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn the_same_digest_under_two_tags_is_one_message() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a.txt", b"abc").await.unwrap();
    let prefix = Tag::message_prefix(&bob.identity.recipient_tag());
    let copy: Tag = format!("{prefix}20260922-00000000-00000000").parse().unwrap();
    world.memory.point_tag(&copy, &digest_of(&sent.digest));

    assert_eq!(bob.receive(&alice).await.len(), 1);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn an_expired_message_leaves_the_list_and_a_late_one_never_enters() {
    let world = World::new();
    let alice = world.person_with("alice", |options| options.ttl_secs = 60).await;
    let (bob, late) = (world.person("bob").await, world.person("bob").await);
    bob.trust_person(&alice);
    late.trust_person(&alice);
    alice.send(&bob, "a.txt", b"abc").await.unwrap();

    assert_eq!(bob.receive(&alice).await.len(), 1);
    world.clock.advance(Duration::from_mins(6));
    assert!(bob.receive(&alice).await.is_empty());
    assert!(late.receive(&alice).await.is_empty());
    assert_eq!(late.quarantined(), ["expired"]);
}

#[tokio::test]
async fn f16_a_message_from_the_future_waits_for_its_time() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    world.clock.advance(Duration::from_hours(1));
    alice.send(&bob, "a.txt", b"abc").await.unwrap();
    world.clock.jump_to(crate::testing::BEGINNING);

    assert!(bob.receive(&alice).await.is_empty());
    assert_eq!(bob.quarantined(), ["pending-future"]);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn names_are_numbered_in_order_of_arrival_and_kept_for_ever() {
    let world = World::new();
    let (alice, mut bob) = world.alice_and_bob().await;
    for content in [b"1", b"2", b"3"] {
        alice.send(&bob, "r.pdf", content).await.unwrap();
        bob.mailbox.inbox().poll().await.unwrap();
    }
    let names = |bob: &crate::testing::Person| {
        bob.listed(&alice).iter().map(|item| item.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&bob), ["r (2).pdf", "r (3).pdf", "r.pdf"]);

    let second = bob.listed(&alice)[0].digest;
    bob.mailbox.inbox().dismiss(&second).await.unwrap();
    bob.restart(&world).await;
    alice.send(&bob, "r.pdf", b"4").await.unwrap();
    bob.mailbox.inbox().poll().await.unwrap();
    assert_eq!(names(&bob), ["r (3).pdf", "r (4).pdf", "r.pdf"]);
    bob.mailbox.inbox().restore(&second).await.unwrap();
    assert_eq!(names(&bob), ["r (2).pdf", "r (3).pdf", "r (4).pdf", "r.pdf"]);
}

#[tokio::test]
async fn what_was_delivered_stays_when_the_registry_forgets_it() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a.txt", b"abc").await.unwrap();
    bob.receive(&alice).await;
    world.memory.remove_tag(&sent.tag.parse().unwrap());

    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn reading_a_few_bytes_fetches_one_chunk() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let content = payload(1000);
    alice.send(&bob, "a.bin", &content).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let before = world.faulty.counts().of(Operation::FetchBlob);
    let reader = bob.mailbox.inbox().open(&item.digest).unwrap();

    let bytes = reader.read_at(510, 20).await.unwrap();

    assert_eq!(bytes, &content[510..530]);
    assert_eq!(world.faulty.counts().of(Operation::FetchBlob), before + 1);
}

#[tokio::test]
async fn a_sequential_reader_stays_behind_its_read_ahead() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let content = payload(5000);
    alice.send(&bob, "a.bin", &content).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let reader = bob.mailbox.inbox().open(&item.digest).unwrap();

    let mut waited = 0;
    for offset in (0..5000).step_by(50) {
        // What is read from memory counts as reading, too.
        if reader.try_read_cached(offset, 50).is_none() {
            waited += 1;
            reader.read_at(offset, 50).await.unwrap();
        }
        bob.settle().await;
    }

    assert!(waited <= 2, "waited for {waited} of 50 chunks");
}

#[tokio::test]
async fn a_chunk_comes_from_disk_when_memory_has_forgotten_it() {
    let world = World::new();
    let (alice, mut bob) = world.alice_and_bob().await;
    let content = payload(950);
    alice.send(&bob, "a.bin", &content).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    assert_eq!(bob.read(&item).await.unwrap(), content);
    bob.restart(&world).await;
    let before = world.faulty.counts().of(Operation::FetchBlob);

    assert_eq!(bob.read(&item).await.unwrap(), content);

    assert_eq!(world.faulty.counts().of(Operation::FetchBlob), before);
}

#[tokio::test]
async fn a_message_that_was_read_whole_leaves_its_memory_to_others() {
    const MIB: usize = 1 << 20;
    let world = World::new();
    let alice = world.person_with("alice", |options| options.chunk_bytes = 4 << 20).await;
    let bob = world.person("bob").await;
    bob.trust_person(&alice);
    alice.send(&bob, "a.bin", &vec![0; 40 * MIB]).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let reader = bob.mailbox.inbox().open(&item.digest).unwrap();

    for offset in (0..40 * MIB as u64).step_by(MIB) {
        if reader.try_read_cached(offset, MIB).is_none() {
            reader.read_at(offset, MIB).await.unwrap();
        }
        bob.settle().await;
    }

    // An eighth of the 256 MiB that memory may hold.
    let held = bob.mailbox.status().cache_memory_bytes;
    assert!(held > 0 && held <= 32 << 20, "{held} bytes are held");
}

#[tokio::test]
async fn c02_many_readers_of_one_cold_chunk_cause_one_fetch() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(90)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let before = world.faulty.counts().of(Operation::FetchBlob);
    let readers: Vec<_> =
        (0..64).map(|_| bob.mailbox.inbox().open(&item.digest).unwrap()).collect();

    let reads = readers.iter().map(|reader| reader.read_at(0, 90));
    let results = futures_util::future::join_all(reads).await;

    assert!(results.iter().all(|read| read.as_ref().is_ok_and(|bytes| bytes.len() == 90)));
    assert_eq!(world.faulty.counts().of(Operation::FetchBlob), before + 1);
}

#[tokio::test]
async fn layers_that_hang_in_many_files_delay_no_other_file() {
    const HUNG_COUNT: usize = 20;
    let patience = Duration::from_secs(30);
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "good", b"good").await.unwrap();
    for index in 0..HUNG_COUNT {
        alice.send(&bob, &format!("bad{index}"), &payload(50 + index)).await.unwrap();
    }
    let gate = Gate::closed();
    let (tasks, mut readers) = (TaskTracker::new(), Vec::new());
    let mut good = None;
    for item in bob.receive(&alice).await {
        let reader = bob.mailbox.inbox().open(&item.digest).unwrap();
        if item.name.as_str() == "good" {
            good = Some(reader);
            continue;
        }
        let layer = item.message.chunks[0].digest;
        world.faulty.inject_on(Operation::FetchBlob, &layer, Fault::hold(&gate));
        readers.push(tasks.spawn(async move { reader.read_at(0, 100).await }));
    }
    let arrivals = gate.wait_for_arrivals(HUNG_COUNT as u64);
    tokio::time::timeout(patience, arrivals).await.expect("all are requested");

    let read = tokio::time::timeout(patience, good.unwrap().read_at(0, 100)).await;

    assert_eq!(read.expect("nothing delays the read").unwrap(), b"good"[..]);
    gate.open();
    for reader in readers {
        assert!(reader.await.unwrap().unwrap().len() >= 50);
    }
}

#[tokio::test]
async fn a_chunk_with_other_bytes_is_asked_for_twice_and_never_returned() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(90)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    let layer = item.message.chunks[0].digest;
    world.memory.corrupt_blob(&layer);
    let before = world.faulty.counts().of(Operation::FetchBlob);

    let read = bob.read(&item).await;

    assert_eq!(read.unwrap_err().class(), ErrorClass::Corrupt);
    assert_eq!(world.faulty.counts().of(Operation::FetchBlob), before + 2);
}

#[tokio::test]
async fn a_read_recovers_when_the_registry_does() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.bin", &payload(90)).await.unwrap();
    let item = bob.receive(&alice).await.remove(0);
    world.faulty.inject_next(Operation::FetchBlob, 1, Fault::fail(|| RegistryError::TimedOut));

    let first = bob.read(&item).await;
    let second = bob.read(&item).await;

    assert_eq!(first.unwrap_err().class(), ErrorClass::TimedOut);
    assert_eq!(second.unwrap(), payload(90));
}

#[tokio::test]
async fn junk_bundles_block_nothing() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    let sent = alice.send(&bob, "a.txt", b"abc").await.unwrap();
    let digest = digest_of(&sent.digest);
    for index in 0..20 {
        let tag: Tag =
            format!("{}1999999999-{index:06x}", Tag::bundle_prefix(&digest)).parse().unwrap();
        world.memory.replace_manifest_at_tag(&tag, Bytes::from_static(b"{\"junk\":1}"));
    }

    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_message_to_my_second_identity_is_mine() {
    let world = World::new();
    let alice = world.person("alice").await;
    let team: Identity = "team".parse().unwrap();
    let bob = world.person_with("bob", |options| options.me.push("team".parse().unwrap())).await;
    bob.trust_person(&alice);
    let content = Box::new(std::io::Cursor::new(b"x".to_vec()));
    let outbox = alice.mailbox.outbox();
    let (file, mtime) = ("a".parse().unwrap(), std::time::SystemTime::UNIX_EPOCH);
    outbox.send(&team, &file, content, mtime, Arc::new(|_| {})).await.unwrap();

    let listed = bob.receive(&alice).await;

    assert_eq!(listed[0].recipient, team);
}

#[tokio::test]
async fn b19_an_untrusted_sender_cannot_be_opened_and_leaves_the_list() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    alice.send(&bob, "a.txt", b"abc").await.unwrap();
    let item = bob.receive(&alice).await.remove(0);

    bob.distrust(&alice);

    let opened = bob.mailbox.inbox().open(&item.digest);
    assert_eq!(opened.err().map(|error| error.class()), Some(ErrorClass::SignerUnknown));
    assert!(bob.receive(&alice).await.is_empty());
    bob.trust_person(&alice);
    assert_eq!(bob.receive(&alice).await.len(), 1);
}

#[tokio::test]
async fn a_first_poll_of_many_messages_lists_bundles_once() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    // More than one batch.
    for index in 0..70 {
        alice.send(&bob, &format!("{index}.txt"), b"abc").await.unwrap();
    }
    let before = world.faulty.counts().of(Operation::ListTags);

    assert_eq!(bob.receive(&alice).await.len(), 70);

    assert_eq!(world.faulty.counts().of(Operation::ListTags), before + 2);
}

/// Messages of one sender that promise far more than any disk has.
const PROMISE_COUNT: usize = 1000;

#[tokio::test]
async fn m37_a_thousand_messages_that_promise_too_much_cost_nothing_until_they_are_read() {
    let world = World::new();
    let (alice, bob) = world.alice_and_bob().await;
    for index in 0..PROMISE_COUNT {
        let (name, layer) = (format!("{index:03}.bin"), index.to_string());
        let manifest = message_manifest(&alice, &bob, &name, CHUNK_BYTES_MAX, layer.as_bytes());
        push_signed(&world, &alice, &bob, &manifest, &[layer.as_bytes()]);
    }
    alice.send(&bob, "good.txt", b"good").await.unwrap();

    let listed = bob.receive(&alice).await;

    assert_eq!(listed.len(), PROMISE_COUNT + 1, "{:?}", bob.quarantined());
    let promised: u64 = listed.iter().map(|item| item.message.envelope.total_bytes).sum();
    assert_eq!(promised, CHUNK_BYTES_MAX * PROMISE_COUNT as u64 + 4);
    let fetched = world.faulty.counts().of(Operation::FetchBlob);
    assert_eq!(fetched, listed.len() as u64, "the bundle of each, and no layer");
    let good = listed.iter().find(|item| item.name == "good.txt").unwrap();
    assert_eq!(bob.read(good).await.unwrap(), "good");
    let (bad, error) = (&listed[0], bob.mailbox.inbox().open(&listed[0].digest).unwrap());
    let error = error.read_at(0, 1).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Malformed, "{}: {error}", bad.name);
}

#[tokio::test]
async fn a_message_to_one_of_my_names_under_the_tag_of_another_one_is_refused() {
    let world = World::new();
    let (alice, desk) = (world.person("alice").await, world.person("desk").await);
    let bob = world.person_with("bob", |options| options.me.push(desk.identity.clone())).await;
    bob.trust_person(&alice);
    let manifest = message_manifest(&alice, &desk, "a.txt", 5, b"layer");

    push_signed(&world, &alice, &bob, &manifest, &[b"layer"]);
    let under_another = bob.receive(&alice).await;
    let refused = bob.quarantined();
    push_signed(&world, &alice, &desk, &manifest, &[b"layer"]);
    let under_its_own = bob.receive(&alice).await;

    assert!(under_another.is_empty(), "P26");
    assert_eq!(refused, ["readdressed"]);
    assert_eq!(under_its_own.len(), 1);
    assert!(bob.quarantined().is_empty(), "what is listed needs no note");
}
