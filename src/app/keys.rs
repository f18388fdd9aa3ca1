//! The private key's file and the contact card made from it.

use std::io;
use std::path::{Path, PathBuf};

use super::AppError;
use crate::config::{ConfigError, Places};
use crate::protocol::{Digest, Identity, Timestamp};
use crate::sys::crash;
use crate::sys::durable::{self, FileLock};
use crate::trust::{
    ContactCard, KeyAlgorithm, PublicKey, ROTATION_COUNT_MAX, Rotation, SigningKey,
};

/// Largest key file in bytes; a PKCS#8 PEM has about 250.
const KEY_FILE_LEN_MAX: u64 = 64 << 10;

/// Our own contact card as a file for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContactCardFile {
    /// Where it was written.
    pub path: PathBuf,
    /// The card.
    pub card: ContactCard,
}

impl ContactCardFile {
    /// Writes the card of `identity`; the file is derived, so it replaces an older one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(
        places: &Places,
        identity: &Identity,
        key: &SigningKey,
    ) -> Result<Self, AppError> {
        let path = places.card_file();
        let public_key = key.public_key();
        let rotations = load_key_history(places, &public_key)?;
        let card = ContactCard { identity: identity.clone(), public_key, rotations };
        durable::write_atomic(&path, card.encode().as_bytes())
            .map_err(|source| AppError::File { verb: "write", path: path.clone(), source })?;
        Ok(Self { path, card })
    }
}

/// Returns the temporary name of a new key.
fn temporary_file(places: &Places) -> PathBuf {
    places.key_file().with_extension("pem.new")
}

/// Returns whether the key and all that belongs to it exist, and nothing unfinished is left.
pub(super) fn is_key_complete(places: &Places) -> bool {
    places.key_file().exists() && places.card_file().exists() && !temporary_file(places).exists()
}

/// Completes a key whose making a crash interrupted; does nothing when there is no key.
///
/// # Errors
/// When the key cannot be read or something cannot be written.
pub(super) fn complete_key(places: &Places, me: &Identity) -> Result<(), AppError> {
    if !places.key_file().exists() || is_key_complete(places) {
        return Ok(());
    }
    let temporary = temporary_file(places);
    if let Err(source) = std::fs::remove_file(&temporary)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(AppError::File { verb: "remove", path: temporary, source });
    }
    ContactCardFile::save(places, me, &load_key(places)?).map(drop)
}

/// Reads the private key, which must be a plain file that only its owner can read.
///
/// # Errors
/// [`ConfigError::NotSetUp`] when there is none; otherwise why it cannot be used.
pub(crate) fn load_key(places: &Places) -> Result<SigningKey, AppError> {
    let path = places.key_file();
    match places.protect_key() {
        // Repairs are reported where the profile is read.
        Ok(None | Some(_)) => {}
        Err(ConfigError::Key { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ConfigError::NotSetUp { missing: path }.into());
        }
        Err(error) => return Err(error.into()),
    }
    let failed = |source| AppError::File { verb: "read", path: path.clone(), source };
    let bytes = durable::read_bounded(&path, KEY_FILE_LEN_MAX).map_err(failed)?;
    let text = String::from_utf8(bytes)
        .map_err(|_source| failed(io::Error::new(io::ErrorKind::InvalidData, "not text")))?;
    SigningKey::from_pem(&text).map_err(|source| AppError::Trust { path, source })
}

/// Makes a new key; an existing one is never overwritten.
///
/// # Errors
/// [`AppError::KeyExists`], or why it cannot be written.
pub(crate) fn create_key(places: &Places, algorithm: KeyAlgorithm) -> Result<SigningKey, AppError> {
    let path = places.key_file();
    let key = SigningKey::generate(algorithm)
        .map_err(|source| AppError::Trust { path: path.clone(), source })?;
    // Linking a complete file to the name is both atomic and exclusive: a crash leaves no half
    // key, and if two programs make one at once, only one wins.
    let temporary = temporary_file(places);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => AppError::KeyExists { path: path.clone() },
        _ => AppError::File { verb: "write", path: path.clone(), source },
    };
    durable::write_atomic(&temporary, key.to_pem().as_bytes()).map_err(failed)?;
    crash::point!("key.create.written");
    let linked = std::fs::hard_link(&temporary, &path);
    crash::point!("key.create.linked");
    std::fs::remove_file(&temporary).map_err(failed)?;
    crash::point!("key.create.unlinked");
    linked.map_err(failed)?;
    if let Some(dir) = path.parent() {
        durable::sync_dir(dir).map_err(failed)?;
    }
    crash::point!("key.create.durable");
    Ok(key)
}

