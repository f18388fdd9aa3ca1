//! Where configuration, state and cache are, and that only their owner can read them.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use crate::sys::durable;
use crate::sys::owner::{is_of_this_user, is_open_to_others};

/// The variables of the environment that decide the places; read by `cli::env` alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct HomeVariables {
    /// `--home` or `DOCKERCOMMS_HOME`: everything is below it.
    pub dockercomms_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub xdg_state: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub xdg_cache: Option<PathBuf>,
    /// `XDG_DATA_HOME`.
    pub xdg_data: Option<PathBuf>,
}

/// The directories of one profile.
///
/// The profile `default` uses them directly; any other has everything but `config.toml` of its own,
/// under `profiles/NAME`, so two profiles never share a key or a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    config_root: PathBuf,
    config: PathBuf,
    state: PathBuf,
    cache: PathBuf,
    repository: PathBuf,
}

/// The profile that is used by default.
pub(crate) const DEFAULT_PROFILE: &str = "default";

impl Places {
    /// Finds the directories of `profile`; touches no disk.
    ///
    /// # Errors
    /// When the profile's name is not a file name, or neither `--home` nor `HOME` is set.
    pub(crate) fn find(variables: &HomeVariables, profile: &str) -> Result<Self, ConfigError> {
        let name_is_plain = !profile.is_empty()
            && profile.len() <= 64
            && profile.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !name_is_plain {
            return Err(ConfigError::BadProfileName);
        }
        let (config_root, state, cache, data) = roots(variables)?;
        let own = |root: &Path| match profile {
            DEFAULT_PROFILE => root.to_owned(),
            _ => root.join("profiles").join(profile),
        };
        Ok(Self {
            config: own(&config_root),
            state: own(&state),
            cache: own(&cache),
            repository: data.join("repository"),
            config_root,
        })
    }

    /// Returns the file with every profile's settings.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config_root.join("config.toml")
    }

    /// Returns the private key's file.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.config.join("key.pem")
    }

    /// Returns the file that lists the keys that the current one has replaced.
    pub(crate) fn key_history_file(&self) -> PathBuf {
        self.config.join("key-history.toml")
    }

    /// Returns the directory of private keys that were replaced.
    pub(crate) fn retired_keys_dir(&self) -> PathBuf {
        self.config.join("retired-keys")
    }

    /// Returns the trust store's file.
    pub(crate) fn trust_file(&self) -> PathBuf {
        self.config.join("trust.toml")
    }

    /// Returns the file of our own contact card.
    pub(crate) fn card_file(&self) -> PathBuf {
        self.config.join("contact.card")
    }

    /// Returns the directory of journal, spool, lock and log; losing it loses mail.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state
    }

    /// Returns the file that describes the running mount.
    pub(crate) fn mount_file(&self) -> PathBuf {
        self.state.join("mount.json")
    }

    /// Returns the log of a mount in the background.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.state.join("mount.log")
    }

    /// Returns the directory of files that are being sent.
    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.state.join("spool")
    }

    /// Returns the directory of verified chunks; losing it costs time only.
    pub(crate) fn cache_dir(&self) -> &Path {
        &self.cache
    }

    /// Returns the key of the cache's seals, which is never kept in the cache; losing it costs time
    /// only.
    pub(crate) fn seal_key_file(&self) -> PathBuf {
        self.state.join("seal.key")
    }

    /// Returns the image-layout directory that is used when no registry is configured.
    pub(crate) fn repository_dir(&self) -> &Path {
        &self.repository
    }

    /// Returns every directory of ours, which a mount must not hide.
    pub(crate) fn private_dirs(&self) -> Vec<PathBuf> {
        [&self.config_root, &self.config, &self.state, &self.cache, &self.repository]
            .map(PathBuf::clone)
            .to_vec()
    }

    /// Creates the directories, and tightens to 0700 those that others could enter.
    ///
    /// Returns one sentence for each directory that had to be repaired.
    ///
    /// # Errors
    /// When one cannot be created, or belongs to another user.
    pub(crate) fn create(&self) -> Result<Vec<String>, ConfigError> {
        let mut repaired = Vec::new();
        for dir in [&self.config_root, &self.config, &self.state, &self.cache] {
            let before = std::fs::symlink_metadata(dir).ok();
            let failed = |source| ConfigError::Directory { dir: dir.clone(), source };
            durable::create_private_dir(dir).map_err(failed)?;
            check_owner(dir).map_err(failed)?;
            if before.as_ref().is_some_and(is_open_to_others) {
                repaired.push(format!("{} was open to others; it is now 0700", dir.display()));
            }
        }
        Ok(repaired)
    }

    /// Checks that the private key is a plain file of ours, and tightens it to 0600.
    ///
    /// Returns a sentence when it had to be repaired.
    ///
    /// # Errors
    /// When the file is a link, not a plain file, or belongs to another user.
    pub(crate) fn protect_key(&self) -> Result<Option<String>, ConfigError> {
        let path = self.key_file();
        let failed = |source| ConfigError::Key { path: path.clone(), source };
        let metadata = std::fs::symlink_metadata(&path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is a link or not a plain file")));
        }
        check_owner(&path).map_err(failed)?;
        if !is_open_to_others(&metadata) {
            return Ok(None);
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Some(format!(
            "{} could be read by others; it is now 0600. Make a new key if others had access",
            path.display()
        )))
    }
}

