//! Who signed, what, and for whom (B).

use dockercomms::protocol::{Digest, annotation as key};
use serde_json::Value;

use super::forge::{Author, Letter, attach, inbox_tag, now, payload, post_receipt, statement};
use super::registry::Class;
use super::scene::{GOOD, Scene};
use crate::common::{ALICE, BOB, read};

/// Asserts that nothing but the good letter arrives, and why the others do not.
#[track_caller]
fn assert_quarantined(scene: &Scene, expected: &[(&str, &str)]) {
    scene.post_good();

    let (files, run) = scene.receive();

    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD], "{:?}", scene.quarantine());
    let quarantine = scene.quarantine();
    let found: Vec<(&str, &str)> =
        quarantine.iter().map(|(name, code)| (name.as_str(), code.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn b01_an_unsigned_message_waits_and_is_invisible() {
    let scene = Scene::new();
    scene.letter("unsigned").post_unsigned(&scene.registry, BOB);
    let old = now().saturating_add_secs(-700).to_string();
    let old = scene.letter("unsigned long ago").annotate(key::CREATED_AT, old.as_str());
    old.post_unsigned(&scene.registry, BOB);

    assert_quarantined(&scene, &[("unsigned", "no-bundle"), ("unsigned long ago", "no-bundle")]);

    let rows = scene.bob.json(["ls", "quarantine"]);
    let states: Vec<&Value> = rows.iter().map(|row| &row["state"]).collect();
    assert_eq!(states, ["refused", "pending"]);
}

#[test]
fn b02_b03_junk_bundles_hide_no_good_one() {
    let scene = Scene::new();
    let letter = scene.letter("signed");
    let mallory = Author::new(ALICE);
    for index in 0..20_u32 {
        attach(&scene.registry, &letter.digest(), format!("{{\"junk\":{index}}}").as_bytes());
    }
    attach(&scene.registry, &letter.digest(), &mallory.bundle(&letter.bytes()));
    letter.post(&scene.registry, &scene.alice, BOB);

    let (files, run) = scene.receive();

    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(files["signed"], payload(2500));
}

#[test]
fn b03_a_thousand_junk_bundles_cost_a_bounded_number_of_requests() {
    let scene = Scene::new();
    let letter = scene.letter("flooded");
    letter.post(&scene.registry, &scene.alice, BOB);
    for index in 0..1000_u32 {
        attach(&scene.registry, &letter.digest(), format!("{{\"junk\":{index}}}").as_bytes());
    }
    scene.post_good();
    let before = scene.registry.count(Class::Any);

    let (files, run) = scene.receive();

    assert_eq!(run.code(), 0, "{run:?}");
    assert!(files.contains_key(GOOD), "{run:?}");
    let cost = scene.registry.count(Class::Any) - before;
    assert!(cost < 200, "{cost} requests");
}

#[test]
fn b03_a_flood_of_bundles_delays_a_good_one_and_does_not_hide_it() {
    let scene = Scene::new();
    let letter = scene.letter("flooded");
    letter.post(&scene.registry, &scene.alice, BOB);
    // Four times as many as one poll checks, and newer than the good one.
    for index in 0..256_u32 {
        attach(&scene.registry, &letter.digest(), format!("{{\"junk\":{index}}}").as_bytes());
    }
    let mount = scene.bob.mount();

    let path = mount.message(ALICE, "flooded");

    assert_eq!(read(path), payload(2500));
    scene.post_good();
    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
}

#[test]
fn b04_the_bundle_of_another_message_proves_nothing() {
    let scene = Scene::new();
    let (one, two) = (scene.letter("one"), scene.letter("two"));
    one.post_unsigned(&scene.registry, BOB);
    two.post_unsigned(&scene.registry, BOB);
    attach(&scene.registry, &one.digest(), &scene.alice.bundle(&two.bytes()));
    attach(&scene.registry, &two.digest(), &scene.alice.bundle(&one.bytes()));

    assert_quarantined(&scene, &[("one", "bad-signature"), ("two", "bad-signature")]);
}

#[test]
fn b04_the_right_bundle_may_come_after_a_wrong_one() {
    let scene = Scene::new();
    let letter = scene.letter("late");
    letter.post_unsigned(&scene.registry, BOB);
    attach(&scene.registry, &letter.digest(), &scene.alice.bundle(b"another"));
    let (before, _) = scene.receive();
    attach(&scene.registry, &letter.digest(), &scene.alice.bundle(&letter.bytes()));

    let (after, run) = scene.receive();

    assert!(before.is_empty());
    assert_eq!(after.keys().collect::<Vec<_>>(), ["late"], "{run:?}");
    assert!(scene.quarantine().is_empty());
}

#[test]
fn b05_b08_another_key_under_the_same_name_is_refused() {
    let scene = Scene::new();
    let (stranger, mallory) = (Author::new("eve@example.com"), Author::new(ALICE));
    Letter::new(&stranger, BOB, "stranger", b"x").post(&scene.registry, &stranger, BOB);
    scene.letter("wrong key").post(&scene.registry, &mallory, BOB);
    let claims_hint = scene.letter("right hint");
    claims_hint.post_unsigned(&scene.registry, BOB);
    let mut bundle: Value = serde_json::from_slice(&mallory.bundle(&claims_hint.bytes())).unwrap();
    let genuine: Value = serde_json::from_slice(&scene.alice.bundle(&claims_hint.bytes())).unwrap();
    bundle["verificationMaterial"] = genuine["verificationMaterial"].clone();
    attach(&scene.registry, &claims_hint.digest(), bundle.to_string().as_bytes());

    assert_quarantined(
        &scene,
        &[
            ("right hint", "bad-signature"),
            ("stranger", "unknown-sender"),
            ("wrong key", "untrusted-signer"),
        ],
    );
}

#[test]
fn b13_a_signature_for_another_purpose_is_refused() {
    let scene = Scene::new();
    let letter = scene.letter("other purpose");
    letter.post_unsigned(&scene.registry, BOB);
    let (this, other) = (letter.digest(), Digest::of(b"other"));
    let cosign = "https://sigstore.dev/cosign/sign/v1";
    let slsa = scene.alice.bundle_of(&statement(&[this], "https://slsa.dev/provenance/v1"));
    let two_subjects = scene.alice.bundle_of(&statement(&[this, other], cosign));
    attach(&scene.registry, &letter.digest(), &slsa);
    attach(&scene.registry, &letter.digest(), &two_subjects);

    assert_quarantined(&scene, &[("other purpose", "bad-signature")]);
}

#[test]
fn b15_a_bundle_above_one_mebibyte_is_not_fetched() {
    let scene = Scene::new();
    let letter = scene.letter("huge bundle");
    letter.post_unsigned(&scene.registry, BOB);
    let mut bundle = scene.alice.bundle(&letter.bytes());
    bundle.resize(5 << 20, b' ');
    attach(&scene.registry, &letter.digest(), &bundle);
    let digest = Digest::of(&bundle).to_string();

    let quarantine = scene.quarantine();

    assert_eq!(quarantine["huge bundle"], "no-bundle");
    let blobs = scene.registry.seen(Class::BlobGet);
    assert!(!blobs.iter().any(|request| request.name() == digest));
}

#[test]
fn b18_a_trusted_signer_cannot_speak_for_another_sender() {
    let scene = Scene::new();
    let carol = Author::new("carol@example.com");
    scene.bob.trust_card(&carol.card());
    scene.letter("in alice's name").post(&scene.registry, &carol, BOB);

    assert_quarantined(&scene, &[("in alice's name", "sender-mismatch")]);
}

#[test]
fn b19_who_is_no_longer_trusted_is_not_delivered() {
    let scene = Scene::new();
    scene.letter("before").post(&scene.registry, &scene.alice, BOB);
    let (before, _) = scene.receive();
    scene.bob.run(["trust", "rm", ALICE]).ok();
    scene.letter("after").post(&scene.registry, &scene.alice, BOB);

    let (after, run) = scene.receive();

    assert_eq!(before.keys().collect::<Vec<_>>(), ["before"]);
    assert!(after.is_empty(), "{run:?}");
    assert_eq!(scene.quarantine()["after"], "unknown-sender");
}

#[test]
fn b23_a_message_for_carol_under_bobs_tag_is_not_bobs() {
    let scene = Scene::new();
    let letter = Letter::new(&scene.alice, "carol@example.com", "for carol", b"secret");
    letter.post(&scene.registry, &scene.alice, "carol@example.com");
    scene.registry.put_tag(&inbox_tag(BOB, &letter.digest()), &letter.digest());

    assert_quarantined(&scene, &[("for carol", "readdressed")]);
}

#[test]
fn b24_b25_what_was_received_does_not_come_again() {
    let scene = Scene::new();
    let letter = scene.letter("once");
    let posted = letter.post(&scene.registry, &scene.alice, BOB);
    let (first, _) = scene.receive();
    scene.registry.remove_tag(&posted.tag);
    let (gone, _) = scene.receive();
    scene.registry.put_tag(&posted.tag, &posted.digest);
    scene.registry.put_tag(&posted.tag.replace("-00000000-", "-11111111-"), &posted.digest);

    let (again, run) = scene.receive();

    assert_eq!(first.len(), 1);
    assert!(gone.is_empty() && again.is_empty(), "{run:?}");
    assert_eq!(scene.inbox(), ["once"]);
}

#[test]
fn m23_m24_expired_messages_and_those_from_the_future_are_not_delivered() {
    let scene = Scene::new();
    let at = |secs| now().saturating_add_secs(secs).to_string();
    let dated = |name: &str, secs: i64, ttl: &str| {
        let letter = scene.letter(name).annotate(key::CREATED_AT, at(secs).as_str());
        letter.annotate(key::TTL_SECONDS, ttl).post(&scene.registry, &scene.alice, BOB);
    };
    dated("expired", -1000, "60");
    dated("future", 3600, "604800");

    assert_quarantined(&scene, &[("expired", "expired"), ("future", "pending-future")]);
}

#[test]
fn b20_a_receipt_that_the_recipient_did_not_sign_is_no_proof() {
    let scene = Scene::new();
    // Bob sends to carol, whom he trusts; alice, whom he trusts too, writes carol's receipt.
    let carol = Author::new("carol@example.com");
    scene.bob.trust_card(&carol.card());
    let file = crate::common::write(scene.bob.dir().join("plan.txt"), "plan");
    let sent = &scene.bob.json([
        "send",
        &file.display().to_string(),
        "--to",
        "carol@example.com",
        "--new",
    ])[0];
    let message = scene.registry.manifest_of(sent["tag"].as_str().unwrap()).unwrap();

    post_receipt(&scene.registry, &message, None, 1);
    let unsigned = receipts(&scene);
    post_receipt(&scene.registry, &message, Some(&scene.alice), 2);
    let of_another = receipts(&scene);
    post_receipt(&scene.registry, &message, Some(&carol), 3);
    let proven = receipts(&scene);

    assert_eq!(unsigned, ["accepted (unsigned claim)"]);
    assert_eq!(of_another, ["accepted (unsigned claim)"]);
    assert_eq!(proven, ["accepted"]);
}

#[test]
fn b21_a_hundred_copies_of_a_receipt_are_one() {
    let scene = Scene::new();
    let carol = Author::new("carol@example.com");
    scene.bob.trust_card(&carol.card());
    let file = crate::common::write(scene.bob.dir().join("plan.txt"), "plan");
    let sent = &scene.bob.json([
        "send",
        &file.display().to_string(),
        "--to",
        "carol@example.com",
        "--new",
    ])[0];
    let message = scene.registry.manifest_of(sent["tag"].as_str().unwrap()).unwrap();
    for nth in 0..100 {
        post_receipt(&scene.registry, &message, Some(&carol), nth);
    }

    assert_eq!(receipts(&scene), ["accepted"]);

    // Looked at once: the next look asks about none of them again.
    let before = scene.registry.count(Class::ManifestGet);
    assert_eq!(receipts(&scene), ["accepted"]);
    assert_eq!(scene.registry.count(Class::ManifestGet), before);
}

fn receipts(scene: &Scene) -> Vec<String> {
    let rows = scene.bob.json(["ls", "receipts"]);
    rows.iter().map(|row| row["receipt"].as_str().unwrap_or_default().to_owned()).collect()
}
