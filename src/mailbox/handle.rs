//! The mailbox as a whole: opening it, its background work, shutting it down.
//!
//! Start at [`Mailbox::open`] and [`Mailbox::start`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::MailboxError;
use super::core::Core;
use super::inbox::Inbox;
use super::lifecycle::Watching;
use super::options::MailboxOptions;
use super::outbox::Outbox;
use super::parts::MailboxParts;
use super::reading::Reading;
use super::receipt::{self, Collecting, Giving};
use super::snapshot::{ErrorLine, Snapshot};
use crate::cache::ChunkCache;
use crate::protocol::{Digest, Tag};
use crate::sys::{buffer, durable};

/// Everything that belongs to one person on one repository. Cheap to clone.
///
/// Alice and Bob exchange cards; she sends a file, he reads it, and his receipt comes back. Here
/// they share a directory. For a server, put a
/// [`RemoteRepository`](crate::registry::RemoteRepository) inside a
/// [`RetryRepository`](crate::registry::RetryRepository) in its place.
///
/// ```
/// use std::error::Error;
/// use std::path::Path;
/// use std::sync::Arc;
/// use std::time::{Duration, SystemTime};
///
/// use dockercomms::mailbox::{FixedTrust, Mailbox, MailboxOptions, MailboxParts};
/// use dockercomms::protocol::{Identity, ReceiptStatus};
/// use dockercomms::registry::LayoutRepository;
/// use dockercomms::trust::{ContactCard, KeyAlgorithm, SigningKey, TrustStore};
///
/// // The card of a person: a name, and the public half of the key that signs in that name.
/// fn card(identity: &Identity, key: &SigningKey) -> String {
///     let (identity, public_key) = (identity.clone(), key.public_key());
///     ContactCard { identity, public_key, rotations: Vec::new() }.encode()
/// }
///
/// // Opens the mailbox of `me`, who trusts the owner of one card.
/// async fn open(
///     dir: &Path,
///     me: &Identity,
///     key: SigningKey,
///     card: &str,
/// ) -> Result<Mailbox, Box<dyn Error>> {
///     let mut trust = TrustStore::default();
///     trust.add_card(&ContactCard::parse(card)?)?;
///     let trust = Arc::new(FixedTrust::new(trust));
///     let registry = Arc::new(LayoutRepository::new(dir.join("registry")));
///     let (home, options) = (dir.join(me.dir_name()), MailboxOptions::new(me.clone()));
///     let parts = MailboxParts::open_in(&home, options, key, registry, trust).await?;
///     Ok(Mailbox::open(parts).await?)
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// let alice: Identity = "alice@example.org".parse()?;
/// let bob: Identity = "bob@example.org".parse()?;
/// let alice_key = SigningKey::generate(KeyAlgorithm::EcdsaP256)?;
/// let bob_key = SigningKey::generate(KeyAlgorithm::Ed25519)?;
/// // A card proves nothing by itself: they compare its fingerprint over another channel first.
/// let (alice_card, bob_card) = (card(&alice, &alice_key), card(&bob, &bob_key));
/// let alice_mailbox = open(dir, &alice, alice_key, &bob_card).await?;
/// let bob_mailbox = open(dir, &bob, bob_key, &alice_card).await?;
///
/// // Alice sends. Once this returns, the whole message is in the registry, with its signature.
/// let report = "the numbers of the third quarter";
/// let (name, content) = ("report.pdf".parse()?, Box::new(report.as_bytes()));
/// let (mtime, progress) = (SystemTime::now(), Arc::new(|_staged_bytes| {}));
/// let sent = alice_mailbox.outbox().send(&bob, &name, content, mtime, progress).await?;
///
/// // Bob lists what was verified, by sender and name, reads it, and says so.
/// assert_eq!(bob_mailbox.inbox().poll().await?.admitted, 1);
/// let message = Arc::clone(&bob_mailbox.snapshot().inbox[&alice.dir_name()]["report.pdf"]);
/// assert_eq!(message.sender, alice);
/// assert_eq!(message.digest.to_string(), sent.digest);
/// let reader = bob_mailbox.inbox().open_to_keep(&message)?;
/// let bytes = reader.read_at(0, usize::try_from(reader.len())?).await?;
/// assert_eq!(bytes, report);
/// reader.finish().await?;
/// bob_mailbox.acknowledge_now(&message.digest, ReceiptStatus::Accepted, None).await?;
///
/// // Alice collects the receipt, which is signed with the key of Bob's card.
/// assert_eq!(alice_mailbox.poll_receipts().await?, 1);
/// let snapshot = alice_mailbox.snapshot();
/// let receipt = &snapshot.receipts_sent[&bob.dir_name()]["report.pdf.accepted.json"];
/// assert!(receipt.signed);
/// assert_eq!((receipt.status, receipt.message), (ReceiptStatus::Accepted, message.digest));
///
/// for mailbox in [alice_mailbox, bob_mailbox] {
///     mailbox.shutdown(Duration::from_secs(5)).await;
/// }
/// # Ok(())
/// # }
/// ```
///
/// A program that keeps running calls [`Mailbox::start`] instead of polling, and watches
/// [`Mailbox::changes`].
#[derive(Clone)]
pub struct Mailbox {
    pub(super) core: Arc<Core>,
    pub(super) giving: Arc<Giving>,
    pub(super) collecting: Arc<Collecting>,
    pub(super) reading: Arc<Reading>,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    watching: Arc<Watching>,
    listed: Arc<ListedVersion>,
}

