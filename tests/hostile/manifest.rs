//! Manifests that a trusted key has signed and that break a rule (M).

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use dockercomms::protocol::limits::CHUNK_BYTES_MAX;
use dockercomms::protocol::{Digest, annotation as key, media_type};
use serde_json::{Value, json};

use super::forge::{Author, Letter};
use super::registry::{Class, Registry};
use super::scene::{GOOD, PATIENCE, Scene, timed};
use crate::common::{ALICE, BOB, names_in, run, shell};

/// Posts each of the letters and a good one; asserts that the good one arrives, that each bad one
/// is in quarantine under its code, and that no layer of theirs was fetched.
fn assert_refused(letters: impl Fn(&Scene) -> Vec<(Letter, &'static str)>) {
    let scene = Scene::new();
    let mut expected: Vec<(String, &str)> = Vec::new();
    for (letter, code) in letters(&scene) {
        let posted = letter.post(&scene.registry, &scene.alice, BOB);
        // What cannot be a manifest at all is known by its tag alone.
        let id =
            if code == "malformed" { Digest::of(posted.tag.as_bytes()) } else { posted.digest };
        expected.push((id.to_string(), code));
    }
    scene.post_good();

    let (files, run) = scene.receive();

    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD]);
    let notes = scene.bob.json(["ls", "quarantine"]);
    for (index, (digest, code)) in expected.iter().enumerate() {
        let note = notes.iter().find(|note| note["digest"] == *digest);
        let found = note.map(|note| &note["why"]);
        assert_eq!(found, Some(&json!(code)), "letter {index}: {notes:#?}");
    }
    assert_eq!(notes.len(), expected.len());
    assert_eq!(scene.registry.count(Class::BlobGet), blobs_of_bundles(&scene) + 1);
}

/// Returns how many bundles were fetched: no layer of a refused message ever is.
fn blobs_of_bundles(scene: &Scene) -> usize {
    let bundles: Vec<String> = scene
        .registry
        .tags("bundle-")
        .iter()
        .filter_map(|tag| scene.registry.manifest_of(tag))
        .filter_map(|manifest| {
            let manifest: Value = serde_json::from_slice(&manifest).ok()?;
            Some(manifest.pointer("/layers/0/digest")?.as_str()?.to_owned())
        })
        .collect();
    let seen = scene.registry.seen(Class::BlobGet);
    seen.iter().filter(|request| bundles.iter().any(|digest| request.name() == digest)).count()
}

#[test]
fn m01_m02_m21_m25_annotations_that_are_missing_or_wrong_are_refused() {
    assert_refused(|scene| {
        let letter = |name: &str| scene.letter(name);
        vec![
            (letter("a").annotate(key::SENDER, None), "missing-field"),
            (letter("b").annotate(key::TOTAL_BYTES, None), "missing-field"),
            (letter("c").annotate(key::FILENAME, None), "missing-field"),
            (letter("d").annotate(key::VERSION, "2.0"), "unsupported-version"),
            (letter("e").annotate(key::MESSAGE_ID, "../../x"), "bad-field"),
            (letter("f").annotate(key::COMPRESSION, "brotli"), "bad-field"),
            (letter("g").annotate(key::TTL_SECONDS, "-1"), "bad-field"),
            (letter("h").annotate(key::CREATED_AT, "yesterday"), "bad-field"),
            (
                letter("i").set(&format!("/annotations/{}", key::TTL_SECONDS), json!(60)),
                "bad-field",
            ),
        ]
    });
}

