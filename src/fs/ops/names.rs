//! `mkdir`, `rmdir`, `unlink`, `rename`, and what a mailbox does not support.

use std::ffi::OsStr;

use super::{Fs, subject_of};
use crate::fs::attr::Attr;
use crate::fs::commit::{RenameStep, on_rename};
use crate::fs::error::FsError;
use crate::fs::node::{Dir, ListedText, Node};
use crate::fs::requester::Requester;
use crate::fs::{name, tree};
use crate::mailbox::MailboxError;

impl Fs {
    /// Makes a directory for a recipient, or a local one below.
    pub(crate) async fn mkdir(&self, parent: u64, name: &OsStr) -> Result<Attr, FsError> {
        match self.dir(parent)? {
            Dir::Outbox => {}
            Dir::Recipient(recipient) => return self.mkdir_local(recipient, name),
            Dir::Root | Dir::Local(..) => return Err(FsError::NotPermitted),
            _ => return Err(FsError::ReadOnly),
        }
        let dir_name = name::normalized(name)?;
        if self.mailbox.snapshot().outbox.contains_key(&dir_name) {
            return Err(FsError::Exists);
        }
        let recipient = match self.mailbox.outbox().add_recipient_dir(&dir_name).await {
            // Noted by the outbox, once for each name: programs try again and again.
            Err(error @ MailboxError::NotARecipient(_)) => return Err(error.into()),
            added => self.noted(&format!("outbox/{dir_name}"), added)?,
        };
        self.note_outbox_change();
        Ok(self.acquire(&Node::Dir(Dir::Recipient(recipient.dir_name()))))
    }

    fn mkdir_local(&self, recipient: String, name: &OsStr) -> Result<Attr, FsError> {
        let name = name::entry_name(name)?;
        let outbox = self.mailbox.outbox();
        // Any other directory never completes; programs say so, and `errors` needs no line.
        if !outbox.is_temporary_dir(&name) {
            return Err(FsError::NotPermitted);
        }
        let snapshot = self.mailbox.snapshot();
        let listed = snapshot.outbox.get(&recipient).ok_or(FsError::NoEntry)?;
        let made = outbox.make_directory(&listed.recipient, &name);
        self.noted(&format!("outbox/{recipient}/{name}"), made)?;
        self.note_outbox_change();
        Ok(self.acquire(&Node::Dir(Dir::Local(recipient, name.as_str().to_owned()))))
    }

    /// Removes an empty directory of `outbox/`.
    pub(crate) async fn rmdir(&self, parent: u64, name: &OsStr) -> Result<(), FsError> {
        let dir = self.dir(parent)?;
        let name = name::listed(&dir, name)?;
        match dir {
            Dir::Outbox => {
                let snapshot = self.mailbox.snapshot();
                let dir = snapshot.outbox.get(&name).ok_or(FsError::NoEntry)?;
                if !dir.is_empty() {
                    return Err(FsError::NotEmpty);
                }
                let removed = self.mailbox.outbox().remove_recipient(&dir.recipient).await;
                self.noted(&format!("outbox/{}", dir.recipient), removed)?;
                self.note_outbox_change();
                Ok(())
            }
            Dir::Recipient(recipient) => {
                let snapshot = self.mailbox.snapshot();
                let listed = snapshot.outbox.get(&recipient).ok_or(FsError::NoEntry)?;
                let removed = self.mailbox.outbox().remove_directory(&listed.recipient, &name);
                if !self.noted(&format!("outbox/{recipient}/{name}"), removed)? {
                    return Err(FsError::NotEmpty);
                }
                self.note_outbox_change();
                Ok(())
            }
            // `rm -r inbox/alice` dismisses every message; the directory disappears with the last
            // one.
            Dir::Inbox if !self.mailbox.snapshot().inbox.contains_key(&name) => Ok(()),
            Dir::Inbox => Err(FsError::NotEmpty),
            Dir::Root => Err(FsError::NotPermitted),
            _ => Err(FsError::ReadOnly),
        }
    }