/// The database's version when its listings were last read.
#[derive(Debug)]
struct ListedVersion(AtomicI64);

impl ListedVersion {
    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, version: i64) {
        self.0.store(version, Ordering::Relaxed);
    }
}

impl Mailbox {
    /// Opens the mailbox and loads its listings; no network. Needs a tokio runtime.
    ///
    /// With `parts.recover`, Prepared files of an earlier run are published in the background.
    ///
    /// # Errors
    /// When the spool or the database cannot be used.
    pub async fn open(parts: MailboxParts) -> Result<Self, MailboxError> {
        let (spool, owns_leftovers) = (parts.spool.clone(), parts.recover);
        durable::create_private_dir(&spool)
            .map_err(MailboxError::io("create the directory for staged files"))?;
        let cache = parts.cache.clone();
        let core = Arc::new(Core::new(parts));
        core.keep_latest().await?;
        // Before anything is read: the first poll notices what other processes change from now on.
        let version = core.store.data_version().await?;
        let mailbox = Self::assemble(core, cache, spool, owns_leftovers, version);
        mailbox.load_errors().await?;
        mailbox.inbox.load().await?;
        receipt::load(&mailbox.core).await?;
        mailbox.outbox.load().await?;
        mailbox.outbox.list_trusted(&mailbox.core.trust.current()?);
        Ok(mailbox)
    }

    /// Builds the parts, each on those before: receipts, reading, inbox and outbox.
    fn assemble(
        core: Arc<Core>,
        cache: ChunkCache,
        spool: PathBuf,
        owns_leftovers: bool,
        version: i64,
    ) -> Self {
        let giving = Arc::new(Giving::new(Arc::clone(&core)));
        let reading = Reading::new(Arc::clone(&core), cache, Arc::clone(&giving));
        let reading = Arc::new(reading);
        Self {
            collecting: Arc::new(Collecting::new(Arc::clone(&core))),
            inbox: Inbox::new(Arc::clone(&core), Arc::clone(&reading), Arc::clone(&giving)),
            outbox: Outbox::new(Arc::clone(&core), Arc::clone(&reading), spool, owns_leftovers),
            watching: Arc::new(Watching::new(Arc::clone(&core))),
            listed: Arc::new(ListedVersion(AtomicI64::new(version))),
            core,
            giving,
            reading,
        }
    }

