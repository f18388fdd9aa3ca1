//! What I send: staged files on their way to recipients.
//!
//! A file is a [`SendState::Draft`] while it is written, Queued once it is complete and its delivery
//! is left to the background, Prepared once everything but the tag is
//! in the registry and a durable row says so, and Sent once its tag exists. Which close means
//! "send it" is decided above, by `fs`; this module never guesses. Start at [`Outbox`]; the
//! states are a table in `state.rs`.
//!
//! **Invariant:** after `prepare` or `enqueue` returned Ok the message is published exactly once, also after a
//! crash; without it, never.

mod attributes;
mod chunks;
mod claim;
mod failure;
mod file;
mod lane;
mod names;
mod queue;
mod recipients;
mod recover;
mod replace;
mod sender;
mod spool;
mod stage;
mod state;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use failure::FailureNote;
pub use file::OutboxFile;
pub(crate) use queue::{Queue, waiting_count};
pub(crate) use spool::Spool;
pub use stage::SentMessage;
pub use state::{Event, SendState};
pub(crate) use upload::UploadPool;

use super::MailboxError;
use super::core::Core;
use super::options::Delivery;
use super::snapshot::OutboxDir;
use crate::protocol::{Digest, FileName, Identity};
use crate::store::{NewOutbox, OutboxChange, OutboxState};
use crate::sys::crash;

/// What I send.
#[derive(Clone)]
pub struct Outbox {
    core: Arc<Core>,
}

impl Outbox {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Returns whether a file of this name stays local.
    pub fn is_temporary(&self, name: &str) -> bool {
        self.core.options.is_temporary(name)
    }

    /// Creates an empty draft and takes one writer reference.
    ///
    /// # Errors
    /// `Exists` when the name is listed; the disk's error when nothing can be staged.
    pub async fn create(
        &self,
        recipient: &Identity,
        name: &FileName,
        mode: u32,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        self.create_in_place_of(recipient, name, mode, None).await
    }

    async fn create_in_place_of(
        &self,
        recipient: &Identity,
        name: &FileName,
        mode: u32,
        replaced: Option<&Arc<OutboxFile>>,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        let core = &self.core;
        let taken = |snapshot: &super::Snapshot| {
            let listed = snapshot.outbox.get(&recipient.dir_name());
            listed.and_then(|dir| dir.files.get(name.as_str())).is_some_and(|listed| {
                replaced.is_none_or(|replaced| !Arc::ptr_eq(listed, replaced))
            })
        };
        if taken(&core.listing.snapshot()) {
            return Err(MailboxError::Exists);
        }
        let dir = core.spool.clone();
        let spool = tokio::task::spawn_blocking(move || Spool::create(&dir))
            .await
            .map_err(|_panicked| MailboxError::TaskLost)??;
        crash::point!("outbox.create.staged");
        let new = NewOutbox {
            recipient: recipient.clone(),
            name: name.as_str().to_owned(),
            spool: spool.name(),
            created_at: core.now(),
        };
        let id = match core.store.insert_outbox(new).await {
            Ok(id) => id,
            Err(error) => {
                spool.remove();
                return Err(error.into());
            }
        };
        crash::point!("outbox.create.recorded");
        let file = OutboxFile::draft(core, id, recipient, name, mode, spool);
        let inserted = core.listing.update(|snapshot| {
            if taken(snapshot) {
                return false;
            }
            list(snapshot, &file);
            true
        });
        if !inserted {
            self.discard(&file).await?;
            return Err(MailboxError::Exists);
        }
        if let Some(replaced) = replaced {
            self.hold(replaced, &file).await?;
            crash::point!("outbox.create.replaced");
        }
        Ok(file)
    }

    /// Takes a writer reference for a listed file and returns the file that the handle must use.
    ///
    /// A draft stays as it is; Prepared, Failed and Abandoned become drafts again; Sent with
    /// `truncate` is replaced by a new draft of the same name.
    ///
    /// # Errors
    /// `NotPermitted` for a sent file without `truncate`: a message is immutable. (`fs` may let such
    /// an open succeed and ask again with `truncate` once the program cuts the file to nothing.)
    pub async fn open_for_write(
        &self,
        file: &Arc<OutboxFile>,
        truncate: bool,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        // A publish that is under way ends first: the file is either still ours, or sent.
        let claim = file.claim();
        let delivery = file.delivery.lock().await;
        queue::withdraw(&self.core, file).await?;
        file.unpark(&self.core).await?;
        {
            let mut inner = file.inner.lock();
            let is_staged = inner.spool.is_some() && !inner.recovered;
            if inner.state != SendState::Sent && is_staged {
                file.apply_locked(&mut inner, Event::Changed);
                inner.writers += 1;
                inner.epoch += 1;
                drop(inner);
                drop(delivery);
                drop(claim);
                if truncate {
                    file.set_len(0)?;
                }
                return Ok(Arc::clone(file));
            }
        }
        drop(delivery);
        drop(claim);
        if !truncate {
            return Err(MailboxError::NotPermitted("a sent message is immutable"));
        }
        let name = file.inner.lock().name.clone();
        let mode = file.inner.lock().mode;
        self.create_in_place_of(&file.recipient, &name, mode, Some(file)).await
    }

