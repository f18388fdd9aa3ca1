//! Collects what is finished: my expired messages in the registry, and leftovers on this machine.

use super::leftovers::{self, Leftovers};
use super::withdraw::{Receipts, Remainder, Removal, withdraw};
use crate::mailbox::core::Core;
use crate::mailbox::{Mailbox, MailboxError};
use crate::protocol::{Digest, Identity, Message};
use crate::registry::SweptBlobs;
use crate::store::{OutboxEntry, OutboxState, Withdrawal};
use std::time::Duration;

/// Age from which an unnamed blob of a layout is surely not part of a send: a draft may stay open,
/// half of it pushed, for days.
const BLOB_AGE_MIN: Duration = Duration::from_hours(7 * 24);

/// An expired message of mine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedMessage {
    /// The message's identity.
    pub digest: Digest,
    /// The recipient.
    pub recipient: Identity,
    /// The file's name.
    pub name: String,
    /// The registry's answer; `None` when nothing was attempted.
    pub removal: Option<Removal>,
    /// What the registry still holds of it.
    pub left: Vec<Remainder>,
}

/// What a collection found, and did unless it was a dry run.
#[derive(Debug, Default)]
pub struct Garbage {
    /// My expired messages that are, or would be, deleted.
    pub messages: Vec<CollectedMessage>,
    /// My expired messages that are still in the registry because of `registry_error`.
    pub kept_count: usize,
    /// Why the registry's part ended early.
    pub registry_error: Option<MailboxError>,
    /// Blobs of an image layout that nothing names; `None` where the registry collects them itself.
    pub swept: Option<SweptBlobs>,
    /// Unused data on this machine.
    pub leftovers: Leftovers,
}

impl Mailbox {
    /// Deletes my expired messages with their signatures and receipts from the registry, and
    /// anything older than the `history` of the options from this machine; with `dry_run` only
    /// lists it.
    ///
    /// Nothing of anyone else is deleted, and nothing that has not expired by this machine's clock.
    /// A registry that refuses is reported once, in the result; the local part is still done.
    ///
    /// # Errors
    /// The database's, and the local disk's.
    pub async fn collect_garbage(&self, dry_run: bool) -> Result<Garbage, MailboxError> {
        let core = &self.core;
        let mut garbage = Garbage::default();
        let expired = expired_messages(core).await?;
        if !dry_run && !expired.is_empty() {
            // What the registry is about to forget is proof on this side.
            garbage.registry_error = self.poll_receipts().await.err();
        }
        for (entry, message) in expired {
            let mut collected = CollectedMessage {
                digest: message.digest,
                recipient: entry.recipient,
                name: entry.name,
                removal: None,
                left: Vec::new(),
            };
            if !dry_run {
                // One refusal is enough: the next message would fare no better.
                if garbage.registry_error.is_some() {
                    garbage.kept_count += 1;
                    continue;
                }
                match withdraw(core, &message, Receipts::Delete).await {
                    Ok(withdrawn) => {
                        collected.removal = Some(withdrawn.removal);
                        collected.left = withdrawn.left;
                        let (why, now) = (Withdrawal::Expired, core.now());
                        core.store.record_withdrawal(&message.digest, why, now).await?;
                    }
                    Err(error) => {
                        garbage.registry_error = Some(error);
                        garbage.kept_count += 1;
                        continue;
                    }
                }
            }
            garbage.messages.push(collected);
        }
        if garbage.registry_error.is_none() {
            match core.repository.sweep_blobs(BLOB_AGE_MIN, dry_run).await {
                Ok(swept) => garbage.swept = swept,
                Err(error) => garbage.registry_error = Some(error.into()),
            }
        }
        let refused = garbage.registry_error.as_ref().is_some_and(|e| !e.class().is_transient());
        garbage.leftovers = leftovers::collect(
            core,
            self.outbox.area().dir(),
            self.reading.cache(),
            refused,
            dry_run,
        )
        .await?;
        self.outbox.follow().await?;
        self.inbox.drop_expired();
        Ok(garbage)
    }
}

/// Returns my messages that have expired and are not yet withdrawn.
///
/// By this machine's clock, not by the latest time ever seen: a clock that was once wrong must not
/// delete messages that are still valid.
async fn expired_messages(
    core: &Core,
) -> Result<Vec<(OutboxEntry, crate::store::PreparedMessage)>, MailboxError> {
    let withdrawn = core.store.withdrawals().await?;
    let now = core.now();
    let mut expired = Vec::new();
    for entry in core.store.outbox_rows().await?.entries {
        let Some(message) = entry.message.clone() else { continue };
        if entry.state == OutboxState::Sent
            && !withdrawn.contains_key(&message.digest)
            && Message::parse(&message.manifest)?.envelope.is_expired(now)
        {
            expired.push((entry, message));
        }
    }
    Ok(expired)
}
