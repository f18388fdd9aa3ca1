//! Receipts: given for what I received, collected for what I sent (P20-P23).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::MailboxError;
use super::core::Core;
use super::discover::{Search, search};
use super::push::{manifest_upload, push_bundle, push_small_blob, tag_random};
use super::snapshot::{ReceiptItem, insert};
use super::staged::{OutboxFile, SendState};
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{
    Annotations, Descriptor, Digest, EMPTY_BYTES, FileName, Identity, ImageManifest, Receipt,
    ReceiptDraft, ReceiptStatus, Tag, annotation, clean_reason, media_type,
};
use crate::registry::{ManifestRef, RegistryError};
use crate::store::{NewQueuedReceipt, QueuedReceipt, ReceiptDirection, ReceiptEntry, SeenVerdict};
use crate::sys::crash;
use crate::trust::{VerifiedReceipt, sign_manifest, verify_receipt};

/// Sent messages asked for one by one; above that, one listing of all receipts is cheaper.
const ASK_EACH_MAX: usize = 16;

/// One poll in so many also asks for messages that have a receipt: a later one counts (P23).
const ASK_ALL_EVERY: u64 = 60;

/// Longest pause between two attempts to push a receipt, in seconds.
const RETRY_SECS_MAX: i64 = 600;

/// Queues a receipt and pushes what is due; failures stay queued and are recorded.
pub(super) async fn issue(
    core: &Arc<Core>,
    message: Digest,
    status: ReceiptStatus,
    verified: bool,
    reason: Option<&str>,
) {
    let result = match enqueue(core, message, status, verified, reason).await {
        Ok(true) => flush(core).await.map(|_flushed| ()),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        core.record_error(&format!("receipt for {message}"), &error);
    }
}

/// Makes a receipt durable; false when the same one was given before (P23).
pub(super) async fn enqueue(
    core: &Core,
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
        created_at: core.now(),
    };
    let is_new = core.store.enqueue_receipt(receipt).await?;
    crash::point!("receipt.queued");
    Ok(is_new)
}

/// What became of the receipts that were due.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// How many went out.
    pub(super) count: usize,
    /// Which messages' receipts did not, and why; those behind the last one were not tried.
    pub(super) failures: Vec<(Digest, MailboxError)>,
}

