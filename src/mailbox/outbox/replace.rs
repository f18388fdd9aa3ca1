//! One file in the place of another: the promise of the older one ends where that of the newer one
//! begins.
//!
//! A rename over a listed file, a `send` of a listed name and a copy over a sent file take the
//! older file off the list at once. Its row stays until the newer file is promised, and goes in the
//! same transaction. Start at [`Outbox::hold`].
//!
//! **Invariant:** a crash at any moment delivers one of the two, and never none.

use std::sync::Arc;

use super::file::OutboxFile;
use super::lane::start_lane;
use super::spool::Spool;
use super::state::SendState;
use super::{Outbox, list, sender};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::store::{OutboxChange, OutboxState};

/// A file that another one has taken the name of.
pub(super) struct Replaced {
    file: Arc<OutboxFile>,
    /// What its row said then.
    row: OutboxState,
    /// Whether it stands still until the other file is promised; else it goes its own way.
    is_held: bool,
}

impl Outbox {
    /// Stops `old`, whose name `file` has taken, until `file` is promised.
    ///
    /// Waits for a publish that is under way: its message is sent then, and only hidden.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn hold(
        &self,
        old: &Arc<OutboxFile>,
        file: &OutboxFile,
    ) -> Result<(), MailboxError> {
        let _claim = old.claim();
        let _delivery = old.delivery.lock().await;
        let entry = self.core.store.outbox(old.id).await?;
        let Some(row) = entry.map(|entry| entry.state) else {
            old.inner.lock().unlinked = true;
            return Ok(());
        };
        if matches!(row, OutboxState::Draft | OutboxState::Abandoned) {
            // Never promised. What another process is writing is not ours to remove.
            return if self.may_take(old)? { self.unlink(old).await } else { Ok(()) };
        }
        let is_ours = self.is_ours(old);
        let (is_held, place) = {
            let mut inner = old.inner.lock();
            // A promise whose tag may be there cannot be taken back any more.
            let may_be_tagged = inner.recovered || inner.is_tag_tried || !is_ours;
            let is_held = row != OutboxState::Prepared || !may_be_tagged;
            inner.unlinked = is_held;
            inner.is_replaced = true;
            inner.epoch += u64::from(is_held);
            (is_held, inner.queue_place.filter(|_place| is_held))
        };
        if let Some(place) = place {
            self.core.queue.forget(old, place);
            self.start_lanes();
        }
        file.inner.lock().replaced.push(Replaced { file: Arc::clone(old), row, is_held });
        Ok(())
    }

    /// Returns whether no other process is at work on a file that is not promised.
    fn may_take(&self, file: &OutboxFile) -> Result<bool, MailboxError> {
        let (dir, name) = (&self.core.spool, &file.spool_name);
        Ok(self.is_ours(file)
            || Spool::adopt(dir, name)?.is_some()
            || Spool::look(dir, name)?.is_none())
    }

    /// Returns whether the staged file is this process's.
    ///
    /// Otherwise the file belongs to another one, perhaps to a mount beside us.
    pub(super) fn is_ours(&self, file: &OutboxFile) -> bool {
        let inner = file.inner.lock();
        inner.spool.is_some() || (inner.is_parked && self.core.recover)
    }

    /// Lists again what `file` had replaced, after `file` has left the name.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn restore_replaced(&self, file: &OutboxFile) -> Result<(), MailboxError> {
        resume_replaced(&self.core, file);
        let replaced = std::mem::take(&mut file.inner.lock().replaced);
        for Replaced { file: old, .. } in replaced {
            let is_listed = self.core.listing.update(|snapshot| {
                let dir = snapshot.outbox.get(&old.recipient.dir_name());
                if dir.is_some_and(|dir| dir.files.contains_key(&old.name())) {
                    return false;
                }
                list(snapshot, &old);
                true
            });
            if !is_listed {
                continue;
            }
            let _delivery = old.delivery.lock().await;
            {
                let mut inner = old.inner.lock();
                inner.is_replaced = false;
                inner.unlinked = false;
            }
            // It may have been sent meanwhile.
            let change = OutboxChange { hidden: Some(false), ..OutboxChange::default() };
            self.core.store.update_outbox(old.id, change).await?;
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

    /// Takes what `file` has replaced out of use together with it.
    pub(super) async fn discard_replaced(&self, file: &OutboxFile) -> Result<(), MailboxError> {
        let replaced = std::mem::take(&mut file.inner.lock().replaced);
        for Replaced { file: old, is_held, .. } in replaced {
            if is_held {
                Box::pin(self.unlink(&old)).await?;
            } else {
                self.hide(&old).await?;
            }
        }
        Ok(())
    }
}

/// Returns whether `file` has replaced one that is still to be sent.
pub(super) fn has_replaced_unsent(file: &OutboxFile) -> bool {
    file.inner.lock().replaced.iter().any(|old| old.row != OutboxState::Sent)
}

/// Returns which rows the promise of `file` ends, with the states that they were left in: those of
/// what it has replaced, and of what these had replaced in vain. Without a state what goes its own way.
pub(super) fn replaced_rows(replaced: &[Replaced]) -> Vec<(i64, Option<OutboxState>)> {
    let mut rows = Vec::new();
    for old in replaced {
        rows.push((old.file.id, old.is_held.then_some(old.row)));
        rows.extend(replaced_rows(&old.file.inner.lock().replaced));
    }
    rows
}

/// Notes that `file` was listed in the place of `old`, which an earlier run or another process has
/// sent: what becomes of `file` decides whether `old` is ever listed again.
pub(super) fn cover(file: &OutboxFile, old: Arc<OutboxFile>) {
    {
        let mut inner = old.inner.lock();
        inner.unlinked = true;
        inner.is_replaced = true;
    }
    let row = OutboxState::Sent;
    file.inner.lock().replaced.push(Replaced { file: old, row, is_held: true });
}

/// Forgets what `file` has replaced, once the row of `file` promises it.
pub(super) fn end_replaced(core: &Core, file: &OutboxFile) {
    let replaced = std::mem::take(&mut file.inner.lock().replaced);
    for Replaced { file: old, row, is_held } in replaced {
        // The staged file of another process is removed by that one, when it misses its row.
        let is_staged = old.inner.lock().spool.is_some() || core.recover;
        if is_held && row != OutboxState::Sent && is_staged {
            old.inner.lock().queue_place = None;
            old.remove_staged(core);
        }
    }
}

/// Lets what `file` has replaced go its way, because `file` is not promised.
pub(super) fn resume_replaced(core: &Arc<Core>, file: &OutboxFile) {
    let mut resumed = Vec::new();
    for old in &mut file.inner.lock().replaced {
        // A sent one stays hidden from the list until its name is free again.
        if old.row != OutboxState::Sent && std::mem::take(&mut old.is_held) {
            resumed.push(Arc::clone(&old.file));
        }
    }
    for old in resumed {
        let (state, place) = {
            let mut inner = old.inner.lock();
            inner.unlinked = false;
            inner.is_settled = true;
            (inner.state, inner.queue_place)
        };
        match (state, place) {
            (SendState::Queued | SendState::Prepared, Some(place)) if core.recover => {
                core.queue.insert(place, &old);
                start_lane(core, &old.recipient);
            }
            (SendState::Prepared, None) => {
                core.spawn(sender::publish(Arc::clone(core), old));
            }
            _ => {}
        }
    }
}
