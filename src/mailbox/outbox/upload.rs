//! The chunk pipeline: staged bytes to layers in the registry, while the copy still runs.
//!
//! Memory is bounded by the permits of the upload pool. Nothing here decides whether a file is sent.

use std::io;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, future};

use super::shared::Outbox;
use crate::chunk::{ChunkError, EncodedLayer, Fingerprint, LayerEncoder};
use crate::mailbox::MailboxError;
use crate::mailbox::staged::{ChunkClaim, Extent, OutboxFile, Pending, Spool, Uploaded};
use crate::protocol::ChunkLayer;
use crate::sys::{blocking, crash};

/// Starts uploading whole chunks in the background, unless that is in progress.
///
/// A failure ends it silently: the close tries again and reports.
pub(super) fn begin(outbox: &Outbox, file: &Arc<OutboxFile>) {
    if !file.begin_uploading() {
        return;
    }
    let (outbox, file) = (outbox.clone(), Arc::clone(file));
    let core = Arc::clone(&outbox.core);
    core.spawn(async move {
        if let Err(error) = upload(&outbox, &file, Extent::WholeChunks).await {
            tracing::debug!(%error, "the uploads beside a copy ended");
            file.end_uploading();
        } else {
            file.note_uploads_moved();
        }
    });
}

/// Uploads every chunk of the current content; returns the generation it covers and the layers.
///
/// # Errors
/// `Busy` when the content keeps changing underneath.
pub(super) async fn upload_all(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
) -> Result<Uploaded, MailboxError> {
    const ATTEMPTS: u32 = 4;
    for _ in 0..ATTEMPTS {
        file.fit_chunks()?;
        upload(outbox, file, Extent::Everything).await?;
        if let Some(uploaded) = file.uploaded()? {
            return Ok(uploaded);
        }
    }
    Err(MailboxError::Busy)
}

/// Uploads what is pending, several chunks at once, until nothing is.
///
/// A close joins the pipeline beside the copy: each chunk is claimed by one of them, and the close
/// waits for those that the other one has.
async fn upload(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    extent: Extent,
) -> Result<(), MailboxError> {
    let width = outbox.shared.uploads.width();
    let mut under_way = FuturesUnordered::new();
    loop {
        // Listens before it checks, so that no change is missed in between.
        let mut moved = std::pin::pin!(file.uploads_moved());
        moved.as_mut().enable();
        let next =
            file.next_chunks(extent, under_way.len(), width.saturating_sub(under_way.len()))?;
        if next.is_done {
            return Ok(());
        }
        under_way.extend(next.claims.into_iter().map(|claim| upload_chunk(outbox, claim)));
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

async fn upload_chunk(outbox: &Outbox, claim: ChunkClaim) -> Result<(), MailboxError> {
    let uploads = &outbox.shared.uploads;
    let permit = uploads.permit().await?;
    let compression = outbox.core.options.compression_for(claim.recipient());
    let encoder = uploads.take(compression)?;
    let (encoder, fingerprint) = frame(encoder, claim.spool()?, claim.chunk()).await?;
    let known = uploads.known(compression, fingerprint);
    let (encoder, layer) = match known {
        Some(layer) if outbox.core.repository.blob_exists(&layer.digest).await? => (encoder, layer),
        Some(_) | None => {
            let (encoder, layer) = push_framed(outbox, encoder).await?;
            uploads.remember(compression, fingerprint, layer);
            (encoder, layer)
        }
    };
    uploads.keep(compression, encoder);
    drop(permit);
    claim.complete(layer);
    Ok(())
}

/// Reads and frames one chunk on a blocking thread.
pub(super) async fn frame(
    mut encoder: LayerEncoder,
    spool: Arc<Spool>,
    chunk: Pending,
) -> Result<(LayerEncoder, Fingerprint), MailboxError> {
    blocking::try_run(move || {
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
}

/// Compresses and hashes the framed chunk, and pushes it unless it exists.
async fn push_framed(
    outbox: &Outbox,
    mut encoder: LayerEncoder,
) -> Result<(LayerEncoder, ChunkLayer), MailboxError> {
    let repository = &outbox.core.repository;
    #[cfg(test)]
    outbox.shared.uploads.note_compressed();
    let compressed = blocking::try_run(move || {
        let layer = encoder.compress()?;
        Ok::<_, MailboxError>((encoder, layer))
    });
    let (mut encoder, EncodedLayer { digest, bytes }) = compressed.await?;
    let layer = ChunkLayer { digest, size: bytes.len() as u64 };
    if !repository.blob_exists(&digest).await? {
        repository.push_blob(&digest, bytes.clone()).await?;
        crash::point!("outbox.chunk.pushed");
    }
    encoder.reuse(bytes);
    Ok((encoder, layer))
}
