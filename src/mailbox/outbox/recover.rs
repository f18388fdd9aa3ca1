//! What a start finds: rows and staged files of an earlier run.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::chunks::ChunkTable;
use super::file::{Inner, OutboxFile, Prepared};
use super::spool::Spool;
use super::state::SendState;
use super::{Outbox, empty_dir, list, queue, replace, sender};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::protocol::{ErrorClass, FileName, Identity};
use crate::store::{OutboxChange, OutboxEntry, OutboxRows, OutboxState, StoredError};
use crate::sys::crash;

/// Why a draft of an earlier run is not sent.
const INTERRUPTED: &str = "the mount ended before the copy was complete; copy the file again";

/// Staged files that are held open at once while their rows are looked for.
const ORPHAN_COUNT_MAX: usize = 64;

impl OutboxFile {
    pub(super) fn draft(
        core: &Arc<Core>,
        id: i64,
        recipient: &Identity,
        name: &FileName,
        mode: u32,
        spool: Spool,
    ) -> Arc<Self> {
        let spool_name = spool.name();
        let inner = Inner {
            name: name.clone(),
            state: SendState::Draft,
            spool: Some(Arc::new(spool)),
            is_parked: false,
            parked: Weak::new(),
            len: 0,
            mtime: core.clock.now(),
            mode: mode & 0o777,
            generation: 1,
            chunks: ChunkTable::new(core.options.chunk_bytes),
            prepared: None,
            writers: 1,
            epoch: 0,
            uploading: false,
            unlinked: false,
            is_replaced: false,
            replaced: Vec::new(),
            is_tag_tried: false,
            recovered: false,
            error: None,
            is_unattended: false,
            queue_place: None,
            is_settled: false,
            reserved_id: None,
            receipt: None,
            xattrs: std::collections::BTreeMap::new(),
        };
        Self::of_inner(core, id, spool_name, recipient, inner)
    }

    fn of_inner(
        core: &Arc<Core>,
        id: i64,
        spool_name: String,
        recipient: &Identity,
        inner: Inner,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            spool_name,
            recipient: recipient.clone(),
            core: Arc::downgrade(core),
            watch: tokio::sync::watch::Sender::new(inner.state),
            withdrawn: std::sync::OnceLock::new(),
            inner: parking_lot::Mutex::new(inner),
            claims: tokio::sync::watch::Sender::new(0),
            delivery: tokio::sync::Mutex::new(()),
            uploads_moved: tokio::sync::Notify::new(),
        })
    }

    fn of_entry(core: &Arc<Core>, entry: OutboxEntry, spool: Option<Spool>) -> Arc<Self> {
        let state = match entry.state {
            OutboxState::Draft => SendState::Draft,
            OutboxState::Queued => SendState::Queued,
            OutboxState::Prepared => SendState::Prepared,
            OutboxState::Sent => SendState::Sent,
            OutboxState::Failed => SendState::Failed,
            OutboxState::Abandoned => SendState::Abandoned,
        };
        let error = entry.error.map(|error| {
            (ErrorClass::of_code(&error.code).unwrap_or(ErrorClass::Internal), error.text)
        });
        // The row of a failed file has a message only when no more than its tag was missing.
        let is_pushed = matches!(state, SendState::Prepared | SendState::Sent | SendState::Failed);
        let inner = Inner {
            name: FileName::sanitize(&entry.name),
            state,
            spool: spool.map(Arc::new),
            is_parked: false,
            parked: Weak::new(),
            len: entry.len,
            mtime: entry.mtime.to_system_time(),
            mode: entry.mode,
            generation: 1,
            chunks: ChunkTable::new(core.options.chunk_bytes),
            // The bytes of the others were made durable: before the close of a queued file
            // returned, and before a failure was recorded.
            recovered: state == SendState::Prepared && entry.queue_place.is_none(),
            prepared: entry.message.map(|message| Prepared {
                generation: 1,
                // That of a queued file may have been journalled before it was pushed.
                complete: is_pushed,
                message,
            }),
            writers: 0,
            epoch: 0,
            uploading: false,
            unlinked: false,
            is_replaced: entry.hidden,
            replaced: Vec::new(),
            // A row does not tell whether an attempt has come to the tag.
            is_tag_tried: matches!(state, SendState::Prepared | SendState::Failed),
            error,
            is_unattended: entry.unattended,
            queue_place: entry.queue_place,
            is_settled: true,
            reserved_id: entry.message_id,
            receipt: entry.receipt,
            xattrs: std::collections::BTreeMap::new(),
        };
        Self::of_inner(core, entry.id, entry.spool, &entry.recipient, inner)
    }
}

