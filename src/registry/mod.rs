//! One OCI repository as an object: blobs, manifests and tags.
//!
//! It moves bytes and checks their digests; it never interprets a message, verifies a signature
//! or decides whom to trust. Start at [`Repository`].
//!
//! **Invariant:** bytes that are requested by digest hash to that digest, or the call fails.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
#[cfg(any(test, feature = "testing"))]
pub mod lag;
mod layout;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod reference;
pub mod remote;
pub mod retry;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::{BoxError, DIRECTORY_DENIED_HINT, RegistryError, UNKNOWN_COUNT_MAX};
pub use layout::LayoutRepository;
#[cfg(any(test, feature = "testing"))]
pub use layout::rewrite_index;
pub use reference::RepositoryReference;
pub use remote::{RemoteOptions, RemoteRepository};
pub use retry::{RetryPolicy, RetryRepository};

use crate::protocol::{Descriptor, Digest, Tag};

/// A manifest by tag (a claim of the registry) or by digest (checked).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestRef {
    /// Whatever the registry claims the tag points to.
    Tag(Tag),
    /// Exactly the manifest with this digest.
    Digest(Digest),
}

/// The raw bytes of a manifest and the digest computed from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The exact bytes as received.
    pub bytes: Bytes,
    /// The SHA-256 of `bytes`, computed here; a registry's header is never used.
    pub digest: Digest,
}

/// A manifest to push, with what the registry must index about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestUpload {
    /// The exact bytes; the digest is computed from them.
    pub bytes: Bytes,
    /// The media type, almost always `media_type::IMAGE_MANIFEST`.
    pub media_type: &'static str,
    /// The tag that will point to it; none = by digest only.
    pub tag: Option<Tag>,
    /// Set when the manifest has a `subject`: the implementation then makes it discoverable from
    /// there, by the referrers API or by maintaining the fallback tag `sha256-<hex>` (P16).
    pub referrer: Option<ReferrerEntry>,
}

/// The entry of a manifest with a subject in a referrers index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrerEntry {
    /// The manifest that the uploaded one refers to.
    pub subject: Digest,
    /// The artifact type of the uploaded manifest.
    pub artifact_type: String,
}

/// The tags of a repository that have a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagList {
    /// The tags, sorted and without duplicates; each has the prefix.
    pub tags: Vec<Tag>,
    /// Whether a limit ended the listing early: there may be more.
    pub truncated: bool,
}

/// Blobs that a sweep has removed, or would remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweptBlobs {
    /// Their number.
    pub blob_count: u64,
    /// Their bytes.
    pub blob_bytes: u64,
}

/// What a repository says about a manifest that is named by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has the manifest.
    There,
    /// It says that it does not have this manifest, and has others or knows what a manifest is.
    Gone,
    /// Nothing was found, and nothing shows that the repository itself is there: a disk that is not
    /// mounted, a repository that was renamed or is hidden from us, a wrong address.
    Unknown,
}

/// One repository in an OCI registry.
///
/// # Contract
/// - Everything is bounded: bodies by `len_max` or the requested size, lists by count, every call
///   by a deadline of the implementation. No call hangs.
/// - Pushes are idempotent: the same bytes may be pushed again, even by several processes.
/// - What a push reported as done is done. Most fetches find it at once; a registry may deny it for
///   some seconds, and no caller concludes from that that it was not done.
/// - Errors mean the same everywhere; see [`RegistryError`].
///
/// ```
/// use dockercomms::protocol::Digest;
/// use dockercomms::registry::{LayoutRepository, RegistryError, Repository};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// let repository = LayoutRepository::new(dir);
/// let bytes = b"any bytes at all";
/// let digest = Digest::of(bytes);
///
/// repository.push_blob(&digest, bytes.as_slice().into()).await?;
/// assert_eq!(repository.fetch_blob(&digest, 16).await?, bytes.as_slice());
///
/// // Whoever can write to the directory can change it, but not what a digest stands for.
/// std::fs::write(dir.join("blobs/sha256").join(digest.hex()), b"Any bytes at all")?;
/// let fetched = repository.fetch_blob(&digest, 16).await;
/// assert!(matches!(fetched, Err(RegistryError::DigestMismatch { .. })));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Repository: Send + Sync + 'static {
    /// Returns the reference for people: `oci:/path` or `docker://host/name`. No credentials.
    fn reference(&self) -> String;

    /// Returns whether the login may have changed since the last call, as by `docker login`; from
    /// then on nothing that came from the old one is used. Sends nothing.
    async fn login_changed(&self) -> bool {
        false
    }

    /// Checks that the repository answers and that we may read it. Creates nothing.
    async fn probe(&self) -> Result<(), RegistryError>;

    /// Fetches a manifest of at most `len_max` bytes; one that is requested by digest is checked.
    async fn fetch_manifest(
        &self,
        reference: &ManifestRef,
        len_max: u64,
    ) -> Result<FetchedManifest, RegistryError>;

    /// Returns the digest a tag points to, without fetching; `None` when there is no such tag.
    ///
    /// The answer is the registry's claim.
    async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, RegistryError>;

    /// Returns whether the manifest with this digest exists, without fetching it.
    ///
    /// The answer is the registry's claim. A registry that refuses to say is an error.
    async fn manifest_presence(&self, digest: &Digest) -> Result<Presence, RegistryError>;

    /// Pushes a manifest unchanged and returns the digest of its bytes.
    ///
    /// `BlobUnknown` when the repository does not have what the manifest names.
    async fn push_manifest(&self, manifest: &ManifestUpload) -> Result<Digest, RegistryError>;

    /// Returns whether the blob exists.
    async fn blob_exists(&self, digest: &Digest) -> Result<bool, RegistryError>;

    /// Fetches a whole blob of exactly `size` bytes and checks its digest.
    async fn fetch_blob(&self, digest: &Digest, size: u64) -> Result<Bytes, RegistryError>;

    /// Pushes a blob whose digest the caller has computed.
    async fn push_blob(&self, digest: &Digest, bytes: Bytes) -> Result<(), RegistryError>;

    /// Lists the tags that start with `prefix`, following every page (P24).
    ///
    /// Starts at the prefix and stops past it if the registry sorts and honours `last`; detects if
    /// it does not, and then lists everything.
    async fn list_tags(&self, prefix: &str) -> Result<TagList, RegistryError>;

    /// Lists manifests whose subject is `subject`: the union of the referrers API and the fallback
    /// tag, at most 1,000, unfiltered by type. The entries are claims.
    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError>;

    /// Deletes a manifest and every tag of it; its blobs stay.
    ///
    /// Registries that do not support it answer `Rejected` or `Denied`. A few keep the tags.
    async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError>;

    /// Deletes a tag and leaves its manifest. Many registries answer `Rejected`.
    async fn delete_tag(&self, tag: &Tag) -> Result<(), RegistryError>;

    /// Removes a deleted manifest from the fallback tag of its subject, and the tag with its last
    /// entry. Other entries stay; it is not an error if there is none for the manifest.
    async fn remove_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError>;

    /// Removes blobs that no manifest names and that no process has pushed or checked for within
    /// `age_min`, since a send names its blobs last; with `dry_run` only counts them.
    ///
    /// `None` where the registry collects its garbage itself.
    async fn sweep_blobs(
        &self,
        age_min: Duration,
        dry_run: bool,
    ) -> Result<Option<SweptBlobs>, RegistryError>;
}
