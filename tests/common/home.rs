//! A person's home: configuration, key, state; and the program run in it.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::mount::TestMount;
use super::process::{Ran, Running, clean, run};
use super::{ALICE, BOB, temp_dir};

/// Whose process runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// The user who runs the tests.
    Own,
    /// `nobody`, when root runs the tests: mounts through `fusermount3` then.
    Nobody,
}

/// How long a hundred messages may take on a busy machine; it only ends what hangs.
const RECEIVE_DEADLINE: Duration = Duration::from_mins(8);

/// The user and group `nobody` of Debian.
const NOBODY: u32 = 65534;

/// One person's `--home`, with everything else that is theirs beside it; removed when dropped.
pub(crate) struct Home {
    dir: TempDir,
    user: User,
    program: PathBuf,
    variables: RefCell<Vec<(&'static str, OsString)>>,
}

impl Home {
    /// Makes an empty home: nothing is configured.
    pub(crate) fn new() -> Self {
        Self::in_dir(temp_dir())
    }

    /// As [`Self::new`], in a directory on a disk of the test's choice.
    pub(crate) fn in_dir(dir: TempDir) -> Self {
        let variables = RefCell::default();
        Self { dir, user: User::Own, program: binary(), variables }
    }

    /// Makes an empty home of an ordinary user.
    pub(crate) fn of_ordinary_user() -> Self {
        if !nix::unistd::geteuid().is_root() {
            return Self::new();
        }
        let dir = temp_dir();
        // The checkout may be where other users have no access.
        let program = dir.path().join("dockercomms");
        std::fs::copy(binary(), &program).unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        Self { dir, user: User::Nobody, program, variables: RefCell::default() }
    }

    /// Makes the home of `me` with a key, on `registry`.
    #[track_caller]
    pub(crate) fn init(me: &str, registry: &str) -> Self {
        let home = Self::new();
        home.initialise(me, registry);
        home
    }

    /// Runs `init`.
    #[track_caller]
    pub(crate) fn initialise(&self, me: &str, registry: &str) {
        self.run(["init", "--me", me, "--registry", registry]).ok();
    }

    /// Returns a directory for the person's other files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns what `--home` names.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Returns the program with `--home`, in a clean environment, as the home's user.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.foreign(&self.program);
        command.arg("--home").arg(self.path());
        command.envs(self.variables.borrow().iter().map(|(name, value)| (name, value)));
        command
    }

    /// Returns another program, in a clean environment, as the home's user.
    pub(crate) fn foreign(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = clean(program);
        command.env("HOME", self.dir.path()).current_dir(self.dir.path());
        if self.user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Sets a variable for every later run of the program, its mounts included; `None` unsets it.
    pub(crate) fn set_variable(&self, name: &'static str, value: Option<&OsStr>) {
        let mut variables = self.variables.borrow_mut();
        variables.retain(|(known, _)| *known != name);
        variables.extend(value.map(|value| (name, value.to_owned())));
    }

    /// Returns the program without `--home`, which then follows `HOME`.
    pub(crate) fn bare_command(&self) -> Command {
        self.foreign(&self.program)
    }

    /// Runs a verb.
    #[track_caller]
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        let mut command = self.command();
        command.args(arguments);
        run(command)
    }

    /// Runs a verb with `--json`; returns its lines. Panics unless it succeeds.
    #[track_caller]
    pub(crate) fn json<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Vec<serde_json::Value> {
        let mut command = self.command();
        command.arg("--json").args(arguments);
        let text = run(command).ok();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Adds a line to the profile in `config.toml`, for example `settle = "0s"`.
    pub(crate) fn set(&self, setting: &str) {
        let path = self.path().join("config/config.toml");
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        writeln!(file, "{setting}").unwrap();
    }

    /// Writes the person's contact card to a file and returns where.
    #[track_caller]
    pub(crate) fn card(&self) -> PathBuf {
        super::write(self.dir.path().join("card"), self.run(["key", "export"]).ok())
    }

    /// Trusts another person's key.
    #[track_caller]
    pub(crate) fn trust(&self, other: &Self) {
        self.trust_card(&other.run(["key", "export"]).ok());
    }

    /// Trusts the key of a contact card.
    #[track_caller]
    pub(crate) fn trust_card(&self, card: &str) {
        let path = super::write(self.dir.path().join("taken.card"), card);
        self.run(["trust".as_ref(), "add".as_ref(), path.as_os_str(), "--yes".as_ref()]).ok();
    }

    /// Mounts, and waits until the mount answers.
    #[track_caller]
    pub(crate) fn mount(&self) -> TestMount {
        TestMount::new(self)
    }

    /// Fetches all new messages by `recv`; returns names and bytes in the order of names.
    #[track_caller]
    pub(crate) fn receive(&self) -> Vec<(String, Vec<u8>)> {
        let dir = temp_dir();
        let mut command = self.command();
        command.arg("recv").arg("--out").arg(dir.path());
        Running::start(command).end_within(RECEIVE_DEADLINE).ok();
        let named = |name: String| (name.clone(), super::read(dir.path().join(name)));
        super::names_in(dir.path()).into_iter().map(named).collect()
    }

    /// Returns whose processes run here.
    pub(crate) fn user(&self) -> User {
        self.user
    }
}

/// Returns the program under test: the one that cargo built, unless `DOCKERCOMMS_BIN` names another.
fn binary() -> PathBuf {
    std::env::var_os("DOCKERCOMMS_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_dockercomms").into(), PathBuf::from)
}

/// Makes the homes of alice and bob on `registry`, each trusting the other.
#[track_caller]
pub(crate) fn alice_and_bob(registry: &str) -> (Home, Home) {
    let (alice, bob) = (Home::init(ALICE, registry), Home::init(BOB, registry));
    alice.trust(&bob);
    bob.trust(&alice);
    (alice, bob)
}

/// Makes alice and bob on a layout directory, and mounts alice's mailbox with these lines in her
/// configuration; it has a directory for bob. The last one holds the layout.
#[track_caller]
pub(crate) fn mounted_alice_and_bob(settings: &[&str]) -> (TestMount, Home, Home, TempDir) {
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    for setting in settings {
        alice.set(setting);
    }
    let mount = alice.mount();
    mount.outbox(BOB);
    (mount, alice, bob, directory)
}

/// Returns a reference to an image-layout directory in `dir`.
pub(crate) fn repository(dir: &TempDir) -> String {
    format!("oci:{}", dir.path().join("repository").display())
}
