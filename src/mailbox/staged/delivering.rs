//! A delivery: begun, prepared, published, failed. Each step returns the row that it implies.
//!
//! The caller holds the delivery lock of the file.

use super::file::{Inner, OutboxFile};
use super::outcome::Failure;
use super::promise::{LeftPlace, Version};
use super::row::{Abandoning, Dismissing, Promising, RowChange, Saved, Sending, Step};
use super::state::{Event, SendState};
use crate::mailbox::MailboxError;
use crate::protocol::{Digest, ErrorClass, FileName, MessageId, ReceiptStatus};
use crate::store::{OutboxChange, OutboxState, PreparedMessage, Withdrawal};

/// The message of a content and name: already made, or to be made.
pub(in crate::mailbox) enum MessageBasis {
    /// A retry pushes the same one.
    Made(PreparedMessage),
    /// What a new one is made from.
    Make {
        name: FileName,
        /// Fixed when the file was queued.
        id: Option<MessageId>,
        version: Version,
    },
}

/// What a publish is about to do.
pub(in crate::mailbox) enum Tagging {
    /// Nothing: it was sent.
    Sent(Digest),
    /// To push the tag of this message.
    Prepared(PreparedMessage),
}

/// A failure, as known in memory.
pub(in crate::mailbox) struct Failed {
    pub(in crate::mailbox) row: RowChange,
    /// The staged bytes must be durable before the row says Failed: they are what a later attempt
    /// sends, perhaps after a power cut.
    pub(in crate::mailbox) must_sync: bool,
    /// The place that the file had in the queue.
    pub(in crate::mailbox) place: LeftPlace,
}

impl OutboxFile {
    /// Begins a delivery; false when the file is already sent.
    ///
    /// # Errors
    /// `NotPermitted` when what is staged may not be what was closed, and nothing is prepared.
    pub(in crate::mailbox) fn begin_delivery(&self) -> Result<bool, MailboxError> {
        self.with(|content, member| {
            if member.state() == SendState::Sent {
                return Ok(false);
            }
            content.require_whole()?;
            member.apply(Event::PrepareBegun);
            if !content.is_vouched() && !member.is_pushed(content) {
                // It may not be what was prepared before the machine crashed.
                return Err(MailboxError::NotPermitted("copy the file again"));
            }
            Ok(true)
        })
    }

    /// Makes a draft of a file whose close was interrupted.
    pub(in crate::mailbox) fn interrupt_delivery(&self) {
        self.with(|_, member| member.apply(Event::Interrupted));
    }

    /// Leaves the file in the queue for another attempt; one without a place there is a draft again.
    pub(in crate::mailbox) fn defer_delivery(&self) {
        self.with(|_, member| match member.promise.queue_place() {
            Some(_place) => member.apply(Event::Deferred),
            None => member.apply(Event::Interrupted),
        });
    }

    /// Returns the message that covers the current content and name and is in the registry, all but
    /// its tag.
    pub(in crate::mailbox) fn pushed_message(&self) -> Option<PreparedMessage> {
        self.with(|content, member| member.pushed_message(content).cloned())
    }

    /// Returns what the message of the content `generation` is made from.
    pub(in crate::mailbox) fn message_basis(&self, generation: u64) -> MessageBasis {
        self.with(|_, member| {
            let version = Version { content: generation, name: member.place.name_version() };
            match member.promise.message(version) {
                Some(message) => MessageBasis::Made(message.clone()),
                None => MessageBasis::Make {
                    name: member.place.path().file_name().clone(),
                    id: member.promise.reserved_id(),
                    version,
                },
            }
        })
    }

    /// Fixes the message of `version`, unless content or name have changed since.
    pub(in crate::mailbox) fn fix_message(&self, version: Version, message: &PreparedMessage) {
        self.with(|content, member| {
            if member.version(content) == version {
                member.promise.build(version, message.clone());
            }
        });
    }

