//! Reads messages lazily, chunk by chunk: for `inbox/`, and for what `outbox/` has sent.
//!
//! `reader` works out which chunks a read needs and `prefetch` which it needs next; `fetch` gets
//! each of them once, with `limiter` bounding how many at a time; `verified` counts what was
//! checked. Start at [`MessageReader`].
//!
//! **Invariant:** no byte of a chunk is returned before the layer's digest has matched the signed
//! manifest.

mod fetch;
mod limiter;
mod prefetch;
mod reader;
mod shared;
mod verified;

pub use reader::MessageReader;
pub(super) use reader::Purpose;
pub(super) use shared::Reading;
