//! The layout directory: the contract, hostile contents, other programs' entries.

mod sweep;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::protocol::media_type;
use crate::protocol::{Annotations, EMPTY_BYTES, ErrorClass, ImageManifest};
use crate::registry::ReferrerEntry;
use crate::registry::conformance::{self, Options};

struct World {
    dir: TempDir,
    repository: LayoutRepository,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = LayoutRepository::new(dir.path().join("layout"));
        Self { dir, repository }
    }

    async fn with_blob(bytes: &'static [u8]) -> (Self, Digest) {
        let world = Self::new();
        let digest = Digest::of(bytes);
        world.repository.push_blob(&digest, Bytes::from_static(bytes)).await.unwrap();
        (world, digest)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("layout").join(name)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    fn index_entries(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path("index.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["manifests"].as_array().unwrap().clone()
    }

    /// A second process, as far as caches and locks are concerned.
    fn other_process(&self) -> LayoutRepository {
        LayoutRepository::new(self.path(""))
    }
}

#[expect(clippy::disallowed_methods, reason = "another program writes without our care")]
fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::remove_file(path).ok();
    fs::write(path, bytes).unwrap();
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn manifest(note: &str, subject: Option<Descriptor>) -> Bytes {
    let manifest = ImageManifest {
        artifact_type: Some("application/x".into()),
        config: Descriptor::empty(),
        layers: vec![Descriptor::empty()],
        subject,
        annotations: Annotations::from([("note".into(), note.into())]),
    };
    manifest.encode().into()
}

fn upload(note: &str, name: Option<&str>) -> ManifestUpload {
    ManifestUpload {
        bytes: manifest(note, None),
        media_type: media_type::IMAGE_MANIFEST,
        tag: name.map(tag),
        referrer: None,
    }
}

fn referrer_of(subject: &ManifestUpload, note: &str) -> ManifestUpload {
    let subject = Descriptor::of(subject.media_type, &subject.bytes);
    let referrer =
        Some(ReferrerEntry { subject: subject.digest, artifact_type: "application/x".into() });
    ManifestUpload { bytes: manifest(note, Some(subject)), referrer, ..upload("", None) }
}

fn class<T>(result: Result<T, RegistryError>) -> Option<ErrorClass> {
    result.err().map(|error| error.class())
}

#[tokio::test]
async fn a_layout_keeps_the_contract() {
    conformance::check(Arc::new(World::new().repository.clone())).await;
}

#[tokio::test]
async fn two_processes_on_one_layout_keep_the_contract() {
    let world = World::new();
    let (writer, reader) = (world.repository.clone(), world.other_process());

    conformance::check_with(Arc::new(writer), Arc::new(reader), &Options::default()).await;
}

#[tokio::test]
async fn many_processes_that_push_at_once_lose_nothing() {
    let world = World::new();
    let subject = upload("subject", None);
    let processes: Vec<_> = (0..8).map(|_| world.other_process()).collect();

    // The first pushes race for the creation of the directory, too.
    let pushes = processes.iter().enumerate().map(|(number, process)| {
        let mut upload = referrer_of(&subject, &number.to_string());
        upload.tag = Some(tag(&format!("t-{number}")));
        async move {
            process.push_blob(&Digest::of(EMPTY_BYTES), Bytes::from_static(EMPTY_BYTES)).await?;
            process.push_manifest(&upload).await
        }
    });
    let results = futures_util::future::join_all(pushes).await;

    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let referrers = world.repository.list_referrers(&Digest::of(&subject.bytes)).await.unwrap();
    assert_eq!(referrers.len(), 8);
    assert_eq!(world.repository.list_tags("t-").await.unwrap().tags.len(), 8);
    assert_eq!(fs::read_dir(world.path("ingest")).unwrap().count(), 0);
}

#[tokio::test]
async fn reading_creates_nothing() {
    let world = World::new();
    let digest = Digest::of(b"x");

    world.repository.probe().await.unwrap();
    world.repository.list_tags("").await.unwrap();
    let deleted = world.repository.delete_manifest(&digest).await;

    assert_eq!(class(deleted), Some(ErrorClass::NotFound));
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_first_push_makes_a_private_layout() {
    let (world, digest) = World::with_blob(b"blob").await;

    let mode = |name: &str| fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;

    assert_eq!(fs::read(world.path("oci-layout")).unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert!(world.index_entries().is_empty());
    assert_eq!((mode(""), mode("blobs/sha256"), mode("index.json")), (0o700, 0o700, 0o600));
    assert_eq!(mode(&format!("blobs/sha256/{}", digest.hex())), 0o400);
}

#[tokio::test]
async fn files_of_a_shared_directory_are_for_all_who_may_use_it() {
    let world = World::new();
    fs::create_dir(world.path("")).unwrap();
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o2770)).unwrap();

    world.repository.push_manifest(&upload("m", Some("t"))).await.unwrap();

    let mode = |name: &str| fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("blobs/sha256"), mode("ingest")), (0o2770, 0o2770));
    assert_eq!((mode("index.json"), mode(".dockercomms.lock")), (0o660, 0o660));
}

