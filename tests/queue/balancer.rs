//! nginx in front of several registries, as in an organisation that wants no downtime.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use tempfile::TempDir;

use crate::common::{Registry, Running, program, temp_dir, wait_until, write};

/// Ports that are tried: one that was free may be taken before nginx listens on it.
const ATTEMPTS: usize = 5;

/// A running nginx; killed when dropped.
pub(super) struct Balancer {
    address: SocketAddr,
    server: Running,
    dir: TempDir,
}

/// What nginx may answer to a push in place of the registry.
pub(super) const REFUSALS: [u16; 7] = [401, 403, 404, 405, 409, 413, 507];

/// Who may push through nginx that asks.
pub(super) const PUSHER: (&str, &str) = ("alice", "hush-hush");

impl Balancer {
    /// Takes turns among `registries`; `None` as [`crate::common::tool`].
    #[track_caller]
    pub(super) fn new(registries: &[&Registry]) -> Option<Self> {
        Self::with(registries, "")
    }

    /// As [`Self::new`], in front of one registry; reading is free, pushing asks for [`PUSHER`].
    #[track_caller]
    pub(super) fn asking(registry: &Registry) -> Option<Self> {
        let ask = "limit_except GET HEAD { auth_basic mail; auth_basic_user_file users; }\n";
        Self::with(&[registry], ask)
    }

    #[track_caller]
    fn with(registries: &[&Registry], location: &str) -> Option<Self> {
        for _ in 0..ATTEMPTS {
            let address = free_address();
            let dir = temp_dir();
            let refusals = refusals(dir.path());
            let text = config(address, registries, &format!("{refusals}{location}"));
            let config = write(dir.path().join("nginx.conf"), text);
            let (user, password) = PUSHER;
            write(dir.path().join("users"), format!("{user}:{{PLAIN}}{password}\n"));
            let mut command = program("nginx")?;
            command.arg("-p").arg(dir.path()).arg("-c").arg(config).args(["-e", "stderr"]);
            let mut server = Running::start(command);
            wait_until("nginx answers or has ended", || {
                !server.is_running() || TcpStream::connect(address).is_ok()
            });
            if server.is_running() {
                return Some(Self { address, server, dir });
            }
            assert!(server.errors().contains("Address already in use"), "{}", server.errors());
        }
        panic!("no port of {ATTEMPTS} stayed free");
    }

    /// Returns the reference that `--registry` takes.
    pub(super) fn reference(&self, repository: &str) -> String {
        format!("docker://{}/{repository}", self.address)
    }

    /// Returns `host:port`.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers every push with `status` from now on, until [`Self::pass`].
    pub(super) fn refuse(&self, status: u16) {
        write(self.dir.path().join(status.to_string()), b"");
    }

    /// Lets every push pass again.
    pub(super) fn pass(&self) {
        for status in REFUSALS {
            std::fs::remove_file(self.dir.path().join(status.to_string())).ok();
        }
    }

    /// Returns how often nginx has seen a registry fail.
    pub(super) fn failure_count(&self) -> usize {
        self.server.errors().lines().filter(|line| line.contains("upstream")).count()
    }
}

/// Returns an address on loopback that no process listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

/// Writes how nginx refuses pushes while a file of the status's name is there.
fn refusals(dir: &Path) -> String {
    let dir = dir.display();
    let one = |status: u16| {
        format!(
            "if (-f {dir}/{status}) {{ set $push \"${{push}}{status}\"; }}\n\
             if ($push = \"push{status}\") {{ return {status}; }}\n"
        )
    };
    let all: String = REFUSALS.into_iter().map(one).collect();
    format!("set $push \"\";\nif ($request_method !~ ^(GET|HEAD)$) {{ set $push push; }}\n{all}")
}

/// Writes what nginx does: bodies of any length pass at once, and the next registry is asked when
/// one cannot be. Requests that change something are not repeated by nginx; that is the client's part.
fn config(address: SocketAddr, registries: &[&Registry], location: &str) -> String {
    let server = |registry: &&Registry| format!("server {};\n", registry.address());
    let servers = registries.iter().map(server).collect::<Vec<_>>().concat();
    let temporary = |kind: &str| format!("{kind}_temp_path {kind};\n");
    let paths: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(temporary).concat();
    format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 256; }}
http {{
access_log off;
{paths}
client_max_body_size 0;
upstream registries {{
{servers}
}}
server {{
listen {address};
location / {{
{location}proxy_pass http://registries;
proxy_http_version 1.1;
proxy_set_header Host $http_host;
proxy_request_buffering off;
proxy_buffering off;
proxy_next_upstream error timeout;
proxy_connect_timeout 2s;
}}
}}
}}
"
    )
}