    /// Drops a writer reference; after the last one the settle window begins.
    ///
    /// Content that no close has prepared (late stores of a mapping, child processes) is prepared
    /// in the background; its failure shows in the file's state. Empty files wait longer.
    pub fn release_writer(&self, file: &Arc<OutboxFile>) {
        {
            let mut inner = file.inner.lock();
            inner.writers = inner.writers.saturating_sub(1);
            if inner.is_prepared() && inner.state == SendState::Draft {
                // Opened again and closed without a change: what was promised still stands.
                file.apply_locked(&mut inner, Event::PrepareBegun);
                file.apply_locked(&mut inner, Event::PrepareDone);
            }
        }
        self.begin_settling(file);
    }

    /// Begins the settle window anew, unless somebody may still write.
    pub fn begin_settling(&self, file: &Arc<OutboxFile>) {
        let (epoch, window) = {
            let mut inner = file.inner.lock();
            inner.epoch += 1;
            let options = &self.core.options;
            let wanted =
                matches!(inner.state, SendState::Draft | SendState::Queued | SendState::Prepared);
            if inner.writers > 0 || inner.unlinked || !wanted {
                return;
            }
            let empty = inner.len == 0;
            (inner.epoch, if empty { options.settle_empty } else { options.settle })
        };
        let outbox = self.clone();
        let file = Arc::clone(file);
        self.core.spawn(async move {
            tokio::select! {
                () = outbox.core.stop.cancelled() => {}
                () = tokio::time::sleep(window) => {}
            }
            outbox.settle(&file, epoch).await;
        });
    }

    /// Ends the settle window that began at `epoch`, unless the file was opened or renamed since.
    async fn settle(&self, file: &Arc<OutboxFile>, epoch: u64) {
        {
            let inner = file.inner.lock();
            if inner.epoch != epoch || inner.writers > 0 || inner.unlinked {
                return;
            }
        }
        if file.is_temporary() {
            return;
        }
        if file.state() == SendState::Draft {
            let delivered = match self.delivery_of(file) {
                Delivery::Sync => self.prepare_in(file, &self.core.stop.child_token(), true).await,
                Delivery::Queued => self.enqueue_in(file, true).await,
            };
            if delivered.is_err() {
                return;
            }
        }
        if file.queue_place().is_some() {
            self.settled(file);
        } else if file.state() == SendState::Prepared {
            sender::publish(Arc::clone(&self.core), Arc::clone(file)).await;
        }
    }

    /// Pushes every chunk, the manifest by digest and its bundle, and journals Prepared.
    ///
    /// At once when nothing changed since the last time.
    ///
    /// # Errors
    /// `Interrupted` when `cancel` was set: the file is a draft again. Any other error leaves it
    /// Failed, and is recorded for `.dockercomms/errors`.
    pub async fn prepare(
        &self,
        file: &Arc<OutboxFile>,
        cancel: &CancellationToken,
    ) -> Result<(), MailboxError> {
        self.prepare_in(file, cancel, false).await
    }

    async fn prepare_in(
        &self,
        file: &Arc<OutboxFile>,
        cancel: &CancellationToken,
        is_unattended: bool,
    ) -> Result<(), MailboxError> {
        // Until the failure is recorded too: the promise of another close must outlast it.
        let _delivery = tokio::select! {
            biased;
            delivery = file.delivery.lock() => delivery,
            () = cancel.cancelled() => return Err(MailboxError::Interrupted),
        };
        let result = tokio::select! {
            biased;
            result = sender::prepare(&self.core, file) => result,
            () = cancel.cancelled() => Err(MailboxError::Interrupted),
        };
        match &result {
            Ok(()) => {}
            Err(MailboxError::Interrupted) => {
                file.apply(Event::Interrupted);
            }
            Err(error) => {
                self.core.record_error(&sender::subject(file), error);
                let event = Event::PrepareFailed;
                sender::fail(&self.core, file, event, error, is_unattended).await;
            }
        }
        self.core.listing.touch();
        result
    }

