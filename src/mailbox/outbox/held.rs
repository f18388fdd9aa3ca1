//! What a file has taken the name of: ended by its promise, released by its failure.

use std::sync::Arc;

use super::shared::{Outbox, Wake};
use crate::mailbox::staged::{OutboxFile, ReplacedFile, Resumption};
use crate::store::OutboxState;

/// Forgets what `file` has replaced, once the row of `file` promises it.
pub(super) fn end_replaced(outbox: &Outbox, file: &OutboxFile) {
    for ReplacedFile { file: old, row, is_held } in file.take_replaced() {
        if is_held && row != OutboxState::Sent {
            old.end_replaced(outbox.shared.owns_leftovers);
        }
    }
}

/// Lets what `file` has replaced continue, because `file` is not promised.
pub(super) fn release_replaced(outbox: &Outbox, file: &OutboxFile) {
    for old in file.release_held() {
        match old.resume() {
            Resumption::Queue(place) if outbox.shared.owns_leftovers => {
                outbox.shared.queue.insert(place, &old);
                outbox.wake(Wake::Lane(old.recipient().clone()));
            }
            Resumption::Publish => outbox.wake(Wake::Publish(Arc::clone(&old))),
            Resumption::Queue(_) | Resumption::Rest => {}
        }
    }
}
