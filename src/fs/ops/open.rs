//! `open`, `read`, `release` of files that are not written.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Fs, subject_of};
use crate::fs::error::FsError;
use crate::fs::handle::{DirHandle, Handle, OpenMessage, OutgoingReader};
use crate::fs::interrupt::until_interrupted;
use crate::fs::node::{Dir, Node};
use crate::fs::requester::Requester;
use crate::mailbox::OutboxFile;

/// What the kernel may keep of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// Nothing special: cached while open, checked at the next open.
    None,
    /// Written and never read through this handle: not cached, if readers beside it stay
    /// consistent.
    Written,
    /// Read only: a close needs no flush.
    ReadOnly,
    /// Immutable and verified: pages stay indefinitely, a close needs no flush.
    Immutable,
    /// A directory whose changes are announced.
    Listing,
    /// Neither cached nor mapped for writing: a sent file through which nothing is written yet.
    Sealed,
    /// Not cached, and of no fixed length: a text generated at every open.
    Direct,
}

/// An open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The number of the handle.
    pub handle: u64,
    /// What the kernel may keep.
    pub caching: Caching,
}

/// A read that was answered, or must wait for a fetch.
pub(crate) enum Read {
    /// The bytes; short only at the end of the file.
    Now(Bytes),
    /// To be continued with [`Fs::read_later`].
    Later(OpenMessage),
}

impl Fs {
    /// Opens what needs no waiting: everything but a file in `outbox/` for writing (`None`).
    pub(crate) fn open_now(&self, ino: u64, flags: i32) -> Option<Result<Opened, FsError>> {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        let opened = match self.node(ino) {
            Ok(Node::Outgoing(_)) if writes => return None,
            Ok(Node::Outgoing(_)) => {
                let reader = OutgoingReader { ino, reader: OnceLock::new() };
                Ok((Handle::OutgoingReader(reader), Caching::ReadOnly))
            }
            Ok(Node::Dir(_)) => Err(FsError::IsADirectory),
            Ok(_) if writes => Err(FsError::ReadOnly),
            Ok(Node::Message(item)) => {
                let subject = format!("inbox/{}/{}", item.sender, item.name);
                self.noted(&subject, self.mailbox.inbox().open_item(&item)).map(|reader| {
                    let open = OpenMessage { reader, subject: subject.into() };
                    (Handle::Message(open), Caching::Immutable)
                })
            }
            Ok(Node::Live(live)) => {
                Ok((Handle::Text(self.live_text(live).into()), Caching::Direct))
            }
            Ok(Node::Listed(_, _, text)) => {
                let content = Bytes::copy_from_slice(text.content().as_bytes());
                Ok((Handle::Text(content), Caching::ReadOnly))
            }
            Err(error) => Err(error),
        };
        Some(
            opened.map(|(handle, caching)| Opened { handle: self.handles.insert(handle), caching }),
        )
    }

    /// Reads what is in memory or in the spool.
    pub(crate) fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Read, FsError> {
        let handle = self.handles.get(handle)?;
        match &*handle {
            Handle::Dir(_) => Err(FsError::IsADirectory),
            Handle::Sealed(sealed) => self.read_outgoing(&sealed.message, offset, len),
            Handle::Text(content) => Ok(Read::Now(slice(content, offset, len))),
            Handle::Message(open) => Ok(from_reader(open, offset, len)),
            Handle::Writer(writer) => self.read_spool(&writer.file, offset, len).map(Read::Now),
            Handle::OutgoingReader(open) => self.read_outgoing(open, offset, len),
        }
    }

    fn read_outgoing(
        &self,
        open: &OutgoingReader,
        offset: u64,
        len: usize,
    ) -> Result<Read, FsError> {
        if let Some(message) = open.reader.get() {
            return Ok(from_reader(message, offset, len));
        }
        let file = self.outgoing(open.ino)?;
        if let Some(reader) = self.mailbox.outbox().reader(&file) {
            let message = OpenMessage { reader, subject: subject_of(&file).into() };
            return Ok(from_reader(open.reader.get_or_init(|| message), offset, len));
        }
        self.read_spool(&file, offset, len).map(Read::Now)
    }

    /// Continues a read that needs a fetch; answers `Interrupted` when its caller is.
    pub(crate) async fn read_later(
        &self,
        open: OpenMessage,
        offset: u64,
        len: usize,
        requester: Requester,
    ) -> Result<Bytes, FsError> {
        let cancel = CancellationToken::new();
        until_interrupted(requester, &self.stop, &cancel, async {
            // The semaphore is never closed.
            let _permit = self.reads.acquire().await.ok();
            self.noted(&open.subject, open.reader.read_at(offset, len).await)
        })
        .await
    }

    /// Opens a directory.
    pub(crate) fn opendir(&self, ino: u64) -> Result<Opened, FsError> {
        let dir = self.dir(ino)?;
        let caching = match dir {
            Dir::Inbox | Dir::Sender(_) => Caching::Listing,
            _ => Caching::None,
        };
        let handle = self.handles.insert(Handle::Dir(DirHandle::new(dir)));
        Ok(Opened { handle, caching })
    }

    /// Closes a directory.
    pub(crate) fn releasedir(&self, handle: u64) {
        self.handles.remove(handle);
    }

    fn read_spool(
        &self,
        file: &Arc<OutboxFile>,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, FsError> {
        self.noted(&subject_of(file), file.read_at(offset, len))
    }
}

fn from_reader(open: &OpenMessage, offset: u64, len: usize) -> Read {
    match open.reader.try_read_cached(offset, len) {
        Some(bytes) => Read::Now(bytes),
        None => Read::Later(open.clone()),
    }
}

fn slice(content: &Bytes, offset: u64, len: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    let end = start.saturating_add(len).min(content.len());
    content.slice(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_to_its_end_and_not_past_it() {
        let text = Bytes::from_static(b"hello");

        assert_eq!(slice(&text, 0, 100), "hello");
        assert_eq!(slice(&text, 3, 1), "l");
        assert_eq!(slice(&text, 5, 10), "");
        assert_eq!(slice(&text, u64::MAX, usize::MAX), "");
    }
}