    /// Returns the row of a queued file whose message is fixed and not pushed yet: the queue
    /// continues with it after a crash, while a close that waits repeats everything.
    pub(in crate::mailbox) fn fixed_row(&self, message: &PreparedMessage) -> Option<RowChange> {
        self.is_queued().then(|| {
            let message = Some(Some(message.clone()));
            RowChange::new(self.id(), OutboxChange { message, ..OutboxChange::default() })
        })
    }

    /// Promises `message`, of which all but the tag is in the registry: from the saved row on a
    /// restart publishes the tag.
    pub(in crate::mailbox) fn promising(&self, message: &PreparedMessage) -> Step<Promising> {
        let replaces = self.replaced_rows();
        let change = self.staged().with(|inner| OutboxChange {
            updated_at: Some(self.now()),
            state: Some(OutboxState::Prepared),
            message: Some(Some(message.clone())),
            error: Some(None),
            unattended: Some(false),
            replaces,
            ..self.described(inner)
        });
        Step::new(RowChange::new(self.id(), change), Promising { digest: message.digest })
    }

    /// Begins to promise again what is prepared already, in a row that may say Failed since; `None`
    /// when nothing is prepared.
    pub(in crate::mailbox) fn renewing(&self) -> Option<Step<Promising>> {
        let message = self.pushed_message()?;
        self.with(|_, member| member.apply(Event::PrepareBegun));
        Some(self.promising(&message))
    }

    /// Makes the file Prepared, as its row says.
    ///
    /// # Errors
    /// `Busy` when it was written, renamed or removed in the meantime: this content is not what the
    /// caller closed.
    pub(in crate::mailbox) fn promised(&self, saved: Saved<Promising>) -> Result<(), MailboxError> {
        let Promising { digest } = saved.of(self.id());
        self.with(|content, member| {
            member.promise.note_pushed(&digest);
            if !member.place.is_active() || !member.is_pushed(content) {
                return Err(MailboxError::Busy);
            }
            // Abandoned meanwhile: its row follows.
            if member.apply(Event::PrepareDone) { Ok(()) } else { Err(MailboxError::Busy) }
        })
    }

    /// Returns what a publish has to do.
    ///
    /// # Errors
    /// `Busy` when the file is not Prepared, or has changed since.
    pub(in crate::mailbox) fn tagging(&self) -> Result<Tagging, MailboxError> {
        self.with(|content, member| match member.state() {
            SendState::Sent => member.message(content).map(|message| Tagging::Sent(message.digest)),
            SendState::Prepared => member.pushed_message(content).cloned().map(Tagging::Prepared),
            _ => None,
        })
        .ok_or(MailboxError::Busy)
    }

    /// Notes that the tag is about to be pushed: from here on it may be in the registry.
    pub(in crate::mailbox) fn note_tag_tried(&self) {
        self.with(|_, member| member.promise.note_tag_tried());
    }

    /// Returns whether an earlier attempt may have pushed the tag.
    pub(in crate::mailbox) fn may_be_tagged(&self) -> bool {
        self.with(|content, member| !content.is_vouched() || member.promise.may_be_tagged())
    }

    /// Forgets the message and its id, whose tag belongs to another message (P4).
    pub(in crate::mailbox) fn forget_taken_id(&self) {
        self.with(|_, member| member.promise.forget_taken_id());
    }

    /// Forgets what was pushed, for a registry that no longer has all of it.
    pub(in crate::mailbox) fn forget_pushed(&self) {
        self.with(|content, member| {
            content.chunks_mut().forget_layers();
            member.promise.forget_message();
        });
    }

    /// Returns whether the staged bytes are known to be those that were closed.
    pub(in crate::mailbox) fn is_vouched(&self) -> bool {
        self.with(|content, _| content.is_vouched())
    }

