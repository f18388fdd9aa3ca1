//! Why a registry operation failed.

use std::time::Duration;

use crate::protocol::{Digest, ErrorClass};
use crate::sys::blocking::TaskLost;

/// The cause of an error, kept for `-v`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a registry operation failed; one variant for each decision that a caller makes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No such blob, manifest, tag or repository.
    #[error("{what} not found")]
    NotFound {
        /// A digest or tag; never text from the registry.
        what: String,
    },
    /// A pushed manifest names something that the registry does not have, or no longer: its garbage
    /// collection came in between, or it lags.
    #[error("the registry does not have all that the manifest names")]
    BlobUnknown {
        /// What it says is missing, at most [`UNKNOWN_COUNT_MAX`]; none = it does not say.
        digests: Vec<Digest>,
    },
    /// The registry refused our credentials or permission. Never retried.
    #[error("registry refused access: {reason}")]
    Denied {
        /// A short reason of ours.
        reason: String,
    },
    /// The registry refused us, and the configured login cannot be read. Never retried.
    #[error("registry refused access: {reason}")]
    LoginUnreadable {
        /// The login file, and what is wrong with it.
        reason: String,
    },
    /// The disk denies us access to a layout directory. Never retried.
    #[error("{reason}")]
    DirectoryDenied {
        /// A short reason of ours.
        reason: &'static str,
    },
    /// The bytes do not hash to the requested digest. Refetched once by the caller, never cached.
    #[error("digest mismatch for {expected}")]
    DigestMismatch {
        /// The requested digest.
        expected: Digest,
        /// The digest of the received bytes.
        actual: Digest,
    },
    /// More bytes than the limit or the descriptor allows.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// The answer breaks the OCI distribution or image-layout specification.
    #[error("registry's answer breaks the protocol: {reason}")]
    Malformed {
        /// A short reason; text from the registry is escaped and cut in it.
        reason: String,
    },
    /// A page for people came in place of the registry's answer, as captive portals send.
    ///
    /// It says nothing about what was requested, so nothing may be concluded from it.
    #[error("a web page came in place of the registry's answer (a login page of the network?)")]
    WebPage,
    /// The registry did not answer in time; retrying may help.
    #[error("registry did not answer in time")]
    TimedOut,
    /// The registry cannot be reached or failed; retrying may help.
    #[error("registry unreachable")]
    Unreachable(#[source] BoxError),
    /// The registry asks us to wait (429, 503); retrying after `retry_after` may help.
    #[error("registry is throttling")]
    Throttled {
        /// How long to wait, already clamped.
        retry_after: Option<Duration>,
    },
    /// The registry permanently refuses the request: an immutable tag, a size limit, no deletion.
    #[error("registry refused the request: {reason}")]
    Rejected {
        /// A short reason of ours.
        reason: String,
    },
    /// The disk of a layout directory is full.
    #[error("no space left in the layout directory")]
    NoSpace,
    /// A local file operation on a layout directory failed.
    #[error("layout directory: {0}")]
    Io(std::io::Error),
    /// The reference or configuration is wrong.
    #[error("{0}")]
    Configuration(String),
}

/// Most missing digests that an error carries; the others are found by asking for each.
pub const UNKNOWN_COUNT_MAX: usize = 64;

/// The hint for [`ErrorClass::DirectoryDenied`].
pub const DIRECTORY_DENIED_HINT: &str = "ask the directory's owner for access; to share one, \
    create it empty for a group (`chmod 2770 DIR`) before the first message: files in it take its \
    mode";

impl RegistryError {
    /// Returns the class that decides errno, exit code and retries.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::Denied { .. } | Self::LoginUnreadable { .. } => ErrorClass::Denied,
            Self::DirectoryDenied { .. } => ErrorClass::DirectoryDenied,
            Self::DigestMismatch { .. } => ErrorClass::Corrupt,
            Self::TooLarge { .. } | Self::Malformed { .. } | Self::WebPage => ErrorClass::Malformed,
            Self::TimedOut => ErrorClass::TimedOut,
            Self::BlobUnknown { .. } | Self::Unreachable(_) | Self::Throttled { .. } => {
                ErrorClass::Unreachable
            }
            Self::Rejected { .. } => ErrorClass::NotPermitted,
            Self::NoSpace => ErrorClass::NoSpace,
            Self::Io(_) => ErrorClass::Internal,
            Self::Configuration(_) => ErrorClass::Configuration,
        }
    }

    /// Returns what to do next, where the hint of the class alone would not fit.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::WebPage => Some("sign in to the network with a browser, then try again"),
            Self::LoginUnreadable { .. } => {
                Some("repair or remove what is named there, then run `docker login` again")
            }
            Self::DirectoryDenied { .. } => Some(DIRECTORY_DENIED_HINT),
            Self::BlobUnknown { .. } => Some(
                "it was pushed again in vain; ask the registry's operator how soon its garbage \
                 collection removes what nothing names yet",
            ),
            _ => None,
        }
    }

    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::NotFound { what: what.to_string() }
    }
}

impl From<TaskLost> for RegistryError {
    fn from(lost: TaskLost) -> Self {
        Self::Io(std::io::Error::other(lost))
    }
}
