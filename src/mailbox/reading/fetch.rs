//! One chunk: cache, single-flight fetch, digest check, bounded decoding, cache fill.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::limiter::FetchLimiter;
use crate::cache::ChunkCache;
use crate::chunk::{decode_layer, prepare_to_decode};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::protocol::{ChunkLayer, Compression, ErrorClass};
use crate::sys::blocking;

/// Chunks that read-ahead fetches at once: a waiting reader has priority over one that may come.
const PREFETCHES_MAX: usize = 4;

/// How long, at most, a transient failure also answers the next readers.
///
/// The kernel passes on the readers of one page one after the other, each after the previous one
/// has failed. Without this the last of fifty readers would wait for fifty deadlines. An immediate
/// failure is not shared with later readers.
const FAILURE_SHARED_MAX: Duration = Duration::from_millis(500);

/// A failure that would be shared for less than this was immediate.
const FAILURE_SHARED_MIN: Duration = Duration::from_millis(10);

/// What names one chunk and bounds its decoding; all of it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ChunkRequest {
    pub(super) layer: ChunkLayer,
    pub(super) index: u32,
    /// Uncompressed length in bytes.
    pub(super) len: u64,
    pub(super) compression: Compression,
}

/// How much has been fetched since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mailbox) struct FetchCounts {
    /// Layers requested.
    pub(in crate::mailbox) blob_count: u64,
    /// Bytes of the layers received.
    pub(in crate::mailbox) blob_bytes: u64,
}

type Outcome = Result<Bytes, Arc<MailboxError>>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Fetches chunks, each once however many readers wait.
pub(super) struct Fetcher {
    core: Arc<Core>,
    cache: ChunkCache,
    /// Keyed by everything that the fetch is checked against: another message may promise something
    /// else about the same layer, and fails alone.
    flights: Mutex<HashMap<ChunkRequest, Flight>>,
    limiter: FetchLimiter,
    prefetches: Semaphore,
    blob_count: AtomicU64,
    blob_bytes: AtomicU64,
}

