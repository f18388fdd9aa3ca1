//! A sent file that a program overwrites from its beginning before it cuts it to its new length, as
//! `scp` does: a new message, or else the sent file stays as it was.

use std::sync::Arc;

use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::staged::OutboxFile;
use crate::protocol::ErrorClass;

impl Outbox {
    /// Takes a writer reference for a listed file that is written from its beginning on; in place
    /// of a sent one, of a new draft that is promised only if all of it is written anew.
    ///
    /// # Errors
    /// As [`Outbox::open_for_write`] with `truncate`.
    pub async fn open_to_rewrite(
        &self,
        file: &Arc<OutboxFile>,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        match self.open_for_write(file, false).await {
            Err(error) if error.class() == ErrorClass::NotPermitted => {}
            opened => return opened,
        }
        let len = file.len();
        let opened = self.open_for_write(file, true).await?;
        // Nothing is written yet, and nothing else can promise an empty file that is held open.
        opened.begin_rewriting(len);
        Ok(opened)
    }

    /// Gives up a draft that was to take the place of a sent file, and lists that one again, as it
    /// was; returns it. `None` when there is no such draft, or when it has left the list.
    ///
    /// # Errors
    /// The database's.
    pub async fn give_up_rewrite(
        &self,
        file: &Arc<OutboxFile>,
    ) -> Result<Option<Arc<OutboxFile>>, MailboxError> {
        if file.is_unlinked() || !file.give_up_rewriting() {
            return Ok(None);
        }
        let sent = file.replaced_last();
        self.take_back(file).await?;
        Ok(sent)
    }
}
