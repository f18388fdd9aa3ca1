//! The mailbox as a directory tree: names to nodes, from one immutable snapshot.
//!
//! Pure: no I/O, no lock, no kernel. Start at [`child`] and [`entries`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::node::{Dir, Failure, ListedText, LiveText, Node, ReceiptSide};
use crate::mailbox::{FailureNote, OutboxDir, OutboxFile, ReceiptItem, Snapshot};

type Listing<T> = BTreeMap<String, Arc<BTreeMap<String, Arc<T>>>>;

/// Returns what `name` in `dir` is.
pub(crate) fn child(snapshot: &Snapshot, dir: &Dir, name: &str) -> Option<Node> {
    match dir {
        Dir::Root => match name {
            "inbox" => Some(Node::Dir(Dir::Inbox)),
            "outbox" => Some(Node::Dir(Dir::Outbox)),
            "receipts" => Some(Node::Dir(Dir::Receipts)),
            ".dockercomms" => Some(Node::Dir(Dir::Control)),
            _ => None,
        },
        Dir::Inbox => subdir(&snapshot.inbox, name, Dir::Sender),
        Dir::Sender(sender) => {
            snapshot.inbox.get(sender)?.get(name).map(|item| Node::Message(Arc::clone(item)))
        }
        Dir::Outbox => {
            snapshot.outbox.contains_key(name).then(|| Node::Dir(Dir::Recipient(name.to_owned())))
        }
        Dir::Recipient(recipient) => {
            let listed = snapshot.outbox.get(recipient)?;
            if listed.directories.contains(name) {
                return Some(Node::Dir(Dir::Local(recipient.clone(), name.to_owned())));
            }
            outgoing(listed, dir, None, name)
        }
        Dir::Local(recipient, directory) => {
            outgoing(snapshot.outbox.get(recipient)?, dir, Some(directory), name)
        }
        Dir::Receipts => match name {
            "sent" => Some(Node::Dir(Dir::ReceiptSide(ReceiptSide::Sent))),
            "issued" => Some(Node::Dir(Dir::ReceiptSide(ReceiptSide::Issued))),
            _ => None,
        },
        Dir::ReceiptSide(side) => {
            subdir(receipts(snapshot, *side), name, |peer| Dir::ReceiptPeer(*side, peer))
        }
        Dir::ReceiptPeer(side, peer) => {
            let item = receipts(snapshot, *side).get(peer)?.get(name)?;
            Some(listed(dir, name, ListedText::Receipt(Arc::clone(item))))
        }
        Dir::Control => match name {
            "status" => Some(Node::Live(LiveText::Status)),
            "status.json" => Some(Node::Live(LiveText::StatusJson)),
            "errors" => Some(Node::Live(LiveText::Errors)),
            "quarantine" => Some(Node::Dir(Dir::Quarantine)),
            _ => None,
        },
        Dir::Quarantine => subdir(&snapshot.quarantine, name, Dir::Claimed),
        Dir::Claimed(sender) => {
            let item = snapshot.quarantine.get(sender)?.get(name)?;
            Some(listed(dir, name, ListedText::Why(Arc::clone(item))))
        }
    }
}

/// Returns all entries of `dir` in listing order, without `.` and `..`.
///
/// The root does not list `.dockercomms`: backups and searches would descend into it.
pub(crate) fn entries(snapshot: &Snapshot, dir: &Dir) -> Vec<(String, Node)> {
    let fixed = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), child(snapshot, dir, name)?)))
            .collect()
    };
    match dir {
        Dir::Root => fixed(&["inbox", "outbox", "receipts"]),
        Dir::Receipts => fixed(&["issued", "sent"]),
        Dir::Control => fixed(&["errors", "quarantine", "status", "status.json"]),
        Dir::Inbox => subdirs(snapshot.inbox.keys(), Dir::Sender),
        Dir::Outbox => subdirs(snapshot.outbox.keys(), Dir::Recipient),
        Dir::Quarantine => subdirs(snapshot.quarantine.keys(), Dir::Claimed),
        Dir::ReceiptSide(side) => {
            subdirs(receipts(snapshot, *side).keys(), |peer| Dir::ReceiptPeer(*side, peer))
        }
        Dir::Sender(sender) => {
            files(snapshot.inbox.get(sender), |_name, item| Node::Message(Arc::clone(item)))
        }
        Dir::Recipient(recipient) => {
            let Some(listed) = snapshot.outbox.get(recipient) else { return Vec::new() };
            let local = |name| Dir::Local(recipient.clone(), name);
            let mut entries = subdirs(listed.directories.iter(), local);
            entries.extend(all_outgoing(listed, dir, None));
            entries
        }
        Dir::Local(recipient, directory) => {
            let listed = snapshot.outbox.get(recipient);
            listed.map_or_else(Vec::new, |listed| all_outgoing(listed, dir, Some(directory)))
        }
        Dir::ReceiptPeer(side, peer) => files(receipts(snapshot, *side).get(peer), |name, item| {
            listed(dir, name, ListedText::Receipt(Arc::clone(item)))
        }),
        Dir::Claimed(sender) => files(snapshot.quarantine.get(sender), |name, item| {
            listed(dir, name, ListedText::Why(Arc::clone(item)))
        }),
    }
}

