//! A `send` that is repeated because the registry has not confirmed the first one.
//!
//! The first message is complete but for its tag, and its row promises it: a second message of the
//! same file would arrive beside it. Start at [`Outbox::is_repeated`].

use std::sync::Arc;

use super::sender::envelope_of;
use super::shared::Outbox;
use super::upload;
use crate::mailbox::MailboxError;
use crate::mailbox::staged::{OutboxFile, SendState, Uploaded};
use crate::protocol::{Envelope, Message};
use crate::store::OutboxState;

impl Outbox {
    /// Returns whether the message of `older`, which is promised and not known to be sent, carries
    /// exactly what `file` is about to send. Uploads what `file` has staged.
    ///
    /// # Errors
    /// The disk's or the database's.
    pub(super) async fn is_repeated(
        &self,
        older: &Arc<OutboxFile>,
        file: &Arc<OutboxFile>,
    ) -> Result<bool, MailboxError> {
        // A file that another process holds is in progress, and not one that was given up.
        if older.state() != SendState::Prepared || !older.may_take(false)? {
            return Ok(false);
        }
        let row = self.core.store.outbox(older.id()).await?;
        if row.is_none_or(|row| row.state != OutboxState::Prepared) {
            return Ok(false);
        }
        let Some(message) = older.manifest().and_then(|bytes| Message::parse(&bytes).ok()) else {
            return Ok(false);
        };
        // The preparation that follows tries again, and reports.
        let Ok(uploaded) = upload::upload_all(self, file).await else { return Ok(false) };
        let is_expired = message.envelope.is_expired(self.core.now());
        Ok(!is_expired && self.would_carry(file, &uploaded, &message))
    }

    /// Returns whether a message of `file` would differ from `made` only in its id and time.
    fn would_carry(&self, file: &OutboxFile, uploaded: &Uploaded, made: &Message) -> bool {
        let wanted = Envelope {
            created_at: made.envelope.created_at,
            ..envelope_of(&self.core, file, &file.file_name(), uploaded)
        };
        made.envelope == wanted && made.chunks == uploaded.layers
    }
}
