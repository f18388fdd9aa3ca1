//! What many tests share: alice's mount, and the final word on what reached bob.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::{BOB, Home, Ran, TestMount, mounted_alice_and_bob, run, shell, write};

/// Alice's mount on a layout directory, and bob, who checks with `recv` after it ended.
///
/// Bob looks last: an unmount publishes whatever is on its way, so nothing can arrive later and
/// "exactly one message" needs no waiting for a second one.
pub(super) struct Delivery {
    pub(super) mount: TestMount,
    pub(super) alice: Home,
    pub(super) bob: Home,
    _repository: TempDir,
}

impl Delivery {
    /// Makes the two and mounts alice's mailbox.
    #[track_caller]
    pub(super) fn new() -> Self {
        Self::with_settings(&[])
    }

    /// As [`Self::new`], with lines for alice's configuration.
    #[track_caller]
    pub(super) fn with_settings(settings: &[&str]) -> Self {
        let (mount, alice, bob, repository) = mounted_alice_and_bob(settings);
        Self { mount, alice, bob, _repository: repository }
    }

    /// Returns the directory that sends to bob.
    pub(super) fn outbox(&self) -> PathBuf {
        self.mount.path().join("outbox").join(BOB)
    }

    /// Makes a file for programs to copy.
    pub(super) fn source(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        write(self.alice.dir().join(name), bytes)
    }

    /// Runs a script in alice's directory, with the outbox as `$OUT`; it must succeed.
    #[track_caller]
    pub(super) fn sh(&self, script: &str) -> String {
        self.try_sh(script).ok()
    }

    /// As [`Self::sh`], for scripts that may fail.
    #[track_caller]
    pub(super) fn try_sh(&self, script: &str) -> Ran {
        let mut command = shell::<&Path>(&format!("set -e; {script}"), &[]);
        command.env("OUT", self.outbox()).env("HOME", self.alice.dir());
        command.current_dir(self.alice.dir());
        run(command)
    }

    /// Asserts that in the end exactly these messages reached bob, names and bytes, and that
    /// nothing else is left in alice's outbox.
    #[track_caller]
    pub(super) fn expect(mut self, messages: &[(&str, &[u8])]) {
        let listed = self.mount.wait_until_all_sent(BOB);
        let mut names: Vec<&str> = messages.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(listed, names, "the outbox");
        self.expect_received(messages);
    }

    /// Asserts that in the end exactly these messages reached bob, whatever the outbox lists.
    #[track_caller]
    pub(super) fn expect_received(&mut self, messages: &[(&str, &[u8])]) {
        self.mount.unmount();
        let received = self.bob.receive();

        let names: Vec<&str> = received.iter().map(|(name, _)| name.as_str()).collect();
        let mut expected: Vec<&(&str, &[u8])> = messages.iter().collect();
        expected.sort_unstable_by_key(|(name, _)| *name);
        assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "received");
        for ((name, bytes), (_, wanted)) in received.iter().zip(expected) {
            assert!(bytes == wanted, "{name} has {} bytes, not {}", bytes.len(), wanted.len());
        }
    }
}
