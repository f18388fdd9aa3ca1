//! Attributes of nodes, and how long the kernel may cache them.

use std::time::{Duration, SystemTime};

use super::node::{Dir, Node};
use super::tree;
use crate::mailbox::{OutboxFile, Snapshot};

/// How long names and attributes of `inbox/` are cached; every change is announced.
const INBOX_TTL: Duration = Duration::from_hours(1);

/// How long a listing that changes without announcement is cached.
const LISTING_TTL: Duration = Duration::from_secs(1);

/// The block size reported to programs; larger ones confuse the page cache.
pub(crate) const BLOCK_LEN: u32 = 4096;

/// What `stat` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attr {
    /// The inode number.
    pub ino: u64,
    /// Bytes.
    pub len: u64,
    /// Modification time; the other times show it too.
    pub mtime: SystemTime,
    /// Whether it is a directory; everything else is a regular file.
    pub is_dir: bool,
    /// Permission bits.
    pub mode: u16,
    /// Link count; 0 once a file has no name.
    pub link_count: u32,
    /// How long the kernel may cache the attributes.
    pub ttl: Duration,
    /// How long the kernel may cache that the name leads here.
    pub entry_ttl: Duration,
}

/// What attributes depend on besides the node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The listings.
    pub snapshot: &'a Snapshot,
    /// Time of directories that have no other.
    pub mounted_at: SystemTime,
    /// Last change of a name in `outbox/`.
    pub outbox_changed_at: SystemTime,
    /// Now, for texts that are generated on demand.
    pub now: SystemTime,
}

/// Returns the attributes of `node`; `live_len` is the length of a live text.
pub(crate) fn of(context: Context<'_>, ino: u64, node: &Node, live_len: u64) -> Attr {
    let file = Attr {
        ino,
        len: 0,
        mtime: context.mounted_at,
        is_dir: false,
        mode: 0o400,
        link_count: 1,
        ttl: INBOX_TTL,
        entry_ttl: INBOX_TTL,
    };
    match node {
        Node::Dir(dir) => of_dir(context, ino, dir),
        Node::Message(item) => Attr {
            len: item.message.envelope.total_bytes,
            mtime: item.message.envelope.created_at.to_system_time(),
            ..file
        },
        Node::Outgoing(outgoing) => of_outgoing(file, outgoing),
        Node::Live(_) => Attr {
            len: live_len,
            mtime: context.now,
            ttl: Duration::ZERO,
            entry_ttl: LISTING_TTL,
            ..file
        },
        Node::Listed(_, _, text) => Attr {
            len: text.content().len() as u64,
            mtime: match text {
                super::node::ListedText::Receipt(item) => item.created_at.to_system_time(),
                super::node::ListedText::Why(item) => item.first_seen.to_system_time(),
                super::node::ListedText::Failure(failure) => failure.note.mtime,
            },
            ttl: LISTING_TTL,
            entry_ttl: LISTING_TTL,
            ..file
        },
    }
}

fn of_dir(context: Context<'_>, ino: u64, dir: &Dir) -> Attr {
    let (ttl, entry_ttl) = match dir {
        Dir::Root | Dir::Inbox | Dir::Sender(_) => (INBOX_TTL, INBOX_TTL),
        Dir::Outbox => (Duration::ZERO, INBOX_TTL),
        Dir::Recipient(_) | Dir::Local(..) => (Duration::ZERO, Duration::ZERO),
        Dir::Receipts | Dir::ReceiptSide(_) | Dir::Control | Dir::Quarantine => {
            (LISTING_TTL, INBOX_TTL)
        }
        Dir::ReceiptPeer(..) | Dir::Claimed(_) => (LISTING_TTL, LISTING_TTL),
    };
    let dated = if dir.is_outbox() {
        context.outbox_changed_at
    } else {
        tree::newest(context.snapshot, dir).unwrap_or(context.mounted_at)
    };
    let subdir_count = tree::subdir_count(context.snapshot, dir);
    Attr {
        ino,
        len: 0,
        mtime: dated,
        is_dir: true,
        mode: 0o700,
        link_count: u32::try_from(subdir_count).unwrap_or(u32::MAX - 2).saturating_add(2),
        ttl,
        entry_ttl,
    }
}

/// Names and states in `outbox/` change without the kernel's doing, so it asks every time.
fn of_outgoing(file: Attr, outgoing: &OutboxFile) -> Attr {
    let kept = u16::try_from(outgoing.mode() & 0o777).unwrap_or(0o600);
    Attr {
        len: outgoing.len(),
        mtime: outgoing.mtime(),
        mode: kept,
        link_count: u32::from(!outgoing.is_unlinked()),
        ttl: Duration::ZERO,
        entry_ttl: Duration::ZERO,
        ..file
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::fixture;

    fn attr_of(dir: &Dir, name: &str) -> Attr {
        let snapshot = fixture::snapshot();
        let context = Context {
            snapshot: &snapshot,
            mounted_at: fixture::time(1),
            outbox_changed_at: fixture::time(2),
            now: fixture::time(3),
        };
        let node = tree::child(&snapshot, dir, name).unwrap();
        of(context, 7, &node, 33)
    }

    #[test]
    fn a_message_has_the_size_and_the_time_of_its_signed_manifest() {
        let attr = attr_of(&Dir::Sender("alice@example.com".into()), "report.pdf");

        assert_eq!((attr.len, attr.mtime, attr.mode), (5, fixture::time(900), 0o400));
        assert!(attr.ttl >= Duration::from_hours(1) && !attr.is_dir);
    }

    #[test]
    fn directories_are_private_and_count_their_directories() {
        let inbox = attr_of(&Dir::Root, "inbox");
        let recipient = attr_of(&Dir::Outbox, "bob@example.com");

        assert_eq!((inbox.mode, inbox.link_count, inbox.mtime), (0o700, 3, fixture::time(2000)));
        assert_eq!((recipient.mode, recipient.link_count), (0o700, 2));
        assert_eq!((recipient.mtime, recipient.ttl), (fixture::time(2), Duration::ZERO));
    }

    #[test]
    fn a_live_text_is_never_believed_for_long() {
        let status = attr_of(&Dir::Control, "status");

        assert_eq!((status.len, status.ttl), (33, Duration::ZERO));
        assert_eq!(status.mtime, fixture::time(3));
    }
}
