//! The product without a user interface: send, discover, read, acknowledge.
//!
//! SKELETON: signatures only, for the layers above. The bodies arrive with the real module.
#![allow(clippy::todo, missing_docs, unused_variables, clippy::unused_async, dead_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::protocol::{
    Compression, Digest, ErrorClass, FileName, Identity, Message, MessageId, ReceiptStatus, Tag,
    Timestamp,
};
use crate::registry::{RegistryError, Repository};
use crate::sys::Clock;

/// Why a verb of the mailbox failed. Has more variants in the real module; callers use only these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailboxError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("interrupted")]
    Interrupted,
    #[error("no such {0}")]
    NotFound(&'static str),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
}

impl MailboxError {
    pub fn class(&self) -> ErrorClass {
        todo!()
    }
    /// What to do next, one sentence; shown after `hint:`.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

/// How the mailbox behaves; every default is stated in `config.toml`'s comments too.
#[derive(Debug, Clone)]
pub struct MailboxOptions {
    /// My identities; the first one signs. Never empty.
    pub me: Vec<Identity>,
    /// Default zstd.
    pub compression: Compression,
    /// Default 8 MiB.
    pub chunk_bytes: u64,
    /// Default 604800.
    pub ttl_secs: u64,
    /// Time between polls. Default 5 s.
    pub poll: Duration,
    /// Window after the last close in which a rename or reopening still belongs to the same file. 500 ms.
    pub settle: Duration,
    /// The same for empty files. 2 s.
    pub settle_empty: Duration,
    /// Whether `accepted` receipts are sent by themselves. Default true.
    pub automatic_receipts: bool,
    /// Names that stay local (glob patterns of DESIGN 1).
    pub temporary_names: Vec<String>,
    /// Payload bytes kept in memory at once by uploads. Default: 4 chunks in flight.
    pub uploads_max: usize,
}

impl MailboxOptions {
    /// The defaults for `me`.
    pub fn new(me: Identity) -> Self {
        todo!()
    }
}

/// Where the current trust store comes from; asked before every verification, so that
/// `trust add` takes effect while mounted.
pub trait TrustSource: Send + Sync + 'static {
    fn current(&self) -> Result<Arc<crate::trust_stub::TrustStore>, MailboxError>;
}

/// What a mailbox is made of.
pub struct MailboxParts {
    /// Already wrapped in retry with its deadline.
    pub repository: Arc<dyn Repository>,
    // pub store: Store, pub cache: ChunkCache, pub key: SigningKey   (real types in the real module)
    pub trust: Arc<dyn TrustSource>,
    pub clock: Arc<dyn Clock>,
    /// Directory of staged files, created 0700.
    pub spool: PathBuf,
    pub options: MailboxOptions,
}

/// The one facade used by `fs` and `cli`. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox(Arc<()>);

impl Mailbox {
    /// Opens the mailbox, recovers what a crash left, loads the listings. No network.
    /// Must be called inside a tokio runtime.
    pub async fn open(parts: MailboxParts) -> Result<Self, MailboxError> {
        todo!()
    }
    /// Starts the background work of a mount: polling, publishing, receipts.
    pub fn start(&self) {
        todo!()
    }
    /// Publishes Prepared files at once, stops background work, joins all tasks; bounded by `within`.
    pub async fn shutdown(&self, within: Duration) {
        todo!()
    }
    /// A counter that changes whenever a listing changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        todo!()
    }
    /// The immutable view that metadata calls read. Cheap (an Arc clone).
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!()
    }
    pub fn options(&self) -> &MailboxOptions {
        todo!()
    }
    pub fn status(&self) -> Status {
        todo!()
    }
    pub fn inbox(&self) -> &Inbox {
        todo!()
    }
    pub fn outbox(&self) -> &Outbox {
        todo!()
    }
    /// Remembers an error for `.dockercomms/errors`: what it was about, and the error.
    pub fn record_error(&self, subject: &str, error: &MailboxError) {
        todo!()
    }
    /// Issues a receipt for a message that I received. At most one per status; durable, then pushed in the background
    /// (or at once by `flush_receipts`).
    pub async fn acknowledge(
        &self,
        message: &Digest,
        status: ReceiptStatus,
        reason: Option<&str>,
    ) -> Result<(), MailboxError> {
        todo!()
    }
    /// Pushes all receipts that are due, now; for the command line.
    pub async fn flush_receipts(&self) -> Result<usize, MailboxError> {
        todo!()
    }
    /// Looks for receipts of what I sent, now.
    pub async fn poll_receipts(&self) -> Result<usize, MailboxError> {
        todo!()
    }
}