/// Returns how `current` came to replace earlier keys, oldest first; without a file there is none.
///
/// What leads to another key is left out: a rotation that a crash interrupted changed nothing.
///
/// # Errors
/// When the file cannot be read, or a statement in it is not valid.
pub(super) fn load_key_history(
    places: &Places,
    current: &PublicKey,
) -> Result<Vec<Rotation>, AppError> {
    let path = places.key_history_file();
    let bytes = match durable::read_bounded(&path, KEY_FILE_LEN_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(AppError::File { verb: "read", path, source }),
    };
    let text = String::from_utf8(bytes).map_err(|_source| {
        let source = io::Error::new(io::ErrorKind::InvalidData, "not text");
        AppError::File { verb: "read", path: path.clone(), source }
    })?;
    // The file is a contact card of the key that the last rotation made.
    let card = ContactCard::parse(&text).map_err(|source| AppError::Trust { path, source })?;
    let is_current = card.public_key == *current;
    let known = card.rotations.iter().position(|rotation| rotation.next() == current);
    Ok(match (is_current, known) {
        (true, _) => card.rotations,
        (false, Some(last)) => card.rotations.into_iter().take(last + 1).collect(),
        (false, None) => Vec::new(),
    })
}

/// What [`rotate_key`] did.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// The key that signs from now on.
    pub key: SigningKey,
    /// The statement of both keys.
    pub rotation: Rotation,
    /// Where the old private key is now.
    pub retired: PathBuf,
}

