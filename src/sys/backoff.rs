//! How long to wait before something is tried again: doubling pauses, spread by chance, with a limit.
//!
//! Pure but for [`random`] and what is built on it. Start at [`Backoff::pause`].

use std::time::Duration;

/// The pauses between attempts at one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// Starts at `first` and doubles after each attempt, up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// Returns how long to wait after attempt number `attempt` (from 1) failed.
    ///
    /// `random` places the pause between half (0) and all (`u32::MAX`) of the back-off, so that
    /// those that failed together do not come back together. A `wish` of the other side is never
    /// undercut, and may be longer than the limit.
    pub fn pause(self, attempt: u32, wish: Option<Duration>, random: u32) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        let half = doubled.min(self.max) / 2;
        (half + part_of(half, random)).max(wish.unwrap_or_default())
    }

    /// As [`Self::pause`], placed by chance.
    pub fn random_pause(self, attempt: u32, wish: Option<Duration>) -> Duration {
        self.pause(attempt, wish, random())
    }
}

/// Returns a random time from zero up to `max`.
pub fn jitter(max: Duration) -> Duration {
    part_of(max, random())
}

/// Returns a random number, or always the same one where there is no randomness: then pauses are
/// only less spread.
pub fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

fn part_of(whole: Duration, random: u32) -> Duration {
    whole.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_secs(30);
    const BACKOFF: Backoff = Backoff::new(FIRST, MAX);

    #[test]
    fn the_pause_doubles_up_to_its_limit() {
        for (attempt, most_ms) in [
            (0, 200),
            (1, 200),
            (2, 400),
            (3, 800),
            (8, 25_600),
            (9, 30_000),
            (33, 30_000),
            (u32::MAX, 30_000),
        ] {
            let most = Duration::from_millis(most_ms);

            assert_eq!(BACKOFF.pause(attempt, None, u32::MAX), most, "{attempt}");
            assert_eq!(BACKOFF.pause(attempt, None, 0), most / 2, "{attempt}");
        }
    }

    #[test]
    fn chance_places_the_pause_between_half_and_all() {
        for random in [0, 1, u32::MAX / 4, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
            let pause = BACKOFF.pause(3, None, random);

            assert!(pause >= FIRST * 2 && pause <= FIRST * 4, "{random}: {pause:?}");
        }
        let drawn = BACKOFF.random_pause(3, None);
        assert!(drawn >= FIRST * 2 && drawn <= FIRST * 4, "{drawn:?}");
    }

    #[test]
    fn a_wish_is_never_undercut_and_a_shorter_one_changes_nothing() {
        let hour = Duration::from_hours(1);

        assert_eq!(BACKOFF.pause(1, Some(hour), 0), hour);
        assert_eq!(BACKOFF.pause(1, Some(hour), u32::MAX), hour);
        assert_eq!(BACKOFF.pause(9, Some(FIRST), u32::MAX), MAX);
        assert_eq!(BACKOFF.pause(9, Some(Duration::ZERO), 0), MAX / 2);
    }

    #[test]
    fn no_length_overflows() {
        let endless = Backoff::new(Duration::MAX, Duration::MAX);
        let none = Backoff::new(Duration::ZERO, MAX);

        assert!(endless.pause(u32::MAX, Some(Duration::MAX), 0) == Duration::MAX);
        assert!(endless.pause(2, None, u32::MAX / 2) >= Duration::MAX / 2);
        assert_eq!(none.pause(u32::MAX, None, u32::MAX), Duration::ZERO);
    }

    #[test]
    fn jitter_stays_within_its_limit() {
        assert_eq!(jitter(Duration::ZERO), Duration::ZERO);
        assert!(jitter(FIRST) <= FIRST);
    }
}
