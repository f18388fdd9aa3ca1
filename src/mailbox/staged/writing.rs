//! Writers of a staged file: opening, writing, truncating, and the settle window after the last
//! close.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::content::Holding;
use super::file::{Inner, OutboxFile};
use super::member::Member;
use super::outcome::Failure;
use super::rewriting::Rewriting;
use super::spool::Spool;
use super::state::{Event, SendState};
use crate::mailbox::MailboxError;
use crate::protocol::Identity;
use crate::protocol::limits::PAYLOAD_LEN_MAX;

/// What a change of content requires of its caller.
#[derive(Debug)]
#[must_use = "a chunk waits for its upload, or a promise of old content stands in the queue"]
pub(in crate::mailbox) struct Changed {
    /// A chunk is complete, and its upload may begin.
    pub(in crate::mailbox) begin_upload: bool,
    /// Recipients and places of the queued promises that the change has voided: a late store of a
    /// mapping, after the close that queued the file.
    pub(in crate::mailbox) voided: Vec<(Identity, i64)>,
    /// Why the change itself failed: what the writer meant is not there.
    pub(in crate::mailbox) failure: Option<MailboxError>,
}

/// A settle window that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mailbox) struct SettleWindow {
    /// For [`OutboxFile::is_window_open`].
    pub(in crate::mailbox) number: u64,
    /// Empty files wait longer.
    pub(in crate::mailbox) is_empty: bool,
}

impl OutboxFile {
    /// Takes a writer reference and makes drafts of every promise of the content; false when the
    /// staged bytes are not here to be changed.
    pub(in crate::mailbox) fn open_writer(&self) -> bool {
        self.staged().with(|inner| {
            let content = &mut inner.content;
            let is_open = content.spool().is_some() && content.is_vouched();
            if !is_open || is_any_sent(inner) {
                return false;
            }
            inner.content.add_writer();
            for member in &mut inner.members {
                member.apply(Event::Opened);
                member.begin_window();
            }
            true
        })
    }

    /// Drops a writer reference.
    ///
    /// A file that was reopened and closed without a change is still promised.
    pub(in crate::mailbox) fn close_writer(&self) {
        self.staged().with(|Inner { content, members, .. }| {
            content.remove_writer();
            for member in members {
                if member.is_promised(content) && member.state() == SendState::Draft {
                    member.apply(Event::PrepareBegun);
                    member.apply(Event::PrepareDone);
                }
            }
        });
    }

    /// Restarts the settle window; `None` while a writer is left, or nothing is to be sent.
    pub(in crate::mailbox) fn begin_window(&self) -> Option<SettleWindow> {
        self.with(|content, member| {
            let number = member.begin_window();
            let is_wanted = matches!(
                member.state(),
                SendState::Draft | SendState::Queued | SendState::Prepared
            );
            let may_settle = content.writer_count() == 0 && member.place.is_active() && is_wanted;
            may_settle.then(|| SettleWindow { number, is_empty: content.len() == 0 })
        })
    }

    /// Returns whether the window `number` was not ended by an opening, a renaming or a removal.
    pub(in crate::mailbox) fn is_window_open(&self, number: u64) -> bool {
        self.with(|content, member| {
            member.window() == number && content.writer_count() == 0 && member.place.is_active()
        })
    }

    /// Returns the number of the settle window that began last.
    pub(in crate::mailbox) fn window(&self) -> u64 {
        self.with(|_, member| member.window())
    }

