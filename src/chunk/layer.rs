//! A chunk as a layer blob: tar framing and compression together.

use bytes::Bytes;

use super::compression::{Compressor, decompress};
use super::error::ChunkError;
use super::frame;
use crate::protocol::limits::{CHUNK_BYTES_MAX, layer_len_max};
use crate::protocol::{Compression, Digest};

/// One compressed chunk, ready to be pushed as a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedLayer {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The layer; its length is the descriptor's size.
    pub bytes: Bytes,
}

/// Makes layers; keeps one compression context and its buffers, so give each thread its own.
///
/// Memory: about three times the largest chunk that was encoded.
pub struct LayerEncoder {
    compressor: Compressor,
    framed: Vec<u8>,
    compressed: Vec<u8>,
}

impl LayerEncoder {
    /// Prepares an encoder.
    ///
    /// # Errors
    /// [`ChunkError::Compressor`] when there is no memory for it.
    pub fn new(compression: Compression) -> Result<Self, ChunkError> {
        let compressor = Compressor::new(compression).map_err(ChunkError::Compressor)?;
        Ok(Self { compressor, framed: Vec::new(), compressed: Vec::new() })
    }

    /// Frames, compresses and hashes chunk `index`.
    ///
    /// The same index and bytes always give the same layer, so resending uploads nothing (P13).
    ///
    /// # Errors
    /// [`ChunkError::TooLarge`] when no receiver would accept a chunk of this size.
    pub fn encode(&mut self, index: u32, payload: &[u8]) -> Result<EncodedLayer, ChunkError> {
        if payload.len() as u64 > CHUNK_BYTES_MAX {
            return Err(ChunkError::TooLarge { limit: CHUNK_BYTES_MAX });
        }
        frame::write(index, payload, &mut self.framed);
        self.compressor
            .compress(&self.framed, &mut self.compressed)
            .map_err(ChunkError::Compressor)?;
        let bytes = Bytes::copy_from_slice(&self.compressed);
        Ok(EncodedLayer { digest: Digest::of(&bytes), bytes })
    }
}

/// Returns the bytes of chunk `index`: exactly `chunk_len` of them.
///
/// `layer` has already been checked against its descriptor's digest, so an error here is the
/// sender's doing, not the registry's. Memory is bounded by `chunk_len` alone, whatever the layer
/// says about itself.
///
/// # Errors
/// [`ChunkError::BadLayer`] unless the layer is exactly one stream with exactly the one promised
/// entry, with all checksums right and nothing after it (P13).
pub fn decode_layer(
    compression: Compression,
    index: u32,
    chunk_len: u64,
    layer: &[u8],
) -> Result<Bytes, ChunkError> {
    let bad = |reason| ChunkError::BadLayer { index, reason };
    let len = usize::try_from(chunk_len)
        .ok()
        .filter(|_| chunk_len <= CHUNK_BYTES_MAX)
        .ok_or_else(|| bad("chunk is larger than the protocol allows"))?;
    if layer.len() as u64 > layer_len_max(chunk_len) {
        return Err(bad("layer is larger than its chunk can be"));
    }
    let mut framed = Vec::new();
    decompress(compression, layer, frame::framed_len_max(len), &mut framed).map_err(bad)?;
    let data = frame::read(&framed, index, len).map_err(bad)?;
    // Sharing saves a copy, but a cache that counts `chunk_len` bytes must not hold many times that.
    if len < framed.capacity() / 2 {
        return Ok(Bytes::copy_from_slice(framed.get(data).unwrap_or_default()));
    }
    Ok(Bytes::from(framed).slice(data))
}
