//! Random reads, writes and truncations of a draft in a real mount, against bytes in memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::common::{BOB, alice_and_bob, random_bytes, repository, temp_dir};

/// Operations on one draft unless `DOCKERCOMMS_MODEL_OPERATIONS` says otherwise.
const OPERATION_COUNT: usize = 2_000;

/// Longest draft in bytes: several chunks.
const LEN_MAX: usize = 300_000;

/// Longest single read or write in bytes.
const SPAN_MAX: usize = 70_000;

/// A stream of numbers that is the same in every run.
struct Numbers(Vec<u8>, usize);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        let bytes = self.0[self.1..self.1 + 8].try_into().unwrap();
        self.1 += 8;
        usize::try_from(u64::from_le_bytes(bytes) % limit as u64).unwrap()
    }
}

#[test]
fn what_arrives_is_the_last_state_of_a_draft_that_was_written_at_random() {
    let count = std::env::var_os("DOCKERCOMMS_MODEL_OPERATIONS")
        .and_then(|text| text.into_string().ok()?.parse().ok())
        .unwrap_or(OPERATION_COUNT);
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    alice.set("chunk_bytes = \"64KiB\"");
    let mut mount = alice.mount();
    let path = mount.outbox(BOB).join("f");
    let mut numbers = Numbers(random_bytes(5, 8 * 4 * count), 0);
    let noise = random_bytes(6, LEN_MAX + SPAN_MAX);
    let mut model: Vec<u8> = Vec::new();
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();

    for step in 0..count {
        let (offset, len) = (numbers.below(LEN_MAX), 1 + numbers.below(SPAN_MAX));
        match numbers.below(8) {
            0..=3 => {
                let start = numbers.below(LEN_MAX);
                file.write_all_at(&noise[start..start + len], offset as u64).unwrap();
                model.resize(model.len().max(offset + len), 0);
                model[offset..offset + len].copy_from_slice(&noise[start..start + len]);
            }
            4..=5 => {
                let mut buffer = vec![0; len];
                let wanted = &model[offset.min(model.len())..(offset + len).min(model.len())];
                file.read_exact_at(&mut buffer[..wanted.len()], offset as u64).unwrap();
                assert!(buffer[..wanted.len()] == *wanted, "step {step}: {offset}+{len}");
            }
            6 => {
                file.set_len(offset as u64).unwrap();
                model.resize(offset, 0);
            }
            _ => assert_eq!(file.metadata().unwrap().len(), model.len() as u64, "step {step}"),
        }
    }
    drop(file);
    mount.wait_for_state(&path, "sent");
    mount.unmount();

    let received = bob.receive();
    assert_eq!(received.len(), 1);
    assert!(received[0].1 == model, "{} bytes, not {}", received[0].1.len(), model.len());
    println!("draft: {count} operations, {} bytes", model.len());
}
