//! What may happen to two people, independent of how it is carried out.

use dockercomms::registry::memory::Operation;
use proptest::collection::{SizeRange, vec};
use proptest::prelude::*;

/// One step of a history.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Alice sends a file of so many units under the name number `name`, used before or not.
    Send { name: usize, units: usize },
    /// The same, written under a temporary name and renamed.
    Rename { name: usize, units: usize },
    /// Alice removes her file number `n` from the list.
    Remove(usize),
    /// Bob looks.
    Poll,
    /// Bob reads the message listed as number `n`.
    Read(usize),
    /// Bob dismisses it.
    Dismiss(usize),
    /// Bob gives a receipt for it by hand.
    Answer { number: usize, is_accepted: bool },
    /// Bob pushes receipts and alice collects them.
    Acknowledge,
    /// Alice or bob ends and starts anew; killed, where a driver can kill.
    Restart { alice: bool, is_killed: bool },
    /// One operation fails so many times, after or before it took effect.
    Disturb { operation: Operation, count: u64, committed: bool },
    /// Operations of every kind fail in every way, one in some, until it heals.
    Storm(u32),
    /// Nothing works until it heals.
    Disconnect,
    /// Everything works again.
    Heal,
    /// Time passes, in seconds; far less than a message lives.
    Wait(u64),
    /// The wall clock goes back a little.
    JumpBack(u64),
}

/// Every operation of a registry that a send, a poll, a read or a receipt needs.
pub(super) const OPERATIONS: [Operation; 8] = [
    Operation::FetchManifest,
    Operation::ResolveTag,
    Operation::PushManifest,
    Operation::BlobExists,
    Operation::FetchBlob,
    Operation::PushBlob,
    Operation::ListTags,
    Operation::ListReferrers,
];

/// Names that alice uses: few, so that she uses some of them again.
const NAME_COUNT: usize = 12;

/// Returns histories of `count` steps; steps of the clock only for a caller that owns one.
pub(super) fn history(
    count: impl Into<SizeRange>,
    owns_clock: bool,
) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..NAME_COUNT, 0_usize..10).prop_map(|(name, units)| Step::Send { name, units }),
        2 => (0..NAME_COUNT, 1_usize..10).prop_map(|(name, units)| Step::Rename { name, units }),
        1 => any::<usize>().prop_map(Step::Remove),
        5 => Just(Step::Poll),
        3 => any::<usize>().prop_map(Step::Read),
        2 => any::<usize>().prop_map(Step::Dismiss),
        2 => any::<(usize, bool)>()
            .prop_map(|(number, is_accepted)| Step::Answer { number, is_accepted }),
        2 => Just(Step::Acknowledge),
        2 => any::<(bool, bool)>()
            .prop_map(|(alice, is_killed)| Step::Restart { alice, is_killed }),
        3 => (0..OPERATIONS.len(), 1_u64..4, any::<bool>()).prop_map(|(at, count, committed)| {
            Step::Disturb { operation: OPERATIONS[at], count, committed }
        }),
        1 => any::<u32>().prop_map(Step::Storm),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Heal),
    ];
    let clock =
        prop_oneof![(1_u64..3_600).prop_map(Step::Wait), (1_u64..60).prop_map(Step::JumpBack),];
    let step = if owns_clock { prop_oneof![9 => step, 1 => clock].boxed() } else { step.boxed() };
    vec(step, count)
}
