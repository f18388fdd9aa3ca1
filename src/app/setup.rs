//! First steps: directories, configuration, key, contact card; later only their checks.

use std::path::PathBuf;

use super::keys::{
    ContactCardFile, complete_key, create_key, is_key_complete, load_key, load_key_history,
};
use super::{AppError, TrustFile};
use crate::config::{
    ConfigError, ConfigFile, DEFAULT_PROFILE, HomeVariables, Overrides, Places, ProfileFile,
    Settings, absolute_reference, render_profile,
};
use crate::protocol::{Identity, local_address};
use crate::sys::crash;
use crate::sys::durable::{self, FileLock};
use crate::trust::{KeyAlgorithm, PublicKey, Rotation, SigningKey};

/// A profile that can be used: its places and settings.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Where its files are.
    pub places: Places,
    /// Its settings.
    pub settings: Settings,
}

/// What [`Setup::create`] made, for display.
#[derive(Debug, Clone, Default)]
pub(crate) struct Created {
    /// The configuration file, when the profile was written to it.
    pub config: Option<PathBuf>,
    /// The key's file, when it was made.
    pub key: Option<PathBuf>,
    /// Sentences about permissions that were tightened.
    pub repaired: Vec<String>,
}

impl Setup {
    /// Reads what is there; creates nothing but missing directories.
    ///
    /// # Errors
    /// [`ConfigError::NotSetUp`] when there is no key yet.
    pub(crate) fn load(
        variables: &HomeVariables,
        profile: &str,
        overrides: &Overrides,
    ) -> Result<(Self, Created), AppError> {
        let places = Places::find(variables, profile)?;
        let file = match load_profile(&places, profile)? {
            Some(file) => file,
            None if profile == DEFAULT_PROFILE => ProfileFile::default(),
            None => {
                let (profile, file) = (profile.to_owned(), places.config_file());
                return Err(ConfigError::NoProfile { profile, file }.into());
            }
        };
        if !has_key(&places)? {
            return Err(ConfigError::NotSetUp { missing: places.key_file() }.into());
        }
        let created = Created { repaired: protect(&places)?, ..Created::default() };
        let settings = Settings::resolve(overrides, &file, &places, local_identity())?;
        Ok((Self { places, settings }, created))
    }

    /// Returns where the files of a profile are, which must have been set up once; changes and
    /// reads nothing, so that trust can be revoked beside a damaged configuration.
    ///
    /// # Errors
    /// [`ConfigError::NotSetUp`] when there is neither a key nor its card.
    pub(crate) fn places(variables: &HomeVariables, profile: &str) -> Result<Places, AppError> {
        let places = Places::find(variables, profile)?;
        if !places.key_file().exists() && !places.card_file().exists() {
            return Err(ConfigError::NotSetUp { missing: places.key_file() }.into());
        }
        Ok(places)
    }

    /// As [`Setup::load`], but makes what is missing: directories, configuration, key.
    ///
    /// A new configuration contains what the flags and the environment say now, so that the next
    /// command finds the same identity and registry. An existing key stays.
    ///
    /// # Errors
    /// When something cannot be made or is not ours, or when an earlier key is gone.
    pub(crate) fn create(
        variables: &HomeVariables,
        profile: &str,
        overrides: &Overrides,
    ) -> Result<(Self, Created), AppError> {
        let places = Places::find(variables, profile)?;
        let mut created = Created { repaired: protect(&places)?, ..Created::default() };
        // Two first commands at once would both write the profile; the later one finds it.
        let is_complete = load_profile(&places, profile)?.is_some() && is_key_complete(&places);
        let _lock = if is_complete { None } else { Some(lock_config(&places)?) };
        let found = load_profile(&places, profile)?;
        let is_new = found.is_none();
        let file = found.unwrap_or_default();
        let settings = Settings::resolve(overrides, &file, &places, local_identity())?;
        if is_new {
            created.config = Some(append_profile(&places, profile, overrides, &settings)?);
        }
        let me = settings.me.first().ok_or(AppError::NoIdentity)?;
        complete_key(&places, me)?;
        if !has_key(&places)? {
            let key = create_key(&places, KeyAlgorithm::EcdsaP256)?;
            created.key = Some(places.key_file());
            ContactCardFile::save(&places, me, &key)?;
            crash::point!("setup.card.written");
        }
        Ok((Self { places, settings }, created))
    }

