//! `create`, `open` for writing, `write`, `truncate`, `fallocate`, `chmod` and the like.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::{Caching, Fs, Opened, subject_of};
use crate::fs::attr::Attr;
use crate::fs::error::FsError;
use crate::fs::handle::{Handle, Sealed, Writer};
use crate::fs::interrupt::until_interrupted;
use crate::fs::node::{Dir, Node};
use crate::fs::requester::Requester;
use crate::fs::{errno, name, tree};
use crate::mailbox::{EntryPath, MailboxError, OutboxFile};
use crate::protocol::limits::PAYLOAD_LEN_MAX;
use crate::protocol::{ErrorClass, Identity};

/// Bits that would make a file run as another user; a message never does.
const SET_ID_BITS: u32 = 0o6000;

/// Longest time that the answer to a write is held back.
const HOLD_BACK_MAX: Duration = Duration::from_secs(5);

/// Bits that a new file takes from `open`: mail is private until `chmod` says otherwise.
const CREATE_MODE: u32 = 0o700;

/// What `setattr` requests, except the size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// New permission bits.
    pub mode: Option<u32>,
    /// New modification time.
    pub mtime: Option<SystemTime>,
    /// Whether another attribute was to be changed (owner, access time): accepted, not kept.
    pub others: bool,
}

/// A write that is in the spool.
pub(crate) enum Written {
    /// To be answered now.
    Done,
    /// To be answered after [`Fs::hold_back`]: the copy is far ahead of the registry.
    FarAhead(Arc<OutboxFile>),
}

impl Fs {
    /// Creates a file in a recipient's directory and opens it.
    pub(crate) async fn create(
        &self,
        parent: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
        requester: Requester,
    ) -> Result<(Attr, Opened), FsError> {
        let (recipient, path) = self.place_for_file(parent, name)?;
        let created = self.mailbox.outbox().create(&recipient, &path, mode & CREATE_MODE).await;
        let file = match created {
            Err(error) if error.class() == ErrorClass::Exists && flags & libc::O_EXCL == 0 => {
                // Another process was faster between the kernel's lookup and this.
                let snapshot = self.mailbox.snapshot();
                let dir = self.dir(parent)?;
                let name = path.name().as_str();
                let Some(Node::Outgoing(file)) = tree::child(&snapshot, &dir, name) else {
                    return Err(error.into());
                };
                let truncate = flags & libc::O_TRUNC != 0;
                let opened = self.mailbox.outbox().open_for_write(&file, truncate).await;
                self.noted(&subject_of(&file), opened)?
            }
            created => self.noted(&format!("outbox/{recipient}/{path}"), created)?,
        };
        self.note_outbox_change();
        let attr = self.acquire(&Node::Outgoing(Arc::clone(&file)));
        let opened = self.insert_writer(attr.ino, file, flags, requester);
        Ok((attr, opened))
    }

    /// Creates an empty file without opening it (`mknod`).
    pub(crate) async fn mknod(
        &self,
        parent: u64,
        name: &OsStr,
        mode: u32,
    ) -> Result<Attr, FsError> {
        let (recipient, path) = self.place_for_file(parent, name)?;
        let created = self.mailbox.outbox().create(&recipient, &path, mode & CREATE_MODE).await;
        let file = self.noted(&format!("outbox/{recipient}/{path}"), created)?;
        self.mailbox.outbox().release_writer(&file);
        self.note_outbox_change();
        Ok(self.acquire(&Node::Outgoing(file)))
    }

