//! Reads one message lazily: which chunks, fetched or cached, cut and joined.

use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use parking_lot::Mutex;

use super::fetch::ChunkRequest;
use super::prefetch::ReadAhead;
use super::shared::Reading;
use crate::chunk::ChunkLayout;
use crate::mailbox::MailboxError;
use crate::protocol::{Digest, Message};

/// Reads one message; every byte it returns was verified. Clones share their read-ahead.
#[derive(Clone)]
pub struct MessageReader {
    shared: Arc<Shared>,
}

struct Shared {
    reading: Weak<Reading>,
    digest: Digest,
    message: Message,
    layout: ChunkLayout,
    ahead: Mutex<ReadAhead>,
    purpose: Purpose,
}

/// Why a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mailbox) enum Purpose {
    /// It is a message to me: a full read earns a receipt.
    Receive,
    /// The same, but the caller issues the receipt, once the payload is safely stored.
    Keep,
    /// To inspect it; nothing is remembered.
    Inspect,
}

impl MessageReader {
    pub(in crate::mailbox) fn new(
        reading: &Arc<Reading>,
        digest: Digest,
        message: Message,
        purpose: Purpose,
    ) -> Self {
        let layout = ChunkLayout::of_envelope(&message.envelope);
        let reader = Self {
            shared: Arc::new(Shared {
                reading: Arc::downgrade(reading),
                digest,
                message,
                layout,
                ahead: Mutex::default(),
                purpose,
            }),
        };
        if reader.is_empty() && purpose != Purpose::Keep {
            reader.verify_empty(reading);
        }
        reader
    }

    /// Reads a message with this manifest, without issuing receipts.
    pub(in crate::mailbox) fn of_manifest(
        reading: &Arc<Reading>,
        digest: Digest,
        manifest: &[u8],
    ) -> Result<Self, MailboxError> {
        Ok(Self::new(reading, digest, Message::parse(manifest)?, Purpose::Inspect))
    }

    /// Returns the payload's length in bytes.
    pub fn len(&self) -> u64 {
        self.shared.layout.total_bytes()
    }

