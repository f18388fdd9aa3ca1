//! Files, bytes and pipes that tests need.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tempfile::TempDir;

/// Returns a directory that goes with the test.
pub(crate) fn temp_dir() -> TempDir {
    tempfile::Builder::new().prefix("dockercomms-").tempdir().expect("a temporary directory")
}

/// Writes a file outside of any mount.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "nothing of a test has to survive a crash")]
pub(crate) fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = path.as_ref();
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path.to_owned()
}

/// Reads a file; panics with its name.
#[track_caller]
pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the sorted names in a directory; none when it does not exist.
pub(crate) fn names_in(dir: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Returns bytes that do not compress and that are the same in every run.
pub(crate) fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64: enough that no compressor finds anything.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Returns text like a log, which compresses well.
pub(crate) fn log_like(len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 80);
    let mut line: u64 = 0;
    while text.len() < len {
        line += 1;
        writeln!(text, "2026-01-02T03:04:{:02}Z INFO request {line} took 12 ms", line % 60)
            .unwrap();
    }
    text.truncate(len);
    text
}

/// A named pipe that the test feeds: a copy from it stands still exactly where the test wants.
pub(crate) struct Fifo {
    path: PathBuf,
    writer: Option<File>,
}

impl Fifo {
    /// Makes the pipe.
    pub(crate) fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Self { path, writer: None }
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Feeds bytes; the first time it waits until a program reads.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.writer.is_none() {
            // Without O_NONBLOCK a reader that never comes would hang the test.
            let writer = super::wait_for("a program opens the pipe", || {
                File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&self.path).ok()
            });
            fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
            self.writer = Some(writer);
        }
        // The reader may be killed meanwhile.
        self.writer.as_mut().unwrap().write_all(bytes).ok();
    }

    /// Ends the stream, as the end of a file does.
    pub(crate) fn finish(&mut self) {
        self.writer = None;
    }
}
