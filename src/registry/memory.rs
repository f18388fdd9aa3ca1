//! A repository in memory: the real contract without a disk, and direct access to its contents.
//!
//! Only for tests and documentation examples. It behaves like a registry with a referrers API:
//! no fallback tags, and a manifest is refused while its blobs are missing. Start at
//! [`MemoryRepository`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    FetchedManifest, ManifestRef, ManifestUpload, Presence, RegistryError, Repository, SweptBlobs,
    TagList,
};
use crate::protocol::json::parse_object;
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Descriptor, Digest, Tag};

/// One operation of a [`Repository`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of the same name")]
pub enum Operation {
    Probe,
    FetchManifest,
    ResolveTag,
    ManifestPresence,
    PushManifest,
    BlobExists,
    FetchBlob,
    PushBlob,
    ListTags,
    ListReferrers,
    DeleteManifest,
    DeleteTag,
    RemoveReferrer,
    SweepBlobs,
}

const OPERATION_COUNT: usize = Operation::SweepBlobs as usize + 1;

/// How often each operation was called.
#[derive(Debug, Default)]
pub struct OperationCounts([AtomicU64; OPERATION_COUNT]);

impl OperationCounts {
    /// Counts a call and returns its number, from 0.
    pub(super) fn note(&self, operation: Operation) -> u64 {
        self.counter(operation).fetch_add(1, Ordering::SeqCst)
    }

    /// Returns how often `operation` was called.
    pub fn of(&self, operation: Operation) -> u64 {
        self.counter(operation).load(Ordering::SeqCst)
    }

    fn counter(&self, operation: Operation) -> &AtomicU64 {
        self.0.get(operation as usize).expect("the array has a slot for each operation")
    }
}

/// A repository in memory. Clones are handles of one repository.
#[derive(Debug, Clone, Default)]
pub struct MemoryRepository(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    contents: Mutex<Contents>,
    counts: OperationCounts,
}

#[derive(Debug, Default)]
struct Contents {
    blobs: BTreeMap<Digest, Bytes>,
    manifests: BTreeMap<Digest, Bytes>,
    tags: BTreeMap<Tag, Digest>,
    referrers: BTreeMap<Digest, Vec<Descriptor>>,
}

impl MemoryRepository {
    /// Makes an empty repository.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how often each operation was called through any handle.
    pub fn counts(&self) -> &OperationCounts {
        &self.0.counts
    }

    /// Returns every tag, sorted.
    pub fn tags(&self) -> Vec<Tag> {
        self.0.contents.lock().tags.keys().cloned().collect()
    }

    /// Returns the digests of all blobs, sorted; manifests are not among them.
    pub fn blobs(&self) -> Vec<Digest> {
        self.0.contents.lock().blobs.keys().copied().collect()
    }

    /// Returns the bytes of a blob, if it is there.
    pub fn blob(&self, digest: &Digest) -> Option<Bytes> {
        self.0.contents.lock().blobs.get(digest).cloned()
    }

    /// Returns the digests of all manifests, sorted.
    pub fn manifests(&self) -> Vec<Digest> {
        self.0.contents.lock().manifests.keys().copied().collect()
    }

    /// Flips a bit in a blob and keeps its name.
    ///
    /// # Panics
    /// When there is no such blob: the test names the wrong one.
    pub fn corrupt_blob(&self, digest: &Digest) {
        let mut contents = self.0.contents.lock();
        let blob = contents.blobs.get_mut(digest).expect("the blob to corrupt exists");
        *blob = flip_bit(blob);
    }

    /// Flips a bit in a manifest and keeps its digest and tags.
    ///
    /// # Panics
    /// When there is no such manifest.
    pub fn corrupt_manifest(&self, digest: &Digest) {
        let mut contents = self.0.contents.lock();
        let manifest = contents.manifests.get_mut(digest).expect("the manifest to corrupt exists");
        *manifest = flip_bit(manifest);
    }

    /// Stores other bytes under the name of a blob, which need not exist.
    pub fn replace_blob(&self, digest: &Digest, bytes: impl Into<Bytes>) {
        self.0.contents.lock().blobs.insert(*digest, bytes.into());
    }

    /// Points a tag to a manifest of arbitrary, unchecked bytes, and returns their digest.
    pub fn replace_manifest_at_tag(&self, tag: &Tag, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let mut contents = self.0.contents.lock();
        contents.manifests.insert(digest, bytes);
        contents.tags.insert(tag.clone(), digest);
        digest
    }

    /// Points a tag to a manifest, which need not exist.
    pub fn point_tag(&self, tag: &Tag, digest: &Digest) {
        self.0.contents.lock().tags.insert(tag.clone(), *digest);
    }

    /// Adds a claim to the referrers of `subject`.
    pub fn add_referrer(&self, subject: &Digest, referrer: Descriptor) {
        self.0.contents.lock().referrers.entry(*subject).or_default().push(referrer);
    }

