//! What all uploads of a mailbox share: permits, compression contexts, and previously known layers.
//!
//! Memory is bounded by the permits: each covers one chunk, raw and compressed.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::chunk::{Fingerprint, LayerEncoder};
use crate::mailbox::MailboxError;
use crate::protocol::{ChunkLayer, Compression};

/// Largest buffers of an encoder that is kept: those of a chunk of the default size fit twice.
/// Larger chunks are rare, and an idle mailbox must not hold their memory.
const KEPT_BUFFER_LEN_MAX: usize = 40 << 20;

/// Most chunks whose layers are remembered: 32 GiB of them in less than a megabyte.
const KNOWN_LAYER_COUNT_MAX: usize = 4096;

/// Permits, compression contexts and known layers that all uploads of a mailbox share.
pub(in crate::mailbox) struct UploadPool {
    permits: Arc<Semaphore>,
    width: usize,
    encoders: Mutex<Vec<(Compression, LayerEncoder)>>,
    known: Mutex<LruCache<(Compression, Fingerprint), ChunkLayer>>,
    #[cfg(test)]
    compressed_count: std::sync::atomic::AtomicU64,
}

impl UploadPool {
    pub(super) fn new(width: usize) -> Self {
        let width = width.max(1);
        Self {
            permits: Arc::new(Semaphore::new(width)),
            width,
            encoders: Mutex::default(),
            known: Mutex::new(LruCache::unbounded()),
            #[cfg(test)]
            compressed_count: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Returns how many chunks of one file are uploaded at once.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Waits until one more chunk may be in memory.
    ///
    /// # Errors
    /// `TaskLost` when the mailbox is closed.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, MailboxError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|_closed| MailboxError::TaskLost)
    }

    /// Counts a chunk that is compressed.
    #[cfg(test)]
    pub(super) fn note_compressed(&self) {
        self.compressed_count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Returns how many chunks were compressed so far.
    #[cfg(test)]
    pub(in crate::mailbox) fn compressed_count(&self) -> u64 {
        self.compressed_count.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Returns the layer that a chunk became earlier; the caller must check that the registry still
    /// has it.
    pub(super) fn known(&self, compression: Compression, chunk: Fingerprint) -> Option<ChunkLayer> {
        self.known.lock().get(&(compression, chunk)).copied()
    }

    /// Remembers what a chunk became, for the next recipient of the same.
    pub(super) fn remember(&self, compression: Compression, chunk: Fingerprint, layer: ChunkLayer) {
        let mut known = self.known.lock();
        known.put((compression, chunk), layer);
        if known.len() > KNOWN_LAYER_COUNT_MAX {
            known.pop_lru();
        }
    }

    /// Returns a kept encoder or a new one: making one costs a fifth of a chunk.
    pub(super) fn take(&self, compression: Compression) -> Result<LayerEncoder, MailboxError> {
        let kept = {
            let mut encoders = self.encoders.lock();
            let at = encoders.iter().position(|(of, _)| *of == compression);
            at.map(|at| encoders.swap_remove(at).1)
        };
        match kept {
            Some(encoder) => Ok(encoder),
            None => Ok(LayerEncoder::new(compression)?),
        }
    }

    /// Keeps an encoder and its buffers for the next chunk.
    pub(super) fn keep(&self, compression: Compression, encoder: LayerEncoder) {
        let mut encoders = self.encoders.lock();
        if encoders.len() < self.width && encoder.buffer_len() <= KEPT_BUFFER_LEN_MAX {
            encoders.push((compression, encoder));
        }
    }
}