fn check_owner(path: &Path) -> io::Result<()> {
    if !is_of_this_user(&std::fs::metadata(path)?) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    Ok(())
}

/// Returns the roots of configuration, state, cache and data.
fn roots(variables: &HomeVariables) -> Result<(PathBuf, PathBuf, PathBuf, PathBuf), ConfigError> {
    if let Some(home) = &variables.dockercomms_home {
        // A relative directory would be another one after the mount has left its working directory.
        let home = std::path::absolute(home)
            .map_err(|source| ConfigError::Directory { dir: home.clone(), source })?;
        return Ok((home.join("config"), home.join("state"), home.join("cache"), home));
    }
    let root = |xdg: &Option<PathBuf>, fallback: &str| {
        // The XDG specification: a relative path is to be ignored.
        let base = xdg.clone().filter(|path| path.is_absolute());
        let base = base.or_else(|| {
            variables
                .home
                .as_ref()
                .filter(|path| path.is_absolute())
                .map(|home| home.join(fallback))
        });
        base.map(|base| base.join("dockercomms")).ok_or(ConfigError::NoHome)
    };
    Ok((
        root(&variables.xdg_config, ".config")?,
        root(&variables.xdg_state, ".local/state")?,
        root(&variables.xdg_cache, ".cache")?,
        root(&variables.xdg_data, ".local/share")?,
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn variables_of(home: &Path) -> HomeVariables {
        HomeVariables { dockercomms_home: Some(home.to_owned()), ..HomeVariables::default() }
    }

    #[test]
    fn one_home_holds_everything() {
        let places = Places::find(&variables_of(Path::new("/h")), DEFAULT_PROFILE).unwrap();

        assert_eq!(places.config_file(), Path::new("/h/config/config.toml"));
        assert_eq!(places.key_file(), Path::new("/h/config/key.pem"));
        assert_eq!(places.state_dir(), Path::new("/h/state"));
        assert_eq!(places.cache_dir(), Path::new("/h/cache"));
        assert_eq!(places.repository_dir(), Path::new("/h/repository"));
    }

    #[test]
    fn xdg_directories_win_over_home_and_relative_ones_are_ignored() {
        let variables = HomeVariables {
            home: Some("/home/a".into()),
            xdg_state: Some("/var/state".into()),
            xdg_cache: Some("relative".into()),
            ..HomeVariables::default()
        };

        let places = Places::find(&variables, DEFAULT_PROFILE).unwrap();

        assert_eq!(places.config_file(), Path::new("/home/a/.config/dockercomms/config.toml"));
        assert_eq!(places.state_dir(), Path::new("/var/state/dockercomms"));
        assert_eq!(places.cache_dir(), Path::new("/home/a/.cache/dockercomms"));
    }

    #[test]
    fn another_profile_has_its_own_key_and_state() {
        let default = Places::find(&variables_of(Path::new("/h")), DEFAULT_PROFILE).unwrap();
        let work = Places::find(&variables_of(Path::new("/h")), "work").unwrap();

        assert_eq!(work.config_file(), default.config_file());
        assert_eq!(work.key_file(), Path::new("/h/config/profiles/work/key.pem"));
        assert_ne!(work.state_dir(), default.state_dir());
    }

    #[test]
    fn a_profile_name_is_never_a_path() {
        for name in ["", "..", "a/b", "a b", "\u{1b}[2J"] {
            let found = Places::find(&variables_of(Path::new("/h")), name);

            assert!(matches!(found, Err(ConfigError::BadProfileName)), "{name:?}");
        }
    }

    #[test]
    fn without_any_home_the_error_says_so() {
        let found = Places::find(&HomeVariables::default(), DEFAULT_PROFILE);

        assert!(matches!(found, Err(ConfigError::NoHome)), "{found:?}");
    }

    #[test]
    fn an_open_state_directory_is_repaired_with_a_message() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::find(&variables_of(home.path()), DEFAULT_PROFILE).unwrap();
        std::fs::create_dir(places.state_dir()).unwrap();
        std::fs::set_permissions(places.state_dir(), std::fs::Permissions::from_mode(0o755))
            .unwrap();

        let repaired = places.create().unwrap();

        assert_eq!(repaired.len(), 1, "{repaired:?}");
        assert_eq!(std::fs::metadata(places.state_dir()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(places.create().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_key_that_others_can_read_is_repaired_and_a_link_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::find(&variables_of(home.path()), DEFAULT_PROFILE).unwrap();
        places.create().unwrap();
        durable::write_atomic(&places.key_file(), b"key").unwrap();
        assert_eq!(places.protect_key().unwrap(), None);
        std::fs::set_permissions(places.key_file(), std::fs::Permissions::from_mode(0o644))
            .unwrap();

        let repaired = places.protect_key().unwrap();

        assert!(repaired.is_some());
        assert_eq!(std::fs::metadata(places.key_file()).unwrap().mode() & 0o777, 0o600);
        std::fs::remove_file(places.key_file()).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", places.key_file()).unwrap();
        assert!(matches!(places.protect_key(), Err(ConfigError::Key { .. })));
    }
}
