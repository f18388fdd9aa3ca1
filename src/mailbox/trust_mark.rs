//! Notices that the trust store has changed since some work was last done under it.

use parking_lot::Mutex;

use crate::protocol::Digest;
use crate::trust::TrustStore;

/// The version of the trust store that the work was last done under.
#[derive(Debug, Default)]
pub(super) struct TrustMark {
    version: Mutex<Option<Digest>>,
}

impl TrustMark {
    /// Moves the mark to `trust`; returns whether it changed, which is always so the first time.
    pub(super) fn advance(&self, trust: &TrustStore) -> bool {
        let now = trust.version();
        self.version.lock().replace(now) != Some(now)
    }
}
