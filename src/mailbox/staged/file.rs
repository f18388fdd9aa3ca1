//! One file of the outbox, alive while it is listed or open.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Notify, watch};

use super::area::StagingArea;
use super::attributes::Attributes;
use super::content::Content;
use super::failure::FailureNote;
use super::lock::LastMutex;
use super::member::Member;
use super::outcome::{Failure, Outcome};
use super::place::Place;
use super::promise::{Promise, RowReach, Version};
use super::spool::Spool;
use super::state::SendState;
use crate::mailbox::entry::EntryPath;
use crate::protocol::{
    Digest, Envelope, ErrorClass, FileName, Identity, Message, MessageId, ReceiptStatus, Timestamp,
};
use crate::store::{OutboxEntry, OutboxState, PreparedMessage};

/// A file in `outbox/<recipient>/`: one promise of a staged content.
///
/// Content is in a staged file until the message is sent; several promises may share it, each with
/// its own name, place in the queue and outcome. All methods are short and local; nothing here
/// waits for the network.
pub struct OutboxFile {
    id: i64,
    recipient: Identity,
    staged: Arc<Staged>,
    /// Which member of `staged` this is.
    index: usize,
    /// Held by the one task that prepares or publishes this file.
    pub(super) delivery: tokio::sync::Mutex<()>,
    /// How many calls want to change the file and wait for `delivery`; the queue gives way to them.
    pub(super) claims: watch::Sender<u32>,
}

/// A staged content and every promise of it.
pub(super) struct Staged {
    pub(super) area: Arc<StagingArea>,
    /// The staged file's random name, also after that file is gone.
    pub(super) spool_name: String,
    inner: LastMutex<Inner>,
    /// Woken whenever an upload of a chunk ends.
    pub(super) uploads_moved: Notify,
}

/// What the lock guards: all of it changes together.
pub(super) struct Inner {
    pub(super) content: Content,
    pub(super) attributes: Attributes,
    pub(super) members: Vec<Member<Arc<OutboxFile>>>,
}

impl Staged {
    fn new(area: &Arc<StagingArea>, spool_name: String, inner: Inner) -> Arc<Self> {
        Arc::new(Self {
            area: Arc::clone(area),
            spool_name,
            inner: LastMutex::new(inner),
            uploads_moved: Notify::new(),
        })
    }

    pub(super) fn with<R>(&self, read: impl FnOnce(&mut Inner) -> R) -> R {
        read(&mut self.inner.lock())
    }

    /// Adds a promise of the content.
    fn promise(
        self: &Arc<Self>,
        id: i64,
        recipient: &Identity,
        place: Place<Arc<OutboxFile>>,
        promise: Promise,
        outcome: Outcome,
    ) -> Arc<OutboxFile> {
        let member = Member::new(recipient.clone(), place, promise, outcome);
        let index = self.with(|inner| {
            inner.members.push(member);
            inner.members.len() - 1
        });
        Arc::new(OutboxFile {
            id,
            recipient: recipient.clone(),
            staged: Arc::clone(self),
            index,
            delivery: tokio::sync::Mutex::new(()),
            claims: watch::Sender::new(0),
        })
    }
}

/// A new content that no file promises yet.
pub(in crate::mailbox) struct NewContent(Arc<Staged>);

impl NewContent {
    /// Takes an empty staged file, open for one writer.
    pub(in crate::mailbox) fn new(area: &Arc<StagingArea>, spool: Spool, mode: u32) -> Self {
        let spool_name = spool.name();
        let inner = Inner {
            content: Content::new(spool, area.chunk_bytes()),
            attributes: Attributes::new(area.clock().now(), mode & 0o777),
            members: Vec::new(),
        };
        Self(Staged::new(area, spool_name, inner))
    }

