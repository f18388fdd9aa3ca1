//! Where the program's own log goes: standard error, or a bounded file for a background mount.
//!
//! `-v` raises the level of our own events only: the libraries below could log tokens and headers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::sys::durable;

/// Size in bytes at which the log starts again; one older file is kept beside it.
const LOG_LEN_MAX: u64 = 1 << 20;

/// How much is logged without any `-v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A command reports what went wrong by its own error, once.
    Command,
    /// A mount logs what it does, since it has no other output.
    Mount,
}

/// Sends log lines to standard error; `verbose` counts the `-v`.
pub(crate) fn log_to_stderr(role: Role, verbose: u8) {
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    // A second call, as in tests, keeps the first subscriber.
    tracing_subscriber::registry().with(layer).with(filter(role, verbose)).try_init().ok();
}

/// Sends the log lines of a mount to a file that is never much longer than 1 MiB.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn log_to_file(path: &Path, verbose: u8) -> io::Result<()> {
    let log = LogFile(Arc::new(Mutex::new(OpenLog::open(path)?)));
    let layer = tracing_subscriber::fmt::layer().with_writer(log).with_ansi(false);
    tracing_subscriber::registry().with(layer).with(filter(Role::Mount, verbose)).try_init().ok();
    Ok(())
}

fn filter(role: Role, verbose: u8) -> Targets {
    let ours = match (role, verbose) {
        (Role::Command, 0) => LevelFilter::ERROR,
        (Role::Mount, 0) | (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    Targets::new().with_default(LevelFilter::ERROR).with_target("dockercomms", ours)
}

#[derive(Clone)]
struct LogFile(Arc<Mutex<OpenLog>>);

struct OpenLog {
    path: PathBuf,
    file: File,
    len: u64,
}

impl OpenLog {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, len })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.len >= LOG_LEN_MAX {
            durable::rename_durable(&self.path, &self.path.with_extension("log.1"))?;
            *self = Self::open(&self.path)?;
        }
        self.file.write_all(bytes)?;
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_starts_again_at_its_bound_and_keeps_one_older_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mount.log");
        let mut log = OpenLog::open(&path).unwrap();
        let line = vec![b'x'; 64 << 10];

        for _ in 0..40 {
            log.write(&line).unwrap();
        }

        assert!(std::fs::metadata(&path).unwrap().len() <= LOG_LEN_MAX);
        assert!(std::fs::metadata(dir.path().join("mount.log.1")).unwrap().len() <= LOG_LEN_MAX);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
