//! Both sides die again and again while the registry fails at random (X11).
//!
//! `DOCKERCOMMS_SOAK_SECS` sets how long, `DOCKERCOMMS_MODEL_SEED` in which way.

use std::collections::BTreeSet;
use std::time::Duration;

use super::mounted::Side;
use super::{Numbers, wanted};
use crate::common::{
    ALICE, BOB, Ran, Running, Stopwatch, names_in, random_bytes, read, shell, wait_until,
    wait_until_within, write,
};
use crate::hostile::registry::{Class, Fault, Registry};

/// Seconds of the run in the suite.
const SECS: u64 = 20;

/// Files that are sent at the same time.
const PARALLEL_COUNT: usize = 3;

/// Files a second: what is sent in half an hour is what the registry of the tests still lists and keeps
/// up with. A queue takes more than any registry does.
const PACE: usize = 3;

/// Longest file in bytes: some have several chunks.
const LEN_MAX: usize = 150_000;

/// One request in so many fails.
const ONE_IN: u32 = 12;

/// How long what is queued may take in the end.
const SETTLE_DEADLINE: Duration = Duration::from_secs(140);

/// One file that alice tried to send.
struct Sending {
    bytes: Vec<u8>,
    /// The close reported success, so it must arrive.
    is_reported: bool,
}

struct Soak {
    alice: Side,
    bob: Side,
    registry: Registry,
    numbers: Numbers,
    /// Seconds between two deaths: at least, and less than.
    pause_secs: (usize, usize),
    since_death: Stopwatch,
    next_death: Duration,
    sendings: Vec<Sending>,
    death_count: usize,
    read_count: usize,
}

impl Soak {
    fn new(seed: u64, pause_secs: (usize, usize)) -> Self {
        let registry = Registry::start();
        let (alice, bob) =
            Side::alice_and_bob(&registry, &["deadline = \"2s\"", "chunk_bytes = \"64KiB\""]);
        alice.mount.outbox(BOB);
        let mut soak = Self {
            alice,
            bob,
            registry,
            numbers: Numbers::new(seed),
            pause_secs,
            since_death: Stopwatch::start(),
            next_death: Duration::ZERO,
            sendings: Vec::new(),
            death_count: 0,
            read_count: 0,
        };
        soak.disturb();
        soak
    }

    /// Chooses how the registry fails from now on, and when the next process dies.
    fn disturb(&mut self) {
        self.registry.heal();
        let seed = u32::try_from(self.numbers.below(1 << 31)).unwrap();
        self.registry.misbehave(seed, ONE_IN);
        // Now and then it is away until the next death.
        if self.numbers.below(4) == 0 {
            self.registry.fail(Class::Any, Fault::Close);
        }
        let (least, most) = self.pause_secs;
        let millis = 1_000 * least + self.numbers.below(1_000 * (most - least));
        self.next_death = Duration::from_millis(millis as u64);
        self.since_death = Stopwatch::start();
    }

    /// Runs programs to their end, while processes die.
    fn run_beside_death(&mut self, mut programs: Vec<Running>) -> Vec<Ran> {
        wait_until("the programs end", || {
            if self.since_death.elapsed() > self.next_death {
                self.kill_somebody();
            }
            !programs.iter_mut().any(Running::is_running)
        });
        programs.into_iter().map(Running::end).collect()
    }

    fn kill_somebody(&mut self) {
        let delivery = if self.numbers.below(2) == 0 { "sync" } else { "queued" };
        if self.numbers.below(2) == 0 {
            self.alice.restart(true, &["--delivery", delivery]);
        } else {
            self.bob.restart(true, &[]);
        }
        self.death_count += 1;
        self.disturb();
    }

