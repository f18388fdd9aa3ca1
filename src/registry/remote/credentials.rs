//! Where the user name and password for a registry come from: `docker login` and `podman login`.
//!
//! Nothing is stored here and nothing is ever shown.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::sys::durable;

/// A password or token. It has neither `Debug` nor `Display`, so it cannot reach a log.
pub struct Secret(String);

impl Secret {
    /// Wraps the secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the secret for the one place that sends it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// What proves our identity to a registry.
pub enum Credential {
    /// A user name and a password (or an access token in its place).
    Password {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An `OAuth2` refresh token, which only a token server accepts.
    IdentityToken(Secret),
}

/// Why configured credentials are unavailable: in which file, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(String);

impl CredentialError {
    /// Describes what is wrong; it must not contain a secret.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    fn in_file(file: &Path, problem: impl Display) -> Self {
        Self(format!("{}: {problem}", file.display()))
    }
}

/// Finds credentials for a repository.
#[async_trait]
pub trait CredentialSource: Send + Sync + 'static {
    /// Returns the credentials for `repository` on `host`, or `None` to continue anonymously.
    ///
    /// It is called again after the registry refused what it returned. It must not hang.
    async fn lookup(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError>;

    /// Returns a number that changes whenever a login may have changed.
    fn mark(&self) -> u64 {
        0
    }
}

type Getter =
    Arc<dyn Fn(&[u8], &str) -> Result<DockerCredential, CredentialRetrievalError> + Send + Sync>;

/// Largest login file in bytes that is read; a hundred logins take some 20 KiB.
const LOGIN_FILE_LEN_MAX: u64 = 1 << 20;

/// One of the places where logins are kept.
#[derive(Clone)]
struct LoginFile {
    path: PathBuf,
    get: Getter,
    /// Whether its keys may continue below the host.
    has_paths: bool,
}

/// The login files of podman (`REGISTRY_AUTH_FILE` or `containers/auth.json`) and docker
/// (`DOCKER_CONFIG` or `~/.docker/config.json`), in this order, with their credential helpers.
pub struct DockerCredentials {
    files: Arc<[LoginFile]>,
    deadline: Duration,
    // One look-up at a time: a helper that hangs is abandoned once, not once per request.
    running: Arc<Semaphore>,
    /// The error if the current look-up takes too long.
    overdue: Arc<Mutex<CredentialError>>,
}

impl Default for DockerCredentials {
    fn default() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let below = |name, path| variable(name).map(|dir| PathBuf::from(dir).join(path));
        let podman = match variable("REGISTRY_AUTH_FILE") {
            Some(file) => vec![file.into()],
            None => [
                below("XDG_RUNTIME_DIR", "containers/auth.json"),
                below("XDG_CONFIG_HOME", "containers/auth.json")
                    .or_else(|| below("HOME", ".config/containers/auth.json")),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let docker =
            below("DOCKER_CONFIG", "config.json").or_else(|| below("HOME", ".docker/config.json"));
        let get: Getter = Arc::new(|file, key| get_credential_from_reader(file, key));
        let file = |path, has_paths| LoginFile { path, get: Arc::clone(&get), has_paths };
        let podman = podman.into_iter().map(|path| file(path, true));
        let files: Vec<_> = podman.chain(docker.map(|path| file(path, false))).collect();
        // Long enough for a person to unlock a key ring, shorter than a metadata call.
        Self::with_files(files, Duration::from_secs(30))
    }
}

impl DockerCredentials {
    fn with_files(files: impl Into<Arc<[LoginFile]>>, deadline: Duration) -> Self {
        let overdue = CredentialError::new("no login was found in time");
        Self {
            files: files.into(),
            deadline,
            running: Arc::new(Semaphore::new(1)),
            overdue: Arc::new(Mutex::new(overdue)),
        }
    }
}

/// Returns a number for the files as they are: `docker login` writes them anew.
fn mark_of<'a>(files: impl Iterator<Item = &'a Path>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        // The time of the change covers the content, and permissions too.
        let metadata = std::fs::metadata(file).ok();
        let seen = metadata.map(|m| (m.dev(), m.ino(), m.len(), m.ctime(), m.ctime_nsec()));
        seen.hash(&mut hasher);
    }
    hasher.finish()
}

#[async_trait]
impl CredentialSource for DockerCredentials {
    fn mark(&self) -> u64 {
        mark_of(self.files.iter().map(|file| file.path.as_path()))
    }

    async fn lookup(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        let permit = timeout(self.deadline, Arc::clone(&self.running).acquire_owned())
            .await
            .map_err(|_elapsed| self.overdue.lock().clone())?
            .map_err(|_closed| CredentialError::new("the program is shutting down"))?;
        let (files, overdue) = (Arc::clone(&self.files), Arc::clone(&self.overdue));
        let (host, repository) = (host.to_owned(), repository.to_owned());
        let (sender, receiver) = oneshot::channel();
        // A thread of its own, never joined: a helper may hang permanently, and a runtime waits for
        // its blocking tasks when it shuts down.
        std::thread::Builder::new()
            .name("credentials".into())
            .spawn(move || {
                // The waiting call may have ended.
                sender.send(find(&files, &host, &repository, &overdue)).ok();
                drop(permit);
            })
            .map_err(|error| CredentialError(format!("no thread could be started: {error}")))?;
        match timeout(self.deadline, receiver).await {
            Ok(Ok(found)) => found,
            Ok(Err(_dropped)) => Err(CredentialError::new("the look-up ended early")),
            Err(_elapsed) => Err(self.overdue.lock().clone()),
        }
    }
}

