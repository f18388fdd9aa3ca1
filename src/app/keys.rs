//! The private key's file and the contact card made from it.

use std::io;
use std::path::PathBuf;

use super::AppError;
use crate::config::{ConfigError, Places};
use crate::protocol::Identity;
use crate::sys::{crash, durable};
use crate::trust::{ContactCard, KeyAlgorithm, SigningKey};

/// Largest key file in bytes; a PKCS#8 PEM has some 250.
const KEY_FILE_LEN_MAX: u64 = 64 << 10;

/// Our own contact card as a file for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactCardFile {
    /// Where it was written.
    pub path: PathBuf,
    /// The card.
    pub card: ContactCard,
}

impl ContactCardFile {
    /// Writes the card of `identity`; the file is derived, so an older one is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(places: &Places, identity: &Identity, key: &SigningKey) -> Result<Self, AppError> {
        let path = places.card_file();
        let card = ContactCard { identity: identity.clone(), public_key: key.public_key() };
        durable::write_atomic(&path, card.encode().as_bytes())
            .map_err(|source| AppError::File { verb: "write", path: path.clone(), source })?;
        Ok(Self { path, card })
    }
}

/// Returns under which name a new key grows.
fn temporary_file(places: &Places) -> PathBuf {
    places.key_file().with_extension("pem.new")
}

/// Returns whether there is a key with all that belongs to it, and no trace of its making.
pub(super) fn is_key_complete(places: &Places) -> bool {
    places.key_file().exists() && places.card_file().exists() && !temporary_file(places).exists()
}

/// Completes a key that is there after a crash while it was made; does nothing when there is none.
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
pub fn load_key(places: &Places) -> Result<SigningKey, AppError> {
    let path = places.key_file();
    match places.protect_key() {
        // What was repaired is said where the profile is read.
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

/// Makes a new key; one that is there is never overwritten.
///
/// # Errors
/// [`AppError::KeyExists`], or why it cannot be written.
pub fn create_key(places: &Places, algorithm: KeyAlgorithm) -> Result<SigningKey, AppError> {
    let path = places.key_file();
    let key = SigningKey::generate(algorithm)
        .map_err(|source| AppError::Trust { path: path.clone(), source })?;
    // Linking a complete file to the name is both whole and exclusive: a crash leaves no half
    // key, and of two programs that make one at once a single one wins.
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
}
