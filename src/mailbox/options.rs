//! How a mailbox behaves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pattern::matches_any;
use super::temporary_names::{TEMPORARY_NAMES, matches_any_dir};
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
    /// Names that stay local, in the language of `temporary_names.rs`.
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

    /// Returns whether a directory of this name stays local, with everything in it.
    pub fn is_temporary_dir(&self, name: &str) -> bool {
        matches_any_dir(&self.temporary_names, name)
    }
}