impl Outbox {
    /// Loads the listing; with `recover`, also takes over what an earlier run left.
    ///
    /// A Queued or Prepared file keeps its promise and is sent. A draft cannot be known to be whole,
    /// and a queued file that is not as long as its row says is not: they are kept, shown as
    /// abandoned, and never sent. Files that another process holds are left
    /// alone.
    pub(in crate::mailbox) async fn load(&self, recover: bool) -> Result<(), MailboxError> {
        let core = &self.core;
        let recipients = core.store.recipients().await?;
        // Before the rows: what is staged from now on is no leftover, whatever they say.
        let staged = if recover { staged_names(&core.spool)? } else { Vec::new() };
        let rows = core.store.outbox_rows().await?;
        self.note_damaged(&rows);
        let entries = rows.entries;
        let known = needed(&entries);
        core.listing.update(|snapshot| {
            for recipient in &recipients {
                snapshot.outbox.entry(recipient.dir_name()).or_insert_with(|| empty_dir(recipient));
            }
        });
        // A promise that another file has replaced on the list is kept all the same.
        let is_promised = |state| matches!(state, OutboxState::Queued | OutboxState::Prepared);
        let is_wanted =
            |entry: &OutboxEntry| !entry.hidden || (recover && is_promised(entry.state));
        for entry in entries.into_iter().filter(is_wanted) {
            self.load_entry(entry, recover).await?;
        }
        self.mark_withdrawn().await?;
        if recover {
            let unknown: Vec<_> = staged.into_iter().filter(|name| !known.contains(name)).collect();
            for names in unknown.chunks(ORPHAN_COUNT_MAX) {
                self.remove_orphans(names).await?;
            }
            self.start_lanes();
        }
        Ok(())
    }

    /// Lists what another process has sent since, such as a `send` beside a mount.
    ///
    /// What has the name of an older file that is still to be sent is listed after that one, at a
    /// later call.
    pub(in crate::mailbox) async fn follow(&self) -> Result<(), MailboxError> {
        let core = &self.core;
        let snapshot = core.listing.snapshot();
        let known: HashSet<i64> = snapshot.outbox_files().map(|file| file.id).collect();
        let rows = core.store.outbox_rows().await?;
        self.note_damaged(&rows);
        // A row that is damaged is none that another process has removed.
        let ids = rows.entries.iter().map(|entry| entry.id);
        let stored: HashSet<i64> = ids.chain(rows.damaged.iter().copied()).collect();
        // What is over is never removed but by a collection, and what is queued only by a `send`
        // of its name, here or in another process.
        let forgotten = |file: &OutboxFile| {
            let state = file.state();
            (state == SendState::Queued || state.is_over())
                && known.contains(&file.id)
                && !stored.contains(&file.id)
        };
        let gone: Vec<_> =
            snapshot.outbox_files().filter(|file| forgotten(file)).cloned().collect();
        for file in gone {
            file.inner.lock().unlinked = true;
            self.unlist(&file);
            if let Some(place) = file.queue_place() {
                queue::leave(core, &file, place);
                file.remove_staged(core);
            }
        }
        let mut is_behind = false;
        for entry in rows.entries {
            if entry.state != OutboxState::Sent || entry.hidden || known.contains(&entry.id) {
                continue;
            }
            match self.file_in_place_of(&entry) {
                Some(file) if file.id > entry.id => {}
                // No other process tells when this one is sent, or goes.
                Some(file) if file.state() != SendState::Sent => is_behind = true,
                _ => self.load_entry(entry, false).await?,
            }
        }
        core.is_outbox_behind.store(is_behind, Ordering::Relaxed);
        self.mark_withdrawn().await
    }

    /// Tells which rows are damaged, each once: what they promised is not kept, and not forgotten.
    fn note_damaged(&self, rows: &OutboxRows) {
        let core = &self.core;
        core.damaged_count.store(rows.damaged.len(), Ordering::Relaxed);
        let snapshot = core.listing.snapshot();
        for id in &rows.damaged {
            let (subject, error) = (format!("outbox row {id}"), MailboxError::DamagedRow);
            let mut lines = snapshot.errors.iter();
            if !lines.any(|line| line.code == error.code() && line.subject == subject) {
                core.record_error(&subject, &error);
            }
        }
    }

    /// Returns the file that is listed under the entry's name.
    fn file_in_place_of(&self, entry: &OutboxEntry) -> Option<Arc<OutboxFile>> {
        let snapshot = self.core.listing.snapshot();
        snapshot.outbox.get(&entry.recipient.dir_name())?.files.get(&entry.name).cloned()
    }

    /// Shows which sent messages were taken out of the registry again.
    async fn mark_withdrawn(&self) -> Result<(), MailboxError> {
        let withdrawn = self.core.store.withdrawals().await?;
        if withdrawn.is_empty() {
            return Ok(());
        }
        for file in self.core.listing.snapshot().outbox_files() {
            if file.state() == SendState::Sent
                && let Some(why) = file.digest().and_then(|digest| withdrawn.get(&digest))
            {
                file.set_withdrawn(*why);
            }
        }
        self.core.listing.touch();
        Ok(())
    }

    /// Makes the file of a row that is not listed.
    pub(in crate::mailbox) fn unlisted(&self, entry: OutboxEntry) -> Arc<OutboxFile> {
        OutboxFile::of_entry(&self.core, entry, None)
    }

