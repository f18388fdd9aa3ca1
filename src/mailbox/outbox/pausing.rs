//! The pauses between two attempts: what is shown in the meantime, and what ends them early.
//!
//! Start at [`Pause::rest`].

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::queue::Seen;
use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::core::describe;
use crate::mailbox::staged::OutboxFile;
use crate::protocol::Timestamp;
use crate::sys::backoff::Backoff;

/// Longest pause of our own between two attempts; a registry may request more.
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// Time between two looks at the login while something waits: two or three `stat` calls.
const LOGIN_CHECK: Duration = Duration::from_secs(1);

/// A pause that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    until: Instant,
    /// The registry requests the time, which it gets.
    is_requested: bool,
    /// What was known before the failed attempt.
    seen: Seen,
}

impl Pause {
    /// Begins the pause after attempt number `attempt`, which failed with `error`; `seen` is what was
    /// known before it began.
    pub(super) fn begin(outbox: &Outbox, attempt: u32, error: &MailboxError, seen: Seen) -> Self {
        let wish = error.retry_after();
        let backoff = Backoff::new(outbox.core.options.queue_pause, PAUSE_MAX);
        let until = Instant::now() + backoff.random_pause(attempt, wish);
        Self { until, is_requested: wish.is_some(), seen }
    }

    /// Waits until the pause is over: by its time, at a person's request, or because the login or
    /// the registry's health has changed.
    pub(super) async fn rest(self, outbox: &Outbox) {
        let (core, queue) = (&outbox.core, &outbox.shared.queue);
        let left = self.until.saturating_duration_since(Instant::now());
        let _shown = queue.show_pause(Timestamp::from(core.clock.now() + left));
        tokio::select! {
            () = core.stop.cancelled() => {}
            () = sleep_until(self.until) => {}
            () = queue.asked_since(self.seen) => {}
            () = queue.changed_since(self.seen), if !self.is_requested => {}
            () = watch_login(outbox) => {}
        }
    }
}

/// Looks at the login now and then; never ends.
async fn watch_login(outbox: &Outbox) {
    // One of those that wait looks for all.
    let _alone = outbox.shared.queue.look_alone().await;
    loop {
        tokio::time::sleep(LOGIN_CHECK).await;
        outbox.look_at_login().await;
    }
}

impl Outbox {
    /// Ends the pauses if the login has changed since the last look.
    pub(in crate::mailbox) async fn look_at_login(&self) {
        if self.core.repository.login_changed().await {
            self.shared.queue.note_change();
        }
    }
}

/// Shows on the file why it waits, and records it once per run of the same failure: it may last for
/// days.
pub(super) async fn note_waiting(
    outbox: &Outbox,
    file: &OutboxFile,
    error: &MailboxError,
    said: &mut Option<String>,
) {
    let text = describe(error);
    if said.as_ref() != Some(&text) {
        outbox.core.record_error(&file.subject(), error);
        *said = Some(text.clone());
    }
    let Some(row) = file.note_waiting(error.class(), text) else { return };
    // Only a note: the row's state is what matters, and is as it was.
    row.save(&outbox.core.store).await.ok();
    outbox.core.listing.touch();
}
