//! Programs as tests start them: a clean environment, a deadline, and an end with the test.

use std::fmt;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::tools::{search_path, tool};
use super::wait::{DEADLINE, try_wait};

/// Returns a command that sees none of the caller's settings, only where programs are.
pub(super) fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::join_paths(search_path()).expect("came from PATH");
    command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8");
    command.env("NO_PROXY", "localhost,127.0.0.1,::1").env("no_proxy", "localhost,127.0.0.1,::1");
    if let Some(dir) = std::env::var_os("TMPDIR") {
        command.env("TMPDIR", dir);
    }
    command
}

/// Returns a clean command of a foreign program; `None` as [`tool`].
#[track_caller]
pub(crate) fn program(name: &str) -> Option<Command> {
    tool(name).map(clean)
}

/// Returns `sh -c script`, with `arguments` as `$1` and so on.
pub(crate) fn shell<A: AsRef<std::ffi::OsStr>>(script: &str, arguments: &[A]) -> Command {
    let mut command = clean("/bin/sh");
    command.args(["-c", script, "sh"]).args(arguments);
    command
}

/// What a program said and how it ended.
#[derive(Clone)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    command: String,
}

impl Ran {
    /// Returns the exit code; -1 when a signal ended the program.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Panics unless the program succeeded; returns what it printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{self:?}");
        self.text()
    }

    /// Returns standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stderr, command, .. } = self;
        write!(f, "{command}\n{status}\nstdout: {}\nstderr: {stderr}", self.text())
    }
}

/// Runs a program to its end; panics when it has none within the deadline.
#[track_caller]
pub(crate) fn run(command: Command) -> Ran {
    Running::start(command).end()
}

/// A program that runs beside the test; killed, with its group, when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    command: String,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts a program in a process group of its own, so that a signal reaches its children too.
    #[track_caller]
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with_input(command, b"")
    }

    /// As [`Self::start`], with a few bytes on standard input.
    #[track_caller]
    pub(crate) fn start_with_input(mut command: Command, input: &[u8]) -> Self {
        let file = || tempfile::tempfile().expect("a file for the output");
        let (stdout, stderr) = (file(), file());
        let mut stdin = file();
        stdin.write_all(input).and_then(|()| stdin.rewind()).expect("a file for the input");
        let text = format!("{command:?}");
        let copy = |file: &File| Stdio::from(file.try_clone().expect("one more descriptor"));
        let child = command
            .stdin(Stdio::from(stdin))
            .stdout(copy(&stdout))
            .stderr(copy(&stderr))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
        Self { child, stdout, stderr, command: text, status: None }
    }

    /// Returns the number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.raw_pid(), signal).expect("the program is not waited for yet");
    }

    /// Sends a signal to the program and its children, as a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        killpg(self.raw_pid(), signal).expect("the program is not waited for yet");
    }

    /// Returns whether the program has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("it is our child");
        }
        self.status.is_none()
    }

    /// Returns what the program has said on standard output so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&read_all(&self.stdout)).into_owned()
    }

    /// Returns what the program has said on standard error so far.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&read_all(&self.stderr)).into_owned()
    }

    /// Waits for the end; panics when there is none within [`DEADLINE`].
    #[track_caller]
    pub(crate) fn end(self) -> Ran {
        self.end_within(DEADLINE)
    }

    /// Waits for the end; panics when there is none within `deadline`.
    #[track_caller]
    pub(crate) fn end_within(mut self, deadline: Duration) -> Ran {
        let status = try_wait(deadline, || {
            self.is_running();
            self.status
        });
        let Some(status) = status else {
            panic!("hangs after {deadline:?}: {}\nstderr: {}", self.command, self.errors());
        };
        Ran {
            status,
            stdout: read_all(&self.stdout),
            stderr: self.errors(),
            command: self.command.clone(),
        }
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            killpg(self.raw_pid(), Signal::SIGKILL).ok();
            // A process that even this does not free must not hang the whole suite.
            try_wait(Duration::from_secs(10), || (!self.is_running()).then_some(()));
        }
    }
}

/// Reads a file from its beginning without moving the offset that the program writes at.
fn read_all(file: &File) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = file.read_at(&mut buffer, bytes.len() as u64) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    bytes
}
