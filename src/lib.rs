//! Carries files between people over any OCI registry, as a library.
//!
//! Alice sends a file and Bob reads it, with a directory that both can reach as the registry. His
//! inbox lists her message only because he trusts her key:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//!
//! use dockercomms::mailbox::{FixedTrust, Mailbox, MailboxOptions, MailboxParts};
//! use dockercomms::protocol::Identity;
//! use dockercomms::registry::LayoutRepository;
//! use dockercomms::trust::{ContactCard, KeyAlgorithm, SigningKey, TrustStore};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let alice: Identity = "alice@example.org".parse()?;
//! let bob: Identity = "bob@example.org".parse()?;
//! let registry = Arc::new(LayoutRepository::new(dir.join("registry")));
//!
//! // Bob has taken Alice's contact card. To send, Alice needs to trust no one.
//! let key = SigningKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let (identity, public_key) = (alice.clone(), key.public_key());
//! let card = ContactCard { identity, public_key, rotations: Vec::new() };
//! let mut trust = TrustStore::default();
//! trust.add_card(&card)?;
//!
//! let (home, options) = (dir.join("alice"), MailboxOptions::new(alice));
//! let no_one = Arc::new(FixedTrust::default());
//! let parts = MailboxParts::open_in(&home, options, key, registry.clone(), no_one).await?;
//! let mailbox = Mailbox::open(parts).await?;
//! let (name, content) = ("report.pdf".parse()?, Box::new(&b"the numbers"[..]));
//! let progress = Arc::new(|_staged_bytes| {});
//! mailbox.outbox().send(&bob, &name, content, SystemTime::now(), progress).await?;
//! mailbox.shutdown(Duration::from_secs(5)).await;
//!
//! let (home, options) = (dir.join("bob"), MailboxOptions::new(bob));
//! let key = SigningKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let trusts_alice = Arc::new(FixedTrust::new(trust));
//! let parts = MailboxParts::open_in(&home, options, key, registry, trusts_alice).await?;
//! let mailbox = Mailbox::open(parts).await?;
//! mailbox.inbox().poll().await?;
//! let message = Arc::clone(&mailbox.snapshot().inbox["alice@example.org"]["report.pdf"]);
//! let reader = mailbox.inbox().open_item(&message)?;
//! assert_eq!(reader.read_at(0, 4096).await?, "the numbers");
//! mailbox.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Mailbox`](mailbox::Mailbox) continues the story with cards in both directions and a receipt.
//! Each layer can be used without those above it: [`Repository`](registry::Repository) moves blobs,
//! [`verify_message`](trust::verify_message) judges a signature, and
//! [`Splitter`](chunk::Splitter) cuts a payload. The rest of this page is the map of the code.
#![doc = include_str!("README.md")]

pub mod sys;

pub mod protocol;

mod cache;
pub mod chunk;
pub mod registry;
pub mod store;
pub mod trust;

pub mod mailbox;

mod fs;

mod config;

mod app;
mod cli;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cache::{CacheLimits, CacheStats, ChunkCache, SealKey};
pub use cli::main;
