//! The contract of [`Repository`] as a test suite for every implementation.
//!
//! Each case works on contents of its own, so it can run on a repository that is in use, several
//! times and by several processes. A broken promise is a panic that names it. Start at [`check`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    FetchedManifest, ManifestRef, ManifestUpload, Presence, ReferrerEntry, RegistryError,
    Repository,
};
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Annotations, Descriptor, Digest, EMPTY_BYTES, ErrorClass, ImageManifest};
use crate::protocol::{Tag, media_type};

const ARTIFACT_TYPE: &str = "application/vnd.dockercomms.conformance.v1";

/// What a repository under test supports.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether manifests can be deleted.
    pub deletes: bool,
    /// Number of tags in the listing case; more than 1,000 makes most registries page.
    pub tag_count: usize,
    /// Number of referrers that are attached to one subject at once.
    pub parallel_count: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { deletes: true, tag_count: 40, parallel_count: 8 }
    }
}

/// Checks the contract on one repository that supports everything.
///
/// # Panics
/// When a promise is broken.
pub async fn check(repository: Arc<dyn Repository>) {
    check_with(Arc::clone(&repository), repository, &Options::default()).await;
}

/// Checks the contract through two handles of one repository: what is pushed through the first
/// must be found through the second.
///
/// # Panics
/// When a promise is broken.
pub async fn check_with(
    writer: Arc<dyn Repository>,
    reader: Arc<dyn Repository>,
    options: &Options,
) {
    let pair = Pair { writer, reader };
    assert!(!pair.writer.reference().is_empty(), "a repository has a reference for people");
    pair.what_is_missing_is_not_found().await;
    pair.reader.probe().await.expect("an empty or unused repository answers a probe");
    pair.blobs_make_a_round_trip().await;
    pair.wrong_sizes_are_refused().await;
    pair.a_blob_under_a_wrong_digest_is_refused().await;
    pair.manifests_make_a_round_trip().await;
    pair.a_tag_moves().await;
    pair.a_listing_has_exactly_the_prefix(options.tag_count).await;
    pair.referrers_are_found(options.parallel_count).await;
    pair.parallel_pushes_are_all_found(options.parallel_count).await;
    if options.deletes {
        pair.a_deleted_manifest_is_gone_with_its_tags().await;
        pair.a_deleted_referrer_leaves_the_others().await;
        pair.a_deleted_tag_leaves_its_manifest().await;
        pair.a_sweep_leaves_what_is_new_or_named().await;
    }
    pair.reader.probe().await.expect("a used repository answers a probe");
}

struct Pair {
    writer: Arc<dyn Repository>,
    reader: Arc<dyn Repository>,
}

impl Pair {
    async fn what_is_missing_is_not_found(&self) {
        let (digest, tag) = (Digest::of(unique().as_bytes()), unique_tag(""));

        expect_class(
            "an unknown digest",
            &[ErrorClass::NotFound],
            &self.reader.fetch_manifest(&ManifestRef::Digest(digest), MANIFEST_LEN_MAX).await,
        );
        expect_class(
            "an unknown tag",
            &[ErrorClass::NotFound],
            &self.reader.fetch_manifest(&ManifestRef::Tag(tag.clone()), MANIFEST_LEN_MAX).await,
        );
        expect_class(
            "an unknown blob",
            &[ErrorClass::NotFound],
            &self.reader.fetch_blob(&digest, 10).await,
        );
        assert_eq!(
            ok(self.reader.resolve_tag(&tag).await),
            None,
            "an unknown tag resolves to none"
        );
        assert!(!ok(self.reader.blob_exists(&digest).await), "an unknown blob does not exist");
        let presence = ok(self.reader.manifest_presence(&digest).await);
        assert_ne!(presence, Presence::There, "an unknown manifest is not there");
        let listed = ok(self.reader.list_tags(tag.as_str()).await);
        assert!(listed.tags.is_empty() && !listed.truncated, "an unknown prefix has no tags");
        let referrers = ok(self.reader.list_referrers(&digest).await);
        assert!(referrers.is_empty(), "an unknown subject has no referrers");
    }

    async fn blobs_make_a_round_trip(&self) {
        // More than one buffer of any layer below, and not a round number.
        let large: Vec<u8> = unique().bytes().cycle().take(3_000_001).collect();
        for bytes in [Bytes::from_static(EMPTY_BYTES), unique().into(), large.into()] {
            let digest = Digest::of(&bytes);

            ok(self.writer.push_blob(&digest, bytes.clone()).await);
            ok(self.writer.push_blob(&digest, bytes.clone()).await);

            assert!(ok(self.reader.blob_exists(&digest).await), "a pushed blob exists");
            let fetched = ok(self.reader.fetch_blob(&digest, bytes.len() as u64).await);
            assert!(fetched == bytes, "a blob is returned unchanged");
        }
    }

