//! The caller: facts about the process behind a request, from `/proc`.
//!
//! The kernel passes only a thread id; fuser 0.18 does not even report that the caller was
//! interrupted. Everything here reads procfs, which never blocks on a disk, and never resolves a
//! path that could be in our own mount.
//!
//! **Must never:** read `stat`, `wchan` or another file that waits for the end of an `execve`. A
//! program that is started with one of our files open and close-on-exec closes it in the middle of
//! its `execve`: it waits for our answer while it holds that lock. `status` and `fdinfo` take none.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Most descriptors checked in one walk: far above a desktop, and still only a second.
const DESCRIPTOR_COUNT_MAX: usize = 200_000;

/// `PF_EXITING`: the thread is inside `exit(2)`, closing its files.
const PF_EXITING: u64 = 0x4;

/// Signals whose default is to do nothing, or to stop, which can wait for the answer.
const HARMLESS_BY_DEFAULT: u64 = set(&[
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
]);

/// Signals that mean "stop what you are doing" even to a program that handles them. Other handled
/// ones (a child ended, a window was resized) must not make a `close` fail.
const STOPPING: u64 =
    set(&[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGALRM, libc::SIGKILL]);

const fn set(signals: &[i32]) -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < signals.len() {
        mask |= 1 << (signals[index] - 1);
        index += 1;
    }
    mask
}

/// The thread behind a request. Cheap; every fact is read on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requester {
    thread: u32,
}

impl Requester {
    /// Wraps the `pid` of a request, which is a thread id; 0 is a process outside our namespace.
    pub(crate) fn new(thread: u32) -> Self {
        Self { thread }
    }

    /// Returns the process that the thread belongs to.
    pub(crate) fn process(self) -> Option<u32> {
        status_field(&self.read("status")?, "Tgid:")?.parse().ok()
    }

    /// Returns whether the thread is closing its files because its process failed or was killed.
    pub(crate) fn dies(self) -> bool {
        self.failure().is_some()
    }

    /// Returns how the process fails of a thread that is closing its files because of it.
    ///
    /// Field 9 of `stat` shows that it is exiting, field 52 with which code. Without permission to
    /// read the code it is 0, which counts as success. `stat` is read only of a thread that has
    /// released its memory: such a thread is exiting, and cannot be in an `execve`.
    pub(crate) fn failure(self) -> Option<ExitStatus> {
        if status_field(&self.read("status")?, "VmSize:").is_some() {
            return None;
        }
        let stat = self.read("stat")?;
        let is_exiting = stat_field(&stat, 9).is_some_and(|flags| flags & PF_EXITING != 0);
        let code = i32::try_from(stat_field(&stat, 52)?).ok()?;
        (is_exiting && code != 0).then(|| ExitStatus::from_raw(code))
    }

    /// Returns whether the caller should stop waiting: it has a signal pending that ends or stops
    /// what it does, or it no longer exists.
    pub(crate) fn is_interrupted(self) -> bool {
        if self.thread == 0 {
            return false;
        }
        match self.read("status") {
            Some(status) => has_stopping_signal(&status),
            None => true,
        }
    }

    fn read(self, file: &str) -> Option<String> {
        if self.thread == 0 {
            return None;
        }
        let path = PathBuf::from(format!("/proc/{}/{file}", self.thread));
        // A command name may be any bytes; only ASCII fields are read.
        fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn has_stopping_signal(status: &str) -> bool {
    let mask = |name| {
        status_field(status, name).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
    };
    let pending = (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") & !mask("SigIgn:");
    let handled = mask("SigCgt:");
    pending & (STOPPING | !(handled | HARMLESS_BY_DEFAULT)) != 0
}

/// Which processes' descriptors are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every process that we may inspect; costs about 100 ms on a desktop.
    EveryProcess,
    /// Processes in the sessions of these: a shell, its jobs and their children. Costs one small
    /// read per process.
    SessionsOf([Option<u32>; 2]),
}

/// Returns whether a process in `scope` holds a descriptor that may write to inode `ino`.
///
/// Our inode numbers are 64-bit hashes, which no other file system uses, so the number alone
/// identifies the file, also through bind mounts and in other mount namespaces.
pub(crate) fn is_written_by(scope: Scope, ino: u64) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let sessions = match scope {
        Scope::EveryProcess => None,
        Scope::SessionsOf(processes) => Some(processes.map(|process| session_of(process?))),
    };
    let own = std::process::id();
    let mut budget = DESCRIPTOR_COUNT_MAX;
    processes
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&process: &u32| process != own)
        .filter(|&process| match sessions {
            None => true,
            Some(sessions) => {
                session_of(process).is_some_and(|session| sessions.contains(&Some(session)))
            }
        })
        .any(|process| {
            directory_writes(Path::new(&format!("/proc/{process}/fdinfo")), ino, &mut budget)
        })
}

/// Returns the session as numbered in our own namespace; 0 is one from outside.
fn session_of(process: u32) -> Option<u64> {
    let status = Requester::new(process).read("status")?;
    status_field(&status, "NSsid:")?.split_ascii_whitespace().next()?.parse().ok()
}

