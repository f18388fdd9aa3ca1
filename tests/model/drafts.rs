//! Random operations of programs on a draft in a real mount, against bytes in memory.
//!
//! What fsx does, and more: positioned reads and writes, truncation, appending, a shared mapping,
//! copies of the descriptor that are closed midway, and children. A program in Python carries them
//! out, because Rust has no mapping and no `fork` without `unsafe`.

use std::fmt::Write as _;

use super::{Numbers, wanted};
use crate::common::{
    BOB, Running, alice_and_bob, names_in, program, random_bytes, read, repository, temp_dir, write,
};

/// Operations on one draft unless `DOCKERCOMMS_MODEL_OPERATIONS` says otherwise.
const OPERATION_COUNT: usize = 2_000;

/// Operations on the draft whose closes are queued; each child costs a process.
const QUEUED_OPERATION_COUNT: usize = 300;

/// Longest draft in bytes: several chunks.
const LEN_MAX: usize = 300_000;

/// Longest single read or write in bytes.
const SPAN_MAX: usize = 70_000;

/// How long the program may take; a script may ask for many operations.
const PROGRAM_DEADLINE: std::time::Duration = std::time::Duration::from_mins(20);

/// The program that carries the operations out.
const PROGRAM: &str = include_str!("drafts.py");

/// The file as it should be, and what reading it should have given.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    read: Vec<u8>,
    /// What the program is to do, a line each: word, offset, length, offset in the noise.
    script: String,
}

impl Model {
    /// Adds one operation.
    fn add(&mut self, word: &str, offset: usize, len: usize, noise: (&[u8], usize)) {
        let (data, start) = (&noise.0[noise.1..noise.1 + len], noise.1);
        writeln!(self.script, "{word} {offset} {len} {start}").unwrap();
        match word {
            "truncate" => self.bytes.resize(offset, 0),
            "append" => self.bytes.extend_from_slice(data),
            "read" | "load" => {
                let len_now = self.bytes.len();
                let wanted = offset.min(len_now)..(offset + len).min(len_now);
                self.read.extend_from_slice(&self.bytes[wanted]);
            }
            "stat" => self.read.extend_from_slice(&(self.bytes.len() as u64).to_le_bytes()),
            "unmap" | "sync" => {}
            _ => {
                self.bytes.resize(self.bytes.len().max(offset + len), 0);
                self.bytes[offset..offset + len].copy_from_slice(data);
            }
        }
    }

    /// Adds one operation at random.
    fn step(&mut self, numbers: &mut Numbers, noise: &[u8]) {
        let (offset, len) = (numbers.below(LEN_MAX), 1 + numbers.below(SPAN_MAX));
        let noise = (noise, numbers.below(LEN_MAX));
        // A mapping reaches as far as the file does, and no further.
        let mapped = offset.min(self.bytes.len());
        let mapped_len = len.min(self.bytes.len() - mapped);
        match numbers.below(40) {
            0..=9 => self.add("write", offset, len, noise),
            10..=15 => self.add("read", offset, len, noise),
            16..=18 => self.add("truncate", offset, 0, noise),
            19..=20 if self.bytes.len() < LEN_MAX => self.add("append", 0, len, noise),
            21..=25 if mapped_len > 0 => self.add("store", mapped, mapped_len, noise),
            26 if mapped_len > 0 => self.add("store_and_sync", mapped, mapped_len, noise),
            27..=31 if mapped_len > 0 => self.add("load", mapped, mapped_len, noise),
            32 => self.add("unmap", 0, 0, noise),
            33..=34 => self.add("dup", offset, len, noise),
            35 => self.add("fork", offset, len, noise),
            36 => self.add("fork_and_open", offset, len, noise),
            37 => self.add("sync", 0, 0, noise),
            _ => self.add("stat", 0, 0, noise),
        }
    }
}

#[test]
fn c20_what_arrives_is_the_last_state_of_a_draft_that_was_written_at_random() {
    let count = wanted("DOCKERCOMMS_MODEL_OPERATIONS", OPERATION_COUNT);

    let Some(len) = arrives_as_written(5, count, "delivery = \"sync\"") else { return };

    println!("draft: {count} operations, {len} bytes arrived");
}

#[test]
fn c20_what_arrives_is_the_last_state_of_a_draft_whose_closes_are_queued() {
    let queued = "delivery = \"queued\"";
    let Some(len) = arrives_as_written(6, QUEUED_OPERATION_COUNT, queued) else { return };

    println!("draft: {QUEUED_OPERATION_COUNT} operations, {len} bytes arrived");
}

/// Lets the program write a draft by `count` operations, and compares all that was read and came.
///
/// Returns how long it was in the end; `None` as [`crate::common::tool`].
#[track_caller]
fn arrives_as_written(seed: u64, count: usize, delivery: &str) -> Option<usize> {
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    alice.set("chunk_bytes = \"64KiB\"");
    alice.set(delivery);
    let mut mount = alice.mount();
    let path = mount.outbox(BOB).join("f");
    let mut numbers = Numbers::new(seed);
    let noise = random_bytes(seed + 1, LEN_MAX + SPAN_MAX);
    let mut model = Model::default();
    for _ in 0..count {
        model.step(&mut numbers, &noise);
    }
    model.add("write", 0, 5_000, (&noise, 0));
    model.add("close_and_store", 4_000, 1_000, (&noise, 99));
    let reads = alice.dir().join("reads");
    let noise = write(alice.dir().join("noise"), &noise);
    let script = write(alice.dir().join("drafts.py"), PROGRAM);
    let mut python = program("python3")?;
    python.args([&script, &path, &noise, &reads]);

    let running = Running::start_with_input(python, model.script.as_bytes());
    running.end_within(PROGRAM_DEADLINE).ok();

    let (read, wanted) = (read(&reads), &model.read);
    let same = read.iter().zip(wanted).take_while(|(one, other)| one == other).count();
    assert!(read == *wanted, "of {} bytes read, {same} of {} are right", read.len(), wanted.len());
    mount.wait_for_state(&path, "sent");
    assert_eq!(names_in(mount.outbox(BOB)), ["f"]);
    mount.unmount();
    let received = bob.receive();
    assert_eq!(received.len(), 1);
    assert!(received[0].1 == model.bytes, "{} bytes came", received[0].1.len());
    Some(received[0].1.len())
}