    /// Returns the row of a file whose tag exists.
    pub(in crate::mailbox) fn sending(&self) -> Step<Sending> {
        let change = self.staged().with(|inner| OutboxChange {
            updated_at: Some(self.now()),
            state: Some(OutboxState::Sent),
            mtime: Some(inner.attributes.mtime.into()),
            hidden: self.member(inner).place.is_name_taken().then_some(true),
            error: Some(None),
            ..OutboxChange::default()
        });
        Step::new(RowChange::new(self.id(), change), Sending)
    }

    /// Makes the file Sent, as its row says, and releases the staged bytes.
    ///
    /// Handles that still read keep the open file; its name is removed, so that nothing is kept
    /// twice.
    pub(in crate::mailbox) fn sent(&self, saved: Saved<Sending>) -> LeftPlace {
        let Sending = saved.of(self.id());
        let place = self.staged().with(|inner| {
            let member = self.member_mut(inner);
            member.apply(Event::Published);
            let place = member.promise.leave_queue();
            if self.others(inner).all(|other| !other.needs_content()) {
                inner.content.end();
            }
            place
        });
        self.remove_staged();
        place
    }

    /// Makes the file Failed; `None` when it can no longer fail.
    ///
    /// The row of a file whose staged bytes are not known to be right keeps its promise: the next
    /// start tries it again.
    pub(in crate::mailbox) fn fail(
        &self,
        class: ErrorClass,
        text: String,
        is_unattended: bool,
    ) -> Option<Failed> {
        self.with(|content, member| {
            // A publish that met a taken tag has to prepare again.
            let event = match member.state() {
                SendState::Prepared => Event::PublishFailed,
                _ => Event::PrepareFailed,
            };
            if !member.apply(event) {
                return None;
            }
            let failure = Failure { class, text, is_unattended };
            // Kept only if the tag may have been pushed, for the next attempt: otherwise that one
            // makes another message, with its own time.
            let message = member.pushed_message(content).cloned();
            let is_promise_kept = !content.is_vouched() && message.is_some();
            // What was queued was made durable then; bytes not known to be right are never read.
            let must_sync = content.is_vouched() && member.promise.queue_place().is_none();
            let change = OutboxChange {
                updated_at: Some(self.now()),
                state: (!is_promise_kept).then_some(OutboxState::Failed),
                len: Some(content.len()),
                message: Some(message),
                unattended: Some(is_unattended),
                error: Some(Some(failure.stored())),
                ..OutboxChange::default()
            };
            member.outcome.set_failure(failure);
            let place = member.promise.leave_queue();
            if !is_promise_kept {
                member.promise.break_promise();
            }
            Some(Failed { row: RowChange::new(self.id(), change), must_sync, place })
        })
    }

    /// Shows on a promised file why it waits; `None` when it is not promised, or shows that already.
    pub(in crate::mailbox) fn note_waiting(
        &self,
        class: ErrorClass,
        text: String,
    ) -> Option<RowChange> {
        self.with(|_, member| {
            if member.promise.queue_place().is_none() && member.state() != SendState::Prepared {
                return None;
            }
            let failure = Failure { class, text, is_unattended: false };
            if member.outcome.failure() == Some(&failure) {
                return None;
            }
            let change =
                OutboxChange { error: Some(Some(failure.stored())), ..OutboxChange::default() };
            member.outcome.set_failure(failure);
            Some(RowChange::new(self.id(), change))
        })
    }

    /// Marks a file whose writer died or failed: it is never sent unless written again. False when
    /// it is promised, and the promise holds.
    pub(in crate::mailbox) fn abandon(&self, why: &str) -> bool {
        self.give_up(Event::WriterLost, why)
    }

    /// Marks a file of an earlier run whose staged bytes are not all of what was written.
    pub(in crate::mailbox) fn lose_content(&self, why: &str) -> bool {
        self.give_up(Event::ContentLost, why)
    }

    fn give_up(&self, event: Event, why: &str) -> bool {
        self.with(|_, member| {
            if !member.apply(event) {
                return false;
            }
            // What an earlier close promised is taken back with the file.
            member.promise.forget_message();
            let (class, text) = (ErrorClass::Interrupted, why.to_owned());
            member.outcome.set_failure(Failure { class, text, is_unattended: false });
            true
        })
    }