/// Returns whether a directory still exists; the fixed ones always do.
#[cfg(test)]
pub(crate) fn exists(snapshot: &Snapshot, dir: &Dir) -> bool {
    match dir {
        Dir::Sender(name) => snapshot.inbox.contains_key(name),
        Dir::Recipient(name) => snapshot.outbox.contains_key(name),
        Dir::Local(recipient, name) => {
            snapshot.outbox.get(recipient).is_some_and(|dir| dir.directories.contains(name))
        }
        Dir::ReceiptPeer(side, name) => receipts(snapshot, *side).contains_key(name),
        Dir::Claimed(name) => snapshot.quarantine.contains_key(name),
        Dir::Root
        | Dir::Inbox
        | Dir::Outbox
        | Dir::Receipts
        | Dir::ReceiptSide(_)
        | Dir::Control
        | Dir::Quarantine => true,
    }
}

/// Returns how many directories `dir` has, for its link count.
pub(crate) fn subdir_count(snapshot: &Snapshot, dir: &Dir) -> usize {
    match dir {
        Dir::Root => 3,
        Dir::Receipts => 2,
        Dir::Control => 1,
        Dir::Inbox => snapshot.inbox.len(),
        Dir::Outbox => snapshot.outbox.len(),
        Dir::Quarantine => snapshot.quarantine.len(),
        Dir::ReceiptSide(side) => receipts(snapshot, *side).len(),
        Dir::Recipient(name) => snapshot.outbox.get(name).map_or(0, |dir| dir.directories.len()),
        Dir::Sender(_) | Dir::Local(..) | Dir::ReceiptPeer(..) | Dir::Claimed(_) => 0,
    }
}

/// Returns when something last arrived in a directory that others fill, so that programs that watch
/// its time notice arrivals.
pub(crate) fn newest(snapshot: &Snapshot, dir: &Dir) -> Option<SystemTime> {
    let messages = |sender: &Arc<BTreeMap<_, Arc<crate::mailbox::InboxItem>>>| {
        sender.values().map(|item| item.arrived_at).max()
    };
    let receipt_times =
        |peer: &Arc<BTreeMap<_, Arc<ReceiptItem>>>| peer.values().map(|item| item.created_at).max();
    let newest = match dir {
        Dir::Inbox => snapshot.inbox.values().filter_map(messages).max(),
        Dir::Sender(name) => snapshot.inbox.get(name).and_then(messages),
        Dir::ReceiptSide(side) => {
            receipts(snapshot, *side).values().filter_map(receipt_times).max()
        }
        Dir::ReceiptPeer(side, name) => receipts(snapshot, *side).get(name).and_then(receipt_times),
        Dir::Claimed(name) => {
            snapshot.quarantine.get(name)?.values().map(|item| item.first_seen).max()
        }
        Dir::Root
        | Dir::Outbox
        | Dir::Recipient(_)
        | Dir::Local(..)
        | Dir::Receipts
        | Dir::Control
        | Dir::Quarantine => None,
    };
    newest.map(crate::protocol::Timestamp::to_system_time)
}

fn receipts(snapshot: &Snapshot, side: ReceiptSide) -> &Listing<ReceiptItem> {
    match side {
        ReceiptSide::Sent => &snapshot.receipts_sent,
        ReceiptSide::Issued => &snapshot.receipts_issued,
    }
}

fn subdir<T>(listing: &Listing<T>, name: &str, dir: impl FnOnce(String) -> Dir) -> Option<Node> {
    listing.contains_key(name).then(|| Node::Dir(dir(name.to_owned())))
}

fn subdirs<'a>(
    names: impl Iterator<Item = &'a String>,
    dir: impl Fn(String) -> Dir,
) -> Vec<(String, Node)> {
    names.map(|name| (name.clone(), Node::Dir(dir(name.clone())))).collect()
}

fn files<T>(
    listing: Option<&Arc<BTreeMap<String, Arc<T>>>>,
    node: impl Fn(&str, &Arc<T>) -> Node,
) -> Vec<(String, Node)> {
    listing
        .into_iter()
        .flat_map(|listing| listing.iter())
        .map(|(name, item)| (name.clone(), node(name, item)))
        .collect()
}

/// Returns the file `name` of a directory in which files are written, or the note beside one.
fn outgoing(listed: &OutboxDir, dir: &Dir, directory: Option<&str>, name: &str) -> Option<Node> {
    match listed.file(directory, name) {
        Some(file) => Some(Node::Outgoing(Arc::clone(file))),
        None if FailureNote::is_name(name) => listed
            .files_in(directory)
            .filter_map(|(_name, file)| failure(dir, file))
            .find_map(|(note, node)| (note == name).then_some(node)),
        None => None,
    }
}

