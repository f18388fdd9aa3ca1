//! What a registry can answer to a recipient (H).
//!
//! The faults are bound to one letter's layer or to a class of requests; the good letter beside it
//! must arrive, or, when nothing can be fetched, the exit code must say why.

use super::forge::{Letter, Posted, payload};
use super::registry::{Answer, Class, Fault, Registry};
use super::scene::{GOOD, PATIENCE, Scene, timed};
use crate::common::BOB;

/// Most bytes of an endless body that may leave the registry: twice the largest limit, and what
/// the sockets hold.
const ENDLESS_LEN_MAX: u64 = 24 << 20;

/// A scene with a letter `bad` whose first layer is known by its digest, and a good letter.
fn scene_with_layer() -> (Scene, String) {
    let scene = Scene::new();
    let letter = Letter::new(&scene.alice, BOB, "bad", &payload(900));
    let layer = letter.manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    letter.post(&scene.registry, &scene.alice, BOB);
    scene.post_good();
    (scene, layer)
}

/// Returns how often a blob was requested.
fn fetches(scene: &Scene, digest: &str) -> usize {
    scene.registry.seen(Class::BlobGet).iter().filter(|request| request.name() == digest).count()
}

/// Asserts that a fault of one layer fails that file alone, with the exit code, without a wrong
/// byte and in time, and that the file arrives once the registry behaves.
#[track_caller]
fn assert_layer_fault(id: &str, exit: i32, fault: Fault) -> (Scene, String) {
    let (scene, layer) = scene_with_layer();
    scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, fault);

    let ((files, beside), took) = timed(|| scene.receive());
    let (nothing, alone) = scene.receive();

    assert_eq!(beside.code(), 6, "{id}: {beside:?}");
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD], "{id}: {beside:?}");
    assert!(took < PATIENCE, "{id} took {took:?}");
    assert_eq!(alone.code(), exit, "{id}: {alone:?}");
    assert!(nothing.is_empty(), "{id}: {alone:?}");
    assert!(alone.stderr.contains("`alice@example.com` was not received"), "{id}: {alone:?}");
    assert!(alone.stderr.contains("hint:"), "{id}: {alone:?}");
    scene.registry.heal();
    let (files, healed) = scene.receive();
    assert_eq!(healed.code(), 0, "{id}: {healed:?}");
    assert_eq!(files.get("bad"), Some(&payload(900)), "{id}: something wrong was kept");
    (scene, layer)
}

/// Asserts that while every request of `class` gets `fault`, `recv` ends in time with one of the
/// exit codes and writes nothing, and that all arrives afterwards.
#[track_caller]
fn assert_class_fault(id: &str, class: Class, fault: &Fault, exits: &[i32]) {
    let scene = Scene::new();
    scene.post_good();
    scene.registry.fail(class, fault.clone());

    let ((files, ran), took) = timed(|| scene.receive());

    assert!(exits.contains(&ran.code()), "{id} {class:?}: {ran:?}");
    assert!(files.is_empty(), "{id} {class:?}: {ran:?}");
    assert!(took < PATIENCE, "{id} {class:?} took {took:?}");
    scene.registry.heal();
    let (files, again) = scene.receive();
    assert_eq!(again.code(), 0, "{id} {class:?}: {again:?}");
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        [GOOD],
        "{id} {class:?}: {:?}",
        scene.quarantine()
    );
}

#[test]
fn h01_h05_other_bytes_than_were_signed_are_asked_for_again_and_never_written() {
    assert_layer_fault("H01 corrupt", 4, Fault::Corrupt);
    assert_layer_fault("H05 same size", 4, Fault::Scramble);
    let (scene, layer) = scene_with_layer();
    scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, Fault::Corrupt);

    scene.receive();

    assert_eq!(fetches(&scene, &layer), 2);
}

#[test]
fn h02_one_corrupt_answer_is_forgiven() {
    let (scene, layer) = scene_with_layer();
    scene.registry.fail_on(Class::BlobGet, &layer, 1, Fault::Corrupt);

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(files["bad"], payload(900));
}

#[test]
fn h03_a_layer_that_breaks_off_is_resumed_or_refused() {
    let (scene, layer) = scene_with_layer();
    scene.registry.fail_on(Class::BlobGet, &layer, 1, Fault::Truncate(100));

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(files["bad"], payload(900));
    assert_layer_fault("H03 always cut", 7, Fault::Truncate(100));
    assert_layer_fault("H03 shorter", 7, Fault::Short(100));
}

