//! What a registry can claim about existing tags and bundles (H32 to H38).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::registry::{Answer, Class, Fault, Registry, Request};
use super::scene::{PATIENCE, Scene, timed};
use crate::common::BOB;

/// Letters in each of these tests.
const COUNT: usize = 5;

fn post_letters(scene: &Scene) {
    for index in 0..COUNT {
        scene.letter(&index.to_string()).post(&scene.registry, &scene.alice, BOB);
    }
}

/// Returns a page that lists `tags`.
fn page(tags: &[String]) -> Answer {
    Answer::json(&json!({ "name": "mail", "tags": tags }))
}

/// Asserts that all letters arrive while tags are listed by `listing`.
#[track_caller]
fn assert_all_found(id: &str, listing: impl Fn(&Scene, Vec<String>) -> Option<Fault>) -> Scene {
    let scene = Scene::new();
    post_letters(&scene);
    if let Some(fault) = listing(&scene, scene.registry.tags("")) {
        scene.registry.fail(Class::Tags, fault);
    }

    let ((files, ran), took) = timed(|| scene.receive());

    assert_eq!(ran.code(), 0, "{id}: {ran:?}");
    assert_eq!(files.len(), COUNT, "{id}: {ran:?} {:?}", scene.quarantine());
    assert!(took < PATIENCE, "{id} took {took:?}");
    scene
}

#[test]
fn h32_tags_in_any_order_and_twice_give_the_same_inbox() {
    assert_all_found("reverse", |_, tags| {
        Some(Fault::Answer(page(&tags.into_iter().rev().collect::<Vec<_>>())))
    });
    assert_all_found("twice", |_, tags| Some(Fault::Answer(page(&[&tags[..], &tags].concat()))));
    assert_all_found("unsorted", |_, tags| {
        // A set of hashes has an order that has nothing to do with the alphabet.
        let mut shuffled: Vec<(u8, String)> =
            tags.into_iter().map(|tag| (tag.bytes().fold(0, |a, b| a ^ b), tag)).collect();
        shuffled.sort();
        Some(Fault::Answer(page(&shuffled.into_iter().map(|(_, tag)| tag).collect::<Vec<_>>())))
    });
}

#[test]
fn h32_junk_between_the_tags_hides_nothing() {
    assert_all_found("junk", |scene, _| {
        let prefix = scene.registry.tags("inbox-")[0].rsplit_once('-').unwrap().0.to_owned();
        for junk in ["latest", "inbox-", "sha256-x", "bundle-", "receipt-x-y-z"] {
            scene.registry.put_manifest(Some(junk), b"junk");
        }
        scene.registry.put_manifest(Some(&format!("{prefix}-zzzzzzzz")), b"junk");
        None
    });
}

#[test]
fn h33_pages_that_lead_in_a_circle_end() {
    assert_all_found("to itself", |_, tags| {
        let link = "</v2/mail/tags/list?n=100&last=x>; rel=\"next\"";
        Some(Fault::Answer(page(&tags).with("Link", link)))
    });
    assert_all_found("endless", |_, tags| {
        let counter = std::sync::atomic::AtomicU64::new(0);
        Some(Fault::script(move |_request| {
            let nth = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let link = format!("</v2/mail/tags/list?n=100&last={nth}>; rel=\"next\"");
            page(&tags).with("Link", link)
        }))
    });
}

#[test]
fn h33_a_listing_that_says_nothing_is_an_empty_one() {
    for body in [json!({ "name": "mail", "tags": null }), json!({ "name": "mail" })] {
        let scene = Scene::new();
        post_letters(&scene);
        let (first, _) = scene.receive();
        scene.registry.fail(Class::Tags, Fault::Answer(Answer::json(&body)));

        let (nothing, ran) = scene.receive();

        assert_eq!(first.len(), COUNT);
        assert!([0, 4].contains(&ran.code()), "{ran:?}");
        assert!(nothing.is_empty());
        // H35: what was delivered stays.
        assert_eq!(scene.bob.json(["ls", "--offline"]).len(), COUNT);
    }
}

#[test]
fn h34_pages_of_any_size_are_followed_to_their_end() {
    for count in [1, 2, 100] {
        let scene = Scene::with(Registry::start_with(true, count));
        post_letters(&scene);

        let (files, ran) = scene.receive();

        assert_eq!(ran.code(), 0, "{count}: {ran:?}");
        assert_eq!(files.len(), COUNT, "{count}: {ran:?}");
    }
}

