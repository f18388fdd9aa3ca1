//! The simplest mailbox that could be right, in memory: a list of what was sent.
//!
//! What was reported to alice as sent arrives once, under its name, with its bytes. What failed, or
//! was replaced or removed before it was sent, may arrive, but not twice. Nothing else does. Every
//! file has a length of its own, by which it is known whatever its name.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::random_bytes;

/// Most files of one history: lengths are distinguished modulo this.
const SENDING_COUNT_MAX: usize = 64;

/// One file that alice tried to send.
struct Sending {
    name: String,
    bytes: Vec<u8>,
    /// It was reported to alice as sent, and she did not recall it while she could.
    is_promised: bool,
}

/// What should be there.
#[derive(Default)]
pub(super) struct Reference {
    sendings: Vec<Sending>,
    /// Alice's list: number of the sending by name; `None` when it may be there or not, with any
    /// content, after a failure.
    outbox: BTreeMap<String, Option<usize>>,
    dismissed: BTreeSet<usize>,
    /// Receipts that bob gave by hand: digest of the message, and status.
    answers: BTreeSet<(String, String)>,
}

/// A listed file: what it is called, how long it is, its content and its message.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) state: String,
    /// The message's digest; empty when there is none yet.
    pub(super) digest: String,
}

/// The whole tree of both, as a driver found it.
#[derive(Debug)]
pub(super) struct Tree {
    /// The content of bob's inbox.
    pub(super) inbox: Vec<Entry>,
    /// The content of alice's outbox, except for temporary names.
    pub(super) outbox: Vec<Entry>,
    /// Bob's receipts: digest of the message, status.
    pub(super) issued: BTreeSet<(String, String)>,
    /// Alice's signed receipts: digest of the message, status.
    pub(super) collected: BTreeSet<(String, String)>,
    /// Messages to bob in the registry.
    pub(super) message_count: usize,
}

impl Reference {
    /// Returns the content of the next file to send, of a length that no other one has.
    pub(super) fn next_content(&self, len_wanted: usize) -> Vec<u8> {
        let number = self.sendings.len();
        assert!(number < SENDING_COUNT_MAX, "a shorter history");
        let len = len_wanted / SENDING_COUNT_MAX * SENDING_COUNT_MAX + number;
        random_bytes(number as u64 + 1, len)
    }

    /// Alice has tried to send a file; `was_sent`: the file that she had under this name before.
    pub(super) fn sent(&mut self, name: &str, bytes: Vec<u8>, is_told: bool, was_sent: bool) {
        self.forget(name, was_sent);
        // The close of an empty file may be that of `touch`, and promises nothing.
        let is_told = is_told && !bytes.is_empty();
        let number = self.sendings.len();
        self.sendings.push(Sending { name: name.to_owned(), bytes, is_promised: is_told });
        self.outbox.insert(name.to_owned(), is_told.then_some(number));
    }

    /// Alice has removed a file from her list.
    pub(super) fn removed(&mut self, name: &str, was_sent: bool) {
        self.forget(name, was_sent);
        self.outbox.remove(name);
    }

    /// A file that was not sent yet when it went may arrive or not.
    fn forget(&mut self, name: &str, was_sent: bool) {
        if !was_sent && let Some(Some(number)) = self.outbox.get(name) {
            self.sendings[*number].is_promised = false;
        }
    }

    /// Bob has a message of this name and length listed: it must be one that was sent.
    pub(super) fn number_of(&self, listed: &str, len: usize) -> Result<usize, String> {
        let number = len % SENDING_COUNT_MAX;
        let sending = self.sendings.get(number).filter(|sending| sending.bytes.len() == len);
        let sending = sending.ok_or(format!("{listed} of {len} bytes comes from nowhere"))?;
        // A second message of one name is "name (2)".
        let is_named = listed
            .strip_prefix(sending.name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(" (") && rest.ends_with(')'));
        if !is_named {
            return Err(format!("{} is listed as {listed}", sending.name));
        }
        if self.dismissed.contains(&number) {
            return Err(format!("{listed} was dismissed, and is back"));
        }
        Ok(number)
    }

    /// Bob sees these names and lengths; nothing may be there twice.
    #[track_caller]
    pub(super) fn listed(&self, entries: impl IntoIterator<Item = (String, usize)>) {
        let mut numbers = BTreeSet::new();
        for (name, len) in entries {
            let number = self.number_of(&name, len).unwrap_or_else(|error| panic!("{error}"));
            assert!(numbers.insert(number), "{name} is there twice");
        }
    }

    /// Bob has read a message.
    #[track_caller]
    pub(super) fn read(&self, name: &str, bytes: &[u8]) {
        let number = self.number_of(name, bytes.len()).unwrap_or_else(|error| panic!("{error}"));
        assert!(self.sendings[number].bytes == bytes, "{name} differs");
    }

    /// Bob has dismissed a message.
    #[track_caller]
    pub(super) fn dismissed(&mut self, name: &str, len: usize) {
        let number = self.number_of(name, len).unwrap_or_else(|error| panic!("{error}"));
        self.dismissed.insert(number);
    }

