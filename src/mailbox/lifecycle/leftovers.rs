//! Unused data on this machine: old rows, staged files without an owner, dead chunks.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;

use crate::cache::ChunkCache;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::staged::Spool;
use crate::protocol::{Digest, Message, Timestamp};
use crate::store::{OutboxEntry, OutboxRows, OutboxState, PurgedRows};
use crate::sys::blocking;

/// Age from which a staged file without a row was surely left by a crash: the row follows its file
/// within milliseconds.
const ORPHAN_AGE_MIN: Duration = Duration::from_hours(1);

/// What was, or would be, removed from this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Entries of `outbox/` whose message has ended.
    pub sent_count: usize,
    /// Entries of `outbox/` that were never sent: failed or abandoned; and damaged ones.
    pub unsent_count: usize,
    /// Staged files, of unsent entries or without an entry.
    pub staged_count: usize,
    /// Their bytes.
    pub staged_bytes: u64,
    /// Rows of inbox, quarantine and errors.
    pub rows: PurgedRows,
    /// Cached chunks of expired messages.
    pub chunk_count: usize,
    /// Their bytes.
    pub chunk_bytes: u64,
}

/// Removes leftovers; with `dry_run` only counts them.
///
/// `refused` means that the registry refuses deletion permanently: expired messages are then
/// forgotten at their age although the registry still holds them, or the journal would grow without
/// bound.
pub(super) async fn collect(
    core: &Core,
    spool_dir: &Path,
    cache: &ChunkCache,
    refused: bool,
    dry_run: bool,
) -> Result<Leftovers, MailboxError> {
    let history_secs = i64::try_from(core.options.history.as_secs()).unwrap_or(i64::MAX);
    let before = core.now().saturating_add_secs(history_secs.saturating_neg());
    let mut found = Leftovers::default();
    let OutboxRows { entries, damaged } = core.store.outbox_rows().await?;
    let mut known: HashSet<String> = entries.iter().map(|entry| entry.spool.clone()).collect();
    let withdrawn = core.store.withdrawals().await?;
    for entry in entries.into_iter().filter(|entry| entry.updated_at < before) {
        let removed = match entry.state {
            // Its promise still holds.
            OutboxState::Queued | OutboxState::Prepared => continue,
            OutboxState::Sent => {
                let gone = entry
                    .message
                    .as_ref()
                    .is_some_and(|message| withdrawn.contains_key(&message.digest));
                if !gone && !is_over(&entry, before, refused)? {
                    continue;
                }
                found.sent_count += 1;
                true
            }
            OutboxState::Draft | OutboxState::Failed | OutboxState::Abandoned => {
                let Some(bytes) = take_staged(core, spool_dir, &entry, dry_run).await? else {
                    continue;
                };
                found.unsent_count += 1;
                found.staged_count += usize::from(bytes > 0);
                found.staged_bytes += bytes;
                true
            }
        };
        if removed && !dry_run {
            core.store.remove_outbox(entry.id).await?;
            known.remove(&entry.spool);
        }
    }
    // One of the others may be what a damaged row promised, and there is no hurry.
    let age_min = if damaged.is_empty() { ORPHAN_AGE_MIN } else { core.options.history };
    let kept_count = remove_orphans(core, spool_dir, &known, age_min, dry_run, &mut found).await?;
    if kept_count == 0 {
        found.unsent_count += damaged.len();
        for id in damaged.into_iter().filter(|_id| !dry_run) {
            core.store.remove_outbox(id).await?;
        }
    }
    remove_chunks(core, cache, dry_run, &mut found).await?;
    let latest = core.latest().saturating_add_secs(history_secs.saturating_neg());
    found.rows = core.store.purge_history(before.min(latest), dry_run).await?;
    Ok(found)
}

/// Returns whether a sent message that was not withdrawn has ended all the same.
fn is_over(entry: &OutboxEntry, before: Timestamp, refused: bool) -> Result<bool, MailboxError> {
    let Some(message) = &entry.message else { return Ok(true) };
    match Message::parse(&message.manifest)?.envelope.expires_at() {
        Some(expires_at) => Ok(refused && expires_at < before),
        // It never expires; it ends when I remove it from the list.
        None => Ok(entry.hidden),
    }
}

