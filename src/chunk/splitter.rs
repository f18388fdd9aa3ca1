//! Cuts a stream into layers, one at a time.

use std::io::Read;

use super::error::ChunkError;
use super::layer::{EncodedLayer, LayerEncoder};
use super::layout::ChunkLayout;

/// An iterator over the layers of a payload, in index order.
///
/// Memory does not depend on the payload's size: one chunk and the encoder's buffers.
///
/// ```
/// use dockercomms::chunk::{ChunkLayout, Joiner, LayerEncoder, Splitter, decode_layer};
/// use dockercomms::protocol::Compression;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let payload = b"a payload of 27 short bytes";
/// let layout = ChunkLayout::for_payload(27, 10)?;
/// let encoder = LayerEncoder::new(Compression::Zstd)?;
/// let mut joiner = Joiner::new(Vec::new(), layout);
/// for layer in Splitter::new(payload.as_slice(), layout, encoder) {
///     let (index, layer) = layer?;
///     let range = layout.chunk_range(index);
///     let chunk_len = range.end - range.start;
///     let chunk = decode_layer(Compression::Zstd, index, chunk_len, &layer.bytes)?;
///     joiner.append(index, &chunk)?;
///
///     // A flipped bit, another place in the payload or another length is refused.
///     let mut altered = layer.bytes.to_vec();
///     altered[20] ^= 1;
///     assert!(decode_layer(Compression::Zstd, index, chunk_len, &altered).is_err());
///     assert!(decode_layer(Compression::Zstd, index + 1, chunk_len, &layer.bytes).is_err());
///     assert!(decode_layer(Compression::Zstd, index, chunk_len + 1, &layer.bytes).is_err());
/// }
/// assert_eq!(joiner.finish()?, payload);
/// # Ok(())
/// # }
/// ```
pub struct Splitter<R> {
    source: R,
    layout: ChunkLayout,
    encoder: LayerEncoder,
    payload: Vec<u8>,
    next: u32,
}

impl<R: Read> Splitter<R> {
    /// Prepares to cut `source`, which must have exactly as many bytes as `layout` says.
    pub fn new(source: R, layout: ChunkLayout, encoder: LayerEncoder) -> Self {
        Self { source, layout, encoder, payload: Vec::new(), next: 0 }
    }

    fn encode(&mut self, index: u32) -> Result<EncodedLayer, ChunkError> {
        let range = self.layout.chunk_range(index);
        let expected = range.end - range.start;
        let is_last = index + 1 == self.layout.chunk_count();
        // One byte more reveals a source that has grown since its size was taken.
        let wanted = expected + u64::from(is_last);
        self.payload.clear();
        self.source
            .by_ref()
            .take(wanted)
            .read_to_end(&mut self.payload)
            .map_err(ChunkError::Read)?;
        if self.payload.len() as u64 != expected {
            return Err(ChunkError::SourceChanged { expected: self.layout.total_bytes() });
        }
        self.encoder.encode(index, &self.payload)
    }
}

impl<R: Read> Iterator for Splitter<R> {
    type Item = Result<(u32, EncodedLayer), ChunkError>;

    /// Returns the next layer; after an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next;
        if index >= self.layout.chunk_count() {
            return None;
        }
        let layer = self.encode(index);
        self.next = if layer.is_ok() { index + 1 } else { u32::MAX };
        Some(layer.map(|layer| (index, layer)))
    }
}
