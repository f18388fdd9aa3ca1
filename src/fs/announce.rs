//! Generates inotify events for arrivals, so that file managers show new mail by themselves.
//!
//! The kernel notifies watchers of what processes do in a mount, never of what its daemon decides.
//! So a short-lived helper "creates" each new name in the mount; the daemon hides the name from the
//! helper alone, answers the creation with the entry that has existed all along, and the kernel
//! sends `IN_CREATE`. Start at [`Announcer`].
//!
//! **Must never:** create from a thread of the daemon. A thread that waits for an answer of its own
//! process keeps the connection open when the process is killed: both would hang. The helper holds
//! no part of the connection, so its request fails with the daemon.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, fstat, major, minor, mkdirat, mknodat, openat2,
};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::arrivals::{Arrival, arrivals};
use super::mountinfo::{absolute, ours_at};
use super::node::Node;
use super::ops::Fs;
use crate::mailbox::Snapshot;

/// The hidden verb of the command line that calls [`create_from_stdin`].
const VERB: &str = "__announce";

/// Most names announced at once. A mailbox that gains more is listed again anyway, and watchers'
/// queues hold 16,384 events.
const ARRIVAL_COUNT_MAX: usize = 4096;

/// How long a helper may take; later arrivals and their listings wait for it.
const HELPER_MAX: Duration = Duration::from_secs(2);

/// Most bytes that a helper reads: every arrival with two names of 255 bytes.
const INPUT_LEN_MAX: u64 = 4 << 20;

/// The program that announces arrivals, and where.
#[derive(Debug)]
pub(super) struct Announcer {
    /// The program whose hidden verb creates the names; `None` announces nothing.
    pub(super) program: Option<std::path::PathBuf>,
    /// The mount point.
    pub(super) mount_point: std::path::PathBuf,
}

impl Announcer {
    /// Announces the differences, in directories that the kernel knows: no others can be watched.
    ///
    /// Best effort: without it a watcher only learns of an arrival when it lists again.
    pub(super) async fn announce(&self, fs: &Fs, before: &Snapshot, after: &Snapshot) {
        let Some(program) = &self.program else { return };
        let mut arrivals = arrivals(before, after);
        arrivals.retain(|arrival| fs.inodes().known(&Node::Dir(arrival.dir.clone())).is_some());
        arrivals.truncate(ARRIVAL_COUNT_MAX);
        if arrivals.is_empty() {
            return;
        }
        let ran = tokio::time::timeout(HELPER_MAX, self.run(program, fs, &arrivals)).await;
        fs.announcements().end();
        match ran {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "arrivals were not announced"),
            Err(_elapsed) => tracing::debug!("the announcement of arrivals took too long"),
        }
    }

    async fn run(&self, program: &Path, fs: &Fs, arrivals: &[Arrival]) -> io::Result<()> {
        let mut child = Command::new(program)
            .arg(VERB)
            .arg(&self.mount_point)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .kill_on_drop(true)
            .spawn()?;
        // It creates nothing before it has read a name.
        fs.announcements().begin(child.id().unwrap_or_default(), arrivals);
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&encode(arrivals)).await?;
            input.shutdown().await?;
        }
        child.wait().await?;
        Ok(())
    }
}

/// One record per arrival: `d` or `f`, the path from the mount point on, a zero byte.
fn encode(arrivals: &[Arrival]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for arrival in arrivals {
        bytes.push(if arrival.is_dir { b'd' } else { b'f' });
        bytes.extend_from_slice(arrival.dir.path().trim_start_matches('/').as_bytes());
        bytes.push(b'/');
        bytes.extend_from_slice(arrival.name.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Creates the names from standard input in the mount at `mount_point`.
///
/// Nothing is ever created elsewhere: every directory must be reached inside that one mount.
///
/// # Errors
/// When no mailbox is mounted there, or standard input cannot be read.
pub(crate) fn create_from_stdin(mount_point: &Path) -> io::Result<()> {
    let path = absolute(mount_point)?;
    let root = open_root(&path)?;
    let mut input = Vec::new();
    io::stdin().take(INPUT_LEN_MAX).read_to_end(&mut input)?;
    for record in input.split(|&byte| byte == 0) {
        // Names that are gone again, or were already seen by others, need no announcement.
        create(&root, record).ok();
    }
    Ok(())
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let not_ours = || io::Error::from(io::ErrorKind::NotFound);
    let entry = ours_at(path).ok_or_else(not_ours)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    let device = fstat(&root)?.st_dev;
    // Another file system may have been mounted over it since.
    if format!("{}:{}", major(device), minor(device)) != entry.device {
        return Err(not_ours());
    }
    Ok(root)
}

fn create(root: &OwnedFd, record: &[u8]) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (kind, path) = record.split_first().ok_or_else(invalid)?;
    let path = Path::new(OsStr::from_bytes(path));
    let (above, name) = path.parent().zip(path.file_name()).ok_or_else(invalid)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let dir = openat2(root, above, flags, Mode::empty(), inside)?;
    if *kind == b'd' {
        mkdirat(&dir, name, Mode::RWXU)?;
    } else {
        mknodat(&dir, name, FileType::RegularFile, Mode::RUSR, 0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::node::Dir;

    #[test]
    fn a_record_says_what_to_create_and_where() {
        let file = Arrival {
            dir: Dir::Sender("alice@example.com".into()),
            name: "a b.pdf".into(),
            is_dir: false,
        };
        let dir = Arrival { dir: Dir::Inbox, name: "bob".into(), is_dir: true };

        assert_eq!(encode(&[dir, file]), b"dinbox/bob\0finbox/alice@example.com/a b.pdf\0");
    }

    #[test]
    fn nothing_is_created_outside_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("inbox")).unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("link")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let open = rustix::fs::open(&root, flags, Mode::empty()).unwrap();

        for record in [&b"f../x"[..], b"flink/x", b"f/x", b"f", b"", b"dinbox/../../x"] {
            assert!(create(&open, record).is_err(), "{record:?}");
        }
        create(&open, b"finbox/x").unwrap();

        assert!(root.join("inbox/x").is_file());
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn nothing_is_created_where_no_mailbox_is_mounted() {
        let dir = tempfile::tempdir().unwrap();

        assert!(open_root(dir.path()).is_err());
    }
}
