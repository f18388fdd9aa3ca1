//! A real mount: started, waited for, and removed in any case.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::home::{Home, User};
use super::process::{Ran, Running};
use super::wait::try_wait;
use super::{names_in, wait_for, wait_until};

/// After this a mount is taken for hung and killed. A process that waits in it, the test itself
/// among them, hears no signal until then, and the run would end nowhere.
const HANG_DEADLINE: Duration = Duration::from_secs(150);

/// The same for a script that sends as many files as it says in `DOCKERCOMMS_TEST_FILES`.
const LONG_HANG_DEADLINE: Duration = Duration::from_mins(30);

/// How long a mount that is asked to end politely may take.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// The mount of one home, served by a process in the foreground that is our child.
pub(crate) struct TestMount {
    /// `None` once its mount could not be taken down: removing it would reach into the mount.
    dir: Option<TempDir>,
    path: PathBuf,
    server: Option<Running>,
    umount: Command,
    /// Closing it signals the guard of the server that there is nothing left to guard.
    guard: Option<Sender<()>>,
}

impl TestMount {
    /// Mounts `home` on a directory of its own.
    #[track_caller]
    pub(super) fn new(home: &Home) -> Self {
        Self::with(home, &[])
    }

    /// As [`Self::new`], with more arguments for `mount`.
    #[track_caller]
    pub(crate) fn with(home: &Home, arguments: &[&str]) -> Self {
        let mut mount = Self::unstarted(home);
        mount.start(home, arguments);
        mount
    }

    /// Mounts the mailbox of a home whose server is about to die: perhaps before it is ready.
    #[track_caller]
    pub(crate) fn doomed(home: &Home) -> Self {
        let mut mount = Self::unstarted(home);
        mount.launch(home, &[]);
        let server = mount.server();
        wait_until("the mount is ready or dead", || {
            !server.is_running() || server.output().contains("\"mounted\"")
        });
        mount
    }

    #[track_caller]
    fn unstarted(home: &Home) -> Self {
        let dir = super::temp_dir();
        if home.user() == User::Nobody {
            std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
        }
        let path = dir.path().join("mnt");
        let mut mkdir = home.foreign("mkdir");
        super::run({
            mkdir.arg(&path);
            mkdir
        })
        .ok();
        let mut umount = home.command();
        umount.arg("umount").arg(&path);
        Self { dir: Some(dir), path, server: None, umount, guard: None }
    }

    /// Starts the server; used again after [`Self::kill`] or [`Self::unmount`].
    #[track_caller]
    pub(crate) fn start(&mut self, home: &Home, arguments: &[&str]) {
        self.launch(home, arguments);
        let server = self.server();
        // A server that a test lets die may have said it just before.
        wait_until("the mount is ready", || {
            let is_running = server.is_running();
            let is_ready = server.output().contains("\"mounted\"");
            assert!(is_running || is_ready, "the mount ended: {}", server.errors());
            is_ready
        });
    }

    #[track_caller]
    fn launch(&mut self, home: &Home, arguments: &[&str]) {
        let mut command = home.command();
        command.args(["--json", "mount", "--foreground", "--poll", "1"]).args(arguments);
        command.arg(&self.path);
        let server = self.server.insert(Running::start(command));
        self.guard = Some(guard_server(server.pid()));
    }

    /// Returns the mount point.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the process that serves the mount.
    pub(crate) fn server(&mut self) -> &mut Running {
        self.server.as_mut().expect("the mount is up")
    }

    /// Returns `outbox/WHO`, which is made unless it is there.
    #[track_caller]
    pub(crate) fn outbox(&self, recipient: &str) -> PathBuf {
        let dir = self.path.join("outbox").join(recipient);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Returns `inbox/WHO`, whether it is there or not.
    pub(crate) fn inbox(&self, sender: &str) -> PathBuf {
        self.path.join("inbox").join(sender)
    }

    /// Waits until a message is listed, and returns its path.
    #[track_caller]
    pub(crate) fn message(&self, sender: &str, name: &str) -> PathBuf {
        let path = self.inbox(sender).join(name);
        // By listing, not by lookup: a remembered miss would only prolong the wait.
        wait_until(&format!("{sender} sent {name}\n{}", self.diagnosis()), || {
            names_in(self.inbox(sender)).iter().any(|listed| listed == name)
        });
        path
    }

    /// Returns an attribute `user.dockercomms.NAME` of a file in the mount.
    pub(crate) fn attribute(&self, path: impl AsRef<Path>, name: &str) -> Option<String> {
        attribute(path.as_ref(), &format!("user.dockercomms.{name}"))
    }

    /// Waits until a file in `outbox/` is in a state.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, path: impl AsRef<Path>, state: &str) {
        let path = path.as_ref();
        let mut last = None;
        let reached = try_wait(super::DEADLINE, || {
            last = self.attribute(path, "state");
            (last.as_deref() == Some(state)).then_some(())
        });
        let name = path.display();
        assert!(reached.is_some(), "{name} is {last:?}, not {state}\n{}", self.diagnosis());
    }

