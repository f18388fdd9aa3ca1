//! The queue of each recipient, in memory: files whose close has returned, in the order of their
//! closes.
//!
//! The rows are the queue; what is here can be rebuilt from them. It sends nothing and wakes no
//! lane: that is `lane.rs`, which a signal reaches through [`Outbox::wake`](super::Outbox).
//!
//! **Lock order:** the lanes are locked before a staged file, never after.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::mailbox::staged::{LeftPlace, OutboxFile, Readiness, assert_no_file_locked};
use crate::protocol::{Identity, MessageId, Timestamp};

/// Files that all lanes together prepare at once; the chunks in memory are bounded elsewhere.
const PREPARE_COUNT_MAX: usize = 8;

/// Files that a lane takes from the queue at once.
const BATCH_COUNT_MAX: usize = 64;

/// All lanes, and what ends their pauses.
pub(in crate::mailbox) struct Queue {
    lanes: Mutex<HashMap<Identity, Lane>>,
    preparing: Semaphore,
    /// Grows when the login or the registry's health has changed: ends pauses that are only our own
    /// estimate.
    changes: watch::Sender<u64>,
    /// Grows when a running lane gets another file.
    arrivals: watch::Sender<u64>,
    /// Held by the one that looks at the login.
    looking: tokio::sync::Mutex<()>,
    /// Grows when a person requests an attempt: ends all pauses.
    requests: watch::Sender<u64>,
    /// Lanes that are sending, and not those that pause.
    busy_count: watch::Sender<usize>,
    /// When the pauses end, by their numbers.
    pauses: Mutex<BTreeMap<u64, Timestamp>>,
    pause_count: AtomicU64,
}

/// A pause that is shown until this is dropped.
pub(super) struct ShownPause<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Drop for ShownPause<'_> {
    fn drop(&mut self) {
        self.queue.pauses.lock().remove(&self.number);
    }
}

/// What was known before an attempt: anything newer ends the pause that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Changes of login or health.
    changes: u64,
    /// Requests of a person.
    requests: u64,
}

/// A file as it was refused: its place, which another one may get, its row, and the message that it
/// was to become, which is another one for each promise.
pub(super) type Postponed = HashSet<(i64, i64, Option<MessageId>)>;

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
            changes: watch::Sender::new(0),
            arrivals: watch::Sender::new(0),
            looking: tokio::sync::Mutex::default(),
            requests: watch::Sender::new(0),
            busy_count: watch::Sender::new(0),
            pauses: Mutex::default(),
            pause_count: AtomicU64::new(0),
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

    /// Notes that the login or the registry's health has changed: what waits is tried at once.
    pub(super) fn note_change(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    /// Returns how many changes were noted.
    pub(in crate::mailbox) fn change_count(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Returns what an attempt that begins now knows of.
    pub(super) fn seen(&self) -> Seen {
        Seen { changes: self.change_count(), requests: *self.requests.borrow() }
    }

    /// Waits until there are changes beyond those that were seen.
    pub(super) async fn changed_since(&self, seen: Seen) {
        self.changes.subscribe().wait_for(|number| *number > seen.changes).await.ok();
    }

    /// Waits until there are requests beyond those that were seen.
    pub(super) async fn asked_since(&self, seen: Seen) {
        self.requests.subscribe().wait_for(|number| *number > seen.requests).await.ok();
    }

    /// Returns how many files came to running lanes.
    pub(super) fn arrival_count(&self) -> u64 {
        *self.arrivals.borrow()
    }

    /// Waits until more than `seen` files have come to running lanes.
    pub(super) async fn arrived_since(&self, seen: u64) {
        self.arrivals.subscribe().wait_for(|number| *number > seen).await.ok();
    }

    /// Waits until no other task looks at the login.
    pub(super) async fn look_alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.looking.lock().await
    }

    /// Ends every pause, also that of an attempt which is under way now and fails.
    pub(in crate::mailbox) fn retry_now(&self) {
        self.requests.send_modify(|number| *number += 1);
    }

    /// Waits until one more file may be prepared; the permit is never refused.
    pub(super) async fn preparing(&self) -> Option<SemaphorePermit<'_>> {
        self.preparing.acquire().await.ok()
    }

    /// Returns when the next pause ends; `None` when no lane waits.
    pub(super) fn next_attempt(&self) -> Option<Timestamp> {
        self.pauses.lock().values().min().copied()
    }

    /// Shows that a pause ends at `at`.
    pub(super) fn show_pause(&self, at: Timestamp) -> ShownPause<'_> {
        let number = self.pause_count.fetch_add(1, Ordering::Relaxed);
        self.pauses.lock().insert(number, at);
        ShownPause { queue: self, number }
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

    /// Takes the files that may be sent now, in order, but for those in `postponed`;
    /// ends the lane, and returns `None`, when there is none at all.
    pub(super) fn take_batch(
        &self,
        recipient: &Identity,
        postponed: &Postponed,
    ) -> Option<Vec<Arc<OutboxFile>>> {
        let mut lanes = self.lanes();
        let lane = lanes.get_mut(recipient)?;
        let batch = lane.due(postponed);
        lane.is_running = !batch.is_empty() || !lane.due(&HashSet::new()).is_empty();
        let is_running = lane.is_running;
        if lane.files.is_empty() {
            lanes.remove(recipient);
        }
        is_running.then_some(batch)
    }

    /// Marks the lane as running; false when it already is, or has nothing to send.
    pub(super) fn begin(&self, recipient: &Identity) -> bool {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.get_mut(recipient) else { return false };
        if lane.is_running {
            self.arrivals.send_modify(|number| *number += 1);
            return false;
        }
        if lane.due(&HashSet::new()).is_empty() {
            return false;
        }
        lane.is_running = true;
        true
    }
}

impl Lane {
    /// Returns the first files that may be sent now, but for those in `postponed`.
    fn due(&self, postponed: &Postponed) -> Vec<Arc<OutboxFile>> {
        let mut due = Vec::new();
        let is_tried = |(place, file): &(&i64, &Arc<OutboxFile>)| {
            postponed.is_empty() || !postponed.contains(&(**place, file.id(), file.message_id()))
        };
        for (_, file) in self.files.iter().filter(is_tried) {
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
