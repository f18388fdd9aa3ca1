//! The composition root: settings become a repository, a store, a key, a trust store, a mailbox.
//!
//! It creates and protects the files that these need and wires them together; it implements no rule
//! of the product and prints nothing. Start at [`Setup`], then [`open_mailbox`].

mod error;
mod keys;
mod repository;
mod setup;
mod trust_file;

use std::sync::Arc;

pub(crate) use error::AppError;
pub(crate) use keys::{ContactCardFile, create_key, load_key, rotate_key};
pub(crate) use repository::open_repository;
pub(crate) use setup::{Created, Setup};
pub(crate) use trust_file::TrustFile;

use crate::cache::{CacheLimits, ChunkCache, SealKey};
use crate::mailbox::{Mailbox, MailboxOptions, MailboxParts, TrustSource as _};
use crate::protocol::Identity;
use crate::store::Store;
use crate::sys::SystemClock;

/// Who opens the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The mount: alone on its state, it recovers what a crash left.
    Mount,
    /// A short command, perhaps beside a running mount: it touches only what is its own.
    Command,
}

/// Opens the mailbox of `setup`; no network. Must run inside a tokio runtime.
///
/// # Errors
/// When the key, the trust store, the registry reference or the local state cannot be used.
pub(crate) async fn open_mailbox(setup: &Setup, role: Role) -> Result<Mailbox, AppError> {
    let key = load_key(&setup.places)?;
    let trust = setup.trust_file(&key.public_key())?;
    // A damaged trust store is reported at once, not at the first message.
    trust.current()?;
    let parts = MailboxParts {
        repository: open_repository(&setup.settings)?,
        store: Store::open(setup.places.state_dir()).await?,
        cache: open_cache(setup),
        key,
        trust: Arc::new(trust),
        clock: Arc::new(SystemClock),
        spool: setup.places.spool_dir(),
        options: mailbox_options(setup)?,
        recover: role == Role::Mount,
    };
    Ok(Mailbox::open(parts).await?)
}

fn open_cache(setup: &Setup) -> ChunkCache {
    let limits = CacheLimits {
        memory_bytes: setup.settings.cache_memory,
        disk_bytes: setup.settings.cache_disk,
    };
    let key = SealKey::load_or_create(&setup.places.seal_key_file())
        .inspect_err(|error| tracing::warn!(%error, "no key for the seals of the chunk cache"))
        .ok();
    ChunkCache::open(Some(setup.places.cache_dir()), key, limits)
}

fn mailbox_options(setup: &Setup) -> Result<MailboxOptions, AppError> {
    let settings = &setup.settings;
    let first: &Identity = settings.me.first().ok_or(AppError::NoIdentity)?;
    Ok(MailboxOptions {
        me: settings.me.clone(),
        compression: settings.compression,
        compression_of: settings.recipient_compression.clone(),
        chunk_bytes: settings.chunk_bytes,
        ttl_secs: settings.ttl_secs,
        delivery: settings.delivery,
        delivery_of: settings.recipient_delivery.clone(),
        poll: settings.poll,
        settle: settings.settle,
        queue_pause: settings.queue_pause,
        automatic_receipts: settings.automatic_receipts,
        temporary_names: settings.temporary_names.clone(),
        outbox_new: settings.outbox_new.clone(),
        history: settings.history,
        check_sent: settings.check_sent,
        ..MailboxOptions::new(first.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HomeVariables, Overrides};

    #[test]
    fn the_defaults_of_the_configuration_are_those_of_the_mailbox() {
        let home = tempfile::tempdir().unwrap();
        let dockercomms_home = Some(home.path().to_owned());
        let variables = HomeVariables { dockercomms_home, ..HomeVariables::default() };
        let (setup, _) = Setup::create(&variables, "default", &Overrides::default()).unwrap();
        let expected = MailboxOptions::new(setup.me().unwrap().clone());

        let options = mailbox_options(&setup).unwrap();

        // Every field is compared, including those added later.
        assert_eq!(format!("{options:?}"), format!("{expected:?}"));
    }
}
