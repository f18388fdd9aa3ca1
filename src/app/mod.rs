//! The composition root: settings become a repository, a store, a key, a trust store, a mailbox.
//!
//! It creates and protects the files that these need and wires them together; it has no rule of
//! the product and prints nothing. Start at [`Setup`], then [`open_mailbox`].

mod error;
mod keys;
mod repository;
mod setup;
mod trust_file;

use std::sync::Arc;

pub use error::AppError;
pub use keys::{ContactCardFile, create_key, load_key};
pub use repository::open_repository;
pub use setup::{Created, Setup};
pub use trust_file::TrustFile;

use crate::mailbox::{Mailbox, MailboxOptions, MailboxParts, TrustSource};
use crate::protocol::Identity;
use crate::store::Store;
use crate::sys::SystemClock;

/// Who opens the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The mount: alone on its state, it recovers what a crash left.
    Mount,
    /// A short command, perhaps beside a running mount: it touches nothing that is not its own.
    Command,
}

/// Opens the mailbox of `setup`; no network. Must run inside a tokio runtime.
///
/// # Errors
/// Whatever of key, trust store, registry reference or local state cannot be used.
pub async fn open_mailbox(setup: &Setup, role: Role) -> Result<Mailbox, AppError> {
    let key = load_key(&setup.places)?;
    let trust = setup.trust_file(&key.public_key());
    // A damaged trust store is said at once, not at the first message.
    trust.current()?;
    let parts = MailboxParts {
        repository: open_repository(&setup.settings)?,
        store: Store::open(setup.places.state_dir()).await?,
        key: Arc::new(key),
        trust: Arc::new(trust),
        clock: Arc::new(SystemClock),
        spool: setup.places.spool_dir(),
        options: mailbox_options(setup)?,
    };
    Ok(Mailbox::open(parts).await?)
}

fn mailbox_options(setup: &Setup) -> Result<MailboxOptions, AppError> {
    let settings = &setup.settings;
    let first: &Identity = settings.me.first().ok_or(AppError::NoIdentity)?;
    Ok(MailboxOptions {
        me: settings.me.clone(),
        compression: settings.compression,
        chunk_bytes: settings.chunk_bytes,
        ttl_secs: settings.ttl_secs,
        poll: settings.poll,
        settle: settings.settle,
        automatic_receipts: settings.automatic_receipts,
        temporary_names: settings.temporary_names.clone(),
        ..MailboxOptions::new(first.clone())
    })
}
