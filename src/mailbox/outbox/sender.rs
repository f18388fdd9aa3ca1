//! Carries a file from Draft to Sent: push, sign, journal, tag (P18).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::file::{OutboxFile, Prepared};
use super::replace;
use super::state::{Event, SendState};
use super::upload::{self, Uploaded};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::push::{attach_bundle, manifest_upload, push_bundle_blob, push_small_blob};
use crate::protocol::{
    Annotations, Digest, EMPTY_BYTES, Envelope, FileName, Message, MessageId, Tag,
};
use crate::store::{OutboxChange, OutboxState, PreparedMessage, StoredError};
use crate::sys::crash;
use crate::trust::sign_manifest;

/// Longest pause between two attempts to publish.
const PUBLISH_PAUSE_MAX: Duration = Duration::from_mins(1);

/// Most new message ids tried when their tags are taken (P4); one collision is already unlikely.
const TAG_ATTEMPTS_MAX: u32 = 4;

/// Pushes everything but the tag and journals Prepared. The caller holds `file.delivery`.
pub(super) async fn prepare(core: &Arc<Core>, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
    {
        let mut inner = file.inner.lock();
        if inner.state == SendState::Sent {
            return Ok(());
        }
        file.apply_locked(&mut inner, Event::PrepareBegun);
        if inner.recovered && !inner.is_prepared() {
            // What is staged may not be what was prepared before the machine went down.
            return Err(MailboxError::NotPermitted("copy the file again"));
        }
    }
    if renew_promise(core, file).await? {
        return Ok(());
    }
    let staged = async {
        sync_spool_name(file).await?;
        crash::point!("outbox.prepare.staged");
        Ok(())
    };
    // None of these needs another, and each waits for somebody else.
    let ((), uploaded, ()) = tokio::try_join!(
        staged,
        upload::upload_all(core, file),
        push_small_blob(core.repository.as_ref(), EMPTY_BYTES),
    )?;
    crash::point!("outbox.prepare.uploaded");
    let message = message_for(core, file, &uploaded).await?;
    if file.is_queued() {
        // A close that waits repeats everything after a crash; the queue goes on where it was.
        let change = OutboxChange { message: Some(Some(message.clone())), ..Default::default() };
        core.store.update_outbox(file.id, change).await?;
    }
    push_message(core, &message).await?;
    crash::point!("outbox.prepare.pushed");
    journal(core, file, &message).await?;
    crash::point!("outbox.prepare.journaled");
    let mut inner = file.inner.lock();
    if let Some(prepared) = &mut inner.prepared
        && prepared.message.digest == message.digest
    {
        prepared.complete = true;
    }
    if inner.unlinked || !inner.is_prepared() {
        // Written, renamed or removed meanwhile: this content is not what the caller closed.
        return Err(MailboxError::Busy);
    }
    file.apply_locked(&mut inner, Event::PrepareDone);
    Ok(())
}

/// Makes a file that is prepared already Prepared again, also in its row, which may say Failed
/// since; false when nothing is prepared. The caller holds `file.delivery`.
pub(super) async fn renew_promise(core: &Core, file: &OutboxFile) -> Result<bool, MailboxError> {
    let message = file.inner.lock().prepared_message().cloned();
    let Some(message) = message else { return Ok(false) };
    file.apply(Event::PrepareBegun);
    journal(core, file, &message).await?;
    let mut inner = file.inner.lock();
    if inner.unlinked || !inner.is_prepared() {
        return Err(MailboxError::Busy);
    }
    inner.is_unattended = false;
    file.apply_locked(&mut inner, Event::PrepareDone);
    Ok(true)
}

/// Makes the name of the staged file durable, by which a restart finds that the file is ours.
///
/// Not its bytes: a Prepared file needs the row and what is in the registry, and nothing else, so
/// most files are sent and removed before the disk has seen them.
async fn sync_spool_name(file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
    let spool = file.inner.lock().spool.clone();
    let spool = spool.ok_or(MailboxError::NotFound("staged file"))?;
    tokio::task::spawn_blocking(move || spool.sync_name())
        .await
        .map_err(|_panicked| MailboxError::TaskLost)?
}

/// Makes the staged bytes durable on a blocking thread.
pub(super) async fn sync_spool(file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
    let spool = file.inner.lock().spool.clone();
    let spool = spool.ok_or(MailboxError::NotFound("staged file"))?;
    tokio::task::spawn_blocking(move || spool.sync())
        .await
        .map_err(|_panicked| MailboxError::TaskLost)?
}

