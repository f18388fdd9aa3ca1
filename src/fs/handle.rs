//! Open files and directories.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::error::FsError;
use super::node::{Dir, Node};
use crate::mailbox::{MessageReader, OutboxFile};

/// The state of an open file or directory.
#[derive(Debug)]
pub(crate) enum Handle {
    /// A directory.
    Dir(DirHandle),
    /// A message in `inbox/`.
    Message(OpenMessage),
    /// A text as it was at the open.
    Text(Bytes),
    /// A file in `outbox/` opened for reading only.
    OutgoingReader(OutgoingReader),
    /// A file in `outbox/` opened for writing.
    Writer(Arc<Writer>),
    /// A sent file opened for writing; it becomes a writer once it is truncated to nothing, or
    /// written at its beginning.
    Sealed(Sealed),
}

/// A reader with its own read-ahead, and the subject of its errors.
#[derive(Clone)]
pub(crate) struct OpenMessage {
    /// The reader.
    pub reader: MessageReader,
    /// The file's path, for `.dockercomms/errors`.
    pub subject: Arc<str>,
}

impl std::fmt::Debug for OpenMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenMessage({})", self.subject)
    }
}

/// Entries by name, shared between the reads of one directory stream.
pub(crate) type Entries = Arc<Vec<(String, Node)>>;

/// An open directory: the listing as of the last rewind, so that a reader sees no entry twice and
/// misses none that stayed, whatever arrives in the meantime.
#[derive(Debug)]
pub(crate) struct DirHandle {
    /// Which directory.
    pub dir: Dir,
    listing: Mutex<Option<Entries>>,
}

impl DirHandle {
    /// Opens `dir`; the listing is taken at the first read.
    pub(crate) fn new(dir: Dir) -> Self {
        Self { dir, listing: Mutex::new(None) }
    }

    /// Returns the listing for a read at `offset`; offset 0 takes a new one.
    pub(crate) fn listing(
        &self,
        offset: u64,
        take: impl FnOnce() -> Vec<(String, Node)>,
    ) -> Entries {
        let mut listing = self.listing.lock();
        match &*listing {
            Some(taken) if offset > 0 => Arc::clone(taken),
            _ => Arc::clone(listing.insert(Arc::new(take()))),
        }
    }
}

/// A read-only handle of a file in `outbox/`.
///
/// It names the inode, not the file: when a sent file is truncated into a new message, readers see
/// the new content, as they do on any file system.
#[derive(Debug)]
pub(crate) struct OutgoingReader {
    /// The inode.
    pub ino: u64,
    /// The reader of a sent message whose staged copy is gone; created once, for its read-ahead.
    pub reader: OnceLock<OpenMessage>,
}

/// A handle that may write; holds one writer reference of its file until released.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The inode, for finding other descriptors.
    pub ino: u64,
    /// The file.
    pub file: Arc<OutboxFile>,
    /// The process that opened it.
    pub opener: Option<u32>,
    close_failed: AtomicBool,
    /// An operation was refused that no error of a write tells of.
    was_refused: AtomicBool,
    /// 0, or the errno of the first write that failed.
    write_errno: AtomicI32,
}

impl Writer {
    /// Wraps a file whose writer reference the caller took.
    pub(crate) fn new(ino: u64, file: Arc<OutboxFile>, opener: Option<u32>) -> Self {
        Self {
            ino,
            file,
            opener,
            close_failed: AtomicBool::new(false),
            was_refused: AtomicBool::new(false),
            write_errno: AtomicI32::new(0),
        }
    }

    /// Notes a write that succeeded: the result of an earlier close no longer applies.
    pub(crate) fn note_written(&self) {
        self.close_failed.store(false, Ordering::Relaxed);
    }

    /// Notes a write that failed; the first error sticks until the handle is released.
    pub(crate) fn note_write_error(&self, errno: i32) {
        // A failure means that an earlier error is already stored.
        self.write_errno.compare_exchange(0, errno, Ordering::Relaxed, Ordering::Relaxed).ok();
    }

    /// Returns the errno of the first write that failed.
    pub(crate) fn write_errno(&self) -> Option<i32> {
        Some(self.write_errno.load(Ordering::Relaxed)).filter(|&errno| errno != 0)
    }