    /// Waits until everything in `outbox/WHO` is in state `sent` and returns the names.
    #[track_caller]
    pub(crate) fn wait_until_all_sent(&self, recipient: &str) -> Vec<String> {
        let dir = self.outbox(recipient);
        let names = names_in(&dir);
        for name in &names {
            self.wait_for_state(dir.join(name), "sent");
        }
        names_in(&dir)
    }

    /// Waits for a file that the mount makes, and reads it.
    #[track_caller]
    pub(crate) fn wait_for_file(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path.join(path);
        let (dir, name) = (path.parent().unwrap(), path.file_name().unwrap().to_string_lossy());
        wait_for(&format!("{}\n{}", path.display(), self.diagnosis()), || {
            names_in(dir).iter().any(|listed| *listed == name).then(|| super::read(&path))
        })
    }

    /// Returns `.dockercomms/status.json`.
    #[track_caller]
    pub(crate) fn status(&self) -> serde_json::Value {
        let text = super::read(self.path.join(".dockercomms/status.json"));
        serde_json::from_slice(&text).unwrap()
    }

    /// Returns `.dockercomms/errors`.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(self.path.join(".dockercomms/errors")).unwrap_or_default()
    }

    /// Says what a failed test needs to know.
    fn diagnosis(&self) -> String {
        let log = self.server.as_ref().map(Running::errors).unwrap_or_default();
        format!("errors of the mount: {}\nits log: {log}", self.errors())
    }

    /// Kills the server without a word and waits until it is gone.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().expect("the mount is up");
        self.guard = None;
        server.signal(Signal::SIGKILL);
        wait_until("the killed server is gone", || !server.is_running());
    }

    /// Unmounts by `dockercomms umount` and waits until the server ended; returns what it said.
    #[track_caller]
    pub(crate) fn unmount(&mut self) -> Ran {
        let server = self.server.take().expect("the mount is up");
        self.ask_to_unmount().ok();
        server.end_within(END_DEADLINE)
    }

    /// As [`Self::unmount`], of a server that may die before it or at it; returns whether it died.
    #[track_caller]
    pub(crate) fn unmount_or_die(&mut self) -> bool {
        let server = self.server.take().expect("the mount is up");
        let asked = self.ask_to_unmount();
        let died = super::ended_by(&server.end_within(END_DEADLINE)) == Some(Signal::SIGKILL);
        if !died {
            asked.ok();
        }
        died
    }

    fn ask_to_unmount(&mut self) -> Ran {
        let mut command = Command::new(self.umount.get_program());
        command.args(self.umount.get_args());
        self.guard = None;
        super::run(command)
    }

    /// Ends the server by a signal and waits for it; returns what it said.
    #[track_caller]
    pub(crate) fn terminate(&mut self, signal: Signal) -> Ran {
        self.guard = None;
        let server = self.server.take().expect("the mount is up");
        server.signal(signal);
        server.end_within(END_DEADLINE)
    }
}

impl Drop for TestMount {
    fn drop(&mut self) {
        // Killing first frees every waiting caller; nothing of a dropped mount is kept.
        self.server = None;
        let unmounted = try_wait(Duration::from_secs(5), || {
            if is_mounted(&self.path) {
                detach(&self.path);
            }
            (!is_mounted(&self.path)).then_some(())
        });
        if unmounted.is_none()
            && let Some(dir) = self.dir.take()
        {
            let _kept = dir.keep();
        }
    }
}

/// Kills `server` after [`HANG_DEADLINE`], unless the sender is dropped before.
fn guard_server(server: u32) -> Sender<()> {
    let (sender, receiver) = mpsc::channel();
    let server = Pid::from_raw(i32::try_from(server).expect("a pid"));
    let is_long = std::env::var_os("DOCKERCOMMS_TEST_FILES").is_some();
    let deadline = if is_long { LONG_HANG_DEADLINE } else { HANG_DEADLINE };
    std::thread::spawn(move || {
        if receiver.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
            kill(server, Signal::SIGKILL).ok();
        }
    });
    sender
}

/// Takes a mount down without asking its server.
fn detach(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        umount2(path, MntFlags::MNT_DETACH).ok();
    } else {
        let mut command = Command::new("fusermount3");
        command.arg("-uz").arg(path).stderr(Stdio::null()).status().ok();
    }
}

/// Returns whether anything is mounted on `path`, without asking the file system there.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == path))
}

/// Returns an extended attribute as text.
pub(super) fn attribute(path: &Path, name: &str) -> Option<String> {
    let mut command = super::program("getfattr")?;
    command.args(["--absolute-names", "--only-values", "-n", name]).arg::<&OsStr>(path.as_ref());
    let ran = super::run(command);
    ran.status.success().then(|| ran.text())
}
