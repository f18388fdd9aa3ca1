//! The queue of each recipient, in memory: files whose close has returned, in the order of their
//! closes.
//!
//! The rows are the queue; what is here can be rebuilt from them. It sends nothing and wakes no
//! lane: that is `lane.rs`, which a signal reaches through [`Outbox::wake`](super::Outbox).
//!
//! **Lock order:** the lanes are locked before a staged file, never after.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

use crate::mailbox::staged::{LeftPlace, OutboxFile, Readiness, assert_no_file_locked};
use crate::protocol::{Identity, Timestamp};

/// Files that all lanes together prepare at once; the chunks in memory are bounded elsewhere.
const PREPARE_COUNT_MAX: usize = 8;

/// Files that a lane takes from the queue at once.
const BATCH_COUNT_MAX: usize = 64;

/// All lanes, and what ends their pauses.
pub(in crate::mailbox) struct Queue {
    lanes: Mutex<HashMap<Identity, Lane>>,
    preparing: Semaphore,
    /// Ends pauses that are only our own estimate.
    answers: Notify,
    /// Ends all pauses: a person requests an attempt.
    asked: Notify,
    /// Lanes that are sending, and not those that pause.
    busy_count: watch::Sender<usize>,
    /// When the next pause ends.
    next_attempt: Mutex<Option<Timestamp>>,
}

/// The queue of one recipient.
#[derive(Default)]
struct Lane {
    files: BTreeMap<i64, Arc<OutboxFile>>,
    is_running: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            lanes: Mutex::default(),
            preparing: Semaphore::new(PREPARE_COUNT_MAX),
            answers: Notify::new(),
            asked: Notify::new(),
            busy_count: watch::Sender::new(0),
            next_attempt: Mutex::new(None),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Identity, Lane>> {
        assert_no_file_locked();
        self.lanes.lock()
    }

    pub(super) fn insert(&self, place: i64, file: &Arc<OutboxFile>) {
        let mut lanes = self.lanes();
        lanes.entry(file.recipient().clone()).or_default().files.insert(place, Arc::clone(file));
    }

    /// Removes `file` from its place, which may be another file's by now: a place is free again
    /// once the row of the file that had it says that it was sent.
    pub(in crate::mailbox) fn remove(&self, file: &OutboxFile, place: i64) {
        if let Some(lane) = self.lanes().get_mut(file.recipient())
            && lane.files.get(&place).is_some_and(|known| known.id() == file.id())
        {
            lane.files.remove(&place);
        }
    }

    /// Takes a file out of the place that it has given up; returns whether it had one.
    pub(super) fn release(&self, file: &OutboxFile, left: LeftPlace) -> bool {
        left.into_place().inspect(|&place| self.remove(file, place)).is_some()
    }

    pub(super) fn file(&self, recipient: &Identity, place: i64) -> Option<Arc<OutboxFile>> {
        self.lanes().get(recipient)?.files.get(&place).cloned()
    }

    pub(super) fn recipients(&self) -> Vec<Identity> {
        self.lanes().keys().cloned().collect()
    }

    /// Wakes lanes that wait because the registry did not answer.
    pub(super) fn registry_answers(&self) {
        self.answers.notify_waiters();
    }

    /// Returns a future that is ready when the registry answers again.
    pub(super) fn answered(&self) -> Notified<'_> {
        self.answers.notified()
    }

    /// Wakes every lane that pauses.
    pub(super) fn retry_now(&self) {
        self.asked.notify_waiters();
    }

    /// Returns a future that is ready when a person requests another attempt.
    pub(super) fn asked(&self) -> Notified<'_> {
        self.asked.notified()
    }

    /// Waits until one more file may be prepared; the permit is never refused.
    pub(super) async fn preparing(&self) -> Option<SemaphorePermit<'_>> {
        self.preparing.acquire().await.ok()
    }

    /// Returns when the next pause ends; `None` when no lane waits.
    pub(super) fn next_attempt(&self) -> Option<Timestamp> {
        *self.next_attempt.lock()
    }

    pub(super) fn set_next_attempt(&self, at: Option<Timestamp>) {
        *self.next_attempt.lock() = at;
    }

    /// Counts a lane that sends.
    pub(super) fn note_busy(&self) {
        self.busy_count.send_modify(|count| *count += 1);
    }

    /// Counts a lane that has ended, or pauses.
    pub(super) fn note_idle(&self) {
        self.busy_count.send_modify(|count| *count -= 1);
    }

    /// Waits until no lane sends.
    pub(super) async fn idle(&self) {
        // Fails only when the sender is gone, which `self` holds.
        self.busy_count.subscribe().wait_for(|count| *count == 0).await.ok();
    }

    /// Takes the files that may be sent now, in order; ends the lane when there are none.
    pub(super) fn take_batch(&self, recipient: &Identity) -> Vec<Arc<OutboxFile>> {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.get_mut(recipient) else { return Vec::new() };
        let batch = lane.due();
        lane.is_running = !batch.is_empty();
        if lane.files.is_empty() {
            lanes.remove(recipient);
        }
        batch
    }

    /// Marks the lane as running; false when it already is, or has nothing to send.
    pub(super) fn begin(&self, recipient: &Identity) -> bool {
        let mut lanes = self.lanes();
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
    fn due(&self) -> Vec<Arc<OutboxFile>> {
        let mut due = Vec::new();
        for file in self.files.values() {
            match file.readiness() {
                Readiness::Absent => {}
                Readiness::Settling => break,
                Readiness::Ready if due.len() == BATCH_COUNT_MAX => break,
                Readiness::Ready => due.push(Arc::clone(file)),
            }
        }
        due
    }
}
