//! What the layout holds: the index in memory and the operations on it.
//!
//! Blocking; runs on the pool for blocking work. Everything that changes the index holds the lock.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;

use super::directory::Directory;
use super::files::{classify, read_bounded};
use super::index::Index;
use super::referrers::{self, SubjectClaim};
use super::sweep;
use crate::protocol::json::parse_object;
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Descriptor, Digest, Tag, media_type};
use crate::registry::{FetchedManifest, ManifestUpload, RegistryError};
use crate::sys::crash;

/// Largest `index.json` in bytes: about 200,000 messages.
const INDEX_LEN_MAX: u64 = 64 << 20;

/// Most untagged entries of other programs checked for one list of referrers.
const FOREIGN_ENTRY_COUNT_MAX: usize = 1_000;

/// Most subjects of foreign entries remembered; below 400 bytes each.
const SUBJECT_COUNT_MAX: usize = 10_000;

/// How often a tag is resolved again if its manifest was replaced in the meantime.
const REREAD_COUNT_MAX: usize = 3;

/// One layout directory, as this process knows it.
#[derive(Debug)]
pub(super) struct Layout {
    path: PathBuf,
    lock_deadline: Duration,
    index: Mutex<Option<CachedIndex>>,
    /// The subjects that manifests of other programs claim, which never change.
    subjects: Mutex<HashMap<Digest, Option<SubjectClaim>>>,
    swept: AtomicBool,
    writer_turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct CachedIndex {
    stamp: Stamp,
    index: Arc<Index>,
    /// Kept open, so that no newer file can get the same inode number.
    _file: File,
}

/// What differs between two versions of a file: device, inode, size, modification time.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(file: &File) -> Result<Self, RegistryError> {
        let data = file.metadata().map_err(classify)?;
        Ok(Self(data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
    }
}

/// The result of a change to a referrers index.
#[derive(Default)]
struct ReferrersEdit {
    changed: bool,
    /// The index blob that is now unused.
    stale: Option<Digest>,
}

impl Layout {
    pub(super) fn new(path: PathBuf, lock_deadline: Duration) -> Self {
        Self {
            path,
            lock_deadline,
            index: Mutex::default(),
            subjects: Mutex::default(),
            swept: AtomicBool::new(false),
            writer_turn: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other call of this process wants to change the index.
    pub(super) async fn writer_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writer_turn.lock().await
    }

    /// Returns the longest time to wait for other writers.
    pub(super) fn lock_deadline(&self) -> Duration {
        self.lock_deadline
    }

    /// Returns the index, parsed again only if the file has changed.
    pub(super) fn index(&self, directory: &Directory) -> Result<Arc<Index>, RegistryError> {
        // Held while parsing, so that waiting readers do not parse the same file again.
        let mut cached = self.index.lock();
        let Some(file) = directory.open_index()? else {
            return Ok(Arc::default());
        };
        let stamp = Stamp::of(&file)?;
        if let Some(known) = cached.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(Arc::clone(&known.index));
        }
        let bytes = read_bounded(&file, INDEX_LEN_MAX).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => {
                RegistryError::TooLarge { what: "index.json", limit: INDEX_LEN_MAX }
            }
            _ => classify(error),
        })?;
        let index = Arc::new(Index::parse(&bytes)?);
        *cached = Some(CachedIndex { stamp, index: Arc::clone(&index), _file: file });
        Ok(index)
    }

    /// Replaces `index.json`. Only under the lock.
    fn save(&self, directory: &Directory, index: Index) -> Result<(), RegistryError> {
        let text = index.encode();
        if text.len() as u64 > INDEX_LEN_MAX {
            return Err(RegistryError::Rejected { reason: "the layout has too many tags".into() });
        }
        let file = directory.write_index(text.as_bytes())?;
        crash::point!("layout.index.replaced");
        let stamp = Stamp::of(&file)?;
        if !self.swept.swap(true, Ordering::Relaxed) {
            // Only tidiness: a failure has no effect.
            directory.sweep(&self.path, stamp.3).ok();
        }
        *self.index.lock() = Some(CachedIndex { stamp, index: Arc::new(index), _file: file });
        Ok(())
    }

    /// Resolves a tag and reads its manifest.
    pub(super) fn read_tagged(
        &self,
        directory: &Directory,
        tag: &Tag,
        len_max: u64,
    ) -> Result<Option<FetchedManifest>, RegistryError> {
        for _ in 0..REREAD_COUNT_MAX {
            let Some(digest) = self.index(directory)?.resolve(tag) else {
                return Ok(None);
            };
            // A referrers index is removed as soon as a newer one has its tag.
            if let Some(bytes) = directory.read_blob(&digest, "manifest", len_max)? {
                return Ok(Some(FetchedManifest { bytes: bytes.into(), digest }));
            }
        }
        Err(RegistryError::not_found(format_args!("the manifest of {tag}")))
    }

    /// Enters a manifest, whose blob exists, under its tag and its subject.
    pub(super) fn publish(
        &self,
        directory: &Directory,
        upload: &ManifestUpload,
        digest: Digest,
    ) -> Result<(), RegistryError> {
        let size = upload.bytes.len() as u64;
        sweep::require_blobs(directory, &upload.bytes)?;
        let mut index = Index::clone(&*self.index(directory)?);
        let mut edit = ReferrersEdit::default();
        if let Some(entry) = &upload.referrer {
            let mut referrer = Descriptor::new(upload.media_type, digest, size);
            referrer.artifact_type = Some(entry.artifact_type.clone());
            edit = edit_referrers(directory, &mut index, &entry.subject, |referrers| {
                referrers::add(referrers, referrer)
            })?;
        }
        if let Some(tag) = &upload.tag {
            let mut target = Descriptor::new(upload.media_type, digest, size);
            target.artifact_type = artifact_type(&upload.bytes);
            edit.changed |= index.point(tag, &target);
        }
        if edit.changed {
            self.save(directory, index)?;
        }
        edit.stale.map_or(Ok(()), |stale| directory.remove_blob(&stale))
    }

    /// Removes a manifest, its tags and its entry among the referrers of its subject.
    pub(super) fn delete(
        &self,
        directory: &Directory,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let manifest = match directory.read_blob(digest, "manifest", MANIFEST_LEN_MAX) {
            Err(RegistryError::DigestMismatch { .. } | RegistryError::TooLarge { .. }) => None,
            manifest => manifest?.map(Bytes::from),
        };
        let mut index = Index::clone(&*self.index(directory)?);
        let indexed = index.remove(digest);
        // A layer is a blob too, but not one that this call may remove.
        if !indexed && !manifest.as_deref().is_some_and(is_manifest) {
            return Err(RegistryError::not_found(digest));
        }
        let subject = manifest.as_deref().and_then(referrers::subject_of);
        let edit = match subject {
            None => ReferrersEdit::default(),
            Some(SubjectClaim { subject, .. }) => {
                remove_referrer(directory, &mut index, &subject, digest)?
            }
        };
        // The entries are removed first: a reader that still sees one finds the manifest.
        self.save(directory, index)?;
        directory.remove_blob(digest)?;
        edit.stale.map_or(Ok(()), |stale| directory.remove_blob(&stale))
    }

    /// Removes only a tag.
    pub(super) fn delete_tag(&self, directory: &Directory, tag: &Tag) -> Result<(), RegistryError> {
        let mut index = Index::clone(&*self.index(directory)?);
        if !index.remove_tag(tag) {
            return Err(RegistryError::not_found(tag));
        }
        self.save(directory, index)
    }

    /// Removes a manifest from the fallback tag of `subject`.
    pub(super) fn detach(
        &self,
        directory: &Directory,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        let mut index = Index::clone(&*self.index(directory)?);
        let edit = remove_referrer(directory, &mut index, subject, referrer)?;
        if edit.changed {
            self.save(directory, index)?;
        }
        edit.stale.map_or(Ok(()), |stale| directory.remove_blob(&stale))
    }

    /// Lists the referrers of the fallback tag and those of other programs.
    pub(super) fn list_referrers(
        &self,
        directory: &Directory,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let index = self.read_tagged(directory, &Tag::referrers(subject), MANIFEST_LEN_MAX);
        let mut all = match index {
            // A missing index is the same as none.
            Ok(None) | Err(RegistryError::NotFound { .. }) => Vec::new(),
            Ok(Some(index)) => referrers::parse(&index.bytes),
            Err(error) => return Err(error),
        };
        for referrer in self.foreign_referrers(directory, subject)? {
            referrers::add(&mut all, referrer);
        }
        Ok(all)
    }

    /// Finds referrers that other programs entered without a tag, as `oras attach` does.
    ///
    /// A process reads each such manifest once; its own manifests are never among them.
    fn foreign_referrers(
        &self,
        directory: &Directory,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let index = self.index(directory)?;
        let mut found = Vec::new();
        for entry in index.others().iter().rev().take(FOREIGN_ENTRY_COUNT_MAX) {
            let Some(digest) = entry.digest else { continue };
            let known = self.subjects.lock().get(&digest).cloned();
            let named = match known {
                Some(named) => named,
                None => self.load_subject(directory, digest),
            };
            if let Some(named) = named
                && named.subject == *subject
                && let Some(mut referrer) = entry.descriptor()
            {
                referrer.artifact_type = referrer.artifact_type.or(named.artifact_type);
                found.push(referrer);
            }
        }
        Ok(found)
    }

    fn load_subject(&self, directory: &Directory, digest: Digest) -> Option<SubjectClaim> {
        // One damaged manifest must not hide the others.
        let bytes = directory.read_blob(&digest, "manifest", MANIFEST_LEN_MAX).ok()??;
        let named = referrers::subject_of(&bytes);
        let mut subjects = self.subjects.lock();
        if subjects.len() >= SUBJECT_COUNT_MAX {
            subjects.clear();
        }
        subjects.insert(digest, named.clone());
        named
    }
}

