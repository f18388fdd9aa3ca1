//! Renaming in the outbox, forward and back.

use std::sync::Arc;

use super::delivery::leave_queue;
use super::directory::unlist_name;
use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::entry::EntryPath;
use crate::mailbox::staged::OutboxFile;
use crate::sys::crash;

impl Outbox {
    /// Renames inside one recipient; a target of that name leaves the list, and is promised until
    /// this file is.
    ///
    /// The new name needs a new signature: the file is dirty afterwards, and the caller prepares
    /// it when the commit rule says so.
    ///
    /// # Errors
    /// `NotPermitted` for a sent file.
    pub async fn rename(&self, file: &Arc<OutboxFile>, to: &EntryPath) -> Result<(), MailboxError> {
        let _claim = file.claim();
        let _delivery = file.lock_delivery().await;
        let stays_queued = file.is_queued() && !self.is_temporary(to);
        if !stays_queued {
            leave_queue(self, file).await?;
        }
        let Some((from, row)) = file.rename(to, stays_queued)? else { return Ok(()) };
        let replaced = self.core.listing.update(|snapshot| {
            let dir = Arc::make_mut(snapshot.outbox.get_mut(&file.recipient().dir_name())?);
            unlist_name(dir, from.as_str(), file);
            dir.insert(to, file)
        });
        row.save(&self.core.store).await?;
        crash::point!("outbox.rename.recorded");
        self.name_left(file.recipient(), from.as_str());
        match replaced {
            Some(replaced) if !Arc::ptr_eq(&replaced, file) => self.replace(&replaced, file).await,
            _ => Ok(()),
        }
    }

    /// Undoes a rename whose delivery failed: a rename that fails leaves both names as they were,
    /// and programs continue with the old one. State and error stay.
    ///
    /// # Errors
    /// When it cannot be recorded; a restart then shows the new name.
    pub async fn rename_back(
        &self,
        file: &Arc<OutboxFile>,
        from: &EntryPath,
    ) -> Result<(), MailboxError> {
        let _delivery = file.lock_delivery().await;
        let row = self.core.listing.update(|snapshot| {
            let dir = Arc::make_mut(snapshot.outbox.get_mut(&file.recipient().dir_name())?);
            // Another program has created the old name in the meantime: its file stays.
            if dir.contains(from.as_str()) {
                return None;
            }
            let (to, row) = file.rename_back(from)?;
            unlist_name(dir, to.as_str(), file);
            dir.insert(from, file);
            Some(row)
        });
        let Some(row) = row else { return Ok(()) };
        row.save(&self.core.store).await?;
        self.restore_replaced(file).await
    }
}
