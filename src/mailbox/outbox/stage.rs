//! A send without a mount: stage, prepare, publish.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::directory::listed;
use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::entry::{EntryName, EntryPath};
use crate::mailbox::staged::OutboxFile;
use crate::protocol::Identity;
use crate::sys::blocking;

/// Bytes that the command line stages at once.
const STAGE_LEN: usize = 1 << 20;

/// A message that was sent.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SentMessage {
    /// The message's identity.
    pub digest: String,
    /// Its UUID.
    pub message_id: String,
    /// The tag that committed it.
    pub tag: String,
    /// The name that the recipient sees.
    pub name: String,
    /// The payload in bytes.
    #[serde(rename = "bytes")] // as every listing calls it
    pub total_bytes: u64,
}

/// Removes a file when its sending is cancelled before all of it is in the registry.
struct CalledOff<'a> {
    outbox: &'a Outbox,
    file: Option<Arc<OutboxFile>>,
}

impl Drop for CalledOff<'_> {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        self.outbox.shared.queue.release(&file, file.remove());
        let outbox = self.outbox.clone();
        self.outbox.core.spawn(async move {
            if let Err(error) = outbox.take_back(&file).await {
                tracing::warn!(%error, "cannot remove what was staged");
            }
        });
    }
}

impl Outbox {
    /// Stages `content`, prepares and publishes it; for the command line.
    ///
    /// A listed file of that name stays promised until this one is.
    ///
    /// If an earlier call with the same file was never confirmed, its message is published in place
    /// of another one.
    ///
    /// If it is dropped before everything but the tag is in the registry, it leaves nothing behind.
    ///
    /// # Errors
    /// Nothing was sent, unless it is `Unconfirmed`: then the next call with the same file, or the
    /// durable queue, publishes it.
    pub async fn send(
        &self,
        recipient: &Identity,
        name: &EntryName,
        mut content: Box<dyn Read + Send>,
        mtime: SystemTime,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<SentMessage, MailboxError> {
        let older = listed(&self.core.listing.snapshot(), recipient, name.as_str());
        let path = EntryPath::from(name.clone());
        let file = self.create_in_place_of(recipient, &path, 0o600, older.as_ref()).await?;
        let mut called_off = CalledOff { outbox: self, file: Some(Arc::clone(&file)) };
        let (outbox, staged) = (self.clone(), Arc::clone(&file));
        let copied = blocking::try_run(move || {
            let mut buffer = vec![0; STAGE_LEN];
            let mut offset = 0;
            loop {
                if staged.is_unlinked() {
                    return Err(MailboxError::Interrupted);
                }
                let count = content.read(&mut buffer).map_err(MailboxError::io("read the file"))?;
                if count == 0 {
                    return Ok(());
                }
                outbox.write_at(&staged, offset, buffer.get(..count).unwrap_or_default())?;
                offset += count as u64;
                progress(offset);
            }
        });
        if let Err(error) = copied.await {
            called_off.file = None;
            self.take_back(&file).await?;
            return Err(error);
        }
        file.set_mtime(mtime);
        if let Some(older) = older
            && self.is_repeated(&older, &file).await?
        {
            called_off.file = None;
            self.take_back(&file).await?;
            return self.conclude_send(&older).await;
        }
        let prepared = self.prepare(&file, &CancellationToken::new()).await;
        // From here on it is a promise, or a failure that can be tried again.
        called_off.file = None;
        if let Err(error) = prepared {
            // Without one it stays, to be tried again.
            if file.has_replaced_unsent()
                && let Err(second) = self.take_back(&file).await
            {
                self.core.record_error(&file.subject(), &second);
            }
            return Err(error);
        }
        self.conclude_send(&file).await
    }

    /// Publishes a Prepared file for the command line.
    async fn conclude_send(&self, file: &Arc<OutboxFile>) -> Result<SentMessage, MailboxError> {
        let published = self.publish(file).await;
        published.map_err(|error| MailboxError::Unconfirmed(Box::new(error)))?;
        let message = file.message().ok_or(MailboxError::TaskLost)?;
        Ok(SentMessage {
            digest: message.digest.to_string(),
            message_id: message.id.to_string(),
            tag: message.tag.to_string(),
            name: file.file_name().as_str().to_owned(),
            total_bytes: file.len(),
        })
    }
}
