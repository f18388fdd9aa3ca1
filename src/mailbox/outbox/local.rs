//! Local directories below a recipient, in which programs (rsync) keep what is not complete yet.
//!
//! A directory is a part of the listing alone: the rows of its files keep it across restarts, and an
//! empty one ends with the process.

use std::sync::Arc;

use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::entry::EntryName;
use crate::protocol::Identity;

impl Outbox {
    /// Returns whether a directory of this name may be made: what lies in it stays local.
    pub fn is_temporary_dir(&self, name: &EntryName) -> bool {
        self.core.options.is_temporary_dir(name.file_name().as_str())
    }

    /// Lists an empty directory below a recipient.
    ///
    /// # Errors
    /// `NotPermitted` when the name is not one of a local directory, `Exists` when it is listed,
    /// `NotFound` when the recipient is not.
    pub fn make_directory(
        &self,
        recipient: &Identity,
        name: &EntryName,
    ) -> Result<(), MailboxError> {
        if !self.is_temporary_dir(name) {
            let why = "a directory below a recipient has no moment of completion";
            return Err(MailboxError::NotPermitted(why));
        }
        self.core.listing.update(|snapshot| {
            let dir = snapshot.outbox.get_mut(&recipient.dir_name());
            let dir = Arc::make_mut(dir.ok_or(MailboxError::NotFound("recipient"))?);
            if dir.contains(name.as_str()) {
                return Err(MailboxError::Exists);
            }
            dir.directories.insert(name.as_str().to_owned());
            Ok(())
        })
    }

    /// Removes a directory below a recipient from the list; returns whether it was empty.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn remove_directory(&self, recipient: &Identity, name: &str) -> Result<bool, MailboxError> {
        self.core.listing.update(|snapshot| {
            let dir = snapshot.outbox.get_mut(&recipient.dir_name());
            let dir = dir.filter(|dir| dir.directories.contains(name));
            let dir = dir.ok_or(MailboxError::NotFound("directory"))?;
            let is_empty = dir.files_in(Some(name)).next().is_none();
            if is_empty {
                Arc::make_mut(dir).directories.remove(name);
            }
            Ok(is_empty)
        })
    }
}
