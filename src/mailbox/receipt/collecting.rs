//! Collects receipts for what I sent: finds them, judges them, keeps those that prove something.
//!
//! Start at [`Collecting::collect`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::listing::{list, with_json};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::discover::{Rejected, Search, search};
use crate::mailbox::staged::{OutboxFile, SendState};
use crate::mailbox::trust_mark::TrustMark;
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Digest, Receipt, ReceiptStatus, Tag, Timestamp};
use crate::registry::ManifestRef;
use crate::store::{ReceiptDirection, ReceiptEntry, SeenVerdict};
use crate::sys::crash;
use crate::trust::{TrustStore, VerifiedReceipt, verify_receipt};

/// Most sent messages whose receipts are listed one by one; above that, one listing of all receipts
/// is cheaper.
const ASK_EACH_MAX: usize = 16;

/// One poll in this many also covers messages that have a receipt: a later one counts (P23).
const ASK_ALL_EVERY: u64 = 60;

/// Collects receipts, and remembers between polls what needs no second check.
pub(in crate::mailbox) struct Collecting {
    core: Arc<Core>,
    poll_count: AtomicU64,
    /// The trust store under which refused receipts were last judged.
    judged_under: TrustMark,
    rejected: Rejected,
}

/// The sent message whose receipts are judged, and the trust store.
struct Inquiry<'a> {
    trust: &'a TrustStore,
    file: &'a Arc<OutboxFile>,
    digest: Digest,
    /// Whether receipts that were refused before are judged again.
    again: bool,
}

impl Collecting {
    pub(in crate::mailbox) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            poll_count: AtomicU64::new(0),
            judged_under: TrustMark::default(),
            rejected: Rejected::default(),
        }
    }

    /// Looks for receipts of what I sent; returns how many are new.
    ///
    /// # Errors
    /// When the repository cannot be listed.
    pub(in crate::mailbox) async fn collect(&self) -> Result<usize, MailboxError> {
        let core = &self.core;
        let snapshot = core.listing.snapshot();
        let all = self.poll_count.fetch_add(1, Ordering::Relaxed).is_multiple_of(ASK_ALL_EVERY);
        let waiting: Vec<(Arc<OutboxFile>, Digest)> = snapshot
            .outbox_files()
            .filter(|file| file.state() == SendState::Sent && (all || file.receipt().is_none()))
            .filter_map(|file| Some((Arc::clone(file), file.digest()?)))
            .collect();
        if waiting.is_empty() {
            return Ok(0);
        }
        let trust = core.trust.current()?;
        let again = self.judged_under.advance(&trust);
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
            let inquiry = Inquiry { trust: &trust, file: &file, digest, again };
            count += self.examine_all(&inquiry, tags).await?;
        }
        Ok(count)
    }

    /// Looks for receipts of one sent message; returns how many are new.
    ///
    /// # Errors
    /// When the repository cannot be listed.
    pub(in crate::mailbox) async fn collect_one(
        &self,
        file: &Arc<OutboxFile>,
    ) -> Result<usize, MailboxError> {
        let digest = file.digest().ok_or(MailboxError::NotFound("message"))?;
        let trust = self.core.trust.current()?;
        let tags = self.core.repository.list_tags(&Tag::receipt_prefix(&digest)).await?.tags;
        let inquiry = Inquiry { trust: &trust, file, digest, again: true };
        self.examine_all(&inquiry, tags).await
    }

    /// Judges the receipt tags of one message that have no final verdict yet.
    async fn examine_all(
        &self,
        inquiry: &Inquiry<'_>,
        tags: Vec<Tag>,
    ) -> Result<usize, MailboxError> {
        if tags.is_empty() {
            return Ok(0);
        }
        self.rejected.keep_under(inquiry.trust);
        let prefix = Tag::receipt_prefix(&inquiry.digest);
        let (seen, now) = (self.core.store.seen_tags(&prefix).await?, self.core.latest());
        let mut count = 0;
        for tag in tags {
            let checked = seen.get(&tag).is_some_and(|seen| match seen.verdict {
                SeenVerdict::Admitted | SeenVerdict::Ignored => true,
                SeenVerdict::Quarantined => !inquiry.again,
                SeenVerdict::Pending => false,
            });
            if !checked && self.examine(inquiry, &tag, now).await? {
                count += 1;
            }
        }
        Ok(count)
    }

    /// Judges one receipt tag; true when it is new proof.
    async fn examine(
        &self,
        inquiry: &Inquiry<'_>,
        tag: &Tag,
        now: Timestamp,
    ) -> Result<bool, MailboxError> {
        let (core, file, sent) = (&self.core, inquiry.file, &inquiry.digest);
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
        let accept = |bundle: &Bytes| {
            let bundles = std::slice::from_ref(bundle);
            let bytes = fetched.bytes.clone();
            verify_receipt(inquiry.trust, bytes, sent, &envelope, bundles, now).ok()
        };
        let repository = core.repository.as_ref();
        let found = search(repository, &digest, None, &self.rejected, accept).await?;
        let (proof, more): (Option<VerifiedReceipt>, bool) = match found {
            Search::Found(verified) => (Some(verified), false),
            Search::Nothing { more, .. } => (None, more),
        };
        let entry = received_entry(file, digest, receipt, proof.as_ref(), now);
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
        note_receipt(core, file, status, &entry).await?;
        core.store.record_seen(tag, &digest, SeenVerdict::Admitted).await?;
        crash::point!("receipt.collect.seen");
        core.listing.touch();
        Ok(true)
    }
}

/// Returns the row and the file of a receipt for `file`, proven or claimed.
fn received_entry(
    file: &OutboxFile,
    digest: Digest,
    receipt: Receipt,
    proof: Option<&VerifiedReceipt>,
    now: Timestamp,
) -> ReceiptEntry {
    let entry = ReceiptEntry {
        manifest_digest: Some(digest),
        message: receipt.message,
        direction: ReceiptDirection::Received,
        peer: file.recipient().clone(),
        file_name: file.file_name().as_str().to_owned(),
        status: receipt.status,
        verified: receipt.verified,
        signed: proof.is_some(),
        reason: receipt.reason,
        created_at: receipt.created_at.unwrap_or(now),
        json: String::new(),
    };
    let signer = proof.map(|proof| proof.signer().key_fingerprint.clone());
    with_json(entry, file.recipient().as_str(), signer.as_deref())
}

/// Notes on a sent file which receipt counts, in memory and in its row, and lists the new one.
async fn note_receipt(
    core: &Core,
    file: &OutboxFile,
    status: ReceiptStatus,
    entry: &ReceiptEntry,
) -> Result<(), MailboxError> {
    let row = file.note_receipt(status);
    // A program that sees the receipt finds the file's attribute set.
    list(core, entry);
    row.save(&core.store).await?;
    crash::point!("receipt.collect.marked");
    Ok(())
}
