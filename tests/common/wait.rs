//! Waiting for a condition with a deadline: the only place of the suite that sleeps.

use std::time::{Duration, Instant};

/// How long a condition may take before the test fails: generous, it only ends what hangs.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Time between two checks of a condition.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long something has taken, for deadlines only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the tests' only clock, for deadlines")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits until `condition` holds; panics with `what` after [`DEADLINE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(DEADLINE, what, condition);
}

/// Waits until `condition` holds; panics with `what` after `deadline`.
#[track_caller]
pub(crate) fn wait_until_within(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) {
    let waited = try_wait(deadline, || condition().then_some(()));
    assert!(waited.is_some(), "not within {deadline:?}: {what}");
}

/// Waits until `value` is there and returns it; panics with `what` after [`DEADLINE`].
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, value: impl FnMut() -> Option<T>) -> T {
    match try_wait(DEADLINE, value) {
        Some(value) => value,
        None => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Waits until `value` is there; `None` after `deadline`.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub(super) fn try_wait<T>(deadline: Duration, mut value: impl FnMut() -> Option<T>) -> Option<T> {
    let stopwatch = Stopwatch::start();
    loop {
        if let Some(value) = value() {
            return Some(value);
        }
        if stopwatch.elapsed() > deadline {
            return None;
        }
        std::thread::sleep(INTERVAL);
    }
}