    /// Fails if a flag of `init` contradicts the existing profile, which it does not change.
    ///
    /// # Errors
    /// [`AppError::AlreadyConfigured`] names the first difference.
    pub(crate) fn check_unchanged(
        variables: &HomeVariables,
        profile: &str,
        overrides: &Overrides,
    ) -> Result<(), AppError> {
        let places = Places::find(variables, profile)?;
        let Some(file) = load_profile(&places, profile)? else { return Ok(()) };
        let differs = |setting, flag: &Option<String>, stated: Option<String>| match flag {
            Some(flag) if stated.as_ref() != Some(flag) => Err(AppError::AlreadyConfigured {
                path: places.config_file(),
                setting,
                value: stated.unwrap_or_else(|| "nothing".to_owned()),
            }),
            _ => Ok(()),
        };
        differs("me", &overrides.me, file.me.and_then(|me| me.0.first().cloned()))?;
        let registry = overrides.registry.as_deref().map(absolute_reference).transpose()?;
        differs("registry", &registry, file.registry)
    }

    /// Returns my first identity, which signs.
    ///
    /// # Errors
    /// [`AppError::NoIdentity`], which resolved settings never cause.
    pub(crate) fn me(&self) -> Result<&Identity, AppError> {
        self.settings.me.first().ok_or(AppError::NoIdentity)
    }

    /// Reads the private key.
    ///
    /// # Errors
    /// As [`load_key`].
    pub(crate) fn load_key(&self) -> Result<SigningKey, AppError> {
        load_key(&self.places)
    }

    /// Returns how the key came to replace earlier ones.
    ///
    /// # Errors
    /// When the history cannot be read, or is not consistent.
    pub(crate) fn load_key_history(&self, own_key: &PublicKey) -> Result<Vec<Rotation>, AppError> {
        load_key_history(&self.places, own_key)
    }

    /// Returns the trust store's file, in which our own keys, including replaced ones, are trusted
    /// for our own names.
    ///
    /// # Errors
    /// As [`Setup::load_key_history`].
    pub(crate) fn trust_file(&self, own_key: &PublicKey) -> Result<TrustFile, AppError> {
        let mut own_keys = vec![own_key.clone()];
        let history = self.load_key_history(own_key)?;
        own_keys.extend(history.iter().rev().map(|rotation| rotation.previous().clone()));
        Ok(TrustFile::new(self.places.trust_file(), self.settings.me.clone(), own_keys))
    }
}

/// Returns whether there is a key; fails when it is gone although its card, which is made after it,
/// exists.
///
/// A new key would sign what was promised under the old one, and no peer would trust it.
fn has_key(places: &Places) -> Result<bool, AppError> {
    let path = places.key_file();
    match path.exists() {
        false if places.card_file().exists() => Err(AppError::KeyGone { path }),
        is_there => Ok(is_there),
    }
}

/// Creates missing directories and tightens permissions that let others enter or read.
fn protect(places: &Places) -> Result<Vec<String>, ConfigError> {
    let mut repaired = places.create()?;
    if std::fs::symlink_metadata(places.key_file()).is_ok() {
        repaired.extend(places.protect_key()?);
    }
    Ok(repaired)
}

/// Returns the profile's part of the configuration file, if there is one.
fn load_profile(places: &Places, profile: &str) -> Result<Option<ProfileFile>, ConfigError> {
    let file = ConfigFile::load(&places.config_file())?;
    Ok(file.and_then(|mut file| file.profile.remove(profile)))
}

fn lock_config(places: &Places) -> Result<FileLock, AppError> {
    let path = places.config_file().with_extension("lock");
    FileLock::acquire(&path).map_err(|source| AppError::File { verb: "lock", path, source })
}

/// Appends the profile to the file.
fn append_profile(
    places: &Places,
    profile: &str,
    overrides: &Overrides,
    settings: &Settings,
) -> Result<PathBuf, AppError> {
    let path = places.config_file();
    let failed = |source| AppError::File { verb: "write", path: path.clone(), source };
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => format!("{}\n\n", text.trim_end()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(failed(source)),
    };
    let me = settings.me.first().ok_or(AppError::NoIdentity)?;
    let registry = overrides.registry.as_ref().map(|_given| settings.registry.as_str());
    text.push_str(&render_profile(profile, me.as_str(), registry));
    durable::write_atomic(&path, text.as_bytes()).map_err(failed)?;
    crash::point!("setup.profile.written");
    Ok(path)
}

