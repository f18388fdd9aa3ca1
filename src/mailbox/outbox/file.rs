//! One file of the outbox, alive while it is listed or open.

use std::collections::BTreeMap;
use std::sync::{OnceLock, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::chunks::ChunkTable;
use super::failure::FailureNote;
use super::queue;
use super::replace::Replaced;
use super::spool::Spool;
use super::state::{Event, SendState};
use super::upload;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::inbox::MessageReader;
use crate::protocol::limits::PAYLOAD_LEN_MAX;
use crate::protocol::{
    Digest, Envelope, ErrorClass, FileName, Identity, Message, MessageId, ReceiptStatus, Tag,
};
use crate::store::{PreparedMessage, Withdrawal};

/// A file in `outbox/<recipient>/`.
///
/// Content lies in a staged file until the message is sent. All methods are short and local;
/// nothing here waits for the network.
pub struct OutboxFile {
    pub(super) id: i64,
    /// The staged file's random name, also after that file is gone.
    pub(super) spool_name: String,
    pub(super) recipient: Identity,
    pub(super) core: Weak<Core>,
    pub(super) inner: Mutex<Inner>,
    /// Held by the one task that prepares or publishes this file.
    pub(super) delivery: tokio::sync::Mutex<()>,
    /// Told whenever an upload of a chunk ends.
    pub(super) uploads_moved: Notify,
    /// How many calls want to change the file and wait for `delivery`; the queue gives way to them.
    pub(super) claims: watch::Sender<u32>,
    /// Follows `inner.state` for those who wait for it.
    pub(super) watch: watch::Sender<SendState>,
    /// Set once the message was taken out of the registry again.
    pub(super) withdrawn: OnceLock<Withdrawal>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact about the file")]
pub(super) struct Inner {
    pub(super) name: FileName,
    pub(super) state: SendState,
    pub(super) spool: Option<std::sync::Arc<Spool>>,
    /// The staged file is there but not held open: thousands may wait in the queue.
    pub(super) is_parked: bool,
    /// The staged file that was parked last, which a task may still hold open and locked.
    pub(super) parked: Weak<Spool>,
    pub(super) len: u64,
    pub(super) mtime: SystemTime,
    pub(super) mode: u32,
    /// Grows with every change of content; compared with what was prepared.
    pub(super) generation: u64,
    pub(super) chunks: ChunkTable,
    pub(super) prepared: Option<Prepared>,
    pub(super) writers: u32,
    /// Grows with every open and close for writing; a settle timer of an older one is void.
    pub(super) epoch: u64,
    /// Whether chunks go to the registry while the file is written.
    pub(super) uploading: bool,
    pub(super) unlinked: bool,
    /// Another file has taken the name: hidden as soon as it is sent.
    pub(super) is_replaced: bool,
    /// What this file has taken the name of, until it is promised.
    pub(super) replaced: Vec<Replaced>,
    /// Whether the tag of the prepared message may be in the registry.
    pub(super) is_tag_tried: bool,
    /// Whether it was prepared by an earlier run. The staged bytes may be older than what is in the
    /// registry if the machine went down since, so nobody reads them.
    pub(super) recovered: bool,
    pub(super) error: Option<(ErrorClass, String)>,
    /// The failure came when no program waited for it any more.
    pub(super) is_unattended: bool,
    /// The place in the recipient's queue; `None` outside of it.
    pub(super) queue_place: Option<i64>,
    /// The settle window is over: the queue may send the file.
    pub(super) is_settled: bool,
    /// The id that the message of the queued content will have.
    pub(super) reserved_id: Option<MessageId>,
    pub(super) receipt: Option<ReceiptStatus>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
}

/// The manifest made for one content and name; fixed before its first publish, so that a retry or
/// a restart pushes the same digest.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) generation: u64,
    /// Whether everything but the tag is in the registry and the row says so.
    pub(super) complete: bool,
    pub(super) message: PreparedMessage,
}

impl std::fmt::Debug for OutboxFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutboxFile({}, {})", self.id, self.state())
    }
}

impl OutboxFile {
    /// Returns the row's number: stable, never reused.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Returns whether `text` is the row's number, or the id of the message.
    pub fn is_called(&self, text: &str) -> bool {
        let id: Option<MessageId> = text.parse().ok();
        self.id.to_string() == text || (id.is_some() && self.message_id() == id)
    }

