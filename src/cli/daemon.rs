//! A mount in the background: executes the program again and waits until the new process is ready.
//!
//! No fork: the new process has a pipe as its standard output and a session of its own. It sends
//! one line, a [`Report`], from which the caller's exit status follows.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::env;
use super::failure::Failure;
use crate::protocol::ErrorClass;

/// Most notes that a ready mount sends to the caller.
const NOTE_COUNT_MAX: usize = 32;

/// What the background process reports, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Report {
    /// The mount answers.
    Ready {
        /// Sentences for people.
        notes: Vec<String>,
    },
    /// It could not be mounted.
    Failed(Failure),
}

impl Report {
    /// Sends the report to the caller. A caller that has gone does not stop the mount.
    pub(crate) fn send(&self) {
        let line = serde_json::to_string(self).unwrap_or_default();
        let mut stdout = io::stdout();
        stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush()).ok();
    }
}

/// Runs this program with `arguments` in the background and returns its notes when it is ready.
///
/// # Errors
/// What the other process reports, or that it died without a report; `log` then has details.
pub(crate) fn start(arguments: &[OsString], log: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: &io::Error| Failure::io("cannot start the mount's process", error);
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    // The output of a panic must not get lost.
    let stderr =
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(log).map_err(
            |error| {
                let dir = log.parent().unwrap_or(log).display();
                failed(&error).hint(format!("make {dir} writable: the state and the log are there"))
            },
        )?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(|error| failed(&error))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // Ends with the line, or with the process; none of its output comes from outside.
        BufReader::new(stdout).read_line(&mut line).map_err(|error| failed(&error))?;
    }
    match serde_json::from_str(&line) {
        Ok(Report::Ready { mut notes }) => {
            notes.truncate(NOTE_COUNT_MAX);
            Ok(notes)
        }
        Ok(Report::Failed(failure)) => {
            // It has reported; waiting for it leaves no zombie.
            child.wait().map_err(|error| failed(&error))?;
            Err(failure)
        }
        Err(_no_report) => {
            let status = child.wait().map_err(|error| failed(&error))?;
            Err(Failure::new(ErrorClass::Internal, format!("the mount's process ended: {status}"))
                .hint(format!("see {}", log.display())))
        }
    }
}

/// Detaches from the caller's terminal and working directory.
pub(crate) fn detach() -> Result<(), Failure> {
    let failed = |what: &str, errno: nix::Error| Failure::io(what, &errno.into());
    nix::unistd::setsid().map_err(|errno| failed("cannot start a session", errno))?;
    nix::unistd::chdir("/").map_err(|errno| failed("cannot leave the directory", errno))
}

/// Notifies systemd (`Type=notify`) of the service's state; elsewhere it does nothing.
pub(crate) fn notify(state: &str) {
    let Some(path) = env::notify_socket() else { return };
    if let Err(error) = notify_at(&path, state) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

fn notify_at(path: &OsString, state: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_pipe() {
        let reports = [
            Report::Ready { notes: vec!["made a key".to_owned()] },
            Report::Failed(Failure::new(ErrorClass::Busy, "taken").hint("unmount it")),
        ];

        for report in reports {
            let line = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
        }
    }

    #[test]
    fn systemd_is_told_over_a_path_and_an_abstract_name() {
        use std::os::linux::net::SocketAddrExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("dockercomms-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&address).unwrap();

        notify_at(&path.into_os_string(), "READY=1").unwrap();
        notify_at(&OsString::from(format!("@{name}")), "STOPPING=1").unwrap();

        let mut buffer = [0; 32];
        let count = at_path.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        let count = at_name.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"STOPPING=1");
    }
}
