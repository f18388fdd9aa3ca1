//! A helper process that detaches the mount when the daemon dies.
//!
//! After `kill -9` of the daemon every access would fail with "Transport endpoint is not
//! connected". The helper holds the reading end of a pipe whose other end only the daemon has; the
//! end of the pipe is the daemon's death.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use parking_lot::Mutex;

use super::fusermount::detach;
use super::mountinfo::{absolute, ours_at};

/// The hidden verb of the command line that calls [`watch_stdin`].
pub(super) const VERB: &str = "__watchdog";

/// The running helper.
#[derive(Debug)]
pub(super) struct Watchdog(Mutex<Option<Child>>);

impl Watchdog {
    /// Starts `program __watchdog DIR` in a process group of its own, so that Ctrl-C at the
    /// daemon's terminal does not end it first.
    pub(super) fn start(program: &Path, mount_point: &Path) -> io::Result<Self> {
        let child = Command::new(program)
            .arg(VERB)
            .arg(mount_point)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        Ok(Self(Mutex::new(Some(child))))
    }

    /// Ends the helper: the mount is gone, and another one may take its place.
    pub(super) fn end(&self) {
        if let Some(mut child) = self.0.lock().take() {
            // It may already be gone.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Waits for the end of standard input, then detaches the mount at `mount_point` if it is still
/// the one that was there at the start.
///
/// # Errors
/// When the mount cannot be detached.
pub(crate) fn watch_stdin(mount_point: &Path) -> io::Result<()> {
    let path = absolute(mount_point)?;
    let Some(watched) = ours_at(&path) else { return Ok(()) };
    let mut ignored = [0; 64];
    loop {
        match io::stdin().read(&mut ignored) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // A restarted daemon may have mounted there in the meantime.
    if ours_at(&path).is_some_and(|now| now.device == watched.device) {
        detach(&path)?;
    }
    Ok(())
}
