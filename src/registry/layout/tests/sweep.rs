//! Sweeping blobs that nothing names, and what must survive it.

use super::*;

const WEEK: Duration = Duration::from_hours(24 * 7);

impl World {
    /// Makes a blob look as if it had not been touched for years.
    fn age(&self, digest: &Digest) {
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 40);
        let file = fs::File::open(self.blob_path(digest)).unwrap();
        file.set_modified(old).unwrap();
    }

    async fn push(&self, bytes: &'static [u8]) -> Descriptor {
        let blob = Descriptor::of("application/x-layer", bytes);
        self.repository.push_blob(&blob.digest, Bytes::from_static(bytes)).await.unwrap();
        blob
    }

    /// Pushes a manifest with one layer; returns its digest and the layer's.
    async fn push_with_layer(&self, name: Option<&str>, layer: &'static [u8]) -> [Digest; 2] {
        let layer = self.push(layer).await;
        let mut parsed = ImageManifest::parse(&manifest("layered", None)).unwrap();
        let digest = layer.digest;
        parsed.layers = vec![layer];
        let upload = ManifestUpload { bytes: parsed.encode().into(), ..upload("", name) };
        [self.repository.push_manifest(&upload).await.unwrap(), digest]
    }

    fn has(&self, digest: &Digest) -> bool {
        self.blob_path(digest).exists()
    }
}

#[tokio::test]
async fn a_sweep_removes_what_is_unnamed_and_old_and_nothing_else() {
    let world = World::new();
    let [tagged, tagged_layer] = world.push_with_layer(Some("kept"), b"kept").await;
    let [untagged, untagged_layer] = world.push_with_layer(None, b"sent by subject").await;
    let bytes = fs::read(world.blob_path(&untagged)).unwrap();
    let subject = ManifestUpload { bytes: bytes.into(), ..upload("", None) };
    let mut bundle = referrer_of(&subject, "bundle");
    bundle.tag = Some(tag("bundle-x"));
    let bundle = world.repository.push_manifest(&bundle).await.unwrap();
    let lost = world.push(b"unnamed and old").await.digest;
    let new = world.push(b"unnamed and new").await.digest;
    let named = [tagged, tagged_layer, untagged, untagged_layer, bundle];
    named.iter().chain([&lost]).for_each(|digest| world.age(digest));

    let counted = world.repository.sweep_blobs(WEEK, true).await.unwrap();
    assert!(world.has(&lost), "a dry run removes nothing");
    let swept = world.other_process().sweep_blobs(WEEK, false).await.unwrap();
    let again = world.repository.sweep_blobs(WEEK, false).await.unwrap();

    assert_eq!(swept, Some(SweptBlobs { blob_count: 1, blob_bytes: 15 }));
    assert_eq!(counted, swept);
    assert_eq!(again, Some(SweptBlobs::default()));
    assert!(!world.has(&lost) && world.has(&new));
    assert!(named.iter().all(|digest| world.has(digest)));
}

#[tokio::test]
async fn a_blob_that_a_send_asked_for_or_pushed_again_survives_a_sweep() {
    let world = World::new();
    let (asked, pushed) = (world.push(b"asked").await.digest, world.push(b"pushed").await.digest);
    world.age(&asked);
    world.age(&pushed);

    assert!(world.repository.blob_exists(&asked).await.unwrap());
    world.push(b"pushed").await;
    world.other_process().sweep_blobs(WEEK, false).await.unwrap();

    assert!(world.has(&asked) && world.has(&pushed));
}

#[tokio::test]
async fn a_layer_shared_with_another_message_stays_until_the_last_one_goes() {
    let world = World::new();
    let [first, layer] = world.push_with_layer(Some("first"), b"shared").await;
    let mut other = ImageManifest::parse(&manifest("other", None)).unwrap();
    other.layers = vec![Descriptor::of("application/x-layer", b"shared")];
    let other = ManifestUpload { bytes: other.encode().into(), ..upload("", Some("second")) };
    let second = world.repository.push_manifest(&other).await.unwrap();

    world.repository.delete_manifest(&first).await.unwrap();
    world.age(&layer);
    world.repository.sweep_blobs(WEEK, false).await.unwrap();
    assert!(world.has(&layer));

    world.repository.delete_manifest(&second).await.unwrap();
    world.repository.sweep_blobs(WEEK, false).await.unwrap();
    assert!(!world.has(&layer));
}

#[tokio::test]
async fn a_layout_that_is_not_understood_or_damaged_is_not_swept() {
    let world = World::new();
    let [tagged, _] = world.push_with_layer(Some("kept"), b"kept").await;
    let lost = world.push(b"unnamed and old").await.digest;
    world.age(&lost);
    let index = fs::read_to_string(world.path("index.json")).unwrap();
    let sha512 = format!("sha512:{}", "0".repeat(128));

    put(&world.path("index.json"), index.replace(&tagged.to_string(), &sha512));
    let foreign = world.other_process().sweep_blobs(WEEK, false).await;
    put(&world.path("index.json"), &index);
    put(&world.blob_path(&tagged), b"{}");
    let damaged = world.other_process().sweep_blobs(WEEK, false).await;

    assert_eq!(class(foreign), Some(ErrorClass::NotPermitted));
    assert_eq!(class(damaged), Some(ErrorClass::Corrupt));
    assert!(world.has(&lost));
}

#[tokio::test]
async fn what_a_manifest_beyond_our_limits_names_is_not_swept() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(5 << 20));
    for bytes in [deep, long] {
        let world = World::new();
        let layer = world.push(b"perhaps its layer").await.digest;
        world.age(&layer);
        let foreign = ManifestUpload { bytes: bytes.into(), ..upload("", Some("foreign")) };
        world.repository.push_manifest(&foreign).await.unwrap();

        let swept = world.repository.sweep_blobs(WEEK, false).await;

        assert!(swept.is_err(), "{swept:?}");
        assert!(world.has(&layer));
    }
}

#[tokio::test]
async fn a_manifest_whose_layers_were_swept_is_refused_with_its_bundle() {
    let world = World::new();
    let [untagged, layer] = world.push_with_layer(None, b"swept too early").await;
    let bytes = fs::read(world.blob_path(&untagged)).unwrap();
    let subject = ManifestUpload { bytes: bytes.into(), ..upload("", Some("late")) };
    let mut bundle = referrer_of(&subject, "bundle");
    bundle.tag = Some(tag("bundle-x"));
    fs::remove_file(world.blob_path(&layer)).unwrap();

    let published = world.repository.push_manifest(&subject).await;
    let attached = world.repository.push_manifest(&bundle).await;

    for refused in [published, attached] {
        let Err(RegistryError::BlobUnknown { digests }) = refused else { panic!("{refused:?}") };
        assert_eq!(digests, [layer]);
    }
    assert!(world.index_entries().is_empty());
}

#[tokio::test]
async fn deleting_and_sweeping_make_no_directory() {
    let world = World::new();
    let digest = Digest::of(b"x");

    let deleted = world.repository.delete_tag(&tag("x")).await;
    world.repository.remove_referrer(&digest, &digest).await.unwrap();
    let swept = world.repository.sweep_blobs(WEEK, false).await.unwrap();

    assert_eq!(class(deleted), Some(ErrorClass::NotFound));
    assert_eq!(swept, Some(SweptBlobs::default()));
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 0);
}
