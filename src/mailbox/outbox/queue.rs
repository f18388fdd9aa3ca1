//! Queued delivery: files whose close has returned, on their way in the background.
//!
//! Each recipient has a lane. A lane sends its files in the order in which they were closed: it
//! prepares several at once, but publishes them one after the other, and a file that must wait
//! holds up those behind it. The rows are the queue; what is in memory can be built from them.
//! Start at [`Outbox::enqueue`]; a lane at work is in `lane.rs`.
//!
//! **Invariant:** a row says `queued` only while the staged file is complete and nobody may write
//! to it, so a crash at any moment delivers what was closed, and never half of something newer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use super::file::OutboxFile;
use super::lane::start_lane;
use super::state::{Event, SendState};
use super::{Outbox, replace, sender};
use crate::mailbox::core::Core;
use crate::mailbox::options::Delivery;
use crate::mailbox::{MailboxError, Snapshot};
use crate::protocol::{Identity, MessageId, Timestamp};
use crate::store::{OutboxChange, OutboxState};

/// Files that all lanes together prepare at once; the chunks in memory are bounded elsewhere.
const PREPARE_COUNT_MAX: usize = 8;

/// Files that a lane takes from the queue at once.
const BATCH_COUNT_MAX: usize = 64;

/// All lanes, and what wakes them.
pub(crate) struct Queue {
    lanes: Mutex<HashMap<Identity, Lane>>,
    pub(super) preparing: Semaphore,
    /// Ends pauses that are only our own guess.
    pub(super) registry_answers: Notify,
    /// Ends all pauses: a person asks.
    pub(super) asked: Notify,
    /// Lanes that are sending, and not those that pause.
    pub(super) busy_count: watch::Sender<usize>,
    /// When the next pause ends.
    pub(super) next_attempt: Mutex<Option<Timestamp>>,
}

/// The queue of one recipient.
#[derive(Default)]
struct Lane {
    files: BTreeMap<i64, Arc<OutboxFile>>,
    is_running: bool,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            lanes: Mutex::default(),
            preparing: Semaphore::new(PREPARE_COUNT_MAX),
            registry_answers: Notify::new(),
            asked: Notify::new(),
            busy_count: watch::Sender::new(0),
            next_attempt: Mutex::new(None),
        }
    }

    pub(super) fn insert(&self, place: i64, file: &Arc<OutboxFile>) {
        let mut lanes = self.lanes.lock();
        lanes.entry(file.recipient.clone()).or_default().files.insert(place, Arc::clone(file));
    }

    /// Takes `file` out of its place, which may be another one's by now: a place is free again
    /// once the row of the file that had it says that it was sent.
    pub(in crate::mailbox) fn forget(&self, file: &OutboxFile, place: i64) {
        if let Some(lane) = self.lanes.lock().get_mut(&file.recipient)
            && lane.files.get(&place).is_some_and(|known| known.id == file.id)
        {
            lane.files.remove(&place);
        }
    }

    fn file(&self, recipient: &Identity, place: i64) -> Option<Arc<OutboxFile>> {
        self.lanes.lock().get(recipient)?.files.get(&place).cloned()
    }

    fn recipients(&self) -> Vec<Identity> {
        self.lanes.lock().keys().cloned().collect()
    }

    /// Lets lanes try at once that wait because the registry did not answer.
    pub(crate) fn registry_answers(&self) {
        self.registry_answers.notify_waiters();
    }

    /// Lets every lane try at once.
    pub(super) fn hurry(&self) {
        self.asked.notify_waiters();
    }

    /// Returns when the next pause ends; `None` when no lane waits.
    pub(crate) fn next_attempt(&self) -> Option<Timestamp> {
        *self.next_attempt.lock()
    }

    /// Takes the files that may be sent now, in order; ends the lane when there are none.
    pub(super) fn take_batch(&self, recipient: &Identity) -> Vec<Arc<OutboxFile>> {
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.get_mut(recipient) else { return Vec::new() };
        let batch = lane.due();
        lane.is_running = !batch.is_empty();
        if lane.files.is_empty() {
            lanes.remove(recipient);
        }
        batch
    }

    /// Marks the lane as running; false when it is already, or has nothing to send.
    pub(super) fn begin(&self, recipient: &Identity) -> bool {
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.get_mut(recipient) else { return false };
        if lane.is_running || lane.due().is_empty() {
            return false;
        }
        lane.is_running = true;
        true
    }
}

impl Lane {
    /// Returns the first files that may be sent now.
    ///
    /// One whose settle window is open holds up those behind it, for half a second. One that is
    /// still held open for writing does not: nobody knows for how long.
    fn due(&self) -> Vec<Arc<OutboxFile>> {
        let mut due = Vec::new();
        for file in self.files.values() {
            let inner = file.inner.lock();
            let waits = matches!(inner.state, SendState::Queued | SendState::Prepared);
            if inner.writers > 0 || !waits {
                continue;
            }
            if !inner.is_settled || due.len() == BATCH_COUNT_MAX {
                break;
            }
            due.push(Arc::clone(file));
        }
        due
    }
}

