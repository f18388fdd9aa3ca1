//! What a start finds: rows and staged files of an earlier run.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::directory::{empty_dir, list, listed};
use super::shared::{Outbox, Wake};
use crate::mailbox::MailboxError;
use crate::mailbox::entry::EntryPath;
use crate::mailbox::staged::{OutboxFile, SendState, Spool};
use crate::store::{OutboxEntry, OutboxRows, OutboxState};
use crate::sys::crash;

/// Why a draft of an earlier run is not sent.
const INTERRUPTED: &str = "the mount ended before the copy was complete; copy the file again";

/// Staged files held open at once while their rows are searched for.
const ORPHAN_COUNT_MAX: usize = 64;

impl Outbox {
    /// Loads the listing, and takes over what an earlier run left if that belongs to this process.
    ///
    /// A Queued or Prepared file keeps its promise and is sent. A draft cannot be known to be
    /// complete, and a queued file whose length differs from its row is not: they are kept, shown
    /// as abandoned, and never sent. Files that another process holds are left alone.
    pub(in crate::mailbox) async fn load(&self) -> Result<(), MailboxError> {
        let (core, recover) = (&self.core, self.shared.owns_leftovers);
        let recipients = core.store.recipients().await?;
        // Before the rows: what is staged from now on is not a leftover, whatever the rows say.
        let staged = if recover { staged_names(self.shared.area.dir())? } else { Vec::new() };
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
        self.mark_lost().await?;
        if recover {
            let unknown: Vec<_> = staged.into_iter().filter(|name| !known.contains(name)).collect();
            for names in unknown.chunks(ORPHAN_COUNT_MAX) {
                self.remove_orphans(names).await?;
            }
            self.wake_lanes();
        }
        Ok(())
    }

    /// Lists what another process has sent since, such as a `send` beside a mount.
    ///
    /// If it has the name of an older file that is still to be sent, it is listed after that one,
    /// at a later call.
    pub(in crate::mailbox) async fn follow(&self) -> Result<(), MailboxError> {
        let core = &self.core;
        let snapshot = core.listing.snapshot();
        let known: HashSet<i64> = snapshot.outbox_files().map(|file| file.id()).collect();
        let rows = core.store.outbox_rows().await?;
        self.note_damaged(&rows);
        // A damaged row was not removed by another process.
        let ids = rows.entries.iter().map(|entry| entry.id);
        let stored: HashSet<i64> = ids.chain(rows.damaged.iter().copied()).collect();
        // What is finished is removed only by a collection, and what is queued only by a `send` of
        // its name, here or in another process.
        let forgotten = |file: &OutboxFile| {
            let state = file.state();
            (state == SendState::Queued || state.is_over())
                && known.contains(&file.id())
                && !stored.contains(&file.id())
        };
        let gone: Vec<_> =
            snapshot.outbox_files().filter(|file| forgotten(file)).cloned().collect();
        for file in gone {
            self.unlist(&file);
            if self.shared.queue.release(&file, file.remove()) {
                file.remove_staged();
                self.wake(Wake::Lane(file.recipient().clone()));
            }
        }
        let mut is_behind = false;
        for entry in rows.entries {
            if entry.state != OutboxState::Sent || entry.hidden || known.contains(&entry.id) {
                continue;
            }
            let path = EntryPath::stored(entry.directory.as_deref(), &entry.name);
            match listed(&core.listing.snapshot(), &entry.recipient, path.as_str()) {
                Some(file) if file.id() > entry.id => {}
                // No other process reports when this one is sent, or removed.
                Some(file) if file.state() != SendState::Sent => is_behind = true,
                _ => self.load_entry(entry, false).await?,
            }
        }
        self.set_behind(is_behind);
        self.mark_withdrawn().await?;
        self.mark_lost().await
    }

    /// Reports which rows are damaged, once each: their promise is not kept, and not forgotten.
    fn note_damaged(&self, rows: &OutboxRows) {
        self.set_damaged_count(rows.damaged.len());
        for id in &rows.damaged {
            self.core.record_once(&format!("outbox row {id}"), &MailboxError::DamagedRow);
        }
    }

    /// Shows which sent messages were withdrawn from the registry.
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

    /// Shows which sent messages the registry has lost.
    async fn mark_lost(&self) -> Result<(), MailboxError> {
        let lost = self.core.store.lost_messages().await?;
        let mut changed = false;
        for file in self.core.listing.snapshot().outbox_files() {
            let is_lost = file.digest().is_some_and(|digest| lost.contains(&digest));
            changed |= file.set_lost(is_lost && file.state() == SendState::Sent);
        }
        if changed {
            self.core.listing.touch();
        }
        Ok(())
    }