impl Fetcher {
    pub(super) fn new(core: Arc<Core>, cache: ChunkCache) -> Self {
        Self {
            core,
            cache,
            flights: Mutex::default(),
            limiter: FetchLimiter::new(),
            prefetches: Semaphore::new(PREFETCHES_MAX),
            blob_count: AtomicU64::new(0),
            blob_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn counts(&self) -> FetchCounts {
        FetchCounts {
            blob_count: self.blob_count.load(Ordering::Relaxed),
            blob_bytes: self.blob_bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns the verified bytes of a chunk, fetching it if it is in no cache.
    ///
    /// The fetch runs in a task of its own: a reader that goes away does not affect others.
    pub(super) async fn chunk(
        self: &Arc<Self>,
        request: ChunkRequest,
    ) -> Result<Bytes, MailboxError> {
        if let Some(bytes) = self.in_memory(request) {
            return Ok(bytes);
        }
        let flight = self.join_or_start(request);
        flight.await.map_err(MailboxError::from)
    }

    /// Starts fetching a chunk that no reader waits for yet, behind those requested before.
    pub(super) fn prefetch(self: &Arc<Self>, request: ChunkRequest) {
        if self.cache.get_memory(&request.layer.digest).is_some() {
            return;
        }
        let fetcher = Arc::clone(self);
        self.core.spawn(async move {
            let Ok(_permit) = fetcher.prefetches.acquire().await else { return };
            // The reader that needs the chunk meets the failure again, and reports it.
            fetcher.join_or_start(request).await.ok();
        });
    }

    fn in_memory(&self, request: ChunkRequest) -> Option<Bytes> {
        let bytes = self.cache.get_memory(&request.layer.digest)?;
        (bytes.len() as u64 == request.len).then_some(bytes)
    }

    fn join_or_start(self: &Arc<Self>, request: ChunkRequest) -> Flight {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&request) {
            return flight.clone();
        }
        // One may have landed since the caller looked: it leaves the chunk before it goes.
        if let Some(bytes) = self.in_memory(request) {
            return future::ready(Ok(bytes)).boxed().shared();
        }
        let (sender, receiver) = tokio::sync::oneshot::channel::<Outcome>();
        let fetcher = Arc::clone(self);
        self.core.spawn(async move {
            let started = Instant::now();
            // A panic must not leave a flight that never lands.
            let load = AssertUnwindSafe(fetcher.load(request)).catch_unwind();
            let outcome = load.await.unwrap_or(Err(MailboxError::TaskLost)).map_err(Arc::new);
            let shared_for = match &outcome {
                Err(error) if error.class().is_transient() => started.elapsed() / 4,
                _ => Duration::ZERO,
            };
            let is_shared = shared_for >= FAILURE_SHARED_MIN;
            if !is_shared {
                fetcher.flights.lock().remove(&request);
            }
            // Every reader may have gone away; the cache then has it.
            sender.send(outcome).ok();
            if is_shared {
                tokio::select! {
                    () = fetcher.core.stop.cancelled() => {}
                    () = tokio::time::sleep(FAILURE_SHARED_MAX.min(shared_for)) => {}
                }
                fetcher.flights.lock().remove(&request);
            }
        });
        let flight = receiver
            .map(|outcome| outcome.unwrap_or_else(|_lost| Err(Arc::new(MailboxError::TaskLost))))
            .boxed()
            .shared();
        flights.insert(request, flight.clone());
        flight
    }

    /// Reads the disk cache, then the registry; bytes that were not signed are requested once more.
    async fn load(&self, request: ChunkRequest) -> Result<Bytes, MailboxError> {
        let permit = self.limiter.enter(request.len).await.ok_or(MailboxError::TaskLost)?;
        let (digest, size) = (request.layer.digest, request.layer.size);
        let prepared = tokio::task::spawn_blocking(move || prepare_to_decode(request.len));
        let cache = self.cache.clone();
        let cached = blocking::try_run(move || {
            let layer = cache.load_layer(&digest, size);
            layer.map(|layer| decode(&cache, request, &layer)).transpose()
        });
        if let Some(bytes) = cached.await? {
            return Ok(bytes);
        }
        let fetch = self.fetch_layer_twice(request.layer);
        let (layer, permit) = self.limiter.run(permit, size, fetch).await;
        let layer = layer?;
        // Without it decoding takes longer.
        prepared.await.ok();
        let cache = self.cache.clone();
        let decoded = layer.clone();
        let bytes = blocking::try_run(move || decode(&cache, request, &decoded)).await?;
        // A reader that waits for the chunk does not wait for the disk as well. The permit bounds
        // how many layers are still to be written.
        let cache = self.cache.clone();
        self.core.spawn(async move {
            // A chunk that is not kept is fetched again.
            blocking::run(move || cache.save_layer(&digest, &layer)).await.ok();
            drop(permit);
        });
        Ok(bytes)
    }

    /// Fetches a layer, and once more if the bytes are not the signed ones.
    async fn fetch_layer_twice(&self, layer: ChunkLayer) -> Result<Bytes, MailboxError> {
        match self.fetch_layer(layer).await {
            Err(error) if error.class() == ErrorClass::Corrupt => self.fetch_layer(layer).await,
            other => other,
        }
    }

    async fn fetch_layer(&self, layer: ChunkLayer) -> Result<Bytes, MailboxError> {
        self.blob_count.fetch_add(1, Ordering::Relaxed);
        let bytes = self.core.repository.fetch_blob(&layer.digest, layer.size).await?;
        self.blob_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Decodes a layer whose digest was checked, and keeps the chunk in memory.
fn decode(cache: &ChunkCache, request: ChunkRequest, layer: &[u8]) -> Result<Bytes, MailboxError> {
    let bytes = decode_layer(request.compression, request.index, request.len, layer)?;
    cache.put_memory(&request.layer.digest, bytes.clone());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::fault::{Fault, Gate};
    use crate::registry::memory::Operation;
    use crate::testing::World;

    #[tokio::test]
    async fn a_message_that_promises_something_else_of_a_layer_fails_alone() {
        let world = World::new();
        let (alice, bob) = world.alice_and_bob().await;
        alice.send(&bob, "a", b"abc").await.unwrap();
        let message = bob.receive(&alice).await.remove(0).message.clone();
        let layer = message.chunks[0];
        let compression = message.envelope.compression;
        let honest = ChunkRequest { layer, index: 0, len: 3, compression };
        let lying = ChunkRequest { len: 4, ..honest };
        let gate = Gate::closed();
        world.faulty.inject_on(Operation::FetchBlob, &layer.digest, Fault::hold(&gate));
        let fetcher = &bob.mailbox.reading.fetcher;
        let first = fetcher.join_or_start(lying);
        gate.wait_for_arrivals(1).await;

        let second = fetcher.join_or_start(honest);
        gate.open();

        assert!(first.await.is_err());
        assert_eq!(second.await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_reader_that_comes_just_after_a_fetch_has_landed_starts_no_other() {
        let world = World::new();
        let (alice, bob) = world.alice_and_bob().await;
        alice.send(&bob, "a", b"abc").await.unwrap();
        let message = bob.receive(&alice).await.remove(0).message.clone();
        let (layer, compression) = (message.chunks[0], message.envelope.compression);
        let request = ChunkRequest { layer, index: 0, len: 3, compression };
        let fetcher = &bob.mailbox.reading.fetcher;
        let first = fetcher.join_or_start(request).await.unwrap();
        bob.settle().await;
        // As if the layer were still to be written to the disk.
        fetcher.cache.remove(&layer.digest);
        fetcher.cache.put_memory(&layer.digest, first);

        // As a reader does that found no chunk in memory before the first one had landed.
        let second = fetcher.join_or_start(request).await.unwrap();

        assert_eq!(second, "abc");
        assert_eq!(fetcher.counts().blob_count, 1);
    }
}
