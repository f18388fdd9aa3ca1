//! Names: renaming, taking the name of another file, leaving the list.

use std::sync::Arc;

use super::file::OutboxFile;
use super::outcome::Failure;
use super::place::{Replaced, Standing};
use super::promise::LeftPlace;
use super::row::RowChange;
use super::state::{Event, SendState};
use crate::mailbox::MailboxError;
use crate::mailbox::entry::EntryPath;
use crate::protocol::ErrorClass;
use crate::store::{OutboxChange, OutboxState};

/// A file whose name another one has taken.
pub(in crate::mailbox) type ReplacedFile = Replaced<Arc<OutboxFile>>;

/// How a file continues that is no longer held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mailbox) enum Resumption {
    /// Its place in the queue.
    Queue(i64),
    /// The publish of its tag.
    Publish,
    /// Nothing.
    Rest,
}

impl OutboxFile {
    /// Gives the file another path: a draft from here on, whose new name needs a new signature.
    /// Returns the old path and the row; `None` when it already has that one.
    ///
    /// With `stays_queued` the row keeps its place in the queue, under the new name, until the
    /// caller queues the file again.
    ///
    /// # Errors
    /// `NotPermitted` for a sent file, or one that is being sent.
    pub(in crate::mailbox) fn rename(
        &self,
        to: &EntryPath,
        stays_queued: bool,
    ) -> Result<Option<(EntryPath, RowChange)>, MailboxError> {
        self.with(|content, member| {
            if member.state() == SendState::Sent {
                return Err(MailboxError::NotPermitted("a sent message is immutable"));
            }
            if member.place.path() == to {
                return Ok(None);
            }
            content.require_whole()?;
            if !content.is_vouched() {
                let why = "it is already being sent under this name";
                return Err(MailboxError::NotPermitted(why));
            }
            let from = member.place.rename(to.clone());
            member.begin_window();
            member.apply(Event::Renamed);
            let is_draft = member.state() == SendState::Draft && !stays_queued;
            let change = OutboxChange {
                updated_at: Some(self.now()),
                state: is_draft.then_some(OutboxState::Draft),
                message: stays_queued.then_some(None),
                ..member.place.described()
            };
            Ok(Some((from, RowChange::new(self.id(), change))))
        })
    }

    /// Restores the old path after a rename whose delivery failed; state and error stay. Returns
    /// the path it had in the meantime and the row; `None` when it is sent, or off the list.
    pub(in crate::mailbox) fn rename_back(
        &self,
        from: &EntryPath,
    ) -> Option<(EntryPath, RowChange)> {
        self.with(|_, member| {
            if !member.place.is_active() || member.state() == SendState::Sent {
                return None;
            }
            let to = member.place.rename(from.clone());
            let change = OutboxChange { updated_at: Some(self.now()), ..member.place.described() };
            Some((to, RowChange::new(self.id(), change)))
        })
    }

    /// Shows on a draft that it waits because of a file beside it.
    pub(in crate::mailbox) fn wait_beside(&self, why: &str) {
        self.with(|_, member| {
            if member.state() == SendState::Draft {
                let (class, text) = (ErrorClass::Busy, why.to_owned());
                member.outcome.set_failure(Failure { class, text, is_unattended: false });
            }
        });
    }

    /// Returns whether it is a draft that waits because of a file beside it, perhaps permanently.
    pub(in crate::mailbox) fn is_waiting_beside(&self) -> bool {
        self.with(|_, member| {
            member.state() == SendState::Draft
                && member.outcome.failure().is_some_and(|why| why.class == ErrorClass::Busy)
        })
    }

    /// Retires the file; returns its place in the queue, to be given up.
    pub(in crate::mailbox) fn remove(&self) -> LeftPlace {
        self.with(|_, member| {
            member.place.set_standing(Standing::Removed);
            member.begin_window();
            member.promise.leave_queue()
        })
    }

    /// Returns the row of a file that stays off the list at later starts; all promises are kept.
    pub(in crate::mailbox) fn hidden_row(&self) -> RowChange {
        let change = OutboxChange { hidden: Some(true), ..OutboxChange::default() };
        RowChange::new(self.id(), change)
    }

