//! Carries a file from Draft to Sent: push, sign, journal, tag (P18).

use std::sync::Arc;

use bytes::Bytes;

use super::held::{end_replaced, release_replaced};
use super::patience::Outlook;
use super::pausing::{Pause, note_waiting};
use super::repair::{push_repaired, refresh};
use super::shared::Outbox;
use super::upload;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::push::{attach_bundle, manifest_upload, push_bundle_blob, push_small_blob};
use crate::mailbox::staged::{MessageBasis, OutboxFile, SendState, Tagging, Uploaded};
use crate::protocol::{
    Annotations, Digest, EMPTY_BYTES, Envelope, FileName, Message, MessageId, Tag,
};
use crate::registry::ManifestUpload;
use crate::store::PreparedMessage;
use crate::sys::crash;
use crate::trust::sign_manifest;

/// Most new message ids tried when their tags are taken (P4); one collision is already unlikely.
const TAG_ATTEMPTS_MAX: u32 = 4;

/// Pushes everything but the tag and journals Prepared. The caller holds the delivery lock.
pub(super) async fn prepare(outbox: &Outbox, file: &Arc<OutboxFile>) -> Result<(), MailboxError> {
    if !file.begin_delivery()? {
        return Ok(());
    }
    if renew_promise(outbox, file).await? {
        return Ok(());
    }
    let core = &outbox.core;
    let staged = async {
        file.sync_staged_name().await?;
        crash::point!("outbox.prepare.staged");
        Ok(())
    };
    // None of these depends on another, and each waits for something else.
    let ((), uploaded, ()) = tokio::try_join!(
        staged,
        upload::upload_all(outbox, file),
        push_small_blob(core.repository.as_ref(), EMPTY_BYTES),
    )?;
    crash::point!("outbox.prepare.uploaded");
    let message = message_for(outbox, file, &uploaded).await?;
    if let Some(row) = file.fixed_row(&message) {
        row.save(&core.store).await?;
    }
    push_repaired(outbox, file, &message, || push_message(core, &message)).await?;
    crash::point!("outbox.prepare.pushed");
    let saved = file.promising(&message).save(&core.store).await?;
    end_replaced(outbox, file);
    crash::point!("outbox.prepare.journaled");
    file.promised(saved)
}

/// Makes an already prepared file Prepared again, also in its row, which may say Failed since;
/// false when nothing is prepared. The caller holds the delivery lock.
pub(super) async fn renew_promise(
    outbox: &Outbox,
    file: &OutboxFile,
) -> Result<bool, MailboxError> {
    let Some(step) = file.renewing() else { return Ok(false) };
    let saved = step.save(&outbox.core.store).await?;
    end_replaced(outbox, file);
    file.promised(saved)?;
    Ok(true)
}

/// Returns the message of this content and name: the one made before, or a new one.
async fn message_for(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    uploaded: &Uploaded,
) -> Result<PreparedMessage, MailboxError> {
    let mut basis = file.message_basis(uploaded.generation);
    if let MessageBasis::Made(message) = &basis
        && is_over(&outbox.core, message)?
        && outbox.core.repository.resolve_tag(&message.tag).await? != Some(message.digest)
    {
        file.forget_taken_id();
        basis = file.message_basis(uploaded.generation);
    }
    let (name, mut reserved, version) = match basis {
        MessageBasis::Made(message) => return Ok(message),
        MessageBasis::Make { name, id, version } => (name, id, version),
    };
    let mut attempt = 0;
    let message = loop {
        let id = reserved.take().unwrap_or_else(|| MessageId::from_uuid(uuid::Uuid::new_v4()));
        let message = build_message(outbox, file, &name, id, uploaded)?;
        match outbox.core.repository.resolve_tag(&message.tag).await? {
            None => break message,
            Some(_) if attempt < TAG_ATTEMPTS_MAX => attempt += 1,
            Some(_) => return Err(MailboxError::Busy),
        }
    };
    file.fix_message(version, &message);
    Ok(message)
}

/// Returns whether a message that waited has expired: its recipient would not list it.
fn is_over(core: &Core, message: &PreparedMessage) -> Result<bool, MailboxError> {
    Ok(Message::parse(&message.manifest)?.envelope.is_expired(core.now()))
}

fn build_message(
    outbox: &Outbox,
    file: &OutboxFile,
    name: &FileName,
    id: MessageId,
    uploaded: &Uploaded,
) -> Result<PreparedMessage, MailboxError> {
    let core = &outbox.core;
    let envelope = envelope_of(core, file, name, uploaded);
    let created_at = envelope.created_at;
    let message =
        Message { id, envelope, chunks: uploaded.layers.clone(), extensions: Annotations::new() };
    let manifest = message.encode()?;
    let bundle = sign_manifest(&core.key, &manifest)?;
    Ok(PreparedMessage {
        id,
        digest: Digest::of(&manifest),
        tag: Tag::message(
            &file.recipient().recipient_tag(),
            created_at,
            &outbox.shared.session,
            &id,
        ),
        session: outbox.shared.session.as_str().to_owned(),
        manifest,
        bundle,
    })
}

/// Returns what a message of this content and name that is made now says about itself.
pub(super) fn envelope_of(
    core: &Core,
    file: &OutboxFile,
    name: &FileName,
    uploaded: &Uploaded,
) -> Envelope {
    Envelope {
        sender: core.options.sender().clone(),
        recipient: file.recipient().clone(),
        created_at: core.now(),
        ttl_secs: core.options.ttl_secs,
        filename: name.as_str().to_owned(),
        total_bytes: uploaded.layout.total_bytes(),
        chunk_bytes: uploaded.layout.chunk_bytes(),
        chunk_count: uploaded.layout.chunk_count(),
        compression: core.options.compression_for(file.recipient()),
    }
}