/// An immutable view of all listings. Directory names are already escaped; BTreeMap = listing order.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// sender directory name -> file name -> message
    pub inbox:
        std::collections::BTreeMap<String, Arc<std::collections::BTreeMap<String, Arc<InboxItem>>>>,
    /// recipient directory name -> directory. Exists after mkdir, or while it has files.
    pub outbox: std::collections::BTreeMap<String, Arc<OutboxDir>>,
    /// peer directory name -> file name -> JSON text
    pub receipts_sent: std::collections::BTreeMap<
        String,
        Arc<std::collections::BTreeMap<String, Arc<ReceiptItem>>>,
    >,
    pub receipts_issued: std::collections::BTreeMap<
        String,
        Arc<std::collections::BTreeMap<String, Arc<ReceiptItem>>>,
    >,
    /// claimed sender directory name (escaped) -> `<file>.WHY.txt` -> entry
    pub quarantine: std::collections::BTreeMap<
        String,
        Arc<std::collections::BTreeMap<String, Arc<QuarantineItem>>>,
    >,
    /// newest last
    pub errors: Vec<ErrorLine>,
}

#[derive(Debug)]
pub struct OutboxDir {
    pub recipient: Identity,
    pub files: std::collections::BTreeMap<String, Arc<OutboxFile>>,
}

/// A verified message in the inbox.
#[derive(Debug)]
pub struct InboxItem {
    pub digest: Digest,
    pub sender: Identity,
    pub signer: String,
    pub recipient: Identity,
    pub name: String,
    pub message: Message,
    pub arrived_at: Timestamp,
    /// `accepted`/`rejected` when I issued a receipt.
    pub receipt: Option<ReceiptStatus>,
}

#[derive(Debug)]
pub struct ReceiptItem {
    pub message: Digest,
    pub status: ReceiptStatus,
    /// Signed by the peer (sent/) or by me (issued/); false = unsigned claim.
    pub signed: bool,
    pub created_at: Timestamp,
    /// Pretty-printed JSON with a final newline: the file's content.
    pub json: String,
}

#[derive(Debug)]
pub struct QuarantineItem {
    pub digest: Option<Digest>,
    pub tag: Option<Tag>,
    pub code: String,
    /// Waiting for its bundle or its time, not refused for good.
    pub pending: bool,
    pub first_seen: Timestamp,
    /// The text of the WHY file.
    pub text: String,
}

#[derive(Debug, Clone)]
pub struct ErrorLine {
    pub at: Timestamp,
    pub code: String,
    pub subject: String,
    pub text: String,
    pub hint: Option<String>,
}

/// Who am I, how is the registry, what is under way. Serialises to status.json.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Status {
    pub me: Vec<String>,
    pub fingerprint: String,
    pub repository: String,
    pub version: &'static str,
    /// `ok`, `unreachable: …`, `never polled`
    pub registry: String,
    pub last_poll: Option<String>,
    pub inbox_count: usize,
    pub outbox_queued: usize,
    pub outbox_failed: usize,
    pub quarantine_count: usize,
    pub transfers: Vec<Transfer>,
    pub blobs_fetched: u64,
    pub blob_bytes_fetched: u64,
    pub cache_memory_bytes: u64,
    pub cache_disk_bytes: u64,
}
#[derive(Debug, Clone, serde::Serialize)]
pub struct Transfer {
    pub direction: &'static str,
    pub peer: String,
    pub name: String,
    pub state: String,
    pub bytes_done: u64,
    pub bytes_total: u64,
}

