//! Blobs that nothing names any longer: mark what is named, sweep what is old.
//!
//! A send pushes its blobs first and names them last, so an unnamed blob may become part of a
//! message. Pushing a blob, and checking whether it exists, renews its file's time; only blobs that
//! have not been touched for long are removed.
//!
//! **Invariant:** if anything is not understood, everything is kept: a sweep removes too little
//! rather than too much.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{UtimensatFlags, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde_json::Value;

use super::directory::Directory;
use super::files::classify;
use super::index::Index;
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Descriptor, Digest, ImageManifest, media_type};
use crate::registry::{RegistryError, SweptBlobs};

/// Media types that name other blobs, besides every entry of `index.json`.
const NAMING_TYPES: [&str; 4] = [
    media_type::IMAGE_MANIFEST,
    media_type::IMAGE_INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// The blobs that are named, directly or through manifests.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    named: HashSet<Digest>,
    read: HashSet<Digest>,
}

impl Marks {
    /// Marks everything that the entries of `index` reach.
    ///
    /// What was read before is not read again: content never changes.
    ///
    /// # Errors
    /// When a part of the layout is damaged or not understood: what it names is then unknown.
    pub(super) fn add_index(
        &mut self,
        directory: &Directory,
        index: &Index,
    ) -> Result<(), RegistryError> {
        let mut waiting = Vec::new();
        for target in index.targets() {
            waiting.push(target.ok_or_else(|| RegistryError::Rejected {
                reason: "an entry of index.json has another digest than SHA-256".into(),
            })?);
        }
        while let Some(digest) = waiting.pop() {
            self.named.insert(digest);
            if !self.read.insert(digest) {
                continue;
            }
            let bytes = match directory.read_blob(&digest, "manifest", MANIFEST_LEN_MAX) {
                Ok(Some(bytes)) => bytes,
                // Gone: it names nothing to keep.
                Ok(None) => continue,
                Err(error) => return Err(error),
            };
            match serde_json::from_slice::<Value>(&bytes) {
                Ok(value) => self.add_value(&value, &mut waiting),
                Err(_broken) if bytes.trim_ascii_start().starts_with(b"{") => {
                    let reason = format!("{digest} is named as a manifest and cannot be read");
                    return Err(RegistryError::Malformed { reason });
                }
                // Not a document: an entry may name a blob of any kind.
                Err(_no_document) => {}
            }
        }
        Ok(())
    }

    /// Marks every digest in a document, wherever it occurs.
    fn add_value(&mut self, value: &Value, waiting: &mut Vec<Digest>) {
        match value {
            Value::Object(members) => {
                let digest = members.get("digest").and_then(Value::as_str);
                let naming = members.get("mediaType").and_then(Value::as_str);
                if let Some(digest) = digest.and_then(|text| text.parse().ok()) {
                    self.named.insert(digest);
                    if naming.is_none_or(|kind| NAMING_TYPES.contains(&kind)) {
                        waiting.push(digest);
                    }
                }
                // The parser limits the depth.
                members.values().for_each(|member| self.add_value(member, waiting));
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item, waiting)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Refuses a manifest whose blobs, or those of its subject, are gone: if a sweep has removed blobs
/// of a send that took many days, the send must fail, not its reader. Only under the lock.
///
/// # Errors
/// `BlobUnknown`, as registries answer; a missing subject is not an error.
pub(super) fn require_blobs(directory: &Directory, manifest: &[u8]) -> Result<(), RegistryError> {
    let require = |manifest: &[u8]| -> Result<Option<Digest>, RegistryError> {
        let Ok(parsed) = ImageManifest::parse(manifest) else { return Ok(None) };
        // The empty blob is the same everywhere and known by its digest; some never push it.
        let blobs = parsed.layers.iter().filter(|blob| blob.digest != Descriptor::empty().digest);
        for blob in blobs {
            if directory.blob_len(&blob.digest)?.is_none() {
                return Err(RegistryError::BlobUnknown { digests: vec![blob.digest] });
            }
        }
        Ok(parsed.subject.map(|subject| subject.digest))
    };
    let Some(subject) = require(manifest)? else { return Ok(()) };
    match directory.read_blob(&subject, "manifest", MANIFEST_LEN_MAX) {
        Ok(Some(bytes)) => require(&bytes).map(drop),
        // Damaged or missing: the reader reports that.
        Ok(None) | Err(_) => Ok(()),
    }
}

impl Directory {
    /// Returns whether the blob exists, and renews its time, so that a sweep leaves it alone for
    /// now.
    ///
    /// If renewing is not permitted the blob counts as missing, so that the caller writes it again;
    /// on a read-only disk nothing sweeps.
    pub(super) fn keep_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        if self.blob_len(digest)?.is_none() {
            return Ok(false);
        }
        let now = TimeSpec::UTIME_NOW;
        let flags = UtimensatFlags::NoFollowSymlink;
        match utimensat(self.blobs(), digest.hex().as_str(), &now, &now, flags) {
            Ok(()) | Err(Errno::EROFS) => Ok(true),
            Err(Errno::ENOENT | Errno::EACCES | Errno::EPERM) => Ok(false),
            Err(error) => Err(classify(error.into())),
        }
    }

    /// Removes the blobs that are unmarked and older than `age_min`. Only under the lock, with
    /// marks of the current index.
    pub(super) fn sweep_blobs(
        &self,
        path: &Path,
        marks: &Marks,
        age_min: Duration,
        dry_run: bool,
    ) -> Result<SweptBlobs, RegistryError> {
        let now = self.now().map_err(classify)?;
        let age_min_secs = i64::try_from(age_min.as_secs()).unwrap_or(i64::MAX);
        let mut swept = SweptBlobs::default();
        for item in fs::read_dir(path.join("blobs/sha256")).map_err(classify)? {
            let name = item.map_err(classify)?.file_name();
            let digest: Option<Digest> =
                name.to_str().and_then(|name| format!("sha256:{name}").parse().ok());
            // Files with other names are not ours.
            let Some(digest) = digest.filter(|digest| !marks.named.contains(digest)) else {
                continue;
            };
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            let Ok(stat) = fstatat(self.blobs(), name.as_os_str(), flags) else { continue };
            let is_file = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
            if !is_file || now.saturating_sub(stat.st_mtime) < age_min_secs {
                continue;
            }
            if !dry_run {
                match unlinkat(self.blobs(), digest.hex().as_str(), UnlinkatFlags::NoRemoveDir) {
                    Ok(()) => {}
                    // Another user's, in a directory where only owners can remove.
                    Err(Errno::ENOENT | Errno::EACCES | Errno::EPERM) => continue,
                    Err(error) => return Err(classify(error.into())),
                }
            }
            swept.blob_count += 1;
            swept.blob_bytes += stat.st_size.unsigned_abs();
        }
        Ok(swept)
    }
}