#[test]
fn h05_a_layer_in_place_of_another_is_refused() {
    let scene = Scene::new();
    let (one, two) = (scene.letter("one"), scene.letter("two"));
    let posted: Vec<Posted> = [&one, &two.layer(1, one.layers[2].clone())]
        .map(|letter| letter.post(&scene.registry, &scene.alice, BOB))
        .into();
    let digest = one.manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    scene.registry.forge_blob(&digest, &one.layers[1]);
    scene.post_good();

    let (files, ran) = scene.receive();

    assert_eq!(posted.len(), 2);
    assert_eq!(ran.code(), 6, "{ran:?}");
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD]);
}

#[test]
fn h06_another_manifest_than_the_tags_is_another_message() {
    let scene = Scene::new();
    let posted = scene.letter("true").post(&scene.registry, &scene.alice, BOB);
    let forged = scene.letter("true").annotate("dockercomms.filename", "forged");
    let tag = &posted.tag;
    scene.registry.fail_on(Class::ManifestGet, tag, u64::MAX, Fault::Replace(forged.bytes()));

    let (files, ran) = scene.receive();

    assert!(files.is_empty(), "{ran:?}");
    assert_eq!(scene.quarantine()["forged"], "no-bundle");
}

#[test]
fn h07_the_digest_that_a_header_claims_is_ignored() {
    for claim in ["sha256:0000", "sha512:abc", "../../x", ""] {
        let scene = Scene::new();
        scene.post_good();
        let lie = Fault::Header("Docker-Content-Digest", claim.to_owned());
        scene.registry.fail(Class::ManifestGet, lie.clone());
        scene.registry.fail(Class::BlobGet, lie);

        let (files, ran) = scene.receive();

        assert_eq!(ran.code(), 0, "{claim}: {ran:?}");
        assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD]);
    }
}

#[test]
fn h09_h10_endless_bodies_are_cut_at_their_limits() {
    for class in [Class::Tags, Class::ManifestGet, Class::Referrers] {
        let scene = Scene::new();
        // Without a bundle tag, so that the referrers are requested.
        scene.letter("unsigned").post_unsigned(&scene.registry, BOB);
        scene.registry.fail(class, Fault::Endless);

        let ((files, ran), took) = timed(|| scene.receive());

        assert!([0, 4].contains(&ran.code()), "{class:?}: {ran:?}");
        assert!(files.is_empty(), "{class:?}: {ran:?}");
        assert!(took < PATIENCE, "{class:?} took {took:?}");
        let len = scene.registry.endless_len();
        assert!(len < ENDLESS_LEN_MAX, "{class:?}: {len} bytes");
    }
    let (scene, _layer) = assert_layer_fault("H10 endless", 4, Fault::Endless);
    assert!(scene.registry.endless_len() < 2 * ENDLESS_LEN_MAX);
    assert_layer_fault("H10 longer", 4, Fault::Replace(payload(5000)));
}

#[test]
fn h11_a_length_that_lies_reserves_nothing() {
    assert_layer_fault("H11 2^62", 4, Fault::ClaimLength(1 << 62));
}

#[test]
fn h12_h13_h14_a_layer_that_drips_hangs_or_stalls_ends_at_the_deadline() {
    assert_layer_fault("H12 drip", 7, Fault::Drip);
    assert_layer_fault("H13 hang", 7, Fault::Hang);
    assert_layer_fault("H14 stall", 7, Fault::Stall(100));
}

#[test]
fn h12_h13_h14_listings_and_manifests_that_hang_end_at_the_deadline() {
    for class in [Class::Tags, Class::ManifestGet] {
        assert_class_fault("H12 drip", class, &Fault::Drip, &[7]);
        assert_class_fault("H13 hang", class, &Fault::Hang, &[7]);
        assert_class_fault("H14 stall", class, &Fault::Stall(10), &[7]);
    }
}

#[test]
fn h13_one_manifest_that_hangs_hides_no_other() {
    let scene = Scene::new();
    let posted = scene.letter("hanging").post(&scene.registry, &scene.alice, BOB);
    scene.registry.fail_on(Class::ManifestGet, &posted.tag, u64::MAX, Fault::Hang);
    scene.post_good();

    let ((files, ran), took) = timed(|| scene.receive());

    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD], "{ran:?}");
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn h15_server_errors_are_tried_again_and_then_reported() {
    for status in [500, 502, 503] {
        let (scene, layer) = scene_with_layer();
        scene.registry.fail_on(Class::BlobGet, &layer, 2, Fault::status(status));
        scene.registry.fail_times(Class::Tags, 2, Fault::status(status));

        let (files, ran) = scene.receive();

        assert_eq!(ran.code(), 0, "{status}: {ran:?}");
        assert_eq!(files.len(), 2);
        assert_layer_fault("H15 always", 7, Fault::status(status));
        assert_class_fault("H15", Class::Tags, &Fault::status(status), &[7]);
    }
}

#[test]
fn h15_a_registry_that_always_fails_is_asked_six_times_at_most() {
    let (scene, layer) = scene_with_layer();
    scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, Fault::status(500));

    scene.receive();

    assert!((2..=6).contains(&fetches(&scene, &layer)), "{}", fetches(&scene, &layer));
}

