//! A limit in bytes per second: the pieces of bodies wait for their turn.
//!
//! One [`Pace`] is shared by all transfers of one direction, so the limit is on their sum.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// Time that may be made up for: timers are late by a millisecond, and on a busy machine by more.
const CREDIT: Duration = Duration::from_millis(50);

/// Admits a number of bytes per second.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_sec: u64,
    start: Instant,
    /// When all pieces so far have had their time, counted from `start`.
    free_at: Mutex<Duration>,
}

impl Pace {
    /// Makes a limit; `None` for 0, which means no limit.
    pub(super) fn new(bytes_per_sec: u64) -> Option<Arc<Self>> {
        (bytes_per_sec > 0).then(|| {
            Arc::new(Self { bytes_per_sec, start: Instant::now(), free_at: Mutex::default() })
        })
    }

    /// Waits as long as `len` bytes take, behind those that came before.
    pub(super) async fn pass(&self, len: usize) {
        let wait = self.reserve(self.start.elapsed(), len as u64);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Reserves the next free time for `len` bytes and returns how far its end is from `now`.
    fn reserve(&self, now: Duration, len: u64) -> Duration {
        let mut free_at = self.free_at.lock();
        let turn = (*free_at).max(now.saturating_sub(CREDIT));
        let nanos = u128::from(len) * 1_000_000_000 / u128::from(self.bytes_per_sec);
        *free_at = turn + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        free_at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE_LEN: u64 = 64 << 10;

    /// Passes `count` pieces whose timers are `late`; returns the time of the last one.
    fn run(pace: &Pace, from: Duration, count: u64, late: Duration) -> Duration {
        (0..count).fold(from, |now, _| {
            let wait = pace.reserve(now, PIECE_LEN);
            now + if wait.is_zero() { wait } else { wait + late }
        })
    }

    #[test]
    fn no_limit_is_no_pace() {
        assert!(Pace::new(0).is_none());
    }

    #[test]
    fn the_rate_is_kept_within_five_percent_though_every_timer_is_late() {
        for bytes_per_sec in [PIECE_LEN, 1 << 20, 10_000_000, 100_000_000] {
            let pace = Pace::new(bytes_per_sec).unwrap();

            let took = run(&pace, Duration::ZERO, 1000, Duration::from_millis(2));

            let ideal = Duration::from_nanos(1000 * PIECE_LEN * 1_000_000_000 / bytes_per_sec);
            let few = ideal / 20;
            assert!(took.abs_diff(ideal) < few, "{bytes_per_sec}: {took:?}");
        }
    }

    #[test]
    fn an_idle_time_is_not_saved_up_for_a_burst() {
        let pace = Pace::new(1 << 20).unwrap();
        let idle = Duration::from_hours(1);

        let end = run(&pace, idle, 16, Duration::ZERO);

        // A mebibyte takes a second, less what is made up for.
        assert_eq!(end, idle + Duration::from_millis(950));
    }

    #[test]
    fn several_transfers_share_the_limit() {
        let pace = Pace::new(1 << 20).unwrap();

        let waits: Vec<u128> = (0..4).map(|_| pace.reserve(CREDIT, 1 << 20).as_millis()).collect();

        assert_eq!(waits, [950, 1950, 2950, 3950]);
    }
}