/// Takes one manifest out of the referrers index of `subject`.
fn remove_referrer(
    directory: &Directory,
    index: &mut Index,
    subject: &Digest,
    removed: &Digest,
) -> Result<ReferrersEdit, RegistryError> {
    edit_referrers(directory, index, subject, |referrers| {
        let before = referrers.len();
        referrers.retain(|referrer| referrer.digest != *removed);
        referrers.len() != before
    })
}

/// Changes the referrers index of `subject`.
fn edit_referrers(
    directory: &Directory,
    index: &mut Index,
    subject: &Digest,
    edit: impl FnOnce(&mut Vec<Descriptor>) -> bool,
) -> Result<ReferrersEdit, RegistryError> {
    let tag = Tag::referrers(subject);
    let old = index.resolve(&tag);
    let read = |old| directory.read_blob(&old, "manifest", MANIFEST_LEN_MAX);
    let mut referrers = match old.map_or(Ok(None), read) {
        Ok(bytes) => bytes.map_or_else(Vec::new, |bytes| referrers::parse(&bytes)),
        // An unreadable index is rewritten.
        Err(
            RegistryError::DigestMismatch { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::Malformed { .. },
        ) => Vec::new(),
        Err(error) => return Err(error),
    };
    if !edit(&mut referrers) {
        return Ok(ReferrersEdit::default());
    }
    if referrers.is_empty() {
        index.remove_tag(&tag);
    } else {
        let bytes = referrers::encode_bounded(&referrers);
        let target = Descriptor::of(media_type::IMAGE_INDEX, &bytes);
        directory.write_blob(&target.digest, &bytes)?;
        crash::point!("layout.referrers.written");
        index.point(&tag, &target);
    }
    Ok(ReferrersEdit { changed: true, stale: old.filter(|old| !index.is_tagged(old)) })
}

fn is_manifest(bytes: &[u8]) -> bool {
    parse_object("manifest", bytes, MANIFEST_LEN_MAX)
        .is_ok_and(|object| object.get("schemaVersion") == Some(&2.into()))
}

/// Returns the artifact type for the entry in `index.json`, where `oras` puts it too.
fn artifact_type(manifest: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Members {
        artifact_type: Option<String>,
    }
    serde_json::from_slice::<Members>(manifest).ok()?.artifact_type
}
