//! Facts of the process and the machine: clock, pauses, blocking work, durable files, large buffers,
//! the ends of processes, text from outside.
//!
//! Usable by every layer; contains no term of the domain.

pub mod backoff;
pub mod blocking;
pub mod buffer;
pub mod clock;
pub mod counted;
pub(crate) mod crash;
pub mod durable;
pub mod exits;
mod io_cause;
pub mod owner;
pub mod untrusted;

#[cfg(any(test, feature = "testing"))]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use counted::Counted;
pub use io_cause::IoCause;
pub use untrusted::Untrusted;
