//! The large half: a directory of layer files; the least recently used ones are removed first.
//!
//! The index in memory only decides what to delete; the directory is checked for existence each
//! time, because other processes add to it and anyone may empty it.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::statvfs;

use super::entry::{self, Miss};
use super::seal::SealKey;
use crate::protocol::Digest;
use crate::sys::durable::create_private_dir;
use crate::sys::owner::{is_of_this_user, is_plain_file_of_this_user};
use crate::sys::{Clock as _, SystemClock};

/// The least that a file costs on disk, and the unit in which it grows: a block of most file
/// systems.
const BLOCK_LEN: u64 = 4096;

/// Most files in the index: a limit for memory if another program fills the directory. Files that a
/// listing finds beyond it are deleted.
const ENTRY_COUNT_MAX: usize = 200_000;

/// Bytes left free on the disk: a cache must not be what fills the disk under the outbox.
const FREE_LEN_MIN: u64 = 64 << 20;

/// After this part of the limit was written, the directory is listed again, so that several
/// processes stay within the limit together, not each on its own.
const RESCAN_PART: u64 = 8;

/// Temporary files older than this were left by a crash; writing one takes seconds.
const TEMPORARY_AGE_MAX: Duration = Duration::from_hours(1);

/// How the names of temporary files start.
const TEMPORARY_PREFIX: &str = ".tmp-";

/// Layers on disk.
#[derive(Debug)]
pub(super) struct DiskCache {
    dir: PathBuf,
    limit: u64,
    key: Option<SealKey>,
    index: Mutex<Index>,
    removed: AtomicU64,
    warned: AtomicBool,
}

#[derive(Debug)]
struct Index {
    entries: LruCache<Digest, u64>,
    used: u64,
    unscanned: u64,
}

impl Index {
    fn empty() -> Self {
        Self { entries: LruCache::unbounded(), used: 0, unscanned: 0 }
    }

    fn put(&mut self, digest: Digest, cost: u64) {
        self.used += cost;
        if let Some(old) = self.entries.put(digest, cost) {
            self.used -= old;
        }
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some(cost) = self.entries.pop(digest) {
            self.used -= cost;
        }
    }

    /// Removes the least recently used entry while there is too much.
    fn pop_excess(&mut self, limit: u64) -> Option<Digest> {
        if self.used <= limit && self.entries.len() <= ENTRY_COUNT_MAX {
            return None;
        }
        let (digest, cost) = self.entries.pop_lru()?;
        self.used -= cost;
        Some(digest)
    }
}

impl DiskCache {
    /// Uses `dir`, creating it if needed, and adopts the files in it.
    pub(super) fn open(dir: &Path, limit: u64, key: Option<SealKey>) -> io::Result<Self> {
        // Before its mode is tightened: root must not change another user's directory.
        if fs::metadata(dir).is_ok_and(|metadata| !is_of_this_user(&metadata)) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        create_private_dir(dir)?;
        let cache = Self {
            dir: dir.to_owned(),
            limit,
            key,
            index: Mutex::new(Index::empty()),
            removed: AtomicU64::new(0),
            warned: AtomicBool::new(false),
        };
        cache.rescan(&mut cache.index.lock());
        Ok(cache)
    }

