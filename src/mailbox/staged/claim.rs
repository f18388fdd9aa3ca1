//! Which task is at work on a file, and which holds its staged copy open.

use std::sync::Arc;

use super::content::Holding;
use super::file::OutboxFile;
use super::member::Member;
use super::spool::Spool;
use super::state::SendState;
use crate::mailbox::MailboxError;
use crate::sys::blocking;

/// Counts a call that waits for the delivery lock; the queue gives way while there is one.
pub(in crate::mailbox) struct Claim<'a>(&'a OutboxFile);

impl OutboxFile {
    /// Waits until no other task prepares, publishes or changes the file.
    pub(in crate::mailbox) async fn lock_delivery(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.delivery.lock().await
    }

    /// Asks the queue to give way until the claim is dropped.
    pub(in crate::mailbox) fn claim(&self) -> Claim<'_> {
        self.claims.send_modify(|count| *count += 1);
        Claim(self)
    }

    /// Waits until a call asks the queue to give way.
    pub(in crate::mailbox) async fn claimed(&self) {
        // Fails only when the sender is gone, which `self` holds.
        self.claims.subscribe().wait_for(|count| *count > 0).await.ok();
    }

    /// Stops holding the staged file open, unless a task is at work on it.
    pub(in crate::mailbox) fn park(&self) {
        // Whichever task holds it has unparked the file and reads it; a lane parks it afterwards.
        let Ok(_delivery) = self.delivery.try_lock() else { return };
        self.staged().with(|inner| {
            // Another promise of the same content may be at work on it.
            if self.others(inner).all(|other| other.state() != SendState::Preparing) {
                inner.content.park();
            }
        });
    }

    /// Treats the staged file of an earlier run as one that waits on the disk.
    pub(in crate::mailbox) fn park_unheld(&self) {
        self.with(|content, _| content.park_unheld());
    }

    /// Opens the staged file again, and locks it.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Busy` while another process holds it, which may be ending or
    /// only reading.
    pub(in crate::mailbox) async fn unpark(&self) -> Result<(), MailboxError> {
        let is_open = self.with(|content, _| match content.holding() {
            Holding::Open(_) | Holding::Gone => true,
            // A cancelled upload may not have closed it yet.
            Holding::Parked(last) => match last.upgrade() {
                Some(spool) => {
                    content.open(spool);
                    true
                }
                None => false,
            },
        });
        if is_open {
            return Ok(());
        }
        let (area, name) = (Arc::clone(&self.staged().area), self.unique_name().to_owned());
        let spool = blocking::try_run(move || match Spool::adopt(area.dir(), &name)? {
            Some(spool) => Ok(spool),
            None if Spool::look(area.dir(), &name)?.is_some() => Err(MailboxError::Busy),
            None => Err(MailboxError::NotFound("staged file")),
        })
        .await?;
        self.with(|content, _| content.open(Arc::new(spool)));
        Ok(())
    }

    /// Returns whether the staged file belongs to this process, which `owns_parked` files or not.
    ///
    /// Otherwise it belongs to another one, perhaps to a mount beside us.
    pub(in crate::mailbox) fn is_ours(&self, owns_parked: bool) -> bool {
        self.with(|content, _| content.spool().is_some() || (content.is_parked() && owns_parked))
    }

    /// Returns whether no other process is at work on a file that is not promised.
    ///
    /// # Errors
    /// The disk's.
    pub(in crate::mailbox) fn may_take(&self, owns_parked: bool) -> Result<bool, MailboxError> {
        let (dir, name) = (self.staged().area.dir(), self.unique_name());
        Ok(self.is_ours(owns_parked)
            || Spool::adopt(dir, name)?.is_some()
            || Spool::look(dir, name)?.is_none())
    }

    /// Returns whether the staged file is there but not held open.
    #[cfg(test)]
    pub(in crate::mailbox) fn is_parked(&self) -> bool {
        self.with(|content, _| content.is_parked())
    }

    /// Returns the staged file, to read it.
    ///
    /// # Errors
    /// `NotFound` when it is no longer held open.
    pub(in crate::mailbox) fn open_spool(&self) -> Result<Arc<Spool>, MailboxError> {
        let spool = self.with(|content, _| content.spool().cloned());
        spool.ok_or(MailboxError::NotFound("staged file"))
    }

    /// Makes the staged bytes durable, as `fsync` of a draft means.
    ///
    /// # Errors
    /// The disk's.
    pub(in crate::mailbox) async fn sync_staged(&self) -> Result<(), MailboxError> {
        let spool = self.open_spool()?;
        blocking::try_run(move || spool.sync()).await
    }

    /// Makes the name of the staged file durable, by which a restart finds that the file is ours.
    ///
    /// Not its bytes: a Prepared file needs only the row and what is in the registry, so most files
    /// are sent and removed before they reach the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(in crate::mailbox) async fn sync_staged_name(&self) -> Result<(), MailboxError> {
        let spool = self.open_spool()?;
        blocking::try_run(move || spool.sync_name()).await
    }

    /// Frees the disk space of the staged bytes, for a file that is about to be removed.
    ///
    /// # Errors
    /// The disk's; `NotFound` when another promise needs the bytes, or they are gone.
    pub(in crate::mailbox) async fn empty_staged(&self) -> Result<(), MailboxError> {
        // If that fails, the next line reports that it is gone.
        self.unpark().await.ok();
        if self.staged().with(|inner| self.others(inner).any(Member::needs_content)) {
            return Err(MailboxError::NotFound("staged file"));
        }
        self.open_spool()?.set_len(0)
    }

    /// Removes the staged file's name, open or not, unless another promise needs it.
    pub(in crate::mailbox) fn remove_staged(&self) {
        if self.staged().with(|inner| self.others(inner).any(Member::needs_content)) {
            return;
        }
        // Already gone is as good; anything else leaves a file that the next start removes, or
        // reports if it has no row.
        std::fs::remove_file(self.staged().area.dir().join(self.unique_name())).ok();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claims.send_modify(|count| *count -= 1);
    }
}
