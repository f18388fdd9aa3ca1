//! Sent files that are open for writing (src/fs/README.md "Operations", a sent file).
//!
//! A message is immutable, but programs open it before they replace all of it: editors cut it to
//! nothing after they have examined it, servers of files write from the beginning on and cut it at
//! the end. Both begin a new message behind the same inode. A change of a part is refused: where it
//! begins, if that is known, else by `fsync` and `close`, which leave the sent file as it was.

use std::sync::Arc;

use super::write::Written;
use super::{Fs, subject_of};
use crate::fs::error::FsError;
use crate::fs::handle::{Handle, Sealed, Writer};
use crate::fs::node::Node;
use crate::mailbox::{MailboxError, OutboxFile};

/// Why a change of a part is refused.
const IMMUTABLE: &str = "a sent message is immutable";

/// Why the content of a sent file was not replaced.
const PARTLY_ANEW: &str = "a sent message is immutable: not all of it was written anew";

impl Fs {
    /// Returns whether a change through this handle must wait: it may begin a new message.
    pub(crate) fn is_sealed(&self, handle: u64) -> bool {
        matches!(self.handles.get(handle).as_deref(), Ok(Handle::Sealed(_)))
    }

    /// Changes the length through a handle of a sent file: truncated to nothing it is a new
    /// message.
    pub(crate) async fn unseal(&self, handle: u64, len: u64) -> Result<(), FsError> {
        let open = self.handles.get(handle)?;
        let Handle::Sealed(sealed) = &*open else { return self.ftruncate(handle, len) };
        if len > 0 {
            return Err(self.refuse_change(sealed));
        }
        let file = self.outgoing(sealed.ino())?;
        let opened = self.open_file(sealed.ino(), &file, true).await;
        let opened = self.noted(&subject_of(&file), opened)?;
        self.become_writer(handle, sealed, &opened);
        Ok(())
    }

    /// Writes through a handle of a sent file: from its beginning on it is a new message, which is
    /// promised only if nothing of the sent one is left when it is closed.
    pub(crate) async fn write_anew(
        &self,
        handle: u64,
        offset: u64,
        data: &[u8],
    ) -> Result<Written, FsError> {
        let open = self.handles.get(handle)?;
        let Handle::Sealed(sealed) = &*open else { return self.write(handle, offset, data) };
        if !sealed.may_begin_at(offset) {
            return Err(self.refuse_change(sealed));
        }
        let file = self.outgoing(sealed.ino())?;
        let opened = self.mailbox.outbox().open_to_rewrite(&file).await;
        let opened =
            self.noted(&subject_of(&file), opened).inspect_err(|_| sealed.note_refused())?;
        self.show_instead(sealed.ino(), &file, &opened);
        self.become_writer(handle, sealed, &opened);
        self.write(handle, offset, data)
    }

    /// Lists the sent file again that a program has not written anew to its end.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn give_up_rewrite(&self, writer: &Writer) -> Result<(), FsError> {
        let subject = subject_of(&writer.file);
        let given_up = self.mailbox.outbox().give_up_rewrite(&writer.file).await;
        if let Some(sent) = self.noted(&subject, given_up)? {
            self.mailbox.record_error(&subject, &MailboxError::NotPermitted(PARTLY_ANEW));
            self.show_instead(writer.ino, &writer.file, &sent);
        }
        Ok(())
    }

    /// As [`Fs::give_up_rewrite`], of a file whose last writer was released without a close that
    /// decided.
    pub(crate) async fn give_up_released(&self, writer: Arc<Writer>) {
        // It is in `.dockercomms/errors`; no program is left to get it.
        self.give_up_rewrite(&writer).await.ok();
    }

    /// Makes the inode show `newer`, which has taken the name of `older`.
    fn show_instead(&self, ino: u64, older: &OutboxFile, newer: &Arc<OutboxFile>) {
        if newer.id() != older.id() {
            self.inodes.replace(ino, &Node::Outgoing(Arc::clone(newer)));
            self.note_outbox_change();
        }
    }

    fn become_writer(&self, handle: u64, sealed: &Sealed, opened: &Arc<OutboxFile>) {
        let writer = Writer::new(sealed.ino(), Arc::clone(opened), sealed.opener);
        if !self.handles.unseal(handle, Arc::new(writer)) {
            // Released in the meantime, or unsealed by another thread, which holds its own
            // reference.
            self.mailbox.outbox().release_writer(opened);
        }
    }

    pub(super) fn refuse_change(&self, sealed: &Sealed) -> FsError {
        let error = MailboxError::NotPermitted(IMMUTABLE);
        if !sealed.was_refused()
            && let Ok(file) = self.outgoing(sealed.ino())
        {
            self.mailbox.record_error(&subject_of(&file), &error);
        }
        sealed.note_refused();
        error.into()
    }
}
