//! The immutable view of all listings that metadata calls read, and how it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::entry::{EntryPath, below};
use super::staged::{OutboxFile, assert_no_file_locked};
use crate::protocol::{Digest, Identity, Message, ReceiptStatus, Tag, Timestamp};

/// A directory of a listing: file name to entry, in listing order.
pub type Directory<T> = Arc<BTreeMap<String, Arc<T>>>;

/// An immutable view of all listings. Directory names are escaped, each one path component.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Sender directory, then file name.
    pub inbox: BTreeMap<String, Directory<InboxItem>>,
    /// Recipient directory.
    pub outbox: BTreeMap<String, Arc<OutboxDir>>,
    /// Receipts received for what I sent: recipient directory, then file name.
    pub receipts_sent: BTreeMap<String, Directory<ReceiptItem>>,
    /// Receipts that I issued: sender directory, then file name.
    pub receipts_issued: BTreeMap<String, Directory<ReceiptItem>>,
    /// What was refused or is waiting: claimed sender directory, then `<file>.WHY.txt`.
    pub quarantine: BTreeMap<String, Directory<QuarantineItem>>,
    /// The last errors, newest last.
    pub errors: Arc<Vec<ErrorLine>>,
}

impl Snapshot {
    /// Returns the listed message with this digest.
    pub fn message(&self, digest: &Digest) -> Option<&Arc<InboxItem>> {
        self.inbox
            .values()
            .flat_map(|directory| directory.values())
            .find(|item| item.digest == *digest)
    }

    /// Returns every file of the outbox.
    pub fn outbox_files(&self) -> impl Iterator<Item = &Arc<OutboxFile>> {
        self.outbox.values().flat_map(|directory| directory.files.values())
    }
}

/// A directory of the outbox.
#[derive(Debug, Clone)]
pub struct OutboxDir {
    /// The exact identity that the directory's name encodes.
    pub recipient: Identity,
    /// Path below this directory to file: `report.pdf`, `.~tmp~/report.pdf`.
    pub files: BTreeMap<String, Arc<OutboxFile>>,
    /// The directories in it, also empty ones; each file's directory is one of them.
    pub directories: BTreeSet<String>,
}

impl OutboxDir {
    /// Returns an empty directory.
    pub fn new(recipient: Identity) -> Self {
        Self { recipient, files: BTreeMap::new(), directories: BTreeSet::new() }
    }

    /// Returns whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.directories.is_empty()
    }

    /// Returns whether a file or a directory has this path.
    pub fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.directories.contains(path)
    }

    /// Returns the file `name` in one of its directories, or directly in it.
    pub fn file(&self, directory: Option<&str>, name: &str) -> Option<&Arc<OutboxFile>> {
        self.files.get(&below(directory, name))
    }

    /// Returns the files in one of its directories, or those directly in it, by their names there.
    pub fn files_in<'a>(
        &'a self,
        directory: Option<&str>,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<OutboxFile>)> + use<'a> {
        let prefix = below(directory, "");
        let from = self.files.range(prefix.clone()..);
        let inside = from.map_while(move |(path, file)| Some((path.strip_prefix(&prefix)?, file)));
        inside.filter(|(name, _file)| !name.contains('/'))
    }

    /// Lists `file` under `path`; returns the file that had it.
    pub(super) fn insert(
        &mut self,
        path: &EntryPath,
        file: &Arc<OutboxFile>,
    ) -> Option<Arc<OutboxFile>> {
        self.directories.extend(path.directory().map(|directory| directory.as_str().to_owned()));
        self.files.insert(path.as_str().to_owned(), Arc::clone(file))
    }
}

/// A verified message in the inbox.
#[derive(Debug, Clone)]
pub struct InboxItem {
    /// The message's identity (P25).
    pub digest: Digest,
    /// The verified sender.
    pub sender: Identity,
    /// Fingerprint of the key that signed.
    pub signer: String,
    /// Which of my identities it is addressed to.
    pub recipient: Identity,
    /// The listed name: safe, unique in the sender's directory, permanently stable.
    pub name: String,
    /// The signed content of the manifest.
    pub message: Message,
    /// When it was admitted.
    pub arrived_at: Timestamp,
    /// The receipt that I issued last.
    pub receipt: Option<ReceiptStatus>,
}

/// One receipt file.
#[derive(Debug)]
pub struct ReceiptItem {
    /// The message it is for.
    pub message: Digest,
    /// The outcome.
    pub status: ReceiptStatus,
    /// Whether its author signed it; otherwise it is an unsigned claim (P22).
    pub signed: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// The file's content: JSON with a final newline.
    pub json: String,
}

/// One note in quarantine: why a message is not in the inbox.
#[derive(Debug)]
pub struct QuarantineItem {
    /// The manifest's digest, if it could be fetched.
    pub digest: Option<Digest>,
    /// The tag that named it.
    pub tag: Tag,
    /// The reason code.
    pub code: String,
    /// Whether it waits for its bundle or its time, rather than being refused permanently.
    pub pending: bool,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// The file's content.
    pub text: String,
}

/// One line of `.dockercomms/errors`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ErrorLine {
    /// When, RFC 3339.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// The class's code.
    pub code: String,
    /// What it was about, escaped.
    pub subject: String,
    /// What failed and why, escaped.
    pub text: String,
    /// What to do next.
    pub hint: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_text<S: serde::Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Holds the current snapshot and notifies watchers of changes.
#[derive(Debug)]
pub(crate) struct Listing {
    current: RwLock<Arc<Snapshot>>,
    changes: watch::Sender<u64>,
}

impl Listing {
    pub(crate) fn new() -> Self {
        Self { current: RwLock::default(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Applies `change` to a copy and makes it current.
    ///
    /// `change` sees the newest view under the lock, so a check and an insertion in it are one
    /// step.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut Snapshot) -> R) -> R {
        assert_no_file_locked();
        let mut current = self.current.write();
        let result = change(Arc::make_mut(&mut current));
        drop(current);
        self.changes.send_modify(|count| *count += 1);
        result
    }

    /// Notifies watchers that an entry changed inside, for example a file's state.
    pub(crate) fn touch(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Inserts `entry` as `name` into the directory `dir` of `tree`.
pub(crate) fn insert<T>(
    tree: &mut BTreeMap<String, Directory<T>>,
    dir: String,
    name: String,
    entry: Arc<T>,
) {
    Arc::make_mut(tree.entry(dir).or_default()).insert(name, entry);
}

/// Keeps only the entries for which `keep` holds, and drops empty directories.
pub(crate) fn retain<T>(
    tree: &mut BTreeMap<String, Directory<T>>,
    keep: impl Fn(&str, &str, &T) -> bool,
) {
    tree.retain(|dir, entries| {
        if !entries.iter().all(|(name, entry)| keep(dir, name, entry)) {
            Arc::make_mut(entries).retain(|name, entry| keep(dir, name, entry));
        }
        !entries.is_empty()
    });
}
