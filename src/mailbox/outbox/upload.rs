//! The chunk pipeline: staged bytes to layers in the registry, while the copy still runs.
//!
//! Memory is bounded by the permits of [`UploadPool`]: a permit covers one chunk, raw and
//! compressed. Nothing here decides whether a file is sent.

use std::io;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, future};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::chunks::{ChunkTable, Pending};
use super::file::OutboxFile;
use crate::chunk::{ChunkError, ChunkLayout, EncodedLayer, Fingerprint, LayerEncoder};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::protocol::{ChunkLayer, Compression};
use crate::sys::crash;

/// Largest buffers of an encoder that is kept: those of a chunk of the default size fit twice.
/// Larger chunks are rare, and an idle mailbox must not hold their memory.
const KEPT_BUFFER_LEN_MAX: usize = 40 << 20;

/// Most chunks whose layers are remembered: 32 GiB of them in less than a megabyte.
const KNOWN_LAYER_COUNT_MAX: usize = 4096;

/// Permits, compression contexts and known layers that all uploads of a mailbox share.
pub(crate) struct UploadPool {
    permits: Arc<Semaphore>,
    width: usize,
    encoders: Mutex<Vec<(Compression, LayerEncoder)>>,
    known: Mutex<LruCache<(Compression, Fingerprint), ChunkLayer>>,
    #[cfg(test)]
    compressed_count: std::sync::atomic::AtomicU64,
}