    async fn wrong_sizes_are_refused(&self) {
        let bytes = Bytes::from(unique());
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        ok(self.writer.push_blob(&digest, bytes).await);

        for wrong in [0, size - 1, size + 1] {
            expect_class(
                "a blob of another size",
                &[ErrorClass::Malformed, ErrorClass::Corrupt],
                &self.reader.fetch_blob(&digest, wrong).await,
            );
        }
    }

    async fn a_blob_under_a_wrong_digest_is_refused(&self) {
        let digest = Digest::of(unique().as_bytes());

        expect_class(
            "a blob that does not match its digest",
            &[ErrorClass::Corrupt, ErrorClass::Malformed, ErrorClass::NotPermitted],
            &self.writer.push_blob(&digest, unique().into()).await,
        );
        assert!(!ok(self.reader.blob_exists(&digest).await), "a refused blob is not kept");
    }

    async fn manifests_make_a_round_trip(&self) {
        let tag = unique_tag("");
        let mut upload = self.upload(None).await;
        let size = upload.bytes.len() as u64;

        let digest = ok(self.writer.push_manifest(&upload).await);
        let untagged = ok(self.reader.fetch_manifest(&ManifestRef::Digest(digest), size).await);
        upload.tag = Some(tag.clone());
        let again = ok(self.writer.push_manifest(&upload).await);
        ok(self.writer.push_manifest(&upload).await);
        let tagged = ok(self.reader.fetch_manifest(&ManifestRef::Tag(tag.clone()), size).await);

        let expected = FetchedManifest { digest: Digest::of(&upload.bytes), bytes: upload.bytes };
        assert_eq!((digest, again), (expected.digest, expected.digest), "digest of the bytes");
        assert_eq!(untagged, expected, "by digest, not a byte changed");
        assert_eq!(tagged, expected, "by tag, not a byte changed");
        assert_eq!(ok(self.reader.resolve_tag(&tag).await), Some(digest), "the tag resolves");
        let presence = ok(self.reader.manifest_presence(&digest).await);
        assert_eq!(presence, Presence::There, "what was pushed is there");
        let (other, presence) = (Digest::of(unique().as_bytes()), Presence::Gone);
        let said = ok(self.reader.manifest_presence(&other).await);
        assert_eq!(said, presence, "a used repository says what it does not have");
        for reference in [ManifestRef::Digest(digest), ManifestRef::Tag(tag)] {
            let cut = self.reader.fetch_manifest(&reference, size - 1).await;
            assert!(matches!(cut, Err(RegistryError::TooLarge { .. })), "one byte less: {cut:?}");
        }
    }

    async fn a_tag_moves(&self) {
        let tag = unique_tag("");
        let first = self.upload(Some(tag.clone())).await;
        let second = self.upload(Some(tag.clone())).await;

        let old = ok(self.writer.push_manifest(&first).await);
        assert_eq!(ok(self.reader.resolve_tag(&tag).await), Some(old), "before the move");
        let new = ok(self.writer.push_manifest(&second).await);

        assert_eq!(ok(self.reader.resolve_tag(&tag).await), Some(new), "after the move");
        let fetched = self.reader.fetch_manifest(&ManifestRef::Tag(tag), MANIFEST_LEN_MAX).await;
        assert_eq!(ok(fetched).digest, new, "the tag gives the new manifest");
        let kept = self.reader.fetch_manifest(&ManifestRef::Digest(old), MANIFEST_LEN_MAX).await;
        assert_eq!(ok(kept).digest, old, "the old manifest stays, by digest");
    }

    async fn a_listing_has_exactly_the_prefix(&self, tag_count: usize) {
        let name = unique();
        let prefix = format!("{name}-b-");
        let mut upload = self.upload(None).await;
        let mut expected: Vec<Tag> =
            (0..tag_count).map(|number| make_tag(&format!("{prefix}{number}"))).collect();
        // Neighbours in every order that a server may sort by.
        let neighbours = ["a-1", "b", "B-1", "b_1", "b.1", "c-1"];
        let neighbours = neighbours.map(|end| make_tag(&format!("{name}-{end}")));

        for tag in expected.iter().rev().chain(&neighbours) {
            upload.tag = Some(tag.clone());
            ok(self.writer.push_manifest(&upload).await);
        }
        let listed = ok(self.reader.list_tags(&prefix).await);

        expected.sort();
        assert_eq!(listed.tags, expected, "sorted, without duplicates, only the prefix");
        assert!(!listed.truncated, "a short listing is complete");
    }