#[tokio::test]
async fn somebodys_directory_is_never_turned_into_a_layout() {
    let world = World::new();
    fs::create_dir(world.path("")).unwrap();
    put(&world.path("letter.txt"), "mine");

    let probed = world.repository.probe().await;
    let pushed = world.repository.push_manifest(&upload("m", Some("t"))).await;

    assert_eq!(class(probed), Some(ErrorClass::Configuration));
    assert_eq!(class(pushed), Some(ErrorClass::Configuration));
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_layout_of_another_version_is_refused() {
    let (world, _) = World::with_blob(b"blob").await;
    put(&world.path("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#);

    assert_eq!(class(world.repository.probe().await), Some(ErrorClass::Malformed));
}

#[tokio::test]
async fn f27_changed_blobs_are_noticed() {
    let (world, digest) = World::with_blob(b"blob").await;
    let path = world.blob_path(&digest);

    for (bytes, expected) in [
        (&b"bloc"[..], ErrorClass::Corrupt),
        (b"blo", ErrorClass::Corrupt),
        (b"", ErrorClass::Corrupt),
        (b"blobs", ErrorClass::Malformed),
    ] {
        put(&path, bytes);
        assert_eq!(class(world.repository.fetch_blob(&digest, 4).await), Some(expected));
    }
}

#[tokio::test]
async fn f27_links_fifos_and_directories_are_not_read_as_blobs() {
    let (world, digest) = World::with_blob(b"blob").await;
    let path = world.blob_path(&digest);
    let secret = world.dir.path().join("secret");
    put(&secret, b"blob");
    let replacements: [&dyn Fn(&Path); 3] = [
        &|path| symlink(&secret, path).unwrap(),
        &|path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).unwrap(),
        &|path| fs::create_dir(path).unwrap(),
    ];

    for replace in replacements {
        fs::remove_file(&path).unwrap();
        replace(&path);

        let fetched = world.repository.fetch_blob(&digest, 4).await;
        let exists = world.repository.blob_exists(&digest).await.unwrap();

        assert_eq!(class(fetched), Some(ErrorClass::Malformed));
        assert!(!exists, "what cannot be read is pushed again");
    }
}

#[tokio::test]
async fn a_pushed_blob_replaces_a_link_instead_of_following_it() {
    let (world, digest) = World::with_blob(b"blob").await;
    let path = world.blob_path(&digest);
    let victim = world.dir.path().join("victim");
    put(&victim, b"keep");
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();

    world.repository.push_blob(&digest, Bytes::from_static(b"blob")).await.unwrap();

    assert_eq!(fs::read(&victim).unwrap(), b"keep");
    assert_eq!(world.repository.fetch_blob(&digest, 4).await.unwrap(), "blob");
}

#[tokio::test]
async fn f27_links_in_the_place_of_directories_index_and_lock_are_refused() {
    for name in ["blobs/sha256", "blobs", "index.json", ".dockercomms.lock", "ingest"] {
        let world = World::new();
        world.repository.push_manifest(&upload("m", Some("t"))).await.unwrap();
        let moved = world.dir.path().join("moved");
        #[expect(clippy::disallowed_methods, reason = "an attacker renames")]
        fs::rename(world.path(name), &moved).unwrap();
        symlink(&moved, world.path(name)).unwrap();

        let pushed = world.other_process().push_manifest(&upload("n", Some("u"))).await;

        assert_eq!(class(pushed), Some(ErrorClass::Malformed), "{name}");
    }
}

#[tokio::test]
async fn f27_a_huge_index_is_refused_without_reading_it() {
    let (world, _) = World::with_blob(b"blob").await;
    let index = fs::File::create(world.path("index.json")).unwrap();
    index.set_len(1 << 40).unwrap();

    let listed = world.repository.list_tags("").await;

    assert!(matches!(listed, Err(RegistryError::TooLarge { .. })), "{listed:?}");
}

#[tokio::test]
async fn f27_a_damaged_index_is_malformed_and_heals_when_it_is_repaired() {
    let world = World::new();
    world.repository.push_manifest(&upload("m", Some("t"))).await.unwrap();
    let good = fs::read(world.path("index.json")).unwrap();

    put(&world.path("index.json"), "<html>");
    let damaged = world.repository.resolve_tag(&tag("t")).await;
    let pushed = world.repository.push_manifest(&upload("n", Some("u"))).await;
    put(&world.path("index.json"), good);
    let repaired = world.repository.resolve_tag(&tag("t")).await.unwrap();

    assert_eq!(class(damaged), Some(ErrorClass::Malformed));
    assert_eq!(class(pushed), Some(ErrorClass::Malformed), "never overwritten");
    assert!(repaired.is_some());
}

#[tokio::test]
async fn entries_of_other_programs_stay_and_are_found_as_referrers() {
    let world = World::new();
    let subject = upload("subject", Some("t"));
    world.repository.push_manifest(&subject).await.unwrap();
    // As `oras attach --oci-layout` leaves it: a blob and an entry without a tag.
    let attached = referrer_of(&subject, "attached");
    let entry = Descriptor::of(attached.media_type, &attached.bytes);
    put(&world.blob_path(&entry.digest), &attached.bytes);
    let mut entries = world.index_entries();
    entries.push(entry.to_json());
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
    put(&world.path("index.json"), index.to_string());

    let found = world.repository.list_referrers(&Digest::of(&subject.bytes)).await.unwrap();
    world.repository.push_manifest(&upload("n", Some("u"))).await.unwrap();
    let still_found = world.repository.list_referrers(&Digest::of(&subject.bytes)).await.unwrap();

    assert_eq!(found.len(), 1);
    assert_eq!(found.first().unwrap().digest, entry.digest);
    assert_eq!(found.first().unwrap().artifact_type.as_deref(), Some("application/x"));
    assert_eq!(still_found, found);
    assert_eq!(world.index_entries().len(), 3);
}

#[tokio::test]
async fn only_the_newest_referrers_index_is_kept() {
    let world = World::new();
    let subject = upload("subject", Some("t"));
    world.repository.push_manifest(&subject).await.unwrap();

    for number in 0..5 {
        let referrer = referrer_of(&subject, &number.to_string());
        world.repository.push_manifest(&referrer).await.unwrap();
    }

    let blobs = fs::read_dir(world.path("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 1 + 5 + 1, "subject, referrers, one index");
}

#[tokio::test]
async fn a_damaged_referrers_index_is_written_anew() {
    let world = World::new();
    let subject = upload("subject", None);
    let digest = Digest::of(&subject.bytes);
    world.repository.push_manifest(&referrer_of(&subject, "1")).await.unwrap();
    let index = world.repository.resolve_tag(&Tag::referrers(&digest)).await.unwrap().unwrap();
    put(&world.blob_path(&index), "{}");

    let damaged = world.repository.list_referrers(&digest).await;
    world.repository.push_manifest(&referrer_of(&subject, "2")).await.unwrap();
    let healed = world.repository.list_referrers(&digest).await.unwrap();
    let index = world.repository.resolve_tag(&Tag::referrers(&digest)).await.unwrap().unwrap();
    fs::remove_file(world.blob_path(&index)).unwrap();
    symlink("/dev/null", world.blob_path(&index)).unwrap();
    world.repository.push_manifest(&referrer_of(&subject, "3")).await.unwrap();
    let healed_again = world.repository.list_referrers(&digest).await.unwrap();

    assert_eq!(class(damaged), Some(ErrorClass::Corrupt));
    assert_eq!((healed.len(), healed_again.len()), (1, 1));
}

#[tokio::test]
async fn deleting_a_referrer_takes_it_off_the_list_and_a_layer_is_no_manifest() {
    let (world, layer) = World::with_blob(b"layer").await;
    let subject = upload("subject", Some("t"));
    let referrer = referrer_of(&subject, "1");
    world.repository.push_manifest(&referrer).await.unwrap();

    let refused = world.repository.delete_manifest(&layer).await;
    world.repository.delete_manifest(&Digest::of(&referrer.bytes)).await.unwrap();

    let left = world.repository.list_referrers(&Digest::of(&subject.bytes)).await.unwrap();
    assert_eq!(class(refused), Some(ErrorClass::NotFound));
    assert!(world.blob_path(&layer).exists());
    assert!(left.is_empty() && world.index_entries().is_empty());
}

#[tokio::test]
async fn pushing_the_same_again_writes_nothing() {
    let world = World::new();
    let subject = upload("subject", Some("t"));
    let mut referrer = referrer_of(&subject, "1");
    referrer.tag = Some(tag("r"));
    world.repository.push_manifest(&referrer).await.unwrap();
    let before = fs::metadata(world.path("index.json")).unwrap();

    world.other_process().push_manifest(&referrer).await.unwrap();

    let after = fs::metadata(world.path("index.json")).unwrap();
    assert_eq!(Stamps::of(&before), Stamps::of(&after));
}

#[derive(Debug, PartialEq)]
struct Stamps(u64, i64, i64);

impl Stamps {
    fn of(data: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(data.ino(), data.mtime(), data.mtime_nsec())
    }
}

#[tokio::test]
async fn leftovers_of_killed_writers_are_removed_and_fresh_files_are_not() {
    let (world, _) = World::with_blob(b"blob").await;
    let (old, fresh) = (world.path("ingest/tmp-old"), world.path("ingest/tmp-fresh"));
    put(&old, "");
    put(&fresh, "");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();

    world.repository.push_manifest(&upload("m", Some("t"))).await.unwrap();

    assert!(!old.exists() && fresh.exists());
}

#[tokio::test]
async fn a_lock_that_is_never_released_ends_in_a_timeout() {
    let world = World::new();
    world.repository.push_manifest(&upload("m", Some("t"))).await.unwrap();
    let lock = IndexLock::try_acquire(&world.path("")).unwrap().unwrap();

    let hasty = LayoutRepository(Arc::new(Layout::new(world.path(""), Duration::from_millis(20))));
    let pushed = hasty.push_manifest(&upload("n", Some("u"))).await;
    let read = hasty.resolve_tag(&tag("t")).await;
    drop(lock);

    assert!(matches!(pushed, Err(RegistryError::TimedOut)), "{pushed:?}");
    assert!(read.unwrap().is_some(), "readers need no lock");
}

#[test]
fn f27_errors_of_the_disk_have_their_classes() {
    let class_of = |errno: i32| files::classify(std::io::Error::from_raw_os_error(errno)).class();

    assert_eq!(class_of(libc::ENOSPC), ErrorClass::NoSpace);
    assert_eq!(class_of(libc::EDQUOT), ErrorClass::NoSpace);
    assert_eq!(class_of(libc::EROFS), ErrorClass::DirectoryDenied);
    assert_eq!(class_of(libc::EACCES), ErrorClass::DirectoryDenied);
    assert_eq!(class_of(libc::EPERM), ErrorClass::DirectoryDenied);
    assert_eq!(class_of(libc::ELOOP), ErrorClass::Malformed);
    assert_eq!(class_of(libc::EIO), ErrorClass::Internal);
    assert_eq!(class_of(libc::EMFILE), ErrorClass::Internal);
}
