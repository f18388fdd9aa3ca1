//! `umount`: ends a mount and waits until its process is gone.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args as ClapArgs;
use nix::mount::{MntFlags, umount2};
use serde::Serialize;
use tokio::time::Instant;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::running::{self, RunningMount};
use super::session::Session;
use super::status;
use crate::fs;
use crate::protocol::ErrorClass;

/// How long the process may take to publish what is prepared and to end.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a mount point may stay busy before that is an error: a file manager that inspects an
/// arrival, or our own helper that announces one (`fs/announce.rs`), is there only briefly.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// Time between two checks whether it is gone, and between two attempts at a busy one.
const END_INTERVAL: Duration = Duration::from_millis(20);

/// Shown below the help.
const EXAMPLES: &str = "\
Example:
  dockercomms umount ~/mail";

/// End a mount; returns when what was in progress is safe and the process is gone
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The mount point
    dir: PathBuf,
    /// Detach it even while programs have files open there
    #[arg(short = 'z', long = "force", visible_alias = "lazy")]
    force: bool,
}

#[derive(Debug, Serialize)]
struct Unmounted {
    unmounted: String,
}

impl Show for Unmounted {
    fn lines(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let what = format!("cannot find {}", args.dir.display());
    let dir =
        running::absolute_mount_point(&args.dir).map_err(|error| Failure::io(what, &error))?;
    if !fs::is_mounted(&dir) {
        let what = format!("{} is not a mount of dockercomms", dir.display());
        return Err(Failure::new(ErrorClass::NotFound, what));
    }
    session.block_on(async {
        let pid = pid_of(session, &dir).await;
        unmount_in_time(&dir, args.force).await?;
        if let Some(pid) = pid {
            wait_until_gone(pid).await?;
        }
        session.output.show(&Unmounted { unmounted: dir.display().to_string() });
        Ok(exit::OK)
    })
}

/// Returns the process of the mount; a dead mount has none.
async fn pid_of(session: &Session, dir: &Path) -> Option<u32> {
    let named = session.places().ok().and_then(|places| running::find(&places));
    if let Some(running) = named
        && running.dir == dir
    {
        return Some(running.pid);
    }
    // Another home's mount: its status contains its process id.
    let mount = RunningMount { pid: 0, dir: dir.to_owned(), registry: String::new() };
    let status = status::ask_mount(&mount).await?;
    status.get("pid")?.as_u64().and_then(|pid| u32::try_from(pid).ok())
}

async fn wait_until_gone(pid: u32) -> Result<(), Failure> {
    let gone = async {
        while running::is_alive(pid) {
            tokio::time::sleep(END_INTERVAL).await;
        }
    };
    tokio::time::timeout(END_TIMEOUT, gone).await.map_err(|_elapsed| {
        Failure::new(ErrorClass::Busy, format!("unmounted, but process {pid} is still busy"))
            .hint("it is finishing what is in progress; `dockercomms status` shows it")
    })
}

/// Unmounts `dir`; while it is busy, tries again for up to [`BUSY_TIMEOUT`].
async fn unmount_in_time(dir: &Path, lazily: bool) -> Result<(), Failure> {
    let last = Instant::now() + BUSY_TIMEOUT;
    loop {
        match unmount(dir, lazily) {
            Err(failure)
                if failure.exit == exit::code(ErrorClass::Busy) && Instant::now() < last =>
            {
                tokio::time::sleep(END_INTERVAL).await;
            }
            ended => return ended,
        }
    }
}

/// Unmounts `dir`: directly as root, otherwise through `fusermount3`.
fn unmount(dir: &Path, lazily: bool) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        let flags = if lazily { MntFlags::MNT_DETACH } else { MntFlags::empty() };
        return umount2(dir, flags).map_err(|errno| failed(dir, &io::Error::from(errno)));
    }
    let flag = if lazily { "-uz" } else { "-u" };
    let output = Command::new("fusermount3")
        .args([flag, "--"])
        .arg(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Failure::io("cannot run fusermount3", &error).hint("install the package fuse3")
        })?;
    if output.status.success() {
        return Ok(());
    }
    // Its output is for people only; what matters is whether it is still mounted.
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let mut failure = failed(dir, &io::ErrorKind::ResourceBusy.into());
    failure.causes = vec![text];
    Err(failure)
}

fn failed(dir: &Path, error: &io::Error) -> Failure {
    let failure = Failure::io(format!("cannot unmount {}", dir.display()), error);
    if error.kind() == io::ErrorKind::ResourceBusy {
        return failure.hint(format!(
            "a program has a file or its working directory there (`fuser -vm {0}` names it); \
                          `dockercomms umount --force {0}` detaches it anyway",
            dir.display()
        ));
    }
    failure
}
