//! Puts decoded chunks together again.

use std::io::{Seek, SeekFrom, Write};

use super::error::ChunkError;
use super::layout::ChunkLayout;

/// Writes the chunks of one payload, each exactly once, and knows when it is complete (P8).
///
/// [`Joiner::append`] needs the chunks in order; [`Joiner::place`] takes them in any order where
/// the target can seek.
#[derive(Debug)]
pub struct Joiner<W> {
    target: W,
    layout: ChunkLayout,
    joined: Vec<bool>,
    position: u64,
}

impl<W: Write> Joiner<W> {
    /// Prepares to write to `target`, whose position is 0: the payload's first byte.
    pub fn new(target: W, layout: ChunkLayout) -> Self {
        let joined = vec![false; layout.chunk_count() as usize];
        Self { target, layout, joined, position: 0 }
    }

    /// Writes chunk `index`, which must follow what was written last.
    ///
    /// # Errors
    /// [`ChunkError::Misplaced`] when it does not follow, is not a chunk of this payload, was
    /// already written or has another length; [`ChunkError::Write`] when the target fails.
    pub fn append(&mut self, index: u32, payload: &[u8]) -> Result<(), ChunkError> {
        self.check(index, payload)?;
        if self.layout.chunk_range(index).start != self.position {
            return Err(ChunkError::Misplaced { index, reason: "out of order" });
        }
        self.write(index, payload)
    }

    /// Returns the target when every chunk was written, which makes the total exact (P8).
    ///
    /// # Errors
    /// [`ChunkError::Misplaced`] names the first chunk that is missing.
    pub fn finish(mut self) -> Result<W, ChunkError> {
        if let Some(missing) = self.joined.iter().position(|joined| !joined) {
            let index = u32::try_from(missing).unwrap_or(u32::MAX);
            return Err(ChunkError::Misplaced { index, reason: "missing" });
        }
        self.target.flush().map_err(ChunkError::Write)?;
        Ok(self.target)
    }

    fn check(&self, index: u32, payload: &[u8]) -> Result<(), ChunkError> {
        let misplaced = |reason| Err(ChunkError::Misplaced { index, reason });
        match self.joined.get(index as usize) {
            None => return misplaced("no such chunk"),
            Some(true) => return misplaced("written already"),
            Some(false) => {}
        }
        let range = self.layout.chunk_range(index);
        if payload.len() as u64 != range.end - range.start {
            return misplaced("wrong length");
        }
        Ok(())
    }

    fn write(&mut self, index: u32, payload: &[u8]) -> Result<(), ChunkError> {
        // A write that fails half-way leaves the target at an unknown position.
        self.position = u64::MAX;
        self.target.write_all(payload).map_err(ChunkError::Write)?;
        self.position = self.layout.chunk_range(index).end;
        if let Some(joined) = self.joined.get_mut(index as usize) {
            *joined = true;
        }
        Ok(())
    }
}

impl<W: Write + Seek> Joiner<W> {
    /// Writes chunk `index` to its position in the payload.
    ///
    /// # Errors
    /// As [`Joiner::append`], except that any order is accepted.
    pub fn place(&mut self, index: u32, payload: &[u8]) -> Result<(), ChunkError> {
        self.check(index, payload)?;
        let start = self.layout.chunk_range(index).start;
        if start != self.position {
            self.target.seek(SeekFrom::Start(start)).map_err(ChunkError::Write)?;
        }
        self.write(index, payload)
    }
}
