//! The operations on the tree, independent of FUSE.
//!
//! Metadata is answered at once from the mailbox's snapshot; anything that must wait is an `async
//! fn` that the adapter runs as a task. One file per group of system calls: [`open`](self) and
//! reading, writing, committing (`close`, `fsync`), names, attributes.
//!
//! **Must never:** wait for the network in a function that is not async, touch a path inside the
//! mount, or hold a lock across an await.

mod attributes;
mod commit;
mod names;
mod open;
mod sealed;
mod write;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::open::{Caching, Opened, Read};
pub(crate) use self::write::{Changes, Written};
use super::arrivals::Announcements;
use super::attr::{self, Attr};
use super::error::FsError;
use super::handle::{Handle, Handles};
use super::inode::Inodes;
use super::name;
use super::node::{Dir, LiveText, Node};
use super::writers::Writers;
use super::{text, tree};
use crate::mailbox::{Mailbox, MailboxError, OutboxFile, Snapshot};
use crate::sys::Clock;

/// Most reads that wait for a fetch at once. Each may hold one megabyte; hung ones must not starve
/// the others, so it is far above the kernel's 64 background requests.
const READ_COUNT_MAX: usize = 1024;

/// Most closes, fsyncs and renames that push at once; uploads have their own, smaller bound.
const COMMIT_COUNT_MAX: usize = 256;

/// The mailbox as a directory tree.
pub(crate) struct Fs {
    mailbox: Mailbox,
    clock: Arc<dyn Clock>,
    mounted_at: SystemTime,
    outbox_changed_at: Mutex<SystemTime>,
    inodes: Inodes,
    handles: Handles,
    announcements: Announcements,
    writers: Writers,
    reads: Semaphore,
    commits: Semaphore,
    stop: CancellationToken,
}

/// One page of a directory: its entries, after `.` and `..` at the first two offsets.
pub(crate) struct Listing {
    /// All entries, of which the kernel wants those from its offset on.
    pub entries: Arc<Vec<(String, Node)>>,
    /// `.` and `..`, unless the offset is past them.
    pub dots: Vec<(&'static str, Attr)>,
}

/// Entries that a directory shows before its own: `.` and `..`.
pub(crate) const DOT_COUNT: u64 = 2;

/// What `statfs` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Blocks of [`attr::BLOCK_LEN`] bytes where drafts are staged.
    pub block_count: u64,
    /// Free ones.
    pub free_block_count: u64,
}

impl Fs {
    /// Makes the tree; cancelling `stop` wakes every waiting caller and ends the task in `tasks`.
    pub(crate) fn new(
        mailbox: Mailbox,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let now = clock.now();
        Self {
            writers: Writers::new(mailbox.clone(), stop.clone(), tasks),
            mailbox,
            clock,
            mounted_at: now,
            outbox_changed_at: Mutex::new(now),
            inodes: Inodes::new(),
            handles: Handles::new(),
            announcements: Announcements::default(),
            reads: Semaphore::new(READ_COUNT_MAX),
            commits: Semaphore::new(COMMIT_COUNT_MAX),
            stop,
        }
    }

    /// Returns the inodes that the kernel knows.
    pub(crate) fn inodes(&self) -> &Inodes {
        &self.inodes
    }

    /// Returns the arrivals that a helper is about to create.
    pub(crate) fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// As [`Fs::lookup`], for a given thread; a name is still hidden from the helper that announces
    /// it.
    pub(crate) fn lookup_by(
        &self,
        thread: u32,
        parent: u64,
        name: &OsStr,
    ) -> Result<Attr, FsError> {
        if self.announcements.is_helper(thread)
            && let (Ok(dir), Some(name)) = (self.dir(parent), name.to_str())
            && self.announcements.is_pending(&dir, name)
        {
            return Err(FsError::NoEntry);
        }
        self.lookup(parent, name)
    }

    /// Returns what the helper "creates" when it announces a name; for any other caller nothing.
    pub(crate) fn announced(
        &self,
        thread: u32,
        parent: u64,
        name: &OsStr,
    ) -> Option<Result<Attr, FsError>> {
        if !self.announcements.is_helper(thread) {
            return None;
        }
        let dir = self.dir(parent).ok()?;
        self.announcements.take(&dir, name.to_str()?).then(|| self.lookup(parent, name))
    }

    /// Finds a name; the caller's reference is counted.
    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attr, FsError> {
        let dir = self.dir(parent)?;
        let name = match name::listed(&dir, name) {
            Ok(name) => name,
            // Such a name cannot exist, and looking it up is not an error.
            Err(FsError::NotUtf8) => return Err(FsError::NoEntry),
            Err(error) => return Err(error),
        };
        let node = tree::child(&self.mailbox.snapshot(), &dir, &name).ok_or(FsError::NoEntry)?;
        Ok(self.acquire(&node))
    }

