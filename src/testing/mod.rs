//! Two people over one repository, for tests; never part of the program.
//!
//! All parts are real: SQLite in a temporary directory, keys and signatures, a cache. Only the
//! repository is in memory, and the clock stands still unless a test moves it. Start at [`World`].

#![expect(clippy::missing_panics_doc, reason = "a failed set-up ends a test")]

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::config::{ConfigError, ConfigFile};
use crate::mailbox::{
    EntryName, InboxItem, Mailbox, MailboxError, MailboxOptions, MailboxParts, SentMessage,
    TrustSource,
};
use crate::protocol::{
    Annotations, ChunkLayer, Compression, Descriptor, Digest, EMPTY_BYTES, Envelope, Identity,
    Message, MessageId, Tag, Timestamp, encode_bundle_manifest, media_type,
};
use crate::registry::Repository;
use crate::registry::fault::FaultyRepository;
use crate::registry::memory::MemoryRepository;
use crate::sys::ManualClock;
use crate::trust::{ContactCard, KeyAlgorithm, SigningKey, TrustStore, sign_manifest};

/// 2026-09-21T14:13:20Z, when every world begins.
pub const BEGINNING: u64 = 1_790_000_000;

/// One repository and one clock.
pub struct World {
    /// The repository's contents.
    pub memory: MemoryRepository,
    /// The repository as people see it: faults are injected here.
    pub faulty: Arc<FaultyRepository>,
    /// The time.
    pub clock: ManualClock,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Makes an empty repository.
    pub fn new() -> Self {
        let memory = MemoryRepository::new();
        let inner: Arc<dyn Repository> = Arc::new(memory.clone());
        Self {
            faulty: Arc::new(FaultyRepository::new(inner)),
            memory,
            clock: ManualClock::at(BEGINNING),
        }
    }

    /// Takes an empty repository of another kind; `memory` is then unused.
    pub fn over(repository: Arc<dyn Repository>) -> Self {
        Self {
            faulty: Arc::new(FaultyRepository::new(repository)),
            memory: MemoryRepository::new(),
            clock: ManualClock::at(BEGINNING),
        }
    }

    /// Makes a person with a key, a home and an empty mailbox.
    pub async fn person(&self, name: &str) -> Person {
        self.person_with(name, |_options| {}).await
    }

    /// The same, with other options.
    pub async fn person_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut MailboxOptions),
    ) -> Person {
        let identity: Identity = name.parse().expect("a test's name is an identity");
        let mut options = MailboxOptions::new(identity.clone());
        // Small chunks, so that a message of a few hundred bytes has several.
        options.chunk_bytes = 100;
        options.settle = Duration::ZERO;
        options.settle_empty = Duration::ZERO;
        // People here have short names; who may be a recipient is a matter of its own tests.
        options.outbox_new = vec!["*".to_owned()];
        change(&mut options);
        let key = SigningKey::generate(KeyAlgorithm::EcdsaP256).expect("a key can be made");
        let home = tempfile::tempdir().expect("a temporary directory");
        let trust = Arc::new(Trusted(Mutex::new(TrustStore::default())));
        let pem = key.to_pem();
        let mailbox = open(self, home.path(), &pem, &trust, options.clone(), true).await;
        Person { identity, options, trust, mailbox, home, pem: pem.to_string() }
    }

    /// Makes `alice` and `bob`, who trust each other.
    pub async fn alice_and_bob(&self) -> (Person, Person) {
        let (alice, bob) = (self.person("alice").await, self.person("bob").await);
        alice.trust_person(&bob);
        bob.trust_person(&alice);
        (alice, bob)
    }
}

async fn open(
    world: &World,
    home: &Path,
    pem: &str,
    trust: &Arc<Trusted>,
    options: MailboxOptions,
    recover: bool,
) -> Mailbox {
    let repository = Arc::clone(&world.faulty) as Arc<dyn Repository>;
    let trust = Arc::clone(trust) as Arc<dyn TrustSource>;
    let key = SigningKey::from_pem(pem).expect("our own key");
    let parts = MailboxParts::open_in(home, options, key, repository, trust);
    let mut parts = parts.await.expect("a database");
    parts.recover = recover;
    parts.clock = Arc::new(world.clock.clone());
    Mailbox::open(parts).await.expect("a mailbox")
}

/// A trust store in memory.
struct Trusted(Mutex<TrustStore>);

impl TrustSource for Trusted {
    fn current(&self) -> Result<Arc<TrustStore>, MailboxError> {
        Ok(Arc::new(self.0.lock().clone()))
    }
}

/// A person with a mailbox.
pub struct Person {
    /// The name.
    pub identity: Identity,
    /// The options the mailbox was opened with.
    pub options: MailboxOptions,
    /// The mailbox.
    pub mailbox: Mailbox,
    home: TempDir,
    trust: Arc<Trusted>,
    pem: String,
}

impl Person {
    /// Returns this person's key.
    pub fn key(&self) -> SigningKey {
        SigningKey::from_pem(&self.pem).expect("our own key")
    }

    /// Returns what two people exchange.
    pub fn card(&self) -> ContactCard {
        ContactCard {
            identity: self.identity.clone(),
            public_key: self.key().public_key(),
            rotations: Vec::new(),
        }
    }

    /// Trusts `other` from now on.
    pub fn trust_person(&self, other: &Person) {
        self.trust.0.lock().add_card(&other.card()).expect("a card");
    }

