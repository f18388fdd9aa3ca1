//! A repository in an OCI image-layout directory: the embedded default, no server needed.
//!
//! The layout is the OCI specification's (v1.0.0), so `oras --oci-layout` and `skopeo` can read it:
//! tags are entries of `index.json`, everything else is in `blobs/sha256/`. Several processes can
//! use one directory: `index.json` is only ever replaced whole, under a lock that is held for
//! milliseconds, and readers need no lock. A manifest without a tag is a blob like any other.
//! A directory that does not exist yet is an empty repository; the first push creates it.
//! Start at [`LayoutRepository`].
//!
//! **Invariant:** whatever the directory contains, no link is followed, no read is unbounded and
//! no bytes are returned that do not hash to their name.

mod content;
mod directory;
mod files;
mod index;
mod referrers;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::content::Layout;
use self::directory::{Directory, IndexLock};
use self::sweep::Marks;
use super::{
    FetchedManifest, ManifestRef, ManifestUpload, Presence, RegistryError, Repository, SweptBlobs,
    TagList,
};
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Descriptor, Digest, Tag};
use crate::sys::backoff::Backoff;
use crate::sys::blocking;

/// Most tags in one listing; even the largest index has fewer.
const TAG_COUNT_MAX: usize = 1_000_000;

/// Longest time one call may take: a network disk may hang, a slow one needs seconds per chunk.
const CALL_DEADLINE: Duration = Duration::from_mins(2);

/// Longest time to wait for other writers. Each holds the lock for milliseconds.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);

/// Pauses between two attempts to take the lock.
const LOCK_BACKOFF: Backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(16));

/// A repository in an OCI image-layout directory. Clones share one cache.
#[derive(Debug, Clone)]
pub struct LayoutRepository(Arc<Layout>);

impl LayoutRepository {
    /// Names the directory. Nothing is read or created before the first call.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Layout::new(path.into(), LOCK_DEADLINE)))
    }

    /// Runs `job` on the directory as it is; `None` stands for a directory that does not exist yet.
    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Layout, Option<&Directory>) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let layout = Arc::clone(&self.0);
        run_job(move || job(&layout, Directory::open(layout.path())?.as_ref())).await
    }

    /// Returns whether the directory exists yet: deleting must not create it.
    async fn exists(&self) -> Result<bool, RegistryError> {
        self.read(|_, directory| Ok(directory.is_some())).await
    }

    /// Runs `job` under the lock, in a directory that is created if it is missing.
    async fn update<T: Send + 'static>(
        &self,
        job: impl Fn(&Layout, &Directory) -> Result<T, RegistryError> + Clone + Send + 'static,
    ) -> Result<T, RegistryError> {
        let attempts = async {
            // One writer of this process at a time, in order of arrival; the others do not poll.
            let _turn = self.0.writer_turn().await;
            let mut attempt_count = 0;
            loop {
                let (layout, job) = (Arc::clone(&self.0), job.clone());
                let attempt = run_job(move || {
                    let Some(lock) = IndexLock::try_acquire(layout.path())? else {
                        return Ok(None);
                    };
                    job(&layout, &Directory::create(layout.path(), &lock)?).map(Some)
                });
                if let Some(value) = attempt.await? {
                    return Ok(value);
                }
                // Polled, because a thread that waits in flock(2) cannot be cancelled.
                attempt_count += 1;
                tokio::time::sleep(LOCK_BACKOFF.random_pause(attempt_count, None)).await;
            }
        };
        let result = tokio::time::timeout(self.0.lock_deadline(), attempts).await;
        result.unwrap_or(Err(RegistryError::TimedOut))
    }
}

/// Parses `index.json` and writes it again, for tests of the parser alone.
///
/// # Errors
/// `Malformed` when it is not an OCI index.
#[cfg(any(test, feature = "testing"))]
pub fn rewrite_index(bytes: &[u8]) -> Result<String, RegistryError> {
    Ok(index::Index::parse(bytes)?.encode())
}

#[async_trait]
impl Repository for LayoutRepository {
    fn reference(&self) -> String {
        format!("oci:{}", self.0.path().display())
    }

    async fn probe(&self) -> Result<(), RegistryError> {
        self.read(|layout, directory| match directory {
            Some(directory) => layout.index(directory).map(drop),
            None => Ok(()),
        })
        .await
    }

    async fn fetch_manifest(
        &self,
        reference: &ManifestRef,
        len_max: u64,
    ) -> Result<FetchedManifest, RegistryError> {
        let reference = reference.clone();
        self.read(move |layout, directory| match (reference, directory) {
            (ManifestRef::Tag(tag), Some(directory)) => layout
                .read_tagged(directory, &tag, len_max)?
                .ok_or_else(|| RegistryError::not_found(tag)),
            (ManifestRef::Digest(digest), Some(directory)) => directory
                .read_blob(&digest, "manifest", len_max)?
                .map(|bytes| FetchedManifest { bytes: bytes.into(), digest })
                .ok_or_else(|| RegistryError::not_found(digest)),
            (ManifestRef::Tag(tag), None) => Err(RegistryError::not_found(tag)),
            (ManifestRef::Digest(digest), None) => Err(RegistryError::not_found(digest)),
        })
        .await
    }

