//! What an inode shows: a directory of the tree, a message, a file being sent, a text.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::mailbox::{FailureNote, InboxItem, OutboxFile, QuarantineItem, ReceiptItem};

/// Which receipts a directory of `receipts/` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ReceiptSide {
    /// Receipts received for what I sent.
    Sent,
    /// Receipts that I issued.
    Issued,
}

/// A directory of the tree; the strings are directory names as listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Dir {
    /// The mount point.
    Root,
    /// `inbox/`
    Inbox,
    /// `inbox/<sender>/`
    Sender(String),
    /// `outbox/`
    Outbox,
    /// `outbox/<recipient>/`
    Recipient(String),
    /// `outbox/<recipient>/<local directory>/`
    Local(String, String),
    /// `receipts/`
    Receipts,
    /// `receipts/sent/` and `receipts/issued/`
    ReceiptSide(ReceiptSide),
    /// `receipts/sent/<recipient>/` and `receipts/issued/<sender>/`
    ReceiptPeer(ReceiptSide, String),
    /// `.dockercomms/`
    Control,
    /// `.dockercomms/quarantine/`
    Quarantine,
    /// `.dockercomms/quarantine/<claimed sender>/`
    Claimed(String),
}

/// A text that is generated on every access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LiveText {
    /// `.dockercomms/status`
    Status,
    /// `.dockercomms/status.json`
    StatusJson,
    /// `.dockercomms/errors`
    Errors,
}

/// A text of a listing that changes only by being replaced.
#[derive(Debug, Clone)]
pub(crate) enum ListedText {
    /// A receipt's JSON.
    Receipt(Arc<ReceiptItem>),
    /// Why something is in quarantine.
    Why(Arc<QuarantineItem>),
    /// Why a file in `outbox/` was not sent.
    Failure(Arc<Failure>),
}

/// A note beside a file that failed in the background.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The file.
    pub file: Arc<OutboxFile>,
    /// What the note says.
    pub note: FailureNote,
}

impl ListedText {
    /// Returns the whole content.
    pub(crate) fn content(&self) -> &str {
        match self {
            Self::Receipt(item) => &item.json,
            Self::Why(item) => &item.text,
            Self::Failure(failure) => &failure.note.text,
        }
    }
}

/// What an inode shows. Cheap to clone; keeps what it shows alive.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A directory.
    Dir(Dir),
    /// A verified message in `inbox/`.
    Message(Arc<InboxItem>),
    /// A file in `outbox/`, in any state.
    Outgoing(Arc<OutboxFile>),
    /// A status file.
    Live(LiveText),
    /// A receipt or a quarantine explanation, with its directory and name.
    Listed(Dir, String, ListedText),
}

impl Node {
    /// Returns the text that identifies what the inode shows, regardless of its current content.
    ///
    /// A message is identified by its digest, a file being sent by its staged file's random name,
    /// everything else by its path. A row's number would suffice inside one mailbox, but the search
    /// for other writers distinguishes files by their inode numbers, and there may be several
    /// mounts.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::Dir(dir) => dir.path(),
            Self::Message(item) => format!("message {}", item.digest.hex()),
            Self::Outgoing(file) => format!("outgoing {}", file.unique_name()),
            Self::Live(LiveText::Status) => "/.dockercomms/status".into(),
            Self::Live(LiveText::StatusJson) => "/.dockercomms/status.json".into(),
            Self::Live(LiveText::Errors) => "/.dockercomms/errors".into(),
            Self::Listed(dir, name, _) => {
                let mut path = dir.path();
                // Writing to a String cannot fail.
                write!(path, "/{name}").ok();
                path
            }
        }
    }

    /// Returns whether the inode is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        matches!(self, Self::Dir(_))
    }
}

impl Dir {
    /// Returns the path of the directory from the mount point on.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Root => "/".into(),
            Self::Inbox => "/inbox".into(),
            Self::Sender(name) => format!("/inbox/{name}"),
            Self::Outbox => "/outbox".into(),
            Self::Recipient(name) => format!("/outbox/{name}"),
            Self::Local(recipient, name) => format!("/outbox/{recipient}/{name}"),
            Self::Receipts => "/receipts".into(),
            Self::ReceiptSide(ReceiptSide::Sent) => "/receipts/sent".into(),
            Self::ReceiptSide(ReceiptSide::Issued) => "/receipts/issued".into(),
            Self::ReceiptPeer(side, name) => {
                format!("{}/{name}", Self::ReceiptSide(*side).path())
            }
            Self::Control => "/.dockercomms".into(),
            Self::Quarantine => "/.dockercomms/quarantine".into(),
            Self::Claimed(name) => format!("/.dockercomms/quarantine/{name}"),
        }
    }

    /// Returns the directory above; the root is its own parent.
    pub(crate) fn parent(&self) -> Self {
        match self {
            Self::Root | Self::Inbox | Self::Outbox | Self::Receipts | Self::Control => Self::Root,
            Self::Sender(_) => Self::Inbox,
            Self::Recipient(_) => Self::Outbox,
            Self::Local(recipient, _) => Self::Recipient(recipient.clone()),
            Self::ReceiptSide(_) => Self::Receipts,
            Self::ReceiptPeer(side, _) => Self::ReceiptSide(*side),
            Self::Quarantine => Self::Control,
            Self::Claimed(_) => Self::Quarantine,
        }
    }

    /// Returns the recipient, and the directory below, of a directory in which files are written.
    pub(crate) fn written_in(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Self::Recipient(recipient) => Some((recipient, None)),
            Self::Local(recipient, directory) => Some((recipient, Some(directory))),
            _ => None,
        }
    }

    /// Returns whether its entries keep the spelling that programs gave them.
    pub(crate) fn keeps_spelling(&self) -> bool {
        self.written_in().is_some()
    }

    /// Returns whether files and directories below belong to me, so that tools may add attributes.
    pub(crate) fn is_outbox(&self) -> bool {
        matches!(self, Self::Outbox | Self::Recipient(_) | Self::Local(..))
    }
}

/// The inode number of the mount point, by the FUSE protocol.
pub(crate) const ROOT_INO: u64 = 1;

/// Returns the inode number of an identity unless another one took it.
///
/// A hash, so that the number survives restarts; 0 and the root's number are skipped, and the top
/// bit is clear because some programs store inode numbers in signed integers.
pub(crate) fn preferred_ino(identity: &str) -> u64 {
    if identity == "/" {
        return ROOT_INO;
    }
    let hash = Sha256::digest(identity.as_bytes());
    let number = hash.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte));
    (number & (u64::MAX >> 1)).max(ROOT_INO + 1)
}
