//! What must survive: the outbox, the index of the inbox, receipts, quarantine, the last errors.
//!
//! One SQLite database (`state.db`, WAL, `synchronous=FULL`) in the state directory. One thread
//! owns the connection; callers send it closures over a bounded channel and await the answers, so
//! no runtime thread blocks on `fsync`. A write that returned is durable; one whose future was
//! dropped may still happen, completely or not at all. Text from peers is kept raw and must be
//! escaped for display. Losing the database loses mail, so a damaged one is refused and never
//! reset; if only a row of the outbox has changed (`checksum.rs`), only that row is refused.
//! Start at [`Store`]; the tables are in `migrations/`.
//!
//! **Invariant:** a digest that was once admitted stays admitted, under the same name, for as long
//! as it could be admitted again.

mod checksum;
mod connection;
mod error;
mod history;
mod inbox;
mod journal;
mod outbox;
mod presence;
mod probe;
mod quarantine;
mod receipt;
mod row;
mod seen;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

pub use error::StoreError;
pub use history::{PurgedRows, Withdrawal};
pub use inbox::{Admission, InboxEntry, NewInbox};
pub use journal::{ERROR_COUNT_MAX, ErrorEntry};
pub use outbox::{
    NewOutbox, OutboxChange, OutboxEntry, OutboxRows, OutboxState, PreparedMessage, StoredError,
};
pub use presence::{Finding, PUT_BACK_COUNT_MAX, PresenceRecord, Standing, Unconfirmed};
pub use quarantine::{QUARANTINE_COUNT_MAX, QuarantineEntry};
pub use receipt::{
    NewQueuedReceipt, QueuedReceipt, RECEIPTS_PER_MESSAGE_MAX, ReceiptDirection, ReceiptEntry,
};
pub use seen::{SEEN_COUNT_MAX, SeenTag, SeenVerdict};

use crate::sys::crash;
use crate::sys::durable::FileLock;

/// Most operations that wait for the thread; further callers wait for capacity.
const JOB_COUNT_MAX: usize = 64;

/// The lock file's name in the state directory.
const LOCK_NAME: &str = "lock";

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The local state; clones share one connection.
///
/// Opening starts a thread, so a daemon opens it after it has forked. Dropping the last clone
/// finishes what is queued and closes the database, which takes milliseconds.
#[derive(Debug, Clone)]
pub struct Store {
    worker: Arc<Worker>,
}

impl Store {
    /// Opens the state in `state_dir`, creating the directory (mode 0700) and an empty database
    /// when there are none.
    ///
    /// Several processes may have it open; one that must be alone takes [`Store::lock`] first.
    ///
    /// # Errors
    /// A damaged, foreign or newer database is refused and left as it is.
    pub async fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let (worker, opened) = Worker::start(state_dir)?;
        opened.await.map_err(|_source| StoreError::Stopped)??;
        Ok(Self { worker: Arc::new(worker) })
    }

    /// Takes the state directory for this process alone, until the lock is dropped.
    ///
    /// Two mounts, or a mount and another sending process, must not work on one outbox. The lock
    /// ends with the process, so a crash leaves nothing to clean up.
    ///
    /// # Errors
    /// [`StoreError::Locked`] names the process that holds it.
    pub fn lock(state_dir: &Path) -> Result<FileLock, StoreError> {
        connection::prepare_dir(state_dir)?;
        FileLock::try_acquire(&state_dir.join(LOCK_NAME))?.map_err(|pid| StoreError::Locked { pid })
    }

    /// Returns a number that changes whenever another process changed the database.
    ///
    /// Our own changes do not affect it. Costs microseconds.
    pub async fn data_version(&self) -> Result<i64, StoreError> {
        self.read(|connection| {
            Ok(connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
        })
        .await
    }

    /// Runs `job` on the thread, outside any transaction: for one statement that only reads.
    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.worker.call(move |connection| job(connection)).await
    }

    /// Runs `job` on the thread in one transaction, which is durable when this returns.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.worker
            .call(move |connection| {
                // Taking the write lock first makes waiting for another process safe: a read that
                // turns into a write could only fail.
                let behavior = TransactionBehavior::Immediate;
                let transaction = connection.transaction_with_behavior(behavior)?;
                let value = job(&transaction)?;
                crash::point!("store.write.uncommitted");
                transaction.commit()?;
                crash::point!("store.write.committed");
                Ok(value)
            })
            .await
    }
}

/// The thread that owns the connection, joined when the last handle goes.
#[derive(Debug)]
struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    state_dir: Arc<Path>,
}

impl Worker {
    fn start(
        state_dir: &Path,
    ) -> Result<(Self, oneshot::Receiver<Result<(), StoreError>>), StoreError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(JOB_COUNT_MAX);
        let (reply, opened) = oneshot::channel();
        let state_dir: Arc<Path> = state_dir.into();
        let dir = Arc::clone(&state_dir);
        let run = move || {
            let mut connection = match connection::open(&dir) {
                Ok(connection) => connection,
                Err(error) => {
                    reply.send(Err(probe::explain(error, &dir))).ok();
                    return;
                }
            };
            reply.send(Ok(())).ok();
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(run)?;
        Ok((Self { jobs: Some(jobs), thread: Some(thread), state_dir }, opened))
    }

    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let state_dir = Arc::clone(&self.state_dir);
        let job: Job = Box::new(move |connection| {
            let result = job(connection).map_err(|error| probe::explain(error, &state_dir));
            // A caller that has gone does not need the answer; the job is done anyway.
            reply.send(result).ok();
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Stopped)?;
        jobs.send(job).await.map_err(|_source| StoreError::Stopped)?;
        answer.await.map_err(|_source| StoreError::Stopped)?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing the channel ends the loop once the queue is empty.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was seen by its caller as `Stopped`.
            thread.join().ok();
        }
    }
}
