//! Issues receipts for what I received: durable first, then pushed until the registry has them.
//!
//! Start at [`Giving::issue`].
//!
//! **Invariant:** the same receipt is issued once, however often it is requested (P23), and its tag
//! is pushed last (P22).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::listing::{list, listed_name, mark_inbox, with_json};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::push::{manifest_upload, push_bundle, push_small_blob, tag_random};
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{
    Annotations, Descriptor, Digest, EMPTY_BYTES, Identity, ImageManifest, ReceiptDraft,
    ReceiptStatus, Tag, Timestamp, annotation, clean_reason, media_type,
};
use crate::registry::{ManifestRef, RegistryError};
use crate::store::{NewQueuedReceipt, QueuedReceipt, ReceiptDirection, ReceiptEntry};
use crate::sys::backoff::Backoff;
use crate::sys::crash;
use crate::trust::sign_manifest;

/// The pauses between attempts to push a receipt.
const PUSH_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(10));

/// Issues receipts, one flush of the durable queue at a time.
pub(in crate::mailbox) struct Giving {
    core: Arc<Core>,
    /// Held by the one flush in progress.
    flushing: tokio::sync::Mutex<()>,
    /// Changes of the login and of the registry's health that a flush has seen.
    seen_changes: AtomicU64,
}

/// What happened to the receipts that were due.
#[derive(Debug, Default)]
pub(in crate::mailbox) struct Flushed {
    /// How many were pushed.
    pub(in crate::mailbox) count: usize,
    /// The messages whose receipts were not pushed, and why; those after the last one were not
    /// tried.
    pub(in crate::mailbox) failures: Vec<(Digest, MailboxError)>,
}

impl Giving {
    pub(in crate::mailbox) fn new(core: Arc<Core>) -> Self {
        Self { core, flushing: tokio::sync::Mutex::default(), seen_changes: AtomicU64::new(0) }
    }

    /// Queues a receipt and pushes what is due; failures stay queued and are recorded.
    pub(in crate::mailbox) async fn issue(
        &self,
        message: Digest,
        status: ReceiptStatus,
        verified: bool,
        reason: Option<&str>,
    ) {
        let result = match self.enqueue(message, status, verified, reason).await {
            Ok(true) => self.flush().await.map(|_flushed| ()),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.core.record_error(&subject(&message), &error);
        }
    }

    /// Makes a receipt durable; false when the same one was issued before (P23).
    pub(in crate::mailbox) async fn enqueue(
        &self,
        message: Digest,
        status: ReceiptStatus,
        verified: bool,
        reason: Option<&str>,
    ) -> Result<bool, MailboxError> {
        let receipt = NewQueuedReceipt {
            message,
            status,
            verified,
            reason: reason.map(clean_reason),
            created_at: self.core.now(),
        };
        let is_new = self.core.store.enqueue_receipt(receipt).await?;
        crash::point!("receipt.queued");
        Ok(is_new)
    }

    /// Pushes every receipt that is due, until the registry stops answering; failures are recorded.
    pub(in crate::mailbox) async fn flush(&self) -> Result<Flushed, MailboxError> {
        self.flush_until(self.core.now()).await
    }

    /// As [`Giving::flush`]; those that wait for their next attempt, too, when the login or the
    /// registry's health has changed `changes` times, more often than at the last call.
    pub(in crate::mailbox) async fn flush_after(
        &self,
        changes: u64,
    ) -> Result<Flushed, MailboxError> {
        let has_changed = self.seen_changes.swap(changes, Ordering::Relaxed) != changes;
        let always = Timestamp::from_unix_secs(i64::MAX);
        self.flush_until(if has_changed { always } else { self.core.now() }).await
    }

    /// Pushes the receipts whose next attempt is at `now` or before.
    async fn flush_until(&self, now: Timestamp) -> Result<Flushed, MailboxError> {
        let _alone = self.flushing.lock().await;
        let core = &self.core;
        let mut flushed = Flushed::default();
        for queued in core.store.due_receipts(now).await? {
            match push(core, &queued).await {
                Ok(()) => flushed.count += 1,
                Err(error) => {
                    let next_at = next_attempt(core.now(), queued.attempts);
                    core.store.retry_receipt(queued.id, next_at).await?;
                    core.record_error(&subject(&queued.message), &error);
                    let is_away = error.class().is_transient();
                    flushed.failures.push((queued.message, error));
                    // Each of the others would wait for as long; they stay due.
                    if is_away {
                        break;
                    }
                }
            }
        }
        Ok(flushed)
    }
}

/// Returns when a receipt that has failed `attempts` times is tried again.
fn next_attempt(now: Timestamp, attempts: u32) -> Timestamp {
    let pause = PUSH_BACKOFF.random_pause(attempts.saturating_add(1), None);
    // Times are whole seconds: a pause of less than one would be none.
    let secs = pause.as_millis().div_ceil(1000);
    now.saturating_add_secs(i64::try_from(secs).unwrap_or(i64::MAX))
}

