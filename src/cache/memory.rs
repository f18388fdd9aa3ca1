//! The fast half: least recently used chunks, bounded in bytes.
//!
//! Chunks that were read to their last byte are removed first: their readers (the kernel's page
//! cache, a program that copies) seldom read them again, and their memory serves the next chunks.

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use crate::protocol::Digest;

/// Approximate cost of an entry beside its bytes. Keeps millions of empty chunks from being free.
const ENTRY_OVERHEAD: u64 = 256;

/// The part of the limit that chunks whose every byte was read may take.
const SPENT_PART: u64 = 8;

/// Chunks in memory.
#[derive(Debug)]
pub(super) struct MemoryCache {
    limit: u64,
    state: Mutex<State>,
}

/// A chunk is in one of them.
#[derive(Debug)]
struct State {
    fresh: Chunks,
    /// Those whose every byte was read.
    spent: Chunks,
}

#[derive(Debug)]
struct Chunks {
    entries: LruCache<Digest, Entry>,
    used: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    /// Bytes that have not been read yet, if none was read twice.
    unread: u64,
}

impl Chunks {
    fn empty() -> Self {
        Self { entries: LruCache::unbounded(), used: 0 }
    }

    fn put(&mut self, digest: Digest, entry: Entry) {
        self.used += entry.cost();
        if let Some(old) = self.entries.put(digest, entry) {
            self.used -= old.cost();
        }
    }

    fn take(&mut self, digest: &Digest) -> Option<Entry> {
        self.entries.pop(digest).inspect(|entry| self.used -= entry.cost())
    }

    /// Removes the least recently used chunk; `false` when there is none.
    fn forget_one(&mut self) -> bool {
        let oldest = self.entries.pop_lru();
        oldest.inspect(|(_, entry)| self.used -= entry.cost()).is_some()
    }
}

impl Entry {
    fn cost(&self) -> u64 {
        self.bytes.len() as u64 + ENTRY_OVERHEAD
    }
}

impl MemoryCache {
    /// Keeps at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        let state = State { fresh: Chunks::empty(), spent: Chunks::empty() };
        Self { limit, state: Mutex::new(state) }
    }

    /// Returns a chunk and makes it the most recently used one of its kind.
    pub(super) fn get(&self, digest: &Digest) -> Option<Bytes> {
        let state = &mut *self.state.lock();
        let found = state.fresh.entries.get(digest).or_else(|| state.spent.entries.get(digest));
        found.map(|entry| entry.bytes.clone())
    }

    /// Returns whether a chunk is here, without marking it as used.
    #[cfg(test)]
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        let state = self.state.lock();
        state.fresh.entries.contains(digest) || state.spent.entries.contains(digest)
    }

    /// Removes a chunk.
    pub(super) fn remove(&self, digest: &Digest) {
        let mut state = self.state.lock();
        state.fresh.take(digest);
        state.spent.take(digest);
    }

    /// Keeps a chunk unless it alone exceeds the limit.
    pub(super) fn put(&self, digest: Digest, bytes: Bytes) {
        let entry = Entry { unread: bytes.len() as u64, bytes };
        if entry.cost() > self.limit {
            return;
        }
        let mut state = self.state.lock();
        state.spent.take(&digest);
        state.fresh.put(digest, entry);
        while state.fresh.used + state.spent.used > self.limit {
            if !state.spent.forget_one() && !state.fresh.forget_one() {
                break;
            }
        }
    }

    /// Notes that `len` bytes of a chunk were handed out.
    pub(super) fn note_read(&self, digest: &Digest, len: u64) {
        let state = &mut *self.state.lock();
        let Some(entry) = state.fresh.entries.peek_mut(digest) else { return };
        entry.unread = entry.unread.saturating_sub(len);
        if entry.unread > 0 {
            return;
        }
        if let Some(entry) = state.fresh.take(digest) {
            state.spent.put(*digest, entry);
        }
        while state.spent.used > self.limit / SPENT_PART && state.spent.forget_one() {}
    }

    /// Returns how many chunks there are and what they cost in bytes.
    pub(super) fn usage(&self) -> (u64, u64) {
        let state = self.state.lock();
        let count = state.fresh.entries.len() + state.spent.entries.len();
        (count as u64, state.fresh.used + state.spent.used)
    }
}