    /// Makes a draft for one recipient; several of one content are sent separately.
    pub(in crate::mailbox) fn draft(
        &self,
        id: i64,
        recipient: &Identity,
        path: &EntryPath,
    ) -> Arc<OutboxFile> {
        let outcome = Outcome::new(SendState::Draft, None, None);
        self.0.promise(id, recipient, Place::new(path.clone(), false), Promise::default(), outcome)
    }
}

impl OutboxFile {
    /// Returns the file of a row, with the staged file if this process has taken it over.
    pub(in crate::mailbox) fn of_entry(
        area: &Arc<StagingArea>,
        entry: OutboxEntry,
        spool: Option<Spool>,
    ) -> Arc<Self> {
        let state = state_of(entry.state);
        let reach = match state {
            SendState::Prepared | SendState::Sent => RowReach::Promised,
            // It has a message only when no more than its tag was missing.
            SendState::Failed => RowReach::Refused,
            _ => RowReach::Built,
        };
        // The bytes of the others were made durable: before the close of a queued file returned,
        // and before a failure was recorded.
        let is_vouched = state != SendState::Prepared || entry.queue_place.is_some();
        let content = Content::recovered(spool, entry.len, is_vouched, area.chunk_bytes());
        let path = EntryPath::stored(entry.directory.as_deref(), &entry.name);
        let place = Place::new(path, entry.hidden);
        let failure = entry.error.map(|error| Failure {
            class: ErrorClass::of_code(&error.code).unwrap_or(ErrorClass::Internal),
            text: error.text,
            is_unattended: entry.unattended,
        });
        let version = Version { content: content.generation(), name: place.name_version() };
        // Nothing is promised of a draft or an abandoned file, whatever an earlier close has said.
        let is_over = matches!(state, SendState::Draft | SendState::Abandoned);
        let message = entry.message.filter(|_message| !is_over);
        let promise =
            Promise::recovered(entry.queue_place, entry.message_id, message, version, reach);
        let attributes = Attributes::new(entry.mtime.to_system_time(), entry.mode);
        let inner = Inner { content, attributes, members: Vec::new() };
        let staged = Staged::new(area, entry.spool, inner);
        let outcome = Outcome::new(state, failure, entry.receipt);
        staged.promise(entry.id, &entry.recipient, place, promise, outcome)
    }

    /// Reads or changes the content and this promise of it, in one step.
    pub(super) fn with<R>(
        &self,
        change: impl FnOnce(&mut Content, &mut Member<Arc<OutboxFile>>) -> R,
    ) -> R {
        self.staged.with(|inner| change(&mut inner.content, &mut inner.members[self.index]))
    }

    pub(super) fn staged(&self) -> &Arc<Staged> {
        &self.staged
    }

