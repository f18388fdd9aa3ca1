//! Alice's mailbox, mounted, and bob, whose own is mounted where a test needs it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::{BOB, Home, TestMount, mounted_alice_and_bob, run, write};

/// A window that outlasts the test.
pub(super) const LONG_WINDOW: &str = "settle = \"60s\"";

/// Alice's mount on a layout directory, and bob, who receives; the mount is dropped first.
pub(super) struct Scene {
    pub(super) mount: TestMount,
    pub(super) alice: Home,
    pub(super) bob: Home,
    repository: TempDir,
}

impl Scene {
    #[track_caller]
    pub(super) fn new() -> Self {
        Self::with_settings(&[])
    }

    /// As [`Self::new`], with lines for alice's configuration.
    #[track_caller]
    pub(super) fn with_settings(settings: &[&str]) -> Self {
        let (mount, alice, bob, repository) = mounted_alice_and_bob(settings);
        Self { mount, alice, bob, repository }
    }

    /// Returns a path in the mount.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.mount.path().join(path)
    }

    /// Returns a path in the directory that sends to bob.
    pub(super) fn to_bob(&self, name: &str) -> PathBuf {
        self.at("outbox").join(BOB).join(name)
    }

    /// Sends a file through the mount and waits until its tag exists.
    #[track_caller]
    pub(super) fn sent(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.to_bob(name);
        create(&path, bytes);
        self.mount.wait_for_state(&path, "sent");
        path
    }

    /// Unmounts alice, which publishes what is on its way; returns all that reached bob.
    #[track_caller]
    pub(super) fn received(&mut self) -> Vec<(String, Vec<u8>)> {
        self.mount.unmount();
        self.bob.receive()
    }

    /// Returns the tags in the layout directory that begin with `prefix`.
    pub(super) fn tags(&self, prefix: &str) -> Vec<String> {
        let path = self.repository.path().join("repository/index.json");
        let Ok(text) = std::fs::read(path) else { return Vec::new() };
        let index: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let manifests = index["manifests"].as_array().unwrap();
        let name = |entry: &serde_json::Value| {
            Some(entry["annotations"]["org.opencontainers.image.ref.name"].as_str()?.to_owned())
        };
        manifests.iter().filter_map(name).filter(|tag| tag.starts_with(prefix)).collect()
    }
}

/// Creates a file in the mount, as `cp` does; panics unless every step succeeds.
#[track_caller]
pub(super) fn create(path: &Path, bytes: &[u8]) {
    let mut file =
        File::create_new(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all(bytes).unwrap();
    close(file);
}

/// Closes a file and checks the result, which dropping it would not.
#[track_caller]
pub(super) fn close(file: File) {
    nix::unistd::close(file).unwrap();
}

/// Returns the errno of what must fail; 0 when it did not.
pub(super) fn errno<T>(result: std::io::Result<T>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}

/// Sends files to bob by the command line, from a mailbox that need not be mounted.
#[track_caller]
pub(super) fn send(from: &Home, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let source = write(from.dir().join(name), bytes);
        let mut command = from.command();
        command.arg("send").arg(source).args(["--to", BOB]);
        run(command).ok();
    }
}

/// Renames inside the mount, or out of it.
#[expect(clippy::disallowed_methods, reason = "the system call itself is what is tested")]
pub(super) fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> std::io::Result<()> {
    std::fs::rename(from, to)
}
