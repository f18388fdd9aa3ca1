//! What all parts of a mailbox share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::MailboxError;
use super::options::MailboxOptions;
use super::parts::{MailboxParts, TrustSource};
use super::snapshot::{ErrorLine, Listing};
use crate::protocol::{ErrorClass, Timestamp};
use crate::registry::Repository;
use crate::store::{ErrorEntry, Store};
use crate::sys::{Clock, Untrusted};
use crate::trust::SigningKey;

/// Most error lines kept for `.dockercomms/errors`.
const ERROR_LINES_MAX: usize = 200;

/// The parts, and what belongs to all of them.
pub(crate) struct Core {
    pub(crate) repository: Arc<dyn Repository>,
    pub(crate) store: Store,
    pub(crate) key: SigningKey,
    pub(crate) trust: Arc<dyn TrustSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: MailboxOptions,
    pub(crate) listing: Listing,
    /// The latest time seen, in Unix seconds.
    latest: AtomicI64,
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
}

impl Core {
    pub(crate) fn new(parts: MailboxParts) -> Self {
        Self {
            latest: AtomicI64::new(0),
            repository: parts.repository,
            store: parts.store,
            key: parts.key,
            trust: parts.trust,
            clock: parts.clock,
            options: parts.options,
            listing: Listing::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Runs `task` in the background; [`Core::join`] waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Waits for all background tasks.
    pub(crate) async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits until no background task runs, without refusing new ones.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn idle(&self) {
        while !self.tasks.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Returns the time by this machine's clock, for timestamps that are recorded.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// Returns the latest time that this state has ever seen, for expiry: setting the clock back
    /// revives nothing.
    pub(crate) fn latest(&self) -> Timestamp {
        let now = self.now();
        let before = self.latest.fetch_max(now.unix_secs(), Ordering::Relaxed);
        now.max(Timestamp::from_unix_secs(before))
    }

    /// Makes [`Core::latest`] outlive this process, and adopts what an earlier process saw.
    pub(crate) async fn keep_latest(&self) -> Result<(), MailboxError> {
        let kept = self.store.raise_clock(self.latest()).await?;
        self.latest.fetch_max(kept.unix_secs(), Ordering::Relaxed);
        Ok(())
    }

    /// Records an error unless the newest line says the same: once per run of the same failure.
    pub(crate) fn record_unless_repeated(self: &Arc<Self>, subject: &str, error: &MailboxError) {
        let text = describe(error);
        let repeated = self.listing.snapshot().errors.last().is_some_and(|line| line.text == text);
        if !repeated {
            self.record_error(subject, error);
        }
    }

    /// Records an error unless a line with its code is already about `subject`.
    pub(crate) fn record_once(self: &Arc<Self>, subject: &str, error: &MailboxError) {
        let (code, escaped) = (error.code(), Untrusted(subject).to_string());
        let snapshot = self.listing.snapshot();
        if !snapshot.errors.iter().any(|line| line.code == code && line.subject == escaped) {
            self.record_error(subject, error);
        }
    }

    /// Remembers an error for `.dockercomms/errors`, in memory at once and on disk soon after.
    pub(crate) fn record_error(self: &Arc<Self>, subject: &str, error: &MailboxError) {
        let Some(entry) = self.show_error(subject, error) else { return };
        let core = Arc::clone(self);
        self.spawn(async move {
            // A full disk must not keep the error from being shown; it is already in memory.
            core.store.record_error(entry).await.ok();
        });
    }

    /// As [`Core::record_error`]; on disk too when this returns, unless the disk is full.
    pub(crate) async fn record_error_durably(&self, subject: &str, error: &MailboxError) {
        if let Some(entry) = self.show_error(subject, error) {
            self.store.record_error(entry).await.ok();
        }
    }

    /// Adds a line to the listed errors; returns its row.
    fn show_error(&self, subject: &str, error: &MailboxError) -> Option<ErrorEntry> {
        let class = error.class();
        if class == ErrorClass::Interrupted {
            return None;
        }
        let line = ErrorLine {
            at: self.now(),
            code: error.code().to_owned(),
            subject: Untrusted(subject).to_string(),
            text: describe(error),
            hint: error.hint(),
        };
        tracing::warn!(code = %line.code, subject = %line.subject, "{}", line.text);
        self.listing.update(|snapshot| {
            let lines = Arc::make_mut(&mut snapshot.errors);
            if lines.len() >= ERROR_LINES_MAX {
                lines.remove(0);
            }
            lines.push(line.clone());
        });
        Some(ErrorEntry {
            at: line.at,
            code: line.code,
            subject: line.subject,
            text: line.text,
            hint: line.hint,
        })
    }
}

/// Writes an error and its causes on one line, escaped.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    Untrusted(&text).to_string()
}
