//! The trust store's file: read again when it or a trusted root that it names has changed, written
//! whole.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::AppError;
use crate::mailbox::{MailboxError, TrustSource};
use crate::protocol::Identity;
use crate::sys::crash;
use crate::sys::durable::{self, FileLock};
use crate::trust::{ContactCard, PublicKey, TRUSTED_ROOT_LEN_MAX, TrustError, TrustStore};

/// Largest trust store in bytes that is read; the parser has its own, lower bound.
const TRUST_FILE_LEN_MAX: u64 = 16 << 20;

/// `trust.toml`, with our own key for our own names added in memory.
#[derive(Debug)]
pub(crate) struct TrustFile {
    path: PathBuf,
    me: Vec<Identity>,
    own_keys: Vec<PublicKey>,
    cached: Mutex<Option<Cached>>,
}

/// A store as it was read, and from what.
#[derive(Debug)]
struct Cached {
    files: Vec<(PathBuf, Version)>,
    store: Arc<TrustStore>,
}

/// What distinguishes one version of a file from the next; `None` = no file.
type Version = Option<(u64, i64, i64, u64)>;

fn version(path: &Path) -> Version {
    let metadata = std::fs::metadata(path).ok()?;
    // The inode too: a rewrite within one tick of the clock makes a new one.
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

impl TrustFile {
    /// Names the file and our own keys, including replaced ones; reads nothing yet.
    pub(crate) fn new(path: PathBuf, me: Vec<Identity>, own_keys: Vec<PublicKey>) -> Self {
        Self { path, me, own_keys, cached: Mutex::new(None) }
    }

    /// Returns the store as it is in the file; without a file it is empty.
    ///
    /// # Errors
    /// When it cannot be read or parsed.
    pub(crate) fn load(path: &Path) -> Result<TrustStore, AppError> {
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

    /// Changes the file under a lock: two commands at once both take effect.
    ///
    /// # Errors
    /// When it cannot be read, changed or written; the file then stays unchanged.
    pub(crate) fn edit<T>(
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
            crash::point!("trust.edit.written");
        }
        Ok(value)
    }

    /// Returns the store with the contents of the trusted roots that it names.
    ///
    /// # Errors
    /// As [`Self::load`], and when a trusted root cannot be read or used: with a part of the store
    /// missing, a forgery could not be distinguished from a missing file.
    pub(crate) fn load_whole(path: &Path) -> Result<TrustStore, AppError> {
        let store = Self::load(path)?;
        let files = root_files(path, &store);
        load_roots(path, store, &files)
    }

    fn read_again(&self) -> Result<Cached, AppError> {
        // Determined before reading: a change in between is then noticed the next time.
        let mut files = vec![(self.path.clone(), version(&self.path))];
        let store = Self::load(&self.path)?;
        let roots = root_files(&self.path, &store);
        files.extend(roots.values().map(|file| (file.clone(), version(file))));
        let mut store = load_roots(&self.path, store, &roots)?;
        let pairs = self.me.iter().flat_map(|me| self.own_keys.iter().map(move |key| (me, key)));
        for (me, key) in pairs {
            let (identity, public_key) = (me.clone(), key.clone());
            let card = ContactCard { identity, public_key, rotations: Vec::new() };
            store
                .add_card(&card)
                .map_err(|source| AppError::Trust { path: self.path.clone(), source })?;
        }
        Ok(Cached { files, store: Arc::new(store) })
    }
}

/// Returns the path of each trusted root; a relative one starts at the trust store's directory.
fn root_files(path: &Path, store: &TrustStore) -> BTreeMap<String, PathBuf> {
    let dir = path.parent().unwrap_or(Path::new("."));
    store.trusted_roots().map(|(name, file)| (name.to_owned(), dir.join(file))).collect()
}

fn load_roots(
    path: &Path,
    store: TrustStore,
    files: &BTreeMap<String, PathBuf>,
) -> Result<TrustStore, AppError> {
    let mut contents = BTreeMap::new();
    for (name, file) in files {
        let bytes = durable::read_bounded(file, TRUSTED_ROOT_LEN_MAX as u64)
            .map_err(|source| AppError::File { verb: "read", path: file.clone(), source })?;
        contents.insert(name.clone(), bytes);
    }
    store
        .with_trusted_roots(&contents)
        .map_err(|source| AppError::Trust { path: path.to_owned(), source })
}

impl TrustSource for TrustFile {
    fn current(&self) -> Result<Arc<TrustStore>, MailboxError> {
        let mut cached = self.cached.lock();
        if let Some(known) = cached.as_ref()
            && known.files.iter().all(|(file, then)| version(file) == *then)
        {
            return Ok(Arc::clone(&known.store));
        }
        let read = self.read_again().map_err(|error| MailboxError::Io {
            what: "read the trust store",
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?;
        let store = Arc::clone(&read.store);
        *cached = Some(read);
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
        ContactCard {
            identity: name.parse().unwrap(),
            public_key: public_key(),
            rotations: Vec::new(),
        }
    }

    #[test]
    fn my_own_key_counts_for_me_without_standing_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let me: Identity = "alice@x".parse().unwrap();
        let key = public_key();
        let file = TrustFile::new(path.clone(), vec![me.clone()], vec![key.clone()]);

        let store = file.current().unwrap();

        assert_eq!(store.get(&me).unwrap().keys()[0].key, key);
        assert!(!path.exists());
    }

    #[test]
    fn a_card_that_is_added_takes_effect_without_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let file =
            TrustFile::new(path.clone(), vec!["alice@x".parse().unwrap()], vec![public_key()]);
        assert_eq!(file.current().unwrap().len(), 1);

        TrustFile::edit(&path, |store| store.add_card(&card("bob@x"))).unwrap();

        assert_eq!(file.current().unwrap().len(), 2);
        assert!(Arc::ptr_eq(&file.current().unwrap(), &file.current().unwrap()));
    }

    #[test]
    fn a_damaged_store_trusts_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let file = TrustFile::new(path.clone(), Vec::new(), vec![public_key()]);
        file.current().unwrap();
        durable::write_atomic(&path, b"[[sender]]\nname = 7\n").unwrap();

        let read = file.current();
        let edited = TrustFile::edit(&path, |store| store.add_card(&card("bob@x")));

        assert!(read.is_err(), "{read:?}");
        assert!(matches!(edited, Err(AppError::Trust { .. })), "{edited:?}");
        assert_eq!(std::fs::read(&path).unwrap(), b"[[sender]]\nname = 7\n");
    }

    #[test]
    fn trusted_roots_are_read_from_beside_the_store_and_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let root = dir.path().join("root.json");
        let good = include_bytes!("../trust/testdata/trusted_root.json");
        durable::write_atomic(&path, b"[trusted_root.corp]\nfile = 'root.json'\n").unwrap();
        durable::write_atomic(&root, good.as_ref()).unwrap();
        let file = TrustFile::new(path, Vec::new(), vec![public_key()]);

        let first = file.current().unwrap();
        let unchanged = file.current().unwrap();
        durable::write_atomic(&root, &[&good[..], b"\n"].concat()).unwrap();
        let second = file.current().unwrap();
        durable::write_atomic(&root, b"{}").unwrap();
        let corrupt = file.current();

        assert!(Arc::ptr_eq(&first, &unchanged));
        assert_ne!(first.version(), second.version());
        assert!(corrupt.is_err(), "{corrupt:?}");
    }

    #[test]
    fn a_store_whose_trusted_root_is_missing_or_too_large_trusts_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        let root = dir.path().join("root.json");
        let text = format!("[trusted_root.corp]\nfile = '{}'\n", root.display());
        durable::write_atomic(&path, text.as_ref()).unwrap();
        let file = TrustFile::new(path.clone(), Vec::new(), vec![public_key()]);

        let missing = file.current();
        durable::write_atomic(&root, " ".repeat(TRUSTED_ROOT_LEN_MAX + 1).as_bytes()).unwrap();
        let large = file.current();

        assert!(missing.is_err(), "{missing:?}");
        assert!(large.is_err(), "{large:?}");
        assert!(matches!(TrustFile::load_whole(&path), Err(AppError::File { .. })));
        // The store itself can still be repaired.
        assert!(TrustFile::edit(&path, |store| store.add_card(&card("bob@x"))).is_ok());
    }
}