    /// Forgets the referrers of `subject`, as in a registry that has no index of them.
    pub fn remove_referrers(&self, subject: &Digest) {
        self.0.contents.lock().referrers.remove(subject);
    }

    /// Removes a blob; returns whether it was there.
    pub fn remove_blob(&self, digest: &Digest) -> bool {
        self.0.contents.lock().blobs.remove(digest).is_some()
    }

    /// Removes a manifest and leaves its tags; returns whether it was there.
    pub fn remove_manifest(&self, digest: &Digest) -> bool {
        self.0.contents.lock().manifests.remove(digest).is_some()
    }

    /// Removes a tag and leaves its manifest; returns whether it was there.
    pub fn remove_tag(&self, tag: &Tag) -> bool {
        self.0.contents.lock().tags.remove(tag).is_some()
    }
}

#[async_trait]
impl Repository for MemoryRepository {
    fn reference(&self) -> String {
        "memory:".to_owned()
    }

    async fn probe(&self) -> Result<(), RegistryError> {
        self.0.counts.note(Operation::Probe);
        Ok(())
    }

    async fn fetch_manifest(
        &self,
        reference: &ManifestRef,
        len_max: u64,
    ) -> Result<FetchedManifest, RegistryError> {
        self.0.counts.note(Operation::FetchManifest);
        let contents = self.0.contents.lock();
        let named = match reference {
            ManifestRef::Digest(digest) => *digest,
            ManifestRef::Tag(tag) => {
                *contents.tags.get(tag).ok_or_else(|| RegistryError::not_found(tag))?
            }
        };
        let bytes =
            contents.manifests.get(&named).ok_or_else(|| RegistryError::not_found(named))?;
        if bytes.len() as u64 > len_max {
            return Err(RegistryError::TooLarge { what: "manifest", limit: len_max });
        }
        let digest = Digest::of(bytes);
        if matches!(reference, ManifestRef::Digest(_)) && digest != named {
            return Err(RegistryError::DigestMismatch { expected: named, actual: digest });
        }
        Ok(FetchedManifest { bytes: bytes.clone(), digest })
    }

    async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, RegistryError> {
        self.0.counts.note(Operation::ResolveTag);
        Ok(self.0.contents.lock().tags.get(tag).copied())
    }

    async fn manifest_presence(&self, digest: &Digest) -> Result<Presence, RegistryError> {
        self.0.counts.note(Operation::ManifestPresence);
        let contents = self.0.contents.lock();
        Ok(match (contents.manifests.contains_key(digest), contents.manifests.is_empty()) {
            (true, _) => Presence::There,
            (false, false) => Presence::Gone,
            (false, true) => Presence::Unknown,
        })
    }

    async fn push_manifest(&self, manifest: &ManifestUpload) -> Result<Digest, RegistryError> {
        self.0.counts.note(Operation::PushManifest);
        let mut contents = self.0.contents.lock();
        contents.check_blobs(&manifest.bytes)?;
        let digest = Digest::of(&manifest.bytes);
        contents.manifests.insert(digest, manifest.bytes.clone());
        if let Some(entry) = &manifest.referrer {
            let mut referrer =
                Descriptor::new(manifest.media_type, digest, manifest.bytes.len() as u64);
            referrer.artifact_type = Some(entry.artifact_type.clone());
            let referrers = contents.referrers.entry(entry.subject).or_default();
            referrers.retain(|known| known.digest != digest);
            referrers.push(referrer);
        }
        if let Some(tag) = &manifest.tag {
            contents.tags.insert(tag.clone(), digest);
        }
        Ok(digest)
    }

    async fn blob_exists(&self, digest: &Digest) -> Result<bool, RegistryError> {
        self.0.counts.note(Operation::BlobExists);
        Ok(self.0.contents.lock().blobs.contains_key(digest))
    }