impl Outbox {
    /// Returns what the close of `file` waits for.
    pub fn delivery_of(&self, file: &OutboxFile) -> Delivery {
        self.core.options.delivery_for(&file.recipient)
    }

    /// Makes the file durable and promises its delivery: after Ok it is sent in the background,
    /// also after a crash. Its message's id is fixed here, its time when the manifest is built.
    ///
    /// # Errors
    /// The disk's. It leaves the file Failed, and is recorded for `.dockercomms/errors`.
    pub async fn enqueue(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        self.enqueue_in(file, false).await
    }

    pub(super) async fn enqueue_in(
        &self,
        file: &Arc<OutboxFile>,
        is_unattended: bool,
    ) -> Result<(), MailboxError> {
        // Until the failure is recorded too: the promise of another close must outlast it.
        let _delivery = file.delivery.lock().await;
        let result = enqueue(&self.core, file).await;
        if let Err(error) = &result {
            self.core.record_error(&sender::subject(file), error);
            sender::fail(&self.core, file, Event::PrepareFailed, error, is_unattended).await;
        }
        self.core.listing.touch();
        result
    }

    /// Tries a failed file again in the background, or one that waits in the queue at once.
    ///
    /// # Errors
    /// `NotPermitted` for a file that was sent, is being written, or was never complete; the
    /// registry's when nobody knows whether the failed attempt has sent it after all.
    pub async fn retry(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        match file.state() {
            // Perhaps a write into it failed, and its writer has yet to say what it makes of that.
            SendState::Failed if file.writer_count() > 0 => {
                return Err(MailboxError::NotPermitted("it is still written to"));
            }
            SendState::Failed => {}
            SendState::Queued | SendState::Preparing | SendState::Prepared => {
                self.core.queue.hurry();
                return Ok(());
            }
            SendState::Sent => return Err(MailboxError::NotPermitted("it was sent already")),
            SendState::Draft => return Err(MailboxError::NotPermitted("it is still written to")),
            SendState::Abandoned => {
                return Err(MailboxError::NotPermitted("it was never complete; copy it again"));
            }
        }
        {
            let _claim = file.claim();
            let _delivery = file.delivery.lock().await;
            if file.state() != SendState::Failed {
                return Err(MailboxError::Busy);
            }
            let is_recovered = file.inner.lock().recovered;
            if !is_recovered
                && !self.is_published(file).await?
                && !sender::is_whole(&self.core, file).await?
            {
                // What was there when it failed may be gone: a registry forgets what nothing names.
                file.unpark(&self.core).await?;
                let mut inner = file.inner.lock();
                inner.chunks.forget_layers();
                inner.prepared = None;
            }
            if let Err(error) = enqueue(&self.core, file).await {
                sender::fail(&self.core, file, Event::PrepareFailed, &error, true).await;
                return Err(error);
            }
        }
        self.core.listing.touch();
        if file.queue_place().is_some() {
            self.settled(file);
            self.core.queue.hurry();
        } else if self.core.recover {
            // All but the tag is there: nothing of it needs the queue.
            self.begin_settling(file);
        }
        Ok(())
    }

    /// Returns whether the tag of the file's message exists, which an attempt that was told of a
    /// failure, or that a crash cut off, may have pushed all the same.
    async fn is_published(&self, file: &OutboxFile) -> Result<bool, MailboxError> {
        let message = file.inner.lock().prepared_message().cloned();
        let Some(message) = message else { return Ok(false) };
        Ok(self.core.repository.resolve_tag(&message.tag).await? == Some(message.digest))
    }

    /// Gives a file up that is not sent, after asking the registry where an earlier attempt may have
    /// delivered it.
    ///
    /// # Errors
    /// `NotPermitted` when it turns out that it was sent; the registry's when that is not known.
    pub async fn cancel(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        let _claim = file.claim();
        let _delivery = file.delivery.lock().await;
        let may_be_tagged = {
            let inner = file.inner.lock();
            inner.recovered || inner.is_tag_tried
        };
        // A crash may have come between the tag and the row, or the answer was lost.
        if file.state() != SendState::Sent && may_be_tagged && self.is_published(file).await? {
            if file.state() == SendState::Failed {
                sender::renew_promise(&self.core, file).await?;
            }
            sender::publish_once(&self.core, file).await?;
            if let Some(place) = file.queue_place() {
                leave(&self.core, file, place);
            }
        }
        if file.state() == SendState::Sent {
            return Err(MailboxError::NotPermitted("it was sent already"));
        }
        self.unlink(file).await?;
        self.unlist(file);
        Ok(())
    }

    /// Returns whether the journal says that the file was sent, whatever became of it since; for
    /// the command line, which sees a mount's files as they were a moment ago.
    ///
    /// # Errors
    /// The database's.
    pub async fn was_sent(&self, file: &OutboxFile) -> Result<bool, MailboxError> {
        let entry = self.core.store.outbox(file.id).await?;
        Ok(entry.is_some_and(|entry| entry.state == OutboxState::Sent))
    }