impl UploadPool {
    pub(crate) fn new(width: usize) -> Self {
        let width = width.max(1);
        Self {
            permits: Arc::new(Semaphore::new(width)),
            width,
            encoders: Mutex::default(),
            known: Mutex::new(LruCache::unbounded()),
            #[cfg(test)]
            compressed_count: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Returns how many chunks were compressed so far.
    #[cfg(test)]
    pub(in crate::mailbox) fn compressed_count(&self) -> u64 {
        self.compressed_count.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Returns the layer that a chunk has become before; whether the registry still has it is to
    /// be asked.
    fn known(&self, compression: Compression, chunk: Fingerprint) -> Option<ChunkLayer> {
        self.known.lock().get(&(compression, chunk)).copied()
    }

    /// Remembers what a chunk has become, for whoever is sent the same.
    fn remember(&self, compression: Compression, chunk: Fingerprint, layer: ChunkLayer) {
        let mut known = self.known.lock();
        known.put((compression, chunk), layer);
        if known.len() > KNOWN_LAYER_COUNT_MAX {
            known.pop_lru();
        }
    }

    /// Returns a kept encoder or a new one: making one costs a fifth of a chunk.
    fn take(&self, compression: Compression) -> Result<LayerEncoder, MailboxError> {
        let kept = {
            let mut encoders = self.encoders.lock();
            let at = encoders.iter().position(|(of, _)| *of == compression);
            at.map(|at| encoders.swap_remove(at).1)
        };
        match kept {
            Some(encoder) => Ok(encoder),
            None => Ok(LayerEncoder::new(compression)?),
        }
    }

    /// Keeps an encoder and its buffers for the next chunk.
    fn keep(&self, compression: Compression, encoder: LayerEncoder) {
        let mut encoders = self.encoders.lock();
        if encoders.len() < self.width && encoder.buffer_len() <= KEPT_BUFFER_LEN_MAX {
            encoders.push((compression, encoder));
        }
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
        let result = upload(&task_core, &file, Extent::WholeChunks).await;
        if let Err(error) = result {
            tracing::debug!(%error, "the uploads beside a copy ended");
            file.inner.lock().uploading = false;
        }
        file.uploads_moved.notify_waiters();
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
        upload(core, file, Extent::Everything).await?;
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

/// What an upload is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The chunks that the writer has filled, as it goes on.
    WholeChunks,
    /// All of the content as it is, for a close.
    Everything,
}

/// Uploads what is pending, several chunks at once, until nothing is.
///
/// A close joins the pipeline beside the copy: each chunk is claimed by one of them, and the close
/// waits for those that the other one has.
async fn upload(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
    extent: Extent,
) -> Result<(), MailboxError> {
    let mut under_way = FuturesUnordered::new();
    loop {
        // Listens before it looks, so that no change is missed in between.
        let mut moved = std::pin::pin!(file.uploads_moved.notified());
        moved.as_mut().enable();
        let is_whole_only = extent == Extent::WholeChunks;
        {
            let mut inner = file.inner.lock();
            if inner.unlinked {
                return Err(MailboxError::NotFound("file"));
            }
            let len = inner.len;
            while under_way.len() < core.uploads.width {
                let Some(chunk) = inner.chunks.claim(len, is_whole_only) else { break };
                under_way.push(upload_chunk(core, Claim { file: Arc::clone(file), chunk }));
            }
            if under_way.is_empty() {
                if is_whole_only {
                    // Under the lock: a chunk that is filled from now on starts a new pipeline.
                    inner.uploading = false;
                    return Ok(());
                }
                if inner.chunks.unfinished(len, false).next().is_none() {
                    return Ok(());
                }
            }
        }
        if under_way.is_empty() {
            moved.await;
            continue;
        }
        match future::select(under_way.next(), moved).await {
            future::Either::Left((Some(result), _)) => result?,
            future::Either::Left((None, _)) | future::Either::Right(_) => {}
        }
    }
}

/// The right to upload a chunk, given back however the upload ends.
struct Claim {
    file: Arc<OutboxFile>,
    chunk: Pending,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.file.inner.lock().chunks.give_back(self.chunk);
        self.file.uploads_moved.notify_waiters();
    }
}

async fn upload_chunk(core: &Arc<Core>, claim: Claim) -> Result<(), MailboxError> {
    let permit = Arc::clone(&core.uploads.permits).acquire_owned().await;
    let permit = permit.map_err(|_closed| MailboxError::TaskLost)?;
    let compression = core.options.compression_for(claim.file.recipient());
    let encoder = core.uploads.take(compression)?;
    let (encoder, fingerprint) = frame(encoder, &claim).await?;
    let known = core.uploads.known(compression, fingerprint);
    let (encoder, layer) = match known {
        Some(layer) if core.repository.blob_exists(&layer.digest).await? => (encoder, layer),
        Some(_) | None => {
            let (encoder, layer) = push_framed(core, encoder).await?;
            core.uploads.remember(compression, fingerprint, layer);
            (encoder, layer)
        }
    };
    core.uploads.keep(compression, encoder);
    drop(permit);
    claim.file.inner.lock().chunks.complete(claim.chunk, layer);
    Ok(())
}

/// Reads and frames one chunk on a blocking thread.
async fn frame(
    mut encoder: LayerEncoder,
    claim: &Claim,
) -> Result<(LayerEncoder, Fingerprint), MailboxError> {
    let chunk = claim.chunk;
    let spool = claim.file.inner.lock().spool.clone();
    let spool = spool.ok_or(MailboxError::NotFound("staged file"))?;
    tokio::task::spawn_blocking(move || {
        let read = |place: &mut [u8]| spool.read_exact_at(chunk.offset, place);
        match encoder.frame(chunk.index, chunk.len, read) {
            Ok(()) => {
                spool.forget_behind(chunk.offset + chunk.len);
                let fingerprint = encoder.fingerprint();
                Ok((encoder, fingerprint))
            }
            // Shortened after it was planned; the table says so and it is planned again.
            Err(ChunkError::Read(source)) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Err(MailboxError::Busy)
            }
            Err(ChunkError::Read(source)) => {
                Err(MailboxError::Io { what: "read the staged file", source })
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
    .map_err(|_panicked| MailboxError::TaskLost)?
}

/// Compresses and hashes the chunk that is framed, and pushes it unless it is there.
async fn push_framed(
    core: &Core,
    mut encoder: LayerEncoder,
) -> Result<(LayerEncoder, ChunkLayer), MailboxError> {
    #[cfg(test)]
    core.uploads.compressed_count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let compressed = tokio::task::spawn_blocking(move || {
        let layer = encoder.compress()?;
        Ok::<_, ChunkError>((encoder, layer))
    });
    let (mut encoder, EncodedLayer { digest, bytes }) =
        compressed.await.map_err(|_panicked| MailboxError::TaskLost)??;
    let layer = ChunkLayer { digest, size: bytes.len() as u64 };
    if !core.repository.blob_exists(&digest).await? {
        core.repository.push_blob(&digest, bytes.clone()).await?;
        crash::point!("outbox.chunk.pushed");
    }
    encoder.reuse(bytes);
    Ok((encoder, layer))
}