    /// Bob has given a receipt by hand.
    pub(super) fn answered(&mut self, digest: String, status: &str) {
        self.answers.insert((digest, status.to_owned()));
    }

    /// Compares the tree with what should be there; bob has read everything.
    ///
    /// # Errors
    /// What is wrong, which later may be right: something can still be on its way.
    pub(super) fn compare(&self, tree: &Tree) -> Result<(), String> {
        self.compare_received(tree)?;
        self.compare_outbox(tree)?;
        compare_collected(tree)
    }

    /// The same, only with what bob has and gave.
    pub(super) fn compare_received(&self, tree: &Tree) -> Result<(), String> {
        self.compare_messages(tree)?;
        self.compare_issued(tree)
    }

    fn compare_messages(&self, tree: &Tree) -> Result<(), String> {
        let mut arrived = BTreeSet::new();
        for entry in &tree.inbox {
            let number = self.number_of(&entry.name, entry.bytes.len())?;
            expect(self.sendings[number].bytes == entry.bytes, || {
                format!("{} differs", entry.name)
            })?;
            expect(arrived.insert(number), || format!("{} is there twice", entry.name))?;
        }
        let all = tree.inbox.len() + self.dismissed.len();
        expect(tree.message_count == all, || {
            format!("{} messages in the registry, {all} known to bob", tree.message_count)
        })?;
        for (number, sending) in self.sendings.iter().enumerate() {
            let is_there = arrived.contains(&number) || self.dismissed.contains(&number);
            expect(is_there || !sending.is_promised, || format!("{} is lost", sending.name))?;
        }
        Ok(())
    }

    fn compare_outbox(&self, tree: &Tree) -> Result<(), String> {
        for entry in &tree.outbox {
            let name = entry.name.strip_suffix(".FAILED.txt").unwrap_or(&entry.name);
            match self.outbox.get(name) {
                Some(Some(number)) => {
                    let is_same = self.sendings[*number].bytes == entry.bytes;
                    expect(is_same && entry.state == "sent", || {
                        format!("outbox: {} is {}, same: {is_same}", entry.name, entry.state)
                    })?;
                }
                Some(None) => expect_unsent(entry, tree)?,
                None => return Err(format!("outbox: {} should not be there", entry.name)),
            }
        }
        let listed: BTreeSet<&str> = tree.outbox.iter().map(|entry| entry.name.as_str()).collect();
        let mut expected = self.outbox.iter().filter(|(_, number)| number.is_some());
        match expected.find(|(name, _)| !listed.contains(name.as_str())) {
            Some((name, _)) => Err(format!("outbox: {name} is missing")),
            None => Ok(()),
        }
    }

    /// An answer that bob gave by hand stays; what he has read is accepted; there are no other
    /// answers.
    fn compare_issued(&self, tree: &Tree) -> Result<(), String> {
        if let Some((_, status)) = self.answers.difference(&tree.issued).next() {
            return Err(format!("a receipt given by hand is missing: {status}"));
        }
        for entry in &tree.inbox {
            let given = statuses(&tree.issued, &entry.digest);
            expect(!given.is_empty(), || format!("no receipt for {}", entry.name))?;
        }
        let mut unasked = tree.issued.difference(&self.answers);
        match unasked.find(|(_, status)| status != "accepted") {
            Some((_, status)) => Err(format!("a receipt that was never issued: {status}")),
            None => Ok(()),
        }
    }
}

/// A file that is shown as failed has not arrived.
fn expect_unsent(entry: &Entry, tree: &Tree) -> Result<(), String> {
    match entry.state.as_str() {
        "failed" | "abandoned" => {
            let has_arrived = tree.inbox.iter().any(|item| item.bytes == entry.bytes);
            expect(!has_arrived || entry.bytes.is_empty(), || {
                format!("{} is {} and arrived", entry.name, entry.state)
            })
        }
        // The note about a failure has no state.
        "sent" | "" => Ok(()),
        state => Err(format!("outbox: {} is still {state}", entry.name)),
    }
}

/// Alice has the receipts that bob gave, and no others.
fn compare_collected(tree: &Tree) -> Result<(), String> {
    if let Some((digest, status)) = tree.collected.difference(&tree.issued).next() {
        return Err(format!("alice has a receipt that bob never gave: {status} for {digest}"));
    }
    for entry in tree.outbox.iter().filter(|entry| entry.state == "sent") {
        let given = statuses(&tree.issued, &entry.digest);
        let came = statuses(&tree.collected, &entry.digest);
        expect(came == given, || {
            format!("receipts for {}: {came:?} came, {given:?} given", entry.name)
        })?;
    }
    Ok(())
}

fn statuses<'a>(receipts: &'a BTreeSet<(String, String)>, digest: &str) -> BTreeSet<&'a str> {
    let of = receipts.iter().filter(|(message, _)| message == digest);
    of.map(|(_, status)| status.as_str()).collect()
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