/// Returns the keys to look for, the most specific first.
///
/// Docker uses hosts, and a URL for its own registry. Podman may write a path below the host.
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

/// Searches one file after the other; the first broken one is reported if none has a login.
fn find(
    files: &[LoginFile],
    host: &str,
    repository: &str,
    overdue: &Mutex<CredentialError>,
) -> Result<Option<Credential>, CredentialError> {
    let mut failure = None;
    for file in files {
        match file.find(host, repository, overdue) {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(None), Err)
}

/// The programs to which a login file delegates its secrets.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Helpers {
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

impl Helpers {
    fn program(&self, key: &str) -> String {
        let own = self.cred_helpers.as_ref().and_then(|helpers| helpers.get(key));
        let name = own.filter(|name| !name.is_empty()).or(self.creds_store.as_ref());
        name.map_or_else(|| "it names".to_owned(), |name| format!("docker-credential-{name}"))
    }
}

impl LoginFile {
    fn find(
        &self,
        host: &str,
        repository: &str,
        overdue: &Mutex<CredentialError>,
    ) -> Result<Option<Credential>, CredentialError> {
        use CredentialRetrievalError as E;
        let failed = |problem: String| CredentialError::in_file(&self.path, problem);
        *overdue.lock() = failed("it cannot be read in time".to_owned());
        let bytes = match durable::read_bounded(&self.path, LOGIN_FILE_LEN_MAX) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(format!("it cannot be read: {error}"))),
        };
        // An empty file contains no login, as for docker and podman.
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let no_login_file =
            |place: &str| failed(format!("it is not what `docker login` writes{place}"));
        // The parser's own words may quote a password.
        let helpers: Helpers = serde_json::from_slice(&bytes).map_err(|error| {
            no_login_file(&format!(" (line {}, column {})", error.line(), error.column()))
        })?;
        for key in lookup_keys(host, repository, self.has_paths) {
            let helper = helpers.program(&key);
            let helper_failed = |how: &str| failed(format!("the credential helper {helper} {how}"));
            *overdue.lock() = helper_failed("did not answer in time");
            return Err(match (self.get)(&bytes, &key) {
                Ok(DockerCredential::UsernamePassword(username, password)) => {
                    let password = Secret::new(password);
                    return Ok(Some(Credential::Password { username, password }));
                }
                Ok(DockerCredential::IdentityToken(token)) => {
                    return Ok(Some(Credential::IdentityToken(Secret::new(token))));
                }
                Err(E::NoCredentialConfigured | E::ConfigNotFound) => continue,
                // The helper protocol has no other way to say "not found" than this sentence.
                Err(E::HelperFailure { stdout, .. })
                    if stdout.contains("credentials not found") =>
                {
                    continue;
                }
                Err(E::HelperFailure { .. }) => helper_failed("failed"),
                Err(E::HelperCommunicationError) => {
                    helper_failed("cannot be run; is it installed?")
                }
                Err(E::MalformedHelperResponse) => helper_failed("gave no usable answer"),
                Err(E::ConfigReadError) => no_login_file(""),
                Err(E::CredentialDecodingError | E::CredentialMismatchError) => {
                    failed(format!("its entry for {key} cannot be read"))
                }
            });
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(
        dir: &tempfile::TempDir,
        content: &str,
        get: impl Fn(&[u8], &str) -> Result<DockerCredential, CredentialRetrievalError>
        + Send
        + Sync
        + 'static,
    ) -> LoginFile {
        let path = dir.path().join(uuid::Uuid::new_v4().to_string());
        durable::write_atomic(&path, content.as_bytes()).unwrap();
        LoginFile { path, get: Arc::new(get), has_paths: false }
    }

    /// Returns a file with this content, as the crate reads it.
    fn login_file(dir: &tempfile::TempDir, content: &str) -> LoginFile {
        file(dir, content, |file, key| get_credential_from_reader(file, key))
    }

    async fn lookup(
        files: impl Into<Arc<[LoginFile]>>,
        host: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        DockerCredentials::with_files(files, Duration::from_mins(1)).lookup(host, "a/b").await
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

    #[test]
    fn every_change_of_a_login_file_changes_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        let file = login_file(&dir, "{}");
        let (path, mut missing) = (file.path.clone(), file.clone());
        missing.path = dir.path().join("missing/config.json");
        let source = DockerCredentials::with_files([missing.clone(), file], Duration::MAX);
        let mut marks = vec![source.mark()];
        assert_eq!(marks, [source.mark()]);

        // Of the same length, as another password may be.
        durable::write_atomic(&path, b"[]").unwrap();
        marks.push(source.mark());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
        marks.push(source.mark());
        std::fs::create_dir(missing.path.parent().unwrap()).unwrap();
        durable::write_atomic(&missing.path, b"{}").unwrap();
        marks.push(source.mark());
        std::fs::remove_file(&path).unwrap();
        marks.push(source.mark());

        assert_eq!(marks.iter().collect::<std::collections::HashSet<_>>().len(), 5, "{marks:?}");
    }

    #[tokio::test]
    async fn the_second_file_is_asked_when_the_first_has_no_entry_or_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let good = login_file(&dir, r#"{"auths":{"quay.io":{"auth":"bWU6c2VjcmV0"}}}"#);
        for first in ["{}", "{", " \n"] {
            let files = [login_file(&dir, first), good.clone()];

            let found = lookup(files, "quay.io").await;

            let Ok(Some(Credential::Password { username, password })) = found else {
                panic!("no password after {first:?}");
            };
            assert_eq!((username.as_str(), password.expose()), ("me", "secret"));
        }
    }

    #[tokio::test]
    async fn a_missing_or_empty_file_and_one_without_the_host_are_no_login() {
        let dir = tempfile::tempdir().unwrap();
        let mut missing = login_file(&dir, "");
        missing.path = dir.path().join("missing");
        let mut below_a_file = login_file(&dir, "");
        below_a_file.path.push("config.json");
        let other = login_file(&dir, r#"{"auths":{"quay.io":{"auth":"bWU6c2VjcmV0"}}}"#);
        for file in [missing, below_a_file, other, login_file(&dir, "")] {
            let found = lookup([file], "ghcr.io").await;

            assert!(matches!(found, Ok(None)), "{:?}", found.err());
        }
    }

    #[tokio::test]
    async fn what_is_broken_is_said_with_its_file_and_without_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        for (content, expected) in [
            ("{\"auths\":\n{\"hunter2", "line 2"),
            ("[\"hunter2\"]", "not what `docker login` writes (line 1"),
            (r#"{"credsStore":{"x":"hunter2"}}"#, "not what `docker login` writes (line 1"),
            (r#"{"auths":"hunter2"}"#, "not what `docker login` writes"),
            (r#"{"auths":{"quay.io":{"auth":"hunter2!"}}}"#, "entry for quay.io"),
            (
                r#"{"auths":{"quay.io":{"auth":"bWU6c2VjcmV0","username":"me","password":"hunter2"}}}"#,
                "entry for quay.io",
            ),
            (
                r#"{"credHelpers":{"quay.io":"no-such-helper"}}"#,
                "docker-credential-no-such-helper cannot be run",
            ),
            (r#"{"credsStore":"no-such-store"}"#, "docker-credential-no-such-store cannot be run"),
        ] {
            let file = login_file(&dir, content);
            let path = file.path.display().to_string();

            let Err(error) = lookup([file], "quay.io").await else { panic!("{content}") };

            let text = error.to_string();
            assert!(text.starts_with(&path) && text.contains(expected), "{content}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_not_mistaken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = login_file(&dir, "");
        // A directory cannot be read, not even by root.
        file.path = dir.path().to_owned();

        let Err(error) = lookup([file], "quay.io").await else { panic!("no error") };

        assert!(error.to_string().contains("cannot be read"), "{error}");
    }

    #[tokio::test]
    async fn a_hanging_helper_holds_nobody_is_named_and_is_not_started_twice() {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = Mutex::new(blocked);
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let started = Arc::clone(&count);
        let dir = tempfile::tempdir().unwrap();
        let file = file(&dir, r#"{"credsStore":"slow"}"#, move |_file, _key| {
            started.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            blocked.lock().recv().ok();
            Err(CredentialRetrievalError::NoCredentialConfigured)
        });
        let source = DockerCredentials::with_files([file], Duration::from_millis(300));

        let first = source.lookup("quay.io", "a").await;
        let second = source.lookup("quay.io", "a").await;

        for found in [first, second] {
            let Err(error) = found else { panic!("no error") };
            let text = error.to_string();
            assert!(text.contains("docker-credential-slow did not answer in time"), "{text}");
        }
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
        drop(release);
    }

    #[tokio::test]
    async fn a_failing_helper_is_not_mistaken_for_no_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let failing = |stdout: &'static str| {
            file(&dir, r#"{"credsStore":"x"}"#, move |_file, _key| {
                Err(CredentialRetrievalError::HelperFailure {
                    helper: "docker-credential-x".into(),
                    stdout: stdout.into(),
                    stderr: String::new(),
                })
            })
        };

        let missing =
            lookup([failing("credentials not found in native keychain\n")], "quay.io").await;
        let locked = lookup([failing("locked")], "quay.io").await;

        assert!(matches!(missing, Ok(None)));
        let Err(error) = locked else { panic!("no error") };
        assert!(error.to_string().ends_with("docker-credential-x failed"), "{error}");
    }
}
