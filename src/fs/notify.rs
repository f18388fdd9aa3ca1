//! Reports changes in `inbox/` to the kernel, which may otherwise cache it for an hour, and
//! arrivals to programs that watch a directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{INodeNo, Notifier};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::announce::Announcer;
use super::node::{Dir, Node};
use super::ops::Fs;
use crate::mailbox::{InboxItem, Mailbox, Snapshot};

/// Length of the pause after computing a change, as a multiple of the time that took. A first poll
/// lists thousands of messages one by one; comparing the whole listing after each would cost their
/// square. After a short computation the pause is short: a program that reads a message before the
/// kernel learns of its name reads it again from the mailbox later, not from the page cache.
const REST_FACTOR: u32 = 4;

/// The kernel's cache, whose entries can be dropped.
pub(crate) trait KernelCache: Send + 'static {
    /// Drops a name in a directory.
    fn drop_entry(&self, dir: u64, name: &str);

    /// Drops the attributes and the content (of a directory: the listing) of an inode.
    fn drop_inode(&self, ino: u64);
}

impl KernelCache for Notifier {
    fn drop_entry(&self, dir: u64, name: &str) {
        // The kernel may have forgotten it, or be gone; nothing can be done about either.
        self.inval_entry(INodeNo(dir), OsStr::new(name)).ok();
    }

    fn drop_inode(&self, ino: u64) {
        self.inval_inode(INodeNo(ino), 0, 0).ok();
    }
}

/// A directory and the names in it that changed their meaning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The directory.
    pub dir: Dir,
    /// Names that appeared, disappeared or lead elsewhere.
    pub names: Vec<String>,
}

/// Returns what differs in `inbox/`. Everything else is cached for a second at most.
pub(crate) fn differences(before: &Snapshot, after: &Snapshot) -> Vec<Changed> {
    let mut changed = Vec::new();
    let senders = differing(&before.inbox, &after.inbox, |_, _| true);
    if !senders.is_empty() {
        changed.push(Changed { dir: Dir::Inbox, names: senders });
    }
    let nothing = Arc::new(BTreeMap::new());
    for (sender, now) in &after.inbox {
        let then = before.inbox.get(sender).unwrap_or(&nothing);
        if Arc::ptr_eq(then, now) {
            continue;
        }
        let same = |one: &Arc<InboxItem>, other: &Arc<InboxItem>| one.digest == other.digest;
        let names = differing(then, now, same);
        if !names.is_empty() {
            changed.push(Changed { dir: Dir::Sender(sender.clone()), names });
        }
    }
    changed
}

fn differing<T>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    same: impl Fn(&T, &T) -> bool,
) -> Vec<String> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let came =
        after.iter().filter(|(name, now)| before.get(*name).is_none_or(|then| !same(then, now)));
    gone.chain(came.map(|(name, _)| name)).cloned().collect()
}

/// Watches the mailbox until `stop`; blocks its thread, which must serve no requests, because the
/// kernel answers a notification only once it has the directory's lock.
pub(super) fn watch(
    mailbox: &Mailbox,
    fs: &Fs,
    cache: &impl KernelCache,
    announcer: &Announcer,
    runtime: &Handle,
    stop: &CancellationToken,
) {
    let mut changes = mailbox.changes();
    let mut before = mailbox.snapshot();
    loop {
        let has_news = runtime.block_on(async {
            tokio::select! {
                news = changes.changed() => news.is_ok(),
                () = stop.cancelled() => false,
            }
        });
        if !has_news {
            return;
        }
        let begin = Instant::now();
        let after = mailbox.snapshot();
        for changed in differences(&before, &after) {
            announce(fs, cache, &changed);
        }
        let rest = begin.elapsed() * REST_FACTOR;
        runtime.block_on(async {
            let announcing = async {
                // After the kernel dropped its caches: a watcher reads at once.
                announcer.announce(fs, &before, &after).await;
                sleep(rest).await;
            };
            tokio::select! {
                () = announcing => {}
                () = stop.cancelled() => {}
            }
        });
        before = after;
    }
}

/// A new name has no entry to drop, so the directory's own listing is dropped as well.
fn announce(fs: &Fs, cache: &impl KernelCache, changed: &Changed) {
    let Some(dir) = fs.inodes().known(&Node::Dir(changed.dir.clone())) else { return };
    for name in &changed.names {
        cache.drop_entry(dir, name);
    }
    cache.drop_inode(dir);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::fixture;

    #[test]
    fn nothing_is_announced_when_nothing_changed() {
        let snapshot = fixture::snapshot();

        assert_eq!(differences(&snapshot, &snapshot.clone()), []);
        assert_eq!(differences(&snapshot, &fixture::snapshot()), []);
    }

    #[test]
    fn a_first_message_announces_its_sender() {
        let after = fixture::snapshot();

        let changed = differences(&Snapshot::default(), &after);

        let sender = "alice@example.com".to_owned();
        assert_eq!(changed[0], Changed { dir: Dir::Inbox, names: vec![sender.clone()] });
        assert_eq!(changed[1].dir, Dir::Sender(sender));
        assert_eq!(changed[1].names, ["report (2).pdf", "report.pdf"]);
    }

    #[test]
    fn a_dismissed_and_a_replaced_name_are_announced() {
        let before = fixture::snapshot();
        let mut after = fixture::snapshot();
        let mut files = BTreeMap::clone(&after.inbox["alice@example.com"]);
        files.remove("report (2).pdf");
        files.insert("report.pdf".into(), fixture::message("another", 1));
        after.inbox.insert("alice@example.com".into(), Arc::new(files));

        let changed = differences(&before, &after);

        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].names, ["report (2).pdf", "report.pdf"]);
    }
}
