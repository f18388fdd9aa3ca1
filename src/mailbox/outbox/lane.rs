//! One lane of the queue at work: prepare several files, publish them one after the other, wait.
//!
//! Start at [`run_lane`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::sender;
use super::shared::{Outbox, Wake};
use crate::mailbox::MailboxError;
use crate::mailbox::core::describe;
use crate::mailbox::staged::{OutboxFile, SendState};
use crate::protocol::{Identity, Timestamp};
use crate::store::StoreError;
use crate::sys::backoff::Backoff;

/// Files of one lane in progress at once: enough to hide the registry's latency.
const LANE_WIDTH: usize = 6;

/// Longest pause of our own between two attempts; a registry may request more.
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// Does the work that a part of the outbox has found; the receiving side of [`Outbox::wake`].
pub(super) fn on_wake(outbox: &Outbox, wake: Wake) {
    match wake {
        Wake::Lane(recipient) => start_lane(outbox, recipient),
        Wake::Publish(file) => outbox.core.spawn(sender::publish(outbox.clone(), file)),
    }
}

/// Starts the lane of `recipient`, unless it runs.
fn start_lane(outbox: &Outbox, recipient: Identity) {
    if outbox.core.stop.is_cancelled() || !outbox.shared.queue.begin(&recipient) {
        return;
    }
    outbox.shared.queue.note_busy();
    let lane = outbox.clone();
    outbox.core.spawn(async move {
        run_lane(&lane, &recipient).await;
        lane.shared.queue.note_idle();
    });
}

/// Sends the files of one recipient until none is left that may be sent now.
async fn run_lane(outbox: &Outbox, recipient: &Identity) {
    let mut attempt = 0;
    let mut said = None;
    while !outbox.core.stop.is_cancelled() {
        let batch = outbox.shared.queue.take_batch(recipient);
        if batch.is_empty() {
            return;
        }
        let (has_sent, halt) = send_batch(outbox, batch).await;
        // A registry that takes some is not down, though it may fail for one file of every batch.
        if has_sent {
            attempt = 0;
        }
        let Some((file, error)) = halt else {
            said = None;
            continue;
        };
        attempt += 1;
        let text = describe(&error);
        // Recorded once per run of the same failure: it may last for days.
        if said.as_ref() != Some(&text) {
            outbox.core.record_error(&file.subject(), &error);
            note_waiting(outbox, &file, &error).await;
            said = Some(text);
        }
        pause(outbox, attempt, &error).await;
    }
}

/// Sends files in their order; returns whether any was sent, and the first that must wait, and why.
async fn send_batch(
    outbox: &Outbox,
    batch: Vec<Arc<OutboxFile>>,
) -> (bool, Option<(Arc<OutboxFile>, MailboxError)>) {
    let cancel = outbox.core.stop.child_token();
    let turn = watch::Sender::new(0_usize);
    let waiting = Mutex::new(None);
    let has_sent = AtomicBool::new(false);
    stream::iter(batch.into_iter().enumerate())
        .map(async |(index, file)| {
            let prepared = prepare(outbox, &file, &cancel).await;
            // Fails only when the sender is gone, which this function holds.
            turn.subscribe().wait_for(|turn| *turn == index).await.ok();
            let result = match prepared {
                Ok(()) if cancel.is_cancelled() => Ok(()),
                Ok(()) => publish(outbox, &file, &cancel).await,
                Err(error) => Err(error),
            };
            if file.state() == SendState::Sent {
                has_sent.store(true, Ordering::Relaxed);
            }
            if let Err(error) = result
                && !matches!(error, MailboxError::Interrupted)
                && !cancel.is_cancelled()
            {
                waiting.lock().get_or_insert((Arc::clone(&file), error));
                cancel.cancel();
            }
            file.park();
            turn.send_replace(index + 1);
        })
        .buffer_unordered(LANE_WIDTH)
        .for_each(async |()| {})
        .await;
    (has_sent.into_inner(), waiting.into_inner())
}