/// Replaces the key with a new one, which the old one vouches for.
///
/// The statement is durable before the key is replaced, and the key is replaced in one step: a
/// crash leaves the old key or the new one, and never loses either.
///
/// # Errors
/// When there is no key yet, or something cannot be written; the old key then stays in use.
pub(crate) fn rotate_key(
    places: &Places,
    identity: &Identity,
    algorithm: KeyAlgorithm,
    now: Timestamp,
) -> Result<Rotated, AppError> {
    let path = places.key_file();
    let lock = path.with_extension("lock");
    let _lock = FileLock::acquire(&lock).map_err(|source| AppError::File {
        verb: "lock",
        path: lock.clone(),
        source,
    })?;
    let old = load_key(places)?;
    let trust = |source| AppError::Trust { path: path.clone(), source };
    let key = SigningKey::generate(algorithm).map_err(trust)?;
    let rotation = Rotation::sign(&old, &key, now);
    let mut rotations = load_key_history(places, &old.public_key())?;
    rotations.push(rotation.clone());
    let excess = rotations.len().saturating_sub(ROTATION_COUNT_MAX);
    rotations.drain(..excess);
    let history =
        ContactCard { identity: identity.clone(), public_key: key.public_key(), rotations };
    let write = |path: &Path, text: &[u8]| {
        durable::write_atomic(path, text).map_err(|source| AppError::File {
            verb: "write",
            path: path.to_owned(),
            source,
        })
    };
    let dir = places.retired_keys_dir();
    durable::create_private_dir(&dir).map_err(|source| AppError::File {
        verb: "make",
        path: dir.clone(),
        source,
    })?;
    // The digest of the public key names the file: if it already exists, it is the same key.
    let name = format!("{}.pem", Digest::of(old.public_key().to_pem().as_bytes()).hex12());
    let retired = dir.join(name);
    write(&retired, old.to_pem().as_bytes())?;
    write(&places.key_history_file(), history.encode().as_bytes())?;
    write(&path, key.to_pem().as_bytes())?;
    ContactCardFile::save(places, identity, &key)?;
    Ok(Rotated { key, rotation, retired })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::{DEFAULT_PROFILE, HomeVariables};

    fn places(home: &tempfile::TempDir) -> Places {
        let dockercomms_home = Some(home.path().to_owned());
        let variables = HomeVariables { dockercomms_home, ..HomeVariables::default() };
        let places = Places::find(&variables, DEFAULT_PROFILE).unwrap();
        places.create().unwrap();
        places
    }

    #[test]
    fn a_key_is_private_and_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let places = places(&home);
        let first = create_key(&places, KeyAlgorithm::EcdsaP256).unwrap().public_key();

        let second = create_key(&places, KeyAlgorithm::EcdsaP256);

        assert!(matches!(second, Err(AppError::KeyExists { .. })), "{second:?}");
        assert_eq!(load_key(&places).unwrap().public_key(), first);
        let mode = std::fs::metadata(places.key_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!places.key_file().with_extension("pem.new").exists());
    }

    #[test]
    fn without_a_key_the_error_says_that_nothing_is_set_up() {
        let home = tempfile::tempdir().unwrap();

        let loaded = load_key(&places(&home));

        assert!(
            matches!(loaded, Err(AppError::Config(ConfigError::NotSetUp { .. }))),
            "{loaded:?}"
        );
    }

    fn me() -> Identity {
        "alice@x".parse().unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(1_790_000_000 + secs)
    }

    #[test]
    fn a_rotated_key_is_new_and_private_and_the_old_one_is_kept_and_vouches_for_it() {
        let home = tempfile::tempdir().unwrap();
        let places = places(&home);
        let first = create_key(&places, KeyAlgorithm::EcdsaP256).unwrap().public_key();

        let second = rotate_key(&places, &me(), KeyAlgorithm::Ed25519, at(0)).unwrap();
        let third = rotate_key(&places, &me(), KeyAlgorithm::EcdsaP256, at(9)).unwrap();

        let current = load_key(&places).unwrap().public_key();
        assert_eq!(current, third.key.public_key());
        let history = load_key_history(&places, &current).unwrap();
        assert_eq!(history, [second.rotation, third.rotation]);
        assert_eq!(history[0].previous(), &first);
        let retired = std::fs::read_to_string(&second.retired).unwrap();
        assert_eq!(SigningKey::from_pem(&retired).unwrap().public_key(), first);
        for path in [&second.retired, &third.retired, &places.key_file()] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        let card = std::fs::read_to_string(places.card_file()).unwrap();
        assert_eq!(ContactCard::parse(&card).unwrap().rotations, history);
    }

    #[test]
    fn a_rotation_that_a_crash_cut_short_changed_nothing() {
        let home = tempfile::tempdir().unwrap();
        let places = places(&home);
        create_key(&places, KeyAlgorithm::EcdsaP256).unwrap();
        rotate_key(&places, &me(), KeyAlgorithm::EcdsaP256, at(0)).unwrap();
        let key = std::fs::read(places.key_file()).unwrap();
        rotate_key(&places, &me(), KeyAlgorithm::EcdsaP256, at(1)).unwrap();

        // The statement was written, the key was not.
        durable::write_atomic(&places.key_file(), &key).unwrap();

        let current = load_key(&places).unwrap().public_key();
        let history = load_key_history(&places, &current).unwrap();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].next(), &current);
        let again = rotate_key(&places, &me(), KeyAlgorithm::EcdsaP256, at(2)).unwrap();
        let current = again.key.public_key();
        assert_eq!(load_key_history(&places, &current).unwrap().len(), 2);
    }

    #[test]
    fn a_long_history_keeps_the_newest_rotations() {
        let home = tempfile::tempdir().unwrap();
        let places = places(&home);
        create_key(&places, KeyAlgorithm::Ed25519).unwrap();

        for turn in 0..10 {
            rotate_key(&places, &me(), KeyAlgorithm::Ed25519, at(turn)).unwrap();
        }

        let current = load_key(&places).unwrap().public_key();
        let history = load_key_history(&places, &current).unwrap();
        assert_eq!(history.len(), ROTATION_COUNT_MAX);
        assert_eq!(history.last().unwrap().next(), &current);
    }
}
