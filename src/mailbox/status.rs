//! Who I am, how the registry is doing, what is in progress: the content of `status.json`.

use serde::Serialize;

use super::handle::Mailbox;
use super::outbox::{is_waiting, waiting_count};
use super::recipient::Unheld;
use super::staged::{OutboxFile, SendState};

/// Most transfers listed one by one in the status; thousands may be queued.
const TRANSFER_COUNT_MAX: usize = 100;

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
    /// Files of the outbox that are not yet sent.
    pub outbox_queued: usize,
    /// Drafts that are not on their way: temporary names, and what a program still downloads.
    pub outbox_local: usize,
    /// Those of them that wait in the queue.
    pub outbox_waiting: usize,
    /// When the queue tries again, RFC 3339; absent unless it pauses.
    pub next_attempt: Option<String>,
    /// Why they wait: what the last attempt met; absent unless it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_why: Option<String>,
    /// Files of the outbox that failed.
    pub outbox_failed: usize,
    /// Messages that the registry no longer has, and that no receipt has confirmed.
    pub outbox_lost: usize,
    /// Rows of the outbox that the disk has damaged.
    pub outbox_damaged: usize,
    /// Files of the outbox to people whose key is not held.
    pub outbox_unheld: Unheld,
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

/// One file in transfer.
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
    /// Why it waits; absent unless an attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Bytes that are in the registry.
    pub bytes_done: u64,
    /// Total bytes.
    pub bytes_total: u64,
}

impl Mailbox {
    /// Returns the current status.
    pub fn status(&self) -> Status {
        let core = &self.core;
        let snapshot = core.listing.snapshot();
        let health = self.inbox.health();
        let (local, files): (Vec<_>, Vec<_>) =
            snapshot.outbox_files().partition(|file| snapshot.is_local(file));
        let count = |wanted: fn(SendState) -> bool| {
            files.iter().filter(|file| wanted(file.state())).count()
        };
        let fetched = self.reading.fetch_counts();
        let cache = self.reading.cache().stats();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            me: core.options.me.iter().map(|me| me.as_str().to_owned()).collect(),
            fingerprint: core.key.public_key().fingerprint(),
            repository: core.repository.reference(),
            registry: match (&health.last_error, health.last_success) {
                (Some(error), _) => error.clone(),
                (None, Some(_)) => "ok".to_owned(),
                (None, None) => "not polled yet".to_owned(),
            },
            last_poll: health.last_success.map(|time| time.to_string()),
            inbox_count: snapshot.inbox.values().map(|names| names.len()).sum(),
            delivery: core.options.delivery.as_str(),
            outbox_queued: count(|state| {
                matches!(
                    state,
                    SendState::Draft
                        | SendState::Queued
                        | SendState::Preparing
                        | SendState::Prepared
                )
            }),
            outbox_local: local.len(),
            outbox_waiting: waiting_count(&snapshot),
            waiting_why: files.iter().filter(|file| is_waiting(file)).find_map(|file| why(file)),
            next_attempt: self.outbox.next_attempt().map(|time| time.to_string()),
            outbox_lost: files.iter().filter(|file| file.is_lost()).count(),
            outbox_damaged: self.outbox.damaged_count(),
            outbox_failed: count(|state| matches!(state, SendState::Failed | SendState::Abandoned)),
            outbox_unheld: self.outbox.unheld(),
            quarantine_count: snapshot.quarantine.values().map(|names| names.len()).sum(),
            transfers: files
                .iter()
                .filter(|file| match file.state() {
                    SendState::Draft | SendState::Queued | SendState::Preparing => true,
                    SendState::Prepared => is_waiting(file),
                    SendState::Sent | SendState::Failed | SendState::Abandoned => false,
                })
                .take(TRANSFER_COUNT_MAX)
                .map(|file| transfer(file))
                .collect(),
            blobs_fetched: fetched.blob_count,
            blob_bytes_fetched: fetched.blob_bytes,
            cache_memory_bytes: cache.memory_bytes,
            cache_disk_bytes: cache.disk_bytes,
        }
    }
}

/// Returns what the last attempt at a file met, with the class's code.
fn why(file: &OutboxFile) -> Option<String> {
    file.error().map(|(class, text)| format!("{}: {text}", class.code()))
}

fn transfer(file: &OutboxFile) -> Transfer {
    let (bytes_done, bytes_total) = file.progress();
    Transfer {
        direction: "send",
        peer: file.recipient().dir_name(),
        name: file.name(),
        state: file.state().to_string(),
        why: why(file),
        bytes_done,
        bytes_total,
    }
}
