//! A repository that confirms a manifest and denies it for a while, as eventually consistent
//! registries do: a decorator for tests.
//!
//! It lags by a number of requests, never by time. Start at [`LaggingRepository`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    FetchedManifest, ManifestRef, ManifestUpload, Presence, RegistryError, Repository, SweptBlobs,
    TagList,
};
use crate::protocol::{Descriptor, Digest, Tag};

/// Denies each manifest and tag for the first requests after its push was confirmed.
pub struct LaggingRepository {
    inner: Arc<dyn Repository>,
    /// How many requests for one name are denied after its push.
    lag: u64,
    /// Requests for each name that are still denied.
    left: Mutex<BTreeMap<String, u64>>,
}

impl LaggingRepository {
    /// Wraps `inner`; each name is denied `lag` times after each of its pushes.
    pub fn new(inner: Arc<dyn Repository>, lag: u64) -> Self {
        Self { inner, lag, left: Mutex::default() }
    }

    /// Returns whether this request is denied, and counts it.
    fn denies(&self, name: &str) -> bool {
        let mut left = self.left.lock();
        let denied = left.get_mut(name).filter(|left| **left > 0);
        denied.map(|left| *left -= 1).is_some()
    }
}

#[async_trait]
impl Repository for LaggingRepository {
    fn reference(&self) -> String {
        self.inner.reference()
    }

    async fn login_changed(&self) -> bool {
        self.inner.login_changed().await
    }

    async fn probe(&self) -> Result<(), RegistryError> {
        self.inner.probe().await
    }

    async fn fetch_manifest(
        &self,
        reference: &ManifestRef,
        len_max: u64,
    ) -> Result<FetchedManifest, RegistryError> {
        let name = match reference {
            ManifestRef::Tag(tag) => tag.to_string(),
            ManifestRef::Digest(digest) => digest.to_string(),
        };
        if self.denies(&name) {
            return Err(RegistryError::not_found(name));
        }
        self.inner.fetch_manifest(reference, len_max).await
    }

    async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, RegistryError> {
        if self.denies(tag.as_str()) {
            return Ok(None);
        }
        self.inner.resolve_tag(tag).await
    }

    async fn manifest_presence(&self, digest: &Digest) -> Result<Presence, RegistryError> {
        if self.denies(&digest.to_string()) {
            return Ok(Presence::Gone);
        }
        self.inner.manifest_presence(digest).await
    }

    async fn push_manifest(&self, manifest: &ManifestUpload) -> Result<Digest, RegistryError> {
        let digest = self.inner.push_manifest(manifest).await?;
        let name = manifest.tag.as_ref().map_or_else(|| digest.to_string(), Tag::to_string);
        self.left.lock().insert(name, self.lag);
        Ok(digest)
    }

    async fn blob_exists(&self, digest: &Digest) -> Result<bool, RegistryError> {
        self.inner.blob_exists(digest).await
    }

    async fn fetch_blob(&self, digest: &Digest, size: u64) -> Result<Bytes, RegistryError> {
        self.inner.fetch_blob(digest, size).await
    }

    async fn push_blob(&self, digest: &Digest, bytes: Bytes) -> Result<(), RegistryError> {
        self.inner.push_blob(digest, bytes).await
    }

    async fn list_tags(&self, prefix: &str) -> Result<TagList, RegistryError> {
        self.inner.list_tags(prefix).await
    }

    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        self.inner.list_referrers(subject).await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.inner.delete_manifest(digest).await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<(), RegistryError> {
        self.inner.delete_tag(tag).await
    }

    async fn remove_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        self.inner.remove_referrer(subject, referrer).await
    }

    async fn sweep_blobs(
        &self,
        age_min: Duration,
        dry_run: bool,
    ) -> Result<Option<SweptBlobs>, RegistryError> {
        self.inner.sweep_blobs(age_min, dry_run).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;
    use crate::registry::memory::MemoryRepository;

    #[tokio::test]
    async fn without_a_lag_the_contract_is_kept() {
        let inner = Arc::new(MemoryRepository::new());

        conformance::check(Arc::new(LaggingRepository::new(inner, 0))).await;
    }

    #[tokio::test]
    async fn a_pushed_tag_is_denied_as_often_as_asked_for_and_then_found() {
        let repository = LaggingRepository::new(Arc::new(MemoryRepository::new()), 2);
        let tag: Tag = "t".parse().unwrap();
        let upload = ManifestUpload {
            bytes: Bytes::from_static(b"{}"),
            media_type: crate::protocol::media_type::IMAGE_MANIFEST,
            tag: Some(tag.clone()),
            referrer: None,
        };

        let digest = repository.push_manifest(&upload).await.unwrap();

        let mut found = Vec::new();
        for _ in 0..3 {
            found.push(repository.resolve_tag(&tag).await.unwrap());
        }
        assert_eq!(found, [None, None, Some(digest)]);
    }
}
