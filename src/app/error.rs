//! Why the parts cannot be put together.

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::mailbox::MailboxError;
use crate::protocol::ErrorClass;
use crate::registry::RegistryError;
use crate::store::StoreError;
use crate::trust::TrustError;

/// Why the parts cannot be put together; mostly another layer's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AppError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The registry reference cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The local state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mailbox does not open.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// A key, a card or the trust store cannot be used.
    #[error("cannot use {}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TrustError,
    },
    /// A file of ours cannot be read or written.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was tried: `read`, `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key already exists, and it is never overwritten.
    #[error("a key already exists: {}", path.display())]
    KeyExists {
        /// Its file.
        path: PathBuf,
    },
    /// The key of the contact card is gone.
    #[error("the key {} is gone, but its contact card is there", path.display())]
    KeyGone {
        /// Its file.
        path: PathBuf,
    },
    /// The file already has another value.
    #[error("{} already has {setting} = {value}", path.display())]
    AlreadyConfigured {
        /// The configuration file.
        path: PathBuf,
        /// The setting.
        setting: &'static str,
        /// Its value there.
        value: String,
    },
    /// The settings name no identity.
    #[error("no identity is configured")]
    NoIdentity,
}

impl AppError {
    /// Returns the class that decides the exit code.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Config(error) => error.class(),
            Self::Registry(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Mailbox(error) => error.class(),
            Self::Trust { source, .. } => source.class(),
            Self::KeyExists { .. } => ErrorClass::Exists,
            Self::KeyGone { .. }
            | Self::File { .. }
            | Self::AlreadyConfigured { .. }
            | Self::NoIdentity => ErrorClass::Configuration,
        }
    }

    /// Returns what to do next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Mailbox(error) => error.hint(),
            Self::Store(StoreError::Locked { .. }) => Some(
                "a state has one mount: unmount that one first, or give this one its own `--home`"
                    .to_owned(),
            ),
            Self::KeyExists { .. } => Some(
                "with a new key everyone you write to needs a new contact card; move the file away \
                 first if you mean it"
                    .to_owned(),
            ),
            Self::KeyGone { .. } => Some(
                "restore it from a backup; `dockercomms key new` makes another one, whose card \
                 everyone you write to must add"
                    .to_owned(),
            ),
            Self::AlreadyConfigured { path, .. } => {
                Some(format!("edit {}, or use another `--profile`", path.display()))
            }
            Self::Registry(_)
            | Self::Store(_)
            | Self::Trust { .. }
            | Self::File { .. }
            | Self::NoIdentity => None,
        }
    }
}
