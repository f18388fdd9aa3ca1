//! What is promised of a file: a place in the queue, a prepared message, or both.

use crate::protocol::{Digest, MessageId};
use crate::store::PreparedMessage;

/// Which content under which name a message was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mailbox) struct Version {
    /// See `Content::generation`.
    pub(super) content: u64,
    /// Grows with every rename.
    pub(super) name: u64,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Its manifest is fixed, before its first push: a retry or a restart pushes the same digest.
    Built,
    /// Everything but the tag is in the registry, and the row says so.
    Pushed,
    /// Its tag may be in the registry.
    TagTried,
}

/// How far the message of a row has come, by the state of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowReach {
    /// Its state promises no message.
    Built,
    /// Only its tag is missing, and was refused.
    Refused,
    /// Its tag follows, or exists.
    Promised,
}

/// The message made for one version.
#[derive(Debug, Clone)]
struct Prepared {
    version: Version,
    reach: Reach,
    /// Whether the row promises it: a permanent failure ends that.
    is_promised: bool,
    message: PreparedMessage,
}

/// A place in the recipient's queue.
#[derive(Debug, Clone, Copy)]
struct Queued {
    place: i64,
    /// The id that the message will have; `None` once its tag was found taken.
    message_id: Option<MessageId>,
    /// The settle window is over: the queue may send the file.
    is_settled: bool,
}

/// The place in the queue that a file has given up, if it had one.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "the queue still has the file"]
pub(in crate::mailbox) struct LeftPlace(Option<i64>);

impl LeftPlace {
    pub(in crate::mailbox) fn into_place(self) -> Option<i64> {
        self.0
    }
}

/// What is promised of a file.
#[derive(Debug, Default)]
pub(super) struct Promise {
    queued: Option<Queued>,
    prepared: Option<Prepared>,
}

impl Promise {
    /// Returns the promise of a row, whose message covers `version`.
    pub(super) fn recovered(
        queue_place: Option<i64>,
        message_id: Option<MessageId>,
        message: Option<PreparedMessage>,
        version: Version,
        reach: RowReach,
    ) -> Self {
        // A row does not say whether an attempt has come to the tag. That of a queued file may have
        // been journalled before anything was pushed.
        let (reach, is_promised) = match reach {
            RowReach::Built => (Reach::Built, false),
            RowReach::Refused => (Reach::TagTried, false),
            RowReach::Promised => (Reach::TagTried, true),
        };
        Self {
            queued: queue_place.map(|place| Queued { place, message_id, is_settled: true }),
            prepared: message.map(|message| Prepared { version, reach, is_promised, message }),
        }
    }

    pub(super) fn queue_place(&self) -> Option<i64> {
        self.queued.map(|queued| queued.place)
    }

    /// Returns the id that the message of the queued content will have.
    pub(super) fn reserved_id(&self) -> Option<MessageId> {
        self.queued?.message_id
    }

    pub(super) fn is_settled(&self) -> bool {
        self.queued.is_some_and(|queued| queued.is_settled)
    }

    /// Allows the queue to send the file.
    pub(super) fn settle(&mut self) {
        if let Some(queued) = &mut self.queued {
            queued.is_settled = true;
        }
    }

    /// Takes a place in the queue for new content; returns the place it had before.
    pub(super) fn enter_queue(&mut self, place: i64, message_id: MessageId) -> LeftPlace {
        let queued = Queued { place, message_id: Some(message_id), is_settled: false };
        self.prepared = None;
        LeftPlace(self.queued.replace(queued).map(|old| old.place))
    }

    /// Gives up the place in the queue, and returns it.
    pub(super) fn leave_queue(&mut self) -> LeftPlace {
        LeftPlace(self.queued.take().map(|queued| queued.place))
    }

    /// Returns the message that covers `version`, pushed or not.
    pub(super) fn message(&self, version: Version) -> Option<&PreparedMessage> {
        let prepared = self.prepared.as_ref().filter(|prepared| prepared.version == version)?;
        Some(&prepared.message)
    }

    /// Returns the message that covers `version` and is in the registry, all but its tag.
    pub(super) fn pushed_message(&self, version: Version) -> Option<&PreparedMessage> {
        self.message(version).filter(|_message| self.reach() >= Some(Reach::Pushed))
    }

    /// Returns whether the row promises the message that covers `version`.
    pub(super) fn is_promised(&self, version: Version) -> bool {
        self.prepared.as_ref().is_some_and(|made| made.version == version && made.is_promised)
    }

    /// Notes that the row no longer promises the message.
    pub(super) fn break_promise(&mut self) {
        if let Some(prepared) = &mut self.prepared {
            prepared.is_promised = false;
        }
    }

    fn reach(&self) -> Option<Reach> {
        self.prepared.as_ref().map(|prepared| prepared.reach)
    }

    /// Fixes the message for `version`.
    pub(super) fn build(&mut self, version: Version, message: PreparedMessage) {
        self.prepared =
            Some(Prepared { version, reach: Reach::Built, is_promised: false, message });
    }

    /// Notes that everything but the tag of the message with this digest is in the registry.
    pub(super) fn note_pushed(&mut self, digest: &Digest) {
        if let Some(prepared) = &mut self.prepared
            && prepared.message.digest == *digest
        {
            prepared.reach = prepared.reach.max(Reach::Pushed);
            prepared.is_promised = true;
        }
    }

    /// Notes that the tag is about to be pushed.
    pub(super) fn note_tag_tried(&mut self) {
        if let Some(prepared) = &mut self.prepared {
            prepared.reach = Reach::TagTried;
        }
    }

    /// Returns whether the tag of the message may be in the registry.
    pub(super) fn may_be_tagged(&self) -> bool {
        self.reach() == Some(Reach::TagTried)
    }

    /// Forgets a message of which not everything but the tag is in the registry.
    pub(super) fn forget_unpushed(&mut self) {
        self.prepared.take_if(|prepared| prepared.reach == Reach::Built);
    }

    /// Returns whether a message is known that the row does not promise.
    pub(super) fn has_unpromised(&self) -> bool {
        self.prepared.as_ref().is_some_and(|prepared| !prepared.is_promised)
    }

    /// Forgets the message, whose parts the registry may have forgotten.
    pub(super) fn forget_message(&mut self) {
        self.prepared = None;
    }

    /// Forgets the message and its id, whose tag belongs to another one (P4).
    pub(super) fn forget_taken_id(&mut self) {
        self.prepared = None;
        if let Some(queued) = &mut self.queued {
            queued.message_id = None;
        }
    }
}
