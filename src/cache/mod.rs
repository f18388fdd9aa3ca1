//! Verified chunks by the digest of their layer: decompressed in memory, as layers on disk.
//!
//! Only verified bytes are put in. What comes back from disk must hash to the digest that the
//! signed manifest names, or bear a seal that only this user can make, so a hit is never wrong,
//! whoever wrote the file; and text takes a quarter of the space. Every error is a miss: losing the
//! whole cache costs only time, and it may be deleted at any moment. Several processes may share
//! the directory. Start at [`ChunkCache`].
//!
//! **Invariant:** a lookup returns exactly the bytes that were put, or nothing.
//!
//! The kernel never reads these files by itself (FUSE passthrough): a file changed by another
//! process while it is open would then deliver unchecked bytes.

mod disk;
mod entry;
mod memory;
mod seal;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::protocol::Digest;
use disk::DiskCache;
use memory::MemoryCache;
pub use seal::SealKey;

/// How much the cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Most bytes in memory; 0 = none.
    pub memory_bytes: u64,
    /// Most bytes on disk; 0 = none.
    pub disk_bytes: u64,
}

impl Default for CacheLimits {
    /// 256 MiB in memory: 32 chunks of the default size. 5 GiB on disk.
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, disk_bytes: 5 << 30 }
    }
}

/// What the cache holds and how it has performed, for `status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Chunks in memory.
    pub memory_count: u64,
    /// What they cost in bytes.
    pub memory_bytes: u64,
    /// Layers on disk, as far as this process knows.
    pub disk_count: u64,
    /// What they cost in bytes.
    pub disk_bytes: u64,
    /// Lookups that memory answered.
    pub memory_hit_count: u64,
    /// Lookups that the disk answered.
    pub disk_hit_count: u64,
    /// Calls of [`ChunkCache::load_layer`] that found nothing.
    pub miss_count: u64,
    /// Damaged files that were removed.
    pub removed_count: u64,
}

/// The cache; clones share it.
#[derive(Debug, Clone)]
pub struct ChunkCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    memory: MemoryCache,
    disk: Option<DiskCache>,
    memory_hit_count: AtomicU64,
    disk_hit_count: AtomicU64,
    miss_count: AtomicU64,
}

impl ChunkCache {
    /// Opens the cache in `dir`, or in memory alone if there is no `dir`. Without a `key` every
    /// layer from disk is checked by SHA-256.
    ///
    /// Blocks while it lists the directory. An unusable directory is a warning, not an error.
    pub fn open(dir: Option<&Path>, key: Option<SealKey>, limits: CacheLimits) -> Self {
        let disk = dir.filter(|_| limits.disk_bytes > 0).and_then(|dir| {
            DiskCache::open(dir, limits.disk_bytes, key)
                .inspect_err(|error| tracing::warn!(%error, "no chunk cache on disk"))
                .ok()
        });
        let inner = Inner {
            memory: MemoryCache::new(limits.memory_bytes),
            disk,
            memory_hit_count: AtomicU64::new(0),
            disk_hit_count: AtomicU64::new(0),
            miss_count: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns a chunk that is in memory; never does I/O.
    pub fn get_memory(&self, digest: &Digest) -> Option<Bytes> {
        self.inner.memory.get(digest).inspect(|_| count(&self.inner.memory_hit_count))
    }

    /// Keeps the verified bytes of the chunk in layer `digest` in memory; never does I/O.
    ///
    /// `bytes` should be the only owner of its memory, because a slice keeps the whole buffer
    /// alive.
    pub fn put_memory(&self, digest: &Digest, bytes: Bytes) {
        self.inner.memory.put(*digest, bytes);
    }

    /// Notes that `len` bytes of a chunk in memory were handed out; a chunk that was read
    /// completely gives way to others first.
    pub fn note_read(&self, digest: &Digest, len: usize) {
        self.inner.memory.note_read(digest, len as u64);
    }

    /// Returns the layer `digest`, which has `len` bytes, from disk.
    ///
    /// Blocks on the disk and checks what it reads: for a blocking thread.
    pub fn load_layer(&self, digest: &Digest, len: u64) -> Option<Bytes> {
        let found = self.inner.disk.as_ref().and_then(|disk| disk.get(digest, len));
        count(match &found {
            Some(_) => &self.inner.disk_hit_count,
            None => &self.inner.miss_count,
        });
        found
    }

    /// Keeps a layer whose digest was checked on disk; never fails the caller.
    ///
    /// Blocks on the disk: for a blocking thread.
    pub fn save_layer(&self, digest: &Digest, layer: &[u8]) {
        if let Some(disk) = &self.inner.disk {
            disk.put(digest, layer);
        }
    }

    /// Removes a chunk from memory and from disk; returns the bytes of its file if there was one.
    pub fn remove(&self, digest: &Digest) -> Option<u64> {
        self.inner.memory.remove(digest);
        self.inner.disk.as_ref().and_then(|disk| disk.remove(digest))
    }

    /// Returns the bytes of a chunk's file, if there is one.
    pub fn disk_len(&self, digest: &Digest) -> Option<u64> {
        self.inner.disk.as_ref().and_then(|disk| disk.len(digest))
    }

    /// Returns whether a chunk is probably here.
    #[cfg(test)]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.inner.memory.contains(digest)
            || self.inner.disk.as_ref().is_some_and(|disk| disk.contains(digest))
    }

    /// Returns what the cache holds and how it has served.
    pub fn stats(&self) -> CacheStats {
        let disk = self.inner.disk.as_ref();
        let (memory_count, memory_bytes) = self.inner.memory.usage();
        let (disk_count, disk_bytes) = disk.map(DiskCache::usage).unwrap_or_default();
        CacheStats {
            memory_count,
            memory_bytes,
            disk_count,
            disk_bytes,
            memory_hit_count: self.inner.memory_hit_count.load(Ordering::Relaxed),
            disk_hit_count: self.inner.disk_hit_count.load(Ordering::Relaxed),
            miss_count: self.inner.miss_count.load(Ordering::Relaxed),
            removed_count: disk.map(DiskCache::removed_count).unwrap_or_default(),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
