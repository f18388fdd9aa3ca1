//! The trust store's file: read again when it changed, written whole.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::AppError;
use crate::mailbox::{MailboxError, TrustSource};
use crate::protocol::Identity;
use crate::sys::durable::{self, FileLock};
use crate::trust::{ContactCard, PublicKey, TrustError, TrustStore};

/// Largest trust store in bytes that is read; its parser has its own, lower bound.
const TRUST_FILE_LEN_MAX: u64 = 16 << 20;

/// `trust.toml`, with our own key for our own names added in memory.
#[derive(Debug)]
pub struct TrustFile {
    path: PathBuf,
    me: Vec<Identity>,
    own_key: PublicKey,
    cached: Mutex<Option<(Version, Arc<TrustStore>)>>,
}

/// What tells one version of the file from the next; `None` = no file.
type Version = Option<(u64, i64, i64, u64)>;

impl TrustFile {
    /// Names the file; reads nothing yet.
    pub fn new(path: PathBuf, me: Vec<Identity>, own_key: PublicKey) -> Self {
        Self { path, me, own_key, cached: Mutex::new(None) }
    }

    /// Returns the store as it stands in the file; no file is the empty store.
    ///
    /// # Errors
    /// When it cannot be read or is not understood.
    pub fn load(path: &Path) -> Result<TrustStore, AppError> {
        let bytes = match durable::read_bounded(path, TRUST_FILE_LEN_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(AppError::File { verb: "read", path: path.to_owned(), source });
            }
        };
        let trust = |source| AppError::Trust { path: path.to_owned(), source };
        let text = std::str::from_utf8(&bytes).map_err(|_source| {
            trust(TrustError::Store { place: "file".to_owned(), reason: "not UTF-8".to_owned() })
        })?;
        TrustStore::parse(text).map_err(trust)
    }

    /// Changes the file under a lock: two commands at once both count.
    ///
    /// # Errors
    /// When it cannot be read, changed or written; the file then stays as it was.
    pub fn edit<T>(
        path: &Path,
        change: impl FnOnce(&mut TrustStore) -> Result<T, TrustError>,
    ) -> Result<T, AppError> {
        let failed = |source| AppError::File { verb: "write", path: path.to_owned(), source };
        let _lock = FileLock::acquire(&path.with_extension("lock")).map_err(failed)?;
        let mut store = Self::load(path)?;
        let before = store.clone();
        let value = change(&mut store)
            .map_err(|source| AppError::Trust { path: path.to_owned(), source })?;
        if store != before {
            durable::write_atomic(path, store.encode().as_bytes()).map_err(failed)?;
        }
        Ok(value)
    }

    fn version(&self) -> Version {
        let metadata = std::fs::metadata(&self.path).ok()?;
        // The inode too: a rewrite within one tick of the clock makes a new one.
        Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
    }

    fn read_again(&self) -> Result<TrustStore, AppError> {
        let mut store = Self::load(&self.path)?;
        for me in &self.me {
            let card = ContactCard { identity: me.clone(), public_key: self.own_key.clone() };
            store
                .add_card(&card)
                .map_err(|source| AppError::Trust { path: self.path.clone(), source })?;
        }
        Ok(store)
    }
}

impl TrustSource for TrustFile {
    fn current(&self) -> Result<Arc<TrustStore>, MailboxError> {
        let mut cached = self.cached.lock();
        // Asked before reading: a change in between is then seen the next time.
        let version = self.version();
        if let Some((known, store)) = cached.as_ref()
            && *known == version
        {
            return Ok(Arc::clone(store));
        }
        let store = self.read_again().map_err(|error| MailboxError::Io {
            what: "read the trust store",
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?;
        let store = Arc::new(store);
        *cached = Some((version, Arc::clone(&store)));
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{KeyAlgorithm, SigningKey};

    fn public_key() -> PublicKey {
        SigningKey::generate(KeyAlgorithm::EcdsaP256).unwrap().public_key()
    }

    fn card(name: &str) -> ContactCard {
        ContactCard { identity: name.parse().unwrap(), public_key: public_key() }
    }

    #[test]
    fn my_own_key_counts_for_me_without_standing_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let me: Identity = "alice@x".parse().unwrap();
        let key = public_key();
        let file = TrustFile::new(path.clone(), vec![me.clone()], key.clone());

        let store = file.current().unwrap();

        assert_eq!(store.get(&me).unwrap().keys()[0].key, key);
        assert!(!path.exists());
    }

    #[test]
    fn a_card_that_is_added_takes_effect_without_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let file = TrustFile::new(path.clone(), vec!["alice@x".parse().unwrap()], public_key());
        assert_eq!(file.current().unwrap().len(), 1);

        TrustFile::edit(&path, |store| store.add_card(&card("bob@x"))).unwrap();

        assert_eq!(file.current().unwrap().len(), 2);
        assert!(Arc::ptr_eq(&file.current().unwrap(), &file.current().unwrap()));
    }

    #[test]
    fn a_damaged_store_trusts_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let file = TrustFile::new(path.clone(), Vec::new(), public_key());
        file.current().unwrap();
        durable::write_atomic(&path, b"[[sender]]\nname = 7\n").unwrap();

        let read = file.current();
        let edited = TrustFile::edit(&path, |store| store.add_card(&card("bob@x")));

        assert!(read.is_err(), "{read:?}");
        assert!(matches!(edited, Err(AppError::Trust { .. })), "{edited:?}");
        assert_eq!(std::fs::read(&path).unwrap(), b"[[sender]]\nname = 7\n");
    }
}