    async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, RegistryError> {
        let tag = tag.clone();
        self.read(move |layout, directory| match directory {
            Some(directory) => Ok(layout.index(directory)?.resolve(&tag)),
            None => Ok(None),
        })
        .await
    }

    async fn manifest_presence(&self, digest: &Digest) -> Result<Presence, RegistryError> {
        let digest = *digest;
        self.read(move |layout, directory| {
            let Some(directory) = directory else { return Ok(Presence::Unknown) };
            layout.index(directory)?;
            let found = directory.read_blob(&digest, "manifest", MANIFEST_LEN_MAX)?;
            Ok(if found.is_some() { Presence::There } else { Presence::Gone })
        })
        .await
    }

    async fn push_manifest(&self, manifest: &ManifestUpload) -> Result<Digest, RegistryError> {
        let digest = Digest::of(&manifest.bytes);
        // Outside the lock: only the index needs it.
        self.push_blob(&digest, manifest.bytes.clone()).await?;
        if manifest.tag.is_some() || manifest.referrer.is_some() {
            let upload = manifest.clone();
            self.update(move |layout, directory| layout.publish(directory, &upload, digest))
                .await?;
        }
        Ok(digest)
    }

    async fn blob_exists(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let digest = *digest;
        self.read(move |_, directory| match directory {
            // The caller is about to name it, so a sweep must leave it alone from now on.
            Some(directory) => directory.keep_blob(&digest),
            None => Ok(false),
        })
        .await
    }

    async fn fetch_blob(&self, digest: &Digest, size: u64) -> Result<Bytes, RegistryError> {
        let digest = *digest;
        self.read(move |_, directory| {
            let bytes = match directory {
                Some(directory) => directory.read_blob(&digest, "blob", size)?,
                None => None,
            };
            let bytes = bytes.ok_or_else(|| RegistryError::not_found(digest))?;
            if bytes.len() as u64 != size {
                let reason = "a blob is shorter than its descriptor says".into();
                return Err(RegistryError::Malformed { reason });
            }
            Ok(bytes.into())
        })
        .await
    }

    async fn push_blob(&self, digest: &Digest, bytes: Bytes) -> Result<(), RegistryError> {
        let digest = *digest;
        let pushed = bytes.clone();
        let is_written = self
            .read(move |_, directory| {
                let actual = Digest::of(&pushed);
                if actual != digest {
                    return Err(RegistryError::DigestMismatch { expected: digest, actual });
                }
                let written = directory.map(|directory| directory.write_blob(&digest, &pushed));
                written.transpose().map(|written| written.is_some())
            })
            .await?;
        if !is_written {
            self.update(move |_, directory| directory.write_blob(&digest, &bytes)).await?;
        }
        Ok(())
    }

    async fn list_tags(&self, prefix: &str) -> Result<TagList, RegistryError> {
        let prefix = prefix.to_owned();
        self.read(move |layout, directory| match directory {
            Some(directory) => Ok(layout.index(directory)?.list(&prefix, TAG_COUNT_MAX)),
            None => Ok(TagList::default()),
        })
        .await
    }

    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let subject = *subject;
        self.read(move |layout, directory| {
            let Some(directory) = directory else {
                return Ok(Vec::new());
            };
            layout.list_referrers(directory, &subject)
        })
        .await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        let digest = *digest;
        if !self.exists().await? {
            return Err(RegistryError::not_found(digest));
        }
        self.update(move |layout, directory| layout.delete(directory, &digest)).await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<(), RegistryError> {
        let tag = tag.clone();
        if !self.exists().await? {
            return Err(RegistryError::not_found(tag));
        }
        self.update(move |layout, directory| layout.delete_tag(directory, &tag)).await
    }

    async fn remove_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        let (subject, referrer) = (*subject, *referrer);
        if !self.exists().await? {
            return Ok(());
        }
        self.update(move |layout, directory| layout.detach(directory, &subject, &referrer)).await
    }

    async fn sweep_blobs(
        &self,
        age_min: Duration,
        dry_run: bool,
    ) -> Result<Option<SweptBlobs>, RegistryError> {
        if !self.exists().await? {
            return Ok(Some(SweptBlobs::default()));
        }
        // Most manifests are read before the lock is taken, so that others wait less.
        let marks = self
            .read(|layout, directory| {
                let mut marks = Marks::default();
                if let Some(directory) = directory {
                    marks.add_index(directory, &*layout.index(directory)?)?;
                }
                Ok(marks)
            })
            .await?;
        self.update(move |layout, directory| {
            let mut marks = marks.clone();
            marks.add_index(directory, &*layout.index(directory)?)?;
            directory.sweep_blobs(layout.path(), &marks, age_min, dry_run)
        })
        .await
        .map(Some)
    }
}

/// Runs file operations on the pool for blocking work.
async fn run_job<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, RegistryError> {
    let job = blocking::try_run(job);
    tokio::time::timeout(CALL_DEADLINE, job).await.unwrap_or(Err(RegistryError::TimedOut))
}
