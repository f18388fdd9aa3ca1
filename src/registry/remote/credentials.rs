//! Where the user name and password for a registry come from: `docker login` and `podman login`.
//!
//! Nothing is kept here and nothing is ever shown.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// A password or token. It has neither `Debug` nor `Display`, so it cannot reach a log.
pub struct Secret(String);

impl Secret {
    /// Takes the secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the secret for the one place that sends it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// What proves to a registry who we are.
pub enum Credential {
    /// A user name and a password (or an access token in its place).
    Password {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An `OAuth2` refresh token, which only a token server takes.
    IdentityToken(Secret),
}

/// Why credentials that are configured could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The credential helper did not answer in time.
    #[error("the credential helper did not answer in time")]
    TimedOut,
    /// The credential helper is missing or failed.
    #[error("the credential helper failed")]
    HelperFailed,
    /// An entry of the login file cannot be read.
    #[error("the entry in the login file cannot be read")]
    Unreadable,
}

/// Finds credentials for a repository.
#[async_trait]
pub trait CredentialSource: Send + Sync + 'static {
    /// Returns the credentials for `repository` on `host`, or `None` to go on anonymously.
    ///
    /// It is asked again after the registry refused what it gave. It must not hang.
    async fn lookup(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError>;
}

type Getter = Arc<dyn Fn(&str) -> Result<DockerCredential, CredentialRetrievalError> + Send + Sync>;

/// One of the places where a login is kept.
#[derive(Clone)]
struct LoginFile {
    get: Getter,
    /// Whether its keys may go on below the host.
    has_paths: bool,
}

/// The login files of podman (`REGISTRY_AUTH_FILE`, `containers/auth.json`) and docker
/// (`DOCKER_CONFIG`, `~/.docker/config.json`), in this order, with their credential helpers.
pub struct DockerCredentials {
    files: Arc<[LoginFile]>,
    deadline: Duration,
    // One look-up at a time: a helper that hangs is left behind once, not once a request.
    running: Arc<Semaphore>,
}

impl Default for DockerCredentials {
    fn default() -> Self {
        let podman = Arc::new(docker_credential::get_podman_credential);
        let docker = Arc::new(docker_credential::get_credential);
        // Long enough for a person to unlock a key ring, shorter than a metadata call.
        Self::with_files(
            [
                LoginFile { get: podman, has_paths: true },
                LoginFile { get: docker, has_paths: false },
            ],
            Duration::from_secs(30),
        )
    }
}

impl DockerCredentials {
    fn with_files(files: impl Into<Arc<[LoginFile]>>, deadline: Duration) -> Self {
        Self { files: files.into(), deadline, running: Arc::new(Semaphore::new(1)) }
    }
}

#[async_trait]
impl CredentialSource for DockerCredentials {
    async fn lookup(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        let permit = timeout(self.deadline, Arc::clone(&self.running).acquire_owned())
            .await
            .map_err(|_elapsed| CredentialError::TimedOut)?
            .map_err(|_closed| CredentialError::HelperFailed)?;
        let files = Arc::clone(&self.files);
        let (host, repository) = (host.to_owned(), repository.to_owned());
        let (sender, receiver) = oneshot::channel();
        // A thread of its own, never joined: a helper may hang for ever, and a runtime waits for
        // its blocking tasks when it shuts down.
        std::thread::Builder::new()
            .name("credentials".into())
            .spawn(move || {
                // Nobody may be waiting any more.
                sender.send(find(&files, &host, &repository)).ok();
                drop(permit);
            })
            .map_err(|_source| CredentialError::HelperFailed)?;
        match timeout(self.deadline, receiver).await {
            Ok(Ok(found)) => found,
            Ok(Err(_dropped)) => Err(CredentialError::HelperFailed),
            Err(_elapsed) => Err(CredentialError::TimedOut),
        }
    }
}

/// Returns the keys to look for, the most specific first.
///
/// Docker knows hosts, and a URL for its own registry. Podman may write a path below the host.
fn lookup_keys(host: &str, repository: &str, has_paths: bool) -> Vec<String> {
    /// Most path levels of a repository that are tried as keys.
    const KEY_DEPTH_MAX: usize = 8;
    let mut keys = Vec::new();
    if has_paths {
        let whole = format!("{host}/{repository}");
        let cuts = whole.match_indices('/').map(|(at, _slash)| at).skip(1);
        let mut paths: Vec<String> =
            cuts.filter_map(|at| whole.get(..at)).map(str::to_owned).collect();
        paths.push(whole);
        paths.reverse();
        paths.truncate(KEY_DEPTH_MAX);
        keys = paths;
    }
    keys.push(host.to_owned());
    if host == "docker.io" {
        keys.push("https://index.docker.io/v1/".to_owned());
    }
    keys
}

fn find(
    files: &[LoginFile],
    host: &str,
    repository: &str,
) -> Result<Option<Credential>, CredentialError> {
    let mut failure = None;
    for file in files {
        for key in lookup_keys(host, repository, file.has_paths) {
            match (file.get)(&key) {
                Ok(DockerCredential::UsernamePassword(username, password)) => {
                    let password = Secret::new(password);
                    return Ok(Some(Credential::Password { username, password }));
                }
                Ok(DockerCredential::IdentityToken(token)) => {
                    return Ok(Some(Credential::IdentityToken(Secret::new(token))));
                }
                Err(error) => match failure_of(&error) {
                    None => {}
                    Some(CredentialError::HelperFailed) => {
                        // It would fail again for every other key.
                        failure = Some(CredentialError::HelperFailed);
                        break;
                    }
                    Some(other) => failure = Some(other),
                },
            }
        }
    }
    failure.map_or(Ok(None), Err)
}

fn failure_of(error: &CredentialRetrievalError) -> Option<CredentialError> {
    use CredentialRetrievalError as E;
    match error {
        // The crate does not tell a missing file from one that it cannot read.
        E::NoCredentialConfigured | E::ConfigNotFound | E::ConfigReadError => None,
        // The helper protocol has no other way to say "not found" than this sentence.
        E::HelperFailure { stdout, .. } if stdout.contains("credentials not found") => None,
        E::HelperFailure { .. } | E::HelperCommunicationError | E::MalformedHelperResponse => {
            Some(CredentialError::HelperFailed)
        }
        E::CredentialDecodingError | E::CredentialMismatchError => {
            Some(CredentialError::Unreadable)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(
        answer: impl Fn(&str) -> Result<DockerCredential, CredentialRetrievalError>
        + Send
        + Sync
        + 'static,
    ) -> LoginFile {
        LoginFile { get: Arc::new(answer), has_paths: false }
    }

    #[test]
    fn keys_go_from_the_whole_path_to_the_host() {
        let podman = lookup_keys("quay.io", "a/b", true);
        let docker = lookup_keys("quay.io", "a/b", false);
        let hub = lookup_keys("docker.io", "a/b", false);

        assert_eq!(podman, ["quay.io/a/b", "quay.io/a", "quay.io"]);
        assert_eq!(docker, ["quay.io"]);
        assert_eq!(hub, ["docker.io", "https://index.docker.io/v1/"]);
    }

    #[tokio::test]
    async fn the_second_file_is_asked_when_the_first_has_no_entry() {
        let source = DockerCredentials::with_files(
            [
                file(|_key| Err(CredentialRetrievalError::ConfigReadError)),
                file(|key| match key {
                    "quay.io" => {
                        Ok(DockerCredential::UsernamePassword("me".into(), "secret".into()))
                    }
                    _ => Err(CredentialRetrievalError::NoCredentialConfigured),
                }),
            ],
            Duration::from_secs(10),
        );

        let found = source.lookup("quay.io", "a/b").await;
        let missing = source.lookup("ghcr.io", "a/b").await;

        let Ok(Some(Credential::Password { username, password })) = found else {
            panic!("no password");
        };
        assert_eq!((username.as_str(), password.expose()), ("me", "secret"));
        assert!(matches!(missing, Ok(None)));
    }

    #[tokio::test]
    async fn a_hanging_helper_holds_nobody_and_is_not_started_twice() {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = parking_lot::Mutex::new(blocked);
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let started = Arc::clone(&count);
        let source = DockerCredentials::with_files(
            [file(move |_key| {
                started.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                blocked.lock().recv().ok();
                Err(CredentialRetrievalError::NoCredentialConfigured)
            })],
            Duration::from_millis(30),
        );

        let first = source.lookup("quay.io", "a").await;
        let second = source.lookup("quay.io", "a").await;

        assert!(matches!(first, Err(CredentialError::TimedOut)));
        assert!(matches!(second, Err(CredentialError::TimedOut)));
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
        drop(release);
    }

    #[test]
    fn a_failing_helper_is_not_mistaken_for_no_credentials() {
        let failing = |stdout: &str| CredentialRetrievalError::HelperFailure {
            helper: "docker-credential-x".into(),
            stdout: stdout.into(),
            stderr: String::new(),
        };

        assert_eq!(failure_of(&failing("credentials not found in native keychain\n")), None);
        assert_eq!(failure_of(&failing("locked")), Some(CredentialError::HelperFailed));
    }
}
