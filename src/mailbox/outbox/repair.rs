//! Pushes again what the registry has lost before a manifest named it, or before its tag.
//!
//! A registry's garbage collection removes what nothing names yet. The staged bytes are kept until
//! the tag exists, so nothing is lost with it: the same layers are made again, and the manifest, its
//! id and its signature stay as they are. Start at [`push_repaired`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};

use super::shared::Outbox;
use super::upload;
use crate::chunk::ChunkLayout;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::push::push_small_blob;
use crate::mailbox::staged::{OutboxFile, Pending};
use crate::protocol::{Digest, EMPTY_BYTES, Envelope, Message};
use crate::registry::RegistryError;
use crate::store::PreparedMessage;
use crate::sys::backoff::Backoff;
use crate::sys::blocking;

/// Most rounds of pushing again: in the second one, nothing that the registry says is believed.
const REPAIR_COUNT_MAX: u32 = 3;

/// The pauses before them, for a registry that only lags behind what it has confirmed.
const REPAIR_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// A prepared message older than this may have lost parts: registries spare what nothing names for
/// an hour or more.
const STALE_SECS: i64 = 3600;

/// What a round believes about the blobs of a message.
enum Belief<'a> {
    /// The registry has what it says it has, but for these.
    AllBut(&'a [Digest]),
    /// It may have none.
    Nothing,
}

/// Runs `push`; when the registry does not have what a manifest names, pushes that and runs it
/// again, a few times.
///
/// # Errors
/// Those of `push`; `NotPermitted` when the staged bytes are not those of the message.
pub(super) async fn push_repaired<F>(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    message: &PreparedMessage,
    mut push: impl FnMut() -> F,
) -> Result<(), MailboxError>
where
    F: Future<Output = Result<(), MailboxError>>,
{
    for attempt in 1..=REPAIR_COUNT_MAX {
        let Err(error) = push().await else { return Ok(()) };
        let Some(RegistryError::BlobUnknown { digests }) = error.registry() else {
            return Err(error);
        };
        tracing::warn!(file = %file.subject(), attempt, "the registry lost what it had; pushing it again");
        tokio::time::sleep(REPAIR_BACKOFF.random_pause(attempt, None)).await;
        let belief = if attempt == 1 { Belief::AllBut(digests) } else { Belief::Nothing };
        push_missing(outbox, file, message, &belief).await?;
    }
    push().await
}

/// Pushes what the registry has lost of a message that was prepared long ago; returns whether it
/// may have lost its manifest and signature as well.
///
/// # Errors
/// As [`push_repaired`].
pub(super) async fn refresh(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    message: &PreparedMessage,
) -> Result<bool, MailboxError> {
    let created_at = Message::parse(&message.manifest)?.envelope.created_at;
    if !is_stale(&outbox.core, created_at.unix_secs()) {
        return Ok(false);
    }
    push_missing(outbox, file, message, &Belief::AllBut(&[])).await?;
    Ok(true)
}

fn is_stale(core: &Core, created_at: i64) -> bool {
    core.now().unix_secs().saturating_sub(created_at) > STALE_SECS
}

/// Pushes the blobs of a message that the registry may not have.
async fn push_missing(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    message: &PreparedMessage,
    belief: &Belief<'_>,
) -> Result<(), MailboxError> {
    let repository = outbox.core.repository.as_ref();
    let empty = Digest::of(EMPTY_BYTES);
    match belief {
        Belief::AllBut(lost) if !lost.contains(&empty) => {
            push_small_blob(repository, EMPTY_BYTES).await?;
        }
        Belief::AllBut(_) | Belief::Nothing => {
            repository.push_blob(&empty, Bytes::from_static(EMPTY_BYTES)).await?;
        }
    }
    let Message { envelope, chunks, .. } = Message::parse(&message.manifest)?;
    let layout = ChunkLayout::of_envelope(&envelope);
    let mut wanted = BTreeMap::new();
    for (index, chunk) in (0..).zip(&chunks) {
        wanted.entry(chunk.digest).or_insert(index);
    }
    let width = outbox.shared.uploads.width();
    stream::iter(wanted.into_iter().map(Ok))
        .try_for_each_concurrent(width, async |(digest, index)| {
            let is_there = match belief {
                Belief::AllBut(lost) => {
                    !lost.contains(&digest) && repository.blob_exists(&digest).await?
                }
                Belief::Nothing => false,
            };
            if is_there {
                return Ok(());
            }
            let range = layout.chunk_range(index);
            let (offset, len) = (range.start, range.end - range.start);
            let chunk = Pending { index, generation: 0, offset, len };
            push_again(outbox, file, &envelope, chunk, &digest).await
        })
        .await
}

/// Makes a layer again from the staged bytes, and pushes it if it is the one that is named.
async fn push_again(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    envelope: &Envelope,
    chunk: Pending,
    digest: &Digest,
) -> Result<(), MailboxError> {
    const DIFFERENT: MailboxError = MailboxError::NotPermitted(
        "the registry has lost a part of it that is no longer here; copy the file again",
    );
    file.unpark().await?;
    let uploads = &outbox.shared.uploads;
    let _permit = uploads.permit().await?;
    let encoder = uploads.take(envelope.compression)?;
    let (mut encoder, _) = match upload::frame(encoder, file.open_spool()?, chunk).await {
        // Shorter than what was closed: the machine crashed before the disk had all of it.
        Err(MailboxError::Busy) => return Err(DIFFERENT),
        framed => framed?,
    };
    let compressed = blocking::try_run(move || {
        let layer = encoder.compress()?;
        Ok::<_, MailboxError>((encoder, layer))
    });
    let (mut encoder, layer) = compressed.await?;
    if layer.digest != *digest {
        return Err(DIFFERENT);
    }
    outbox.core.repository.push_blob(digest, layer.bytes.clone()).await?;
    encoder.reuse(layer.bytes);
    uploads.keep(envelope.compression, encoder);
    Ok(())
}
