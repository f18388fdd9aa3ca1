//! Alice and bob as files that can be copied: a fresh world for every crash costs no new keys.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::{
    BOB, Home, alice_and_bob, names_in, random_bytes, read, run, shell, temp_dir, write,
};

/// Chunks so small that a short file has several.
const CHUNK_BYTES: &str = "chunk_bytes = \"64KiB\"";

/// The two homes and the repository between them, all unused since they were copied.
pub(super) struct World {
    pub(super) alice: Home,
    pub(super) bob: Home,
    repository: TempDir,
}

impl World {
    /// Makes the two, each trusting the other, on a repository that does not exist yet.
    pub(super) fn new() -> Self {
        let repository = temp_dir();
        let reference = reference(&repository);
        let (alice, bob) = alice_and_bob(&reference);
        alice.set(CHUNK_BYTES);
        Self { alice, bob, repository }
    }

    /// Copies everything, so that a crash leaves the original alone.
    pub(super) fn copy(&self) -> Self {
        self.copy_to(temp_dir)
    }

    /// As [`Self::copy`], into directories that `dir` makes.
    pub(super) fn copy_to(&self, dir: impl Fn() -> TempDir) -> Self {
        let repository = dir();
        copy(self.repository.path(), repository.path());
        let home = |from: &Home| {
            let home = Home::in_dir(dir());
            copy(from.dir(), home.dir());
            // The configuration names the original.
            home.set_variable("DOCKERCOMMS_REGISTRY", Some(OsStr::new(&reference(&repository))));
            home
        };
        Self { alice: home(&self.alice), bob: home(&self.bob), repository }
    }

    /// Returns where the image layout is.
    pub(super) fn layout(&self) -> PathBuf {
        self.repository.path().join("repository")
    }

    /// Writes a file that alice may send; returns its path.
    pub(super) fn source(&self, name: &str, bytes: &[u8]) -> String {
        write(self.alice.dir().join(name), bytes).to_string_lossy().into_owned()
    }

    /// Lets bob fetch what is new into his directory.
    #[track_caller]
    pub(super) fn receive(&self) {
        let out = self.received_dir();
        self.bob.run(["recv", "--out", &out.to_string_lossy()]).ok();
    }

    /// Returns bob's directory of received files, which exists.
    pub(super) fn received_dir(&self) -> PathBuf {
        let dir = self.bob.dir().join("received");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Returns the files that bob has, without temporary ones.
    pub(super) fn received(&self) -> Vec<(String, Vec<u8>)> {
        let dir = self.received_dir();
        let names = names_in(&dir).into_iter().filter(|name| !name.starts_with('.'));
        names.map(|name| (name.clone(), read(dir.join(name)))).collect()
    }

    /// Returns the names and states that alice's outbox lists.
    pub(super) fn outbox(&self) -> Vec<(String, String)> {
        rows(&self.alice, "outbox")
            .into_iter()
            .map(|row| (text(&row, "name"), text(&row, "state")))
            .collect()
    }

    /// Returns the names of the receipts that alice has got and of those that bob has given.
    pub(super) fn receipts(&self) -> (Vec<String>, Vec<String>) {
        let names = |home, wanted| {
            let rows = rows(home, "receipts").into_iter();
            rows.filter(|row| text(row, "state") == wanted).map(|row| text(&row, "name")).collect()
        };
        (names(&self.alice, "received"), names(&self.bob, "issued"))
    }

    /// Mounts alice's mailbox for as long as it takes to finish what was begun.
    #[track_caller]
    pub(super) fn recover(&self) {
        let mut mount = self.alice.mount();
        for (name, state) in self.outbox() {
            if state == "prepared" {
                mount.wait_for_state(mount.path().join("outbox").join(BOB).join(name), "sent");
            }
        }
        mount.unmount();
    }

    /// Returns what should no longer exist: temporary files of every kind.
    pub(super) fn litter(&self) -> Vec<String> {
        let unsent = self.outbox().iter().filter(|(_, state)| state != "sent").count();
        let mut left = Vec::new();
        for home in [&self.alice, &self.bob] {
            let below = files_below(home.dir());
            let is_temporary = |file: &&String| {
                let name = file.rsplit('/').next().unwrap_or_default();
                name.starts_with(".new.db")
                    || name.starts_with('.') && name.contains("tmp")
                    || Path::new(name).extension().is_some_and(|end| end == "new" || end == "part")
            };
            left.extend(below.iter().filter(is_temporary).cloned());
        }
        let staged = names_in(self.alice.path().join("state/spool"));
        if staged.len() > unsent {
            left.push(format!("{} staged files for {unsent} unsent ones", staged.len()));
        }
        left.extend(names_in(self.layout().join("ingest")));
        left
    }

    /// Makes a day pass, if any litter is left, and both people act once more.
    ///
    /// What a killed writer left behind is removed once it is old enough to have no owner.
    pub(super) fn age(&self) {
        if self.litter().is_empty() {
            return;
        }
        let script = "find \"$@\" \\( -name '*tmp*' -o -name '*.part' -o -name '.new.db*' \\) \
                      -type f -exec touch -d '3 days ago' {} +";
        run(shell(script, &[self.alice.dir(), self.bob.dir(), self.repository.path()])).ok();
        let last = self.source("last", b"last");
        self.alice.run(["send", &last, "--to", BOB]).ok();
        self.receive();
        self.alice.run(["trust", "rm", BOB]).ok();
        self.alice.trust(&self.bob);
        self.recover();
    }
}

/// Returns a payload of three chunks.
pub(super) fn three_chunks() -> Vec<u8> {
    random_bytes(11, 150_000)
}

fn reference(repository: &TempDir) -> String {
    format!("oci:{}", repository.path().join("repository").display())
}

#[track_caller]
fn copy(from: &Path, to: &Path) {
    run(shell("cp -a \"$1/.\" \"$2\"", &[from, to])).ok();
}

fn rows(home: &Home, listing: &str) -> Vec<serde_json::Value> {
    home.json(["ls", listing])
}

fn text(row: &serde_json::Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

fn files_below(dir: &Path) -> Vec<String> {
    let ran = run(shell("find \"$1\" -type f", &[dir]));
    ran.ok().lines().map(str::to_owned).collect()
}