    /// Reads a layer; any problem with its file is a miss, and the file is removed.
    pub(super) fn get(&self, digest: &Digest, len: u64) -> Option<Bytes> {
        let Some(path) = self.path(digest) else {
            self.index.lock().forget(digest);
            return None;
        };
        match entry::read(&path, digest, len, self.key.as_ref()) {
            Ok(bytes) => {
                self.index.lock().put(*digest, cost(len));
                Some(bytes)
            }
            Err(Miss::OtherLength) => None,
            Err(Miss::Absent) => {
                self.index.lock().forget(digest);
                None
            }
            Err(Miss::Broken) => {
                remove(&path);
                self.index.lock().forget(digest);
                self.removed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%digest, "removed a damaged file from the chunk cache");
                None
            }
        }
    }

    /// Returns whether there is a file for a layer; only reading it shows whether it is intact.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_some_and(|path| {
            fs::symlink_metadata(path).is_ok_and(|metadata| is_plain_file_of_this_user(&metadata))
        })
    }

    /// Returns the bytes of a layer's file; only reading it shows whether it is intact.
    pub(super) fn len(&self, digest: &Digest) -> Option<u64> {
        let metadata = fs::symlink_metadata(self.path(digest)?).ok()?;
        is_plain_file_of_this_user(&metadata).then_some(metadata.len())
    }

    /// Removes a layer's file and returns its bytes.
    pub(super) fn remove(&self, digest: &Digest) -> Option<u64> {
        let len = self.len(digest)?;
        remove(&self.path(digest)?);
        self.index.lock().forget(digest);
        Some(len)
    }

    /// Writes a layer unless it exists; a failure only means that it is not kept.
    pub(super) fn put(&self, digest: &Digest, layer: &[u8]) {
        let cost = cost(layer.len() as u64);
        if cost > self.limit || self.contains(digest) {
            return;
        }
        if let Err(error) = self.write(digest, layer) {
            // Once: the disk will be full for the next chunk too.
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "chunks are not kept on disk, only in memory");
            }
            return;
        }
        let mut index = self.index.lock();
        index.put(*digest, cost);
        index.unscanned += cost;
        if index.unscanned > self.limit / RESCAN_PART {
            self.rescan(&mut index);
        } else {
            self.evict(&mut index);
        }
    }

    /// Returns how many files there are and what they cost in bytes, as far as is known.
    pub(super) fn usage(&self) -> (u64, u64) {
        let index = self.index.lock();
        (index.entries.len() as u64, index.used)
    }

    /// Returns how many damaged files were removed.
    pub(super) fn removed_count(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    fn write(&self, digest: &Digest, layer: &[u8]) -> io::Result<()> {
        let shard = self.shard_path(digest);
        if fs::symlink_metadata(&shard).is_ok_and(|metadata| !metadata.is_dir()) {
            fs::remove_file(&shard)?;
        }
        // Every time: the whole cache may have been deleted since the last chunk.
        create_private_dir(&shard)?;
        require_room(&shard, layer.len() as u64)?;
        let unique = uuid::Uuid::new_v4().simple();
        let temporary = shard.join(format!("{TEMPORARY_PREFIX}{unique}"));
        let path = shard.join(digest.hex());
        entry::write(&path, &temporary, digest, layer, self.key.as_ref())
    }

    /// Rebuilds the index from the directory, by modification time, within the limits.
    fn rescan(&self, index: &mut Index) {
        let mut files = Vec::new();
        for shard in 0..=u8::MAX {
            let shard = self.dir.join(format!("{shard:02x}"));
            if is_real_dir(&shard) {
                list_shard(&shard, &mut files);
            }
        }
        files.sort_unstable();
        *index = Index::empty();
        for (_, digest, len) in files {
            index.put(digest, cost(len));
        }
        self.evict(index);
    }

    fn evict(&self, index: &mut Index) {
        while let Some(digest) = index.pop_excess(self.limit) {
            remove(&self.shard_path(&digest).join(digest.hex()));
        }
    }

    fn shard_path(&self, digest: &Digest) -> PathBuf {
        let [first, ..] = digest.as_bytes();
        self.dir.join(format!("{first:02x}"))
    }

    /// Returns the path of a layer, unless something other than a directory is in the way.
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let shard = self.shard_path(digest);
        is_real_dir(&shard).then(|| shard.join(digest.hex()))
    }
}

fn is_real_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Adds the chunk files of one directory; temporary files of a crash are deleted, foreign files are
/// left alone.
fn list_shard(shard: &Path, files: &mut Vec<(SystemTime, Digest, u64)>) {
    let Ok(listing) = fs::read_dir(shard) else { return };
    for file in listing.flatten() {
        let Some(name) = file.file_name().to_str().map(str::to_owned) else { continue };
        if name.starts_with(TEMPORARY_PREFIX) {
            remove_stale(&file);
            continue;
        }
        let Ok(digest) = format!("sha256:{name}").parse() else { continue };
        match file.metadata() {
            Ok(metadata)
                if is_plain_file_of_this_user(&metadata) && files.len() < ENTRY_COUNT_MAX =>
            {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((modified, digest, metadata.len()));
            }
            _ => remove(&file.path()),
        }
    }
}

fn remove_stale(file: &DirEntry) {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.map(|time| SystemClock.now().duration_since(time).unwrap_or_default());
    if age.is_ok_and(|age| age > TEMPORARY_AGE_MAX) {
        remove(&file.path());
    }
}

/// Deletes a file, link, FIFO or empty directory; a failure leaves a miss in its place.
fn remove(path: &Path) {
    fs::remove_file(path).or_else(|_not_a_file| fs::remove_dir(path)).ok();
}

pub(super) fn require_room(dir: &Path, len: u64) -> io::Result<()> {
    let status = statvfs(dir)?;
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    if free < len.saturating_add(FREE_LEN_MIN) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// What a file of `len` bytes takes on disk; an empty one is not free.
fn cost(len: u64) -> u64 {
    len.div_ceil(BLOCK_LEN).max(1).saturating_mul(BLOCK_LEN)
}