    /// Opens a file in `outbox/` for writing.
    ///
    /// A sent file opened with `O_TRUNC` becomes a new message behind the same inode: the kernel
    /// keeps its inode across a truncation and would otherwise show the old size.
    ///
    /// Without `O_TRUNC` and `O_APPEND` the open succeeds as well, see `sealed.rs`. All other opens
    /// for writing are `EPERM`.
    pub(crate) async fn open_writer(
        &self,
        ino: u64,
        flags: i32,
        requester: Requester,
    ) -> Result<Opened, FsError> {
        let file = self.outgoing(ino)?;
        let truncate = flags & libc::O_TRUNC != 0;
        match self.open_file(ino, &file, truncate).await {
            Ok(opened) => Ok(self.insert_writer(ino, opened, flags, requester)),
            Err(error) if is_immutable(&error) && may_begin_anew(flags) => {
                let sealed = Handle::Sealed(Sealed::new(ino, requester.process()));
                let is_write_only = flags & libc::O_ACCMODE == libc::O_WRONLY;
                let caching = if is_write_only { Caching::Written } else { Caching::Sealed };
                Ok(Opened { handle: self.handles.insert(sealed), caching })
            }
            Err(error) => self.noted(&subject_of(&file), Err(error)),
        }
    }

    /// Takes a writer reference of the file behind an inode, or of the one that replaces it.
    pub(super) async fn open_file(
        &self,
        ino: u64,
        file: &Arc<OutboxFile>,
        truncate: bool,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        let opened = self.mailbox.outbox().open_for_write(file, truncate).await?;
        self.writers.forget(&opened);
        if opened.id() != file.id() {
            self.inodes.replace(ino, &Node::Outgoing(Arc::clone(&opened)));
            self.note_outbox_change();
        }
        Ok(opened)
    }

    /// Writes into the spool.
    pub(crate) fn write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<Written, FsError> {
        let writer = self.writer(handle)?;
        let fits = offset.checked_add(data.len() as u64).is_some_and(|end| end <= PAYLOAD_LEN_MAX);
        let written = if fits {
            let written = self.mailbox.outbox().write_at(&writer.file, offset, data);
            written.or_else(|error| self.noted(&subject_of(&writer.file), Err(error)))
        } else {
            Err(FsError::TooLarge)
        };
        note(&writer, written)?;
        Ok(if writer.file.is_far_ahead(offset, data.len() as u64) {
            Written::FarAhead(Arc::clone(&writer.file))
        } else {
            Written::Done
        })
    }

    /// Delays the answer to a write until the registry has caught up, or its caller is interrupted;
    /// the bytes are written either way.
    pub(crate) async fn hold_back(&self, file: Arc<OutboxFile>, requester: Requester) {
        let cancel = CancellationToken::new();
        let caught_up = async {
            file.wait_for_uploads(HOLD_BACK_MAX).await;
            Ok(())
        };
        until_interrupted(requester, &self.stop, &cancel, caught_up).await.ok();
    }

    /// Changes the length through an open handle.
    pub(crate) fn ftruncate(&self, handle: u64, len: u64) -> Result<(), FsError> {
        let writer = self.writer(handle)?;
        check_len(len)?;
        let resized = self.mailbox.outbox().set_len(&writer.file, len);
        note(&writer, self.noted(&subject_of(&writer.file), resized))
    }

    /// Changes the length by name: opens for writing briefly.
    pub(crate) async fn truncate(&self, ino: u64, len: u64) -> Result<(), FsError> {
        let file = match self.node(ino)? {
            Node::Outgoing(file) => file,
            Node::Dir(_) => return Err(FsError::IsADirectory),
            Node::Message(_) | Node::Live(_) | Node::Listed(..) => return Err(FsError::ReadOnly),
        };
        check_len(len)?;
        let opened = self.mailbox.outbox().open_for_write(&file, false).await;
        let file = self.noted(&subject_of(&file), opened)?;
        self.writers.forget(&file);
        let changed = self.noted(&subject_of(&file), self.mailbox.outbox().set_len(&file, len));
        self.mailbox.outbox().release_writer(&file);
        changed
    }