    /// Returns references that the kernel held.
    pub(crate) fn forget(&self, ino: u64, count: u64) {
        self.inodes.forget(ino, count);
    }

    /// Returns the attributes of an inode.
    pub(crate) fn getattr(&self, ino: u64) -> Result<Attr, FsError> {
        let node = self.node(ino)?;
        Ok(self.attr(&self.mailbox.snapshot(), ino, &node))
    }

    /// Returns the entries of an open directory, as they were when it was read from the start.
    pub(crate) fn readdir(&self, ino: u64, handle: u64, offset: u64) -> Result<Listing, FsError> {
        let handle = self.handles.get(handle)?;
        let Handle::Dir(open) = &*handle else { return Err(FsError::NotADirectory) };
        let snapshot = self.mailbox.snapshot();
        let entries = open.listing(offset, || tree::entries(&snapshot, &open.dir));
        let mut dots = Vec::new();
        // A directory's time is that of its newest entry: searching for it at every page would cost
        // the square of the entries.
        if offset < DOT_COUNT {
            let above = Node::Dir(open.dir.parent());
            dots.push((".", self.attr(&snapshot, ino, &Node::Dir(open.dir.clone()))));
            dots.push(("..", self.attr(&snapshot, self.inodes.number_of(&above), &above)));
        }
        Ok(Listing { entries, dots })
    }

    /// Returns the number that a listing shows for an entry, without counting a reference.
    pub(crate) fn number_of(&self, node: &Node) -> u64 {
        self.inodes.number_of(node)
    }

    /// Counts a reference to `node` and returns its attributes.
    pub(crate) fn acquire(&self, node: &Node) -> Attr {
        let ino = self.inodes.acquire(node);
        self.attr(&self.mailbox.snapshot(), ino, node)
    }

    /// Returns the space where drafts are staged; never zero, or file managers refuse to copy.
    pub(crate) fn statfs(&self) -> Result<Space, FsError> {
        let (total, free) = self.noted("statfs", self.mailbox.outbox().space())?;
        let blocks = |bytes: u64| (bytes / u64::from(attr::BLOCK_LEN)).max(1);
        Ok(Space { block_count: blocks(total), free_block_count: blocks(free) })
    }

    /// Decides `access(2)` if the kernel leaves it to us.
    pub(crate) fn access(
        &self,
        ino: u64,
        wants_write: bool,
        wants_execute: bool,
    ) -> Result<(), FsError> {
        match self.node(ino)? {
            // Searching a directory is what its execute bit means; unlinking in `inbox/` writes.
            Node::Dir(_) => Ok(()),
            Node::Outgoing(_) if !wants_execute => Ok(()),
            _ if wants_write || wants_execute => Err(FsError::AccessDenied),
            _ => Ok(()),
        }
    }

    fn attr(&self, snapshot: &Snapshot, ino: u64, node: &Node) -> Attr {
        let context = attr::Context {
            snapshot,
            mounted_at: self.mounted_at,
            outbox_changed_at: *self.outbox_changed_at.lock(),
            now: self.clock.now(),
        };
        let live_len = match node {
            Node::Live(live) => self.live_text(*live).len() as u64,
            _ => 0,
        };
        attr::of(context, ino, node, live_len)
    }

    fn live_text(&self, live: LiveText) -> String {
        match live {
            LiveText::Status => text::status(&self.mailbox.status()),
            LiveText::StatusJson => text::status_json(&self.mailbox.status()),
            LiveText::Errors => text::errors(&self.mailbox.snapshot().errors),
        }
    }

    fn node(&self, ino: u64) -> Result<Node, FsError> {
        self.inodes.get(ino).ok_or(FsError::NoEntry)
    }

    fn dir(&self, ino: u64) -> Result<Dir, FsError> {
        match self.node(ino)? {
            Node::Dir(dir) => Ok(dir),
            _ => Err(FsError::NotADirectory),
        }
    }

    fn outgoing(&self, ino: u64) -> Result<Arc<OutboxFile>, FsError> {
        match self.node(ino)? {
            Node::Outgoing(file) => Ok(file),
            _ => Err(FsError::BadHandle),
        }
    }

    fn note_outbox_change(&self) {
        *self.outbox_changed_at.lock() = self.clock.now();
    }

    /// Passes on a result of the mailbox; an error that a person will see as an errno is recorded
    /// in `.dockercomms/errors`.
    fn noted<T>(&self, subject: &str, result: Result<T, MailboxError>) -> Result<T, FsError> {
        if let Err(error) = &result
            && !error.is_plain_answer()
        {
            self.mailbox.record_error(subject, error);
        }
        result.map_err(FsError::Mailbox)
    }
}

fn subject_of(file: &OutboxFile) -> String {
    format!("outbox/{}/{}", file.recipient(), file.name())
}
