//! The lifetime of the mount: making it, serving it, noticing its end.
//!
//! fuser can mount by itself, but its unmounting leaves dead mounts behind and a second mount
//! silently hides the first, so the mount is made here and handed over.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fuser::{Config, Session, SessionACL};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{geteuid, getgid, getuid};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::announce::Announcer;
use super::error::FsError;
use super::fuse::FuseAdapter;
use super::mountinfo::{FILE_SYSTEM_TYPE, MountEntry, absolute, check_mount_point, ours_at};
use super::ops::Fs;
use super::reply::Owner;
use super::settings::Permissions;
use super::watchdog::Watchdog;
use super::{fusermount, notify};
use crate::mailbox::Mailbox;
use crate::protocol::ErrorClass;
use crate::sys::{Clock, SystemClock};

/// Threads that read requests. None of them waits for the network, so a few keep up with many
/// processors; a single one would let a slow disk write delay every `ls`.
const EVENT_THREAD_COUNT: usize = 4;

/// Read-ahead of the mount, settable by root only: larger requests on a cold sequential read.
const READ_AHEAD_KIB: &str = "1024";

/// How a mailbox is mounted.
#[derive(Clone)]
pub(crate) struct MountOptions {
    /// An empty directory.
    pub mount_point: PathBuf,
    /// Lets root, and no other user, use a mount of an ordinary user.
    pub allow_other: bool,
    /// Directories that the mount must not hide: state, cache, configuration.
    pub private_dirs: Vec<PathBuf>,
    /// The program whose hidden verbs detach the mount when this process is killed, and announce
    /// arrivals to programs that watch a directory; `None` starts no such helpers.
    pub watchdog: Option<PathBuf>,
    /// Where file times come from.
    pub clock: Arc<dyn Clock>,
}