    /// Gives the name up to `newer`, which has taken it while the row of this file said `row`.
    ///
    /// Unless its tag may be there already, the file stands still until the newer one is promised:
    /// such a promise can no longer be taken back. Returns its place in the queue, to be given up.
    pub(in crate::mailbox) fn give_name_to(
        self: &Arc<Self>,
        newer: &OutboxFile,
        row: OutboxState,
        is_ours: bool,
    ) -> Option<i64> {
        let may_be_tagged = self.may_be_tagged() || !is_ours;
        let is_held = row != OutboxState::Prepared || !may_be_tagged;
        let place = self.with(|_, member| {
            if !is_held {
                member.place.set_standing(Standing::Displaced);
                return None;
            }
            member.place.set_standing(Standing::Held);
            member.begin_window();
            member.promise.queue_place()
        });
        newer.take_over(Replaced { file: Arc::clone(self), row, is_held });
        place
    }

    /// Notes that this file, which an earlier run or another process has sent, is covered by
    /// `newer`: the outcome of that one decides whether this one is ever listed again.
    pub(in crate::mailbox) fn sink_below(self: &Arc<Self>, newer: &OutboxFile) {
        self.with(|_, member| member.place.set_standing(Standing::Held));
        let row = OutboxState::Sent;
        newer.take_over(Replaced { file: Arc::clone(self), row, is_held: true });
    }

    fn take_over(&self, replaced: ReplacedFile) {
        self.with(|_, member| member.place.take_over(replaced));
    }

    /// Returns whether the file has taken the name of one that is still to be sent.
    pub(in crate::mailbox) fn has_replaced_unsent(&self) -> bool {
        self.with(|_, member| {
            member.place.replaced().iter().any(|old| old.row != OutboxState::Sent)
        })
    }

    /// Returns the file that this one has taken the name of last.
    pub(in crate::mailbox) fn replaced_last(&self) -> Option<Arc<Self>> {
        self.with(|_, member| member.place.replaced().last().map(|old| Arc::clone(&old.file)))
    }

    /// Takes what this file has taken the name of.
    pub(in crate::mailbox) fn take_replaced(&self) -> Vec<ReplacedFile> {
        self.with(|_, member| member.place.take_replaced())
    }

    /// No longer holds back what is not yet sent; returns those files.
    pub(in crate::mailbox) fn release_held(&self) -> Vec<Arc<OutboxFile>> {
        self.with(|_, member| member.place.release_held())
    }

    /// Returns which rows the promise of this file ends, with the states that they were left in:
    /// those of what it has replaced, and of what these had replaced in vain. Without a state what
    /// is sent separately.
    pub(super) fn replaced_rows(&self) -> Vec<(i64, Option<OutboxState>)> {
        // One file is locked at a time.
        let mut files = self.with(|_, member| member.place.replaced().to_vec());
        let mut rows = Vec::new();
        while let Some(old) = files.pop() {
            rows.push((old.file.id(), old.is_held.then_some(old.row)));
            files.extend(old.file.with(|_, member| member.place.replaced().to_vec()));
        }
        rows
    }

    /// Ends a file that was held back, once the promise of the newer one has ended its row.
    ///
    /// Another process removes its own staged file when it finds that the row is gone.
    pub(in crate::mailbox) fn end_replaced(&self, owns_parked: bool) {
        let is_ours = self.with(|content, _| content.spool().is_some()) || owns_parked;
        if is_ours {
            // The queue gave its place up when it stood still.
            self.with(|_, member| member.promise.leave_queue()).into_place();
            self.remove_staged();
        }
    }

    /// Releases a file that was held back, because the newer one is not promised.
    pub(in crate::mailbox) fn resume(&self) -> Resumption {
        self.with(|_, member| {
            member.place.set_standing(Standing::Displaced);
            member.promise.settle();
            match (member.state(), member.promise.queue_place()) {
                (SendState::Queued | SendState::Prepared, Some(place)) => Resumption::Queue(place),
                (SendState::Prepared, None) => Resumption::Publish,
                _ => Resumption::Rest,
            }
        })
    }

    /// Has its name back on the list; it may have been sent in the meantime.
    pub(in crate::mailbox) fn list_again(&self) -> RowChange {
        self.with(|_, member| member.place.set_standing(Standing::Listed));
        let change = OutboxChange { hidden: Some(false), ..OutboxChange::default() };
        RowChange::new(self.id(), change)
    }
}