    /// Starts the background work of a mount: polling, and receipts in both directions.
    pub fn start(&self) {
        let mailbox = self.clone();
        self.core.spawn(async move {
            let stop = mailbox.core.stop.clone();
            loop {
                mailbox.poll_once().await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = mailbox.wait_for_poll() => {}
                }
            }
        });
    }

    /// Waits for the next poll, and removes what expires in the meantime from the list at its time.
    async fn wait_for_poll(&self) {
        let poll_at = tokio::time::Instant::now() + self.core.options.poll;
        while tokio::time::Instant::now() < poll_at {
            let at = match self.inbox.time_to_expiry() {
                Some(left) => poll_at.min(tokio::time::Instant::now() + left),
                None => poll_at,
            };
            tokio::time::sleep_until(at).await;
            self.inbox.drop_expired();
        }
    }

    pub(super) async fn poll_once(&self) {
        let stop = self.core.stop.clone();
        let work = async {
            // First, because these need no registry.
            buffer::release_idle();
            self.inbox.drop_expired();
            if let Err(error) = self.follow_others().await {
                self.core.record_error("state", &error);
            }
            // The inbox reports a trust store that cannot be read.
            if let Ok(trust) = self.core.trust.current() {
                self.outbox.list_trusted(&trust);
            }
            let was_away = self.inbox.health().last_error.is_some();
            if let Err(error) = self.inbox.poll().await {
                self.core.record_unless_repeated("inbox", &error);
                return;
            }
            if was_away {
                self.outbox.registry_answers();
            }
            self.outbox.look_at_login().await;
            let flushed = self.giving.flush_after(self.outbox.change_count()).await;
            if let Err(error) = flushed {
                self.core.record_error("receipts", &error);
            }
            if let Err(error) = self.collecting.collect().await {
                self.core.record_error("receipts", &error);
            }
            // After the receipts: what is confirmed needs no look.
            if let Err(error) = self.watching.round().await {
                self.core.record_unless_repeated("outbox", &error);
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Lists what other processes on the same state have changed since the last call.
    pub(super) async fn follow_others(&self) -> Result<(), MailboxError> {
        let core = &self.core;
        let version = core.store.data_version().await?;
        if self.listed.get() == version {
            if self.outbox.is_behind() {
                self.outbox.follow().await?;
            }
            return Ok(());
        }
        self.inbox.load().await?;
        receipt::load(core).await?;
        self.outbox.follow().await?;
        // Only now: anything that could not be read is read again.
        self.listed.set(version);
        Ok(())
    }

    /// Publishes what is Prepared at once, sends what is queued while the registry answers, then
    /// stops the background work and waits for it.
    ///
    /// Ends after `within` at the latest; what is not published by then stays in the durable queue.
    pub async fn shutdown(&self, within: Duration) {
        let last_words = async {
            self.outbox.publish_all().await;
            self.outbox.drain().await;
        };
        // Being late is not a failure: the next start continues. Half of the time is for the rest.
        tokio::time::timeout(within / 2, last_words).await.ok();
        self.stop(within / 2).await;
    }

    /// Stops the background work and waits for it; what is not yet sent stays as it is.
    ///
    /// Ends after `within` at the latest.
    pub async fn stop(&self, within: Duration) {
        self.core.stop.cancel();
        tokio::time::timeout(within, self.core.join()).await.ok();
        // Staged files are locked while they are listed; the next owner must be able to lock them.
        self.core.listing.update(|snapshot| *snapshot = Snapshot::default());
    }

    /// Returns a counter that changes whenever a listing changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.core.listing.changes()
    }

    /// Returns the immutable view that metadata calls read. Cheap.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.core.listing.snapshot()
    }

    /// Returns the options that it was opened with.
    pub fn options(&self) -> &MailboxOptions {
        &self.core.options
    }

    /// Returns the fingerprint of the key that signs what I send.
    pub fn signer(&self) -> String {
        self.core.key.public_key().fingerprint()
    }

    /// Returns what was sent to me.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Returns what I send.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Asks the registry which manifest a tag names.
    ///
    /// # Errors
    /// The registry's.
    pub async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, MailboxError> {
        Ok(self.core.repository.resolve_tag(tag).await?)
    }

    /// Remembers an error about `subject` for `.dockercomms/errors`.
    pub fn record_error(&self, subject: &str, error: &MailboxError) {
        self.core.record_error(subject, error);
    }

    /// Waits until no background task runs; for tests, which have no settle window.
    #[cfg(any(test, feature = "testing"))]
    pub async fn idle(&self) {
        self.core.idle().await;
    }

    async fn load_errors(&self) -> Result<(), MailboxError> {
        let lines: Vec<ErrorLine> = self
            .core
            .store
            .errors()
            .await?
            .into_iter()
            .map(|entry| ErrorLine {
                at: entry.at,
                code: entry.code,
                subject: entry.subject,
                text: entry.text,
                hint: entry.hint,
            })
            .collect();
        self.core.listing.update(|snapshot| snapshot.errors = Arc::new(lines));
        Ok(())
    }
}