#[test]
fn m03_m04_m05_sizes_that_lie_are_refused_before_anything_is_fetched() {
    assert_refused(|scene| {
        let letter = |name: &str| scene.letter(name);
        vec![
            (letter("a").annotate(key::TOTAL_BYTES, "18446744073709551616"), "bad-field"),
            (letter("b").annotate(key::TOTAL_BYTES, "5e3"), "bad-field"),
            (letter("c").annotate(key::TOTAL_BYTES, "02500"), "bad-field"),
            (letter("d").annotate(key::TOTAL_BYTES, "9223372036854775807"), "bad-field"),
            (letter("e").annotate(key::TOTAL_BYTES, "3001"), "bad-chunk-map"),
            (letter("f").annotate(key::CHUNK_BYTES, "0"), "bad-chunk-map"),
            (letter("g").annotate(key::CHUNK_COUNT, "4"), "bad-chunk-map"),
            (letter("h").annotate(key::CHUNK_COUNT, "4294967297"), "bad-chunk-map"),
            (letter("i").annotate(key::CHUNK_BYTES, "9223372036854775807"), "bad-field"),
        ]
    });
}

#[test]
fn m06_m07_m08_missing_duplicate_and_extra_chunks_are_refused() {
    assert_refused(|scene| {
        let letter = |name: &str| scene.letter(name);
        let index = |layer: usize, text: &str| {
            (format!("/layers/{layer}/annotations/{}", key::CHUNK_INDEX), json!(text))
        };
        let at = |name: &str, layer, text| {
            let (at, value) = index(layer, text);
            letter(name).set(&at, value)
        };
        let extra = letter("extra");
        let last = extra.manifest["layers"][2].clone();
        let mut extra_layers = extra.manifest["layers"].as_array().unwrap().clone();
        extra_layers.push(last);
        vec![
            (letter("missing").set("/layers/1", None), "bad-chunk-map"),
            (at("duplicate", 1, "0"), "bad-chunk-map"),
            (at("gap", 2, "3"), "bad-chunk-map"),
            (at("leading zero", 1, "01"), "bad-chunk-map"),
            (at("negative", 1, "-1"), "bad-chunk-map"),
            (letter("no index").set("/layers/1/annotations", None), "bad-chunk-map"),
            (extra.set("/layers", json!(extra_layers)), "bad-chunk-map"),
            (letter("none").set("/layers", json!([])), "bad-chunk-map"),
        ]
    });
}

#[test]
fn m09_m15_other_documents_that_claim_to_be_a_message_are_refused() {
    assert_refused(|scene| {
        let letter = |name: &str| scene.letter(name);
        let gzip = "/layers/0/mediaType";
        vec![
            (letter("a").annotate(key::COMPRESSION, "gzip"), "bad-field"),
            (letter("b").set(gzip, json!(media_type::CHUNK_GZIP)), "bad-field"),
            (letter("c").set(gzip, json!("application/octet-stream")), "bad-field"),
            (letter("d").set("/manifests", json!([])), "ambiguous"),
            (letter("e").set("/config/mediaType", json!("text/plain")), "bad-field"),
        ]
    });
}

#[test]
fn m16_m17_a_layer_that_points_elsewhere_is_refused_and_nobody_asked() {
    let elsewhere = Registry::start();
    let url = format!("http://{}/v2/mail/blobs/x", elsewhere.host());
    assert_refused(|scene| {
        vec![
            (scene.letter("urls").set("/layers/0/urls", json!([url])), "bad-field"),
            (scene.letter("data").set("/layers/0/data", json!("Zm9v")), "bad-field"),
        ]
    });

    assert_eq!(elsewhere.count(Class::Any), 0);
}

#[test]
fn m18_m19_descriptors_that_lie_are_refused() {
    assert_refused(|scene| {
        let letter = |name: &str| scene.letter(name);
        let (size, digest) = ("/layers/0/size", "/layers/0/digest");
        let hex = "0".repeat(63);
        vec![
            (letter("a").set(size, json!(1_u64 << 50)), "bad-chunk-map"),
            (letter("b").set(size, json!(-1)), "bad-field"),
            (letter("c").set(size, json!("135")), "bad-field"),
            (letter("d").set(digest, json!("../../etc/passwd")), "bad-field"),
            (letter("e").set(digest, json!(format!("sha256:{hex}"))), "bad-field"),
            (letter("f").set(digest, json!(format!("sha256:{hex}A"))), "bad-field"),
            (letter("g").set(digest, json!("md5:d41d8cd98f00b204e9800998ecf8427e")), "bad-field"),
        ]
    });
}

