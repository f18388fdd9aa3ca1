//! Histories on the mailbox as an object: the test owns its clock and its repository.
//!
//! `DOCKERCOMMS_MODEL_CASES` sets how many histories are tried. An object cannot be killed, so a
//! kill is a restart here; `tests/crash` kills at every crash point.

use std::sync::Arc;
use std::time::Duration;

use dockercomms::mailbox::{
    EntryPath, InboxItem, MailboxError, OutboxFile, ReceiptItem, SendState,
};
use dockercomms::protocol::ReceiptStatus;
use dockercomms::registry::fault::Fault;
use dockercomms::registry::{RegistryError, Repository as _};
use dockercomms::testing::{BEGINNING, Person, World};
use proptest::test_runner::{Config, TestRunner};
use tokio_util::sync::CancellationToken;

use super::reference::{Entry, Reference, Tree};
use super::step::{OPERATIONS, Step, history};
use super::wanted;

/// How many histories are tried unless the variable says otherwise: some seconds.
const CASES: u32 = 64;

/// Most steps of one history.
const STEP_COUNT_MAX: usize = 24;

/// Bytes of a unit: some files have one chunk, some several.
const UNIT_LEN: usize = 64;

/// The two people, and what they should see.
struct History {
    world: World,
    alice: Person,
    bob: Person,
    reference: Reference,
    now_secs: u64,
}