impl MountOptions {
    /// The defaults: this program is its own watchdog.
    pub(crate) fn new(mount_point: impl Into<PathBuf>) -> Self {
        Self {
            mount_point: mount_point.into(),
            allow_other: false,
            private_dirs: Vec::new(),
            watchdog: std::env::current_exe().ok(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// A live mount. Dropping it detaches the mount point.
pub(crate) struct Mount {
    path: PathBuf,
    entry: Option<MountEntry>,
    watchdog: Arc<Option<Watchdog>>,
    stop: CancellationToken,
    ended: CancellationToken,
    tasks: TaskTracker,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Mounts `mailbox` and returns when the kernel has finished its handshake: everything below the
/// mount point works from then on.
///
/// First detaches a dead mount of ours at the same place. Blocks for milliseconds.
///
/// # Errors
/// [`FsError::MountPoint`] when the mount point cannot be used, `Busy` when a mailbox is mounted
/// there; [`FsError::Mount`] when the kernel or `fusermount3` refused.
pub(crate) fn mount(
    options: &MountOptions,
    mailbox: Mailbox,
    runtime: Handle,
) -> Result<Mount, FsError> {
    let path = prepare_mount_point(options)?;
    let (connection, permissions) = connect(&path, options.allow_other)?;
    // From here on the mount exists; an error must remove it again.
    serve(&path, connection, permissions, options, mailbox, runtime).inspect_err(|_error| {
        fusermount::detach(&path).ok();
    })
}

fn serve(
    path: &Path,
    connection: OwnedFd,
    permissions: Permissions,
    options: &MountOptions,
    mailbox: Mailbox,
    runtime: Handle,
) -> Result<Mount, FsError> {
    let failed = |reason: &str, source| FsError::Mount { reason: reason.to_owned(), source };
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let clock = Arc::clone(&options.clock);
    let fs = Arc::new(Fs::new(mailbox.clone(), clock, stop.clone(), tasks.clone()));
    let owner = Owner { uid: getuid().as_raw(), gid: getgid().as_raw() };
    let adapter =
        FuseAdapter::new(Arc::clone(&fs), tasks.clone(), runtime.clone(), owner, permissions);
    let acl = if options.allow_other { SessionACL::RootAndOwner } else { SessionACL::Owner };
    let mut config = Config::default();
    config.n_threads = Some(EVENT_THREAD_COUNT);
    let session = Session::from_fd(adapter, connection, acl, config)
        .map_err(|source| failed("the kernel did not answer", source))?;
    let notifier = session.notifier();

    let entry = ours_at(path);
    if let Some(entry) = &entry {
        set_read_ahead(entry);
    }
    let watchdog = match &options.watchdog {
        Some(program) => Some(
            Watchdog::start(program, path)
                .map_err(|source| failed("the watchdog did not start", source))?,
        ),
        None => None,
    };
    let watchdog = Arc::new(watchdog);
    let serving = {
        let (stop, ended, watchdog) = (stop.clone(), ended.clone(), Arc::clone(&watchdog));
        thread::Builder::new()
            .name("fuse-session".into())
            .spawn(move || {
                if let Err(error) = session.run() {
                    tracing::error!(%error, "the FUSE session ended with an error");
                }
                if let Some(watchdog) = &*watchdog {
                    watchdog.end();
                }
                stop.cancel();
                ended.cancel();
            })
            .map_err(|source| failed("no thread", source))?
    };
    let notifying = {
        let stop = stop.clone();
        let announcer =
            Announcer { program: options.watchdog.clone(), mount_point: path.to_owned() };
        thread::Builder::new()
            .name("fuse-notify".into())
            .spawn(move || notify::watch(&mailbox, &fs, &notifier, &announcer, &runtime, &stop))
            .map_err(|source| failed("no thread", source))?
    };
    Ok(Mount {
        path: path.to_owned(),
        entry,
        watchdog,
        stop,
        ended,
        tasks,
        threads: Mutex::new(vec![serving, notifying]),
    })
}

impl Mount {
    /// Detaches the mount point: its name is free at once, open files stay usable until they are
    /// closed. Does nothing if it is already unmounted.
    ///
    /// # Errors
    /// When the kernel or `fusermount3` refuses.
    pub(crate) fn unmount(&self) -> Result<(), FsError> {
        let is_there = ours_at(&self.path)
            .is_some_and(|now| self.entry.as_ref().is_none_or(|entry| entry.device == now.device));
        if is_there && !self.ended.is_cancelled() {
            fusermount::detach(&self.path).map_err(|source| FsError::Mount {
                reason: format!("{} cannot be unmounted", self.path.display()),
                source,
            })?;
        }
        // Its work is done; later it could detach the next mount at this place.
        if let Some(watchdog) = &*self.watchdog {
            watchdog.end();
        }
        Ok(())
    }

    /// Waits until the file system is gone, whoever unmounted it, and every request in progress is
    /// answered.
    ///
    /// A detached mount stays alive while files are open; give this a deadline, then call
    /// [`Mount::interrupt_waiters`].
    pub(crate) async fn wait_unmounted(&self) {
        self.ended.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
        for thread in self.threads.lock().drain(..) {
            // Both threads ended or are about to; a panic in one was reported by its hook.
            thread.join().ok();
        }
    }

    /// Answers every waiting caller in the mount with `EINTR`; unfinished files stay unsent.
    pub(crate) fn interrupt_waiters(&self) {
        self.stop.cancel();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // There is no caller left to report an error to.
        self.unmount().ok();
        self.stop.cancel();
    }
}

/// Returns the absolute mount point if a mailbox can be mounted there.
fn prepare_mount_point(options: &MountOptions) -> Result<PathBuf, FsError> {
    let path = absolute(&options.mount_point).map_err(|error| FsError::MountPoint {
        reason: format!("{}: {error}", options.mount_point.display()),
        class: ErrorClass::Configuration,
    })?;
    while ours_at(&path).is_some() {
        if !is_dead(&path) {
            return Err(FsError::MountPoint {
                reason: format!("a mailbox is mounted at {}", path.display()),
                class: ErrorClass::Busy,
            });
        }
        fusermount::detach(&path).map_err(|source| FsError::Mount {
            reason: format!("the dead mount at {} cannot be detached", path.display()),
            source,
        })?;
    }
    check_mount_point(&path, &options.private_dirs)?;
    Ok(path)
}

/// A mount whose daemon died fails at once; a live one answers from memory.
fn is_dead(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
}

/// Makes the mount: as root by `mount(2)`, otherwise through `fusermount3`.
fn connect(path: &Path, allow_other: bool) -> Result<(OwnedFd, Permissions), FsError> {
    if geteuid().is_root()
        && let Some(connection) = connect_as_root(path, allow_other)?
    {
        return Ok((connection, Permissions::Kernel));
    }
    let options = "nosuid,nodev,noexec,fsname=dockercomms,subtype=dockercomms";
    // The kernel's own check would answer EACCES where we answer EROFS. Alone on a mount, the owner
    // needs no check.
    if !allow_other {
        return Ok((fusermount::mount(path, options)?, Permissions::Unchecked));
    }
    let options = format!("{options},default_permissions,allow_other");
    Ok((fusermount::mount(path, &options)?, Permissions::Kernel))
}

/// `None` when we are root without the right to mount, as in a container.
fn connect_as_root(path: &Path, allow_other: bool) -> Result<Option<OwnedFd>, FsError> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|source| FsError::Mount { reason: "/dev/fuse".into(), source })?;
    let mut options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        getuid(),
        getgid()
    );
    if allow_other {
        options.push_str(",allow_other");
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = CString::new(options).expect("numbers and words have no zero byte");
    match rustix::mount::mount("dockercomms", path, FILE_SYSTEM_TYPE, flags, options.as_c_str()) {
        Ok(()) => Ok(Some(device.into())),
        Err(Errno::PERM) => Ok(None),
        Err(errno) => Err(FsError::Mount { reason: "mount(2)".into(), source: errno.into() }),
    }
}

/// Best effort: without it reads are smaller, nothing else.
fn set_read_ahead(entry: &MountEntry) {
    let path = format!("/sys/class/bdi/{}/read_ahead_kb", entry.device);
    if let Ok(mut file) = OpenOptions::new().write(true).open(path) {
        file.write_all(READ_AHEAD_KIB.as_bytes()).ok();
    }
}
