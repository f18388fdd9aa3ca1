//! Names in the outbox: renaming, replacing, removing.

use std::sync::Arc;

use super::file::OutboxFile;
use super::state::{Event, SendState};
use super::{Outbox, queue};
use crate::mailbox::MailboxError;
use crate::protocol::{ErrorClass, FileName};
use crate::store::{OutboxChange, OutboxState, StoreError};
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
    pub async fn rename(&self, file: &Arc<OutboxFile>, to: &FileName) -> Result<(), MailboxError> {
        let _claim = file.claim();
        let _delivery = file.delivery.lock().await;
        let is_promised = file.is_queued() && !self.is_temporary(to.as_str());
        if !is_promised {
            queue::withdraw(&self.core, file).await?;
        }
        let from = {
            let mut inner = file.inner.lock();
            if inner.state == SendState::Sent {
                return Err(MailboxError::NotPermitted("a sent message is immutable"));
            }
            let from = inner.name.clone();
            if from == *to {
                return Ok(());
            }
            if inner.recovered {
                let why = "it is already on its way under this name";
                return Err(MailboxError::NotPermitted(why));
            }
            inner.name = to.clone();
            inner.generation += 1;
            inner.epoch += 1;
            file.apply_locked(&mut inner, Event::Changed);
            from
        };
        let replaced = self.core.listing.update(|snapshot| {
            let dir = snapshot.outbox.get_mut(&file.recipient.dir_name())?;
            let dir = Arc::make_mut(dir);
            if dir.files.get(from.as_str()).is_some_and(|listed| Arc::ptr_eq(listed, file)) {
                dir.files.remove(from.as_str());
            }
            dir.files.insert(to.as_str().to_owned(), Arc::clone(file))
        });
        let change = OutboxChange {
            updated_at: Some(self.core.now()),
            name: Some(to.as_str().to_owned()),
            // A queued file stays promised, under the new name; the caller queues it anew.
            state: (!is_promised).then_some(OutboxState::Draft),
            message: is_promised.then_some(None),
            ..OutboxChange::default()
        };
        self.core.store.update_outbox(file.id, change).await?;
        crash::point!("outbox.rename.recorded");
        match replaced {
            Some(replaced) if !Arc::ptr_eq(&replaced, file) => self.hold(&replaced, file).await,
            _ => Ok(()),
        }
    }

    /// Takes a rename back whose delivery failed: a rename that fails leaves both names as they
    /// were, and programs go on with the old one. State and error stay.
    ///
    /// # Errors
    /// When it cannot be recorded; a restart then shows the new name.
    pub async fn rename_back(
        &self,
        file: &Arc<OutboxFile>,
        from: &FileName,
    ) -> Result<(), MailboxError> {
        let _delivery = file.delivery.lock().await;
        let moved = self.core.listing.update(|snapshot| {
            let dir = Arc::make_mut(snapshot.outbox.get_mut(&file.recipient.dir_name())?);
            // Somebody created the old name meanwhile: theirs stays.
            if dir.files.contains_key(from.as_str()) {
                return None;
            }
            let mut inner = file.inner.lock();
            if inner.unlinked || inner.state == SendState::Sent {
                return None;
            }
            let to = std::mem::replace(&mut inner.name, from.clone());
            inner.generation += 1;
            if dir.files.get(to.as_str()).is_some_and(|listed| Arc::ptr_eq(listed, file)) {
                dir.files.remove(to.as_str());
            }
            dir.files.insert(from.as_str().to_owned(), Arc::clone(file));
            Some(())
        });
        if moved.is_none() {
            return Ok(());
        }
        let change = OutboxChange {
            updated_at: Some(self.core.now()),
            name: Some(from.as_str().to_owned()),
            ..OutboxChange::default()
        };
        self.core.store.update_outbox(file.id, change).await?;
        self.restore_replaced(file).await
    }

    /// Removes a file from the list. What is not sent yet never will be.
    ///
    /// # Errors
    /// When it cannot be recorded; the file stays listed then.
    pub async fn remove(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        let _claim = file.claim();
        let _delivery = file.delivery.lock().await;
        self.unlink(file).await?;
        self.unlist(file);
        Ok(())
    }

    /// Takes a file off the list, unless its name is another one's.
    pub(super) fn unlist(&self, file: &Arc<OutboxFile>) {
        self.core.listing.update(|snapshot| {
            if let Some(dir) = snapshot.outbox.get_mut(&file.recipient.dir_name()) {
                let name = file.name();
                if dir.files.get(&name).is_some_and(|listed| Arc::ptr_eq(listed, file)) {
                    Arc::make_mut(dir).files.remove(&name);
                }
            }
        });
    }

    /// Takes a file out of use: a sent one is hidden, any other one is forgotten. The caller holds
    /// `file.delivery`.
    pub(super) async fn unlink(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        self.discard_replaced(file).await?;
        if file.state() == SendState::Sent {
            self.hide(file).await?;
            crash::point!("outbox.remove.hidden");
            file.inner.lock().unlinked = true;
            return Ok(());
        }
        self.discard(file).await
    }

    /// Keeps a file off the list at later starts; whatever is promised is kept.
    pub(super) async fn hide(&self, file: &OutboxFile) -> Result<(), MailboxError> {
        let change = OutboxChange { hidden: Some(true), ..OutboxChange::default() };
        match self.core.store.update_outbox(file.id, change).await {
            // A collection in another process has forgotten it.
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn discard(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        let removed = self.core.store.remove_outbox(file.id).await;
        match removed.map_err(MailboxError::from) {
            // Removing is how people make room: the content goes first where the journal has none.
            Err(error) if error.class() == ErrorClass::NoSpace => {
                file.unpark(&self.core).await.ok();
                let spool = file.inner.lock().spool.clone();
                spool.ok_or(error)?.set_len(0)?;
                self.core.store.remove_outbox(file.id).await?;
            }
            removed => removed?,
        }
        crash::point!("outbox.remove.recorded");
        let place = {
            let mut inner = file.inner.lock();
            inner.unlinked = true;
            inner.epoch += 1;
            inner.queue_place
        };
        if let Some(place) = place {
            queue::leave(&self.core, file, place);
            self.start_lanes();
        }
        // Open handles go on reading and writing; only the name is gone.
        file.remove_staged(&self.core);
        Ok(())
    }
}
