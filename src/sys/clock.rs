//! Time, as something that tests can control.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// Where the program gets the time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the wall-clock time, which may jump.
    fn now(&self) -> SystemTime;

    /// Returns a time that never goes back, for deadlines and back-off.
    fn monotonic(&self) -> Instant;
}

/// The machine's clock; the only caller of `SystemTime::now`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<(SystemTime, Instant)>>);

impl ManualClock {
    /// Starts at `unix_secs` seconds after 1970.
    pub fn at(unix_secs: u64) -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_secs);
        Self(Arc::new(Mutex::new((wall, SystemClock.monotonic()))))
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let mut times = self.0.lock();
        times.0 += by;
        times.1 += by;
    }

    /// Sets only the wall clock, as an administrator would; it may go back.
    pub fn jump_to(&self, unix_secs: u64) {
        self.0.lock().0 = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_secs);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.0.lock().0
    }

    fn monotonic(&self) -> Instant {
        self.0.lock().1
    }
}
