//! The same histories through two mounts of the real program, over a registry that fails on demand.
//!
//! Files are sent by `cp` and `mv`, and everything is observed through the mounts.
//! `DOCKERCOMMS_MODEL_SEED` sets where the histories begin, `DOCKERCOMMS_MODEL_HISTORIES` how many
//! there are; the same seed is the same history. The clock is the machine's: histories in which it
//! jumps belong to `object`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dockercomms::registry::memory::Operation;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::fs::XattrFlags;

use super::reference::{Entry, Reference, Tree};
use super::step::{Step, history};
use super::wanted;
use crate::common::{
    ALICE, BOB, Home, Stopwatch, TestMount, alice_and_bob, names_in, read, run, shell, wait_until,
    wait_until_within, write,
};
use crate::hostile::registry::{Class, Fault, Registry};

/// How many histories are tried unless the variable says otherwise, half of them by each delivery.
const HISTORY_COUNT: u64 = 6;

/// Steps of one history.
const STEP_COUNT: usize = 25;

/// Bytes of a unit: the longest files have three chunks.
const UNIT_LEN: usize = 16_000;

/// How long things may take to settle: a receipt that failed often waits for its turn.
const SETTLE_DEADLINE: Duration = Duration::from_secs(100);

/// One request in so many fails in a storm.
const STORM_ONE_IN: u32 = 8;

const SEND: &str = "cp -f \"$1\" \"$2/$3\"";
const RENAME: &str = "cp -f \"$1\" \"$2/.$3.part\" && mv -f \"$2/.$3.part\" \"$2/$3\"";

/// One person with a mount.
pub(super) struct Side {
    pub(super) home: Home,
    pub(super) mount: TestMount,
}

impl Side {
    /// Makes alice and bob, mounted, on a registry.
    #[track_caller]
    pub(super) fn alice_and_bob(registry: &Registry, settings: &[&str]) -> (Self, Self) {
        let (alice, bob) = alice_and_bob(&registry.reference());
        let mounted = |home: Home| {
            for setting in settings {
                home.set(setting);
            }
            let mount = home.mount();
            Self { home, mount }
        };
        (mounted(alice), mounted(bob))
    }

    /// Ends the program, politely or not, and starts it again.
    #[track_caller]
    pub(super) fn restart(&mut self, is_killed: bool, arguments: &[&str]) {
        if is_killed {
            self.mount.kill();
        } else {
            self.mount.unmount();
        }
        self.mount.start(&self.home, arguments);
    }

    /// Waits until the program has looked into the registry, or has failed to.
    #[track_caller]
    fn poll(&self) {
        let look = || {
            let status = self.mount.status();
            (status["registry"].clone(), status["last_poll"].clone())
        };
        let before = look();
        wait_until("the registry is asked", || {
            let now = look();
            now != before || !matches!(now.0.as_str(), Some("ok" | "not polled yet"))
        });
    }
}

/// The two people, and what they should see.
struct History {
    alice: Side,
    bob: Side,
    registry: Registry,
    reference: Reference,
}