    async fn referrers_are_found(&self, count: usize) {
        let subject = self.upload(None).await;
        let other = self.upload(None).await;
        let subject_digest = ok(self.writer.push_manifest(&subject).await);
        let other_digest = ok(self.writer.push_manifest(&other).await);
        let mut uploads = Vec::new();
        for _ in 0..count {
            uploads.push(self.referrer_upload(&subject).await);
        }

        // All at once: a lost update of a shared index must not lose a referrer (P16).
        let pushes = uploads.iter().map(|upload| self.writer.push_manifest(upload));
        let mut expected: Vec<Digest> = join_all(pushes).await.into_iter().map(ok).collect();
        if let Some(first) = uploads.first() {
            ok(self.writer.push_manifest(first).await);
        }
        let found = ok(self.reader.list_referrers(&subject_digest).await);

        let mut digests: Vec<Digest> = found.iter().map(|referrer| referrer.digest).collect();
        digests.sort();
        expected.sort();
        assert_eq!(digests, expected, "every referrer is found, once");
        for referrer in found {
            let same = |upload: &&ManifestUpload| Digest::of(&upload.bytes) == referrer.digest;
            let len = uploads.iter().find(same).map(|upload| upload.bytes.len() as u64);
            assert_eq!(Some(referrer.size), len, "the size of a referrer");
            assert_eq!(referrer.artifact_type.as_deref(), Some(ARTIFACT_TYPE), "and its type");
        }
        let none = ok(self.reader.list_referrers(&other_digest).await);
        assert!(none.is_empty(), "another subject has none of them");
    }

    async fn parallel_pushes_are_all_found(&self, count: usize) {
        let prefix = unique();
        let mut uploads = Vec::new();
        for number in 0..count {
            uploads.push(self.upload(Some(make_tag(&format!("{prefix}-{number}")))).await);
        }

        // Through both handles, as two processes would.
        let pushes = uploads.iter().enumerate().map(|(number, upload)| {
            let handle = if number % 2 == 0 { &self.writer } else { &self.reader };
            handle.push_manifest(upload)
        });
        for pushed in join_all(pushes).await {
            ok(pushed);
        }

        for handle in [&self.writer, &self.reader] {
            let listed = ok(handle.list_tags(&prefix).await);
            assert_eq!(listed.tags.len(), count, "no tag of a parallel push is lost");
        }
    }

    async fn a_deleted_manifest_is_gone_with_its_tags(&self) {
        let (tag, kept_tag) = (unique_tag("-gone"), unique_tag("-kept"));
        let kept = self.upload(Some(kept_tag.clone())).await;
        let kept_digest = ok(self.writer.push_manifest(&kept).await);
        let mut upload = self.referrer_upload(&kept).await;
        for tag in [tag.clone(), unique_tag("-other")] {
            upload.tag = Some(tag);
            ok(self.writer.push_manifest(&upload).await);
        }
        let digest = Digest::of(&upload.bytes);
        assert_eq!(ok(self.reader.resolve_tag(&tag).await), Some(digest), "there before");

        ok(self.writer.delete_manifest(&digest).await);

        assert_eq!(ok(self.reader.resolve_tag(&tag).await), None, "the tag is gone");
        let presence = ok(self.reader.manifest_presence(&digest).await);
        assert_eq!(presence, Presence::Gone, "the manifest is gone");
        expect_class(
            "a deleted manifest",
            &[ErrorClass::NotFound],
            &self.reader.fetch_manifest(&ManifestRef::Digest(digest), MANIFEST_LEN_MAX).await,
        );
        expect_class(
            "deleting twice",
            &[ErrorClass::NotFound],
            &self.writer.delete_manifest(&digest).await,
        );
        let kept = ok(self.reader.resolve_tag(&kept_tag).await);
        assert_eq!(kept, Some(kept_digest), "other manifests stay");
    }

    async fn a_deleted_referrer_leaves_the_others(&self) {
        let subject = self.upload(Some(unique_tag("-subject"))).await;
        let subject_digest = ok(self.writer.push_manifest(&subject).await);
        let mut referrers = Vec::new();
        for _ in 0..2 {
            let upload = self.referrer_upload(&subject).await;
            referrers.push(ok(self.writer.push_manifest(&upload).await));
        }
        let listed = async || -> Vec<Digest> {
            let listed = ok(self.reader.list_referrers(&subject_digest).await);
            listed.into_iter().map(|referrer| referrer.digest).collect()
        };

        let mut left = referrers.clone();
        for referrer in referrers {
            ok(self.writer.delete_manifest(&referrer).await);
            ok(self.writer.remove_referrer(&subject_digest, &referrer).await);
            ok(self.writer.remove_referrer(&subject_digest, &referrer).await);

            left.retain(|other| *other != referrer);
            let mut found = listed().await;
            found.sort();
            left.sort();
            assert_eq!(found, left, "only the deleted referrer is gone");
        }
        let fallback = ok(self.reader.resolve_tag(&Tag::referrers(&subject_digest)).await);
        assert_eq!(fallback, None, "the fallback tag is removed with its last entry");
    }

