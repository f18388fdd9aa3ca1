//! Which chunks of a staged file go to the registry next, and which have arrived.

use std::sync::Arc;

use tokio::sync::futures::Notified;

use super::chunks::{ChunkTable, Pending};
use super::file::{OutboxFile, Staged};
use super::spool::Spool;
use crate::chunk::ChunkLayout;
use crate::mailbox::MailboxError;
use crate::protocol::{ChunkLayer, Identity};

/// Which chunks an upload is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mailbox) enum Extent {
    /// The chunks that the writer has filled, as it continues.
    WholeChunks,
    /// All of the content as it is, for a close.
    Everything,
}

/// What there is to upload now.
pub(in crate::mailbox) struct NextChunks {
    /// Chunks to upload, each claimed until it is dropped.
    pub(in crate::mailbox) claims: Vec<ChunkClaim>,
    /// Nothing is left to wait for, once those under way have ended.
    pub(in crate::mailbox) is_done: bool,
}

/// The right to upload a chunk, returned however the upload ends.
pub(in crate::mailbox) struct ChunkClaim {
    staged: Arc<Staged>,
    recipient: Identity,
    chunk: Pending,
}

/// All layers of one content.
pub(in crate::mailbox) struct Uploaded {
    /// Which content they are of.
    pub(in crate::mailbox) generation: u64,
    pub(in crate::mailbox) layout: ChunkLayout,
    pub(in crate::mailbox) layers: Vec<ChunkLayer>,
}

impl OutboxFile {
    /// Marks that chunks are uploaded beside the copy; false when they already are, or the file
    /// stays local.
    pub(in crate::mailbox) fn begin_uploading(&self) -> bool {
        self.with(|content, member| {
            let is_local = self.staged().area.is_temporary(member.place.path());
            if content.is_uploading() || is_local {
                return false;
            }
            content.set_uploading(true);
            true
        })
    }

    /// Marks that the uploads beside the copy have ended early.
    pub(in crate::mailbox) fn end_uploading(&self) {
        self.with(|content, _| content.set_uploading(false));
        self.staged().uploads_moved.notify_waiters();
    }

    /// Wakes the tasks that wait for the uploads beside the copy, which have ended.
    pub(in crate::mailbox) fn note_uploads_moved(&self) {
        self.staged().uploads_moved.notify_waiters();
    }

    /// Returns a future that is ready once an upload of a chunk has ended, or a chunk was filled.
    pub(in crate::mailbox) fn uploads_moved(&self) -> Notified<'_> {
        self.staged().uploads_moved.notified()
    }

    /// Claims up to `free` chunks while `under_way` of the same upload have not ended.
    ///
    /// # Errors
    /// `NotFound` when the file has left the list.
    pub(in crate::mailbox) fn next_chunks(
        &self,
        extent: Extent,
        under_way: usize,
        free: usize,
    ) -> Result<NextChunks, MailboxError> {
        let is_whole_only = extent == Extent::WholeChunks;
        let (chunks, is_done) = self.with(|content, member| {
            if !member.place.is_active() {
                return Err(MailboxError::NotFound("file"));
            }
            let len = content.len();
            let claim = || content.chunks_mut().claim(len, is_whole_only);
            let chunks: Vec<Pending> = std::iter::from_fn(claim).take(free).collect();
            let is_idle = chunks.is_empty() && under_way == 0;
            let is_done = is_idle
                && (is_whole_only || content.chunks().unfinished(len, false).next().is_none());
            if is_done && is_whole_only {
                // In the same step: a chunk that is filled from now on starts a new upload.
                content.set_uploading(false);
            }
            Ok((chunks, is_done))
        })?;
        let claim = |chunk| ChunkClaim {
            staged: Arc::clone(self.staged()),
            recipient: self.recipient().clone(),
            chunk,
        };
        Ok(NextChunks { claims: chunks.into_iter().map(claim).collect(), is_done })
    }

    /// Chooses the size of the chunks for the content as it is.
    ///
    /// # Errors
    /// `TooLarge` past the protocol's limit.
    pub(in crate::mailbox) fn fit_chunks(&self) -> Result<(), MailboxError> {
        let chunk_bytes = self.staged().area.chunk_bytes();
        self.with(|content, _| {
            let layout = ChunkLayout::for_payload(content.len(), chunk_bytes)?;
            // Only a payload of more than 10,000 chunks needs larger ones; then all are redone.
            if layout.chunk_count() > 1 && layout.chunk_bytes() != content.chunks().chunk_bytes() {
                *content.chunks_mut() = ChunkTable::new(layout.chunk_bytes());
            }
            Ok(())
        })
    }

    /// Returns all layers of the current content; `None` while one is missing.
    ///
    /// # Errors
    /// `TooLarge` past the protocol's limit.
    pub(in crate::mailbox) fn uploaded(&self) -> Result<Option<Uploaded>, MailboxError> {
        self.with(|content, _| {
            let Some(layers) = content.chunks().layers(content.len()) else { return Ok(None) };
            let layout = ChunkLayout::for_payload(content.len(), content.chunks().chunk_bytes())?;
            Ok(Some(Uploaded { generation: content.generation(), layout, layers }))
        })
    }
}

impl ChunkClaim {
    pub(in crate::mailbox) fn chunk(&self) -> Pending {
        self.chunk
    }

    /// Returns the recipient that the chunk is uploaded for.
    pub(in crate::mailbox) fn recipient(&self) -> &Identity {
        &self.recipient
    }

    /// Returns the staged file, to read the chunk from.
    ///
    /// # Errors
    /// `NotFound` when it is no longer held open.
    pub(in crate::mailbox) fn spool(&self) -> Result<Arc<Spool>, MailboxError> {
        let spool = self.staged.with(|inner| inner.content.spool().cloned());
        spool.ok_or(MailboxError::NotFound("staged file"))
    }

    /// Notes that the chunk is in the registry as `layer`, unless it has changed meanwhile.
    pub(in crate::mailbox) fn complete(&self, layer: ChunkLayer) {
        self.staged.with(|inner| inner.content.chunks_mut().complete(self.chunk, layer));
    }
}

impl Drop for ChunkClaim {
    fn drop(&mut self) {
        self.staged.with(|inner| inner.content.chunks_mut().give_back(self.chunk));
        self.staged.uploads_moved.notify_waiters();
    }
}
