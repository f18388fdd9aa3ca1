//! How a mailbox behaves.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::limits::{CHUNK_BYTES_DEFAULT, TTL_SECS_DEFAULT};
use crate::protocol::{Compression, Identity};

/// Time between polls by default.
pub const POLL_DEFAULT: Duration = Duration::from_secs(5);

/// How long, by default, a rename or reopening after the last close belongs to the same file.
pub const SETTLE_DEFAULT: Duration = Duration::from_millis(500);

/// Pause after the first failed attempt of the queue by default.
pub const QUEUE_PAUSE_DEFAULT: Duration = Duration::from_secs(1);

/// How long entries that are over stay in the lists of this machine by default.
pub const HISTORY_DEFAULT: Duration = Duration::from_hours(90 * 24);

/// How long after it was sent the registry is asked by default whether it still has a message that
/// no receipt has confirmed: longer than registries take until they show what was pushed.
pub const CHECK_SENT_DEFAULT: Duration = Duration::from_mins(2);

/// What a close of a file in the outbox waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Every byte and the signature are in the registry.
    #[default]
    Sync,
    /// The file is durable on the local disk; it is sent in the background.
    Queued,
}

impl Delivery {
    /// Returns the word used in the configuration, on the command line and in `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Queued => "queued",
        }
    }
}

/// How a mailbox behaves; the defaults are those of [`MailboxOptions::new`].
#[derive(Debug, Clone)]
pub struct MailboxOptions {
    /// My identities; the first one signs. Never empty.
    pub me: Vec<Identity>,
    /// How new chunk layers are compressed.
    pub compression: Compression,
    /// Recipients whose peers need another compression (P12).
    pub compression_of: BTreeMap<Identity, Compression>,
    /// Uncompressed size of a chunk in bytes.
    pub chunk_bytes: u64,
    /// Time to live of what I send, in seconds; 0 = never expires.
    pub ttl_secs: u64,
    /// What a close waits for.
    pub delivery: Delivery,
    /// Recipients for whom a close waits for something else.
    pub delivery_of: BTreeMap<Identity, Delivery>,
    /// Pause after the first failed attempt of the queue; it doubles with each.
    pub queue_pause: Duration,
    /// Time between polls.
    pub poll: Duration,
    /// After the last close, a rename or reopening within this time belongs to the same file.
    pub settle: Duration,
    /// The same for empty files, which many programs create first and fill later.
    pub settle_empty: Duration,
    /// Whether `accepted` and `rejected` receipts are sent automatically.
    pub automatic_receipts: bool,
    /// Names that stay local: `*` matches any run of characters.
    pub temporary_names: Vec<String>,
    /// Names that may become recipients although they are neither known nor addresses, as patterns.
    pub outbox_new: Vec<String>,
    /// How long finished entries stay in the lists of this machine.
    pub history: Duration,
    /// How long after it was sent a message without a receipt is first looked for in the registry,
    /// and then at growing intervals, while mounted; zero = never.
    pub check_sent: Duration,
    /// Chunks compressed and uploaded at once; bounds the memory of a send.
    pub uploads_max: usize,
}

/// Names that programs use for unfinished or private files.
pub const TEMPORARY_NAMES: &[&str] = &[
    ".*",
    "*.part",
    "*.partial",
    "*.filepart",
    "*.crdownload",
    "*.download",
    "*.tmp",
    "*~",
    "#*#",
    "~$*",
    "*.swp",
    "*.lock",
    "*-journal",
    "Thumbs.db",
    "desktop.ini",
    "4913",
];

impl MailboxOptions {
    /// Returns the defaults for `me`.
    pub fn new(me: Identity) -> Self {
        Self {
            me: vec![me],
            compression: Compression::default(),
            compression_of: BTreeMap::new(),
            chunk_bytes: CHUNK_BYTES_DEFAULT,
            ttl_secs: TTL_SECS_DEFAULT,
            delivery: Delivery::default(),
            delivery_of: BTreeMap::new(),
            queue_pause: QUEUE_PAUSE_DEFAULT,
            poll: POLL_DEFAULT,
            settle: SETTLE_DEFAULT,
            settle_empty: Duration::from_secs(2),
            automatic_receipts: true,
            temporary_names: TEMPORARY_NAMES.iter().map(|&name| name.to_owned()).collect(),
            outbox_new: Vec::new(),
            history: HISTORY_DEFAULT,
            check_sent: CHECK_SENT_DEFAULT,
            uploads_max: 4,
        }
    }

    /// Returns the identity that signs.
    ///
    /// # Panics
    /// Never: `me` is not empty by construction.
    pub fn sender(&self) -> &Identity {
        self.me.first().expect("a mailbox has an identity")
    }

    /// Returns how layers for `recipient` are compressed (P12).
    pub fn compression_for(&self, recipient: &Identity) -> Compression {
        self.compression_of.get(recipient).copied().unwrap_or(self.compression)
    }

    /// Returns what the close of a file for `recipient` waits for.
    pub fn delivery_for(&self, recipient: &Identity) -> Delivery {
        self.delivery_of.get(recipient).copied().unwrap_or(self.delivery)
    }

    /// Returns whether a file of this name stays local.
    pub fn is_temporary(&self, name: &str) -> bool {
        matches_any(&self.temporary_names, name)
    }
}

/// Returns whether `name` matches one of `patterns`, in which `*` stands for any run of characters.
pub(super) fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

/// Matches `name` against a pattern in which `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_programs_use_for_unfinished_files_stay_local() {
        let options = MailboxOptions::new("me".parse().unwrap());

        for name in [
            ".report.pdf.Xy12ab",
            "a.part",
            "x.crdownload",
            "notes.txt~",
            "#notes#",
            "~$doc.docx",
            ".a.swp",
            "4913",
            "Thumbs.db",
            "state.db-journal",
            ".hidden",
        ] {
            assert!(options.is_temporary(name), "{name}");
        }
        for name in ["report.pdf", "part", "a.partx", "4913.txt", "sedkCq4zb", "a~b"] {
            assert!(!options.is_temporary(name), "{name}");
        }
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        assert!(matches("a*b*c", "aXbYc") && matches("a*", "a") && matches("*", ""));
        assert!(!matches("a*b", "ab c") && !matches("ab*ba", "aba"));
    }
}
