//! What all readers of a mailbox share.

use std::sync::Arc;

use super::fetch::{FetchCounts, Fetcher};
use super::verified::Verified;
use crate::cache::ChunkCache;
use crate::mailbox::core::Core;
use crate::mailbox::receipt::Giving;
use crate::protocol::Digest;

/// The cache, the fetches in progress, and which chunks were checked.
pub(in crate::mailbox) struct Reading {
    pub(super) core: Arc<Core>,
    pub(super) cache: ChunkCache,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) verified: Arc<Verified>,
}

impl Reading {
    pub(in crate::mailbox) fn new(core: Arc<Core>, cache: ChunkCache, giving: Arc<Giving>) -> Self {
        Self {
            fetcher: Arc::new(Fetcher::new(Arc::clone(&core), cache.clone())),
            verified: Arc::new(Verified::new(Arc::clone(&core), giving)),
            core,
            cache,
        }
    }

    /// Returns the cache of verified chunks.
    pub(in crate::mailbox) fn cache(&self) -> &ChunkCache {
        &self.cache
    }

    /// Returns how much has been fetched since the start.
    pub(in crate::mailbox) fn fetch_counts(&self) -> FetchCounts {
        self.fetcher.counts()
    }

    /// Notes that every chunk of `message` was checked earlier.
    pub(in crate::mailbox) fn set_complete(&self, message: Digest) {
        self.verified.set_complete(message);
    }
}
