//! Why the configuration cannot be used, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::protocol::{AddressProblem, ErrorClass, Identity};
use crate::sys::Untrusted;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// Neither `--home` nor the environment says where our files are.
    #[error("no home directory is known")]
    NoHome,
    /// A profile's name becomes a directory, so it must be plain.
    #[error("a profile's name can contain only letters, digits, `-` and `_`")]
    BadProfileName,
    /// The file names other profiles, but not this one.
    #[error("profile {profile} is not in {}", file.display())]
    NoProfile {
        /// The requested profile.
        profile: String,
        /// The configuration file.
        file: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The configuration file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML of our shape.
    #[error("{} line {line}: {reason}", path.display())]
    Syntax {
        /// The configuration file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's reason.
        reason: String,
    },
    /// A setting has a value that cannot be used.
    #[error("{setting} is not valid: {reason}")]
    BadSetting {
        /// The setting's name.
        setting: &'static str,
        /// Why.
        reason: String,
    },
    /// My own name is not an address, and no flag allows a name of another form.
    #[error("`{}` is not an address: {problem}", Untrusted(name))]
    NotAnAddress {
        /// What was given.
        name: String,
        /// Why not.
        problem: AddressProblem,
        /// What may have been meant.
        meant: Option<Identity>,
    },
    /// A directory of ours cannot be made or trusted.
    #[error("cannot use the directory {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The private key's file cannot be trusted.
    #[error("cannot use the key file {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This home and profile has not been set up yet.
    #[error("there is no identity here: {} is missing", missing.display())]
    NotSetUp {
        /// The file that is missing.
        missing: PathBuf,
    },
    /// The program cannot determine who runs it.
    #[error("no identity is configured and none can be derived from the user and host names")]
    NoIdentity,
}

impl ConfigError {
    /// Returns the class that decides the exit code.
    #[expect(clippy::unused_self, reason = "every error has a class")]
    pub(crate) fn class(&self) -> ErrorClass {
        ErrorClass::Configuration
    }

    /// Returns what to do next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some("give `--home DIR`, or set DOCKERCOMMS_HOME or HOME".to_owned()),
            Self::NoProfile { profile, .. } => {
                Some(format!("run `dockercomms --profile {profile} init` to add it"))
            }
            Self::NotSetUp { .. } => Some(
                "run `dockercomms init` (`dockercomms init --home DIR` for another home) to begin, \
                 or look for a typing mistake in `--home` and `--profile`"
                    .to_owned(),
            ),
            Self::NoIdentity => Some("run `dockercomms init --me you@example.org`".to_owned()),
            Self::NotAnAddress { meant: Some(meant), .. } => {
                Some(format!("did you mean `{meant}`?"))
            }
            Self::NotAnAddress { meant: None, problem, .. } if problem.is_of_any_name() => {
                Some("give a name like `you@example.org`".to_owned())
            }
            Self::NotAnAddress { meant: None, .. } => Some(
                "give a name like `you@example.org`; `dockercomms init --any-name` takes one of \
                 another form, which others can write to once they have your card"
                    .to_owned(),
            ),
            Self::BadProfileName
            | Self::Read { .. }
            | Self::Syntax { .. }
            | Self::BadSetting { .. }
            | Self::Directory { .. }
            | Self::Key { .. } => None,
        }
    }

    pub(crate) fn setting(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::BadSetting { setting, reason: reason.into() }
    }
}
