//! Where each chunk is in the payload (P9 to P11): arithmetic only.

use std::ops::Range;

use super::error::ChunkError;
use crate::protocol::Envelope;
use crate::protocol::limits::{CHUNK_BYTES_MAX, CHUNK_COUNT_MAX, PAYLOAD_LEN_MAX};

/// A chunk size that had to grow is a multiple of this, so that chunks start on memory pages.
const GROWTH_STEP_BYTES: u64 = 1 << 20;

/// How a payload is cut: its size, the chunk size and the number of chunks (P9 to P11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLayout {
    total_bytes: u64,
    chunk_bytes: u64,
    chunk_count: u32,
}

/// A piece of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPart {
    /// The chunk's index.
    pub index: u32,
    /// Bytes within the chunk; never empty.
    pub within: Range<usize>,
}

impl ChunkLayout {
    /// Decides how to cut a payload for sending.
    ///
    /// `preferred_chunk_bytes` is clamped to 1 to 128 MiB and grows until 10,000 chunks suffice
    /// (P10). A payload of one chunk has `chunk_bytes` equal to its size (P9); an empty one has
    /// one chunk of no bytes (P11).
    ///
    /// # Errors
    /// [`ChunkError::TooLarge`] when 10,000 of the largest chunks do not suffice.
    pub fn for_payload(total_bytes: u64, preferred_chunk_bytes: u64) -> Result<Self, ChunkError> {
        if total_bytes > PAYLOAD_LEN_MAX {
            return Err(ChunkError::TooLarge { limit: PAYLOAD_LEN_MAX });
        }
        let mut chunk_bytes = preferred_chunk_bytes.clamp(1, CHUNK_BYTES_MAX);
        let needed = total_bytes.div_ceil(u64::from(CHUNK_COUNT_MAX));
        if chunk_bytes < needed {
            chunk_bytes = needed.next_multiple_of(GROWTH_STEP_BYTES);
        }
        if total_bytes <= chunk_bytes {
            return Ok(Self { total_bytes, chunk_bytes: total_bytes, chunk_count: 1 });
        }
        let chunk_count = u32::try_from(total_bytes.div_ceil(chunk_bytes))
            .map_err(|_source| ChunkError::TooLarge { limit: PAYLOAD_LEN_MAX })?;
        Ok(Self { total_bytes, chunk_bytes, chunk_count })
    }

    /// Takes the layout that a message states; the envelope was checked when it was parsed.
    pub fn of_envelope(envelope: &Envelope) -> Self {
        Self {
            total_bytes: envelope.total_bytes,
            chunk_bytes: envelope.chunk_bytes,
            chunk_count: envelope.chunk_count,
        }
    }

    /// Returns the size of the payload in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Returns the size of every chunk but the last in bytes.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Returns the number of chunks; 0 only for the Go peer's empty files (P11).
    pub fn chunk_count(&self) -> u32 {
        self.chunk_count
    }

    /// Returns the bytes of the payload that chunk `index` holds.
    ///
    /// The range is empty past the last chunk.
    pub fn chunk_range(&self, index: u32) -> Range<u64> {
        let start = u64::from(index).saturating_mul(self.chunk_bytes).min(self.total_bytes);
        let end = start.saturating_add(self.chunk_bytes).min(self.total_bytes);
        start..end
    }

    /// Returns the parts of chunks that cover `range`, in order.
    ///
    /// There are none past the end of the payload, as `read(2)` does.
    pub fn span(&self, range: Range<u64>) -> impl Iterator<Item = ChunkPart> + use<> {
        let layout = *self;
        let end = range.end.min(layout.total_bytes);
        let start = range.start.min(end);
        let indices = if start == end {
            0..0
        } else {
            layout.index_at(start)..layout.index_at(end - 1).saturating_add(1)
        };
        indices.filter_map(move |index| {
            let chunk = layout.chunk_range(index);
            let within =
                offset(start.max(chunk.start), &chunk)?..offset(end.min(chunk.end), &chunk)?;
            Some(ChunkPart { index, within })
        })
    }

    /// Returns the index of the chunk that holds the byte `position` of the payload.
    fn index_at(&self, position: u64) -> u32 {
        // A layout that holds a byte has a chunk size; 0 would be an unchecked envelope.
        let index = position.checked_div(self.chunk_bytes).unwrap_or(0);
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

/// Returns where `position` is within `chunk`.
fn offset(position: u64, chunk: &Range<u64>) -> Option<usize> {
    usize::try_from(position.checked_sub(chunk.start)?).ok()
}
