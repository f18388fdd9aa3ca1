//! Records verdicts: makes them durable and then visible, a batch at a time.
//!
//! A batch takes at most three transactions, however many messages it has: each one waits for the
//! disk. A crash between them leaves tags unchecked, and the next poll judges them again.
//!
//! **Invariant:** nothing is listed before it is durable, and no tag counts as checked before its
//! outcome is durable.

use super::admit::{Note, Verdict};
use super::listing;
use super::report::PollReport;
use super::shared::Shared;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::protocol::{Digest, ReceiptStatus, Tag, Timestamp};
use crate::store::{Admission, InboxEntry, NewInbox, QuarantineEntry, SeenTag, SeenVerdict};
use crate::sys::crash;
use crate::trust::{TrustStore, VerifiedMessage};

/// A candidate and its verdict.
pub(super) struct Judged {
    pub(super) tag: Tag,
    pub(super) digest: Digest,
    pub(super) verdict: Verdict,
}

/// A candidate that is not in the inbox.
struct Refused {
    tag: Tag,
    digest: Digest,
    note: Note,
    /// How the tag is recorded: to be checked again, or not.
    seen: SeenVerdict,
    /// Whether it only waits.
    is_pending: bool,
}

/// Admits, quarantines or ignores the judged candidates.
///
/// # Errors
/// The database's; a failed transaction keeps nothing.
pub(super) async fn record(
    shared: &Shared,
    trust: &TrustStore,
    batch: Vec<Judged>,
    report: &mut PollReport,
) -> Result<(), MailboxError> {
    let core = &shared.core;
    let (mut verified, mut others) = (Vec::new(), Vec::new());
    for Judged { tag, digest, verdict } in batch {
        match verdict {
            Verdict::Verified(message) => verified.push((tag, *message)),
            other => others.push((tag, digest, other)),
        }
    }
    // First, so that another tag that leads to one of them takes nothing away.
    let (entries, mut refused) = admit(core, verified, report).await?;
    let noted = quarantine(core, others, &mut refused).await;
    // A reader that sees a message also sees why others of its batch are missing. What is admitted
    // is not judged again, so it is listed even if recording the others failed.
    list(shared, trust, entries)?;
    let mut checked = noted?;
    reject(shared, &refused, report).await;
    checked.extend(
        refused.into_iter().map(|refused| {
            (refused.tag, SeenTag { digest: refused.digest, verdict: refused.seen })
        }),
    );
    core.store.record_all_seen(checked).await?;
    crash::point!("inbox.verdicts.seen");
    Ok(())
}

/// Admits verified messages; returns them, and those whose id another message already has.
async fn admit(
    core: &Core,
    mut verified: Vec<(Tag, VerifiedMessage)>,
    report: &mut PollReport,
) -> Result<(Vec<InboxEntry>, Vec<Refused>), MailboxError> {
    // Names are numbered in this order; within a second the order is the tag's, which is random.
    verified.sort_by_key(|(_, message)| message.envelope().created_at);
    let arrivals = verified.iter().map(|(tag, message)| new_inbox(core, message, tag)).collect();
    let admissions = core.store.admit(arrivals).await?;
    crash::point!("inbox.verdicts.admitted");
    let (mut entries, mut duplicates) = (Vec::new(), Vec::new());
    for ((tag, message), admission) in verified.into_iter().zip(admissions) {
        match admission {
            Admission::New(entry) => {
                report.admitted += 1;
                entries.push(entry);
            }
            // Another process may have admitted it; this one lists it now.
            Admission::AlreadyKnown(entry) => entries.push(entry),
            Admission::DuplicateId { first } => duplicates.push(Refused {
                tag,
                digest: *message.digest(),
                note: duplicate(&message, &first),
                // Final: no change of trust makes it unique.
                seen: SeenVerdict::Ignored,
                is_pending: false,
            }),
        }
    }
    Ok((entries, duplicates))
}

fn list(shared: &Shared, trust: &TrustStore, entries: Vec<InboxEntry>) -> Result<(), MailboxError> {
    listing::remove_notes(&shared.core, &entries.iter().map(|entry| entry.digest).collect());
    listing::add(shared, trust, entries)
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

/// Notes and lists why candidates are not in the inbox, together with those already in `refused`;
/// returns how the tags of all others are recorded.
async fn quarantine(
    core: &Core,
    others: Vec<(Tag, Digest, Verdict)>,
    refused: &mut Vec<Refused>,
) -> Result<Vec<(Tag, SeenTag)>, MailboxError> {
    let mut checked = Vec::new();
    for (tag, digest, verdict) in others {
        let (note, seen, is_pending) = match verdict {
            Verdict::Pending(note) => (note, SeenVerdict::Pending, true),
            Verdict::Refused(note) if core.store.inbox_by_digest(&digest).await?.is_none() => {
                let again = note.look_again;
                (note, if again { SeenVerdict::Pending } else { SeenVerdict::Quarantined }, false)
            }
            Verdict::Refused(_) | Verdict::Verified(_) | Verdict::Foreign => {
                checked.push((tag, SeenTag { digest, verdict: SeenVerdict::Ignored }));
                continue;
            }
        };
        refused.push(Refused { tag, digest, note, seen, is_pending });
    }
    let now = core.now();
    let entries: Vec<_> = refused.iter().map(|refused| entry_of(refused, now)).collect();
    core.store.upsert_quarantine(entries.clone()).await?;
    crash::point!("inbox.verdicts.quarantined");
    for entry in &entries {
        listing::add_note(core, entry);
    }
    Ok(checked)
}

/// Counts the refused candidates, and sends a receipt where the sender's fault is proven.
async fn reject(shared: &Shared, refused: &[Refused], report: &mut PollReport) {
    for Refused { digest, note, is_pending, .. } in refused {
        if *is_pending {
            report.pending += 1;
            continue;
        }
        report.quarantined += 1;
        if note.proven_malformed && shared.core.options.automatic_receipts {
            let status = ReceiptStatus::Rejected;
            shared.giving.issue(*digest, status, false, Some(&note.code)).await;
        }
    }
}

fn entry_of(refused: &Refused, now: Timestamp) -> QuarantineEntry {
    let Refused { tag, digest, note, is_pending, .. } = refused;
    QuarantineEntry {
        digest: *digest,
        tag: tag.clone(),
        claimed_sender: note.claimed_sender.clone(),
        file_name: note.file_name.clone(),
        code: note.code.clone(),
        why: note.why.clone(),
        pending: *is_pending,
        first_seen: now,
        updated_at: now,
    }
}