    /// Returns the row of an abandoned file; `None` when it was written again, and is perhaps
    /// promised by now.
    pub(in crate::mailbox) fn abandoning(&self) -> Option<Step<Abandoning>> {
        self.with(|content, member| {
            if member.state() != SendState::Abandoned {
                return None;
            }
            let mut error = member.outcome.failure()?.stored();
            "abandoned".clone_into(&mut error.code);
            let change = OutboxChange {
                updated_at: Some(self.now()),
                state: Some(OutboxState::Abandoned),
                message: Some(None),
                len: Some(content.len()),
                error: Some(Some(error)),
                ..OutboxChange::default()
            };
            Some(Step::new(RowChange::new(self.id(), change), Abandoning))
        })
    }

    /// Gives up the place in the queue that the row of an abandoned file no longer has, and returns
    /// it.
    pub(in crate::mailbox) fn abandoned(&self, saved: Saved<Abandoning>) -> LeftPlace {
        let Abandoning = saved.of(self.id());
        self.with(|_, member| member.promise.leave_queue())
    }

    /// Returns the row of a failed file that is about to be written: the message that it still names
    /// says what was closed before. `None` when it names none.
    pub(in crate::mailbox) fn unnaming_row(&self) -> Option<RowChange> {
        self.with(|_, member| {
            let is_named = member.state() == SendState::Failed && member.promise.has_unpromised();
            let change = OutboxChange { message: Some(None), ..OutboxChange::default() };
            is_named.then(|| RowChange::new(self.id(), change))
        })
    }

    /// Corrects the length of a file of an earlier run by what was found on the disk.
    ///
    /// A Prepared file is what its row says, even if the staged bytes differ.
    pub(in crate::mailbox) fn note_found_len(&self, len: u64) {
        self.with(|content, member| {
            if member.state() != SendState::Prepared {
                content.note_found_len(len);
            }
        });
    }

    /// Removes the note about a failure; the file stays as it is.
    pub(in crate::mailbox) fn dismissing(&self) -> Step<Dismissing> {
        let change = OutboxChange { unattended: Some(false), ..OutboxChange::default() };
        Step::new(RowChange::new(self.id(), change), Dismissing)
    }

    /// Forgets the note about a failure, as the row says.
    pub(in crate::mailbox) fn dismissed(&self, saved: Saved<Dismissing>) {
        let Dismissing = saved.of(self.id());
        self.with(|_, member| member.outcome.dismiss_failure());
    }

    /// Remembers the newest verified receipt.
    pub(in crate::mailbox) fn note_receipt(&self, status: ReceiptStatus) -> RowChange {
        self.with(|_, member| member.outcome.set_receipt(status));
        let change = OutboxChange { receipt: Some(Some(status)), ..OutboxChange::default() };
        RowChange::new(self.id(), change)
    }

    /// Remembers that the message was withdrawn from the registry; the first reason stays.
    ///
    /// The row does not change: withdrawals have their own table, by digest.
    pub(in crate::mailbox) fn set_withdrawn(&self, why: Withdrawal) {
        self.with(|_, member| member.outcome.withdraw(why));
    }

    /// Remembers whether the registry has lost the message; returns whether that is new.
    ///
    /// The row does not change: what is known of sent messages has its own table, by digest.
    pub(in crate::mailbox) fn set_lost(&self, is_lost: bool) -> bool {
        self.with(|_, member| {
            let was_lost = member.outcome.is_lost();
            member.outcome.set_lost(is_lost);
            member.outcome.is_lost() != was_lost
        })
    }

    /// Returns what a row says about content and name.
    pub(super) fn described(&self, inner: &Inner) -> OutboxChange {
        OutboxChange {
            len: Some(inner.content.len()),
            mtime: Some(inner.attributes.mtime.into()),
            mode: Some(inner.attributes.mode),
            ..self.member(inner).place.described()
        }
    }
}