    /// Dismisses a message, or removes a file from `outbox/`.
    pub(crate) async fn unlink(&self, parent: u64, name: &OsStr) -> Result<(), FsError> {
        let dir = self.dir(parent)?;
        let name = name::listed(&dir, name)?;
        match tree::child(&self.mailbox.snapshot(), &dir, &name).ok_or(FsError::NoEntry)? {
            Node::Message(item) => {
                let dismissed = self.mailbox.inbox().dismiss(&item.digest).await;
                self.noted(&format!("inbox/{}/{}", item.sender, item.name), dismissed)
            }
            Node::Outgoing(file) => {
                let removed = self.mailbox.outbox().remove(&file).await;
                self.noted(&subject_of(&file), removed)?;
                self.note_outbox_change();
                Ok(())
            }
            Node::Listed(_, _, ListedText::Failure(failure)) => {
                let dismissed = self.mailbox.outbox().dismiss_failure(&failure.file).await;
                self.noted(&subject_of(&failure.file), dismissed)?;
                self.note_outbox_change();
                Ok(())
            }
            Node::Dir(_) => Err(FsError::IsADirectory),
            Node::Live(_) | Node::Listed(..) => Err(FsError::ReadOnly),
        }
    }

    /// Renames inside one recipient; a final name directly below it sends.
    ///
    /// Everywhere else ordinary errors make tools copy instead.
    pub(crate) async fn rename(
        &self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        flags: u32,
        requester: Requester,
    ) -> Result<(), FsError> {
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return Err(FsError::Invalid);
        }
        let (from_dir, to_dir) = (self.dir(from.0)?, self.dir(to.0)?);
        match (from_dir.written_in(), to_dir.written_in()) {
            (Some((one, _)), Some((other, _))) if one == other => {}
            (_, Some(_)) => return Err(FsError::CrossDevice),
            (_, None) if matches!(to_dir, Dir::Root | Dir::Outbox) => {
                return Err(FsError::NotPermitted);
            }
            (_, None) => return Err(FsError::ReadOnly),
        }
        let from_name = name::listed(&from_dir, from.1)?;
        let to_path = name::entry_path(&to_dir, to.1)?;
        let snapshot = self.mailbox.snapshot();
        let file = match tree::child(&snapshot, &from_dir, &from_name) {
            Some(Node::Outgoing(file)) => file,
            // What lies in a local directory is bound to its name.
            Some(Node::Dir(_)) => return Err(FsError::NotPermitted),
            _ => return Err(FsError::NoEntry),
        };
        let target = tree::child(&snapshot, &to_dir, to_path.name().as_str());
        if target.is_some() && flags & libc::RENAME_NOREPLACE != 0 {
            return Err(FsError::Exists);
        }
        match target {
            Some(Node::Dir(_)) => return Err(FsError::IsADirectory),
            Some(Node::Outgoing(target)) if target.id() == file.id() => return Ok(()),
            _ => {}
        }
        let state = file.state();
        let old_path = name::entry_path(&from_dir, from.1)?;
        let renamed = self.mailbox.outbox().rename(&file, &to_path).await;
        self.noted(&subject_of(&file), renamed)?;
        self.note_outbox_change();
        let is_temporary = self.mailbox.outbox().is_temporary(&to_path);
        let delivery = self.mailbox.outbox().delivery_of(&file);
        let sent = match on_rename(is_temporary, state, file.len(), delivery) {
            RenameStep::Nothing => return Ok(()),
            RenameStep::Settle => Ok(()),
            RenameStep::StayAbandoned => {
                self.mailbox.outbox().abandon(&file, "the program that wrote it was killed");
                return Ok(());
            }
            RenameStep::Prepare => self.prepare(&file, requester).await,
            RenameStep::Enqueue => self.enqueue(&file).await,
        };
        if let Err(error) = sent {
            if matches!(error, FsError::Interrupted) {
                // The caller got an error; nothing else would end the draft.
                self.mailbox.outbox().abandon(&file, "its rename was interrupted");
            }
            let back = self.mailbox.outbox().rename_back(&file, &old_path).await;
            // The first error is the one that the caller can act on.
            self.noted(&subject_of(&file), back).ok();
            self.note_outbox_change();
            return Err(error);
        }
        // The rename ended the window that the last close began.
        self.mailbox.outbox().begin_settling(&file);
        Ok(())
    }

    /// Refuses a symbolic link, hard link or device: a message is one regular file.
    pub(crate) fn refuse_special(&self, parent: u64) -> FsError {
        match self.dir(parent) {
            Ok(Dir::Root | Dir::Outbox | Dir::Recipient(_) | Dir::Local(..)) => {
                FsError::NotPermitted
            }
            Ok(_) => FsError::ReadOnly,
            Err(error) => error,
        }
    }
}
