//! Bob with the real program, in front of a registry that may lie.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::forge::{Author, Letter, payload};
use super::registry::Registry;
use crate::common::{ALICE, BOB, Home, Ran, Stopwatch, temp_dir, write};

/// The name of the good letter beside every bad one.
pub(crate) const GOOD: &str = "good.txt";

/// Longest time of one operation on the registry, as bob has configured it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// What a verb may take beyond the deadline: several operations, a debug build, a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A registry, alice who writes by hand, and bob with the program.
pub(crate) struct Scene {
    pub(crate) registry: Registry,
    pub(crate) alice: Author,
    pub(crate) bob: Home,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(Registry::start())
    }

    pub(crate) fn with(registry: Registry) -> Self {
        Self::with_deadline(registry, DEADLINE)
    }

    /// A bob who waits long enough for what the test holds back.
    pub(crate) fn patient() -> Self {
        Self::with_deadline(Registry::start(), Duration::from_mins(1))
    }

    fn with_deadline(registry: Registry, deadline: Duration) -> Self {
        let alice = Author::new(ALICE);
        let bob = Home::init(BOB, &registry.reference());
        bob.set(&format!("deadline = \"{}s\"", deadline.as_secs()));
        bob.set("settle = \"0s\"");
        bob.trust_card(&alice.card());
        Self { registry, alice, bob }
    }

    /// A correct letter from alice to bob, of three chunks, not posted yet.
    pub(crate) fn letter(&self, name: &str) -> Letter {
        Letter::new(&self.alice, BOB, name, &payload(2500))
    }

    /// Posts a correct letter, which no bad one may hide.
    pub(crate) fn post_good(&self) {
        Letter::new(&self.alice, BOB, GOOD, b"good").post(&self.registry, &self.alice, BOB);
    }

    /// Lets the registry want a login, and gives it to bob.
    pub(crate) fn log_in(&self) {
        self.registry.require_login("bob", "hush-hush");
        let login = data_encoding::BASE64.encode(b"bob:hush-hush");
        let auths = json!({ "auths": { self.registry.host(): { "auth": login } } });
        let dir = self.bob.dir().join(".docker");
        std::fs::create_dir_all(&dir).unwrap();
        write(dir.join("config.json"), auths.to_string());
    }

    /// Runs `recv`; returns the files that it wrote, and what it said.
    pub(crate) fn receive(&self) -> (BTreeMap<String, Vec<u8>>, Ran) {
        let out = temp_dir();
        let ran = self.bob.run(["recv".as_ref(), "--out".as_ref(), out.path().as_os_str()]);
        (files_in(out.path()), ran)
    }

    /// Returns the names that `ls` lists after it has looked into the registry.
    pub(crate) fn inbox(&self) -> Vec<String> {
        let rows = self.bob.json(["ls", "inbox"]);
        rows.iter().map(|row| text(row, "name")).collect()
    }

    /// Returns what is in quarantine: file name and reason code.
    pub(crate) fn quarantine(&self) -> BTreeMap<String, String> {
        let rows = self.bob.json(["ls", "quarantine"]);
        let name = |row| text(row, "name").trim_end_matches(".WHY.txt").to_owned();
        rows.iter().map(|row| (name(row), text(row, "why"))).collect()
    }
}

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_default().to_owned()
}

/// Returns the files directly in a directory, hidden ones too.
fn files_in(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = crate::common::names_in(dir).into_iter();
    names.map(|name| (name.clone(), crate::common::read(dir.join(name)))).collect()
}

/// Runs `work` and returns how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let stopwatch = Stopwatch::start();
    let result = work();
    (result, stopwatch.elapsed())
}
