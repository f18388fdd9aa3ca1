//! Time, as something that tests can control.

#[cfg(any(test, feature = "testing"))]
use std::time::Duration;
use std::time::SystemTime;

/// Where the program gets the time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the wall-clock time, which may jump.
    fn now(&self) -> SystemTime;
}

/// The machine's clock; the only caller of `SystemTime::now`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until a test moves it.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone)]
pub struct ManualClock(std::sync::Arc<parking_lot::Mutex<SystemTime>>);

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// Starts at `unix_secs` seconds after 1970.
    pub fn at(unix_secs: u64) -> Self {
        let clock = Self(std::sync::Arc::new(parking_lot::Mutex::new(SystemTime::UNIX_EPOCH)));
        clock.jump_to(unix_secs);
        clock
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }

    /// Sets the time, as an administrator would; it may go back.
    pub fn jump_to(&self, unix_secs: u64) {
        *self.0.lock() = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_secs);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}
