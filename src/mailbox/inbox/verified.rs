//! Which chunks of which message were checked, and what follows once all of them were.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::mailbox::core::Core;
use crate::mailbox::receipt;
use crate::protocol::{Digest, ReceiptStatus};
use crate::sys::crash;

/// The reason code of a rejected receipt for a layer that is signed and still no chunk.
const BAD_LAYER: &str = "bad-layer";

/// Remembers checked chunks, so that the database is told once for each.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    messages: Mutex<HashMap<Digest, Progress>>,
}

#[derive(Debug, Default)]
struct Progress {
    chunks: HashSet<u32>,
    complete: bool,
}

impl Verified {
    /// Notes that every chunk of `message` was checked before.
    pub(crate) fn set_complete(&self, message: Digest) {
        self.messages.lock().entry(message).or_default().complete = true;
    }

    /// Notes that chunks of a message in my inbox were checked; the last one makes the receipt.
    pub(crate) fn note(&self, core: &Arc<Core>, message: Digest, indices: &[u32]) {
        let new: Vec<u32> = {
            let mut messages = self.messages.lock();
            let progress = messages.entry(message).or_default();
            if progress.complete {
                return;
            }
            let new: Vec<u32> =
                indices.iter().copied().filter(|index| !progress.chunks.contains(index)).collect();
            progress.chunks.extend(&new);
            new
        };
        if new.is_empty() && !indices.is_empty() {
            return;
        }
        let task_core = Arc::clone(core);
        core.spawn(async move {
            let core = task_core;
            match core.store.mark_chunks_verified(&message, &new).await {
                Ok(true) => {
                    crash::point!("inbox.read.whole");
                    core.verified.set_complete(message);
                    if core.options.automatic_receipts {
                        let status = ReceiptStatus::Accepted;
                        receipt::issue(&core, message, status, true, None).await;
                    }
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!("cannot remember verified chunks: {error}");
                    // The next read of them tells the database again.
                    core.verified.forget(message, &new);
                }
            }
        });
    }

    fn forget(&self, message: Digest, indices: &[u32]) {
        if let Some(progress) = self.messages.lock().get_mut(&message) {
            progress.chunks.retain(|index| !indices.contains(index));
        }
    }

    /// Answers a signed message whose content is not what its manifest promises.
    pub(crate) fn note_bad_layer(core: &Arc<Core>, message: Digest) {
        if !core.options.automatic_receipts {
            return;
        }
        let task_core = Arc::clone(core);
        core.spawn(async move {
            let status = ReceiptStatus::Rejected;
            receipt::issue(&task_core, message, status, false, Some(BAD_LAYER)).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[tokio::test]
    async fn chunks_that_the_database_did_not_take_are_noted_again() {
        let world = World::new();
        let (_alice, bob) = world.alice_and_bob().await;
        let (core, unknown) = (&bob.mailbox.core, Digest::of(b"a message that it does not know"));

        core.verified.note(core, unknown, &[0, 1]);
        bob.settle().await;

        assert!(core.verified.messages.lock()[&unknown].chunks.is_empty());
    }
}
