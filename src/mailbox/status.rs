//! Who am I, how is the registry, what is under way: the content of `status.json`.

use serde::Serialize;

/// A report of the mailbox's state. Field names are stable.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// Process id of the program that answers.
    pub pid: u32,
    /// My identities.
    pub me: Vec<String>,
    /// Fingerprint of my key.
    pub fingerprint: String,
    /// The repository's reference.
    pub repository: String,
    /// `ok`, `not polled yet`, or why the last poll failed.
    pub registry: String,
    /// When the last poll succeeded, RFC 3339.
    pub last_poll: Option<String>,
    /// Messages listed in the inbox.
    pub inbox_count: usize,
    /// What a close in the outbox waits for: `sync` or `queued`.
    pub delivery: &'static str,
    /// Files of the outbox that are not sent yet.
    pub outbox_queued: usize,
    /// Those of them that wait in the queue.
    pub outbox_waiting: usize,
    /// When the queue tries again, RFC 3339; absent while it does not pause.
    pub next_attempt: Option<String>,
    /// Files of the outbox that failed.
    pub outbox_failed: usize,
    /// Rows of the outbox that the disk has damaged.
    pub outbox_damaged: usize,
    /// Notes in quarantine.
    pub quarantine_count: usize,
    /// What is being sent, at most a hundred.
    pub transfers: Vec<Transfer>,
    /// Blobs fetched since the start.
    pub blobs_fetched: u64,
    /// Bytes of these blobs.
    pub blob_bytes_fetched: u64,
    /// Bytes in the memory cache.
    pub cache_memory_bytes: u64,
    /// Bytes in the disk cache.
    pub cache_disk_bytes: u64,
}

/// One file on its way.
#[derive(Debug, Clone, Serialize)]
pub struct Transfer {
    /// `send`.
    pub direction: &'static str,
    /// The recipient, escaped.
    pub peer: String,
    /// The file's name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Bytes that are in the registry.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}
