//! The states of a file in the outbox, as a pure table.
//!
//! Draft: staged locally. Queued: complete, and the row promises its delivery. Prepared: every
//! chunk, the manifest by digest and its signature are in the registry and the row is durable.
//! Sent: the tag exists. The table is the commit rule's second half; `fs` decides which events
//! happen.
#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt;

/// The state of a file in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendState {
    /// Staged locally; nothing promises that it will be sent.
    Draft,
    /// Complete and durable on the local disk; sent in the background.
    Queued,
    /// A close or the queue waits for the registry.
    Preparing,
    /// Everything but the tag is in the registry; the tag follows from the durable queue.
    Prepared,
    /// The tag exists: the message is immutable.
    Sent,
    /// Could not be sent; written again, it becomes a draft.
    Failed,
    /// Its writer died or failed; never sent unless written again.
    Abandoned,
}

impl SendState {
    /// Returns the word that xattrs, listings and `--json` show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Queued => "queued",
            Self::Preparing => "sending",
            Self::Prepared => "prepared",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }

    /// Returns whether nothing else happens to the file by itself.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Sent | Self::Failed | Self::Abandoned)
    }
}

impl fmt::Display for SendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Content changed.
    Changed,
    /// It was opened for writing again.
    Opened,
    /// The name changed.
    Renamed,
    /// The row promises delivery in the background.
    Enqueued,
    /// A close or the queue begins to deliver.
    PrepareBegun,
    /// Everything but the tag is in the registry.
    PrepareDone,
    /// The registry refused, or the disk failed.
    PrepareFailed,
    /// The caller of close was interrupted.
    Interrupted,
    /// The queue's attempt did not finish; there will be another one.
    Deferred,
    /// The tag exists.
    Published,
    /// The tag was permanently refused.
    PublishFailed,
    /// The writer died or failed.
    WriterLost,
    /// The staged bytes of an earlier run are not all of what was written.
    ContentLost,
}