/// Pushes everything but the tag, unless the file was removed from the queue.
async fn prepare(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    cancel: &CancellationToken,
) -> Result<(), MailboxError> {
    let _permit = outbox.shared.queue.preparing().await;
    let _delivery = file.lock_delivery().await;
    if cancel.is_cancelled() || !file.is_due() {
        return Err(MailboxError::Interrupted);
    }
    if file.state() == SendState::Prepared {
        return Ok(());
    }
    let result = match file.unpark().await {
        Ok(()) => tokio::select! {
            biased;
            () = file.claimed() => Err(MailboxError::Interrupted),
            () = cancel.cancelled() => Err(MailboxError::Interrupted),
            result = sender::prepare(outbox, file) => result,
        },
        Err(error) => Err(error),
    };
    outbox.core.listing.touch();
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(conclude(outbox, file, error, cancel).await),
    }
}

/// Publishes the tag, unless the file was removed from the queue.
async fn publish(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    cancel: &CancellationToken,
) -> Result<(), MailboxError> {
    let _delivery = file.lock_delivery().await;
    if file.state() != SendState::Prepared || !file.is_due() {
        return Err(MailboxError::Interrupted);
    }
    if let Err(error) = sender::publish_once(outbox, file).await {
        return Err(conclude(outbox, file, error, cancel).await);
    }
    Ok(())
}

/// Gives up a file whose failure is final; returns the error of one that waits, and otherwise
/// `Interrupted`.
///
/// The caller holds the delivery lock: as soon as that is free the file may be promised again, and
/// nothing that this attempt records may undo that.
async fn conclude(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    error: MailboxError,
    cancel: &CancellationToken,
) -> MailboxError {
    if !matches!(file.state(), SendState::Queued | SendState::Preparing | SendState::Prepared) {
        // Written in the meantime: the outcome of the old content says nothing about the new.
        return MailboxError::Interrupted;
    }
    if matches!(error, MailboxError::Interrupted) || cancel.is_cancelled() {
        file.defer_delivery();
        return MailboxError::Interrupted;
    }
    if is_worth_waiting(&error) {
        file.defer_delivery();
        return error;
    }
    if matches!(error, MailboxError::Store(StoreError::NotFound { .. })) {
        // Another command replaced the file by one of the same name.
        outbox.shared.queue.release(file, file.remove());
        file.remove_staged();
    } else {
        outbox.core.record_error(&file.subject(), &error);
        sender::fail(outbox, file, &error, true).await;
    }
    MailboxError::Interrupted
}

/// Returns whether the file stays in the queue after this error.
///
/// What the registry refuses stays refused; what our own database cannot record now must not
/// become a state that only the memory knows.
fn is_worth_waiting(error: &MailboxError) -> bool {
    match error {
        MailboxError::Store(StoreError::NotFound { .. }) => false,
        MailboxError::Store(_) | MailboxError::Busy | MailboxError::TaskLost => true,
        error => error.class().is_transient(),
    }
}

/// Shows on the file why it waits.
async fn note_waiting(outbox: &Outbox, file: &OutboxFile, error: &MailboxError) {
    let Some(row) = file.note_waiting(error.class(), describe(error)) else { return };
    // Only a note: the row's state is what matters, and is as it was.
    row.save(&outbox.core.store).await.ok();
    outbox.core.listing.touch();
}

/// Waits before the next attempt; the lane is not busy in the meantime.
async fn pause(outbox: &Outbox, attempt: u32, error: &MailboxError) {
    let wish = error.retry_after();
    let (core, queue) = (&outbox.core, &outbox.shared.queue);
    let length = Backoff::new(core.options.queue_pause, PAUSE_MAX).random_pause(attempt, wish);
    queue.set_next_attempt(Some(Timestamp::from(core.clock.now() + length)));
    let (asked, answered) = (queue.asked(), queue.answered());
    queue.note_idle();
    tokio::select! {
        () = core.stop.cancelled() => {}
        () = tokio::time::sleep(length) => {}
        () = asked => {}
        // A registry that requests time gets it.
        () = answered, if wish.is_none() => {}
    }
    queue.note_busy();
    queue.set_next_attempt(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_waited_for_and_what_the_registry_refuses_is_not() {
        use crate::registry::RegistryError;
        let denied = RegistryError::Denied { reason: "no push".into() };

        assert!(is_worth_waiting(&RegistryError::TimedOut.into()));
        assert!(is_worth_waiting(&RegistryError::Throttled { retry_after: None }.into()));
        assert!(is_worth_waiting(&StoreError::Full.into()));
        assert!(!is_worth_waiting(&denied.into()));
        assert!(!is_worth_waiting(&MailboxError::TooLarge));
    }
}