/// Returns a numeric field of `stat`, counted as in proc(5).
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    // The command name in field 2 may contain blanks and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn directory_writes(fdinfo: &Path, ino: u64, budget: &mut usize) -> bool {
    let Ok(descriptors) = fs::read_dir(fdinfo) else { return false };
    for descriptor in descriptors.filter_map(Result::ok) {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        if fs::read_to_string(descriptor.path()).is_ok_and(|info| writes_to(&info, ino)) {
            return true;
        }
    }
    false
}

fn writes_to(fdinfo: &str, ino: u64) -> bool {
    let is_same = status_field(fdinfo, "ino:").is_some_and(|text| text.parse() == Ok(ino));
    is_same
        && status_field(fdinfo, "flags:")
            .and_then(|octal| i32::from_str_radix(octal, 8).ok())
            .is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that did its work and now waits for a line; killed at the end of the test. It has a
    /// session of its own, however the tests are run: some runners use the session of process 1.
    struct Shell(Child);

    impl Shell {
        fn after(script: &str) -> Self {
            let mut child = Command::new("setsid")
                .args(["sh", "-c", &format!("{script}; echo ready; read line")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            Self(child)
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }

    fn status(pending: u64, shared: u64, blocked: u64, ignored: u64, caught: u64) -> String {
        format!(
            "Name:\tx\nTgid:\t7\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\n\
             SigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn a_live_process_is_neither_dying_nor_interrupted() {
        let shell = Shell::after("true");
        let requester = Requester::new(shell.0.id());

        assert_eq!(requester.process(), Some(shell.0.id()));
        assert!(!requester.dies());
        assert!(!requester.is_interrupted());
    }

    #[test]
    fn a_thread_belongs_to_its_process() {
        let asked = std::thread::spawn(|| {
            let thread = u32::try_from(nix::unistd::gettid().as_raw()).unwrap();
            (thread, Requester::new(thread).process())
        });

        let (thread, process) = asked.join().unwrap();

        assert_ne!(thread, std::process::id());
        assert_eq!(process, Some(std::process::id()));
    }

    #[test]
    fn a_killed_process_dies_and_one_that_succeeds_does_not() {
        // Until they are waited for, ended children keep the flags and the code of their exit.
        let killed = Command::new("sh").args(["-c", "kill -9 $$"]).spawn().unwrap();
        let failed = Command::new("false").spawn().unwrap();
        let succeeded = Command::new("true").spawn().unwrap();
        for child in [&killed, &failed, &succeeded] {
            wait_without_reaping(child.id());
        }

        assert!(Requester::new(killed.id()).dies());
        assert!(Requester::new(failed.id()).dies());
        assert!(!Requester::new(succeeded.id()).dies());

        for mut child in [killed, failed, succeeded] {
            child.wait().unwrap();
        }
    }

    fn wait_without_reaping(pid: u32) {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    }

    #[test]
    fn a_caller_that_is_gone_is_let_go() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();

        assert!(Requester::new(child.id()).is_interrupted());
        assert!(!Requester::new(0).is_interrupted());
    }

    #[test]
    fn pending_signals_count_when_they_would_stop_the_caller() {
        let int = set(&[libc::SIGINT]);
        let kill = set(&[libc::SIGKILL]);
        let winch = set(&[libc::SIGWINCH]);
        let usr1 = set(&[libc::SIGUSR1]);
        let table = [
            ("none", status(0, 0, 0, 0, 0), false),
            ("Ctrl-C", status(0, int, 0, 0, 0), true),
            ("Ctrl-C, handled", status(0, int, 0, 0, int), true),
            ("Ctrl-C, blocked", status(0, int, int, 0, 0), false),
            ("Ctrl-C, ignored", status(0, int, 0, int, 0), false),
            ("kill -9 of the thread", status(kill, 0, 0, 0, 0), true),
            ("window resized", status(0, winch, 0, 0, winch), false),
            ("fatal by default", status(0, usr1, 0, 0, 0), true),
            ("the same, handled", status(0, usr1, 0, 0, usr1), false),
        ];

        for (case, text, expected) in table {
            assert_eq!(has_stopping_signal(&text), expected, "{case}");
        }
    }

    #[test]
    fn a_descriptor_that_writes_is_found_and_one_that_reads_is_not() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"x").unwrap();
        let ino = file.as_file().metadata().unwrap().ino();
        let path = file.path().to_str().unwrap().to_owned();

        let reader = Shell::after(&format!("exec 3<'{path}'"));
        let writer = Shell::after(&format!("exec 3>>'{path}'"));

        let in_session_of = |shell: &Shell| Scope::SessionsOf([None, Some(shell.0.id())]);
        assert!(is_written_by(in_session_of(&writer), ino));
        assert!(is_written_by(Scope::EveryProcess, ino));
        assert!(!is_written_by(in_session_of(&reader), ino));
        drop(writer);
        assert!(!is_written_by(in_session_of(&reader), ino));
        assert!(!is_written_by(Scope::EveryProcess, ino));
    }

    #[test]
    fn fields_are_counted_behind_the_command_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7";

        assert_eq!(stat_field(stat, 4), Some(1));
        assert_eq!(stat_field(stat, 6), Some(3));
        assert_eq!(stat_field(stat, 99), None);
        assert_eq!(stat_field("7 torn", 4), None);
    }
}