/// Pushes every receipt that is due, until the registry does not answer; failures are recorded.
pub(super) async fn flush(core: &Arc<Core>) -> Result<Flushed, MailboxError> {
    let _alone = core.receipting.lock().await;
    let mut flushed = Flushed::default();
    for queued in core.store.due_receipts(core.now()).await? {
        match push(core, &queued).await {
            Ok(()) => flushed.count += 1,
            Err(error) => {
                let doublings = queued.attempts.min(16);
                let pause = (1_i64 << doublings).min(RETRY_SECS_MAX);
                let next_at = core.now().saturating_add_secs(pause);
                core.store.retry_receipt(queued.id, next_at).await?;
                core.record_error(&format!("receipt for {}", queued.message), &error);
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

async fn push(core: &Arc<Core>, queued: &QueuedReceipt) -> Result<(), MailboxError> {
    let bytes = message_manifest(core, &queued.message).await?;
    let annotations = ImageManifest::parse(&bytes)?.annotations;
    let subject = Descriptor::of(media_type::IMAGE_MANIFEST, &bytes);
    let draft = |with_subject| {
        ReceiptDraft {
            message: &subject,
            annotations: &annotations,
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
    // The tag goes last: whoever sees it finds the signature (P22).
    let tag = Tag::receipt(&queued.message, queued.created_at, tag_random());
    let digest = Digest::of(&receipt);
    core.repository.push_manifest(&manifest_upload(receipt.into(), Some(tag))).await?;
    crash::point!("receipt.push.tagged");

    let text = |key: &str| annotations.get(key).cloned().unwrap_or_default();
    let peer: Identity = text(annotation::SENDER).parse()?;
    let entry = ReceiptEntry {
        manifest_digest: Some(digest),
        message: queued.message,
        direction: ReceiptDirection::Issued,
        peer: peer.clone(),
        file_name: listed_name(core, &queued.message, &annotations),
        status: queued.status,
        verified: queued.verified,
        signed: true,
        reason: queued.reason.clone(),
        created_at: queued.created_at,
        json: String::new(),
    };
    let author = text(annotation::RECIPIENT);
    let signer = core.key.public_key().fingerprint();
    let entry = with_json(entry, &author, Some(&signer));
    core.store.put_receipt(entry.clone()).await?;
    crash::point!("receipt.push.listed");
    // Not in the inbox when its manifest was malformed; the receipt is listed all the same.
    core.store.set_receipt_issued(&queued.message, queued.status).await.ok();
    crash::point!("receipt.push.marked");
    core.store.receipt_done(queued.id).await?;
    crash::point!("receipt.push.done");
    list(core, &entry);
    mark_inbox(core, &queued.message, queued.status);
    Ok(())
}

/// Returns the manifest from the database, or again from the registry, checked by its digest.
async fn message_manifest(core: &Core, digest: &Digest) -> Result<bytes::Bytes, MailboxError> {
    if let Some(entry) = core.store.inbox_by_digest(digest).await? {
        return Ok(entry.manifest.into());
    }
    let reference = ManifestRef::Digest(*digest);
    Ok(core.repository.fetch_manifest(&reference, MANIFEST_LEN_MAX).await?.bytes)
}

/// Returns the name under which a message is listed, or else the one it claims, made safe.
fn listed_name(core: &Core, digest: &Digest, annotations: &Annotations) -> String {
    let snapshot = core.listing.snapshot();
    if let Some(item) = snapshot.message(digest) {
        return item.name.clone();
    }
    let claimed = annotations.get(annotation::FILENAME).map_or("", String::as_str);
    FileName::sanitize(claimed).as_str().to_owned()
}

/// Looks for receipts of what I sent; returns how many are new.
///
/// # Errors
/// When the repository cannot be listed.
pub(super) async fn collect(core: &Arc<Core>) -> Result<usize, MailboxError> {
    let snapshot = core.listing.snapshot();
    let all = core.receipt_polls.fetch_add(1, Ordering::Relaxed).is_multiple_of(ASK_ALL_EVERY);
    let waiting: Vec<(Arc<OutboxFile>, Digest)> = snapshot
        .outbox_files()
        .filter(|file| file.state() == SendState::Sent && (all || file.receipt().is_none()))
        .filter_map(|file| Some((Arc::clone(file), file.digest()?)))
        .collect();
    if waiting.is_empty() {
        return Ok(0);
    }
    let trust = core.trust.current()?;
    let again = core.receipt_trust_changed(&trust);
    if again {
        core.rejected.clear();
    }
    let sweep = if waiting.len() > ASK_EACH_MAX {
        Some(core.repository.list_tags("receipt-").await?.tags)
    } else {
        None
    };
    let mut count = 0;
    for (file, digest) in waiting {
        let prefix = Tag::receipt_prefix(&digest);
        let tags: Vec<Tag> = match &sweep {
            Some(all) => {
                all.iter().filter(|tag| tag.as_str().starts_with(&prefix)).cloned().collect()
            }
            None => core.repository.list_tags(&prefix).await?.tags,
        };
        count += examine_all(core, &trust, &file, &digest, tags, again).await?;
    }
    Ok(count)
}

/// Looks for receipts of one sent message; returns how many are new.
///
/// # Errors
/// When the repository cannot be listed.
pub(super) async fn collect_one(
    core: &Arc<Core>,
    file: &Arc<OutboxFile>,
) -> Result<usize, MailboxError> {
    let digest = file.digest().ok_or(MailboxError::NotFound("message"))?;
    let trust = core.trust.current()?;
    let tags = core.repository.list_tags(&Tag::receipt_prefix(&digest)).await?.tags;
    examine_all(core, &trust, file, &digest, tags, true).await
}

/// Judges the receipt tags of one message that are not settled; `again` also those refused before.
async fn examine_all(
    core: &Arc<Core>,
    trust: &crate::trust::TrustStore,
    file: &Arc<OutboxFile>,
    digest: &Digest,
    tags: Vec<Tag>,
    again: bool,
) -> Result<usize, MailboxError> {
    if tags.is_empty() {
        return Ok(0);
    }
    let (seen, now) = (core.store.seen_tags(&Tag::receipt_prefix(digest)).await?, core.latest());
    let mut count = 0;
    for tag in tags {
        let settled = seen.get(&tag).is_some_and(|seen| match seen.verdict {
            SeenVerdict::Admitted | SeenVerdict::Ignored => true,
            SeenVerdict::Quarantined => !again,
            SeenVerdict::Pending => false,
        });
        if !settled && examine(core, trust, file, digest, &tag, now).await? {
            count += 1;
        }
    }
    Ok(count)
}

/// Judges one receipt tag; true when it is new proof.
async fn examine(
    core: &Arc<Core>,
    trust: &crate::trust::TrustStore,
    file: &Arc<OutboxFile>,
    sent: &Digest,
    tag: &Tag,
    now: crate::protocol::Timestamp,
) -> Result<bool, MailboxError> {
    let reference = ManifestRef::Tag(tag.clone());
    let fetched = match core.repository.fetch_manifest(&reference, MANIFEST_LEN_MAX).await {
        Ok(fetched) => fetched,
        Err(error) if error.class().is_transient() => return Err(error.into()),
        Err(_) => return Ok(false),
    };
    let digest = fetched.digest;
    let receipt = match Receipt::parse(&fetched.bytes) {
        Ok(receipt) if receipt.message == *sent => receipt,
        // Another message with the same 12 digits, or junk.
        _ => {
            core.store.record_seen(tag, &digest, SeenVerdict::Ignored).await?;
            return Ok(false);
        }
    };
    let Some(envelope) = file.envelope() else { return Ok(false) };
    let accept = |bundle: &bytes::Bytes| {
        let bundles = std::slice::from_ref(bundle);
        verify_receipt(trust, fetched.bytes.clone(), sent, &envelope, bundles, now).ok()
    };
    let found = search(core.repository.as_ref(), &digest, None, &core.rejected, accept).await?;
    let (proof, more): (Option<VerifiedReceipt>, bool) = match found {
        Search::Found(verified) => (Some(verified), false),
        Search::Nothing { more, .. } => (None, more),
    };
    let entry = ReceiptEntry {
        manifest_digest: Some(digest),
        message: *sent,
        direction: ReceiptDirection::Received,
        peer: file.recipient().clone(),
        file_name: file.name(),
        status: receipt.status,
        verified: receipt.verified,
        signed: proof.is_some(),
        reason: receipt.reason.clone(),
        created_at: receipt.created_at.unwrap_or(now),
        json: String::new(),
    };
    let signer = proof.as_ref().map(|proof| proof.signer().key_fingerprint.clone());
    let entry = with_json(entry, file.recipient().as_str(), signer.as_deref());
    core.store.put_receipt(entry.clone()).await?;
    crash::point!("receipt.collect.stored");
    if proof.is_none() {
        list(core, &entry);
        // Its author may become trusted later; until then it is shown as a claim (P22).
        let verdict = if more { SeenVerdict::Pending } else { SeenVerdict::Quarantined };
        core.store.record_seen(tag, &digest, verdict).await?;
        return Ok(false);
    }
    // The newest one counts, in whatever order they are found (P23).
    let counts = core.store.receipt_that_counts(sent).await?;
    let status = counts.map_or(entry.status, |newest| newest.status);
    let row = file.note_receipt(status);
    // Whoever sees the receipt finds the file's attribute set.
    list(core, &entry);
    row.save(&core.store).await?;
    crash::point!("receipt.collect.marked");
    core.store.record_seen(tag, &digest, SeenVerdict::Admitted).await?;
    crash::point!("receipt.collect.seen");
    core.listing.touch();
    Ok(true)
}

/// Lists the receipts that the database knows.
pub(super) async fn load(core: &Core) -> Result<(), MailboxError> {
    for entry in core.store.receipts().await? {
        list(core, &entry);
    }
    Ok(())
}

fn list(core: &Core, entry: &ReceiptEntry) {
    let item = Arc::new(ReceiptItem {
        message: entry.message,
        status: entry.status,
        signed: entry.signed,
        created_at: entry.created_at,
        json: entry.json.clone(),
    });
    // A claim never takes the name of a proof.
    let suffix = if entry.signed { "json" } else { "unsigned-claim.json" };
    let base = FileName::sanitize(&format!("{}.{}.{suffix}", entry.file_name, entry.status));
    core.listing.update(|snapshot| {
        let tree = match entry.direction {
            ReceiptDirection::Issued => &mut snapshot.receipts_issued,
            ReceiptDirection::Received => &mut snapshot.receipts_sent,
        };
        let dir = entry.peer.dir_name();
        if entry.signed {
            // The proof replaces what was a claim before its author was trusted.
            super::snapshot::retain(tree, |in_dir, _, listed| {
                in_dir != dir || listed.signed || listed.message != entry.message
            });
        }
        let free = |name: &FileName| {
            let listed = tree.get(&dir).and_then(|names| names.get(name.as_str()));
            listed.is_none_or(|listed| {
                listed.message == entry.message && listed.signed == entry.signed
            })
        };
        let name = (1..=u32::MAX).map(|n| base.numbered(n)).find(free);
        if let Some(name) = name {
            insert(tree, dir, name.as_str().to_owned(), item);
        }
    });
}

/// Shows on the message which receipt was given.
fn mark_inbox(core: &Core, digest: &Digest, status: ReceiptStatus) {
    core.listing.update(|snapshot| {
        let Some(item) = snapshot.message(digest).cloned() else { return };
        let item = super::InboxItem { receipt: Some(status), ..item.as_ref().clone() };
        let (dir, name) = (item.sender.dir_name(), item.name.clone());
        insert(&mut snapshot.inbox, dir, name, Arc::new(item));
    });
}

/// Writes the receipt's file: what is said, who says it, and what proves it.
fn with_json(mut entry: ReceiptEntry, author: &str, signer: Option<&str>) -> ReceiptEntry {
    let value = json!({
        "file": entry.file_name,
        "status": entry.status.as_str(),
        "verified": entry.verified,
        "reason": entry.reason,
        "message": entry.message.to_string(),
        "author": author,
        "peer": entry.peer.as_str(),
        "created_at": entry.created_at.to_string(),
        "receipt": entry.manifest_digest.map(|digest| digest.to_string()),
        "proof": if entry.signed { "signed" } else { "unsigned claim" },
        "signed_by": signer,
    });
    entry.json = format!("{value:#}\n");
    entry
}
