//! What a verb reports when it fails: what failed, why, what to do next, and the exit code.

use std::error::Error;
use std::io;

use serde::{Deserialize, Serialize};

use super::exit;
use crate::app::AppError;
use crate::config::ConfigError;
use crate::mailbox::MailboxError;
use crate::protocol::{ErrorClass, ProtocolError};
use crate::registry::{DIRECTORY_DENIED_HINT, RegistryError};
use crate::trust::TrustError;

/// Most causes shown; a longer chain repeats itself.
const CAUSE_COUNT_MAX: usize = 8;

/// A failure as it is shown, also by a mount in the background to its caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What failed, in lower case without a full stop.
    pub(crate) error: String,
    /// The class's short code.
    pub(crate) code: String,
    /// The exit code.
    pub(crate) exit: u8,
    /// Why, the nearest reason first.
    pub(crate) causes: Vec<String>,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure of our own, without a cause.
    pub(crate) fn new(class: ErrorClass, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            code: class.code().to_owned(),
            exit: exit::code(class),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// A failure that `error` and its sources explain.
    pub(crate) fn of(
        class: ErrorClass,
        error: &(dyn Error + 'static),
        hint: Option<String>,
    ) -> Self {
        let mut failure = Self::new(class, error.to_string());
        failure.hint = hint.or_else(|| default_hint(class).map(str::to_owned));
        failure.push_causes(error.source());
        failure
    }

    /// A failed operation on a local file.
    pub(crate) fn io(what: impl Into<String>, error: &io::Error) -> Self {
        let class = match ErrorClass::of_io(error) {
            // What the machine refuses a command is not a bug of the program.
            ErrorClass::Internal => ErrorClass::NotPermitted,
            class => class,
        };
        let mut failure = Self::new(class, what);
        failure.causes.push(error.to_string());
        failure.hint = default_hint(class).map(str::to_owned);
        failure
    }

    /// Puts `what` in front; the error becomes its first cause.
    pub(crate) fn about(mut self, what: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.error, what.into());
        self.causes.insert(0, inner);
        self
    }

    /// Sets what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn push_causes(&mut self, mut source: Option<&(dyn Error + 'static)>) {
        while let Some(error) = source {
            let text = error.to_string();
            let said = self.causes.last().unwrap_or(&self.error);
            // Wrappers that show their source would repeat everything.
            if !said.ends_with(&text) && self.causes.len() < CAUSE_COUNT_MAX {
                self.causes.push(text);
            }
            source = error.source();
        }
    }
}

/// Returns the hint that fits every error of a class.
fn default_hint(class: ErrorClass) -> Option<&'static str> {
    match class {
        ErrorClass::Denied => Some(
            "run `docker login HOST` for the registry's host, or get permission to pull and push",
        ),
        ErrorClass::DirectoryDenied => Some(DIRECTORY_DENIED_HINT),
        ErrorClass::Unreachable | ErrorClass::TimedOut => {
            Some("check the network and the registry's name; `dockercomms doctor` tests both")
        }
        ErrorClass::SignerUnknown => Some(
            "ask the sender for a contact card (`dockercomms key export`), compare the fingerprint, \
             and run `dockercomms trust add CARD`",
        ),
        ErrorClass::NoSpace | ErrorClass::QuotaExceeded => Some("free some space and try again"),
        ErrorClass::ReadOnly => Some("make it writable and try again"),
        ErrorClass::Internal => Some("this is a bug; please report it with the output of `-vv`"),
        ErrorClass::NotFound
        | ErrorClass::SignatureBad
        | ErrorClass::Expired
        | ErrorClass::Revoked
        | ErrorClass::Corrupt
        | ErrorClass::Malformed
        | ErrorClass::TooLarge
        | ErrorClass::NotPermitted
        | ErrorClass::NotSupported
        | ErrorClass::InvalidName
        | ErrorClass::Exists
        | ErrorClass::Interrupted
        | ErrorClass::Busy
        | ErrorClass::Configuration => None,
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::of(error.class(), &error, error.hint())
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::of(error.class(), &error, error.hint())
    }
}

impl From<MailboxError> for Failure {
    fn from(error: MailboxError) -> Self {
        Self::of(error.class(), &error, error.hint())
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::of(error.class(), &error, error.hint().map(str::to_owned))
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::of(error.class(), &error, None)
    }
}

impl From<ProtocolError> for Failure {
    /// For text that the user typed; bytes from a peer never get here.
    fn from(error: ProtocolError) -> Self {
        Self::of(ErrorClass::Configuration, &error, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layer {
        #[error("registry unreachable")]
        Outer(#[source] io::Error),
        #[error("spool: {0}")]
        Repeating(#[source] io::Error),
    }

    #[test]
    fn the_chain_of_sources_becomes_the_causes() {
        let error = Layer::Outer(io::Error::other("connection refused"));

        let failure = Failure::of(ErrorClass::Unreachable, &error, None);

        assert_eq!(failure.error, "registry unreachable");
        assert_eq!(failure.causes, ["connection refused"]);
        assert_eq!((failure.exit, failure.code.as_str()), (7, "unreachable"));
        assert!(failure.hint.is_some());
    }

    #[test]
    fn a_cause_that_was_said_already_is_not_repeated() {
        let error = Layer::Repeating(io::Error::other("disk on fire"));

        let failure = Failure::of(ErrorClass::Internal, &error, Some("run".to_owned()));

        assert_eq!(failure.error, "spool: disk on fire");
        assert!(failure.causes.is_empty(), "{:?}", failure.causes);
        assert_eq!(failure.hint.as_deref(), Some("run"));
    }

    #[test]
    fn about_puts_the_subject_first() {
        let failure =
            Failure::new(ErrorClass::NotFound, "no such file").about("report.pdf was not sent");

        assert_eq!(failure.error, "report.pdf was not sent");
        assert_eq!(failure.causes, ["no such file"]);
        assert_eq!(failure.exit, 5);
    }
}
