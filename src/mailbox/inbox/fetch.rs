//! One chunk: cache, single-flight fetch, digest check, bounded decoding, cache fill.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::room::Room;
use crate::cache::ChunkCache;
use crate::chunk::{decode_layer, prepare_to_decode};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::protocol::{ChunkLayer, Compression, ErrorClass};

/// Chunks that read-ahead fetches at once: a reader that waits comes before one that may come.
const PREFETCHES_MAX: usize = 4;

/// How long, at most, a failure that may pass is the answer to whoever asks again.
///
/// The kernel hands readers of one page to us one after the other, each after the one before has
/// failed. Without this the last of fifty readers would wait for fifty deadlines. A failure that
/// came at once is shared by nobody who asks later.
const FAILURE_SHARED_MAX: Duration = Duration::from_millis(500);

/// A failure that would be shared for less than this came at once.
const FAILURE_SHARED_MIN: Duration = Duration::from_millis(10);

/// What names one chunk and bounds its decoding; all of it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ChunkRequest {
    pub(crate) layer: ChunkLayer,
    pub(crate) index: u32,
    /// Uncompressed length in bytes.
    pub(crate) len: u64,
    pub(crate) compression: Compression,
}

type Outcome = Result<Bytes, Arc<MailboxError>>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Fetches chunks, each once however many readers wait.
pub(crate) struct Fetcher {
    /// By all that the fetch is checked against: another message may promise something else of the
    /// same layer, and fails alone.
    flights: Mutex<HashMap<ChunkRequest, Flight>>,
    room: Room,
    prefetches: Semaphore,
}

impl Fetcher {
    pub(crate) fn new() -> Self {
        Self {
            flights: Mutex::default(),
            room: Room::new(),
            prefetches: Semaphore::new(PREFETCHES_MAX),
        }
    }

    /// Returns the verified bytes of a chunk, fetching it when no cache has it.
    ///
    /// The fetch runs in a task of its own: a reader that goes away takes nothing from others.
    pub(crate) async fn chunk(
        self: &Arc<Self>,
        core: &Arc<Core>,
        request: ChunkRequest,
    ) -> Result<Bytes, MailboxError> {
        if let Some(bytes) = core.cache.get_memory(&request.layer.digest)
            && bytes.len() as u64 == request.len
        {
            return Ok(bytes);
        }
        let flight = self.join_or_start(core, request);
        flight.await.map_err(MailboxError::from)
    }

    /// Starts fetching a chunk that nobody waits for yet, after those that were asked for before.
    pub(crate) fn prefetch(self: &Arc<Self>, core: &Arc<Core>, request: ChunkRequest) {
        if core.cache.get_memory(&request.layer.digest).is_some() {
            return;
        }
        let fetcher = Arc::clone(self);
        let task_core = Arc::clone(core);
        core.spawn(async move {
            let Ok(_permit) = fetcher.prefetches.acquire().await else { return };
            // A failure is found again, and reported, by the reader that needs the chunk.
            fetcher.join_or_start(&task_core, request).await.ok();
        });
    }

    fn join_or_start(self: &Arc<Self>, core: &Arc<Core>, request: ChunkRequest) -> Flight {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&request) {
            return flight.clone();
        }
        let (sender, receiver) = tokio::sync::oneshot::channel::<Outcome>();
        let fetcher = Arc::clone(self);
        let task_core = Arc::clone(core);
        core.spawn(async move {
            let started = Instant::now();
            // A panic must not leave a flight that never lands.
            let load = AssertUnwindSafe(fetcher.load(&task_core, request)).catch_unwind();
            let outcome = load.await.unwrap_or(Err(MailboxError::TaskLost)).map_err(Arc::new);
            let shared_for = match &outcome {
                Err(error) if error.class().is_transient() => started.elapsed() / 4,
                _ => Duration::ZERO,
            };
            let is_shared = shared_for >= FAILURE_SHARED_MIN;
            if !is_shared {
                fetcher.flights.lock().remove(&request);
            }
            // Nobody may be waiting any more; the cache has it then.
            sender.send(outcome).ok();
            if is_shared {
                tokio::select! {
                    () = task_core.stop.cancelled() => {}
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

    /// Reads the disk cache, then the registry; other bytes than were signed are asked for again
    /// once.
    async fn load(&self, core: &Arc<Core>, request: ChunkRequest) -> Result<Bytes, MailboxError> {
        let place = self.room.enter(request.len).await.ok_or(MailboxError::TaskLost)?;
        let (digest, size) = (request.layer.digest, request.layer.size);
        let prepared = tokio::task::spawn_blocking(move || prepare_to_decode(request.len));
        let cache = core.cache.clone();
        let cached = blocking(move || {
            let layer = cache.load_layer(&digest, size);
            layer.map(|layer| decode(&cache, request, &layer)).transpose()
        });
        if let Some(bytes) = cached.await? {
            return Ok(bytes);
        }
        let fetch = fetch_layer_twice(core, request.layer);
        let (layer, place) = self.room.run(place, size, fetch).await;
        let layer = layer?;
        // Without it decoding takes longer.
        prepared.await.ok();
        let cache = core.cache.clone();
        let decoded = layer.clone();
        let bytes = blocking(move || decode(&cache, request, &decoded)).await?;
        // Whoever waits for the chunk does not wait for the disk as well. The place bounds
        // how many layers are still to be written.
        let cache = core.cache.clone();
        core.spawn(async move {
            let saved = blocking(move || {
                cache.save_layer(&digest, &layer);
                Ok(())
            });
            // A chunk that is not kept is fetched again.
            saved.await.ok();
            drop(place);
        });
        Ok(bytes)
    }
}

/// Decodes a layer whose digest was checked, and keeps the chunk in memory.
fn decode(cache: &ChunkCache, request: ChunkRequest, layer: &[u8]) -> Result<Bytes, MailboxError> {
    let bytes = decode_layer(request.compression, request.index, request.len, layer)?;
    cache.put_memory(&request.layer.digest, bytes.clone());
    Ok(bytes)
}

/// Fetches a layer; when other bytes came than were signed, once more.
async fn fetch_layer_twice(core: &Core, layer: ChunkLayer) -> Result<Bytes, MailboxError> {
    match fetch_layer(core, layer).await {
        Err(error) if error.class() == ErrorClass::Corrupt => fetch_layer(core, layer).await,
        other => other,
    }
}

async fn fetch_layer(core: &Core, layer: ChunkLayer) -> Result<Bytes, MailboxError> {
    core.blobs_fetched.fetch_add(1, Ordering::Relaxed);
    let bytes = core.repository.fetch_blob(&layer.digest, layer.size).await?;
    core.blob_bytes_fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(bytes)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MailboxError> + Send + 'static,
) -> Result<T, MailboxError> {
    tokio::task::spawn_blocking(work).await.map_err(|_panicked| MailboxError::TaskLost)?
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
        let core = &bob.mailbox.core;
        let first = core.fetcher.join_or_start(core, lying);
        gate.wait_for_arrivals(1).await;

        let second = core.fetcher.join_or_start(core, honest);
        gate.open();

        assert!(first.await.is_err());
        assert_eq!(second.await.unwrap(), "abc");
    }
}