/// Returns the message of this content and name: the one made before, or a new one.
async fn message_for(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
    uploaded: &Uploaded,
) -> Result<PreparedMessage, MailboxError> {
    let (name, mut reserved) = {
        let inner = file.inner.lock();
        match &inner.prepared {
            Some(done) if done.generation == uploaded.generation => {
                return Ok(done.message.clone());
            }
            _ => (inner.name.clone(), inner.reserved_id.filter(|_id| inner.queue_place.is_some())),
        }
    };
    let mut attempt = 0;
    let message = loop {
        let id = reserved.take().unwrap_or_else(|| MessageId::from_uuid(uuid::Uuid::new_v4()));
        let message = build_message(core, file, &name, id, uploaded)?;
        match core.repository.resolve_tag(&message.tag).await? {
            None => break message,
            Some(_) if attempt < TAG_ATTEMPTS_MAX => attempt += 1,
            Some(_) => return Err(MailboxError::Busy),
        }
    };
    let mut inner = file.inner.lock();
    if inner.generation == uploaded.generation {
        inner.prepared = Some(Prepared {
            generation: uploaded.generation,
            complete: false,
            message: message.clone(),
        });
        inner.is_tag_tried = false;
    }
    Ok(message)
}

fn build_message(
    core: &Core,
    file: &OutboxFile,
    name: &FileName,
    id: MessageId,
    uploaded: &Uploaded,
) -> Result<PreparedMessage, MailboxError> {
    let created_at = core.now();
    let message = Message {
        id,
        envelope: Envelope {
            sender: core.options.sender().clone(),
            recipient: file.recipient.clone(),
            created_at,
            ttl_secs: core.options.ttl_secs,
            filename: name.as_str().to_owned(),
            total_bytes: uploaded.layout.total_bytes(),
            chunk_bytes: uploaded.layout.chunk_bytes(),
            chunk_count: uploaded.layout.chunk_count(),
            compression: core.options.compression_for(&file.recipient),
        },
        chunks: uploaded.layers.clone(),
        extensions: Annotations::new(),
    };
    let manifest = message.encode()?;
    let bundle = sign_manifest(&core.key, &manifest)?;
    Ok(PreparedMessage {
        id,
        digest: Digest::of(&manifest),
        tag: Tag::message(&file.recipient.recipient_tag(), created_at, &core.session, &id),
        session: core.session.as_str().to_owned(),
        manifest,
        bundle,
    })
}

/// Pushes manifest and bundle, everything but the inbox tag (P18). The blobs that the manifest names
/// are there.
async fn push_message(core: &Core, message: &PreparedMessage) -> Result<(), MailboxError> {
    let manifest = async {
        let bytes = Bytes::from(message.manifest.clone());
        core.repository.push_manifest(&manifest_upload(bytes, None)).await?;
        crash::point!("outbox.manifest.pushed");
        Ok(())
    };
    // Neither names the other; what is attached next names both.
    tokio::try_join!(manifest, push_bundle_blob(core, &message.bundle))?;
    attach_bundle(core, &message.manifest, &message.bundle).await
}

/// Makes the promise durable: from here on a restart publishes the tag.
async fn journal(
    core: &Core,
    file: &OutboxFile,
    message: &PreparedMessage,
) -> Result<(), MailboxError> {
    let change = {
        let inner = file.inner.lock();
        OutboxChange {
            updated_at: Some(core.now()),
            name: Some(inner.name.as_str().to_owned()),
            state: Some(OutboxState::Prepared),
            len: Some(inner.len),
            mtime: Some(inner.mtime.into()),
            mode: Some(inner.mode),
            message: Some(Some(message.clone())),
            error: Some(None),
            unattended: Some(false),
            replaces: replace::replaced_rows(&inner.replaced),
            ..OutboxChange::default()
        }
    };
    core.store.update_outbox(file.id, change).await?;
    replace::end_replaced(core, file);
    Ok(())
}