/// Pushes manifest and bundle, everything but the inbox tag (P18). The blobs that the manifest
/// names already exist.
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

/// Returns whether the registry still has every layer of the message that is prepared.
pub(super) async fn is_whole(core: &Core, file: &OutboxFile) -> Result<bool, MailboxError> {
    let Some(message) = file.pushed_message() else { return Ok(false) };
    for chunk in Message::parse(&message.manifest)?.chunks {
        if !core.repository.blob_exists(&chunk.digest).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether the tag of the file's message exists, which an attempt that failed, or was cut
/// off by a crash, may have pushed all the same.
pub(super) async fn is_published(core: &Core, file: &OutboxFile) -> Result<bool, MailboxError> {
    let Some(message) = file.pushed_message() else { return Ok(false) };
    Ok(core.repository.resolve_tag(&message.tag).await? == Some(message.digest))
}

/// Publishes the tag of a Prepared file, once. The caller holds the delivery lock.
pub(super) async fn publish_once(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
) -> Result<Digest, MailboxError> {
    let core = &outbox.core;
    if file.state() == SendState::Preparing {
        // An attempt met a taken tag, and did not finish under another one.
        file.unpark().await?;
        prepare(outbox, file).await?;
    }
    let message = match file.tagging()? {
        Tagging::Sent(digest) => return Ok(digest),
        Tagging::Prepared(message) => message,
    };
    match core.repository.resolve_tag(&message.tag).await? {
        Some(digest) if digest == message.digest => {}
        other if other.is_some() || is_over(core, &message)? => {
            // Another message holds the tag, or this one has waited longer than it lives: a new id
            // and time, under a new signature (P4).
            file.forget_taken_id();
            file.unpark().await?;
            prepare(outbox, file).await?;
            return Box::pin(publish_once(outbox, file)).await;
        }
        _ => {
            let upload =
                manifest_upload(message.manifest.clone().into(), Some(message.tag.clone()));
            let mut is_complete = !refresh(outbox, file, &message).await?;
            file.note_tag_tried();
            push_repaired(outbox, file, &message, || {
                // What was lost beside the chunks; the tag stays the last (P18).
                let must_complete = !std::mem::replace(&mut is_complete, false);
                let (upload, message) = (&upload, &message);
                async move {
                    if must_complete {
                        push_message(core, message).await?;
                    }
                    push_tag(core, upload, message).await
                }
            })
            .await?;
            crash::point!("outbox.publish.tagged");
        }
    }
    let saved = file.sending().save(&core.store).await?;
    crash::point!("outbox.publish.marked");
    outbox.shared.queue.release(file, file.sent(saved));
    crash::point!("outbox.publish.unstaged");
    core.listing.touch();
    Ok(message.digest)
}

/// Pushes the tag. A push that the registry confirms is done, and nothing is read back: a registry
/// may deny for some seconds what it has confirmed.
async fn push_tag(
    core: &Core,
    upload: &ManifestUpload,
    message: &PreparedMessage,
) -> Result<(), MailboxError> {
    let Err(error) = core.repository.push_manifest(upload).await else { return Ok(()) };
    // An earlier attempt may have pushed the tag although its answer was lost, or the registry
    // denied it since; where tags are immutable, the second push is refused.
    if !error.class().is_transient()
        && matches!(core.repository.resolve_tag(&message.tag).await, Ok(Some(found)) if found == message.digest)
    {
        return Ok(());
    }
    Err(error.into())
}

/// Publishes, again and again, until it is done, can never be, or is no longer wanted.
pub(super) async fn publish(outbox: Outbox, file: Arc<OutboxFile>) {
    let core = &outbox.core;
    let (mut attempt, mut said) = (0, None);
    loop {
        let seen = outbox.shared.queue.seen();
        let delivery = file.lock_delivery().await;
        let is_under_way = matches!(file.state(), SendState::Prepared | SendState::Preparing);
        if !is_under_way || file.is_unlinked() {
            return;
        }
        let Err(error) = publish_once(&outbox, &file).await else { return };
        if Outlook::of(&error) == Outlook::Final {
            core.record_error(&file.subject(), &error);
            // Still under the lock: a promise that is made again must be the last state of the row.
            fail(&outbox, &file, &error, true).await;
            return;
        }
        note_waiting(&outbox, &file, &error, &mut said).await;
        drop(delivery);
        attempt += 1;
        Pause::begin(&outbox, attempt, &error, seen).rest(&outbox).await;
        if core.stop.is_cancelled() {
            return;
        }
    }
}

/// Marks the file Failed, in memory and in its row; `is_unattended` when no program waits for it.
pub(super) async fn fail(
    outbox: &Outbox,
    file: &Arc<OutboxFile>,
    error: &MailboxError,
    is_unattended: bool,
) {
    let core = &outbox.core;
    if let Some(failed) = file.fail(error.class(), error.to_string(), is_unattended) {
        if failed.must_sync
            && let Err(error) = file.sync_staged().await
        {
            tracing::warn!("cannot make a failed file durable: {error}");
        }
        if let Err(error) = failed.row.save(&core.store).await {
            tracing::warn!("cannot record a failed file: {error}");
        }
        outbox.shared.queue.release(file, failed.place);
    }
    release_replaced(outbox, file);
    core.listing.touch();
}