/// Returns `user@host` of this machine, as an address.
fn local_identity() -> Option<Identity> {
    let uid = nix::unistd::geteuid();
    let user = match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        // A container may run us under a user id that has no name.
        Ok(None) | Err(_) => format!("uid{uid}"),
    };
    let host = nix::unistd::gethostname().ok()?.into_string().ok()?;
    local_address(&user, &host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(home: &tempfile::TempDir) -> HomeVariables {
        let dockercomms_home = Some(home.path().to_owned());
        HomeVariables { dockercomms_home, ..HomeVariables::default() }
    }

    fn flags(me: &str, registry: &str) -> Overrides {
        let (me, registry) = (Some(me.to_owned()), Some(registry.to_owned()));
        Overrides { me, registry, ..Overrides::default() }
    }

    #[test]
    fn without_anything_create_makes_an_identity_a_key_and_a_configuration() {
        let home = tempfile::tempdir().unwrap();

        let (setup, created) =
            Setup::create(&variables(&home), "default", &Overrides::default()).unwrap();

        assert!(setup.me().unwrap().as_str().contains('@'), "{:?}", setup.me());
        assert_eq!(setup.settings.registry, format!("oci:{}/repository", home.path().display()));
        assert!(created.config.is_some() && created.key.is_some());
        assert!(setup.places.card_file().exists());
    }

    #[test]
    fn the_next_command_finds_what_the_first_one_was_told() {
        let home = tempfile::tempdir().unwrap();
        let (first, _) =
            Setup::create(&variables(&home), "default", &flags("alice@x", "oci:/mail")).unwrap();
        let key = first.load_key().unwrap().public_key();

        let (again, created) =
            Setup::create(&variables(&home), "default", &Overrides::default()).unwrap();
        let (loaded, _) = Setup::load(&variables(&home), "default", &Overrides::default()).unwrap();

        assert!(created.config.is_none() && created.key.is_none(), "{created:?}");
        assert_eq!(again.settings, first.settings);
        assert_eq!(loaded.settings, first.settings);
        assert_eq!(loaded.load_key().unwrap().public_key(), key);
    }

    #[test]
    fn load_without_a_key_says_that_nothing_is_set_up() {
        let home = tempfile::tempdir().unwrap();

        let loaded = Setup::load(&variables(&home), "default", &Overrides::default());

        assert!(
            matches!(loaded, Err(AppError::Config(ConfigError::NotSetUp { .. }))),
            "{loaded:?}"
        );
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_key_that_others_could_read_is_repaired_and_said() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let (setup, _) =
            Setup::create(&variables(&home), "default", &Overrides::default()).unwrap();
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(setup.places.key_file(), open).unwrap();

        let (_, first) = Setup::load(&variables(&home), "default", &Overrides::default()).unwrap();
        let (_, second) = Setup::load(&variables(&home), "default", &Overrides::default()).unwrap();

        assert_eq!(first.repaired.len(), 1, "{first:?}");
        assert!(second.repaired.is_empty(), "{second:?}");
    }

    #[test]
    fn a_second_profile_is_added_behind_the_first() {
        let home = tempfile::tempdir().unwrap();
        Setup::create(&variables(&home), "default", &flags("alice@x", "oci:/a")).unwrap();

        let missing = Setup::load(&variables(&home), "work", &Overrides::default());
        let (work, _) =
            Setup::create(&variables(&home), "work", &flags("alice@work", "oci:/b")).unwrap();
        let (default, _) =
            Setup::load(&variables(&home), "default", &Overrides::default()).unwrap();

        assert!(
            matches!(missing, Err(AppError::Config(ConfigError::NoProfile { .. }))),
            "{missing:?}"
        );
        assert_eq!(work.settings.registry, "oci:/b");
        assert_eq!(default.settings.registry, "oci:/a");
        assert_ne!(work.load_key().unwrap().public_key(), default.load_key().unwrap().public_key());
    }

    #[test]
    fn init_does_not_pretend_to_change_a_profile() {
        let home = tempfile::tempdir().unwrap();
        let first = flags("alice@x", "oci:/a");
        Setup::create(&variables(&home), "default", &first).unwrap();

        let same = Setup::check_unchanged(&variables(&home), "default", &first);
        let other = Setup::check_unchanged(&variables(&home), "default", &flags("bob@x", "oci:/a"));

        assert!(same.is_ok(), "{same:?}");
        assert!(
            matches!(other, Err(AppError::AlreadyConfigured { setting: "me", .. })),
            "{other:?}"
        );
    }
}
