//! What a user may choose about a remote registry, with safe defaults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::{CredentialSource, DockerCredentials};

/// How to talk to a registry.
#[derive(Clone)]
pub struct RemoteOptions {
    /// Use plain HTTP with a host that is not this machine (P27). Off by default.
    pub insecure: bool,
    /// Use TLS with a registry on this machine, where plain HTTP is the default.
    ///
    /// The scheme is never probed: falling back from one to the other is what an attacker would
    /// provoke.
    pub loopback_tls: bool,
    /// A PEM file with certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where user names and passwords come from.
    pub credentials: Arc<dyn CredentialSource>,
    /// Hosts (`host` or `host:port`) of token servers that may see the password, besides the
    /// registry itself and the well-known ones.
    pub auth_realms: Vec<String>,
    /// The timeouts.
    pub deadlines: Deadlines,
    /// Most bytes per second of request bodies, over all of them; 0 = no limit.
    pub upload_bytes_per_sec: u64,
    /// The same for bodies of answers.
    pub download_bytes_per_sec: u64,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            insecure: false,
            loopback_tls: false,
            ca_file: None,
            credentials: Arc::new(DockerCredentials::default()),
            auth_realms: Vec::new(),
            deadlines: Deadlines::default(),
            upload_bytes_per_sec: 0,
            download_bytes_per_sec: 0,
        }
    }
}

/// How long a registry may take; beyond it the call fails as timed out.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the connection with its TLS handshake.
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// The window in which a body must move at the lowest rate of 1 KiB/s.
    pub rate_window: Duration,
    /// For a whole call that carries no blob.
    pub metadata: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            rate_window: Duration::from_secs(30),
            metadata: Duration::from_mins(1),
        }
    }
}

/// The lowest rate of a body in bytes per second; anything slower is as good as hanging.
const RATE_MIN: u128 = 1024;

impl Deadlines {
    /// Returns whether `len` bytes in `window` are too few.
    pub(super) fn is_too_slow(len: u64, window: Duration) -> bool {
        u128::from(len) * 1000 < RATE_MIN * window.as_millis()
    }
}