#[test]
fn h16_throttling_is_obeyed_within_the_deadline() {
    let throttled =
        |wish: &str| Fault::Answer(Answer::error(429, "TOOMANYREQUESTS").with("Retry-After", wish));
    let (scene, _layer) = scene_with_layer();
    scene.registry.fail_times(Class::Tags, 1, throttled("1"));

    let ((files, ran), took) = timed(|| scene.receive());

    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(files.len(), 2);
    assert!(took.as_millis() >= 1000, "{took:?}");
    for wish in ["1000000000", "-1", "x"] {
        assert_class_fault("H16", Class::Tags, &throttled(wish), &[7]);
    }
}

#[test]
fn h18_a_redirected_layer_is_fetched_without_the_password() {
    let (scene, layer) = scene_with_layer();
    scene.log_in();
    let elsewhere = Registry::start();
    let content = Letter::new(&scene.alice, BOB, "x", &payload(900)).layers[0].clone();
    elsewhere.put_blob(&content);
    let target = format!("http://{}/v2/mail/blobs/{layer}", elsewhere.host());
    scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, redirect(&target));

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(files["bad"], payload(900));
    let leaks = elsewhere.seen(Class::Any);
    assert_eq!(leaks.len(), 1);
    assert!(leaks.iter().all(|request| request.header("authorization").is_none()));
}

fn redirect(target: &str) -> Fault {
    Fault::Answer(Answer::new(307).with("Location", target))
}

#[test]
fn h19_redirects_in_a_circle_or_to_other_protocols_are_refused() {
    assert_layer_fault("H19 file", 4, redirect("file:///etc/passwd"));
    assert_layer_fault("H19 ftp", 4, redirect("ftp://127.0.0.1/x"));
    assert_layer_fault("H19 nowhere", 4, Fault::Answer(Answer::new(307)));
    let circle = Fault::script(|request| Answer::new(307).with("Location", request.path.clone()));
    assert_layer_fault("H19 circle", 4, circle.clone());
    let (scene, layer) = scene_with_layer();
    scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, circle);

    scene.receive();

    assert!(fetches(&scene, &layer) <= 6, "{}", fetches(&scene, &layer));
}

#[test]
fn h22_a_password_is_not_sent_to_a_realm_on_another_host() {
    let scene = Scene::new();
    scene.post_good();
    scene.log_in();
    let elsewhere = Registry::start();
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", elsewhere.host());
    let challenge = Answer::error(401, "UNAUTHORIZED").with("WWW-Authenticate", realm);
    scene.registry.fail(Class::Any, Fault::Answer(challenge));

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 3, "{ran:?}");
    assert!(files.is_empty());
    let leaks = elsewhere.seen(Class::Any);
    assert!(leaks.iter().all(|request| request.header("authorization").is_none()), "{leaks:?}");
    assert!(ran.stderr.contains("auth_realms"), "{ran:?}");
}

#[test]
fn h23_refusals_are_told_at_once_and_without_a_loop() {
    for status in [401, 403] {
        let scene = Scene::new();
        scene.post_good();
        scene.registry.fail(Class::Any, Fault::status(status));

        let (files, ran) = scene.receive();

        assert_eq!(ran.code(), 3, "{status}: {ran:?}");
        assert!(files.is_empty());
        assert!(ran.stderr.contains("docker login"), "{ran:?}");
        let count = scene.registry.count(Class::Any);
        assert!(count <= 4, "{status}: {count} requests");
    }
    assert_layer_fault("H23 403", 3, Fault::status(403));
    assert_layer_fault("H23 401", 3, Fault::status(401));
}

#[test]
fn h25_h26_a_web_page_is_never_taken_for_data() {
    assert_layer_fault("H25", 4, Fault::Answer(Answer::html()));
    for class in [Class::Any, Class::Tags, Class::ManifestGet] {
        assert_class_fault("H25", class, &Fault::Answer(Answer::html()), &[4]);
    }
}

#[test]
fn h27_an_answer_that_is_compressed_is_not_unpacked() {
    let gzip = Fault::Header("Content-Encoding", "gzip".to_owned());
    assert_layer_fault("H27", 4, gzip);
}

#[test]
fn h30_h31_what_is_no_http_is_an_error() {
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n",
        "\0\0\0\0garbage",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        assert_layer_fault(raw, 7, Fault::Raw(raw.into()));
    }
    let mut huge = Answer::new(200);
    huge.headers = (0..1000).map(|n| (format!("X-{n}"), "x".repeat(1000))).collect();
    let (scene, layer) = scene_with_layer();
    scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, Fault::Answer(huge));
    let (files, ran) = scene.receive();
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD], "{ran:?}");
}
