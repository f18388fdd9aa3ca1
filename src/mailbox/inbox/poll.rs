//! New tags become candidates, candidates become messages; bounded, and never by time (P24).

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::admit::{self, Note, Verdict};
use super::{PollReport, listing, recheck};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::receipt;
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Digest, ErrorClass, ReceiptStatus, Tag, TagKind, Timestamp};
use crate::registry::{ManifestRef, RegistryError};
use crate::store::{Admission, NewInbox, QuarantineEntry, SeenTag, SeenVerdict};
use crate::sys::crash;
use crate::trust::{TrustStore, VerifiedMessage};

/// Candidates fetched and verified at once.
const CANDIDATES_AT_ONCE: usize = 8;

/// Candidates that are judged before the first of them is listed: `ls` fills while a first poll of
/// thousands goes on.
const BATCH: usize = 64;

/// Candidates whose bundles are listed one by one. One listing of all bundles costs less than more
/// of them, above all where a registry answers every listing whole.
const LIST_EACH_MAX: usize = 4;

/// A candidate, and what became of it.
struct Judged {
    tag: Tag,
    digest: Digest,
    verdict: Verdict,
}

/// Looks once at every tag of mine that has not been settled.
///
/// # Errors
/// When the repository cannot be listed or the database fails. A candidate that cannot be fetched
/// now is looked at again next time and hides no other.
pub(super) async fn poll(core: &Arc<Core>) -> Result<PollReport, MailboxError> {
    let trust = core.trust.current()?;
    let again = core.trust_changed(&trust);
    if again {
        core.rejected.clear();
        listing::reload(core, &trust).await?;
    }
    let mut report = PollReport::default();
    let mut failure = None;
    for me in &core.options.me {
        let prefix = Tag::message_prefix(&me.recipient_tag());
        let list = core.repository.list_tags(&prefix).await?;
        report.truncated |= list.truncated;
        let seen = core.store.seen_tags(&prefix).await?;
        let (mut candidates, settled): (Vec<Tag>, Vec<Tag>) = list
            .tags
            .into_iter()
            .filter(|tag| matches!(TagKind::parse(tag), Ok(TagKind::Message(_))))
            .partition(|tag| wants_look(tag, &seen, again));
        let settled = settled.into_iter().filter_map(|tag| seen.get_key_value(&tag));
        let settled = settled.map(|(tag, seen)| (tag.clone(), *seen)).collect();
        candidates.extend(recheck::moved(core, settled).await);
        // The date stands first in the rest of the tag: older messages get the plain names.
        candidates.sort();
        // Their bundles are older than their tags (P18), so that one listing has them all.
        let bundles = if candidates.len() > LIST_EACH_MAX {
            Some(core.repository.list_tags("bundle-").await?.tags)
        } else {
            None
        };
        while !candidates.is_empty() {
            let rest = candidates.split_off(candidates.len().min(BATCH));
            let batch = std::mem::replace(&mut candidates, rest);
            let bundles = bundles.as_deref();
            let judged = judge_batch(core, &trust, batch, bundles, &seen, &mut report);
            if let Some(error) = judged.await? {
                failure.get_or_insert(error);
            }
        }
    }
    listing::drop_expired(core);
    match failure {
        Some(error) if report.admitted == 0 => Err(error),
        Some(error) => {
            core.record_error("inbox", &error);
            Ok(report)
        }
        None => Ok(report),
    }
}

fn wants_look(tag: &Tag, seen: &HashMap<Tag, SeenTag>, again: bool) -> bool {
    match seen.get(tag).map(|seen| seen.verdict) {
        None | Some(SeenVerdict::Pending) => true,
        Some(SeenVerdict::Quarantined) => again,
        Some(SeenVerdict::Admitted | SeenVerdict::Ignored) => false,
    }
}

