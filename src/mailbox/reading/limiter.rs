//! Limits fetches: a few at once, and more of the slow ones.
//!
//! A layer that hangs must not delay another file, and memory must stay bounded. So a chunk that is
//! large when decoded counts as several, and a slow fetch hands its permit to the next one and from
//! then on counts by the bytes of its layer. Start at [`FetchLimiter::enter`].

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Mebibytes of the chunks fetched at once, over all readers; bounds their memory. A layer of a few
/// kilobytes may be a chunk of 128 MiB.
const FETCHES_MIB_MAX: u32 = 256;

/// The least that a chunk counts, so that at most eight are fetched at once.
const FETCH_MIB_MIN: u32 = 32;

/// After this a fetch is slow. Most have ended by then, and a reader hardly notices the pause.
const PATIENCE: Duration = Duration::from_millis(250);

/// Mebibytes of the slow layers, as signed. A layer counts at least one, so this also bounds their
/// connections.
const SLOW_MIB_MAX: u32 = 128;

/// Mebibytes of the chunks with slow layers that are decoded at once.
const FINISHES_MIB_MAX: u32 = 128;

/// The permits of all fetches of one mailbox.
pub(super) struct FetchLimiter {
    /// All three in mebibytes.
    fetches: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    finishes: Arc<Semaphore>,
    /// [`PATIENCE`], except in tests.
    patience: Duration,
}

/// Permission for one fetch and for what follows it, until it is dropped.
pub(super) type FetchPermit = OwnedSemaphorePermit;

impl FetchLimiter {
    pub(super) fn new() -> Self {
        Self {
            fetches: Arc::new(Semaphore::new(FETCHES_MIB_MAX as usize)),
            slow: Arc::new(Semaphore::new(SLOW_MIB_MAX as usize)),
            finishes: Arc::new(Semaphore::new(FINISHES_MIB_MAX as usize)),
            patience: PATIENCE,
        }
    }

    /// Waits for the permit of a chunk of `len` bytes; `None` when the limiter is closed.
    pub(super) async fn enter(&self, len: u64) -> Option<FetchPermit> {
        let weight = weight(len, FETCH_MIB_MIN, FETCHES_MIB_MAX);
        Arc::clone(&self.fetches).acquire_many_owned(weight).await.ok()
    }

    /// Runs `fetch`, which brings at most `size` bytes, and returns the permit for what follows.
    ///
    /// A slow fetch gives up `permit` as soon as there is room for it among the slow ones. There is
    /// no deadlock: `fetch` has a deadline of its own, and only work for the processor and the disk
    /// follows it.
    pub(super) async fn run<T>(
        &self,
        permit: FetchPermit,
        size: u64,
        fetch: impl Future<Output = T>,
    ) -> (T, FetchPermit) {
        let mut fetch = pin!(fetch);
        if let Ok(done) = timeout(self.patience, fetch.as_mut()).await {
            return (done, permit);
        }
        let slow = tokio::select! {
            biased;
            done = fetch.as_mut() => return (done, permit),
            Ok(slow) = Arc::clone(&self.slow).acquire_many_owned(slow_weight(size)) => slow,
        };
        let weight = FINISHES_MIB_MAX.min(u32::try_from(permit.num_permits()).unwrap_or(u32::MAX));
        drop(permit);
        let done = fetch.await;
        match Arc::clone(&self.finishes).acquire_many_owned(weight).await {
            Ok(finish) => (done, finish),
            Err(_closed) => (done, slow),
        }
    }
}

/// Returns what a layer of `size` bytes counts among the slow ones: the largest one fills them all.
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
    const PERMIT_COUNT: usize = 8;

    fn permits_left(limiter: &FetchLimiter) -> usize {
        limiter.fetches.available_permits() / FETCH_MIB_MIN as usize
    }

    /// A limiter for which every fetch that does not end immediately is slow.
    fn impatient() -> Arc<FetchLimiter> {
        Arc::new(FetchLimiter { patience: Duration::ZERO, ..FetchLimiter::new() })
    }

    /// Starts a fetch of `size` bytes that never ends.
    fn hang(tasks: &TaskTracker, limiter: &Arc<FetchLimiter>, size: u64) {
        let limiter = Arc::clone(limiter);
        tasks.spawn(async move {
            let permit = limiter.enter(MIB).await.unwrap();
            let (_never, _permit) = limiter.run(permit, size, pending::<()>()).await;
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
    async fn fetches_that_hang_give_their_permits_up_while_their_bytes_have_room() {
        for (size, slow_count) in [(1, 128), (MIB + 1, 64), (100 * MIB, 1), (u64::MAX, 1)] {
            let (limiter, tasks) = (impatient(), TaskTracker::new());

            (1..slow_count + PERMIT_COUNT).for_each(|_| hang(&tasks, &limiter, size));

            until("all but one permit is taken, and no byte has room", || {
                permits_left(&limiter) == 1
                    && limiter.slow.available_permits() < slow_weight(size) as usize
            })
            .await;
            hang(&tasks, &limiter, size);
            until("there is no permit", || permits_left(&limiter) == 0).await;
        }
    }

    #[tokio::test]
    async fn a_fetch_that_ends_after_all_gives_its_permit_back() {
        let (limiter, all) = (impatient(), FINISHES_MIB_MAX as usize);
        for _ in 0..2 * SLOW_MIB_MAX {
            let permit = limiter.enter(MIB).await.unwrap();
            // Ends when it has given its permit up.
            let left =
                until("it left", || limiter.slow.available_permits() < SLOW_MIB_MAX as usize);

            let ((), permit) = limiter.run(permit, MIB, left).await;

            assert_eq!(permits_left(&limiter), PERMIT_COUNT);
            assert_eq!(limiter.slow.available_permits(), SLOW_MIB_MAX as usize);
            assert_eq!(limiter.finishes.available_permits(), all - FETCH_MIB_MIN as usize);
            drop(permit);
        }
        assert_eq!(limiter.finishes.available_permits(), all);
    }

    #[tokio::test]
    async fn a_fetch_that_is_quick_keeps_its_permit() {
        let limiter = impatient();
        let permit = limiter.enter(MIB).await.unwrap();

        let (done, _permit) = limiter.run(permit, MIB, async { 7 }).await;

        assert_eq!(done, 7);
        assert_eq!(permits_left(&limiter), PERMIT_COUNT - 1);
    }

    #[tokio::test]
    async fn f14_large_chunks_are_few_at_once_however_small_their_layers() {
        for (len, count) in [(1, 8), (32 * MIB, 8), (100 * MIB, 2), (128 * MIB, 2), (u64::MAX, 1)] {
            let limiter = FetchLimiter::new();
            let mut permits = Vec::new();

            while let Some(permit) = limiter.enter(len).now_or_never() {
                permits.push(permit.unwrap());
            }

            assert_eq!(permits.len(), count, "{len}");
        }
    }

    #[tokio::test]
    async fn f14_large_chunks_that_took_long_are_decoded_one_at_a_time() {
        let limiter = impatient();
        let permit = limiter.enter(128 * MIB).await.unwrap();
        let left = until("it left", || limiter.slow.available_permits() < SLOW_MIB_MAX as usize);

        let ((), _permit) = limiter.run(permit, 1, left).await;

        assert_eq!(limiter.finishes.available_permits(), 0);
    }
}
