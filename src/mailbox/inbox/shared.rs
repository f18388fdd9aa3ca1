//! What the parts of the inbox share, and what the inbox remembers between polls.

use std::sync::Arc;

use super::cursor::RecheckCursor;
use super::health::HealthRecord;
use crate::mailbox::core::Core;
use crate::mailbox::discover::Rejected;
use crate::mailbox::reading::Reading;
use crate::mailbox::receipt::Giving;
use crate::mailbox::trust_mark::TrustMark;

/// The parts that the inbox builds on, and its own memory.
pub(super) struct Shared {
    pub(super) core: Arc<Core>,
    pub(super) reading: Arc<Reading>,
    pub(super) giving: Arc<Giving>,
    /// Held by the one poll in progress.
    pub(super) polling: tokio::sync::Mutex<()>,
    /// Bundles that need no second check while a search continues.
    pub(super) rejected: Rejected,
    /// Chooses the checked tags to check again next (P25).
    pub(super) recheck: RecheckCursor,
    /// The trust store of the last poll.
    pub(super) polled_under: TrustMark,
    /// The trust store under which `inbox/` was last listed.
    pub(super) listed_under: TrustMark,
    pub(super) health: HealthRecord,
}

impl Shared {
    pub(super) fn new(core: Arc<Core>, reading: Arc<Reading>, giving: Arc<Giving>) -> Self {
        Self {
            core,
            reading,
            giving,
            polling: tokio::sync::Mutex::default(),
            rejected: Rejected::default(),
            recheck: RecheckCursor::default(),
            polled_under: TrustMark::default(),
            listed_under: TrustMark::default(),
            health: HealthRecord::default(),
        }
    }
}
