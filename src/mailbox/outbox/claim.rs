//! Who is at work on a file, and who holds its staged copy open.

use std::sync::Arc;

use super::file::OutboxFile;
use super::spool::Spool;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;

/// Counts a call that waits for `delivery`; the queue gives way while there is one.
pub(super) struct Claim<'a>(&'a OutboxFile);

impl OutboxFile {
    /// Asks the queue to let go of the file until the claim is dropped.
    pub(super) fn claim(&self) -> Claim<'_> {
        self.claims.send_modify(|count| *count += 1);
        Claim(self)
    }

    /// Waits until somebody claims the file.
    pub(super) async fn claimed(&self) {
        // Fails only when the sender is gone, which `self` holds.
        self.claims.subscribe().wait_for(|count| *count > 0).await.ok();
    }

    /// Stops holding the staged file open, unless somebody is at work on it.
    pub(super) fn park(&self) {
        // Whoever holds it has unparked the file and reads it; a lane parks it afterwards.
        let Ok(_delivery) = self.delivery.try_lock() else { return };
        let mut inner = self.inner.lock();
        if inner.writers == 0
            && let Some(spool) = inner.spool.take()
        {
            inner.parked = Arc::downgrade(&spool);
            inner.is_parked = true;
        }
    }

    /// Opens the staged file again, and locks it.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Busy` while somebody else holds it: who ends, or looks.
    pub(super) async fn unpark(&self, core: &Core) -> Result<(), MailboxError> {
        {
            let mut inner = self.inner.lock();
            if !inner.is_parked {
                return Ok(());
            }
            // An upload that was called off may not have let go of it yet.
            if let Some(spool) = inner.parked.upgrade() {
                inner.is_parked = false;
                inner.spool = Some(spool);
                return Ok(());
            }
        }
        let (dir, name) = (core.spool.clone(), self.spool_name.clone());
        let spool = tokio::task::spawn_blocking(move || match Spool::adopt(&dir, &name)? {
            Some(spool) => Ok(spool),
            None if Spool::look(&dir, &name)?.is_some() => Err(MailboxError::Busy),
            None => Err(MailboxError::NotFound("staged file")),
        })
        .await
        .map_err(|_panicked| MailboxError::TaskLost)??;
        let mut inner = self.inner.lock();
        inner.is_parked = false;
        inner.spool = Some(Arc::new(spool));
        Ok(())
    }

    /// Removes the staged file's name, open or not.
    pub(super) fn remove_staged(&self, core: &Core) {
        // Gone already is as good; anything else leaves a file that the next start removes, or
        // tells of when no row knows it any more.
        std::fs::remove_file(core.spool.join(&self.spool_name)).ok();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claims.send_modify(|count| *count -= 1);
    }
}