impl History {
    fn new(delivery: &str) -> Self {
        let registry = Registry::start();
        let delivery = format!("delivery = \"{delivery}\"");
        let settings = [&*delivery, "deadline = \"2s\"", "chunk_bytes = \"64KiB\""];
        let (alice, bob) = Side::alice_and_bob(&registry, &settings);
        alice.mount.outbox(BOB);
        Self { alice, bob, registry, reference: Reference::default() }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Send { name, units } => self.send(name, units, SEND),
            Step::Rename { name, units } => self.send(name, units, RENAME),
            Step::Remove(number) => self.remove(number),
            Step::Poll => {
                self.bob.poll();
                self.look();
            }
            Step::Read(number) => {
                // A failure is the disturbance's; the end says whether anything was lost.
                if let Some((path, name)) = self.listed(number)
                    && let Ok(bytes) = std::fs::read(path)
                {
                    self.reference.read(&name, &bytes);
                }
            }
            Step::Dismiss(number) => {
                if let Some((path, name)) = self.listed(number) {
                    let len = len(&path);
                    std::fs::remove_file(path).unwrap();
                    self.reference.dismissed(&name, len);
                }
            }
            Step::Answer { number, is_accepted } => {
                if let Some((path, _)) = self.listed(number) {
                    let status = if is_accepted { "accepted" } else { "rejected" };
                    let (name, flags) = ("user.dockercomms.receipt", XattrFlags::empty());
                    rustix::fs::setxattr(&path, name, status.as_bytes(), flags).unwrap();
                    self.reference.answered(attribute(&path, "digest"), status);
                }
            }
            Step::Acknowledge => self.alice.poll(),
            Step::Restart { alice: true, is_killed } => self.alice.restart(is_killed, &[]),
            Step::Restart { alice: false, is_killed } => self.bob.restart(is_killed, &[]),
            Step::Disturb { operation, count, committed } => {
                let fault = if committed { Fault::CommitThenClose } else { Fault::status(503) };
                self.registry.fail_times(class(operation), count, fault);
            }
            Step::Storm(seed) => self.registry.misbehave(seed, STORM_ONE_IN),
            Step::Disconnect => self.registry.fail(Class::Any, Fault::Close),
            Step::Heal => self.registry.heal(),
            Step::Wait(_) | Step::JumpBack(_) => {
                unreachable!("a test does not own the machine's clock")
            }
        }
    }

    fn send(&mut self, name: usize, units: usize, script: &str) {
        let name = format!("f{name}");
        let bytes = self.reference.next_content(units * UNIT_LEN);
        let source = write(self.alice.home.dir().join("source"), &bytes);
        let outbox = self.outbox();
        let was_sent = attribute(&outbox.join(&name), "state") == "sent";
        let ran = run(shell(script, &[source.as_os_str(), outbox.as_os_str(), name.as_ref()]));
        self.reference.sent(&name, bytes, ran.status.success(), was_sent);
    }

    fn remove(&mut self, number: usize) {
        let names: Vec<String> = names_in(self.outbox())
            .into_iter()
            .filter(|name| !name.starts_with('.') && !name.ends_with(".FAILED.txt"))
            .collect();
        if let Some(at) = number.checked_rem(names.len()) {
            let path = self.outbox().join(&names[at]);
            let was_sent = attribute(&path, "state") == "sent";
            std::fs::remove_file(path).unwrap();
            self.reference.removed(&names[at], was_sent);
        }
    }

    fn outbox(&self) -> PathBuf {
        self.alice.mount.path().join("outbox").join(BOB)
    }

    /// Returns the message that is listed as number `n`: its path and its name.
    fn listed(&self, number: usize) -> Option<(PathBuf, String)> {
        let dir = self.bob.mount.inbox(ALICE);
        let names = names_in(&dir);
        number.checked_rem(names.len()).map(|at| (dir.join(&names[at]), names[at].clone()))
    }

    /// Observes what bob has listed.
    #[track_caller]
    fn look(&self) {
        let dir = self.bob.mount.inbox(ALICE);
        self.reference.listed(names_in(&dir).into_iter().map(|name| {
            let len = len(&dir.join(&name));
            (name, len)
        }));
    }

    /// Lets everything settle and compares the whole tree with the reference.
    #[track_caller]
    fn finish(mut self) {
        self.registry.heal();
        // Killed: an unmount would send what a start has to.
        self.alice.restart(true, &[]);
        self.bob.restart(false, &[]);
        self.wait_until_right("what bob has", Reference::compare_received);
        // A mailbox that starts asks also for messages that have a receipt: a later one counts.
        self.alice.restart(false, &[]);
        self.wait_until_right("the whole tree", Reference::compare);
        // Nothing more is on its way.
        self.bob.poll();
        self.alice.poll();

        let compared = self.reference.compare(&self.tree());

        assert!(compared.is_ok(), "{compared:?}");
    }

    #[track_caller]
    fn wait_until_right(&self, what: &str, compare: fn(&Reference, &Tree) -> Result<(), String>) {
        let stopwatch = Stopwatch::start();
        let mut compared = Ok(());

        wait_until_within(2 * SETTLE_DEADLINE, what, || {
            compared = compare(&self.reference, &self.tree());
            compared.is_ok() || stopwatch.elapsed() > SETTLE_DEADLINE
        });

        let (alice, bob) = (self.alice.mount.errors(), self.bob.mount.errors());
        let outbox: Vec<_> =
            self.tree().outbox.into_iter().map(|entry| (entry.name, entry.state)).collect();
        assert!(
            compared.is_ok(),
            "{what}: {compared:?}\noutbox: {outbox:?}\nalice: {alice}\nbob: {bob}"
        );
    }

    fn tree(&self) -> Tree {
        let (alice, bob) = (self.alice.mount.path(), self.bob.mount.path());
        let mut outbox = entries(&self.outbox());
        outbox.retain(|entry| !entry.name.starts_with('.'));
        Tree {
            inbox: entries(&self.bob.mount.inbox(ALICE)),
            outbox,
            issued: proofs(&bob.join("receipts/issued").join(ALICE)),
            collected: proofs(&alice.join("receipts/sent").join(BOB)),
            message_count: self.registry.tags("inbox-").len(),
        }
    }
}