    async fn load_entry(&self, entry: OutboxEntry, recover: bool) -> Result<(), MailboxError> {
        let core = &self.core;
        let unsent = entry.state != OutboxState::Sent;
        let spool = if recover && unsent { Spool::adopt(&core.spool, &entry.spool)? } else { None };
        let adopted = spool.is_some();
        let len = spool.as_ref().map(Spool::len).transpose()?;
        // A removal on a full disk cuts the file before it forgets the row.
        let staged_len = match entry.state {
            OutboxState::Queued if recover => {
                Spool::look(&core.spool, &entry.spool)?.map(|spool| spool.len()).transpose()?
            }
            _ => None,
        };
        let is_hidden = entry.hidden;
        let is_cut = staged_len.is_some_and(|len| len != entry.len);
        let file = OutboxFile::of_entry(core, entry, spool);
        // A Prepared file is what its row says, whatever became of the staged bytes.
        if let Some(len) = len
            && file.state() != SendState::Prepared
        {
            file.inner.lock().len = len;
        }
        if is_cut || (adopted && file.state() == SendState::Draft && !file.is_temporary()) {
            {
                let mut inner = file.inner.lock();
                inner.state = SendState::Abandoned;
                inner.queue_place = None;
                inner.error = Some((ErrorClass::Interrupted, INTERRUPTED.to_owned()));
            }
            let error = StoredError { code: "abandoned".into(), text: INTERRUPTED.into() };
            let change = OutboxChange {
                updated_at: Some(core.now()),
                state: Some(OutboxState::Abandoned),
                len,
                error: Some(Some(error)),
                ..OutboxChange::default()
            };
            core.store.update_outbox(file.id, change).await?;
        }
        let displaced =
            if is_hidden { None } else { core.listing.update(|snapshot| list(snapshot, &file)) };
        if let Some(displaced) = displaced {
            match displaced.state() {
                SendState::Sent => replace::cover(&file, displaced),
                // A crash in the middle of replacing an abandoned file left both under one name;
                // nobody could ever reach the older one again, and it was never whole.
                SendState::Abandoned if recover => self.discard(&displaced).await?,
                _ => {}
            }
        }
        match (file.state(), file.queue_place()) {
            // The lanes start once all files are in them, in their order.
            (SendState::Queued | SendState::Prepared, Some(place)) if recover => {
                core.queue.insert(place, &file);
            }
            (SendState::Prepared, None) if adopted => {
                core.spawn(sender::publish(Arc::clone(core), Arc::clone(&file)));
            }
            _ => {}
        }
        if unsent && file.state() != SendState::Draft {
            file.inner.lock().spool = None;
            file.inner.lock().is_parked = true;
        }
        Ok(())
    }

    /// Removes those of the staged files that no unsent row knows and that nobody can miss: their
    /// message is sent, or nothing was ever written. One with content may have lost its row.
    async fn remove_orphans(&self, names: &[String]) -> Result<(), MailboxError> {
        let mut orphans = Vec::new();
        for name in names {
            // One that is locked is being created by another process right now.
            orphans.extend(Spool::adopt(&self.core.spool, name)?);
        }
        if orphans.is_empty() {
            return Ok(());
        }
        // Whoever created one held the lock until its row was there: none comes from now on.
        let entries = self.core.store.outbox_rows().await?.entries;
        let known = needed(&entries);
        let recorded: HashSet<&str> = entries.iter().map(|entry| entry.spool.as_str()).collect();
        for orphan in orphans.iter().filter(|orphan| !known.contains(&orphan.name())) {
            let (name, len) = (orphan.name(), orphan.len()?);
            if len == 0 || recorded.contains(name.as_str()) {
                orphan.remove();
                crash::point!("outbox.recover.orphan-removed");
            } else {
                let error = MailboxError::Unrecorded { path: self.core.spool.join(name), len };
                self.core.record_error("outbox", &error);
            }
        }
        Ok(())
    }
}

fn staged_names(dir: &Path) -> Result<Vec<String>, MailboxError> {
    let failed = MailboxError::io("list staged files");
    let entries = std::fs::read_dir(dir).map_err(&failed)?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Ok(entry.map_err(&failed)?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Returns the names of staged files that must be kept.
///
/// A crash between Sent and the removal of the staged file left one that nobody needs.
fn needed(entries: &[OutboxEntry]) -> HashSet<String> {
    let unsent = entries.iter().filter(|entry| entry.state != OutboxState::Sent);
    unsent.map(|entry| entry.spool.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewOutbox;
    use crate::testing::World;

    #[tokio::test]
    async fn what_was_staged_and_recorded_since_the_rows_were_read_is_no_orphan() {
        let world = World::new();
        let (alice, bob) = world.alice_and_bob().await;
        let core = &alice.mailbox.core;
        let orphan = Spool::create(&core.spool).unwrap().name();
        // As by a `send` beside us, which has failed and ended meanwhile.
        let staged = Spool::create(&core.spool).unwrap().name();
        let new = NewOutbox {
            recipient: bob.identity.clone(),
            name: "a".into(),
            spool: staged.clone(),
            created_at: core.now(),
        };
        core.store.insert_outbox(new).await.unwrap();

        alice.mailbox.outbox().remove_orphans(&[orphan, staged.clone()]).await.unwrap();

        assert_eq!(staged_names(&core.spool).unwrap(), [staged]);
    }
}
