//! Cuts a payload into chunk layers and joins verified chunks again (P9 to P13).
//!
//! Pure streaming code: bytes in, bytes out. It never opens a file, a socket or a clock, so every
//! rule of the chunk format is testable with a byte slice. Start at [`ChunkLayout`], then
//! [`LayerEncoder`] and [`decode_layer`]; [`Splitter`] and [`Joiner`] do whole payloads.
//!
//! **Invariant:** a decoder yields exactly the bytes that the signed manifest promised, or an
//! error; it never holds more than the manifest's sizes allow, whatever the layer claims.
#![warn(clippy::indexing_slicing, clippy::string_slice)]

mod compression;
mod error;
mod frame;
mod joiner;
mod layer;
mod layout;
mod splitter;
#[cfg(test)]
mod tests;

pub use error::ChunkError;
pub use joiner::Joiner;
pub use layer::{EncodedLayer, Fingerprint, LayerEncoder, decode_layer, prepare_to_decode};
pub use layout::{ChunkLayout, ChunkPart};
pub use splitter::Splitter;