    /// Returns whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns up to `len` bytes from `offset`; short only at the end of the file.
    ///
    /// # Errors
    /// When a chunk cannot be fetched or is not what was signed; no wrong byte is ever returned.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, MailboxError> {
        let shared = &self.shared;
        let reading = self.reading()?;
        let parts: Vec<_> = shared.layout.span(offset..offset.saturating_add(len as u64)).collect();
        let Some(last) = parts.last().map(|part| part.index) else { return Ok(Bytes::new()) };
        // Requested first, so that they are in transfer while the reader's own chunk is decoded.
        self.read_ahead(&reading, offset, len, last);
        let chunks = parts.iter().map(|part| self.chunk(&reading, part.index));
        let chunks = try_join_all(chunks).await?;
        let mut slices = parts.iter().zip(chunks).map(|(part, chunk)| {
            let end = part.within.end.min(chunk.len());
            self.hand_out(&reading, part.index, chunk.slice(part.within.start.min(end)..end))
        });
        match (slices.next(), parts.len()) {
            (Some(only), 1) => Ok(only),
            (first, _) => {
                let mut joined = BytesMut::with_capacity(len);
                first.into_iter().chain(slices).for_each(|slice| joined.extend_from_slice(&slice));
                Ok(joined.freeze())
            }
        }
    }

    /// Returns the same from memory alone; `None` when something must be fetched.
    pub fn try_read_cached(&self, offset: u64, len: usize) -> Option<Bytes> {
        let shared = &self.shared;
        let reading = shared.reading.upgrade()?;
        let mut parts = shared.layout.span(offset..offset.saturating_add(len as u64));
        let part = parts.next()?;
        if parts.next().is_some() {
            return None;
        }
        let request = self.request(part.index)?;
        let chunk = reading.cache.get_memory(&request.layer.digest)?;
        if chunk.len() as u64 != request.len || part.within.end > chunk.len() {
            return None;
        }
        self.note(&reading, part.index);
        // A reader that finds everything in memory is the one that read-ahead works for.
        self.read_ahead(&reading, offset, len, part.index);
        Some(self.hand_out(&reading, part.index, chunk.slice(part.within)))
    }

    /// Remembers that the whole message was checked, after every byte of it was read.
    ///
    /// For [`Inbox::open_to_keep`](crate::mailbox::Inbox::open_to_keep): the receipt that the
    /// caller issues next then says so.
    ///
    /// # Errors
    /// When the one chunk of an empty message is not what was signed, or the database fails.
    pub async fn finish(&self) -> Result<(), MailboxError> {
        let shared = &self.shared;
        let reading = self.reading()?;
        let count = shared.message.envelope.chunk_count;
        if self.is_empty() && count > 0 {
            // No read has touched it: there are no bytes to return.
            self.chunk(&reading, 0).await?;
        }
        reading.verified.finish(shared.digest, count).await
    }

    fn reading(&self) -> Result<Arc<Reading>, MailboxError> {
        self.shared.reading.upgrade().ok_or(MailboxError::TaskLost)
    }

    /// Notes that `slice` of a chunk has been read, so that its memory may hold another one.
    fn hand_out(&self, reading: &Reading, index: u32, slice: Bytes) -> Bytes {
        if let Some(request) = self.request(index) {
            reading.cache.note_read(&request.layer.digest, slice.len());
        }
        slice
    }

    /// Notes a read that ends in chunk `last`, and fetches what a sequential reader needs next.
    fn read_ahead(&self, reading: &Reading, offset: u64, len: usize, last: u32) {
        let shared = &self.shared;
        let ahead = shared.ahead.lock().after_read(
            offset,
            len as u64,
            shared.layout.chunk_bytes(),
            last,
            shared.layout.chunk_count(),
        );
        for index in ahead {
            if let Some(request) = self.request(index) {
                reading.fetcher.prefetch(request);
            }
        }
    }

    async fn chunk(&self, reading: &Reading, index: u32) -> Result<Bytes, MailboxError> {
        let request = self.request(index).ok_or(MailboxError::NotFound("chunk"))?;
        match reading.fetcher.chunk(request).await {
            Ok(bytes) => {
                self.note(reading, index);
                Ok(bytes)
            }
            Err(error) => {
                if self.shared.purpose != Purpose::Inspect && is_bad_layer(&error) {
                    reading.verified.note_bad_layer(self.shared.digest);
                }
                Err(error)
            }
        }
    }

    fn note(&self, reading: &Reading, index: u32) {
        if self.shared.purpose == Purpose::Receive {
            reading.verified.note(self.shared.digest, &[index]);
        }
    }

    fn request(&self, index: u32) -> Option<ChunkRequest> {
        let envelope = &self.shared.message.envelope;
        let layer = *self.shared.message.chunks.get(index as usize)?;
        let range = self.shared.layout.chunk_range(index);
        Some(ChunkRequest {
            layer,
            index,
            len: range.end - range.start,
            compression: envelope.compression,
        })
    }

    /// Checks the one chunk of an empty payload, which no read would ever touch.
    fn verify_empty(&self, reading: &Arc<Reading>) {
        let reader = self.clone();
        let task_reading = Arc::clone(reading);
        reading.core.spawn(async move {
            if reader.shared.message.chunks.is_empty() {
                if reader.shared.purpose == Purpose::Receive {
                    task_reading.verified.note(reader.shared.digest, &[]);
                }
            } else {
                // There are no bytes to return; a failure is in the receipt and in the log.
                reader.chunk(&task_reading, 0).await.ok();
            }
        });
    }
}

/// Returns whether signed bytes are not a chunk: the sender's fault, not the registry's.
fn is_bad_layer(error: &MailboxError) -> bool {
    match error {
        MailboxError::Chunk(_) => true,
        MailboxError::Shared(shared) => is_bad_layer(shared),
        _ => false,
    }
}
