//! Which names appeared between two snapshots, and which of them a helper is about to create.
//!
//! Pure over the snapshots; `announce.rs` runs the helper. Start at [`arrivals`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::node::{Dir, ReceiptSide};
use crate::mailbox::Snapshot;

/// A name that appeared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Where.
    pub dir: Dir,
    /// The name in it.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Returns which names appeared in the parts of the tree that others fill, directories first.
pub(crate) fn arrivals(before: &Snapshot, after: &Snapshot) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let (inbox, sent, issued) = (Dir::Inbox, ReceiptSide::Sent, ReceiptSide::Issued);
    collect(&mut arrivals, &before.inbox, &after.inbox, &inbox, Dir::Sender);
    collect(
        &mut arrivals,
        &before.receipts_sent,
        &after.receipts_sent,
        &Dir::ReceiptSide(sent),
        |peer| Dir::ReceiptPeer(sent, peer),
    );
    collect(
        &mut arrivals,
        &before.receipts_issued,
        &after.receipts_issued,
        &Dir::ReceiptSide(issued),
        |peer| Dir::ReceiptPeer(issued, peer),
    );
    arrivals
}

fn collect<T>(
    arrivals: &mut Vec<Arrival>,
    before: &BTreeMap<String, Arc<BTreeMap<String, T>>>,
    after: &BTreeMap<String, Arc<BTreeMap<String, T>>>,
    above: &Dir,
    dir: impl Fn(String) -> Dir,
) {
    for (peer, now) in after {
        let then = before.get(peer);
        if then.is_none() {
            arrivals.push(Arrival { dir: above.clone(), name: peer.clone(), is_dir: true });
        }
        if then.is_some_and(|then| Arc::ptr_eq(then, now)) {
            continue;
        }
        let is_new = |name: &&String| then.is_none_or(|then| !then.contains_key(*name));
        arrivals.extend(now.keys().filter(is_new).map(|name| Arrival {
            dir: dir(peer.clone()),
            name: name.clone(),
            is_dir: false,
        }));
    }
}

/// The names that a helper is about to create, hidden from it until it does.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    /// The helper's process, which has one thread; 0 = none.
    helper: AtomicU32,
    pending: Mutex<HashSet<(Dir, String)>>,
}

impl Announcements {
    /// Returns whether `thread` is the helper.
    pub(crate) fn is_helper(&self, thread: u32) -> bool {
        thread != 0 && self.helper.load(Ordering::Acquire) == thread
    }

    /// Returns whether `name` must still be hidden from the helper.
    pub(crate) fn is_pending(&self, dir: &Dir, name: &str) -> bool {
        self.pending.lock().contains(&(dir.clone(), name.to_owned()))
    }

    /// Takes a name that the helper creates; `false` if it was not to be announced.
    pub(crate) fn take(&self, dir: &Dir, name: &str) -> bool {
        self.pending.lock().remove(&(dir.clone(), name.to_owned()))
    }

    /// Hides `arrivals` from `helper`, which is about to create them.
    pub(crate) fn begin(&self, helper: u32, arrivals: &[Arrival]) {
        let names = arrivals.iter().map(|arrival| (arrival.dir.clone(), arrival.name.clone()));
        *self.pending.lock() = names.collect();
        self.helper.store(helper, Ordering::Release);
    }

    /// Stops hiding names.
    pub(crate) fn end(&self) {
        self.helper.store(0, Ordering::Release);
        self.pending.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::fixture;

    fn sender() -> Dir {
        Dir::Sender("alice@example.com".into())
    }

    #[test]
    fn a_first_message_announces_its_sender_and_its_names() {
        let arrivals = arrivals(&Snapshot::default(), &fixture::snapshot());

        let first = Arrival { dir: Dir::Inbox, name: "alice@example.com".into(), is_dir: true };
        assert_eq!(arrivals[0], first);
        let names: Vec<&str> = arrivals
            .iter()
            .filter(|arrival| arrival.dir == sender())
            .map(|arrival| arrival.name.as_str())
            .collect();
        assert_eq!(names, ["report (2).pdf", "report.pdf"]);
        let in_receipts = |arrival: &&Arrival| matches!(arrival.dir, Dir::ReceiptPeer(..));
        assert!(arrivals.iter().filter(in_receipts).count() > 0, "receipts arrive as well");
    }

    #[test]
    fn what_was_there_or_went_is_not_announced() {
        assert_eq!(arrivals(&fixture::snapshot(), &fixture::snapshot()), []);
        assert_eq!(arrivals(&fixture::snapshot(), &Snapshot::default()), []);
    }

    #[test]
    fn a_name_is_hidden_from_the_helper_until_it_creates_it() {
        let announcements = Announcements::default();
        let arrival = Arrival { dir: sender(), name: "report.pdf".into(), is_dir: false };

        announcements.begin(77, std::slice::from_ref(&arrival));

        assert!(announcements.is_helper(77));
        assert!(!announcements.is_helper(78) && !announcements.is_helper(0));
        assert!(announcements.is_pending(&sender(), "report.pdf"));
        assert!(announcements.take(&sender(), "report.pdf"));
        assert!(!announcements.take(&sender(), "report.pdf"), "once only");
        assert!(!announcements.is_pending(&sender(), "report.pdf"));
        announcements.end();
        assert!(!announcements.is_helper(77));
    }
}
