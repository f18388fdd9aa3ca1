//! The parts that a mailbox is built from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::MailboxError;
use super::options::MailboxOptions;
use crate::cache::{CacheLimits, ChunkCache};
use crate::registry::Repository;
use crate::store::Store;
use crate::sys::{Clock, SystemClock, blocking};
use crate::trust::{SigningKey, TrustStore};

/// The parts of a mailbox.
pub struct MailboxParts {
    /// The repository, already wrapped in retries with their deadline.
    pub repository: Arc<dyn Repository>,
    /// The durable state.
    pub store: Store,
    /// The cache of verified chunks.
    pub cache: ChunkCache,
    /// My signing key.
    pub key: SigningKey,
    /// The trust store.
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

impl MailboxParts {
    /// Opens the parts that a directory holds; what is neither given nor in `home` is the default.
    ///
    /// What must not be lost is in `home/state`, staged files included; losing `home/cache` costs
    /// time only. Both are created when they are missing. Each part can be replaced before
    /// [`Mailbox::open`](super::Mailbox::open) takes them. `recover` is set: clear it where another
    /// process may have a mailbox open in `home`.
    ///
    /// # Errors
    /// A damaged, foreign or newer database is refused and left as it is.
    pub async fn open_in(
        home: &Path,
        options: MailboxOptions,
        key: SigningKey,
        repository: Arc<dyn Repository>,
        trust: Arc<dyn TrustSource>,
    ) -> Result<Self, MailboxError> {
        let (state, cache) = (home.join("state"), home.join("cache"));
        let open_cache = move || ChunkCache::open(Some(&cache), None, CacheLimits::default());
        Ok(Self {
            repository,
            store: Store::open(&state).await?,
            cache: blocking::run(open_cache).await?,
            key,
            trust,
            clock: Arc::new(SystemClock),
            spool: state.join("spool"),
            options,
            recover: true,
        })
    }
}

/// Where the current trust store comes from; read before every verification, so that a change takes
/// effect while mounted.
pub trait TrustSource: Send + Sync + 'static {
    /// Returns the current trust store.
    ///
    /// # Errors
    /// When it cannot be read; nothing is verified then.
    fn current(&self) -> Result<Arc<TrustStore>, MailboxError>;
}

/// A trust store that stays as it is, for a program that decides once whom to trust.
#[derive(Debug, Clone, Default)]
pub struct FixedTrust(Arc<TrustStore>);

impl FixedTrust {
    /// Takes the trust store.
    pub fn new(store: TrustStore) -> Self {
        Self(Arc::new(store))
    }
}

impl TrustSource for FixedTrust {
    fn current(&self) -> Result<Arc<TrustStore>, MailboxError> {
        Ok(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Mailbox;
    use crate::registry::memory::MemoryRepository;
    use crate::testing::World;
    use crate::trust::KeyAlgorithm;

    #[tokio::test]
    async fn a_home_without_its_cache_opens_with_everything_that_was_sent() {
        let world = World::new();
        let (mut alice, bob) = world.alice_and_bob().await;
        let sent = alice.send(&bob, "report.pdf", b"the numbers").await.unwrap();

        std::fs::remove_dir_all(alice.home().join("cache")).unwrap();
        alice.restart(&world).await;

        let known = alice.mailbox.sent_messages().await.unwrap();
        assert_eq!(known.iter().map(|m| m.digest.to_string()).collect::<Vec<_>>(), [sent.digest]);
    }

    #[tokio::test]
    async fn a_home_holds_nothing_but_state_and_cache() {
        let home = tempfile::tempdir().unwrap();
        let options = MailboxOptions::new("alice@example.org".parse().unwrap());
        let key = SigningKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (repository, trust) = (MemoryRepository::new(), FixedTrust::default());

        let parts =
            MailboxParts::open_in(home.path(), options, key, Arc::new(repository), Arc::new(trust));
        let mailbox = Mailbox::open(parts.await.unwrap()).await.unwrap();

        let entries = std::fs::read_dir(home.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["cache", "state"]);
        assert!(home.path().join("state/spool").is_dir());
        assert!(mailbox.snapshot().inbox.is_empty());
    }

    #[test]
    fn a_fixed_trust_store_is_never_copied() {
        let trust = FixedTrust::new(TrustStore::default());

        let (first, second) = (trust.current().unwrap(), trust.clone().current().unwrap());

        assert!(Arc::ptr_eq(&first, &second));
    }
}