/// Returns the name of the receipt for a message in `.dockercomms/errors`.
fn subject(message: &Digest) -> String {
    format!("receipt for {message}")
}

async fn push(core: &Core, queued: &QueuedReceipt) -> Result<(), MailboxError> {
    let message = message_manifest(core, &queued.message).await?;
    let annotations = ImageManifest::parse(&message)?.annotations;
    let digest = match push_to_registry(core, queued, &message, &annotations).await {
        // What it names is one blob of a few bytes, and the registry has lost it.
        Err(MailboxError::Registry(RegistryError::BlobUnknown { .. })) => {
            let empty = Bytes::from_static(EMPTY_BYTES);
            core.repository.push_blob(&Digest::of(EMPTY_BYTES), empty).await?;
            push_to_registry(core, queued, &message, &annotations).await?
        }
        pushed => pushed?,
    };
    let entry = issued_entry(core, queued, &annotations, digest)?;
    core.store.put_receipt(entry.clone()).await?;
    crash::point!("receipt.push.listed");
    // Not in the inbox if its manifest was malformed; the receipt is listed all the same.
    core.store.set_receipt_issued(&queued.message, queued.status).await.ok();
    crash::point!("receipt.push.marked");
    core.store.receipt_done(queued.id).await?;
    crash::point!("receipt.push.done");
    list(core, &entry);
    mark_inbox(core, &queued.message, queued.status);
    Ok(())
}

/// Returns the manifest from the database, or else from the registry, checked by its digest.
async fn message_manifest(core: &Core, digest: &Digest) -> Result<Bytes, MailboxError> {
    if let Some(entry) = core.store.inbox_by_digest(digest).await? {
        return Ok(entry.manifest.into());
    }
    let reference = ManifestRef::Digest(*digest);
    Ok(core.repository.fetch_manifest(&reference, MANIFEST_LEN_MAX).await?.bytes)
}

/// Pushes the receipt, its signature and its tag; returns the receipt's digest.
async fn push_to_registry(
    core: &Core,
    queued: &QueuedReceipt,
    message: &[u8],
    annotations: &Annotations,
) -> Result<Digest, MailboxError> {
    let subject = Descriptor::of(media_type::IMAGE_MANIFEST, message);
    let draft = |with_subject| {
        ReceiptDraft {
            message: &subject,
            annotations,
            status: queued.status,
            verified: queued.verified,
            reason: queued.reason.as_deref(),
            created_at: queued.created_at,
            with_subject,
        }
        .encode()
    };
    push_small_blob(core.repository.as_ref(), EMPTY_BYTES).await?;
    let mut receipt = draft(true);
    let upload = manifest_upload(receipt.clone().into(), None);
    match core.repository.push_manifest(&upload).await {
        Ok(_) => {}
        Err(RegistryError::Rejected { .. } | RegistryError::Malformed { .. }) => {
            // A registry that refuses `subject` gets the receipt without it (P20).
            receipt = draft(false);
            let upload = manifest_upload(receipt.clone().into(), None);
            core.repository.push_manifest(&upload).await?;
        }
        Err(error) => return Err(error.into()),
    }
    crash::point!("receipt.push.manifest");
    let bundle = sign_manifest(&core.key, &receipt)?;
    push_bundle(core, &receipt, &bundle).await?;
    crash::point!("receipt.push.signed");
    // The tag is pushed last: a reader that sees it finds the signature (P22).
    let tag = Tag::receipt(&queued.message, queued.created_at, tag_random());
    let digest = Digest::of(&receipt);
    core.repository.push_manifest(&manifest_upload(receipt.into(), Some(tag))).await?;
    crash::point!("receipt.push.tagged");
    Ok(digest)
}

/// Returns the row and the file of a receipt that is in the registry.
fn issued_entry(
    core: &Core,
    queued: &QueuedReceipt,
    annotations: &Annotations,
    digest: Digest,
) -> Result<ReceiptEntry, MailboxError> {
    let text = |key: &str| annotations.get(key).cloned().unwrap_or_default();
    let peer: Identity = text(annotation::SENDER).parse()?;
    let entry = ReceiptEntry {
        manifest_digest: Some(digest),
        message: queued.message,
        direction: ReceiptDirection::Issued,
        peer,
        file_name: listed_name(core, &queued.message, annotations),
        status: queued.status,
        verified: queued.verified,
        signed: true,
        reason: queued.reason.clone(),
        created_at: queued.created_at,
        json: String::new(),
    };
    let author = text(annotation::RECIPIENT);
    let signer = core.key.public_key().fingerprint();
    Ok(with_json(entry, &author, Some(&signer)))
}