/// Returns whether the registry still has every layer of the message that is prepared.
pub(super) async fn is_whole(core: &Core, file: &OutboxFile) -> Result<bool, MailboxError> {
    let message = file.inner.lock().prepared_message().cloned();
    let Some(message) = message else { return Ok(false) };
    for chunk in Message::parse(&message.manifest)?.chunks {
        if !core.repository.blob_exists(&chunk.digest).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Publishes the tag of a Prepared file, once. The caller holds `file.delivery`.
pub(super) async fn publish_once(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
) -> Result<Digest, MailboxError> {
    if file.state() == SendState::Preparing {
        // An attempt met a taken tag, and came to no end under another one.
        file.unpark(core).await?;
        prepare(core, file).await?;
    }
    let message = {
        let inner = file.inner.lock();
        match (inner.state, inner.current_message()) {
            (SendState::Sent, Some(message)) => return Ok(message.digest),
            (SendState::Prepared, Some(message)) if inner.is_prepared() => message.clone(),
            _ => return Err(MailboxError::Busy),
        }
    };
    match core.repository.resolve_tag(&message.tag).await? {
        Some(digest) if digest == message.digest => {}
        Some(_) => {
            // Somebody else holds the tag: a new id, under a new signature (P4).
            {
                let mut inner = file.inner.lock();
                inner.prepared = None;
                inner.reserved_id = None;
            }
            file.unpark(core).await?;
            prepare(core, file).await?;
            return Box::pin(publish_once(core, file)).await;
        }
        None => {
            let upload =
                manifest_upload(message.manifest.clone().into(), Some(message.tag.clone()));
            file.inner.lock().is_tag_tried = true;
            core.repository.push_manifest(&upload).await?;
            crash::point!("outbox.publish.tagged");
            if core.repository.resolve_tag(&message.tag).await? != Some(message.digest) {
                return Err(MailboxError::NotYetSent);
            }
        }
    }
    let change = OutboxChange {
        updated_at: Some(core.now()),
        state: Some(OutboxState::Sent),
        mtime: Some(file.mtime().into()),
        hidden: file.inner.lock().is_replaced.then_some(true),
        ..OutboxChange::default()
    };
    core.store.update_outbox(file.id, change).await?;
    crash::point!("outbox.publish.marked");
    {
        let mut inner = file.inner.lock();
        file.apply_locked(&mut inner, Event::Published);
        inner.spool = None;
        inner.is_parked = false;
    }
    // Handles that still read keep the open file; the name goes, so that nothing is kept twice.
    file.remove_staged(core);
    crash::point!("outbox.publish.unstaged");
    core.listing.touch();
    Ok(message.digest)
}

/// Publishes, again and again, until it is done, refused for good, or no longer wanted.
pub(super) async fn publish(core: Arc<Core>, file: Arc<OutboxFile>) {
    let mut pause = Duration::from_secs(1);
    loop {
        let delivery = file.delivery.lock().await;
        let is_under_way = matches!(file.state(), SendState::Prepared | SendState::Preparing);
        if !is_under_way || file.is_unlinked() {
            return;
        }
        let Err(error) = publish_once(&core, &file).await else { return };
        core.record_error(&subject(&file), &error);
        if !error.class().is_transient() && !matches!(error, MailboxError::Busy) {
            // Still under the lock: a promise that is made again must be the last that the row says.
            fail(&core, &file, failure_of(&file), &error, true).await;
            return;
        }
        drop(delivery);
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PUBLISH_PAUSE_MAX);
    }
}

/// Returns what the failure of a delivery in the background means for the file.
///
/// A publish that met a taken tag has to prepare again.
pub(super) fn failure_of(file: &OutboxFile) -> Event {
    if file.state() == SendState::Prepared { Event::PublishFailed } else { Event::PrepareFailed }
}

/// Marks the file Failed, in memory and in its row; `is_unattended` when no program is told.
///
/// The staged bytes are made durable before the row says Failed: they are what a later attempt
/// sends, perhaps after a power cut. The row of a recovered file stays Prepared, because nobody
/// can vouch for its staged bytes; the next start tries it again.
pub(super) async fn fail(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
    event: Event,
    error: &MailboxError,
    is_unattended: bool,
) {
    let (message, is_promise_kept, is_durable) = {
        let mut inner = file.inner.lock();
        if file.apply_locked(&mut inner, event) {
            inner.error = Some((error.class(), error.to_string()));
            inner.is_unattended = is_unattended;
        }
        // Kept only where the tag may have been pushed, for who tries again: another attempt makes
        // another message, with its own time.
        let message = inner.prepared_message().cloned();
        let is_promise_kept = inner.recovered && message.is_some();
        // What was queued was made durable then; nobody reads what an earlier run has staged.
        (message, is_promise_kept, inner.recovered || inner.queue_place.is_some())
    };
    if !is_durable && let Err(error) = sync_spool(file).await {
        tracing::warn!("cannot make a failed file durable: {error}");
    }
    let change = OutboxChange {
        updated_at: Some(core.now()),
        state: (!is_promise_kept).then_some(OutboxState::Failed),
        len: Some(file.len()),
        message: Some(message),
        unattended: Some(is_unattended),
        error: Some(Some(StoredError {
            code: error.class().code().to_owned(),
            text: error.to_string(),
        })),
        ..OutboxChange::default()
    };
    if let Err(error) = core.store.update_outbox(file.id, change).await {
        tracing::warn!("cannot record a failed file: {error}");
    }
    replace::resume_replaced(core, file);
    core.listing.touch();
}

/// Names a file in `errors`.
pub(super) fn subject(file: &OutboxFile) -> String {
    format!("outbox/{}/{}", file.recipient.dir_name(), file.name())
}