    /// Notes an operation that was refused; a program that can do without it writes.
    pub(crate) fn note_refused(&self) {
        self.was_refused.store(true, Ordering::Relaxed);
    }

    /// Returns whether an operation was refused.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused.load(Ordering::Relaxed)
    }

    /// Notes what the last close reported to its program.
    pub(crate) fn note_close(&self, failed: bool) {
        self.close_failed.store(failed, Ordering::Relaxed);
    }

    /// Returns whether the last close failed and nothing was written since.
    pub(crate) fn close_failed(&self) -> bool {
        self.close_failed.load(Ordering::Relaxed)
    }
}

/// A handle of a sent file that may become a new message, as long as nothing was written.
///
/// vim opens a file for writing, checks that it is still the same, and then truncates it. If the
/// open were refused, it would remove the file and give up over an empty one. smbd opens to read and
/// write, and truncates; sftp-server writes from the beginning on, and truncates at the end.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// Reads the sent message.
    pub message: OutgoingReader,
    /// The process that opened it.
    pub opener: Option<u32>,
    was_refused: AtomicBool,
}

impl Sealed {
    /// Returns a handle through which nothing was attempted yet.
    pub(crate) fn new(ino: u64, opener: Option<u32>) -> Self {
        let message = OutgoingReader { ino, reader: OnceLock::new() };
        Self { message, opener, was_refused: AtomicBool::new(false) }
    }

    /// Returns the inode.
    pub(crate) fn ino(&self) -> u64 {
        self.message.ino
    }

    /// Returns whether a write at `offset` may be the first one of a new message; a program that
    /// begins elsewhere changes a part.
    pub(crate) fn may_begin_at(&self, offset: u64) -> bool {
        offset == 0 && !self.was_refused()
    }

    /// Notes a refused change; its close reports it again.
    pub(crate) fn note_refused(&self) {
        self.was_refused.store(true, Ordering::Relaxed);
    }

    /// Returns whether a change was refused.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused.load(Ordering::Relaxed)
    }
}

/// The table of handles that the kernel holds.
#[derive(Debug)]
pub(crate) struct Handles {
    handles: RwLock<HashMap<u64, Arc<Handle>>>,
    next: AtomicU64,
}

impl Handles {
    /// Returns an empty table.
    pub(crate) fn new() -> Self {
        Self { handles: RwLock::default(), next: AtomicU64::new(1) }
    }

    /// Adds a handle and returns its number, which is never used again.
    pub(crate) fn insert(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.handles.write().insert(number, Arc::new(handle));
        number
    }

    /// Returns a handle.
    ///
    /// # Errors
    /// `BadHandle` when it was released or never issued.
    pub(crate) fn get(&self, number: u64) -> Result<Arc<Handle>, FsError> {
        self.handles.read().get(&number).cloned().ok_or(FsError::BadHandle)
    }

    /// Turns a sealed handle into a writer; `false` when it is not (or no longer) sealed.
    pub(crate) fn unseal(&self, number: u64, writer: Arc<Writer>) -> bool {
        let mut handles = self.handles.write();
        let sealed =
            handles.get_mut(&number).filter(|handle| matches!(***handle, Handle::Sealed(_)));
        let Some(handle) = sealed else { return false };
        *handle = Arc::new(Handle::Writer(writer));
        true
    }

    /// Removes a handle from the table.
    pub(crate) fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.handles.write().remove(&number)
    }
}

impl Default for Handles {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> (String, Node) {
        (name.to_owned(), Node::Dir(Dir::Sender(name.to_owned())))
    }

    #[test]
    fn a_directory_reader_keeps_its_listing_until_it_rewinds() {
        let handle = DirHandle::new(Dir::Inbox);
        let one = || vec![entry("a")];
        let two = || vec![entry("a"), entry("b")];

        assert_eq!(handle.listing(0, one).len(), 1);
        assert_eq!(handle.listing(1, two).len(), 1);
        assert_eq!(handle.listing(0, two).len(), 2);
    }

    #[test]
    fn a_released_handle_is_refused() {
        let handles = Handles::new();
        let number = handles.insert(Handle::Text(Bytes::from_static(b"x")));

        assert!(handles.get(number).is_ok());
        handles.remove(number);
        assert!(matches!(handles.get(number), Err(FsError::BadHandle)));
        assert_ne!(handles.insert(Handle::Text(Bytes::new())), number);
    }
}