impl History {
    async fn new() -> Self {
        let world = World::new();
        let (alice, bob) = world.alice_and_bob().await;
        Self { world, alice, bob, reference: Reference::default(), now_secs: BEGINNING }
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Send { name, units } => self.send(name, units, false).await,
            Step::Rename { name, units } => self.send(name, units, true).await,
            Step::Remove(number) => self.remove(number).await,
            // A failure is the disturbance's; the end says whether anything was lost.
            Step::Poll => {
                drop(self.bob.mailbox.inbox().poll().await);
                let listed = self.bob.listed(&self.alice);
                self.reference.listed(listed.iter().map(|item| (item.name.clone(), len(item))));
            }
            Step::Read(number) => {
                if let Some(item) = self.listed(number)
                    && let Ok(read) = self.bob.read(&item).await
                {
                    self.reference.read(&item.name, &read);
                }
            }
            Step::Dismiss(number) => {
                if let Some(item) = self.listed(number) {
                    self.bob.mailbox.inbox().dismiss(&item.digest).await.unwrap();
                    self.reference.dismissed(&item.name, len(&item));
                }
            }
            Step::Answer { number, is_accepted } => {
                if let Some(item) = self.listed(number) {
                    let status =
                        if is_accepted { ReceiptStatus::Accepted } else { ReceiptStatus::Rejected };
                    self.bob.mailbox.acknowledge(&item.digest, status, None).await.unwrap();
                    self.reference.answered(item.digest.to_string(), status.as_str());
                }
            }
            Step::Acknowledge => {
                drop(self.bob.mailbox.flush_receipts().await);
                drop(self.alice.mailbox.poll_receipts().await);
            }
            Step::Restart { alice: true, .. } => self.alice.restart(&self.world).await,
            Step::Restart { alice: false, .. } => self.bob.restart(&self.world).await,
            Step::Disturb { operation, count, committed } => {
                self.world.faulty.inject_next(operation, count, fault(committed));
            }
            Step::Storm(seed) => {
                for (at, operation) in OPERATIONS.into_iter().enumerate() {
                    let dice = seed.rotate_right(4 * u32::try_from(at).unwrap());
                    let count = u64::from(dice % 4);
                    self.world.faulty.inject_next(operation, count, fault(dice & 8 != 0));
                }
            }
            Step::Disconnect => {
                for operation in OPERATIONS {
                    self.world.faulty.inject_always(operation, fault(false));
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

    async fn send(&mut self, name: usize, units: usize, is_renamed: bool) {
        let name = format!("f{name}");
        let bytes = self.reference.next_content(units * UNIT_LEN);
        let was_sent = self.outgoing(&name).is_some_and(|file| file.state() == SendState::Sent);
        let is_told = if is_renamed {
            self.send_renamed(&name, &bytes).await.is_ok()
        } else {
            self.alice.send(&self.bob, &name, &bytes).await.is_ok()
        };
        self.reference.sent(&name, bytes, is_told, was_sent);
    }

    /// Sends what was written under a temporary name, as `rsync` does.
    async fn send_renamed(&self, name: &str, bytes: &[u8]) -> Result<(), MailboxError> {
        let outbox = self.alice.mailbox.outbox();
        let part: EntryPath = format!(".{name}.part").parse()?;
        if let Some(left) = self.outgoing(part.as_str()) {
            outbox.remove(&left).await?;
        }
        let file = outbox.create(&self.bob.identity, &part, 0o600).await?;
        outbox.write_at(&file, 0, bytes)?;
        outbox.release_writer(&file);
        outbox.rename(&file, &name.parse()?).await?;
        outbox.prepare(&file, &CancellationToken::new()).await?;
        outbox.publish(&file).await.map(drop)
    }

    async fn remove(&mut self, number: usize) {
        let files: Vec<Arc<OutboxFile>> = self.outbox();
        if let Some(at) = number.checked_rem(files.len()) {
            let (file, was_sent) = (&files[at], files[at].state() == SendState::Sent);
            self.alice.mailbox.outbox().remove(file).await.unwrap();
            self.reference.removed(&file.name(), was_sent);
        }
    }

    /// Returns alice's files, except for temporary ones.
    fn outbox(&self) -> Vec<Arc<OutboxFile>> {
        let snapshot = self.alice.mailbox.snapshot();
        snapshot.outbox_files().filter(|file| !file.is_temporary()).cloned().collect()
    }

    fn outgoing(&self, name: &str) -> Option<Arc<OutboxFile>> {
        let snapshot = self.alice.mailbox.snapshot();
        snapshot.outbox_files().find(|file| file.name() == name).cloned()
    }

    /// Returns the message that is listed as number `n`.
    fn listed(&self, number: usize) -> Option<Arc<InboxItem>> {
        let listed = self.bob.listed(&self.alice);
        number.checked_rem(listed.len()).map(|at| Arc::clone(&listed[at]))
    }

    /// Lets everything settle and compares the whole tree with the reference.
    async fn finish(mut self) {
        self.world.faulty.heal();
        // A clock that went back may have made messages of the future; receipts wait their turn.
        self.world.clock.advance(Duration::from_hours(2));
        self.alice.restart(&self.world).await;
        self.alice.settle().await;
        self.bob.restart(&self.world).await;
        self.bob.settle().await;
        self.bob.receive(&self.alice).await;
        for item in self.bob.listed(&self.alice) {
            self.bob.read(&item).await.unwrap();
        }
        self.bob.settle().await;
        self.bob.mailbox.flush_receipts().await.unwrap();
        // A mailbox that starts asks also for messages that have a receipt: a later one counts.
        self.alice.restart(&self.world).await;
        self.alice.mailbox.poll_receipts().await.unwrap();

        let compared = self.reference.compare(&self.tree().await);

        assert!(compared.is_ok(), "{compared:?}");
    }

    async fn tree(&self) -> Tree {
        let mut inbox = Vec::new();
        for item in self.bob.listed(&self.alice) {
            inbox.push(Entry {
                name: item.name.clone(),
                bytes: self.bob.read(&item).await.unwrap().to_vec(),
                state: "received".to_owned(),
                digest: item.digest.to_string(),
            });
        }
        let mut outbox = Vec::new();
        for file in self.outbox() {
            let len = usize::try_from(file.len()).unwrap();
            let bytes = match self.alice.mailbox.outbox().reader(&file) {
                Some(reader) => reader.read_at(0, len).await,
                None => file.read_at(0, len),
            };
            outbox.push(Entry {
                name: file.name(),
                bytes: bytes.unwrap().to_vec(),
                state: file.state().to_string(),
                digest: file.digest().map(|digest| digest.to_string()).unwrap_or_default(),
            });
        }
        let (given, taken) = (self.bob.mailbox.snapshot(), self.alice.mailbox.snapshot());
        Tree {
            inbox,
            outbox,
            issued: given
                .receipts_issued
                .values()
                .flat_map(|dir| dir.values())
                .filter_map(proof)
                .collect(),
            collected: taken
                .receipts_sent
                .values()
                .flat_map(|dir| dir.values())
                .filter_map(proof)
                .collect(),
            message_count: self.world.memory.list_tags("inbox-").await.unwrap().tags.len(),
        }
    }
}

fn len(item: &InboxItem) -> usize {
    usize::try_from(item.message.envelope.total_bytes).unwrap()
}

fn fault(committed: bool) -> Fault {
    let error = || RegistryError::TimedOut;
    if committed { Fault::commit_then_fail(error) } else { Fault::fail(error) }
}

/// Returns what a signed receipt says.
fn proof(item: &Arc<ReceiptItem>) -> Option<(String, String)> {
    item.signed.then(|| (item.message.to_string(), item.status.to_string()))
}

#[test]
fn whatever_happens_what_was_sent_arrives_once_and_whole() {
    let cases = wanted("DOCKERCOMMS_MODEL_CASES", CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let executed = std::cell::Cell::new(0);

    TestRunner::new(config)
        .run(&history(1..STEP_COUNT_MAX, true), |steps| {
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
