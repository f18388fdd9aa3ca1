//! Real registries on loopback, with storage that is removed with the test.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::{Running, clean};
use super::{tool, wait_for, wait_until};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Docker,
    Crane,
}

/// Who may log in to a registry that asks: user and password.
pub(crate) const LOGIN: (&str, &str) = ("alice", "secret");

/// The line of `htpasswd -B` for [`LOGIN`], with the least cost that the registry takes.
const HTPASSWD: &str = "alice:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// More YAML for the sections of docker-registry's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settings {
    None,
    ReadOnly,
    /// As it comes: without deletion.
    Keeping,
    /// A login, and HTTPS with a certificate of its own.
    Private,
}

/// A registry process; killed when dropped.
pub(crate) struct Registry {
    kind: Kind,
    program: PathBuf,
    /// For the configuration.
    dir: TempDir,
    /// The directory of blobs and tags; another registry may use it too.
    data: PathBuf,
    /// More YAML for docker-registry's configuration.
    settings: Settings,
    port: u16,
    server: Option<Running>,
}

impl Registry {
    /// Starts Debian's docker-registry; `None` as [`tool`].
    #[track_caller]
    pub(crate) fn docker() -> Option<Self> {
        Some(Self::start_new(Kind::Docker, tool("docker-registry")?, Settings::None))
    }

    /// As [`Self::docker`], with HTTPS and asking for [`LOGIN`].
    #[track_caller]
    pub(crate) fn docker_private() -> Option<Self> {
        tool("openssl")?;
        Some(Self::start_new(Kind::Docker, tool("docker-registry")?, Settings::Private))
    }

    /// As [`Self::docker`], refusing all that would change it.
    #[track_caller]
    pub(crate) fn docker_read_only() -> Option<Self> {
        Some(Self::start_new(Kind::Docker, tool("docker-registry")?, Settings::ReadOnly))
    }

    /// As [`Self::docker`], refusing every deletion.
    #[track_caller]
    pub(crate) fn docker_without_deletion() -> Option<Self> {
        Some(Self::start_new(Kind::Docker, tool("docker-registry")?, Settings::Keeping))
    }

    /// Starts `crane registry serve`; `None` as [`tool`].
    #[track_caller]
    pub(crate) fn crane() -> Option<Self> {
        Some(Self::start_new(Kind::Crane, tool("crane")?, Settings::None))
    }

    fn start_new(kind: Kind, program: PathBuf, settings: Settings) -> Self {
        let dir = super::temp_dir();
        let data = dir.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        if settings == Settings::Private {
            make_certificates(dir.path());
            super::write(dir.path().join("htpasswd"), HTPASSWD);
        }
        let mut registry = Self { kind, program, dir, data, settings, port: 0, server: None };
        registry.start();
        registry
    }

    /// Starts a second registry over the same storage, as behind a load balancer.
    ///
    /// The storage goes with the first one.
    #[track_caller]
    pub(crate) fn twin(&self) -> Self {
        let mut twin = Self {
            kind: self.kind,
            program: self.program.clone(),
            dir: super::temp_dir(),
            data: self.data.clone(),
            settings: self.settings,
            port: 0,
            server: None,
        };
        twin.start();
        twin
    }

    /// Returns the directory of blobs and tags.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Returns `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the reference that `--registry` takes.
    pub(crate) fn reference(&self, repository: &str) -> String {
        format!("docker://{}/{repository}", self.address())
    }

    /// Returns what the registry has logged since it was started last.
    pub(crate) fn log(&self) -> String {
        self.server.as_ref().map(|server| server.output() + &server.errors()).unwrap_or_default()
    }

    /// Returns the certificate of the authority behind a private registry's own.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// Removes every blob from a repository of docker-registry, as a collection would.
    pub(crate) fn forget_blobs(&self, repository: &str) {
        let repositories = self.data.join("docker/registry/v2/repositories");
        std::fs::remove_dir_all(repositories.join(repository).join("_layers")).unwrap();
    }

    /// Kills the registry: connections are refused from now on.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again, on the same port, with what it had.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        let log = self.server.insert(Running::start(self.command()));
        if self.port == 0 {
            // It chose a free port itself, so no other test can take it in between.
            self.port = wait_for("the registry listens", || {
                assert!(log.is_running(), "the registry ended: {}", log.errors());
                port_in(&(log.output() + &log.errors()))
            });
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        wait_until("the registry answers", || {
            assert!(log.is_running(), "the registry ended: {}", log.errors());
            TcpStream::connect(address).is_ok()
        });
    }

    /// Lets the registry hang: connections are taken, nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Resumes a paused registry.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        self.server.as_ref().expect("the registry runs").signal(signal);
    }

    fn command(&self) -> Command {
        let mut command = clean(&self.program);
        match self.kind {
            Kind::Docker => {
                let deletes = self.settings != Settings::Keeping;
                let config = format!(
                    "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    \
                     rootdirectory: {}\n  delete:\n    enabled: {deletes}\n{}http:\n  addr: {}\n  \
                     secret: twins-share-it\n{}",
                    self.data.display(),
                    match self.settings {
                        Settings::ReadOnly =>
                            "  maintenance:\n    readonly:\n      enabled: true\n",
                        Settings::None | Settings::Keeping | Settings::Private => "",
                    },
                    self.address(),
                    match self.settings {
                        Settings::Private => private_settings(self.dir.path()),
                        Settings::None | Settings::ReadOnly | Settings::Keeping => String::new(),
                    },
                );
                let path = super::write(self.dir.path().join("config.yml"), config);
                command.arg("serve").arg(path);
            }
            Kind::Crane => {
                command.args(["registry", "serve", "--address", &self.address(), "--disk"]);
                command.arg(&self.data);
            }
        }
        command
    }
}

/// Makes an authority and a certificate of it for 127.0.0.1.
#[track_caller]
fn make_certificates(dir: &Path) {
    let script = "
set -e
new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
$new -x509 -days 30 -subj '/CN=test CA' -keyout ca.key -out ca.crt
$new -subj /CN=localhost -keyout server.key -out server.csr
printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\n' > extensions
openssl x509 -req -days 30 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
    -extfile extensions -out server.crt";
    let mut command = super::shell::<&Path>(script, &[]);
    command.current_dir(dir);
    super::run(command).ok();
}

/// Returns the end of the section `http`, and what asks for a login.
fn private_settings(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "  tls:\n    certificate: {dir}/server.crt\n    key: {dir}/server.key\nauth:\n  htpasswd:\n    \
         realm: mail\n    path: {dir}/htpasswd\n"
    )
}

/// Finds the port in what a registry says when it listens.
fn port_in(log: &str) -> Option<u16> {
    let markers = ["listening on 127.0.0.1:", "serving on port ", "serving on 127.0.0.1:"];
    markers.iter().find_map(|marker| {
        let (_, rest) = log.split_once(marker)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}
