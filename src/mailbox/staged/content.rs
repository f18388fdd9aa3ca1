//! The staged bytes of a file: where they are, how far they can be trusted, what the registry has.

use std::sync::{Arc, Weak};

use super::chunks::ChunkTable;
use super::rewriting::{Rewriting, Rewritten};
use super::spool::Spool;
use crate::mailbox::MailboxError;

/// Why a part of a sent file cannot be changed.
const PARTLY_ANEW: &str = "a sent message is immutable: only all of it can be written anew";

/// Where the staged bytes are.
pub(super) enum Holding {
    /// Open and locked: this process may write to them and send them.
    Open(Arc<Spool>),
    /// On the disk, not held open: thousands may wait in the queue. A task may still hold the file
    /// that was parked last.
    Parked(Weak<Spool>),
    /// Not here: sent, or staged by another process.
    Gone,
}

/// The content of a staged file, shared by every promise of it.
pub(super) struct Content {
    holding: Holding,
    /// Whether the staged bytes are known to be those that were closed. Those of a file that an
    /// earlier run prepared may be older than what is in the registry if the machine crashed since,
    /// so they are never read.
    is_vouched: bool,
    len: u64,
    /// Grows with every change; compared with what was prepared.
    generation: u64,
    chunks: ChunkTable,
    rewriting: Rewriting,
    /// Whether chunks are uploaded while the file is written.
    is_uploading: bool,
    writer_count: u32,
}

impl Content {
    /// Returns the content of a new file, open for one writer.
    pub(super) fn new(spool: Spool, chunk_bytes: u64) -> Self {
        Self {
            holding: Holding::Open(Arc::new(spool)),
            is_vouched: true,
            len: 0,
            generation: 1,
            chunks: ChunkTable::new(chunk_bytes),
            rewriting: Rewriting::No,
            is_uploading: false,
            writer_count: 1,
        }
    }

    /// Returns the content of a file that an earlier run or another process staged.
    pub(super) fn recovered(
        spool: Option<Spool>,
        len: u64,
        is_vouched: bool,
        chunk_bytes: u64,
    ) -> Self {
        Self {
            holding: spool.map_or(Holding::Gone, |spool| Holding::Open(Arc::new(spool))),
            is_vouched,
            len,
            generation: 1,
            chunks: ChunkTable::new(chunk_bytes),
            rewriting: Rewriting::No,
            is_uploading: false,
            writer_count: 0,
        }
    }

    pub(super) fn holding(&self) -> &Holding {
        &self.holding
    }

    /// Returns the staged file while it is held open.
    pub(super) fn spool(&self) -> Option<&Arc<Spool>> {
        match &self.holding {
            Holding::Open(spool) => Some(spool),
            Holding::Parked(_) | Holding::Gone => None,
        }
    }

    pub(super) fn is_parked(&self) -> bool {
        matches!(self.holding, Holding::Parked(_))
    }

    /// Returns whether the staged bytes are here, open or not.
    pub(super) fn is_staged(&self) -> bool {
        !matches!(self.holding, Holding::Gone)
    }

    pub(super) fn is_vouched(&self) -> bool {
        self.is_vouched
    }

    /// Holds the staged file open.
    pub(super) fn open(&mut self, spool: Arc<Spool>) {
        self.holding = Holding::Open(spool);
    }

    /// No longer holds the staged file open; returns whether it did, and no writer needs it.
    pub(super) fn park(&mut self) -> bool {
        if self.writer_count > 0 {
            return false;
        }
        let Holding::Open(spool) = &self.holding else { return false };
        self.holding = Holding::Parked(Arc::downgrade(spool));
        true
    }

    /// Treats the staged file as one that waits on the disk, held by another process or none.
    pub(super) fn park_unheld(&mut self) {
        self.holding = Holding::Parked(Weak::new());
    }

    /// The registry has the content: the staged bytes are no longer needed.
    pub(super) fn end(&mut self) {
        self.holding = Holding::Gone;
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Corrects the length by what was found on the disk; what has another one is other content than
    /// the row describes.
    pub(super) fn note_found_len(&mut self, len: u64) {
        if self.len != len {
            self.len = len;
            self.generation += 1;
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Notes a write up to `end` from `offset`, done or failed.
    ///
    /// Called after the write, also after a failed one: an upload that read the chunk in between
    /// must not count.
    pub(super) fn note_write(&mut self, offset: u64, end: u64, is_done: bool) {
        let old_len = self.len;
        if let (Rewriting::Begun(rewritten), true) = (&mut self.rewriting, is_done) {
            rewritten.note_write(offset..end);
        }
        if is_done && end > old_len {
            self.len = end;
            self.chunks.resize(old_len, end);
        }
        self.chunks.touch(offset..end);
        self.generation += 1;
    }

    /// Notes a change of the length, done or failed.
    pub(super) fn note_resize(&mut self, len: u64, is_done: bool) {
        self.chunks.resize(self.len, len);
        if is_done {
            self.len = len;
            if let Rewriting::Begun(rewritten) = &mut self.rewriting {
                rewritten.note_resize(len);
            }
        }
        self.generation += 1;
    }

    /// Begins to take the place of a sent content of `len` bytes that was not cut.
    pub(super) fn begin_rewriting(&mut self, len: u64) {
        self.rewriting = Rewriting::Begun(Rewritten::new(len));
    }

    pub(super) fn rewriting(&self) -> &Rewriting {
        &self.rewriting
    }

    /// Forgets that a sent content was written anew, once nothing of it is left.
    ///
    /// # Errors
    /// `NotPermitted` when a part of it would have to stay: a message is immutable.
    pub(super) fn require_whole(&mut self) -> Result<(), MailboxError> {
        if self.rewriting.is_partial() {
            return Err(MailboxError::NotPermitted(PARTLY_ANEW));
        }
        self.rewriting = Rewriting::No;
        Ok(())
    }

    /// Gives the rewriting up; returns whether there was one.
    pub(super) fn give_up_rewriting(&mut self) -> bool {
        let was_begun = matches!(self.rewriting, Rewriting::Begun(_));
        if was_begun {
            self.rewriting = Rewriting::GivenUp;
        }
        was_begun
    }

    pub(super) fn writer_count(&self) -> u32 {
        self.writer_count
    }

    pub(super) fn add_writer(&mut self) {
        self.writer_count += 1;
    }

    pub(super) fn remove_writer(&mut self) {
        self.writer_count = self.writer_count.saturating_sub(1);
    }

    pub(super) fn chunks(&self) -> &ChunkTable {
        &self.chunks
    }

    pub(super) fn chunks_mut(&mut self) -> &mut ChunkTable {
        &mut self.chunks
    }

    pub(super) fn is_uploading(&self) -> bool {
        self.is_uploading
    }

    pub(super) fn set_uploading(&mut self, is_uploading: bool) {
        self.is_uploading = is_uploading;
    }

    /// Returns whether more whole chunks wait for the registry than a copy should be ahead.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.is_uploading && self.chunks.is_far_ahead(self.len)
    }
}
