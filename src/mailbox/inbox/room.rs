//! Room for fetches: a few at once, and more for those that take long.
//!
//! A layer that hangs must not hold up another file, and memory must stay bounded. So a fetch
//! that takes long leaves its place to the next one and counts by its bytes from then on. Start
//! at [`Room::enter`].

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Chunks fetched at once, over all readers; bounds their memory.
const FETCHES_MAX: usize = 8;

/// After this a fetch takes long. Most are over by then, and a reader hardly notices the pause.
const PATIENCE: Duration = Duration::from_millis(250);

/// Mebibytes of the layers that take long, as signed. A layer counts as one at least, so this
/// bounds their connections as well.
const SLOW_MIB_MAX: u32 = 128;

/// Layers that took long and are decoded at once; a decoded chunk may be far larger than its layer.
const FINISHES_MAX: usize = 4;

/// The places of all fetches of one mailbox.
pub(super) struct Room {
    fetches: Arc<Semaphore>,
    /// In mebibytes.
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
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            slow: Arc::new(Semaphore::new(SLOW_MIB_MAX as usize)),
            finishes: Arc::new(Semaphore::new(FINISHES_MAX)),
            patience: PATIENCE,
        }
    }

    /// Waits for a place; `None` when there will be none any more.
    pub(super) async fn enter(&self) -> Option<Place> {
        Arc::clone(&self.fetches).acquire_owned().await.ok()
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
            Ok(slow) = Arc::clone(&self.slow).acquire_many_owned(weight(size)) => slow,
        };
        drop(place);
        let done = fetch.await;
        match Arc::clone(&self.finishes).acquire_owned().await {
            Ok(finish) => (done, finish),
            Err(_closed) => (done, slow),
        }
    }
}

/// Returns what a layer of `size` bytes counts among the slow ones: the largest one fills the room.
fn weight(size: u64) -> u32 {
    u32::try_from(size.div_ceil(1 << 20)).unwrap_or(u32::MAX).clamp(1, SLOW_MIB_MAX)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio_util::task::TaskTracker;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A room where every fetch that does not end at once takes long.
    fn impatient() -> Arc<Room> {
        Arc::new(Room { patience: Duration::ZERO, ..Room::new() })
    }

    /// Starts a fetch of `size` bytes that never ends.
    fn hang(tasks: &TaskTracker, room: &Arc<Room>, size: u64) {
        let room = Arc::clone(room);
        tasks.spawn(async move {
            let place = room.enter().await.unwrap();
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

            (1..slow_count + FETCHES_MAX).for_each(|_| hang(&tasks, &room, size));

            until("all but one place is taken, and no byte has room", || {
                room.fetches.available_permits() == 1
                    && room.slow.available_permits() < weight(size) as usize
            })
            .await;
            hang(&tasks, &room, size);
            until("there is no place", || room.fetches.available_permits() == 0).await;
        }
    }

    #[tokio::test]
    async fn a_fetch_that_ends_after_all_gives_its_room_back() {
        let room = impatient();
        for _ in 0..2 * SLOW_MIB_MAX {
            let place = room.enter().await.unwrap();
            // Ends when it has left its place.
            let left = until("it left", || room.slow.available_permits() < SLOW_MIB_MAX as usize);

            let ((), place) = room.run(place, MIB, left).await;

            assert_eq!(room.fetches.available_permits(), FETCHES_MAX);
            assert_eq!(room.slow.available_permits(), SLOW_MIB_MAX as usize);
            assert_eq!(room.finishes.available_permits(), FINISHES_MAX - 1);
            drop(place);
        }
        assert_eq!(room.finishes.available_permits(), FINISHES_MAX);
    }

    #[tokio::test]
    async fn a_fetch_that_is_quick_keeps_its_place() {
        let room = impatient();
        let place = room.enter().await.unwrap();

        let (done, _place) = room.run(place, MIB, async { 7 }).await;

        assert_eq!(done, 7);
        assert_eq!(room.fetches.available_permits(), FETCHES_MAX - 1);
    }
}
