//! The chunk pipeline: staged bytes to layers in the registry, while the copy still runs.
//!
//! Memory is bounded by the permits of [`UploadPool`]: a permit covers one chunk, raw and
//! compressed. Nothing here decides whether a file is sent.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::chunks::{ChunkTable, Pending};
use super::file::OutboxFile;
use crate::chunk::{ChunkLayout, EncodedLayer, LayerEncoder};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::protocol::{ChunkLayer, Compression};
use crate::sys::crash;

/// Permits and compression contexts that all uploads of a mailbox share.
pub(crate) struct UploadPool {
    permits: Arc<Semaphore>,
    width: usize,
    encoders: Mutex<Vec<(Compression, LayerEncoder)>>,
}

impl UploadPool {
    pub(crate) fn new(width: usize) -> Self {
        let width = width.max(1);
        Self { permits: Arc::new(Semaphore::new(width)), width, encoders: Mutex::default() }
    }

    /// Encodes with a context that is kept for the next chunk: making one costs a fifth of a chunk.
    fn encode(
        &self,
        compression: Compression,
        index: u32,
        payload: &[u8],
    ) -> Result<EncodedLayer, MailboxError> {
        let kept = {
            let mut encoders = self.encoders.lock();
            let at = encoders.iter().position(|(of, _)| *of == compression);
            at.map(|at| encoders.swap_remove(at).1)
        };
        let mut encoder = match kept {
            Some(encoder) => encoder,
            None => LayerEncoder::new(compression)?,
        };
        let layer = encoder.encode(index, payload)?;
        let mut encoders = self.encoders.lock();
        if encoders.len() < self.width {
            encoders.push((compression, encoder));
        }
        Ok(layer)
    }
}

/// Starts uploading whole chunks in the background, unless that is under way.
///
/// A failure ends it silently: the close tries again and reports.
pub(super) fn begin(file: &Arc<OutboxFile>) {
    let Some(core) = file.core.upgrade() else { return };
    {
        let mut inner = file.inner.lock();
        if inner.uploading || core.options.is_temporary(inner.name.as_str()) {
            return;
        }
        inner.uploading = true;
    }
    let file = Arc::clone(file);
    let task_core = Arc::clone(&core);
    core.spawn(async move {
        while let Ok(count) = upload_pending(&task_core, &file, true).await {
            if count == 0 {
                break;
            }
        }
        file.inner.lock().uploading = false;
    });
}

/// Uploads every chunk of the current content; returns the generation it covers and the layers.
///
/// # Errors
/// `Busy` when the content goes on changing underneath.
pub(super) async fn upload_all(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
) -> Result<Uploaded, MailboxError> {
    const ATTEMPTS: u32 = 4;
    for _ in 0..ATTEMPTS {
        {
            let mut inner = file.inner.lock();
            let layout = ChunkLayout::for_payload(inner.len, core.options.chunk_bytes)?;
            // Only a payload of more than 10,000 chunks needs larger ones; then all are redone.
            if layout.chunk_count() > 1 && layout.chunk_bytes() != inner.chunks.chunk_bytes() {
                inner.chunks = ChunkTable::new(layout.chunk_bytes());
            }
        }
        upload_pending(core, file, false).await?;
        let inner = file.inner.lock();
        if let Some(layers) = inner.chunks.layers(inner.len) {
            return Ok(Uploaded {
                generation: inner.generation,
                layout: ChunkLayout::for_payload(inner.len, inner.chunks.chunk_bytes())?,
                layers,
            });
        }
    }
    Err(MailboxError::Busy)
}

/// All layers of one content.
pub(super) struct Uploaded {
    pub(super) generation: u64,
    pub(super) layout: ChunkLayout,
    pub(super) layers: Vec<ChunkLayer>,
}

/// Uploads what is pending now, several chunks at once; returns how many there were.
async fn upload_pending(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
    whole_only: bool,
) -> Result<usize, MailboxError> {
    // One batch at a time: a close that finds the pipeline at work waits for its chunks instead of
    // sending them a second time.
    let _batch = file.batch.lock().await;
    let pending = {
        let inner = file.inner.lock();
        if inner.unlinked {
            return Err(MailboxError::NotFound("file"));
        }
        inner.chunks.pending(inner.len, whole_only)
    };
    let count = pending.len();
    stream::iter(pending)
        .map(|chunk| upload_chunk(core, file, chunk))
        .buffer_unordered(core.uploads.width)
        .try_collect::<()>()
        .await?;
    Ok(count)
}

async fn upload_chunk(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
    chunk: Pending,
) -> Result<(), MailboxError> {
    let permit = Arc::clone(&core.uploads.permits).acquire_owned().await;
    let permit = permit.map_err(|_closed| MailboxError::TaskLost)?;
    let layer = encode(core, file, chunk).await?;
    let descriptor = ChunkLayer { digest: layer.digest, size: layer.bytes.len() as u64 };
    if !core.repository.blob_exists(&layer.digest).await? {
        core.repository.push_blob(&layer.digest, layer.bytes).await?;
        crash::point!("outbox.chunk.pushed");
    }
    drop(permit);
    file.inner.lock().chunks.complete(chunk, descriptor);
    Ok(())
}

/// Reads, frames, compresses and hashes one chunk on a blocking thread.
async fn encode(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
    chunk: Pending,
) -> Result<EncodedLayer, MailboxError> {
    let core = Arc::clone(core);
    let file = Arc::clone(file);
    tokio::task::spawn_blocking(move || {
        let len = usize::try_from(chunk.len).map_err(|_overflow| MailboxError::TooLarge)?;
        let payload = file.read_at(chunk.offset, len)?;
        if payload.len() != len {
            // Shortened after it was planned; the table says so and it is planned again.
            return Err(MailboxError::Busy);
        }
        let compression = core.options.compression_for(file.recipient());
        core.uploads.encode(compression, chunk.index, &payload)
    })
    .await
    .map_err(|_panicked| MailboxError::TaskLost)?
}
