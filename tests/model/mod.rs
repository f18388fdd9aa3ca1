//! Random histories of two people against the simplest mailbox that could be right.
//!
//! The model is a list: what was sent arrives once, under its name, with its bytes, whatever the
//! network, the clock and restarts did in between. `DOCKERCOMMS_MODEL_CASES` sets how many
//! histories are tried.

mod drafts;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use dockercomms::mailbox::SendState;
use dockercomms::registry::RegistryError;
use dockercomms::registry::fault::Fault;
use dockercomms::registry::memory::Operation;
use dockercomms::testing::{BEGINNING, Person, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// How many histories are tried unless the variable says otherwise: some seconds.
const CASES: u32 = 64;

/// Most steps of one history.
const STEP_COUNT_MAX: usize = 24;

/// Returns the number that a variable of the environment asks for.
fn wanted<T: FromStr>(variable: &str, default: T) -> T {
    let Some(text) = std::env::var_os(variable) else { return default };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{variable} is a number"))
}

/// A stream of numbers that a seed decides.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns the next number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number % limit as u64).unwrap()
    }
}

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// Alice sends so many bytes under a new name.
    Send(usize),
    /// Alice removes the file that she sent as number `n` from her list.
    Remove(usize),
    /// Bob looks.
    Poll,
    /// Bob reads the message listed as number `n`.
    Read(usize),
    /// Bob dismisses it.
    Dismiss(usize),
    /// Bob pushes receipts and alice collects them.
    Acknowledge,
    /// Alice or bob starts anew.
    Restart { alice: bool },
    /// One operation fails so many times, after or before it took effect.
    Disturb { operation: Operation, count: u64, committed: bool },
    /// Nothing works until it heals.
    Disconnect,
    /// Everything works again.
    Heal,
    /// Time passes, in seconds; far less than a message lives.
    Wait(u64),
    /// The wall clock goes back a little.
    JumpBack(u64),
}

const OPERATIONS: [Operation; 8] = [
    Operation::FetchManifest,
    Operation::ResolveTag,
    Operation::PushManifest,
    Operation::BlobExists,
    Operation::FetchBlob,
    Operation::PushBlob,
    Operation::ListTags,
    Operation::ListReferrers,
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_usize..600).prop_map(Step::Send),
        1 => any::<usize>().prop_map(Step::Remove),
        3 => Just(Step::Poll),
        3 => any::<usize>().prop_map(Step::Read),
        1 => any::<usize>().prop_map(Step::Dismiss),
        2 => Just(Step::Acknowledge),
        2 => any::<bool>().prop_map(|alice| Step::Restart { alice }),
        3 => (0..OPERATIONS.len(), 1_u64..4, any::<bool>()).prop_map(|(at, count, committed)| {
            Step::Disturb { operation: OPERATIONS[at], count, committed }
        }),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Heal),
        1 => (1_u64..3_600).prop_map(Step::Wait),
        1 => (1_u64..60).prop_map(Step::JumpBack),
    ]
}

/// The two people, and what they should see.
struct History {
    world: World,
    alice: Person,
    bob: Person,
    /// Every name that alice used, with its bytes and whether she was told that it is sent.
    sent: BTreeMap<String, (Vec<u8>, bool)>,
    /// Names that bob dismissed.
    dismissed: Vec<String>,
    now_secs: u64,
}