    /// Makes the file of a row that is not listed.
    pub(in crate::mailbox) fn unlisted(&self, entry: OutboxEntry) -> Arc<OutboxFile> {
        OutboxFile::of_entry(&self.shared.area, entry, None)
    }

    async fn load_entry(&self, entry: OutboxEntry, recover: bool) -> Result<(), MailboxError> {
        let (core, dir) = (&self.core, self.shared.area.dir());
        let unsent = entry.state != OutboxState::Sent;
        let spool = if recover && unsent { Spool::adopt(dir, &entry.spool)? } else { None };
        let adopted = spool.is_some();
        let len = spool.as_ref().map(Spool::len).transpose()?;
        // A removal on a full disk truncates the file before it forgets the row.
        let staged_len = match entry.state {
            OutboxState::Queued if recover => {
                Spool::look(dir, &entry.spool)?.map(|spool| spool.len()).transpose()?
            }
            _ => None,
        };
        let is_hidden = entry.hidden;
        let is_cut = staged_len.is_some_and(|len| len != entry.len);
        let file = OutboxFile::of_entry(&self.shared.area, entry, spool);
        if let Some(len) = len {
            file.note_found_len(len);
        }
        let is_partial = adopted && file.state() == SendState::Draft && !file.is_temporary();
        if (is_cut || is_partial)
            && file.lose_content(INTERRUPTED)
            && let Some(step) = file.abandoning()
        {
            let left = file.abandoned(step.save(&core.store).await?);
            self.shared.queue.release(&file, left);
        }
        let displaced =
            if is_hidden { None } else { core.listing.update(|snapshot| list(snapshot, &file)) };
        if let Some(displaced) = displaced {
            match displaced.state() {
                SendState::Sent => displaced.sink_below(&file),
                // A crash while replacing an abandoned file left both under one name; the older one
                // could never be reached again, and it was never complete.
                SendState::Abandoned if recover => self.forget(&displaced).await?,
                _ => {}
            }
        }
        match (file.state(), file.queue_place()) {
            // The lanes start once all files are in them, in their order.
            (SendState::Queued | SendState::Prepared, Some(place)) if recover => {
                self.shared.queue.insert(place, &file);
            }
            (SendState::Prepared, None) if adopted => self.wake(Wake::Publish(Arc::clone(&file))),
            _ => {}
        }
        if unsent && file.state() != SendState::Draft {
            file.park_unheld();
        }
        Ok(())
    }

    /// Removes the staged files that no unsent row knows and that are not needed: their message is
    /// sent, or nothing was ever written. One with content may have lost its row.
    async fn remove_orphans(&self, names: &[String]) -> Result<(), MailboxError> {
        let mut orphans = Vec::new();
        for name in names {
            // A locked one is being created by another process right now.
            orphans.extend(Spool::adopt(self.shared.area.dir(), name)?);
        }
        if orphans.is_empty() {
            return Ok(());
        }
        // Its creator held the lock until its row existed: no row appears from now on.
        let entries = self.core.store.outbox_rows().await?.entries;
        let known = needed(&entries);
        let recorded: HashSet<&str> = entries.iter().map(|entry| entry.spool.as_str()).collect();
        for orphan in orphans.iter().filter(|orphan| !known.contains(&orphan.name())) {
            let (name, len) = (orphan.name(), orphan.len()?);
            if len == 0 || recorded.contains(name.as_str()) {
                orphan.remove();
                crash::point!("outbox.recover.orphan-removed");
            } else {
                let error =
                    MailboxError::Unrecorded { path: self.shared.area.dir().join(name), len };
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
/// A crash between Sent and the removal of the staged file leaves one that is no longer needed.
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
        let dir = alice.mailbox.outbox().area().dir();
        let orphan = Spool::create(dir).unwrap().name();
        // As by a `send` beside us, which has failed and ended in the meantime.
        let staged = Spool::create(dir).unwrap().name();
        let new = NewOutbox {
            recipient: bob.identity.clone(),
            directory: None,
            name: "a".into(),
            spool: staged.clone(),
            created_at: core.now(),
        };
        core.store.insert_outbox(new).await.unwrap();

        alice.mailbox.outbox().remove_orphans(&[orphan, staged.clone()]).await.unwrap();

        assert_eq!(staged_names(dir).unwrap(), [staged]);
    }
}