    /// Returns a name that no other file has, of this mailbox or of another one.
    pub fn unique_name(&self) -> &str {
        &self.spool_name
    }

    /// Returns to whom the file goes.
    pub fn recipient(&self) -> &Identity {
        &self.recipient
    }

    /// Returns the current name.
    pub fn name(&self) -> String {
        self.inner.lock().name.as_str().to_owned()
    }

    /// Returns the current state.
    pub fn state(&self) -> SendState {
        self.inner.lock().state
    }

    /// Returns the word for people: the state, or how the message left the registry again.
    pub fn shown_state(&self) -> &'static str {
        self.withdrawn.get().map_or_else(|| self.state().as_str(), |why| why.as_str())
    }

    /// Remembers that the message was taken out of the registry; the first reason stays.
    pub(in crate::mailbox) fn set_withdrawn(&self, why: Withdrawal) {
        self.withdrawn.set(why).ok();
    }

    /// Returns the states from now on, for tests that wait for one.
    #[cfg(test)]
    pub(in crate::mailbox) fn watch_states(&self) -> watch::Receiver<SendState> {
        self.watch.subscribe()
    }

    /// Returns whether the staged file is there but not held open.
    #[cfg(test)]
    pub(in crate::mailbox) fn is_parked(&self) -> bool {
        self.inner.lock().is_parked
    }

    /// Returns whether the file has left the list: removed or replaced.
    pub fn is_unlinked(&self) -> bool {
        self.inner.lock().unlinked
    }

    /// Returns the length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a file's size, not a container's")]
    pub fn len(&self) -> u64 {
        self.inner.lock().len
    }

    /// Returns the time of the last change of content, or what a program has set.
    pub fn mtime(&self) -> SystemTime {
        self.inner.lock().mtime
    }

    /// Sets the time; kept locally, never sent.
    pub fn set_mtime(&self, mtime: SystemTime) {
        self.inner.lock().mtime = mtime;
    }

    /// Returns the permission bits; a sent file is 0444 whatever was set.
    pub fn mode(&self) -> u32 {
        let inner = self.inner.lock();
        if inner.state == SendState::Sent { 0o444 } else { inner.mode }
    }

    /// Sets the permission bits; kept locally, never sent.
    pub fn set_mode(&self, mode: u32) {
        self.inner.lock().mode = mode & 0o777;
    }

    /// Returns how many handles may write.
    pub fn writer_count(&self) -> u32 {
        self.inner.lock().writers
    }

    /// Returns whether there is content or a name that no `prepare` has covered.
    pub fn is_dirty(&self) -> bool {
        let inner = self.inner.lock();
        match inner.state {
            SendState::Sent | SendState::Queued => false,
            SendState::Preparing if inner.queue_place.is_some() => false,
            _ => !inner.is_prepared(),
        }
    }

    /// Returns whether the content is durable and waits for its delivery in the background.
    pub fn is_queued(&self) -> bool {
        let inner = self.inner.lock();
        inner.queue_place.is_some()
            && matches!(inner.state, SendState::Queued | SendState::Preparing)
    }

    /// Returns the place in the recipient's queue, smaller ones first; `None` outside of it.
    pub fn queue_place(&self) -> Option<i64> {
        self.inner.lock().queue_place
    }

    /// Returns why the file was not sent, when nobody but this note says so.
    pub fn failure_note(&self) -> Option<FailureNote> {
        let inner = self.inner.lock();
        if inner.state != SendState::Failed || !inner.is_unattended {
            return None;
        }
        let (class, text) = inner.error.as_ref()?;
        Some(FailureNote::new(inner.name.as_str(), &self.recipient, *class, text, inner.mtime))
    }

    /// Returns why the file is Failed or Abandoned.
    pub fn error(&self) -> Option<(ErrorClass, String)> {
        self.inner.lock().error.clone()
    }

    /// Returns the digest of the message, once it was prepared.
    pub fn digest(&self) -> Option<Digest> {
        self.inner.lock().current_message().map(|message| message.digest)
    }

    /// Returns the id of the message, once it was prepared.
    pub fn message_id(&self) -> Option<MessageId> {
        let inner = self.inner.lock();
        let queued = inner.reserved_id.filter(|_id| inner.queue_place.is_some());
        inner.current_message().map(|message| message.id).or(queued)
    }

    /// Returns the tag that commits the message, once it was prepared.
    pub fn tag(&self) -> Option<Tag> {
        self.inner.lock().current_message().map(|message| message.tag.clone())
    }

    /// Returns the newest verified receipt.
    pub fn receipt(&self) -> Option<ReceiptStatus> {
        self.inner.lock().receipt
    }

    /// Remembers the newest verified receipt.
    pub(in crate::mailbox) fn set_receipt(&self, status: ReceiptStatus) {
        self.inner.lock().receipt = Some(status);
    }

    /// Returns the bytes of the message's manifest, once it was prepared.
    pub(in crate::mailbox) fn manifest(&self) -> Option<Vec<u8>> {
        self.inner.lock().current_message().map(|message| message.manifest.clone())
    }

    /// Returns what the message says about itself, once it was prepared.
    pub fn envelope(&self) -> Option<Envelope> {
        Message::parse(&self.manifest()?).ok().map(|message| message.envelope)
    }

    /// Returns how many bytes are in the registry, and how many there are.
    pub fn progress(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        match inner.state {
            SendState::Prepared | SendState::Sent => (inner.len, inner.len),
            _ => (inner.chunks.bytes_done(inner.len), inner.len),
        }
    }

    /// Returns whether the name is one that stays local.
    pub fn is_temporary(&self) -> bool {
        let name = self.name();
        self.core.upgrade().is_some_and(|core| core.options.is_temporary(&name))
    }

    /// Writes into the staged file; whole chunks begin their way to the registry.
    ///
    /// # Errors
    /// `NotPermitted` when sent, `TooLarge` past the protocol's limit, or the disk's error: it
    /// marks the file Failed, since what the writer meant is not there.
    pub fn write_at(
        self: &std::sync::Arc<Self>,
        offset: u64,
        data: &[u8],
    ) -> Result<(), MailboxError> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= PAYLOAD_LEN_MAX)
            .ok_or(MailboxError::TooLarge)?;
        let spool = self.writable_spool()?;
        let written = spool.write_at(offset, data);
        let mut inner = self.inner.lock();
        // The generation grows after the write, and also after a failed one: an upload that read
        // the chunk in between must not count.
        let old_len = inner.len;
        if written.is_ok() && end > old_len {
            inner.len = end;
            inner.chunks.resize(old_len, end);
        }
        inner.chunks.touch(offset..end);
        self.note_change(&mut inner);
        if let Err(error) = &written {
            inner.fail(error);
        }
        let chunk_bytes = inner.chunks.chunk_bytes();
        let filled_a_chunk = offset / chunk_bytes != end / chunk_bytes;
        let begin_upload = written.is_ok() && filled_a_chunk && !inner.uploading;
        drop(inner);
        if begin_upload {
            upload::begin(self);
        } else if filled_a_chunk {
            self.uploads_moved.notify_waiters();
        }
        written
    }

    /// Returns whether the writer of these bytes has just filled a chunk and should wait for the
    /// registry.
    ///
    /// A copy that runs ahead only moves its time into the close, where nobody sees it pass and a
    /// file manager shows no progress.
    pub fn is_far_ahead(&self, offset: u64, len: u64) -> bool {
        let inner = self.inner.lock();
        let chunk_bytes = inner.chunks.chunk_bytes();
        offset / chunk_bytes != offset.saturating_add(len) / chunk_bytes && inner.is_far_ahead()
    }

    /// Waits until the uploads have caught up or ended, but no longer than `limit`: a registry
    /// that hangs must not stop a copy into the staged file. After that nobody is far ahead until it
    /// has taken another chunk.
    pub async fn wait_for_uploads(&self, limit: Duration) {
        let caught_up = async {
            loop {
                let mut moved = std::pin::pin!(self.uploads_moved.notified());
                moved.as_mut().enable();
                if !self.inner.lock().is_far_ahead() {
                    return;
                }
                moved.await;
            }
        };
        if tokio::time::timeout(limit, caught_up).await.is_err() {
            self.inner.lock().chunks.note_stall();
        }
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// As [`OutboxFile::write_at`].
    pub fn set_len(&self, len: u64) -> Result<(), MailboxError> {
        if len > PAYLOAD_LEN_MAX {
            return Err(MailboxError::TooLarge);
        }
        let spool = self.writable_spool()?;
        let done = spool.set_len(len);
        let mut inner = self.inner.lock();
        let old_len = inner.len;
        if old_len == len && done.is_ok() {
            return Ok(());
        }
        if done.is_ok() {
            inner.len = len;
        }
        inner.chunks.resize(old_len, len);
        self.note_change(&mut inner);
        if let Err(error) = &done {
            inner.fail(error);
        }
        done
    }

    /// Reads from the staged file; see [`OutboxFile::reader`] for a sent one.
    ///
    /// # Errors
    /// `NotFound` when the staged file is gone.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, MailboxError> {
        let (spool, is_parked) = {
            let inner = self.inner.lock();
            (inner.spool.clone(), inner.is_parked)
        };
        let gone = MailboxError::NotFound("staged file");
        match (spool, self.core.upgrade()) {
            (Some(spool), _) => spool.read_at(offset, len),
            (None, Some(core)) if is_parked => {
                Spool::look(&core.spool, &self.spool_name)?.ok_or(gone)?.read_at(offset, len)
            }
            (None, _) => Err(gone),
        }
    }

    /// Returns a reader over the registry for a sent file; `None` while the staged file holds the
    /// content.
    pub fn reader(&self) -> Option<MessageReader> {
        let inner = self.inner.lock();
        if (inner.spool.is_some() || inner.is_parked) && !inner.recovered {
            return None;
        }
        let message = inner.current_message()?;
        let core = self.core.upgrade()?;
        MessageReader::of_manifest(&core, message.digest, &message.manifest).ok()
    }

    /// Moves the file along the table; returns whether the event was possible.
    pub(super) fn apply(&self, event: Event) -> bool {
        self.apply_locked(&mut self.inner.lock(), event)
    }

    pub(super) fn apply_locked(&self, inner: &mut Inner, event: Event) -> bool {
        let Some(next) = inner.state.after(event) else { return false };
        inner.state = next;
        if !matches!(next, SendState::Failed | SendState::Abandoned) {
            inner.error = None;
        }
        self.watch.send_replace(next);
        true
    }

    pub(super) fn note_change(&self, inner: &mut Inner) {
        inner.generation += 1;
        let core = self.core.upgrade();
        inner.mtime = core.as_ref().map_or(inner.mtime, |core| core.clock.now());
        let was_draft = inner.state == SendState::Draft;
        self.apply_locked(inner, Event::Changed);
        if let (Some(place), Some(core), false) = (inner.queue_place, core, was_draft) {
            // A late store of a mapping, after the close that queued the file.
            queue::demote_soon(&core, &self.recipient, place);
        }
    }

    fn writable_spool(&self) -> Result<std::sync::Arc<Spool>, MailboxError> {
        let inner = self.inner.lock();
        if inner.state == SendState::Sent {
            return Err(MailboxError::NotPermitted("a sent message is immutable"));
        }
        inner.spool.clone().ok_or(MailboxError::NotFound("staged file"))
    }
}

impl Inner {
    /// Returns whether the prepared message covers the current content and name.
    pub(super) fn is_prepared(&self) -> bool {
        self.prepared
            .as_ref()
            .is_some_and(|done| done.complete && done.generation == self.generation)
    }

    /// Returns the message that covers the current content and name and is in the registry, all but
    /// its tag.
    pub(super) fn prepared_message(&self) -> Option<&PreparedMessage> {
        self.current_message().filter(|_message| self.is_prepared())
    }

    pub(super) fn current_message(&self) -> Option<&PreparedMessage> {
        self.prepared
            .as_ref()
            .filter(|done| done.generation == self.generation)
            .map(|done| &done.message)
    }

    /// Returns whether more whole chunks wait for the registry than a copy should be ahead.
    fn is_far_ahead(&self) -> bool {
        self.uploading && self.chunks.is_far_ahead(self.len)
    }

    pub(super) fn fail(&mut self, error: &MailboxError) {
        self.state = SendState::Failed;
        self.error = Some((error.class(), error.to_string()));
    }
}