    /// Many registries refuse to delete a tag; they must then say so, and nothing may be gone.
    async fn a_deleted_tag_leaves_its_manifest(&self) {
        let (gone, kept) = (unique_tag("-gone"), unique_tag("-kept"));
        let mut upload = self.upload(Some(gone.clone())).await;
        let digest = ok(self.writer.push_manifest(&upload).await);
        upload.tag = Some(kept.clone());
        ok(self.writer.push_manifest(&upload).await);

        let deleted = self.writer.delete_tag(&gone).await;

        let left = ok(self.reader.resolve_tag(&gone).await);
        if deleted.is_ok() {
            assert_eq!(left, None, "the tag is gone");
            let again = self.writer.delete_tag(&gone).await;
            expect_class("deleting a tag twice", &[ErrorClass::NotFound], &again);
        } else {
            let refusals = [ErrorClass::NotPermitted, ErrorClass::Denied];
            expect_class("deleting a tag where that is not supported", &refusals, &deleted);
            assert_eq!(left, Some(digest), "a refused deletion changes nothing");
        }
        assert_eq!(ok(self.reader.resolve_tag(&kept).await), Some(digest), "other tags stay");
        let reference = ManifestRef::Digest(digest);
        ok(self.reader.fetch_manifest(&reference, MANIFEST_LEN_MAX).await);
    }

    async fn a_sweep_leaves_what_is_new_or_named(&self) {
        let new = Bytes::from(unique());
        ok(self.writer.push_blob(&Digest::of(&new), new.clone()).await);
        let named = self.upload(Some(unique_tag("-named"))).await;
        ok(self.writer.push_manifest(&named).await);

        ok(self.writer.sweep_blobs(Duration::from_hours(1), false).await);

        assert!(ok(self.reader.blob_exists(&Digest::of(&new)).await), "a new blob stays");
        let digest = Digest::of(&named.bytes);
        let reference = ManifestRef::Digest(digest);
        ok(self.reader.fetch_manifest(&reference, MANIFEST_LEN_MAX).await);
    }

    /// Makes a manifest that no other call has made, and pushes its blobs.
    async fn upload(&self, tag: Option<Tag>) -> ManifestUpload {
        let manifest = self.manifest(None).await;
        let bytes = manifest.encode().into();
        ManifestUpload { bytes, media_type: media_type::IMAGE_MANIFEST, tag, referrer: None }
    }

    async fn referrer_upload(&self, subject: &ManifestUpload) -> ManifestUpload {
        let subject = Descriptor::of(subject.media_type, &subject.bytes);
        let referrer =
            ReferrerEntry { subject: subject.digest, artifact_type: ARTIFACT_TYPE.to_owned() };
        ManifestUpload {
            bytes: self.manifest(Some(subject)).await.encode().into(),
            media_type: media_type::IMAGE_MANIFEST,
            tag: None,
            referrer: Some(referrer),
        }
    }

    async fn manifest(&self, subject: Option<Descriptor>) -> ImageManifest {
        let empty = Bytes::from_static(EMPTY_BYTES);
        ok(self.writer.push_blob(&Descriptor::empty().digest, empty).await);
        ImageManifest {
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            config: Descriptor::empty(),
            layers: vec![Descriptor::empty()],
            subject,
            annotations: Annotations::from([("dockercomms.x.unique".into(), unique())]),
        }
    }
}

fn unique() -> String {
    format!("conformance-{}", uuid::Uuid::new_v4().simple())
}

fn unique_tag(end: &str) -> Tag {
    make_tag(&format!("{}{end}", unique()))
}

fn make_tag(text: &str) -> Tag {
    text.parse().expect("only letters, digits, dots and dashes")
}

#[track_caller]
fn ok<T>(result: Result<T, RegistryError>) -> T {
    result.expect("the operation is within the contract")
}

#[track_caller]
fn expect_class<T: std::fmt::Debug>(
    what: &str,
    classes: &[ErrorClass],
    result: &Result<T, RegistryError>,
) {
    let class = result.as_ref().err().map(RegistryError::class);
    let fits = class.is_some_and(|class| classes.contains(&class));
    assert!(fits, "{what} must fail with one of {classes:?}: {result:?}");
}