    /// Publishes the tag of a Prepared file now, without a settle window, and waits for it.
    ///
    /// # Errors
    /// The registry's; the file stays Prepared and is tried again from the queue.
    pub async fn publish(&self, file: &Arc<OutboxFile>) -> Result<Digest, MailboxError> {
        let _delivery = file.delivery.lock().await;
        sender::publish_once(&self.core, file).await
    }

    /// Waits until a Prepared file is Sent.
    ///
    /// # Errors
    /// `NotYetSent` after `within`, or why it will not be sent.
    pub async fn wait_sent(
        &self,
        file: &Arc<OutboxFile>,
        within: Duration,
    ) -> Result<(), MailboxError> {
        let mut states = file.watch.subscribe();
        let ended = states.wait_for(|state| {
            matches!(state, SendState::Sent | SendState::Failed | SendState::Abandoned)
        });
        match tokio::time::timeout(within, ended).await {
            Ok(Ok(state)) if *state == SendState::Sent => Ok(()),
            Ok(Ok(_)) => Err(MailboxError::NotPermitted("the file was not sent")),
            Ok(Err(_closed)) => Err(MailboxError::TaskLost),
            Err(_elapsed) => Err(MailboxError::NotYetSent),
        }
    }

    /// Marks a file whose writer died or failed: it is never sent unless written again.
    pub fn abandon(&self, file: &Arc<OutboxFile>, why: &str) {
        {
            let mut inner = file.inner.lock();
            if !file.apply_locked(&mut inner, Event::WriterLost) {
                return;
            }
            inner.error = Some((crate::protocol::ErrorClass::Interrupted, why.to_owned()));
        }
        replace::resume_replaced(&self.core, file);
        let (core, file) = (Arc::clone(&self.core), Arc::clone(file));
        let stored = crate::store::StoredError { code: "abandoned".into(), text: why.to_owned() };
        self.core.spawn(async move {
            let _delivery = file.delivery.lock().await;
            if file.state() != SendState::Abandoned {
                // Somebody wrote to it again; perhaps it is promised by now.
                return;
            }
            let change = OutboxChange {
                updated_at: Some(core.now()),
                state: Some(OutboxState::Abandoned),
                len: Some(file.len()),
                error: Some(Some(stored)),
                ..OutboxChange::default()
            };
            if let Err(error) = core.store.update_outbox(file.id, change).await {
                tracing::warn!("cannot record an abandoned file: {error}");
            }
            core.listing.touch();
        });
    }

    /// Makes what was written durable on the local disk, as `fsync` of a draft means.
    ///
    /// # Errors
    /// The disk's.
    pub async fn sync_spool(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        sender::sync_spool(file).await
    }

    /// Returns how many bytes the disk of the staged files has, and how many are free for us.
    ///
    /// # Errors
    /// The disk's.
    pub fn space(&self) -> Result<(u64, u64), MailboxError> {
        let stat = nix::sys::statvfs::statvfs(&self.core.spool).map_err(|errno| {
            MailboxError::Io { what: "ask for free space", source: errno.into() }
        })?;
        let block = stat.fragment_size();
        Ok((stat.blocks().saturating_mul(block), stat.blocks_available().saturating_mul(block)))
    }

    /// Ends every settle window of ours, as an unmount does: what is Prepared is published at once,
    /// what is closed and not prepared yet (empty files, late stores of a mapping) is sent.
    ///
    /// The settle window of another process's file is not ours to end.
    pub(super) async fn publish_all(&self) {
        let snapshot = self.core.listing.snapshot();
        let ours = || snapshot.outbox_files().filter(|file| self.is_ours(file));
        for file in ours() {
            if file.state() == SendState::Prepared
                && file.queue_place().is_none()
                && let Err(error) = self.publish(file).await
            {
                // It stays in the durable queue: the next start publishes it.
                self.core.record_error(&sender::subject(file), &error);
            }
        }
        // Last, for nobody was promised anything about them, and the time is short.
        for file in ours() {
            if file.state() == SendState::Draft {
                let epoch = file.inner.lock().epoch;
                self.settle(file, epoch).await;
            }
        }
    }
}

fn empty_dir(recipient: &Identity) -> Arc<OutboxDir> {
    Arc::new(OutboxDir { recipient: recipient.clone(), files: std::collections::BTreeMap::new() })
}

fn list(snapshot: &mut super::Snapshot, file: &Arc<OutboxFile>) -> Option<Arc<OutboxFile>> {
    let dir = snapshot
        .outbox
        .entry(file.recipient.dir_name())
        .or_insert_with(|| empty_dir(&file.recipient));
    Arc::make_mut(dir).files.insert(file.name(), Arc::clone(file))
}
