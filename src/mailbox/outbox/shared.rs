//! The outbox and what its parts share: staging area, uploads, queue, and the signal that wakes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::known::Known;
use super::queue::Queue;
use super::upload_pool::UploadPool;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::entry::EntryPath;
use crate::mailbox::options::Delivery;
use crate::mailbox::reading::Reading;
use crate::mailbox::staged::{OutboxFile, StagingArea};
use crate::mailbox::trust_mark::TrustMark;
use crate::protocol::{Identity, SessionId, Timestamp};

/// What I send.
#[derive(Clone)]
pub struct Outbox {
    pub(super) core: Arc<Core>,
    pub(super) shared: Arc<Shared>,
}

/// Work that a part of the outbox has found for the lanes.
pub(super) enum Wake {
    /// The queue of this file's recipient may have something to send.
    Lane(Identity),
    /// The tag of this file is to be published.
    Publish(Arc<OutboxFile>),
}

/// What the parts of the outbox share.
pub(super) struct Shared {
    pub(super) area: Arc<StagingArea>,
    pub(super) reading: Arc<Reading>,
    /// The trust store whose senders `outbox/` lists.
    pub(super) trust_listed: TrustMark,
    /// The names that need no form as recipients.
    pub(super) known: Known,
    /// Whether this process takes over what an earlier run staged and left; false beside a mount.
    pub(super) owns_leftovers: bool,
    pub(super) session: SessionId,
    pub(super) uploads: UploadPool,
    pub(super) queue: Queue,
    on_wake: fn(&Outbox, Wake),
    /// Rows that were damaged when they were last read.
    damaged_count: AtomicUsize,
    /// Whether a file that another process has sent could not be listed yet.
    is_behind: AtomicBool,
}

impl Outbox {
    /// Returns the outbox over `area`; `on_wake` does the work that its parts find.
    pub(super) fn over(
        core: Arc<Core>,
        reading: Arc<Reading>,
        area: Arc<StagingArea>,
        owns_leftovers: bool,
        on_wake: fn(&Self, Wake),
    ) -> Self {
        let shared = Shared {
            area,
            reading,
            trust_listed: TrustMark::default(),
            known: Known::default(),
            owns_leftovers,
            session: SessionId::from_uuid(uuid::Uuid::new_v4()),
            uploads: UploadPool::new(core.options.uploads_max),
            queue: Queue::new(),
            on_wake,
            damaged_count: AtomicUsize::new(0),
            is_behind: AtomicBool::new(false),
        };
        Self { core, shared: Arc::new(shared) }
    }

    /// Signals that there is work, which ends at once or continues in the background.
    pub(super) fn wake(&self, wake: Wake) {
        (self.shared.on_wake)(self, wake);
    }

    /// Wakes every lane of the queue.
    pub(super) fn wake_lanes(&self) {
        for recipient in self.shared.queue.recipients() {
            self.wake(Wake::Lane(recipient));
        }
    }

    /// Returns whether a file stays local there.
    pub fn is_temporary(&self, path: &EntryPath) -> bool {
        path.directory().is_some() || self.core.options.is_temporary(path.file_name().as_str())
    }

    /// Returns what the close of `file` waits for.
    pub fn delivery_of(&self, file: &OutboxFile) -> Delivery {
        self.core.options.delivery_for(file.recipient())
    }

    /// Returns whether the staged file belongs to this process.
    pub(super) fn is_ours(&self, file: &OutboxFile) -> bool {
        file.is_ours(self.shared.owns_leftovers)
    }

    /// Returns where files are staged.
    pub(in crate::mailbox) fn area(&self) -> &StagingArea {
        &self.shared.area
    }

    /// Returns how many bytes the disk of the staged files has, and how many are free for us.
    ///
    /// # Errors
    /// The disk's.
    pub fn space(&self) -> Result<(u64, u64), MailboxError> {
        let stat = rustix::fs::statvfs(self.shared.area.dir()).map_err(|errno| {
            MailboxError::Io { what: "determine the free space", source: errno.into() }
        })?;
        let block = stat.f_frsize;
        Ok((stat.f_blocks.saturating_mul(block), stat.f_bavail.saturating_mul(block)))
    }

    /// Notes that the registry answers again: lanes that wait for it try at once.
    pub(in crate::mailbox) fn registry_answers(&self) {
        self.shared.queue.note_change();
    }

    /// Returns how often the login or the registry's health has changed.
    pub(in crate::mailbox) fn change_count(&self) -> u64 {
        self.shared.queue.change_count()
    }

    /// Returns when the next pause of the queue ends; `None` when no lane waits.
    pub(in crate::mailbox) fn next_attempt(&self) -> Option<Timestamp> {
        self.shared.queue.next_attempt()
    }

    /// Returns how many rows were damaged when they were last read.
    pub(in crate::mailbox) fn damaged_count(&self) -> usize {
        self.shared.damaged_count.load(Ordering::Relaxed)
    }

    pub(super) fn set_damaged_count(&self, count: usize) {
        self.shared.damaged_count.store(count, Ordering::Relaxed);
    }

    /// Returns whether a file that another process has sent could not be listed yet.
    pub(in crate::mailbox) fn is_behind(&self) -> bool {
        self.shared.is_behind.load(Ordering::Relaxed)
    }

    pub(super) fn set_behind(&self, is_behind: bool) {
        self.shared.is_behind.store(is_behind, Ordering::Relaxed);
    }

    /// Returns what the uploads share, to count their work.
    #[cfg(test)]
    pub(in crate::mailbox) fn uploads(&self) -> &UploadPool {
        &self.shared.uploads
    }

    /// Returns the queue, to change it behind the back of the outbox.
    #[cfg(test)]
    pub(in crate::mailbox) fn queue(&self) -> &Queue {
        &self.shared.queue
    }
}
