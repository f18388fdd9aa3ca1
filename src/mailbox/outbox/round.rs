//! What a lane remembers between its batches: which files were refused, and how patient it is.
//!
//! A refused file lets those behind it pass: a registry that refuses one large file takes the
//! others. After a few refusals in a row it refuses everything, and is left alone for a while.

use std::sync::Arc;

use super::patience::Outlook;
use super::pausing::Pause;
use super::queue::{Postponed, Seen};
use crate::mailbox::MailboxError;
use crate::mailbox::staged::OutboxFile;

/// Most files refused in a row before the lane pauses: with more, a registry that refuses everything
/// would see every file of a long queue in each round.
pub(super) const REFUSED_IN_A_ROW_MAX: u32 = 3;

/// A file that waits, and why.
pub(super) type Waiting = (Arc<OutboxFile>, MailboxError);

/// How a batch has ended.
#[derive(Default)]
pub(super) struct BatchEnd {
    pub(super) has_sent: bool,
    /// Refused, each on its own.
    pub(super) refused: Vec<Waiting>,
    /// The one at which the batch ended early.
    pub(super) halt: Option<Waiting>,
}

/// The state of a lane.
#[derive(Default)]
pub(super) struct Round {
    /// Files that were refused in this round.
    postponed: Postponed,
    /// Batches that ended early since a file was sent.
    halts: u32,
    /// Rounds in which nothing but refused files was left.
    rounds: u32,
    /// The registry refused several in a row, and has taken some since.
    may_take_all: bool,
    was_refusing: bool,
    /// The pause before the refused files are tried again.
    pub(super) rest: Option<Pause>,
    /// What was known before the first refusal of this round.
    seen: Option<Seen>,
}

impl Round {
    /// Returns the files that are left out for now.
    pub(super) fn postponed(&self) -> &Postponed {
        &self.postponed
    }

    /// Notes how a batch has ended that began when `seen` was known; returns the number of the halt
    /// after which the lane pauses.
    pub(super) fn note(&mut self, end: &BatchEnd, seen: Seen) -> Option<u32> {
        if end.has_sent {
            self.halts = 0;
            self.may_take_all |= self.was_refusing;
        }
        for (file, _) in end.refused.iter().chain(&end.halt) {
            self.seen.get_or_insert(seen);
            let place = file.queue_place();
            self.postponed.extend(place.map(|place| (place, file.id(), file.message_id())));
        }
        let (_, error) = end.halt.as_ref()?;
        if Outlook::of(error) == Outlook::Refused {
            self.was_refusing = true;
        } else {
            // In its order, once the registry is back.
            self.postponed.clear();
        }
        self.halts += 1;
        Some(self.halts)
    }

    /// Begins another round; returns the number of rounds after which the lane pauses first, and
    /// what was known; `None` when the refused files may be tried at once.
    pub(super) fn end(&mut self) -> Option<(u32, Seen)> {
        self.was_refusing = false;
        if std::mem::take(&mut self.may_take_all) {
            self.begin();
            return None;
        }
        self.rounds += 1;
        Some((self.rounds, self.seen.unwrap_or_default()))
    }

    /// Tries every file again.
    pub(super) fn begin(&mut self) {
        self.postponed.clear();
        self.rest = None;
        self.seen = None;
    }
}