#[test]
fn h34_a_page_on_another_host_is_not_asked_for() {
    let elsewhere = Registry::start();
    let scene = Scene::new();
    post_letters(&scene);
    let link = format!("<http://{}/v2/mail/tags/list>; rel=\"next\"", elsewhere.host());
    let all = page(&scene.registry.tags("")).with("Link", link);
    scene.registry.fail(Class::Tags, Fault::Answer(all));

    let (_, ran) = scene.receive();

    assert!([0, 4].contains(&ran.code()), "{ran:?}");
    assert_eq!(elsewhere.count(Class::Any), 0);
}

/// P24: no watermark by time.
#[test]
fn h35_what_was_delivered_stays_and_what_was_hidden_comes_later() {
    let scene = Scene::new();
    scene.letter("early").post(&scene.registry, &scene.alice, BOB);
    let shown = scene.registry.tags("");
    scene.letter("hidden").post(&scene.registry, &scene.alice, BOB);
    scene.registry.fail(Class::Tags, Fault::Answer(page(&shown)));
    let (early, _) = scene.receive();
    scene.registry.fail(Class::Tags, Fault::Answer(page(&[])));
    let (nothing, _) = scene.receive();
    let meanwhile = scene.inbox();
    scene.registry.heal();

    let (late, ran) = scene.receive();

    assert_eq!(early.keys().collect::<Vec<_>>(), ["early"]);
    assert!(nothing.is_empty());
    assert_eq!(meanwhile, ["early"]);
    assert_eq!(late.keys().collect::<Vec<_>>(), ["hidden"], "{ran:?}");
}

#[test]
fn h37_a_bundle_is_found_by_its_tag_when_the_referrers_lie() {
    for fault in [
        Fault::status(404),
        Fault::Answer(Answer::html()),
        Fault::Answer(Answer::json(&json!({ "manifests": "none" }))),
        Fault::script(|_request| referrers(&[])),
    ] {
        let scene = Scene::new();
        post_letters(&scene);
        scene.registry.fail(Class::Referrers, fault);

        let (files, ran) = scene.receive();

        assert_eq!(ran.code(), 0, "{ran:?}");
        assert_eq!(files.len(), COUNT, "{ran:?}");
    }
}

#[test]
fn h37_a_bundle_is_found_by_the_referrers_when_its_tag_is_gone() {
    let scene = Scene::new();
    post_letters(&scene);
    for tag in scene.registry.tags("bundle-") {
        scene.registry.remove_tag(&tag);
    }

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(files.len(), COUNT, "{:?}", scene.quarantine());
}

#[test]
fn h37_referrers_of_other_things_prove_nothing() {
    let scene = Scene::new();
    let (genuine, forged) = (scene.letter("genuine"), scene.letter("forged"));
    genuine.post(&scene.registry, &scene.alice, BOB);
    forged.post_unsigned(&scene.registry, BOB);
    // The genuine message's bundle is offered as the forged one's.
    let bundle = scene.registry.manifest_of(&scene.registry.tags("bundle-")[0]).unwrap();
    let entry = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": dockercomms::protocol::Digest::of(&bundle).to_string(),
        "size": bundle.len(),
    });
    scene.registry.fail(
        Class::Referrers,
        Fault::script(move |_request| referrers(std::slice::from_ref(&entry))),
    );

    let (files, ran) = scene.receive();

    assert_eq!(files.keys().collect::<Vec<_>>(), ["genuine"], "{ran:?}");
    assert_eq!(scene.quarantine()["forged"], "no-bundle");
}

#[test]
fn h38_a_hundred_thousand_referrers_cost_a_bounded_number_of_requests() {
    let scene = Scene::new();
    scene.letter("flooded").post_unsigned(&scene.registry, BOB);
    scene.registry.fail(Class::Referrers, Fault::script(many_referrers));

    let ((files, ran), took) = timed(|| scene.receive());

    assert!(files.is_empty());
    assert!([0, 4].contains(&ran.code()), "{ran:?}");
    assert!(took < PATIENCE, "{took:?}");
    let asked: BTreeSet<String> =
        scene.registry.seen(Class::ManifestGet).iter().map(|r| r.path.clone()).collect();
    assert!(asked.len() < 200, "{} manifests", asked.len());
}

fn referrers(entries: &[Value]) -> Answer {
    let media_type = "application/vnd.oci.image.index.v1+json";
    Answer::json(&json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries }))
        .with("Content-Type", media_type)
}

/// A page of referrers that do not exist, and always another page.
fn many_referrers(request: &Request) -> Answer {
    let page: u64 = request.parameter("last").and_then(|last| last.parse().ok()).unwrap_or(0);
    let entries: Vec<Value> = (0..1000)
        .map(|nth| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": format!("sha256:{:064x}", page * 1000 + nth),
                "size": 700,
            })
        })
        .collect();
    let link = format!("<{}?last={}>; rel=\"next\"", request.path, page + 1);
    referrers(&entries).with("Link", link)
}