    pub(super) fn member<'a>(&self, inner: &'a Inner) -> &'a Member<Arc<OutboxFile>> {
        &inner.members[self.index]
    }

    pub(super) fn member_mut<'a>(&self, inner: &'a mut Inner) -> &'a mut Member<Arc<OutboxFile>> {
        &mut inner.members[self.index]
    }

    pub(super) fn now(&self) -> Timestamp {
        self.staged.area.clock().now().into()
    }

    /// Returns the other promises of the same content.
    pub(super) fn others<'a>(
        &self,
        inner: &'a Inner,
    ) -> impl Iterator<Item = &'a Member<Arc<OutboxFile>>> {
        let index = self.index;
        let others = inner.members.iter().enumerate().filter(move |(other, _)| *other != index);
        others.map(|(_, member)| member)
    }

    /// Returns the row's number: stable, never reused.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Returns whether `text` is the row's number, or the id of the message.
    pub fn matches_reference(&self, text: &str) -> bool {
        let id: Option<MessageId> = text.parse().ok();
        self.id.to_string() == text || (id.is_some() && self.message_id() == id)
    }

    /// Returns a name that no other content has, of this mailbox or of another one.
    pub fn unique_name(&self) -> &str {
        &self.staged.spool_name
    }

    /// Returns the recipient.
    pub fn recipient(&self) -> &Identity {
        &self.recipient
    }

    /// Returns the current name: its path below the recipient's directory.
    pub fn name(&self) -> String {
        self.with(|_, member| member.place.path().as_str().to_owned())
    }

    pub(in crate::mailbox) fn path(&self) -> EntryPath {
        self.with(|_, member| member.place.path().clone())
    }

    /// Returns the name that the recipient sees (P7): the current one in NFC.
    pub fn file_name(&self) -> FileName {
        self.with(|_, member| member.place.path().file_name().clone())
    }

    /// Returns the name of the file in `errors`.
    pub(in crate::mailbox) fn subject(&self) -> String {
        format!("outbox/{}/{}", self.recipient.dir_name(), self.name())
    }

    /// Returns the current state.
    pub fn state(&self) -> SendState {
        self.with(|_, member| member.state())
    }

    /// Returns the states from now on.
    pub(in crate::mailbox) fn watch_states(&self) -> watch::Receiver<SendState> {
        self.with(|_, member| member.watch())
    }

    /// Returns the word for the state alone, how the message was withdrawn, or that it is lost;
    /// `local.rs` has the one that is shown.
    pub(in crate::mailbox) fn own_state(&self) -> &'static str {
        self.with(|_, member| match member.outcome.withdrawn() {
            Some(why) => why.as_str(),
            None if member.outcome.is_lost() => "lost",
            None => member.state().as_str(),
        })
    }

    /// Returns whether the registry no longer has the message, and no receipt for it has come.
    pub fn is_lost(&self) -> bool {
        self.with(|_, member| member.outcome.is_lost())
    }

    /// Returns whether the file has left the list: removed or replaced.
    pub fn is_unlinked(&self) -> bool {
        self.with(|_, member| !member.place.is_active())
    }

    /// Returns the length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a file's size, not a container's")]
    pub fn len(&self) -> u64 {
        self.with(|content, _| content.len())
    }

    /// Returns the time of the last change of content, or what a program has set.
    pub fn mtime(&self) -> SystemTime {
        self.staged.with(|inner| inner.attributes.mtime)
    }

    /// Returns when its content was begun: at its creation, or when it was last cut to nothing.
    pub(in crate::mailbox) fn begun_at(&self) -> SystemTime {
        self.staged.with(|inner| inner.attributes.begun_at)
    }

    /// Sets the time; kept locally, never sent.
    pub fn set_mtime(&self, mtime: SystemTime) {
        self.staged.with(|inner| inner.attributes.mtime = mtime);
    }

    /// Returns the permission bits that a program has set.
    ///
    /// Also of a sent file, which no mode protects better than the refusal of every change: without
    /// the owner's right to write, the kernel and smbd would refuse the copy over it that makes a
    /// new message.
    pub fn mode(&self) -> u32 {
        self.staged.with(|inner| inner.attributes.mode)
    }

    /// Sets the permission bits; kept locally, never sent.
    pub fn set_mode(&self, mode: u32) {
        self.staged.with(|inner| inner.attributes.mode = mode & 0o777);
    }

    /// Returns a local extended attribute.
    pub fn xattr(&self, name: &str) -> Option<Vec<u8>> {
        self.staged.with(|inner| inner.attributes.xattr(name))
    }

    /// Sets a local extended attribute, or removes it.
    ///
    /// # Errors
    /// `TooLarge` when the file's attributes would take more than 64 KiB.
    pub fn set_xattr(
        &self,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<(), crate::mailbox::MailboxError> {
        self.staged.with(|inner| inner.attributes.set_xattr(name, value))
    }

    /// Returns the names of the local extended attributes.
    pub fn xattr_names(&self) -> Vec<String> {
        self.staged.with(|inner| inner.attributes.xattr_names())
    }

    /// Returns whether the file stays local where it lies.
    pub fn is_temporary(&self) -> bool {
        self.with(|_, member| self.staged.area.is_temporary(member.place.path()))
    }

    /// Returns how many handles may write.
    pub fn writer_count(&self) -> u32 {
        self.with(|content, _| content.writer_count())
    }

    /// Returns whether there is content or a name that no `prepare` has covered.
    pub fn is_dirty(&self) -> bool {
        self.with(|content, member| match member.state() {
            SendState::Sent | SendState::Queued => false,
            SendState::Preparing if member.promise.queue_place().is_some() => false,
            _ => !member.is_promised(content),
        })
    }

    /// Returns whether the content is durable and waits for its delivery in the background.
    pub fn is_queued(&self) -> bool {
        self.with(|_, member| {
            member.promise.queue_place().is_some()
                && matches!(member.state(), SendState::Queued | SendState::Preparing)
        })
    }

    /// Returns the place in the recipient's queue, smaller ones first; `None` outside of it.
    pub fn queue_place(&self) -> Option<i64> {
        self.with(|_, member| member.promise.queue_place())
    }

    /// Returns why the file was not sent, when only this note says so.
    pub fn failure_note(&self) -> Option<FailureNote> {
        self.staged.with(|inner| {
            let member = self.member(inner);
            let failure = member.outcome.failure()?;
            if member.state() != SendState::Failed || !failure.is_unattended {
                return None;
            }
            Some(FailureNote::new(
                member.place.path().name().as_str(),
                &self.recipient,
                failure.class,
                &failure.text,
                inner.attributes.mtime,
            ))
        })
    }

    /// Returns why the file is Failed or Abandoned, or why it waits.
    pub fn error(&self) -> Option<(ErrorClass, String)> {
        self.with(|_, member| {
            member.outcome.failure().map(|failure| (failure.class, failure.text.clone()))
        })
    }

    /// Returns the message that covers the current content and name.
    pub(in crate::mailbox) fn message(&self) -> Option<PreparedMessage> {
        self.with(|content, member| member.message(content).cloned())
    }

    /// Returns the digest of the message, once it was prepared.
    pub fn digest(&self) -> Option<Digest> {
        self.with(|content, member| member.message(content).map(|message| message.digest))
    }

    /// Returns the id of the message, once it was prepared or queued.
    pub fn message_id(&self) -> Option<MessageId> {
        self.with(|content, member| {
            let made = member.message(content).map(|message| message.id);
            made.or_else(|| member.promise.reserved_id())
        })
    }

    /// Returns the tag that commits the message, once it was prepared.
    #[cfg(test)]
    pub(in crate::mailbox) fn tag(&self) -> Option<crate::protocol::Tag> {
        self.with(|content, member| member.message(content).map(|message| message.tag.clone()))
    }

    /// Returns the bytes of the message's manifest, once it was prepared.
    pub(in crate::mailbox) fn manifest(&self) -> Option<Vec<u8>> {
        self.with(|content, member| member.message(content).map(|message| message.manifest.clone()))
    }

    /// Returns what the message says about itself, once it was prepared.
    pub fn envelope(&self) -> Option<Envelope> {
        Message::parse(&self.manifest()?).ok().map(|message| message.envelope)
    }

    /// Returns the newest verified receipt.
    pub fn receipt(&self) -> Option<ReceiptStatus> {
        self.with(|_, member| member.outcome.receipt())
    }

    /// Returns how many bytes are in the registry, and how many there are.
    pub fn progress(&self) -> (u64, u64) {
        self.with(|content, member| match member.state() {
            SendState::Prepared | SendState::Sent => (content.len(), content.len()),
            _ => (content.chunks().bytes_done(content.len()), content.len()),
        })
    }
}

impl std::fmt::Debug for OutboxFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutboxFile({}, {})", self.id, self.state())
    }
}

fn state_of(row: OutboxState) -> SendState {
    match row {
        OutboxState::Draft => SendState::Draft,
        OutboxState::Queued => SendState::Queued,
        OutboxState::Prepared => SendState::Prepared,
        OutboxState::Sent => SendState::Sent,
        OutboxState::Failed => SendState::Failed,
        OutboxState::Abandoned => SendState::Abandoned,
    }
}
