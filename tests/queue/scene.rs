//! Alice, whose closes are queued, on a real registry that tests stop and start.

use std::path::{Path, PathBuf};

use crate::common::{
    BOB, Home, Ran, Registry, Running, TestMount, alice_and_bob, run, shell, wait_until, write,
};

/// So short that attempts at a registry that hangs end while a test waits.
pub(super) const SHORT_DEADLINE: &str = "deadline = \"2s\"";

/// Alice's mount with queued delivery, and bob, who checks with `recv`.
pub(super) struct Scene {
    pub(super) mount: TestMount,
    pub(super) alice: Home,
    pub(super) bob: Home,
    pub(super) registry: Registry,
}

impl Scene {
    /// Makes the two and mounts alice's mailbox; `None` without a registry to start.
    #[track_caller]
    pub(super) fn new() -> Option<Self> {
        Some(Self::on(Registry::docker()?))
    }

    /// As [`Self::new`], on a registry that runs.
    #[track_caller]
    pub(super) fn on(registry: Registry) -> Self {
        let (alice, bob) = alice_and_bob(&registry.reference("mail"));
        alice.set("delivery = \"queued\"");
        alice.set(SHORT_DEADLINE);
        let mount = alice.mount();
        mount.outbox(BOB);
        Self { mount, alice, bob, registry }
    }

    /// Returns the directory that sends to bob.
    pub(super) fn outbox(&self) -> PathBuf {
        self.mount.path().join("outbox").join(BOB)
    }

    /// Copies a file of this name and content to bob; `cp` must succeed.
    #[track_caller]
    pub(super) fn copy(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.copy_to(BOB, name, bytes);
    }

    /// As [`Self::copy`], to another recipient.
    #[track_caller]
    pub(super) fn copy_to(&self, recipient: &str, name: &str, bytes: impl AsRef<[u8]>) {
        let source = write(self.alice.dir().join(name), bytes);
        let target = self.mount.outbox(recipient);
        run(shell("cp \"$1\" \"$2\"", &[source.as_path(), &target])).ok();
    }

    /// Copies `count` files of different content at once.
    #[track_caller]
    pub(super) fn copy_many(&self, count: usize) {
        let dir = self.alice.dir().join("many");
        std::fs::create_dir(&dir).unwrap();
        for number in 0..count {
            write(dir.join(name_of(number)), format!("content of {number}"));
        }
        let copying = Running::start(shell("cp \"$1\"/* \"$2\"", &[dir.as_path(), &self.outbox()]));
        // Ten thousand, each durable before the next, take minutes.
        copying.end_within(std::time::Duration::from_mins(15)).ok();
    }

    /// Runs a script with the outbox as `$1`, which must succeed.
    #[track_caller]
    pub(super) fn sh(&self, script: &str) -> String {
        self.try_sh(script).ok()
    }

    /// As [`Self::sh`], for scripts that may fail.
    #[track_caller]
    pub(super) fn try_sh(&self, script: &str) -> Ran {
        let mut command = shell::<&Path>(script, &[&self.outbox()]);
        command.current_dir(self.alice.dir());
        run(command)
    }

    /// Returns a file's state.
    pub(super) fn state(&self, name: &str) -> Option<String> {
        self.mount.attribute(self.outbox().join(name), "state")
    }

    /// Waits until a file is sent.
    #[track_caller]
    pub(super) fn wait_until_sent(&self, name: &str) {
        self.mount.wait_for_state(self.outbox().join(name), "sent");
    }

    /// Waits until nothing is left to send.
    #[track_caller]
    pub(super) fn wait_until_all_sent(&self) {
        wait_until("the queue is empty", || {
            let status = self.mount.status();
            status["outbox_queued"] == 0 && status["outbox_failed"] == 0
        });
    }

    /// Asserts that bob has exactly the files of [`Self::copy_many`].
    #[track_caller]
    pub(super) fn expect_many(&self, count: usize) {
        let received = self.bob.receive();
        let expected: Vec<(String, Vec<u8>)> = (0..count)
            .map(|number| (name_of(number), format!("content of {number}").into_bytes()))
            .collect();
        let names: Vec<&str> = received.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(received.len(), count, "{names:?}");
        assert!(received == expected, "{names:?}");
    }

    /// Asserts that bob has exactly these files.
    #[track_caller]
    pub(super) fn expect(&self, messages: &[(&str, &[u8])]) {
        let received = self.bob.receive();
        let expected: Vec<(String, Vec<u8>)> =
            messages.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        assert_eq!(received, expected);
    }
}

/// Returns a name that sorts by number.
pub(super) fn name_of(number: usize) -> String {
    format!("f{number:05}")
}

/// Returns how many files to send: what `DOCKERCOMMS_TEST_FILES` says, as the scripts set it.
pub(super) fn file_count(default: usize) -> usize {
    let wanted = std::env::var_os("DOCKERCOMMS_TEST_FILES");
    let number = |count: std::ffi::OsString| count.into_string().ok()?.parse().ok();
    wanted.map_or(default, |count| number(count).expect("DOCKERCOMMS_TEST_FILES is a number"))
}