/// Returns the files of a directory in which files are written, and the notes beside them.
fn all_outgoing(listed: &OutboxDir, dir: &Dir, directory: Option<&str>) -> Vec<(String, Node)> {
    let files = || listed.files_in(directory);
    let notes = files().filter_map(|(_name, file)| failure(dir, file));
    // A real file has priority for the name.
    let notes = notes.filter(|(name, _note)| listed.file(directory, name).is_none());
    let file = |(name, file): (&str, &Arc<_>)| (name.to_owned(), Node::Outgoing(Arc::clone(file)));
    files().map(file).chain(notes).collect()
}

/// Returns the note beside a file that failed in the background.
fn failure(dir: &Dir, file: &Arc<OutboxFile>) -> Option<(String, Node)> {
    let note = file.failure_note()?;
    let name = note.name.clone();
    let text = ListedText::Failure(Arc::new(Failure { file: Arc::clone(file), note }));
    Some((name.clone(), listed(dir, &name, text)))
}

fn listed(dir: &Dir, name: &str, text: ListedText) -> Node {
    Node::Listed(dir.clone(), name.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fs::fixture;
    use crate::fs::handle::DirHandle;

    fn names(snapshot: &Snapshot, dir: &Dir) -> Vec<String> {
        entries(snapshot, dir).into_iter().map(|(name, _node)| name).collect()
    }

    #[test]
    fn the_root_lists_three_directories_and_knows_a_fourth() {
        let snapshot = Snapshot::default();

        assert_eq!(names(&snapshot, &Dir::Root), ["inbox", "outbox", "receipts"]);
        assert!(matches!(
            child(&snapshot, &Dir::Root, ".dockercomms"),
            Some(Node::Dir(Dir::Control))
        ));
        assert!(child(&snapshot, &Dir::Root, "elsewhere").is_none());
    }

    #[test]
    fn n32_ten_thousand_names_are_listed_once_each_and_found() {
        let (before, after) = (fixture::crowd(10_000), fixture::crowd(10_001));
        let dir = Dir::Sender("alice@example.com".into());
        let reader = DirHandle::new(dir.clone());

        let start = reader.listing(0, || entries(&before, &dir)).len();
        let rest = reader.listing(9_000, || entries(&after, &dir));

        let names: BTreeSet<&str> = rest.iter().map(|(name, _node)| name.as_str()).collect();
        assert_eq!((start, rest.len(), names.len()), (10_000, 10_000, 10_000));
        for (name, node) in rest.iter() {
            assert_eq!(child(&after, &dir, name).unwrap().identity(), node.identity());
        }
        assert_eq!(reader.listing(0, || entries(&after, &dir)).len(), 10_001);
    }

    #[test]
    fn every_listed_entry_is_found_by_its_name() {
        let snapshot = fixture::snapshot();
        let mut todo = vec![Dir::Root, Dir::Control];
        let mut seen = 0;

        while let Some(dir) = todo.pop() {
            for (name, node) in entries(&snapshot, &dir) {
                let found = child(&snapshot, &dir, &name).unwrap();
                assert_eq!(found.identity(), node.identity());
                seen += 1;
                if let Node::Dir(dir) = node {
                    assert!(exists(&snapshot, &dir));
                    todo.push(dir);
                }
            }
        }

        assert_eq!(seen, 19);
    }

    #[test]
    fn identities_in_the_tree_are_different() {
        let snapshot = fixture::snapshot();
        let mut identities = BTreeSet::new();
        let mut count = 0;

        for dir in [
            Dir::Root,
            Dir::Control,
            Dir::Inbox,
            Dir::Receipts,
            Dir::Sender("alice@example.com".into()),
            Dir::ReceiptSide(ReceiptSide::Sent),
            Dir::ReceiptSide(ReceiptSide::Issued),
            Dir::ReceiptPeer(ReceiptSide::Sent, "bob".into()),
            Dir::ReceiptPeer(ReceiptSide::Issued, "bob".into()),
        ] {
            for (_name, node) in entries(&snapshot, &dir) {
                identities.insert(node.identity());
                count += 1;
            }
        }

        assert_eq!(identities.len(), count);
    }

    #[test]
    fn a_directory_is_as_new_as_its_newest_arrival() {
        let snapshot = fixture::snapshot();
        let newest_in = |dir| newest(&snapshot, &dir);

        let sender = newest_in(Dir::Sender("alice@example.com".into()));

        assert_eq!(sender, Some(fixture::time(2000)));
        assert_eq!(newest_in(Dir::Inbox), Some(fixture::time(2000)));
        assert_eq!(newest_in(Dir::Root), None);
    }

    #[test]
    fn a_directory_that_went_away_has_no_entries() {
        let snapshot = Snapshot::default();
        let gone = Dir::Sender("alice@example.com".into());

        assert!(!exists(&snapshot, &gone));
        assert!(entries(&snapshot, &gone).is_empty());
        assert!(child(&snapshot, &gone, "report.pdf").is_none());
    }
}