    /// Reserves space: extends the file, as `posix_fallocate(3)` expects.
    pub(crate) fn fallocate(
        &self,
        handle: u64,
        offset: u64,
        len: u64,
        mode: i32,
    ) -> Result<(), FsError> {
        if mode != 0 {
            if let Ok(Handle::Writer(writer)) = self.handles.get(handle).as_deref() {
                writer.note_refused();
            }
            return Err(FsError::NotSupported);
        }
        let writer = self.writer(handle)?;
        let end = offset.checked_add(len).ok_or(FsError::TooLarge)?;
        if end <= writer.file.len() {
            return Ok(());
        }
        self.ftruncate(handle, end)
    }

    /// Changes attributes other than the length, and returns all.
    ///
    /// In `outbox/` everything is accepted, so that `cp -p`, `mv` and `rsync -a` work without a
    /// warning; attributes that are not kept (owner, access time) silently stay the same.
    pub(crate) fn setattr(&self, ino: u64, changes: Changes) -> Result<Attr, FsError> {
        let node = self.node(ino)?;
        match &node {
            _ if changes == Changes::default() => {}
            Node::Outgoing(file) => {
                if let Some(mode) = changes.mode {
                    if mode & SET_ID_BITS != 0 {
                        return Err(FsError::NotPermitted);
                    }
                    file.set_mode(mode & 0o777);
                }
                if let Some(mtime) = changes.mtime {
                    file.set_mtime(mtime);
                    self.writers.note_time_set(file);
                }
            }
            Node::Dir(dir) if dir.is_outbox() => {}
            Node::Dir(_) | Node::Message(_) | Node::Live(_) | Node::Listed(..) => {
                return Err(FsError::ReadOnly);
            }
        }
        Ok(self.attr(&self.mailbox.snapshot(), ino, &node))
    }

    /// Returns the time to set for `UTIME_NOW`.
    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(super) fn writer(&self, handle: u64) -> Result<Arc<Writer>, FsError> {
        match &*self.handles.get(handle)? {
            Handle::Writer(writer) => Ok(Arc::clone(writer)),
            Handle::Sealed(sealed) => Err(self.refuse_change(sealed)),
            _ => Err(FsError::BadHandle),
        }
    }

    fn insert_writer(
        &self,
        ino: u64,
        file: Arc<OutboxFile>,
        flags: i32,
        requester: Requester,
    ) -> Opened {
        let writer = Writer::new(ino, file, requester.process());
        let handle = self.handles.insert(Handle::Writer(Arc::new(writer)));
        // Without reading there can be no mapping, and nothing that is worth keeping.
        let is_write_only = flags & libc::O_ACCMODE == libc::O_WRONLY;
        Opened { handle, caching: if is_write_only { Caching::Written } else { Caching::None } }
    }

    /// Returns recipient and path for a new file, or why it is not possible.
    fn place_for_file(&self, parent: u64, name: &OsStr) -> Result<(Identity, EntryPath), FsError> {
        let dir = self.dir(parent)?;
        let Some((recipient, _)) = dir.written_in() else {
            return Err(match dir {
                // A file has to be below a recipient.
                Dir::Root | Dir::Outbox => FsError::NotPermitted,
                _ => FsError::ReadOnly,
            });
        };
        let path = name::entry_path(&dir, name)?;
        let snapshot = self.mailbox.snapshot();
        let listed = snapshot.outbox.get(recipient).ok_or(FsError::NoEntry)?;
        Ok((listed.recipient.clone(), path))
    }
}

fn is_immutable(error: &MailboxError) -> bool {
    error.class() == ErrorClass::NotPermitted
}

/// Returns whether a program that opened like this may begin a new message; one that appends does
/// not.
fn may_begin_anew(flags: i32) -> bool {
    flags & libc::O_APPEND == 0
}

fn check_len(len: u64) -> Result<(), FsError> {
    if len > PAYLOAD_LEN_MAX { Err(FsError::TooLarge) } else { Ok(()) }
}

/// Makes the handle remember how a write ended (rule 2 of the commit rule).
fn note(writer: &Writer, written: Result<(), FsError>) -> Result<(), FsError> {
    match &written {
        Ok(()) => writer.note_written(),
        Err(error) => writer.note_write_error(errno::of(error)),
    }
    written
}