    /// Writes into the staged file.
    ///
    /// # Errors
    /// `NotPermitted` when sent, `TooLarge` past the protocol's limit, or the disk's error: it
    /// marks the file Failed, since what the writer meant is missing.
    pub(in crate::mailbox) fn write_at(
        &self,
        offset: u64,
        data: &[u8],
    ) -> Result<Changed, MailboxError> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= PAYLOAD_LEN_MAX)
            .ok_or(MailboxError::TooLarge)?;
        let written = self.writable_spool()?.write_at(offset, data);
        let (begin_upload, voided, filled_a_chunk) = self.staged().with(|inner| {
            inner.content.note_write(offset, end, written.is_ok());
            let chunk_bytes = inner.content.chunks().chunk_bytes();
            let filled_a_chunk = offset / chunk_bytes != end / chunk_bytes;
            let voided = self.note_change(inner, written.as_ref().err());
            let is_idle = !inner.content.is_uploading();
            let begin_upload = written.is_ok() && filled_a_chunk && is_idle;
            (begin_upload, voided, filled_a_chunk)
        });
        if filled_a_chunk && !begin_upload {
            self.staged().uploads_moved.notify_waiters();
        }
        Ok(Changed { begin_upload, voided, failure: written.err() })
    }

    /// Begins to take the place of a sent content of `len` bytes that its writer did not cut: what
    /// is staged from now on is sent only if nothing of that one is left.
    pub(in crate::mailbox) fn begin_rewriting(&self, len: u64) {
        self.with(|content, _| content.begin_rewriting(len));
    }

    /// Gives such a content up; returns whether it was one, and nothing is promised of it.
    pub(in crate::mailbox) fn give_up_rewriting(&self) -> bool {
        self.with(|content, _| content.give_up_rewriting())
    }

    /// Returns whether a sent content is written anew, and not yet closed.
    pub fn is_rewriting(&self) -> bool {
        self.with(|content, _| matches!(content.rewriting(), Rewriting::Begun(_)))
    }

    /// Returns whether such a content was given up.
    pub fn is_rewrite_given_up(&self) -> bool {
        self.with(|content, _| *content.rewriting() == Rewriting::GivenUp)
    }

    /// Returns whether a part of a sent content would have to stay, or did.
    pub fn is_partly_rewritten(&self) -> bool {
        self.with(|content, _| content.rewriting().is_partial())
    }

    /// Truncates or extends the file.
    ///
    /// # Errors
    /// As [`OutboxFile::write_at`].
    pub(in crate::mailbox) fn set_len(&self, len: u64) -> Result<Changed, MailboxError> {
        if len > PAYLOAD_LEN_MAX {
            return Err(MailboxError::TooLarge);
        }
        let resized = self.writable_spool()?.set_len(len);
        let voided = self.staged().with(|inner| {
            if len == 0 {
                inner.attributes.begun_at = self.staged().area.clock().now();
            }
            // Cut to the length that it has, an abandoned file is begun anew all the same.
            let is_abandoned = |member: &Member<_>| member.state() == SendState::Abandoned;
            // The old content that is written anew may be longer than what was written of it.
            let is_same = inner.content.len() == len
                && *inner.content.rewriting() == Rewriting::No
                && !inner.members.iter().any(is_abandoned);
            if is_same && resized.is_ok() {
                return Vec::new();
            }
            inner.content.note_resize(len, resized.is_ok());
            self.note_change(inner, resized.as_ref().err())
        });
        Ok(Changed { begin_upload: false, voided, failure: resized.err() })
    }

    /// Makes drafts of every promise of the content that has changed, or failures of all when the
    /// change itself failed; returns those that stood in the queue.
    fn note_change(&self, inner: &mut Inner, error: Option<&MailboxError>) -> Vec<(Identity, i64)> {
        inner.attributes.mtime = self.staged().area.clock().now();
        let mut voided = Vec::new();
        for member in &mut inner.members {
            let was_draft = member.state() == SendState::Draft;
            member.apply(Event::Changed);
            if let (Some(place), false) = (member.promise.queue_place(), was_draft) {
                voided.push((member.recipient.clone(), place));
            }
            if let Some(error) = error
                && member.apply(Event::PrepareFailed)
            {
                let (class, text) = (error.class(), error.to_string());
                member.outcome.set_failure(Failure { class, text, is_unattended: false });
            }
        }
        voided
    }

    fn writable_spool(&self) -> Result<Arc<Spool>, MailboxError> {
        self.staged().with(|inner| {
            if is_any_sent(inner) || *inner.content.rewriting() == Rewriting::GivenUp {
                return Err(MailboxError::NotPermitted("a sent message is immutable"));
            }
            inner.content.spool().cloned().ok_or(MailboxError::NotFound("staged file"))
        })
    }

    /// Reads from the staged file.
    ///
    /// # Errors
    /// `NotFound` when the staged file is gone.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, MailboxError> {
        let open = self.with(|content, _| match content.holding() {
            Holding::Open(spool) => Some(Some(Arc::clone(spool))),
            Holding::Parked(_) => Some(None),
            Holding::Gone => None,
        });
        let gone = MailboxError::NotFound("staged file");
        match open {
            Some(Some(spool)) => spool.read_at(offset, len),
            Some(None) => {
                let (dir, name) = (self.staged().area.dir(), self.unique_name());
                Spool::look(dir, name)?.ok_or(gone)?.read_at(offset, len)
            }
            None => Err(gone),
        }
    }

    /// Returns whether the staged file holds the content, and may be read.
    pub(in crate::mailbox) fn is_readable_here(&self) -> bool {
        self.with(|content, _| content.is_staged() && content.is_vouched())
    }

    /// Returns whether the writer of these bytes has just filled a chunk and should wait for the
    /// registry.
    ///
    /// A copy that runs ahead only moves its time into the close, where no progress is shown.
    pub fn is_far_ahead(&self, offset: u64, len: u64) -> bool {
        self.with(|content, _| {
            let chunk_bytes = content.chunks().chunk_bytes();
            let filled_a_chunk = offset / chunk_bytes != offset.saturating_add(len) / chunk_bytes;
            filled_a_chunk && content.is_far_ahead()
        })
    }

    /// Waits until the uploads have caught up or ended, but no longer than `limit`: a registry that
    /// hangs must not stop a copy into the staged file. After that no writer is far ahead until the
    /// registry has accepted another chunk.
    pub async fn wait_for_uploads(&self, limit: Duration) {
        let caught_up = async {
            loop {
                let mut moved = std::pin::pin!(self.staged().uploads_moved.notified());
                moved.as_mut().enable();
                if !self.with(|content, _| content.is_far_ahead()) {
                    return;
                }
                moved.await;
            }
        };
        if tokio::time::timeout(limit, caught_up).await.is_err() {
            self.with(|content, _| content.chunks_mut().note_stall());
        }
    }
}

fn is_any_sent(inner: &Inner) -> bool {
    inner.members.iter().any(|member| member.state() == SendState::Sent)
}
