//! A chunk as a layer blob: tar framing and compression together.

use std::{io, mem};

use bytes::Bytes;

use super::compression::{Compressor, decompress};
use super::error::ChunkError;
use super::frame;
use crate::protocol::limits::{CHUNK_BYTES_MAX, layer_len_max};
use crate::protocol::{Compression, Digest};
use crate::sys::buffer;

/// One compressed chunk, ready to be pushed as a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedLayer {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The layer; its length is the descriptor's size.
    pub bytes: Bytes,
}

/// Identifies a chunk before it is compressed: equal only for the same index and bytes.
///
/// It never leaves this process: on the wire a layer is named by the SHA-256 of what was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Makes layers; keeps one compression context and its buffers, so give each thread its own.
///
/// Memory: about twice the largest chunk that was encoded, and the layers that are handed out.
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
        self.frame(index, payload.len() as u64, |place| {
            place.copy_from_slice(payload);
            Ok(())
        })?;
        self.compress()
    }

    /// Frames chunk `index` of `len` bytes, which `fill` writes directly into the frame: this saves
    /// a copy of a chunk that is read from a file. [`LayerEncoder::compress`] then makes the layer.
    ///
    /// # Errors
    /// [`ChunkError::TooLarge`] as for [`LayerEncoder::encode`]; [`ChunkError::Read`] when `fill`
    /// fails.
    pub fn frame(
        &mut self,
        index: u32,
        len: u64,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> Result<(), ChunkError> {
        let too_large = ChunkError::TooLarge { limit: CHUNK_BYTES_MAX };
        let Some(len) = usize::try_from(len).ok().filter(|_| len <= CHUNK_BYTES_MAX) else {
            return Err(too_large);
        };
        fill(frame::prepare(index, len, &mut self.framed)).map_err(ChunkError::Read)
    }

    /// Returns the fingerprint of the last framed chunk, which even crafted chunks cannot share.
    ///
    /// BLAKE3, because new content pays for it too: it costs at most half as much as SHA-256.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(blake3::hash(&self.framed).into())
    }

    /// Compresses and hashes the last framed chunk.
    ///
    /// # Errors
    /// [`ChunkError::Compressor`] when the compressor fails.
    pub fn compress(&mut self) -> Result<EncodedLayer, ChunkError> {
        self.compressor
            .compress(&self.framed, &mut self.compressed)
            .map_err(ChunkError::Compressor)?;
        // A layer that fills its buffer takes it along. A small one must not keep a large buffer.
        let bytes = if self.compressed.len() < self.compressed.capacity() / 2 {
            Bytes::copy_from_slice(&self.compressed)
        } else {
            mem::take(&mut self.compressed).into()
        };
        Ok(EncodedLayer { digest: Digest::of(&bytes), bytes })
    }

    /// Takes back the buffer of a layer that is no longer needed, for the next layer.
    ///
    /// Fresh memory costs as much as a copy. A layer that is still shared is left alone.
    pub fn reuse(&mut self, layer: Bytes) {
        if layer.len() > self.compressed.capacity() && layer.is_unique() {
            self.compressed = layer.into();
        }
    }

    /// Returns how many bytes its buffers hold.
    pub fn buffer_len(&self) -> usize {
        self.framed.capacity() + self.compressed.capacity()
    }
}

/// Prepares memory for [`decode_layer`], while the layer is still being fetched.
pub fn prepare_to_decode(chunk_len: u64) {
    if let Ok(len) = usize::try_from(chunk_len.min(CHUNK_BYTES_MAX)) {
        buffer::prepare(frame::framed_len_max(len));
    }
}

/// Returns the bytes of chunk `index`: exactly `chunk_len` of them.
///
/// `layer` has already been checked against its descriptor's digest, so an error here is the
/// sender's fault, not the registry's. Memory is bounded by `chunk_len` alone, whatever the layer
/// claims about itself.
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
    let len_max = frame::framed_len_max(len);
    let mut framed = buffer::take(len_max);
    decompress(compression, layer, len_max, &mut framed).map_err(bad)?;
    let data = frame::read(&framed, index, len).map_err(bad)?;
    // Sharing saves a copy, but a cache that counts `chunk_len` bytes must not hold far more.
    if len < framed.capacity() / 2 {
        return Ok(Bytes::copy_from_slice(framed.get(data).unwrap_or_default()));
    }
    Ok(Bytes::from(framed).slice(data))
}
