//! What a mailbox is put together from.

use std::path::PathBuf;
use std::sync::Arc;

use super::MailboxError;
use super::options::MailboxOptions;
use crate::cache::ChunkCache;
use crate::registry::Repository;
use crate::store::Store;
use crate::sys::Clock;
use crate::trust::{SigningKey, TrustStore};

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

/// Where the current trust store comes from; asked before every verification, so that a change
/// takes effect while mounted.
pub trait TrustSource: Send + Sync + 'static {
    /// Returns the trust store as it is now.
    ///
    /// # Errors
    /// When it cannot be read; nothing is verified then.
    fn current(&self) -> Result<Arc<TrustStore>, MailboxError>;
}
