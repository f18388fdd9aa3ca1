//! The names that are known, kept as long as the trust store stays as it is.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::mailbox::recipient::KnownNames;
use crate::protocol::Identity;
use crate::trust::TrustStore;

/// The known names, and the trust store that they were taken from.
#[derive(Debug, Default)]
pub(super) struct Known {
    last: Mutex<(Arc<TrustStore>, Arc<KnownNames>)>,
}

impl Known {
    /// Returns the names of `trust` and `me`; a trust store that is unchanged is read once.
    pub(super) fn follow(&self, trust: Arc<TrustStore>, me: &[Identity]) -> Arc<KnownNames> {
        let mut last = self.last.lock();
        if !Arc::ptr_eq(&last.0, &trust) {
            let names = Arc::new(KnownNames::new(&trust, me));
            *last = (trust, names);
        }
        Arc::clone(&last.1)
    }

    /// Returns the names as they were last read.
    pub(super) fn last(&self) -> Arc<KnownNames> {
        Arc::clone(&self.last.lock().1)
    }
}
