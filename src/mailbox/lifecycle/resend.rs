//! Sends a message once more, as a new one: after the registry has lost it, or when asked to.

use std::io::{self, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::chunk::{ChunkLayout, LayerEncoder};
use crate::mailbox::entry::EntryName;
use crate::mailbox::incident::ResendRefusal;
use crate::mailbox::reading::MessageReader;
use crate::mailbox::{Mailbox, MailboxError, SendState, SentMessage};
use crate::protocol::{ChunkLayer, Digest, ErrorClass, Identity, Message, ReceiptStatus};
use crate::store::{OutboxEntry, OutboxState, PreparedMessage, Standing};

/// Where the content comes from.
pub enum Content {
    /// From the registry, as far as it or our cache still has the chunks.
    Registry,
    /// From the user, who has the file; it must be the one that was sent.
    File(Box<dyn Read + Send>),
}

/// A message that was sent once more.
#[derive(Debug, Clone)]
pub struct Resent {
    /// The message that it repeats.
    pub repeats: Digest,
    /// The recipient.
    pub recipient: Identity,
    /// The new message.
    pub message: SentMessage,
}

/// Why reading the content failed, which `io::Error` cannot say.
type Failure = Arc<Mutex<Option<MailboxError>>>;

impl Mailbox {
    /// Sends the content of a message of mine to the same recipient under the same name, as a new
    /// message with a new id. `progress` gets the number of bytes staged so far.
    ///
    /// Unless `again`, only what the recipient neither has nor can find: without an `accepted`
    /// receipt, and expired or no longer under its tag.
    ///
    /// # Errors
    /// `NotFound` when it is not a message of mine, `Busy` when it is not sent, `Resend` when it
    /// must not or cannot be sent again; the registry's. Nothing was sent then, unless it is as in
    /// [`Outbox::send`](crate::mailbox::Outbox::send).
    pub async fn resend(
        &self,
        digest: &Digest,
        content: Content,
        again: bool,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<Resent, MailboxError> {
        let core = &self.core;
        let entry = core.store.outbox_by_digest(digest).await?;
        let entry = entry.ok_or(MailboxError::NotFound("message of mine"))?;
        let (Some(message), OutboxState::Sent) = (&entry.message, entry.state) else {
            return Err(MailboxError::Busy);
        };
        let parsed = Message::parse(&message.manifest)?;
        if !again {
            self.refuse_second(&entry, message, &parsed).await?;
        }
        let name = EntryName::sanitize(&entry.name);
        self.refuse_taken_name(&entry, name.as_str())?;
        let failure = Failure::default();
        let content: Box<dyn Read + Send> = match content {
            Content::Registry => Box::new(Remaining {
                reader: MessageReader::of_manifest(&self.reading, *digest, &message.manifest)?,
                offset: 0,
                runtime: Handle::current(),
                failure: Arc::clone(&failure),
            }),
            Content::File(source) => Box::new(SameFile::new(source, &parsed, &failure)?),
        };
        let mtime = entry.mtime.to_system_time();
        // Before the new message can be promised: from then on that one is looked after, and a mount
        // must not put this one's tag back beside it.
        let before = core.store.standing(digest).await?;
        core.store.record_presence(digest, Standing::Resent, None, core.now()).await?;
        let sent = self.outbox.send(&entry.recipient, &name, content, mtime, progress).await;
        let sent = match sent {
            Ok(sent) => sent,
            // The new one is promised all the same.
            Err(error @ MailboxError::Unconfirmed(_)) => return Err(error),
            Err(error) => {
                core.store.take_back_resent(digest, before, core.now()).await?;
                return Err(failure.lock().take().unwrap_or(error));
            }
        };
        Ok(Resent { repeats: *digest, recipient: entry.recipient, message: sent })
    }

    /// Refuses what would arrive a second time.
    async fn refuse_second(
        &self,
        entry: &OutboxEntry,
        message: &PreparedMessage,
        parsed: &Message,
    ) -> Result<(), MailboxError> {
        let core = &self.core;
        if core.store.standing(&message.digest).await? == Standing::Resent {
            return Err(ResendRefusal::AlreadyResent.into());
        }
        self.look_for_receipt(entry).await?;
        let receipt = core.store.receipt_that_counts(&message.digest).await?;
        if receipt.is_some_and(|receipt| receipt.status == ReceiptStatus::Accepted) {
            return Err(ResendRefusal::Accepted.into());
        }
        // By the clock alone: a later time that it once showed is no reason to send a second one.
        let is_findable = !parsed.envelope.is_expired(core.now())
            && core.repository.resolve_tag(&message.tag).await? == Some(message.digest);
        if is_findable { Err(ResendRefusal::StillThere.into()) } else { Ok(()) }
    }

    /// Refuses to end the promise of a newer file of the same name.
    fn refuse_taken_name(&self, entry: &OutboxEntry, name: &str) -> Result<(), MailboxError> {
        let snapshot = self.snapshot();
        let dir = snapshot.outbox.get(&entry.recipient.dir_name());
        match dir.and_then(|dir| dir.files.get(name)) {
            Some(listed) if listed.state() != SendState::Sent => {
                Err(ResendRefusal::NameTaken.into())
            }
            _ => Ok(()),
        }
    }
}

/// What the registry, or our cache, still has of a message, as a stream; read on a blocking thread.
struct Remaining {
    reader: MessageReader,
    offset: u64,
    runtime: Handle,
    failure: Failure,
}

impl Read for Remaining {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.runtime.block_on(self.reader.read_at(self.offset, buffer.len()));
        let bytes = read.map_err(|error| {
            let error = match error.class() {
                ErrorClass::NotFound => ResendRefusal::ContentGone.into(),
                _ => error,
            };
            fail(&self.failure, error)
        })?;
        let place = buffer.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidData)?;
        place.copy_from_slice(&bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// A file that must be the one that was sent: each chunk is compressed as then, and handed out only
/// if that gives the same layer. One chunk is in memory at a time.
struct SameFile {
    source: Box<dyn Read + Send>,
    encoder: LayerEncoder,
    layout: ChunkLayout,
    layers: std::vec::IntoIter<ChunkLayer>,
    index: u32,
    chunk: Vec<u8>,
    given_len: usize,
    failure: Failure,
}

impl SameFile {
    fn new(
        source: Box<dyn Read + Send>,
        message: &Message,
        failure: &Failure,
    ) -> Result<Self, MailboxError> {
        Ok(Self {
            source,
            encoder: LayerEncoder::new(message.envelope.compression)?,
            layout: ChunkLayout::of_envelope(&message.envelope),
            layers: message.chunks.clone().into_iter(),
            index: 0,
            chunk: Vec::new(),
            given_len: 0,
            failure: Arc::clone(failure),
        })
    }

    /// Reads and checks the next chunk; false at the end.
    fn next_chunk(&mut self) -> io::Result<bool> {
        self.given_len = 0;
        self.chunk.clear();
        let Some(layer) = self.layers.next() else {
            // Not one byte more.
            (&mut self.source).take(1).read_to_end(&mut self.chunk)?;
            return if self.chunk.is_empty() { Ok(false) } else { Err(self.differs()) };
        };
        let range = self.layout.chunk_range(self.index);
        let len = range.end.saturating_sub(range.start);
        (&mut self.source).take(len).read_to_end(&mut self.chunk)?;
        if self.chunk.len() as u64 != len {
            return Err(self.differs());
        }
        let encoded = self.encoder.encode(self.index, &self.chunk);
        let encoded = encoded.map_err(|error| fail(&self.failure, error.into()))?;
        if encoded.digest != layer.digest {
            return Err(self.differs());
        }
        self.encoder.reuse(encoded.bytes);
        self.index += 1;
        Ok(true)
    }

    fn differs(&self) -> io::Error {
        fail(&self.failure, ResendRefusal::OtherContent.into())
    }
}

impl Read for SameFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An empty message has one chunk, without a byte in it.
        while self.given_len == self.chunk.len() {
            if !self.next_chunk()? {
                return Ok(0);
            }
        }
        let mut rest = self.chunk.get(self.given_len..).unwrap_or_default();
        let len = rest.read(buffer)?;
        self.given_len += len;
        Ok(len)
    }
}

/// Keeps the error for the caller of the caller, and ends the copy.
fn fail(failure: &Failure, error: MailboxError) -> io::Error {
    *failure.lock() = Some(error);
    io::Error::other("the content cannot be read")
}