/// What was sent to me.
pub struct Inbox(());
impl Inbox {
    /// Polls once: lists, discovers, verifies, admits. Returns how many messages are new.
    pub async fn poll(&self) -> Result<PollReport, MailboxError> {
        todo!()
    }
    /// A reader with its own read-ahead state: one for each open file.
    pub fn open(&self, digest: &Digest) -> Result<MessageReader, MailboxError> {
        todo!()
    }
    /// Hides a message locally; the registry is untouched. Undone by `restore`.
    pub async fn dismiss(&self, digest: &Digest) -> Result<(), MailboxError> {
        todo!()
    }
    pub async fn restore(&self, digest: &Digest) -> Result<(), MailboxError> {
        todo!()
    }
    pub async fn dismissed(&self) -> Result<Vec<Arc<InboxItem>>, MailboxError> {
        todo!()
    }
}
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct PollReport {
    pub admitted: usize,
    pub quarantined: usize,
    pub pending: usize,
    pub truncated: bool,
}

/// Reads one message lazily; every byte returned was verified. Cheap to clone (shares read-ahead).
#[derive(Clone)]
pub struct MessageReader(Arc<()>);
impl MessageReader {
    pub fn len(&self) -> u64 {
        todo!()
    }
    /// Up to `len` bytes from `offset`; short only at the end of the file. Fetches what is missing.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, MailboxError> {
        todo!()
    }
    /// The same from memory only, at once; `None` when something must be fetched or read from disk.
    pub fn try_read_cached(&self, offset: u64, len: usize) -> Option<Bytes> {
        todo!()
    }
}