#[test]
fn m26_to_m35_what_is_not_one_sound_json_object_is_refused() {
    assert_refused(|scene| {
        let letter = |name: &str| scene.letter(name);
        let text = |name: &str| String::from_utf8(letter(name).bytes()).unwrap();
        let deep = "[".repeat(100_000);
        let doubled = text("twice").replacen('{', "{\"schemaVersion\":2,", 1);
        let mut many = letter("many");
        let annotations = many.manifest["annotations"].as_object_mut().unwrap();
        annotations.extend((0..60_000).map(|n| (format!("x{n}"), json!(""))));
        let mut bad_utf8 = letter("utf8").bytes();
        let at = bad_utf8.len() - 20;
        bad_utf8[at] = 0xff;
        vec![
            (letter("a").raw(doubled), "duplicate-key"),
            (letter("b").raw(format!("{{\"a\":{deep}")), "not-json"),
            (letter("c").raw(format!("{} x", text("c"))), "not-json"),
            (letter("d").raw(format!("\u{feff}{}", text("d"))), "malformed"),
            (letter("e").raw(bad_utf8), "not-json"),
            (letter("f").raw("[]"), "malformed"),
            (letter("g").raw(""), "malformed"),
            (letter("h").raw("<!DOCTYPE html><html>Sign in</html>"), "malformed"),
            (many, "too-large"),
        ]
    });
}

#[test]
fn m33_a_manifest_above_four_mebibytes_is_not_read_to_its_end() {
    let scene = Scene::new();
    let huge = scene.letter("huge").annotate("x", " ".repeat(5 << 20).as_str());
    huge.post(&scene.registry, &scene.alice, BOB);
    scene.post_good();

    let (files, run) = scene.receive();

    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD]);
    let codes: Vec<String> = scene.quarantine().into_values().collect();
    assert_eq!(codes, ["too-large"]);
}

/// A letter of so many layers, of which none is in the registry, with chunks of `chunk_len` bytes.
fn promise(scene: &Scene, name: &str, layer_count: u64, chunk_len: u64) -> Letter {
    let letter = scene.letter(name);
    let layer = letter.manifest["layers"][0].clone();
    let layers: Vec<Value> = (0..layer_count)
        .map(|index| {
            let mut layer = layer.clone();
            layer["annotations"][key::CHUNK_INDEX] = json!(index.to_string());
            layer["digest"] = json!(Digest::of(index.to_string().as_bytes()).to_string());
            layer
        })
        .collect();
    letter
        .set("/layers", json!(layers))
        .annotate(key::CHUNK_COUNT, layer_count.to_string().as_str())
        .annotate(key::CHUNK_BYTES, chunk_len.to_string().as_str())
        .annotate(key::TOTAL_BYTES, (layer_count * chunk_len).to_string().as_str())
}

