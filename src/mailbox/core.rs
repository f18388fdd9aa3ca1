//! What all parts of a mailbox share.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::MailboxError;
use super::discover::Rejected;
use super::inbox::{Fetcher, Turns, Verified};
use super::options::MailboxOptions;
use super::snapshot::{ErrorLine, Listing};
use crate::cache::ChunkCache;
use crate::protocol::{Digest, ErrorClass, Timestamp};
use crate::registry::Repository;
use crate::store::{ErrorEntry, Store};
use crate::sys::{Clock, Untrusted};
use crate::trust::{SigningKey, TrustStore};

/// Most error lines kept for `.dockercomms/errors`.
const ERROR_LINES_MAX: usize = 200;

/// Where the current trust store comes from; asked before every verification, so that a change
/// takes effect while mounted.
pub trait TrustSource: Send + Sync + 'static {
    /// Returns the trust store as it is now.
    ///
    /// # Errors
    /// When it cannot be read; nothing is verified then.
    fn current(&self) -> Result<Arc<TrustStore>, MailboxError>;
}

/// What a mailbox is made of.
pub struct MailboxParts {
    /// The repository, already wrapped in retries with their deadline.
    pub repository: Arc<dyn Repository>,
    /// The durable state.
    pub store: Store,
    /// The cache of verified chunks.
    pub cache: ChunkCache,
    /// My signing key.
    pub key: SigningKey,
    /// Whom I trust.
    pub trust: Arc<dyn TrustSource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Directory of staged files; created with mode 0700.
    pub spool: PathBuf,
    /// The behaviour.
    pub options: MailboxOptions,
    /// Whether this process may take over what an earlier run left; false beside a mount.
    pub recover: bool,
}

/// The parts, and what belongs to all of them.
pub(crate) struct Core {
    pub(crate) repository: Arc<dyn Repository>,
    pub(crate) store: Store,
    pub(crate) cache: ChunkCache,
    pub(crate) key: SigningKey,
    pub(crate) trust: Arc<dyn TrustSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: MailboxOptions,
    pub(crate) listing: Listing,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) verified: Verified,
    /// Bundles that need no second look while a search goes on.
    pub(super) rejected: Rejected,
    /// Which settled tags are looked at next (P25).
    pub(crate) turns: Turns,
    /// Held by the one poll that is under way.
    pub(crate) polling: tokio::sync::Mutex<()>,
    /// Held by whoever pushes receipts.
    pub(crate) receipting: tokio::sync::Mutex<()>,
    pub(crate) receipt_polls: AtomicU64,
    /// The database's version when its listings were last read.
    pub(crate) data_version: AtomicI64,
    /// The latest time seen, in Unix seconds.
    latest: AtomicI64,
    trust_polled: Mutex<Option<Digest>>,
    trust_receipted: Mutex<Option<Digest>>,
    trust_listed: Mutex<Option<Digest>>,
    trust_loaded: Mutex<Option<Digest>>,
    pub(crate) health: Mutex<Health>,
    pub(crate) blobs_fetched: AtomicU64,
    pub(crate) blob_bytes_fetched: AtomicU64,
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
}

/// How the registry answered last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    pub(crate) last_success: Option<Timestamp>,
    pub(crate) last_error: Option<String>,
}

impl Core {
    pub(crate) fn new(parts: MailboxParts) -> Self {
        Self {
            fetcher: Arc::new(Fetcher::new()),
            verified: Verified::default(),
            rejected: Rejected::default(),
            turns: Turns::default(),
            polling: tokio::sync::Mutex::default(),
            receipting: tokio::sync::Mutex::default(),
            receipt_polls: AtomicU64::new(0),
            data_version: AtomicI64::new(0),
            latest: AtomicI64::new(0),
            trust_polled: Mutex::default(),
            trust_receipted: Mutex::default(),
            trust_listed: Mutex::default(),
            trust_loaded: Mutex::default(),
            repository: parts.repository,
            store: parts.store,
            cache: parts.cache,
            key: parts.key,
            trust: parts.trust,
            clock: parts.clock,
            options: parts.options,
            listing: Listing::new(),
            health: Mutex::default(),
            blobs_fetched: AtomicU64::new(0),
            blob_bytes_fetched: AtomicU64::new(0),
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

    /// Returns the time by this machine's clock, for what is written down.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// Returns the latest time that this state has ever seen, for what expires: a clock that was
    /// set back revives nothing.
    pub(crate) fn latest(&self) -> Timestamp {
        let now = self.now();
        let before = self.latest.fetch_max(now.unix_secs(), Ordering::Relaxed);
        now.max(Timestamp::from_unix_secs(before))
    }

    /// Makes [`Core::latest`] outlive this process, and takes over what an earlier one saw.
    pub(crate) async fn keep_latest(&self) -> Result<(), MailboxError> {
        let kept = self.store.raise_clock(self.latest()).await?;
        self.latest.fetch_max(kept.unix_secs(), Ordering::Relaxed);
        Ok(())
    }

    /// Returns whether the trust store differs from the one of the last poll.
    pub(crate) fn trust_changed(&self, trust: &TrustStore) -> bool {
        changed(&self.trust_polled, trust)
    }

    /// Returns whether the trust store differs from the one under which `inbox/` was last listed.
    pub(crate) fn loaded_trust_changed(&self, trust: &TrustStore) -> bool {
        changed(&self.trust_loaded, trust)
    }

    /// Returns whether the trust store differs from the one receipts were last judged by.
    pub(crate) fn receipt_trust_changed(&self, trust: &TrustStore) -> bool {
        changed(&self.trust_receipted, trust)
    }

    /// Returns whether the trust store differs from the one whose people `outbox/` lists.
    pub(crate) fn trusted_recipients_changed(&self, trust: &TrustStore) -> bool {
        changed(&self.trust_listed, trust)
    }

    /// Notes how the registry answered a poll.
    pub(crate) fn note_health(&self, error: Option<&MailboxError>) {
        let mut health = self.health.lock();
        match error {
            None => *health = Health { last_success: Some(self.now()), last_error: None },
            Some(error) => health.last_error = Some(describe(error)),
        }
    }

    /// Records why a poll failed, once for each run of the same failure.
    pub(crate) fn record_poll_error(self: &Arc<Self>, error: &MailboxError) {
        let text = describe(error);
        let repeated = self.listing.snapshot().errors.last().is_some_and(|line| line.text == text);
        if !repeated {
            self.record_error("inbox", error);
        }
    }

    /// Records an error unless the same one about the same subject is shown already.
    pub(crate) fn record_once(self: &Arc<Self>, subject: &str, error: &MailboxError) {
        let snapshot = self.listing.snapshot();
        let mut lines = snapshot.errors.iter();
        if !lines.any(|line| line.code == error.code() && line.subject == subject) {
            self.record_error(subject, error);
        }
    }

    /// Remembers an error for `.dockercomms/errors`, in memory at once and on disk soon after.
    pub(crate) fn record_error(self: &Arc<Self>, subject: &str, error: &MailboxError) {
        let class = error.class();
        if class == ErrorClass::Interrupted {
            return;
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
        let core = Arc::clone(self);
        self.spawn(async move {
            // A full disk must not keep the error from being shown; it is in memory already.
            let entry = ErrorEntry {
                at: line.at,
                code: line.code,
                subject: line.subject,
                text: line.text,
                hint: line.hint,
            };
            core.store.record_error(entry).await.ok();
        });
    }
}

fn changed(last: &Mutex<Option<Digest>>, trust: &TrustStore) -> bool {
    let now = trust.version();
    last.lock().replace(now) != Some(now)
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
