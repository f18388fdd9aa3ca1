//! Which chunks of which message were checked, and what follows once all of them were.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::receipt::Giving;
use crate::protocol::{Digest, ReceiptStatus};
use crate::sys::crash;

/// The reason code of a rejected receipt for a layer that is signed but is not a chunk.
const BAD_LAYER: &str = "bad-layer";

/// Remembers checked chunks, so that each is written to the database once.
pub(super) struct Verified {
    core: Arc<Core>,
    giving: Arc<Giving>,
    messages: Mutex<HashMap<Digest, Progress>>,
}

#[derive(Debug, Default)]
struct Progress {
    chunks: HashSet<u32>,
    complete: bool,
}

impl Verified {
    pub(super) fn new(core: Arc<Core>, giving: Arc<Giving>) -> Self {
        Self { core, giving, messages: Mutex::default() }
    }

    /// Notes that every chunk of `message` was checked earlier.
    pub(super) fn set_complete(&self, message: Digest) {
        self.messages.lock().entry(message).or_default().complete = true;
    }

    /// Remembers that all `chunk_count` chunks of a message were checked, and issues no receipt.
    pub(super) async fn finish(
        &self,
        message: Digest,
        chunk_count: u32,
    ) -> Result<(), MailboxError> {
        let indices: Vec<u32> = (0..chunk_count).collect();
        if self.core.store.mark_chunks_verified(&message, &indices).await? {
            self.set_complete(message);
        }
        Ok(())
    }

    /// Notes that chunks of a message in my inbox were checked; the last one triggers the receipt.
    pub(super) fn note(self: &Arc<Self>, message: Digest, indices: &[u32]) {
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
        let verified = Arc::clone(self);
        self.core.spawn(async move { verified.save(message, &new).await });
    }

    async fn save(&self, message: Digest, new: &[u32]) {
        match self.core.store.mark_chunks_verified(&message, new).await {
            Ok(true) => {
                crash::point!("inbox.read.whole");
                self.set_complete(message);
                if self.core.options.automatic_receipts {
                    self.giving.issue(message, ReceiptStatus::Accepted, true, None).await;
                }
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("cannot remember verified chunks: {error}");
                // The next read of them saves them again.
                self.forget(message, new);
            }
        }
    }

    fn forget(&self, message: Digest, indices: &[u32]) {
        if let Some(progress) = self.messages.lock().get_mut(&message) {
            progress.chunks.retain(|index| !indices.contains(index));
        }
    }

    /// Rejects a signed message whose content does not match its manifest.
    pub(super) fn note_bad_layer(&self, message: Digest) {
        if !self.core.options.automatic_receipts {
            return;
        }
        let giving = Arc::clone(&self.giving);
        self.core.spawn(async move {
            giving.issue(message, ReceiptStatus::Rejected, false, Some(BAD_LAYER)).await;
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
        let verified = &bob.mailbox.reading.verified;
        let unknown = Digest::of(b"a message that it does not know");

        verified.note(unknown, &[0, 1]);
        bob.settle().await;

        assert!(verified.messages.lock()[&unknown].chunks.is_empty());
    }
}