#[test]
fn m36_a_message_of_ten_thousand_layers_is_listed_soon() {
    let scene = Scene::new();
    promise(&scene, "many", 10_000, 1000).post(&scene.registry, &scene.alice, BOB);

    let listed = scene.bob.json(["ls"]);
    let (again, took) = timed(|| scene.bob.json(["ls", "--offline"]));

    let sizes: Vec<&Value> = listed.iter().map(|row| &row["bytes"]).collect();
    assert_eq!(sizes, [10_000_000], "{:?}", scene.quarantine());
    assert_eq!(again, listed);
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn m37_the_longest_message_takes_no_room_and_a_longer_one_is_refused() {
    let scene = Scene::new();
    let longest = 10_000 * CHUNK_BYTES_MAX;
    promise(&scene, "longest", 10_000, CHUNK_BYTES_MAX).post(&scene.registry, &scene.alice, BOB);
    // Ten tebibytes.
    promise(&scene, "longer", 10, 1 << 40).post(&scene.registry, &scene.alice, BOB);
    scene.post_good();
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, "longest");

    let data = path.metadata().unwrap();
    let read = std::fs::read(mount.message(ALICE, GOOD)).unwrap();
    let space = run(shell("stat -f -c '%b %a' \"$1\"", &[mount.path()])).ok();

    assert_eq!((data.len(), read.as_slice()), (longest, &b"good"[..]));
    let mut blocks = space.split_whitespace().map(|number| number.parse::<u64>().unwrap());
    assert!(blocks.all(|count| count > 0), "{space}");
    assert_eq!(names_in(mount.inbox(ALICE)), [GOOD, "longest"]);
    let mut first = [0];
    let read = File::open(&path).unwrap().read_at(&mut first, longest - 1);
    assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::ENOENT));
    drop(mount);
    assert_eq!(scene.quarantine()["longer"], "bad-field");
    // Only the good one could come; it may have its receipt already, from the mount.
    let (files, ran) = scene.receive();
    assert!(!files.contains_key("longest"), "{ran:?}");
    assert!([5, 6].contains(&ran.code()), "{ran:?}");
}

#[test]
fn m38_the_same_message_id_under_two_digests_delivers_the_first() {
    let scene = Scene::new();
    let first = scene.letter("first");
    let id = first.manifest["annotations"][key::MESSAGE_ID].as_str().unwrap().to_owned();
    first.post(&scene.registry, &scene.alice, BOB);
    let (before, _) = scene.receive();
    scene.letter("second").annotate(key::MESSAGE_ID, id.as_str()).post(
        &scene.registry,
        &scene.alice,
        BOB,
    );

    let (after, run) = scene.receive();

    assert_eq!(before.keys().collect::<Vec<_>>(), ["first"]);
    assert!(after.is_empty(), "{run:?}");
    assert_eq!(scene.inbox(), ["first"]);
    assert_eq!(scene.quarantine()["second"], "duplicate-id");
}

#[test]
fn m39_a_stranger_with_the_same_message_id_displaces_nobody() {
    let scene = Scene::new();
    let stranger = Author::new("stranger@example.com");
    let genuine = scene.letter("genuine");
    let id = genuine.manifest["annotations"][key::MESSAGE_ID].as_str().unwrap().to_owned();
    Letter::new(&stranger, BOB, "forged", b"x").annotate(key::MESSAGE_ID, id.as_str()).post(
        &scene.registry,
        &stranger,
        BOB,
    );
    let (before, _) = scene.receive();
    genuine.post(&scene.registry, &scene.alice, BOB);

    let (after, _) = scene.receive();

    assert!(before.is_empty());
    assert_eq!(after.keys().collect::<Vec<_>>(), ["genuine"]);
}

#[test]
fn m11_to_m15_b26_an_index_a_receipt_or_a_container_image_under_an_inbox_tag_is_no_message() {
    let scene = Scene::new();
    let image = scene
        .letter("image")
        .set("/artifactType", None)
        .set("/config/mediaType", json!("application/vnd.oci.image.config.v1+json"));
    image.post(&scene.registry, &scene.alice, BOB);
    let receipt = scene.letter("receipt").set("/artifactType", json!(media_type::RECEIPT));
    receipt.post(&scene.registry, &scene.alice, BOB);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::IMAGE_INDEX,
        "manifests": [{
            "mediaType": media_type::IMAGE_MANIFEST,
            "digest": image.digest().to_string(),
            "size": image.bytes().len(),
        }],
    });
    scene.letter("index").raw(index.to_string()).post(&scene.registry, &scene.alice, BOB);
    scene.post_good();

    let (files, run) = scene.receive();

    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD]);
    let codes: Vec<String> = scene.quarantine().into_values().collect();
    assert_eq!(codes, ["ambiguous"]);
    let image = image.digest().to_string();
    let fetched = scene.registry.seen(Class::ManifestGet);
    assert!(!fetched.iter().any(|request| request.name() == image), "the index was followed");
}
