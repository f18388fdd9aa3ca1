//! How the registry answered the last polls.

use parking_lot::Mutex;

use crate::mailbox::MailboxError;
use crate::mailbox::core::describe;
use crate::protocol::Timestamp;

/// How the registry answered the last poll.
#[derive(Debug, Clone, Default)]
pub(in crate::mailbox) struct Health {
    /// When the last poll succeeded; `None` if none has since the start.
    pub(in crate::mailbox) last_success: Option<Timestamp>,
    /// Why the last poll failed; `None` when it succeeded.
    pub(in crate::mailbox) last_error: Option<String>,
}

/// The health as recorded by the polls of one inbox.
#[derive(Debug, Default)]
pub(super) struct HealthRecord {
    current: Mutex<Health>,
}

impl HealthRecord {
    /// Returns the health after the last poll.
    pub(super) fn get(&self) -> Health {
        self.current.lock().clone()
    }

    /// Notes that a poll has succeeded at `now`, or why it failed.
    pub(super) fn note(&self, now: Timestamp, error: Option<&MailboxError>) {
        let mut health = self.current.lock();
        match error {
            None => *health = Health { last_success: Some(now), last_error: None },
            Some(error) => health.last_error = Some(describe(error)),
        }
    }
}
