//! One lane of the queue at work: prepare several files, publish them one after the other, wait.
//!
//! Start at [`run_lane`].

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::patience::Outlook;
use super::pausing::{Pause, note_waiting};
use super::round::{BatchEnd, REFUSED_IN_A_ROW_MAX, Round, Waiting};
use super::sender;
use super::shared::{Outbox, Wake};
use crate::mailbox::MailboxError;
use crate::mailbox::staged::{OutboxFile, SendState};
use crate::protocol::Identity;
use crate::store::StoreError;

/// Files of one lane in progress at once: enough to hide the registry's latency.
const LANE_WIDTH: usize = 6;

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
    let queue = &outbox.shared.queue;
    let mut round = Round::default();
    let mut said = None;
    let mut last = None;
    while !outbox.core.stop.is_cancelled() {
        let (seen, arrived) = (queue.seen(), queue.arrival_count());
        let Some(batch) = queue.take_batch(recipient, round.postponed()) else { return };
        if batch.is_empty() {
            rest(outbox, &mut round, last.as_ref(), arrived).await;
            continue;
        }
        let end = send_batch(outbox, batch).await;
        if end.refused.is_empty() && end.halt.is_none() && round.postponed().is_empty() {
            said = None;
        }
        for (file, error) in end.refused.iter().chain(&end.halt) {
            note_waiting(outbox, file, error, &mut said).await;
        }
        let halts = round.note(&end, seen);
        let BatchEnd { refused, halt, .. } = end;
        last = halt.or(refused.into_iter().next_back()).map(|(_, error)| error).or(last);
        if let (Some(halts), Some(error)) = (halts, &last) {
            // A registry that takes some is not down, though it may fail for one file of every
            // batch.
            let pause = Pause::begin(outbox, halts, error, seen);
            queue.note_idle();
            pause.rest(outbox).await;
            queue.note_busy();
        }
    }
}

/// Waits before the refused files, of which alone are left, are tried again, or until another file
/// comes; the lane is not busy in the meantime.
async fn rest(outbox: &Outbox, round: &mut Round, error: Option<&MailboxError>, arrived: u64) {
    let queue = &outbox.shared.queue;
    let pause = match (round.rest, error) {
        (Some(pause), _) => pause,
        (None, Some(error)) => {
            let Some((rounds, seen)) = round.end() else { return };
            Pause::begin(outbox, rounds, error, seen)
        }
        (None, None) => return round.begin(),
    };
    round.rest = Some(pause);
    queue.note_idle();
    // An arrival is seen again by the next look at the queue.
    let is_over = tokio::select! {
        biased;
        () = pause.rest(outbox) => true,
        () = queue.arrived_since(arrived) => false,
    };
    queue.note_busy();
    if is_over {
        round.begin();
    }
}

/// Sends files in their order; a refused one lets those behind it pass, any other that must wait
/// ends the batch.
async fn send_batch(outbox: &Outbox, batch: Vec<Arc<OutboxFile>>) -> BatchEnd {
    let cancel = outbox.core.stop.child_token();
    let turn = watch::Sender::new(0_usize);
    let (end, in_a_row) = (Mutex::new(BatchEnd::default()), Mutex::new(0));
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
                end.lock().has_sent = true;
                *in_a_row.lock() = 0;
            }
            if let Err(error) = result
                && !matches!(error, MailboxError::Interrupted)
                && !cancel.is_cancelled()
            {
                let waiting: Waiting = (Arc::clone(&file), error);
                let mut in_a_row = in_a_row.lock();
                *in_a_row += 1;
                let is_alone = *in_a_row < REFUSED_IN_A_ROW_MAX;
                if Outlook::of(&waiting.1) == Outlook::Refused && is_alone {
                    end.lock().refused.push(waiting);
                } else {
                    end.lock().halt = Some(waiting);
                    cancel.cancel();
                }
            }
            file.park();
            turn.send_replace(index + 1);
        })
        .buffer_unordered(LANE_WIDTH)
        .for_each(async |()| {})
        .await;
    end.into_inner()
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
    if matches!(error, MailboxError::Store(StoreError::NotFound { .. })) {
        // Another command replaced the file by one of the same name.
        outbox.shared.queue.release(file, file.remove());
        file.remove_staged();
        return MailboxError::Interrupted;
    }
    match Outlook::of(&error) {
        Outlook::Refused | Outlook::Away => {
            file.defer_delivery();
            error
        }
        Outlook::Final => {
            outbox.core.record_error(&file.subject(), &error);
            sender::fail(outbox, file, &error, true).await;
            MailboxError::Interrupted
        }
    }
}