/// Removes the staged file of an unsent entry and returns its length; `None` when a mount owns it
/// or the entry has changed since the list was read.
async fn take_staged(
    core: &Core,
    spool_dir: &Path,
    entry: &OutboxEntry,
    dry_run: bool,
) -> Result<Option<u64>, MailboxError> {
    let spool = if spool_dir.join(&entry.spool).exists() {
        let Some(spool) = Spool::adopt(spool_dir, &entry.spool)? else { return Ok(None) };
        Some(spool)
    } else {
        None
    };
    // Under the file's lock, which every further attempt to send the file takes first: a mount may
    // have queued it since and released the file.
    let now = core.store.outbox(entry.id).await?;
    if now.is_none_or(|now| now.state != entry.state || now.updated_at != entry.updated_at) {
        return Ok(None);
    }
    let Some(spool) = spool else { return Ok(Some(0)) };
    let bytes = spool.len()?;
    if !dry_run {
        spool.remove();
    }
    Ok(Some(bytes))
}

/// Removes staged files that have no row and are older than `age_min`; returns how many stay.
async fn remove_orphans(
    core: &Core,
    spool_dir: &Path,
    known: &HashSet<String>,
    age_min: Duration,
    dry_run: bool,
    found: &mut Leftovers,
) -> Result<usize, MailboxError> {
    let (dir, known, now) = (spool_dir.to_owned(), known.clone(), core.clock.now());
    let (count, bytes, kept_count) = blocking::try_run(move || {
        let (mut count, mut bytes, mut kept_count) = (0, 0, 0);
        let failed = MailboxError::io("list staged files");
        for item in fs::read_dir(&dir).map_err(&failed)? {
            let item = item.map_err(&failed)?;
            let name = item.file_name().to_string_lossy().into_owned();
            let Ok(modified) = item.metadata().and_then(|metadata| metadata.modified()) else {
                continue;
            };
            let age = now.duration_since(modified).unwrap_or_default();
            if known.contains(&name) {
                continue;
            }
            let orphan = if age < age_min { None } else { Spool::adopt(&dir, &name)? };
            let Some(spool) = orphan else {
                kept_count += 1;
                continue;
            };
            count += 1;
            bytes += spool.len()?;
            if !dry_run {
                spool.remove();
            }
        }
        Ok::<_, MailboxError>((count, bytes, kept_count))
    })
    .await?;
    found.staged_count += count;
    found.staged_bytes += bytes;
    Ok(kept_count)
}

/// Removes cached chunks that belong only to expired messages.
async fn remove_chunks(
    core: &Core,
    cache: &ChunkCache,
    dry_run: bool,
    found: &mut Leftovers,
) -> Result<(), MailboxError> {
    let latest = core.latest();
    let (mut live, mut dead) = (HashSet::<Digest>::new(), HashSet::new());
    let mut pages = pin!(core.store.inbox_pages());
    while let Some(page) = pages.try_next().await? {
        for entry in page {
            let is_expired = entry.expires_at.is_some_and(|end| latest >= end);
            let chunks = Message::parse(&entry.manifest)?.chunks;
            let digests = chunks.into_iter().map(|chunk| chunk.digest);
            if is_expired { dead.extend(digests) } else { live.extend(digests) }
        }
    }
    let cache = cache.clone();
    let removed = blocking::run(move || {
        let lens = dead
            .difference(&live)
            .map(|digest| if dry_run { cache.disk_len(digest) } else { cache.remove(digest) });
        lens.flatten().fold((0, 0), |(count, bytes), len| (count + 1, bytes + len))
    });
    let (count, bytes) = removed.await?;
    (found.chunk_count, found.chunk_bytes) = (count, bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OutboxChange;
    use crate::testing::World;

    #[tokio::test]
    async fn a_file_that_was_queued_since_the_list_was_read_is_kept() {
        let world = World::new();
        let (mut alice, bob) = world.alice_and_bob().await;
        let outbox = alice.mailbox.outbox();
        let file = outbox.create(&bob.identity, &"a".parse().unwrap(), 0o600).await.unwrap();
        outbox.write_at(&file, 0, b"abc").unwrap();
        outbox.abandon(&file, "test");
        alice.settle().await;
        drop(file);
        alice.restart(&world).await;
        let core = &alice.mailbox.core;
        let dir = alice.mailbox.outbox().area().dir();
        let stale = core.store.outbox_rows().await.unwrap().entries.remove(0);
        core.store.enqueue_outbox(stale.id, OutboxChange::default()).await.unwrap();

        let taken = take_staged(core, dir, &stale, false).await.unwrap();

        assert_eq!(taken, None);
        assert!(dir.join(&stale.spool).exists());
    }
}
