//! One file replaces another: the promise of the older one ends where that of the newer one begins.
//!
//! A rename over a listed file, a `send` of a listed name and a copy over a sent file remove the
//! older file from the list at once. Its row stays until the newer file is promised, and is removed
//! in the same transaction (`held.rs`). Start at [`Outbox::replace`].
//!
//! **Invariant:** a crash at any moment delivers one of the two, never neither.

use std::sync::Arc;

use super::directory::{list, listed};
use super::held::release_replaced;
use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::staged::{OutboxFile, ReplacedFile, SendState};
use crate::protocol::ErrorClass;
use crate::store::{OutboxState, StoreError};
use crate::sys::crash;

impl Outbox {
    /// Stops `old`, whose name `file` has taken, until `file` is promised.
    ///
    /// Waits for a publish in progress: its message is then sent, and only hidden.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn replace(
        &self,
        old: &Arc<OutboxFile>,
        file: &OutboxFile,
    ) -> Result<(), MailboxError> {
        let _claim = old.claim();
        let _delivery = old.lock_delivery().await;
        let entry = self.core.store.outbox(old.id()).await?;
        let Some(row) = entry.map(|entry| entry.state) else {
            // Another process has ended it.
            if self.shared.queue.release(old, old.remove()) {
                self.wake_lanes();
            }
            return Ok(());
        };
        if matches!(row, OutboxState::Draft | OutboxState::Abandoned) {
            // Never promised. A file that another process is writing is not ours to remove.
            let may_take = old.may_take(self.shared.owns_leftovers)?;
            return if may_take { self.end(old).await } else { Ok(()) };
        }
        if let Some(place) = old.give_name_to(file, row, self.is_ours(old)) {
            self.shared.queue.remove(old, place);
            self.wake_lanes();
        }
        Ok(())
    }

    /// Lists again what `file` had replaced, after `file` has given up the name.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn restore_replaced(&self, file: &OutboxFile) -> Result<(), MailboxError> {
        release_replaced(self, file);
        for ReplacedFile { file: old, .. } in file.take_replaced() {
            let is_listed = self.core.listing.update(|snapshot| {
                if listed(snapshot, old.recipient(), &old.name()).is_some() {
                    return false;
                }
                list(snapshot, &old);
                true
            });
            if is_listed {
                let _delivery = old.lock_delivery().await;
                old.list_again().save(&self.core.store).await?;
            }
        }
        Ok(())
    }

    /// Removes a file that was never promised, and lists again what it had replaced.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn take_back(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        self.unlist(file);
        self.restore_replaced(file).await?;
        self.remove(file).await
    }

    /// Removes a file from the list. If it is not yet sent, it never will be.
    ///
    /// # Errors
    /// When it cannot be recorded; the file stays listed then.
    pub async fn remove(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        let _claim = file.claim();
        let _delivery = file.lock_delivery().await;
        self.end(file).await?;
        self.unlist(file);
        Ok(())
    }

    /// Retires a file together with what it has replaced: a sent one is hidden, any other one
    /// forgotten. The caller holds the delivery lock.
    pub(super) async fn end(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        for ReplacedFile { file: old, is_held, .. } in file.take_replaced() {
            if is_held {
                Box::pin(self.end(&old)).await?;
            } else {
                self.hide(&old).await?;
            }
        }
        if file.state() == SendState::Sent {
            self.hide(file).await?;
            crash::point!("outbox.remove.hidden");
            self.shared.queue.release(file, file.remove());
            return Ok(());
        }
        self.forget(file).await
    }

    /// Keeps a file off the list at later starts; all promises are kept.
    async fn hide(&self, file: &OutboxFile) -> Result<(), MailboxError> {
        match file.hidden_row().save(&self.core.store).await {
            // A collection in another process has forgotten it.
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the row and the staged bytes of a file that is not sent.
    pub(super) async fn forget(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        let store = &self.core.store;
        match store.remove_outbox(file.id()).await.map_err(MailboxError::from) {
            // Users remove files to make room: the content is removed first if the journal has no
            // space.
            Err(error) if error.class() == ErrorClass::NoSpace => {
                match file.empty_staged().await {
                    Err(MailboxError::NotFound(_)) => return Err(error),
                    emptied => emptied?,
                }
                store.remove_outbox(file.id()).await?;
            }
            removed => removed?,
        }
        crash::point!("outbox.remove.recorded");
        if self.shared.queue.release(file, file.remove()) {
            self.wake_lanes();
        }
        // Open handles continue to read and write; only the name is gone.
        file.remove_staged();
        Ok(())
    }
}