impl SendState {
    #[expect(clippy::match_same_arms, reason = "the table is read row by row")]
    /// Returns the state after `event`, or `None` when the event is not possible here.
    pub fn after(self, event: Event) -> Option<Self> {
        use Event as E;
        use SendState as S;
        match (self, event) {
            // A message is immutable: what is sent stays sent, and repeating that is harmless.
            (S::Sent, E::Published) => Some(S::Sent),
            (S::Sent, _) => None,
            (_, E::Changed) => Some(S::Draft),
            // Neither another name nor an opening adds what an abandoned file lacks.
            (S::Abandoned, E::Opened | E::Renamed) => Some(S::Abandoned),
            (
                S::Draft | S::Queued | S::Preparing | S::Prepared | S::Failed,
                E::Opened | E::Renamed,
            ) => Some(S::Draft),
            (S::Draft | S::Preparing, E::Interrupted) => Some(S::Draft),
            // No close waits for these: it has ended, or another event has overtaken it.
            (S::Queued | S::Prepared | S::Failed | S::Abandoned, E::Interrupted) => None,
            (S::Draft | S::Queued | S::Failed, E::Enqueued) => Some(S::Queued),
            // The queue cannot add what an abandoned file lacks; the others are already further.
            (S::Preparing | S::Prepared | S::Abandoned, E::Enqueued) => None,
            (
                S::Draft | S::Queued | S::Failed | S::Abandoned | S::Preparing | S::Prepared,
                E::PrepareBegun,
            ) => Some(S::Preparing),
            (S::Preparing, E::PrepareDone) => Some(S::Prepared),
            // Changed in the meantime: the result of the old content says nothing about the new.
            (S::Draft | S::Queued | S::Prepared | S::Failed | S::Abandoned, E::PrepareDone) => None,
            (S::Preparing, E::Deferred) => Some(S::Queued),
            (S::Draft | S::Queued | S::Prepared | S::Failed | S::Abandoned, E::Deferred) => None,
            // A file that has failed meanwhile has failed all the same, and its row must say so.
            (S::Preparing | S::Draft | S::Queued | S::Failed, E::PrepareFailed) => Some(S::Failed),
            (S::Prepared | S::Abandoned, E::PrepareFailed) => None,
            (S::Prepared, E::Published) => Some(S::Sent),
            (S::Draft | S::Queued | S::Preparing | S::Failed | S::Abandoned, E::Published) => None,
            (S::Prepared, E::PublishFailed) => Some(S::Failed),
            (S::Draft | S::Queued | S::Preparing | S::Failed | S::Abandoned, E::PublishFailed) => {
                None
            }
            (S::Draft | S::Preparing | S::Failed | S::Abandoned, E::WriterLost) => {
                Some(S::Abandoned)
            }
            // Its close returned 0 before: the promise holds.
            (S::Queued | S::Prepared, E::WriterLost) => None,
            // An incomplete file is never sent, whatever was promised.
            (S::Draft | S::Queued, E::ContentLost) => Some(S::Abandoned),
            // Needs no staged bytes, or has ended.
            (S::Preparing | S::Prepared | S::Failed | S::Abandoned, E::ContentLost) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [SendState; 7] = [
        SendState::Draft,
        SendState::Queued,
        SendState::Preparing,
        SendState::Prepared,
        SendState::Sent,
        SendState::Failed,
        SendState::Abandoned,
    ];

    #[test]
    fn nothing_but_a_prepared_file_becomes_sent() {
        for state in STATES {
            let sent = state.after(Event::Published) == Some(SendState::Sent);
            assert_eq!(sent, matches!(state, SendState::Prepared | SendState::Sent), "{state}");
        }
    }

    #[test]
    fn a_sent_message_is_immutable() {
        for event in [
            Event::Changed,
            Event::Opened,
            Event::Renamed,
            Event::Enqueued,
            Event::PrepareBegun,
            Event::PrepareDone,
            Event::PrepareFailed,
            Event::Interrupted,
            Event::Deferred,
            Event::PublishFailed,
            Event::WriterLost,
            Event::ContentLost,
        ] {
            assert_eq!(SendState::Sent.after(event), None, "{event:?}");
        }
    }

    #[test]
    fn no_opening_rename_or_interrupted_close_revives_an_abandoned_file() {
        assert_eq!(SendState::Abandoned.after(Event::Renamed), Some(SendState::Abandoned));
        assert_eq!(SendState::Abandoned.after(Event::Opened), Some(SendState::Abandoned));
        assert_eq!(SendState::Abandoned.after(Event::Changed), Some(SendState::Draft));
        assert_eq!(SendState::Abandoned.after(Event::Interrupted), None);
        assert_eq!(SendState::Failed.after(Event::Interrupted), None);
        assert_eq!(SendState::Prepared.after(Event::Renamed), Some(SendState::Draft));
    }

    #[test]
    fn an_interrupted_close_leaves_a_draft() {
        assert_eq!(SendState::Preparing.after(Event::Interrupted), Some(SendState::Draft));
    }

    #[test]
    fn a_file_written_during_its_preparation_is_not_prepared() {
        let state = SendState::Preparing.after(Event::Changed).unwrap();

        assert_eq!(state, SendState::Draft);
        assert_eq!(state.after(Event::PrepareDone), None);
    }

    #[test]
    fn a_dead_writer_abandons_a_draft_and_not_a_promise() {
        assert_eq!(SendState::Draft.after(Event::WriterLost), Some(SendState::Abandoned));
        assert_eq!(SendState::Prepared.after(Event::WriterLost), None);
        assert_eq!(SendState::Queued.after(Event::WriterLost), None);
    }

    #[test]
    fn an_attempt_of_the_queue_that_came_to_no_end_leaves_the_file_queued() {
        let sending = SendState::Queued.after(Event::PrepareBegun).unwrap();

        assert_eq!(sending.after(Event::Deferred), Some(SendState::Queued));
        assert_eq!(SendState::Prepared.after(Event::Deferred), None);
        assert_eq!(SendState::Draft.after(Event::Deferred), None);
    }

    #[test]
    fn only_complete_files_are_queued() {
        for (state, next) in [
            (SendState::Draft, Some(SendState::Queued)),
            (SendState::Failed, Some(SendState::Queued)),
            (SendState::Queued, Some(SendState::Queued)),
            (SendState::Abandoned, None),
            (SendState::Sent, None),
            (SendState::Prepared, None),
        ] {
            assert_eq!(state.after(Event::Enqueued), next, "{state}");
        }
    }

    #[test]
    fn a_queued_file_that_is_written_to_again_is_a_draft() {
        assert_eq!(SendState::Queued.after(Event::Changed), Some(SendState::Draft));
    }
}