/// What I send.
pub struct Outbox(());
impl Outbox {
    /// Makes `outbox/<recipient>/` listed from now on.
    pub async fn add_recipient(&self, recipient: &Identity) -> Result<(), MailboxError> {
        todo!()
    }
    /// Forgets an empty recipient directory (rmdir). NotPermitted when it still has files.
    pub async fn remove_recipient(&self, recipient: &Identity) -> Result<(), MailboxError> {
        todo!()
    }
    /// Whether `name` matches the list of names that stay local.
    pub fn is_temporary(&self, name: &str) -> bool {
        todo!()
    }
    /// Creates an empty Draft and takes one writer reference. `Exists` when a live file has the name.
    pub async fn create(
        &self,
        recipient: &Identity,
        name: &FileName,
        mode: u32,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        todo!()
    }
    /// Takes a writer reference for an existing file. Draft: as it is. Prepared: Draft again. Failed, Abandoned: Draft
    /// again. Sent: with `truncate` a new Draft under the same name (the old entry leaves the list), else NotPermitted.
    /// `truncate` also empties a Draft. Returns the file that the handle must use.
    pub async fn open_for_write(
        &self,
        file: &Arc<OutboxFile>,
        truncate: bool,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        todo!()
    }
    /// Drops a writer reference (FUSE release). When it was the last: starts the settle window; content that was never
    /// prepared is prepared in the background unless temporary or abandoned; empty files wait `settle_empty`.
    pub fn release_writer(&self, file: &Arc<OutboxFile>) {
        todo!()
    }
    /// Pushes every chunk, the manifest by digest and its bundle, and journals Prepared. Idempotent: at once when nothing changed.
    /// Cancelling gives `Interrupted` and leaves a Draft. An error leaves Failed and is recorded.
    pub async fn prepare(
        &self,
        file: &Arc<OutboxFile>,
        cancel: &CancellationToken,
    ) -> Result<(), MailboxError> {
        todo!()
    }
    /// Publishes the tag now (no settle window) and waits for it.
    pub async fn publish(&self, file: &Arc<OutboxFile>) -> Result<Digest, MailboxError> {
        todo!()
    }
    /// Waits until a Prepared file is Sent, at most `within`.
    pub async fn wait_sent(
        &self,
        file: &Arc<OutboxFile>,
        within: Duration,
    ) -> Result<(), MailboxError> {
        todo!()
    }
    /// Marks it never to be sent: its writer died or failed. Stays listed until removed or written again.
    pub fn abandon(&self, file: &Arc<OutboxFile>, why: &str) {
        todo!()
    }
    /// Makes what was written durable on the local disk (fsync of a Draft).
    pub async fn sync_spool(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        todo!()
    }
    /// Renames inside one recipient, replacing a Draft/Failed/Abandoned/Sent target (that entry leaves the list). Sent source:
    /// NotPermitted. A Draft or Prepared file gets the new name; the caller then calls `prepare` when the commit rule says so.
    pub async fn rename(&self, file: &Arc<OutboxFile>, to: &FileName) -> Result<(), MailboxError> {
        todo!()
    }
    /// rm: a Draft or Prepared file is cancelled and its spool removed (handles stay usable, nothing is sent); Sent leaves the list.
    pub async fn remove(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        todo!()
    }
    /// Bytes free and total where drafts are staged, for statfs: (total, free).
    pub fn space(&self) -> Result<(u64, u64), MailboxError> {
        todo!()
    }
    /// For the command line: stages `content`, prepares and publishes; returns the digest.
    pub async fn send(
        &self,
        recipient: &Identity,
        name: &FileName,
        content: Box<dyn std::io::Read + Send>,
        mtime: SystemTime,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<SentMessage, MailboxError> {
        todo!()
    }
}
#[derive(Debug, Clone, serde::Serialize)]
pub struct SentMessage {
    pub digest: String,
    pub message_id: String,
    pub tag: String,
    pub name: String,
    pub total_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendState {
    Draft,
    Preparing,
    Prepared,
    Sent,
    Failed,
    Abandoned,
}

/// A file in `outbox/<recipient>/`, alive while listed or open. Content I/O is local disk (never network) except reading a
/// Sent file, which goes through `reader`. Methods that touch the disk are blocking but short.
#[derive(Debug)]
pub struct OutboxFile(());
impl OutboxFile {
    /// Stable, never reused.
    pub fn id(&self) -> i64 {
        todo!()
    }
    pub fn recipient(&self) -> &Identity {
        todo!()
    }
    pub fn name(&self) -> String {
        todo!()
    }
    pub fn state(&self) -> SendState {
        todo!()
    }
    pub fn is_temporary(&self) -> bool {
        todo!()
    }
    /// Removed from the list (rm, replaced).
    pub fn is_unlinked(&self) -> bool {
        todo!()
    }
    pub fn len(&self) -> u64 {
        todo!()
    }
    pub fn mtime(&self) -> SystemTime {
        todo!()
    }
    pub fn mode(&self) -> u32 {
        todo!()
    }
    pub fn set_mode(&self, mode: u32) {
        todo!()
    }
    pub fn set_mtime(&self, mtime: SystemTime) {
        todo!()
    }
    pub fn writer_count(&self) -> u32 {
        todo!()
    }
    /// Whether there is content that no `prepare` has covered (rule 1 of the commit rule: false = nothing new).
    pub fn is_dirty(&self) -> bool {
        todo!()
    }
    /// The error of the last failed write or prepare, while it stands.
    pub fn error(&self) -> Option<(ErrorClass, String)> {
        todo!()
    }
    /// Writes into the spool; the chunk pipeline starts uploading whole chunks. Sent: NotPermitted.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), MailboxError> {
        todo!()
    }
    pub fn set_len(&self, len: u64) -> Result<(), MailboxError> {
        todo!()
    }
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, MailboxError> {
        todo!()
    }
    /// For reading a Sent file whose spool is gone; None while the spool is there.
    pub fn reader(&self) -> Option<MessageReader> {
        todo!()
    }
    pub fn digest(&self) -> Option<Digest> {
        todo!()
    }
    pub fn message_id(&self) -> Option<MessageId> {
        todo!()
    }
    pub fn receipt(&self) -> Option<ReceiptStatus> {
        todo!()
    }
    /// (bytes uploaded or known to be there, total)
    pub fn progress(&self) -> (u64, u64) {
        todo!()
    }
    pub fn xattr(&self, name: &str) -> Option<Vec<u8>> {
        todo!()
    }
    pub fn set_xattr(&self, name: &str, value: Option<&[u8]>) {
        todo!()
    }
    pub fn xattr_names(&self) -> Vec<String> {
        todo!()
    }
}
