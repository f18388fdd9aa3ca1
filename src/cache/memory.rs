//! The fast half: least recently used chunks, bounded in bytes.

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use crate::protocol::Digest;

/// What an entry costs beside its bytes, about. Keeps millions of empty chunks from being free.
const ENTRY_OVERHEAD: u64 = 256;

/// Chunks in memory.
#[derive(Debug)]
pub(super) struct MemoryCache {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: LruCache<Digest, Bytes>,
    used: u64,
}

impl MemoryCache {
    /// Keeps at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        let state = State { entries: LruCache::unbounded(), used: 0 };
        Self { limit, state: Mutex::new(state) }
    }

    /// Returns a chunk and makes it the most recently used one.
    pub(super) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.state.lock().entries.get(digest).cloned()
    }

    /// Returns whether a chunk is here, without using it.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.state.lock().entries.contains(digest)
    }

    /// Forgets a chunk.
    pub(super) fn remove(&self, digest: &Digest) {
        let mut state = self.state.lock();
        if let Some(old) = state.entries.pop(digest) {
            state.used -= cost(&old);
        }
    }

    /// Keeps a chunk unless it alone is larger than the limit.
    pub(super) fn put(&self, digest: Digest, bytes: Bytes) {
        let cost = cost(&bytes);
        if cost > self.limit {
            return;
        }
        let mut state = self.state.lock();
        state.used += cost;
        if let Some(old) = state.entries.put(digest, bytes) {
            state.used -= self::cost(&old);
        }
        while state.used > self.limit {
            let Some((_, oldest)) = state.entries.pop_lru() else { break };
            state.used -= self::cost(&oldest);
        }
    }

    /// Returns how many chunks there are and what they cost in bytes.
    pub(super) fn usage(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.entries.len() as u64, state.used)
    }
}

fn cost(bytes: &Bytes) -> u64 {
    bytes.len() as u64 + ENTRY_OVERHEAD
}
