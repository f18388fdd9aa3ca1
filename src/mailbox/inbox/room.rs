//! Room for fetches: a few at once, and more for those that take long.
//!
//! A layer that hangs must not hold up another file, and memory must stay bounded. So a chunk that
//! is large when it is decoded takes the room of several, and a fetch that takes long leaves its
//! place to the next one and counts by its layer's bytes from then on. Start at [`Room::enter`].

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Mebibytes of the chunks fetched at once, over all readers; bounds their memory. A layer of a few
/// kilobytes may be a chunk of 128 MiB.
const FETCHES_MIB_MAX: u32 = 256;

/// What a chunk counts at least, so that no more than eight are fetched at once.
const FETCH_MIB_MIN: u32 = 32;

/// After this a fetch takes long. Most are over by then, and a reader hardly notices the pause.
const PATIENCE: Duration = Duration::from_millis(250);

/// Mebibytes of the layers that take long, as signed. A layer counts as one at least, so this
/// bounds their connections as well.
const SLOW_MIB_MAX: u32 = 128;

/// Mebibytes of the chunks whose layers took long and that are decoded at once.
const FINISHES_MIB_MAX: u32 = 128;

/// The places of all fetches of one mailbox.
pub(super) struct Room {
    /// All three in mebibytes.
    fetches: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    finishes: Arc<Semaphore>,
    /// [`PATIENCE`], but for tests.
    patience: Duration,
}

/// A place in the room, until it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Room {
    pub(super) fn new() -> Self {
        Self {
            fetches: Arc::new(Semaphore::new(FETCHES_MIB_MAX as usize)),
            slow: Arc::new(Semaphore::new(SLOW_MIB_MAX as usize)),
            finishes: Arc::new(Semaphore::new(FINISHES_MIB_MAX as usize)),
            patience: PATIENCE,
        }
    }

    /// Waits for a place for a chunk of `len` bytes; `None` when there will be none any more.
    pub(super) async fn enter(&self, len: u64) -> Option<Place> {
        let weight = weight(len, FETCH_MIB_MIN, FETCHES_MIB_MAX);
        Arc::clone(&self.fetches).acquire_many_owned(weight).await.ok()
    }

    /// Runs `fetch`, which brings `size` bytes at most, and returns the place for what follows.
    ///
    /// A fetch that takes long gives `place` up as soon as there is room for it among the slow
    /// ones. Nobody waits in a circle: `fetch` has a deadline of its own, and what
    /// follows it is work for the processor and the disk alone.
    pub(super) async fn run<T>(
        &self,
        place: Place,
        size: u64,
        fetch: impl Future<Output = T>,
    ) -> (T, Place) {
        let mut fetch = pin!(fetch);
        if let Ok(done) = timeout(self.patience, fetch.as_mut()).await {
            return (done, place);
        }
        let slow = tokio::select! {
            biased;
            done = fetch.as_mut() => return (done, place),
            Ok(slow) = Arc::clone(&self.slow).acquire_many_owned(slow_weight(size)) => slow,
        };
        let weight = FINISHES_MIB_MAX.min(u32::try_from(place.num_permits()).unwrap_or(u32::MAX));
        drop(place);
        let done = fetch.await;
        match Arc::clone(&self.finishes).acquire_many_owned(weight).await {
            Ok(finish) => (done, finish),
            Err(_closed) => (done, slow),
        }
    }
}

/// Returns what a layer of `size` bytes counts among the slow ones: the largest one fills the room.
fn slow_weight(size: u64) -> u32 {
    weight(size, 1, SLOW_MIB_MAX)
}

/// Returns `len` bytes in mebibytes, within bounds.
fn weight(len: u64, least: u32, most: u32) -> u32 {
    u32::try_from(len.div_ceil(1 << 20)).unwrap_or(u32::MAX).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;
    use tokio_util::task::TaskTracker;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Small chunks that are fetched at once.
    const PLACE_COUNT: usize = 8;

    fn places_left(room: &Room) -> usize {
        room.fetches.available_permits() / FETCH_MIB_MIN as usize
    }

    /// A room where every fetch that does not end at once takes long.
    fn impatient() -> Arc<Room> {
        Arc::new(Room { patience: Duration::ZERO, ..Room::new() })
    }

    /// Starts a fetch of `size` bytes that never ends.
    fn hang(tasks: &TaskTracker, room: &Arc<Room>, size: u64) {
        let room = Arc::clone(room);
        tasks.spawn(async move {
            let place = room.enter(MIB).await.unwrap();
            let (_never, _place) = room.run(place, size, pending::<()>()).await;
        });
    }

    /// Waits until the others have moved so far that `is_so` holds.
    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), wait).await.expect(what);
    }

    #[tokio::test]
    async fn fetches_that_hang_leave_their_places_while_their_bytes_have_room() {
        for (size, slow_count) in [(1, 128), (MIB + 1, 64), (100 * MIB, 1), (u64::MAX, 1)] {
            let (room, tasks) = (impatient(), TaskTracker::new());

            (1..slow_count + PLACE_COUNT).for_each(|_| hang(&tasks, &room, size));

            until("all but one place is taken, and no byte has room", || {
                places_left(&room) == 1
                    && room.slow.available_permits() < slow_weight(size) as usize
            })
            .await;
            hang(&tasks, &room, size);
            until("there is no place", || places_left(&room) == 0).await;
        }
    }

    #[tokio::test]
    async fn a_fetch_that_ends_after_all_gives_its_room_back() {
        let (room, all) = (impatient(), FINISHES_MIB_MAX as usize);
        for _ in 0..2 * SLOW_MIB_MAX {
            let place = room.enter(MIB).await.unwrap();
            // Ends when it has left its place.
            let left = until("it left", || room.slow.available_permits() < SLOW_MIB_MAX as usize);

            let ((), place) = room.run(place, MIB, left).await;

            assert_eq!(places_left(&room), PLACE_COUNT);
            assert_eq!(room.slow.available_permits(), SLOW_MIB_MAX as usize);
            assert_eq!(room.finishes.available_permits(), all - FETCH_MIB_MIN as usize);
            drop(place);
        }
        assert_eq!(room.finishes.available_permits(), all);
    }

    #[tokio::test]
    async fn a_fetch_that_is_quick_keeps_its_place() {
        let room = impatient();
        let place = room.enter(MIB).await.unwrap();

        let (done, _place) = room.run(place, MIB, async { 7 }).await;

        assert_eq!(done, 7);
        assert_eq!(places_left(&room), PLACE_COUNT - 1);
    }

    #[tokio::test]
    async fn f14_large_chunks_are_few_at_once_however_small_their_layers() {
        for (len, count) in [(1, 8), (32 * MIB, 8), (100 * MIB, 2), (128 * MIB, 2), (u64::MAX, 1)] {
            let room = Room::new();
            let mut places = Vec::new();

            while let Some(place) = room.enter(len).now_or_never() {
                places.push(place.unwrap());
            }

            assert_eq!(places.len(), count, "{len}");
        }
    }

    #[tokio::test]
    async fn f14_large_chunks_that_took_long_are_decoded_one_at_a_time() {
        let room = impatient();
        let place = room.enter(128 * MIB).await.unwrap();
        let left = until("it left", || room.slow.available_permits() < SLOW_MIB_MAX as usize);

        let ((), _place) = room.run(place, 1, left).await;

        assert_eq!(room.finishes.available_permits(), 0);
    }
}
