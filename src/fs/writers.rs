//! The writers of empty files, and how they end.
//!
//! A file is watched from the close that leaves it empty: at that moment its process is alive, since
//! it waits for our answer, or is just ending. The kernel reports the ends of processes
//! (`sys/exits.rs`) only while there is a file to watch. `empty.rs` decides; this carries it out.
//!
//! **Must never:** be needed: where ends are not reported, empty files settle as they always did.

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitStatus;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::empty::{EmptyFacts, describe, failed_writer};
use crate::mailbox::{Mailbox, OutboxFile, SendState};
use crate::sys::exits::{Exit, ProcessExits};

/// Most files watched at once: more than one program leaves empty within a settle window.
const WATCH_COUNT_MAX: usize = 4096;

/// Longest time that a file is watched after a close: the draft that a browser keeps for hours beside
/// its download must not cost a wake-up for every process that ends.
const WATCH_TIME_MAX: Duration = Duration::from_mins(1);

/// Most processes remembered for a file: a shell, and commands that have its standard output.
const WRITER_COUNT_MAX: usize = 16;

/// The writers of the empty files of one mount.
pub(crate) struct Writers {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    mailbox: Mailbox,
    stop: CancellationToken,
    watch: Mutex<Watch>,
}

#[derive(Default)]
struct Watch {
    files: BTreeMap<i64, Watched>,
    ends: Ends,
}

/// Where the ends of processes come from.
#[derive(Default)]
enum Ends {
    /// There was nothing to watch.
    #[default]
    Unasked,
    /// The kernel reports them.
    Reported,
    /// The kernel does not report them to us.
    Unreported,
}

struct Watched {
    file: Weak<OutboxFile>,
    /// Processes that have closed it and run; the last one is the newest.
    running: VecDeque<u32>,
    failure: Option<ExitStatus>,
    is_time_set: bool,
    since: Instant,
}

impl Writers {
    /// Watches nothing yet; `tasks` has the task that listens, which ends with `stop`.
    pub(crate) fn new(mailbox: Mailbox, stop: CancellationToken, tasks: TaskTracker) -> Self {
        let shared = Shared { mailbox, stop, watch: Mutex::default() };
        Self { shared: Arc::new(shared), tasks }
    }

    /// Notes which process closes a file that is empty; to be called before its close is answered.
    pub(crate) fn note_close(&self, file: &Arc<OutboxFile>, process: Option<u32>) {
        let mut watch = self.shared.watch.lock();
        self.listen(&mut watch);
        let Some(process) = process.filter(|_process| matches!(watch.ends, Ends::Reported)) else {
            return;
        };
        if let Some(watched) = watch.entry(file) {
            watched.note_running(process);
        }
    }

    /// Notes that a program has set the time of a file.
    pub(crate) fn note_time_set(&self, file: &Arc<OutboxFile>) {
        if !may_fail(file) {
            return;
        }
        if let Some(watched) = self.shared.watch.lock().entry(file) {
            watched.is_time_set = true;
        }
    }

    /// Forgets what is known of a file that is opened again, or has content.
    pub(crate) fn forget(&self, file: &OutboxFile) {
        self.shared.watch.lock().files.remove(&file.id());
    }

    /// Gives a file up if a writer of it has failed; to be called when its last handle is released.
    pub(crate) fn judge(&self, file: &Arc<OutboxFile>) {
        self.shared.judge(file);
    }

    fn listen(&self, watch: &mut Watch) {
        if !matches!(watch.ends, Ends::Unasked) || self.shared.stop.is_cancelled() {
            return;
        }
        watch.ends = match ProcessExits::listen() {
            Ok(exits) => {
                let shared = Arc::clone(&self.shared);
                self.tasks.spawn(async move { shared.follow(&exits).await });
                Ends::Reported
            }
            Err(error) => {
                tracing::debug!("the ends of writers are not known: {error}");
                Ends::Unreported
            }
        };
    }
}

impl Shared {
    /// Takes ends as they come, until there is nothing left to watch, or the mount ends: then what
    /// has come so far still counts.
    async fn follow(&self, exits: &ProcessExits) {
        loop {
            let is_over = tokio::select! {
                biased;
                () = self.stop.cancelled() => true,
                arrived = exits.on_arrival(|| self.take(exits)) => arrived.is_err(),
            };
            if is_over {
                self.take(exits);
            }
            let mut watch = self.watch.lock();
            watch.forget_settled();
            if is_over || watch.files.is_empty() {
                watch.ends = Ends::Unasked;
                return;
            }
        }
    }

    fn take(&self, exits: &ProcessExits) {
        while let Some(exit) = exits.take() {
            let closed = self.watch.lock().note_end(exit);
            for file in closed {
                self.judge(&file);
            }
        }
    }

    fn judge(&self, file: &Arc<OutboxFile>) {
        let failed = {
            let mut watch = self.watch.lock();
            let Some(watched) = watch.files.get(&file.id()) else { return };
            let failed = failed_writer(watched.facts(file));
            if failed.is_some() {
                watch.files.remove(&file.id());
            }
            failed
        };
        if let Some(status) = failed {
            self.mailbox.outbox().abandon_empty(file, &describe(status));
        }
    }
}

impl Watch {
    fn entry(&mut self, file: &Arc<OutboxFile>) -> Option<&mut Watched> {
        if self.files.len() >= WATCH_COUNT_MAX {
            self.forget_settled();
        }
        if self.files.len() >= WATCH_COUNT_MAX && !self.files.contains_key(&file.id()) {
            return None;
        }
        Some(self.files.entry(file.id()).or_insert_with(|| Watched {
            file: Arc::downgrade(file),
            running: VecDeque::new(),
            failure: None,
            is_time_set: false,
            since: Instant::now(),
        }))
    }

    /// Notes how a process has ended; returns the files that it had closed, if it failed.
    fn note_end(&mut self, exit: Exit) -> Vec<Arc<OutboxFile>> {
        let mut failed = Vec::new();
        for watched in self.files.values_mut() {
            let Some(at) = watched.running.iter().position(|&process| process == exit.process)
            else {
                continue;
            };
            watched.running.remove(at);
            if !exit.status.success() {
                watched.failure = Some(exit.status);
                failed.extend(watched.file.upgrade());
            }
        }
        failed
    }

    fn forget_settled(&mut self) {
        self.files.retain(|_, watched| {
            watched.since.elapsed() < WATCH_TIME_MAX
                && watched.file.upgrade().is_some_and(|file| may_fail(&file))
        });
    }
}

impl Watched {
    fn note_running(&mut self, process: u32) {
        self.since = Instant::now();
        self.running.retain(|&known| known != process);
        if self.running.len() == WRITER_COUNT_MAX {
            self.running.pop_front();
        }
        self.running.push_back(process);
    }

    fn facts(&self, file: &OutboxFile) -> EmptyFacts {
        EmptyFacts {
            failure: self.failure,
            is_time_set: self.is_time_set,
            state: file.state(),
            len: file.len(),
            writer_count: file.writer_count(),
            is_unlinked: file.is_unlinked(),
        }
    }
}

/// Returns whether the end of a writer may still decide about the file.
fn may_fail(file: &OutboxFile) -> bool {
    file.state() == SendState::Draft && file.len() == 0 && !file.is_unlinked()
}