    /// Sends some files at once.
    fn send(&mut self) {
        let first = self.sendings.len();
        let mut programs = Vec::new();
        for number in first..first + PARALLEL_COUNT {
            let bytes = random_bytes(number as u64 + 1, 1 + self.numbers.below(LEN_MAX));
            let source = write(self.alice.home.dir().join(format!("f{number}")), &bytes);
            let outbox = self.alice.mount.path().join("outbox").join(BOB);
            programs.push(Running::start(shell("exec cp \"$1\" \"$2\"", &[source, outbox])));
            self.sendings.push(Sending { bytes, is_reported: false });
        }
        for (number, ran) in (first..).zip(self.run_beside_death(programs)) {
            self.sendings[number].is_reported = ran.status.success();
        }
    }

    /// Reads one message that bob has; it may fail, and never differs.
    fn read(&mut self) {
        let names = names_in(self.bob.mount.inbox(ALICE));
        let Some(at) = self.numbers.below(names.len() + 1).checked_sub(1) else { return };
        let path = self.bob.mount.inbox(ALICE).join(&names[at]);
        let ran = self.run_beside_death(vec![Running::start(shell("exec cat \"$1\"", &[path]))]);
        if ran[0].status.success() {
            assert!(ran[0].stdout == self.sending(&names[at]).bytes, "{} differs", names[at]);
            self.read_count += 1;
        }
    }

    /// Returns what was sent under a name; a second message of one name has another one.
    #[track_caller]
    fn sending(&self, name: &str) -> &Sending {
        let number = name.strip_prefix('f').and_then(|number| number.parse::<usize>().ok());
        let sending = number.and_then(|number| self.sendings.get(number));
        sending.unwrap_or_else(|| panic!("{name} comes from nowhere, or twice"))
    }

    /// Lets everything settle, and counts.
    #[track_caller]
    fn finish(&mut self) -> usize {
        self.registry.heal();
        // Killed: an unmount would send what a start has to.
        self.alice.restart(true, &[]);
        let alice = &self.alice.mount;
        wait_until_within(SETTLE_DEADLINE, "all is sent", || alice.status()["outbox_queued"] == 0);
        self.bob.restart(false, &[]);
        let inbox = self.bob.mount.inbox(ALICE);
        // Two messages of one file would be two tags.
        let messages = self.registry.tags("inbox-").len();
        wait_until_within(SETTLE_DEADLINE, "all have come", || names_in(&inbox).len() >= messages);

        let names: BTreeSet<String> = names_in(&inbox).into_iter().collect();
        assert_eq!(names.len(), messages);
        for name in &names {
            assert!(read(inbox.join(name)) == self.sending(name).bytes, "{name} differs");
        }
        for (number, sending) in self.sendings.iter().enumerate() {
            let has_come = names.contains(&format!("f{number}"));
            assert!(has_come || !sending.is_reported, "f{number} is lost: {}", alice.errors());
        }
        let issued = self.bob.mount.path().join("receipts/issued").join(ALICE);
        wait_until_within(SETTLE_DEADLINE, "each has a receipt", || {
            names_in(&issued).len() >= messages
        });
        assert_eq!(names_in(&issued).len(), messages, "one receipt for each");
        messages
    }
}

#[test]
fn x11_what_closes_promised_arrives_once_though_both_sides_die_all_the_time() {
    let secs = wanted("DOCKERCOMMS_SOAK_SECS", SECS);
    let seed = wanted("DOCKERCOMMS_MODEL_SEED", 1);
    let mut soak = Soak::new(seed, if secs > SECS { (5, 20) } else { (2, 4) });
    let stopwatch = Stopwatch::start();

    while stopwatch.elapsed() < Duration::from_secs(secs) {
        let allowed = usize::try_from(stopwatch.elapsed().as_secs() + 1).unwrap() * PACE;
        if soak.sendings.len() < allowed {
            soak.send();
        }
        soak.read();
    }
    let arrived = soak.finish();

    let reported = soak.sendings.iter().filter(|sending| sending.is_reported).count();
    assert!(soak.death_count > 0 && reported > 0, "{} deaths, {reported} sent", soak.death_count);
    println!(
        "soak: seed {seed}, {secs} s, {} kills, {} closes, {reported} returned 0, {arrived} arrived, \
         {} read meanwhile, 0 lost, 0 doubled",
        soak.death_count,
        soak.sendings.len(),
        soak.read_count
    );
}