    /// Forgets `other`.
    pub fn distrust(&self, other: &Person) {
        self.trust.0.lock().remove(&other.identity);
    }

    /// Returns the directory that holds state, cache and staged files.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Closes the mailbox and opens it again, as a restart does.
    pub async fn restart(&mut self, world: &World) {
        self.mailbox.shutdown(Duration::from_secs(5)).await;
        self.open_again(world, true).await;
    }

    /// Opens the mailbox again as a short command does, which leaves what others left alone.
    pub async fn reopen_beside(&mut self, world: &World) {
        self.open_again(world, false).await;
    }

    async fn open_again(&mut self, world: &World, recover: bool) {
        let (home, options) = (self.home.path(), self.options.clone());
        self.mailbox = open(world, home, &self.pem, &self.trust, options, recover).await;
    }

    /// Sends `content` to `recipient`.
    pub async fn send(
        &self,
        recipient: &Person,
        name: &str,
        content: &[u8],
    ) -> Result<SentMessage, MailboxError> {
        let name: EntryName = name.parse()?;
        let content = Box::new(Cursor::new(content.to_vec()));
        let progress = Arc::new(|_bytes| {});
        let mtime = std::time::SystemTime::UNIX_EPOCH;
        self.mailbox.outbox().send(&recipient.identity, &name, content, mtime, progress).await
    }

    /// Polls, and returns what is listed from `sender`, by name.
    pub async fn receive(&self, sender: &Person) -> Vec<Arc<InboxItem>> {
        self.mailbox.inbox().poll().await.expect("a poll");
        self.listed(sender)
    }

    /// Returns what is listed from `sender`, by name.
    pub fn listed(&self, sender: &Person) -> Vec<Arc<InboxItem>> {
        let snapshot = self.mailbox.snapshot();
        let names = snapshot.inbox.get(&sender.identity.dir_name());
        names.map(|names| names.values().cloned().collect()).unwrap_or_default()
    }

    /// Reads a whole listed message.
    pub async fn read(&self, item: &InboxItem) -> Result<Bytes, MailboxError> {
        let reader = self.mailbox.inbox().open(&item.digest)?;
        let len = usize::try_from(reader.len()).expect("a small file");
        reader.read_at(0, len).await
    }

    /// Returns the reason codes in quarantine.
    pub fn quarantined(&self) -> Vec<String> {
        let snapshot = self.mailbox.snapshot();
        let notes = snapshot.quarantine.values().flat_map(|names| names.values());
        notes.map(|note| note.code.clone()).collect()
    }

    /// Waits until all background work of the mailbox has ended.
    pub async fn settle(&self) {
        self.mailbox.idle().await;
    }
}

/// Makes the manifest of a message with one zstd layer that holds exactly `layer`.
pub fn message_manifest(
    sender: &Person,
    recipient: &Person,
    name: &str,
    total_bytes: u64,
    layer: &[u8],
) -> Vec<u8> {
    let message = Message {
        id: MessageId::from_uuid(uuid::Uuid::new_v4()),
        envelope: Envelope {
            sender: sender.identity.clone(),
            recipient: recipient.identity.clone(),
            created_at: Timestamp::from_unix_secs(1_790_000_000),
            ttl_secs: 604_800,
            filename: name.to_owned(),
            total_bytes,
            chunk_bytes: total_bytes,
            chunk_count: 1,
            compression: Compression::Zstd,
        },
        chunks: vec![ChunkLayer { digest: Digest::of(layer), size: layer.len() as u64 }],
        extensions: Annotations::new(),
    };
    message.encode().expect("a consistent message")
}

/// Pushes `manifest`, signed by `sender`, with its layers, under an inbox tag of `recipient`.
pub fn push_signed(
    world: &World,
    sender: &Person,
    recipient: &Person,
    manifest: &[u8],
    layers: &[&[u8]],
) -> Tag {
    let subject = Descriptor::of(media_type::IMAGE_MANIFEST, manifest);
    let bundle = sign_manifest(&sender.key(), manifest).expect("a manifest that can be signed");
    for blob in layers.iter().copied().chain([EMPTY_BYTES, &bundle]) {
        world.memory.replace_blob(&Digest::of(blob), Bytes::copy_from_slice(blob));
    }
    let prefix = Tag::message_prefix(&recipient.identity.recipient_tag());
    let hex = subject.digest.hex12();
    let tag = |text: String| text.parse::<Tag>().expect("a valid tag");
    let inbox = tag(format!("{prefix}20260921-00000000-{hex}"));
    world.memory.replace_manifest_at_tag(&inbox, manifest.to_vec());
    let layer = Descriptor::of(media_type::BUNDLE, &bundle);
    let attached = encode_bundle_manifest(&subject, &layer, &Annotations::new());
    let bundle_tag = tag(format!("{}1790000000-000000", Tag::bundle_prefix(&subject.digest)));
    world.memory.replace_manifest_at_tag(&bundle_tag, attached);
    inbox
}

/// Parses the text of a `config.toml`, for the fuzzer; an error is the line that it names.
pub fn parse_config(text: &str) -> Result<(), usize> {
    match ConfigFile::parse(text, Path::new("config.toml")) {
        Ok(_) => Ok(()),
        Err(ConfigError::Syntax { line, .. }) => Err(line),
        Err(other) => panic!("a text has only syntax errors: {other}"),
    }
}