    async fn fetch_blob(&self, digest: &Digest, size: u64) -> Result<Bytes, RegistryError> {
        self.0.counts.note(Operation::FetchBlob);
        let found = self.0.contents.lock().blobs.get(digest).cloned();
        let bytes = found.ok_or_else(|| RegistryError::not_found(digest))?;
        if bytes.len() as u64 > size {
            return Err(RegistryError::TooLarge { what: "blob", limit: size });
        }
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(RegistryError::DigestMismatch { expected: *digest, actual });
        }
        if bytes.len() as u64 != size {
            let reason = "a blob is shorter than its descriptor says".into();
            return Err(RegistryError::Malformed { reason });
        }
        Ok(bytes)
    }

    async fn push_blob(&self, digest: &Digest, bytes: Bytes) -> Result<(), RegistryError> {
        self.0.counts.note(Operation::PushBlob);
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(RegistryError::DigestMismatch { expected: *digest, actual });
        }
        self.0.contents.lock().blobs.insert(*digest, bytes);
        Ok(())
    }

    async fn list_tags(&self, prefix: &str) -> Result<TagList, RegistryError> {
        self.0.counts.note(Operation::ListTags);
        let contents = self.0.contents.lock();
        let tags = contents.tags.keys().filter(|tag| tag.as_str().starts_with(prefix));
        Ok(TagList { tags: tags.cloned().collect(), truncated: false })
    }

    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        self.0.counts.note(Operation::ListReferrers);
        Ok(self.0.contents.lock().referrers.get(subject).cloned().unwrap_or_default())
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.0.counts.note(Operation::DeleteManifest);
        let mut contents = self.0.contents.lock();
        if contents.manifests.remove(digest).is_none() {
            return Err(RegistryError::not_found(digest));
        }
        contents.tags.retain(|_, target| target != digest);
        for referrers in contents.referrers.values_mut() {
            referrers.retain(|referrer| referrer.digest != *digest);
        }
        Ok(())
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<(), RegistryError> {
        self.0.counts.note(Operation::DeleteTag);
        let removed = self.0.contents.lock().tags.remove(tag);
        removed.map(drop).ok_or_else(|| RegistryError::not_found(tag))
    }

    async fn remove_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        self.0.counts.note(Operation::RemoveReferrer);
        if let Some(referrers) = self.0.contents.lock().referrers.get_mut(subject) {
            referrers.retain(|known| known.digest != *referrer);
        }
        Ok(())
    }

    async fn sweep_blobs(
        &self,
        _age_min: Duration,
        _dry_run: bool,
    ) -> Result<Option<SweptBlobs>, RegistryError> {
        self.0.counts.note(Operation::SweepBlobs);
        Ok(None)
    }
}

impl Contents {
    /// Refuses a manifest whose config or layers were never pushed, as real registries do.
    fn check_blobs(&self, manifest: &[u8]) -> Result<(), RegistryError> {
        let rejected = |reason: &str| RegistryError::Rejected { reason: reason.to_owned() };
        let object = parse_object("manifest", manifest, MANIFEST_LEN_MAX)
            .map_err(|_source| rejected("not a manifest"))?;
        let layers = object.get("layers").and_then(Value::as_array).into_iter().flatten();
        for value in object.get("config").into_iter().chain(layers) {
            let blob = Descriptor::from_json("blob", value)
                .map_err(|_source| rejected("not a manifest"))?;
            if !self.blobs.contains_key(&blob.digest) {
                return Err(RegistryError::BlobUnknown { digests: vec![blob.digest] });
            }
        }
        Ok(())
    }
}

/// Returns a copy with one bit flipped.
pub(super) fn flip_bit(bytes: &Bytes) -> Bytes {
    let mut copy = bytes.to_vec();
    match copy.last_mut() {
        Some(byte) => *byte ^= 1,
        None => copy.push(0),
    }
    copy.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::EMPTY_BYTES;
    use crate::registry::conformance;

    fn upload(bytes: &'static str, tag: Option<&str>) -> ManifestUpload {
        ManifestUpload {
            bytes: Bytes::from_static(bytes.as_bytes()),
            media_type: crate::protocol::media_type::IMAGE_MANIFEST,
            tag: tag.map(|tag| tag.parse().unwrap()),
            referrer: None,
        }
    }

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        conformance::check(Arc::new(MemoryRepository::new())).await;
    }

    #[tokio::test]
    async fn a_manifest_is_refused_while_its_blobs_are_missing() {
        let repository = MemoryRepository::new();
        let config = Descriptor::empty().to_json();
        let mut manifest = upload("", None);
        manifest.bytes = format!(r#"{{"config":{config}}}"#).into();

        let early = repository.push_manifest(&manifest).await;
        repository
            .push_blob(&Digest::of(EMPTY_BYTES), Bytes::from_static(EMPTY_BYTES))
            .await
            .unwrap();
        let late = repository.push_manifest(&manifest).await;

        assert!(matches!(early, Err(RegistryError::BlobUnknown { .. })), "{early:?}");
        assert!(late.is_ok(), "{late:?}");
    }

    #[tokio::test]
    async fn corrupted_and_removed_things_are_noticed() {
        let repository = MemoryRepository::new();
        let blob = Digest::of(b"blob");
        repository.push_blob(&blob, Bytes::from_static(b"blob")).await.unwrap();
        let manifest = repository.push_manifest(&upload("{}", Some("t"))).await.unwrap();

        repository.corrupt_blob(&blob);
        repository.corrupt_manifest(&manifest);
        let corrupt_blob = repository.fetch_blob(&blob, 4).await;
        let corrupt_manifest = repository.fetch_manifest(&ManifestRef::Digest(manifest), 9).await;
        repository.remove_blob(&blob);
        let gone = repository.fetch_blob(&blob, 4).await;

        assert!(matches!(corrupt_blob, Err(RegistryError::DigestMismatch { .. })));
        assert!(matches!(corrupt_manifest, Err(RegistryError::DigestMismatch { .. })));
        assert!(matches!(gone, Err(RegistryError::NotFound { .. })));
        assert_eq!(repository.counts().of(Operation::FetchBlob), 2);
        assert_eq!(repository.counts().of(Operation::FetchManifest), 1);
    }
}