async fn judge_batch(
    core: &Arc<Core>,
    trust: &Arc<TrustStore>,
    tags: Vec<Tag>,
    bundles: Option<&[Tag]>,
    seen: &HashMap<Tag, SeenTag>,
    report: &mut PollReport,
) -> Result<Option<MailboxError>, MailboxError> {
    let results: Vec<_> = stream::iter(tags)
        .map(|tag| judge_tag(core, trust, tag, bundles))
        .buffered(CANDIDATES_AT_ONCE)
        .collect()
        .await;
    let mut failure = None;
    let mut batch = Vec::new();
    for result in results {
        match result {
            Ok(judged) => batch.extend(judged),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    // Names are numbered in this order; within a second it is the tag's, which is random.
    batch.sort_by_key(|judged| match &judged.verdict {
        Verdict::Verified(verified) => Some(verified.envelope().created_at),
        _ => None,
    });
    for judged in batch {
        if let Some(seen) = seen.get(&judged.tag)
            && seen.verdict != SeenVerdict::Pending
        {
            recheck::alarm(core, &judged.tag, &seen.digest, &judged.digest);
        }
        settle(core, trust, judged, report).await?;
    }
    Ok(failure)
}

async fn judge_tag(
    core: &Arc<Core>,
    trust: &TrustStore,
    tag: Tag,
    bundles: Option<&[Tag]>,
) -> Result<Option<Judged>, MailboxError> {
    let reference = ManifestRef::Tag(tag.clone());
    match core.repository.fetch_manifest(&reference, MANIFEST_LEN_MAX).await {
        Ok(fetched) => {
            let verdict = admit::judge(core, trust, fetched.bytes, bundles).await?;
            Ok(Some(Judged { tag, digest: fetched.digest, verdict }))
        }
        Err(error) => {
            let error = MailboxError::from(error);
            match error.class() {
                // Deleted between the listing and now.
                ErrorClass::NotFound => Ok(None),
                // Whoever sent the page, it was not the registry: nothing is known of the tag.
                ErrorClass::Malformed
                    if matches!(error.registry(), Some(RegistryError::WebPage)) =>
                {
                    Err(error)
                }
                ErrorClass::Malformed => {
                    // Its bytes are unknown, so the tag's own name has to stand for it.
                    let digest = Digest::of(tag.as_str().as_bytes());
                    Ok(Some(Judged { tag, digest, verdict: admit::unreadable(&error) }))
                }
                _ => Err(error),
            }
        }
    }
}

async fn settle(
    core: &Arc<Core>,
    trust: &TrustStore,
    judged: Judged,
    report: &mut PollReport,
) -> Result<(), MailboxError> {
    let Judged { tag, digest, verdict } = judged;
    let seen = match verdict {
        Verdict::Verified(verified) => {
            let admission = core.store.admit(new_inbox(core, &verified, &tag)).await?;
            crash::point!("inbox.settle.admitted");
            match admission {
                Admission::New(entry) => {
                    report.admitted += 1;
                    core.store.remove_quarantine(&digest).await?;
                    listing::remove_note(core, &digest);
                    listing::add(core, trust, entry)?;
                    SeenVerdict::Admitted
                }
                Admission::AlreadyKnown(entry) => {
                    // Another process may have admitted it; ours lists it now.
                    listing::add(core, trust, entry)?;
                    SeenVerdict::Admitted
                }
                Admission::DuplicateId { first } => {
                    let note = duplicate(&verified, &first);
                    quarantine(core, &tag, digest, &note, false).await?;
                    report.quarantined += 1;
                    // Final: no change of trust makes it unique.
                    SeenVerdict::Ignored
                }
            }
        }
        Verdict::Pending(note) => {
            quarantine(core, &tag, digest, &note, true).await?;
            report.pending += 1;
            SeenVerdict::Pending
        }
        Verdict::Refused(note) => {
            quarantine(core, &tag, digest, &note, false).await?;
            report.quarantined += 1;
            if note.proven_malformed && core.options.automatic_receipts {
                let status = ReceiptStatus::Rejected;
                receipt::issue(core, digest, status, false, Some(&note.code)).await;
            }
            if note.look_again { SeenVerdict::Pending } else { SeenVerdict::Quarantined }
        }
        Verdict::Foreign => SeenVerdict::Ignored,
    };
    core.store.record_seen(&tag, &digest, seen).await?;
    crash::point!("inbox.settle.seen");
    Ok(())
}

fn new_inbox(core: &Core, verified: &VerifiedMessage, tag: &Tag) -> NewInbox {
    let message = verified.message();
    NewInbox {
        digest: *verified.digest(),
        manifest: verified.manifest().to_vec(),
        message_id: message.id,
        sender: verified.sender().clone(),
        recipient: message.envelope.recipient.clone(),
        file_name: verified.file_name(),
        signer: verified.signer().key_fingerprint.clone(),
        tag: tag.clone(),
        arrived_at: core.now(),
        created_at: message.envelope.created_at,
        expires_at: message.envelope.expires_at(),
        chunk_count: message.envelope.chunk_count,
    }
}

fn duplicate(verified: &VerifiedMessage, first: &Digest) -> Note {
    Note {
        claimed_sender: verified.sender().as_str().to_owned(),
        file_name: verified.envelope().filename.clone(),
        code: "duplicate-id".into(),
        why: format!("another message of this sender has the same id: {first}"),
        look_again: false,
        proven_malformed: false,
    }
}

async fn quarantine(
    core: &Arc<Core>,
    tag: &Tag,
    digest: Digest,
    note: &Note,
    pending: bool,
) -> Result<(), MailboxError> {
    let now: Timestamp = core.now();
    let entry = QuarantineEntry {
        digest,
        tag: tag.clone(),
        claimed_sender: note.claimed_sender.clone(),
        file_name: note.file_name.clone(),
        code: note.code.clone(),
        why: note.why.clone(),
        pending,
        first_seen: now,
        updated_at: now,
    };
    core.store.upsert_quarantine(entry.clone()).await?;
    crash::point!("inbox.settle.quarantined");
    listing::add_note(core, &entry);
    Ok(())
}