/// Reads every file of a directory.
fn entries(dir: &Path) -> Vec<Entry> {
    let entry = |name: String| {
        let path = dir.join(&name);
        let (state, digest) = (attribute(&path, "state"), attribute(&path, "digest"));
        Entry { name, bytes: std::fs::read(path).unwrap_or_default(), state, digest }
    };
    names_in(dir).into_iter().map(entry).collect()
}

/// Returns what the signed receipts of a directory say.
fn proofs(dir: &Path) -> BTreeSet<(String, String)> {
    let receipts = names_in(dir).into_iter().map(|name| read(dir.join(name)));
    let parsed = receipts.map(|text| serde_json::from_slice::<serde_json::Value>(&text).unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    parsed
        .filter(|receipt| receipt["proof"] == "signed")
        .map(|receipt| (text(&receipt["message"]), text(&receipt["status"])))
        .collect()
}

fn len(path: &Path) -> usize {
    usize::try_from(path.metadata().unwrap().len()).unwrap()
}

/// Returns an attribute of ours; empty when it is not there.
fn attribute(path: &Path, name: &str) -> String {
    let mut value = vec![0; 1024];
    let name = format!("user.dockercomms.{name}");
    let len = rustix::fs::getxattr(path, name, value.as_mut_slice()).unwrap_or_default();
    String::from_utf8_lossy(&value[..len]).into_owned()
}

/// Returns the requests that an operation is made of.
fn class(operation: Operation) -> Class {
    match operation {
        Operation::FetchManifest => Class::ManifestGet,
        Operation::ResolveTag => Class::ManifestHead,
        Operation::PushManifest => Class::ManifestPut,
        Operation::BlobExists => Class::BlobHead,
        Operation::FetchBlob => Class::BlobGet,
        Operation::PushBlob => Class::UploadPut,
        Operation::ListTags => Class::Tags,
        Operation::ListReferrers => Class::Referrers,
        _ => Class::Any,
    }
}

#[test]
fn a_history_through_mounts_keeps_what_closes_promised() {
    try_histories("sync", 0);
}

#[test]
fn a_history_through_mounts_keeps_what_queued_closes_promised() {
    try_histories("queued", 1);
}

/// Tries every second history, from the first or the second one on.
#[expect(clippy::print_stdout, reason = "shown when it fails, and as the figures of the script")]
#[track_caller]
fn try_histories(delivery: &str, first: u64) {
    let seed: u64 = wanted("DOCKERCOMMS_MODEL_SEED", 1);
    let count = wanted("DOCKERCOMMS_MODEL_HISTORIES", HISTORY_COUNT);
    let (mut histories, mut operations) = (0, 0);
    for seed in (seed + first..seed + count).step_by(2) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let steps = history(STEP_COUNT, false).new_tree(&mut runner).unwrap().current();
        println!("history {seed}, {delivery}: {steps:?}");
        let mut history = History::new(delivery);
        for step in steps {
            history.run(step);
            operations += 1;
        }
        history.finish();
        histories += 1;
    }
    println!("model, {delivery}: {histories} histories, {operations} operations through mounts");
}