    /// Takes the note about a failure away; the file stays as it is.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub async fn dismiss_failure(&self, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
        let change = OutboxChange { unattended: Some(false), ..OutboxChange::default() };
        self.core.store.update_outbox(file.id, change).await?;
        file.inner.lock().is_unattended = false;
        self.core.listing.touch();
        Ok(())
    }

    /// Lets the queue send a file whose settle window is over.
    pub(super) fn settled(&self, file: &Arc<OutboxFile>) {
        file.inner.lock().is_settled = true;
        file.park();
        start_lane(&self.core, &file.recipient);
    }

    /// Sends what is queued until nothing is left or the registry does not answer, as an unmount
    /// does; what is left stays in the durable queue.
    pub(in crate::mailbox) async fn drain(&self) {
        for file in self.core.listing.snapshot().outbox_files() {
            if file.is_queued() {
                file.inner.lock().is_settled = true;
            }
        }
        self.start_lanes();
        // Fails only when the sender is gone, which the core holds.
        self.core.queue.busy_count.subscribe().wait_for(|count| *count == 0).await.ok();
    }

    pub(super) fn start_lanes(&self) {
        for recipient in self.core.queue.recipients() {
            start_lane(&self.core, &recipient);
        }
    }
}

/// Makes the row Queued, once. The caller holds `file.delivery`.
async fn enqueue(core: &Arc<Core>, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
    let generation = {
        let inner = file.inner.lock();
        if matches!(inner.state, SendState::Sent | SendState::Queued) {
            return Ok(());
        }
        if inner.recovered && !inner.is_prepared() {
            return Err(MailboxError::NotPermitted("copy the file again"));
        }
        inner.generation
    };
    // Opened again and closed without a change, or only its tag was refused.
    if sender::renew_promise(core, file).await? {
        return Ok(());
    }
    file.unpark(core).await?;
    sender::sync_spool(file).await?;
    let id = MessageId::from_uuid(uuid::Uuid::new_v4());
    let change = {
        let inner = file.inner.lock();
        OutboxChange {
            updated_at: Some(core.now()),
            name: Some(inner.name.as_str().to_owned()),
            len: Some(inner.len),
            mtime: Some(inner.mtime.into()),
            mode: Some(inner.mode),
            message: Some(None),
            message_id: Some(id),
            error: Some(None),
            unattended: Some(false),
            replaces: replace::replaced_rows(&inner.replaced),
            ..OutboxChange::default()
        }
    };
    let place = core.store.enqueue_outbox(file.id, change).await?;
    replace::end_replaced(core, file);
    let (old, is_same) = {
        let mut inner = file.inner.lock();
        inner.reserved_id = Some(id);
        inner.prepared = None;
        inner.is_unattended = false;
        inner.is_settled = false;
        let old = inner.queue_place.replace(place);
        let is_same = inner.generation == generation;
        (old, is_same && file.apply_locked(&mut inner, Event::Enqueued))
    };
    // Lanes are locked before files, never after.
    if let Some(old) = old {
        core.queue.forget(file, old);
    }
    core.queue.insert(place, file);
    if is_same {
        return Ok(());
    }
    // Written meanwhile: this content is not what the caller closed.
    withdraw(core, file).await?;
    Err(MailboxError::Busy)
}

/// Takes a file out of the queue because it is about to change: from here on a crash leaves a
/// draft. The caller holds `file.delivery`.
pub(super) async fn withdraw(core: &Core, file: &OutboxFile) -> Result<(), MailboxError> {
    let (place, is_promised) = {
        let inner = file.inner.lock();
        (inner.queue_place, inner.is_prepared())
    };
    let Some(place) = place else { return Ok(()) };
    // A message that is prepared stays promised until another one takes its place; without one in
    // the queue, a start after a crash does not take what is staged by then for its content.
    let change = OutboxChange {
        updated_at: Some(core.now()),
        state: (!is_promised).then_some(OutboxState::Draft),
        leaves_queue: true,
        ..OutboxChange::default()
    };
    core.store.update_outbox(file.id, change).await?;
    leave(core, file, place);
    Ok(())
}

/// Forgets the file's place in memory.
pub(super) fn leave(core: &Core, file: &OutboxFile, place: i64) {
    let mut inner = file.inner.lock();
    if inner.queue_place == Some(place) {
        inner.queue_place = None;
    }
    drop(inner);
    core.queue.forget(file, place);
}

/// Withdraws a file that changed although it was queued, soon: its writer does not wait.
pub(super) fn demote_soon(core: &Arc<Core>, recipient: &Identity, place: i64) {
    let (task_core, recipient) = (Arc::clone(core), recipient.clone());
    core.spawn(async move {
        let core = task_core;
        let Some(file) = core.queue.file(&recipient, place) else { return };
        let _claim = file.claim();
        let _delivery = file.delivery.lock().await;
        let is_changed = {
            let inner = file.inner.lock();
            inner.state == SendState::Draft && inner.queue_place == Some(place)
        };
        if is_changed && let Err(error) = withdraw(&core, &file).await {
            core.record_error(&sender::subject(&file), &error);
        }
    });
}

/// Returns how many files of the listing wait in the queue.
pub(crate) fn waiting_count(snapshot: &Snapshot) -> usize {
    snapshot.outbox_files().filter(|file| file.is_queued()).count()
}