impl History {
    async fn new() -> Self {
        let world = World::new();
        let (alice, bob) = world.alice_and_bob().await;
        let (sent, dismissed) = (BTreeMap::new(), Vec::new());
        Self { world, alice, bob, sent, dismissed, now_secs: BEGINNING }
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Send(len) => {
                let name = format!("f{}", self.sent.len());
                let bytes = crate::common::random_bytes(self.sent.len() as u64 + 1, len);
                let told = self.alice.send(&self.bob, &name, &bytes).await.is_ok();
                self.sent.insert(name, (bytes, told));
            }
            Step::Remove(number) => {
                let snapshot = self.alice.mailbox.snapshot();
                let mut files = snapshot.outbox_files();
                let count = files.by_ref().count();
                if let Some(at) = number.checked_rem(count) {
                    let file = snapshot.outbox_files().nth(at).cloned().unwrap();
                    if file.state() == SendState::Sent {
                        self.alice.mailbox.outbox().remove(&file).await.unwrap();
                    }
                }
            }
            // A failure is the disturbance's; the end says whether anything was lost.
            Step::Poll => drop(self.bob.mailbox.inbox().poll().await),
            Step::Read(number) => {
                let listed = self.bob.listed(&self.alice);
                if let Some(at) = number.checked_rem(listed.len())
                    && let Ok(read) = self.bob.read(&listed[at]).await
                {
                    assert!(read == self.sent[&listed[at].name].0, "{} differs", listed[at].name);
                }
            }
            Step::Dismiss(number) => {
                let listed = self.bob.listed(&self.alice);
                if let Some(at) = number.checked_rem(listed.len()) {
                    self.bob.mailbox.inbox().dismiss(&listed[at].digest).await.unwrap();
                    self.dismissed.push(listed[at].name.clone());
                }
            }
            Step::Acknowledge => {
                drop(self.bob.mailbox.flush_receipts().await);
                drop(self.alice.mailbox.poll_receipts().await);
            }
            Step::Restart { alice: true } => self.alice.restart(&self.world).await,
            Step::Restart { alice: false } => self.bob.restart(&self.world).await,
            Step::Disturb { operation, count, committed } => {
                let error = || RegistryError::TimedOut;
                let fault =
                    if committed { Fault::commit_then_fail(error) } else { Fault::fail(error) };
                self.world.faulty.inject_next(operation, count, fault);
            }
            Step::Disconnect => {
                for operation in OPERATIONS {
                    let fault = Fault::fail(|| RegistryError::TimedOut);
                    self.world.faulty.inject_always(operation, fault);
                }
            }
            Step::Heal => self.world.faulty.heal(),
            Step::Wait(secs) => {
                self.now_secs += secs;
                self.world.clock.advance(Duration::from_secs(secs));
            }
            Step::JumpBack(secs) => {
                self.now_secs -= secs;
                self.world.clock.jump_to(self.now_secs);
            }
        }
    }

    /// Lets everything settle and compares what arrived with what was sent.
    async fn finish(mut self) {
        self.world.faulty.heal();
        // A clock that went back may have made messages of the future; receipts wait their turn.
        self.world.clock.advance(Duration::from_hours(2));
        self.alice.restart(&self.world).await;
        self.alice.settle().await;
        self.bob.restart(&self.world).await;
        self.bob.settle().await;

        let listed = self.bob.receive(&self.alice).await;
        for item in &listed {
            let (bytes, _) =
                self.sent.get(&item.name).expect("nothing comes from nowhere or twice");
            assert!(self.bob.read(item).await.unwrap() == *bytes, "{} differs", item.name);
        }
        self.bob.settle().await;
        let failed: Vec<String> = {
            let snapshot = self.alice.mailbox.snapshot();
            let files = snapshot.outbox_files().filter(|file| file.state() != SendState::Sent);
            files.map(|file| file.name()).collect()
        };
        for (name, (_, told)) in &self.sent {
            let arrived = listed.iter().filter(|item| item.name == *name).count();
            let dismissed = self.dismissed.contains(name);
            assert!(!told || arrived == usize::from(!dismissed), "{name} arrived {arrived} times");
            assert!(!failed.contains(name) || arrived == 0, "{name} failed and arrived");
        }
        self.bob.mailbox.flush_receipts().await.unwrap();
        self.alice.mailbox.poll_receipts().await.unwrap();
        let snapshot = self.alice.mailbox.snapshot();
        let of = |name: &str| {
            let wanted = format!("{name}.accepted.json");
            let receipts = snapshot.receipts_sent.values().flat_map(|dir| dir.keys());
            receipts.filter(|receipt| **receipt == wanted).count()
        };
        let outbox: Vec<String> = snapshot.outbox_files().map(|file| file.name()).collect();
        for item in listed.iter().filter(|item| outbox.contains(&item.name)) {
            assert_eq!(of(&item.name), 1, "receipts for {}", item.name);
        }
    }
}

#[test]
fn whatever_happens_what_was_sent_arrives_once_and_whole() {
    let cases = wanted("DOCKERCOMMS_MODEL_CASES", CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let executed = std::cell::Cell::new(0);
    let steps = proptest::collection::vec(step(), 1..STEP_COUNT_MAX);

    TestRunner::new(config)
        .run(&steps, |steps| {
            runtime.block_on(async {
                let mut history = History::new().await;
                for step in steps {
                    history.run(step).await;
                    executed.set(executed.get() + 1);
                }
                history.finish().await;
            });
            Ok(())
        })
        .unwrap();

    println!("model: {cases} histories, {} operations executed", executed.get());
}
