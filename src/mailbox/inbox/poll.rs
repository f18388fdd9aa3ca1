//! New tags become candidates, candidates become messages; bounded, and never by time (P24).

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};

use super::report::PollReport;
use super::shared::Shared;
use super::verdicts::{self, Judged};
use super::{admit, listing, recheck};
use crate::mailbox::MailboxError;
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Digest, ErrorClass, Identity, Tag, TagKind};
use crate::registry::{ManifestRef, RegistryError};
use crate::store::{SeenTag, SeenVerdict};
use crate::trust::TrustStore;

/// Candidates fetched and verified at once.
const CANDIDATES_AT_ONCE: usize = 8;

/// Candidates judged before the first of them is listed: `ls` fills while a first poll of thousands
/// is in progress. They become durable together, since each transaction waits for the disk.
const BATCH_COUNT: usize = 64;

/// Most candidates whose bundles are listed one by one. Beyond that one listing of all bundles is
/// cheaper, above all if a registry answers every listing in full.
const LIST_EACH_MAX: usize = 4;

/// Checks every tag of mine that has no final verdict yet.
///
/// # Errors
/// When the repository cannot be listed or the database fails. A candidate that cannot be fetched
/// now is fetched again next time and hides no other.
pub(super) async fn poll(shared: &Shared) -> Result<PollReport, MailboxError> {
    let core = &shared.core;
    let trust = core.trust.current()?;
    let again = shared.polled_under.advance(&trust);
    shared.rejected.keep_under(&trust);
    if shared.listed_under.advance(&trust) {
        listing::reload(shared, &trust).await?;
    }
    let mut report = PollReport::default();
    let mut failure = None;
    for me in &core.options.me {
        let prefix = Tag::message_prefix(&me.recipient_tag());
        let list = core.repository.list_tags(&prefix).await?;
        report.truncated |= list.truncated;
        let seen = core.store.seen_tags(&prefix).await?;
        let (mut candidates, checked): (Vec<Tag>, Vec<Tag>) = list
            .tags
            .into_iter()
            .filter(|tag| matches!(TagKind::parse(tag), Ok(TagKind::Message(_))))
            .partition(|tag| wants_look(tag, &seen, again));
        let checked = checked.into_iter().filter_map(|tag| seen.get_key_value(&tag));
        let checked = checked.map(|(tag, seen)| (tag.clone(), *seen)).collect();
        candidates.extend(recheck::moved(shared, checked).await);
        // The date comes first in the rest of the tag: older messages get the plain names.
        candidates.sort();
        // Their bundles are older than their tags (P18), so that one listing has them all.
        let bundles = if candidates.len() > LIST_EACH_MAX {
            Some(core.repository.list_tags("bundle-").await?.tags)
        } else {
            None
        };
        let bundles = bundles.as_deref();
        let mut candidates = candidates.into_iter();
        while !candidates.as_slice().is_empty() {
            let tags = candidates.by_ref().take(BATCH_COUNT);
            let batch = judge_batch(shared, &trust, me, tags, bundles, &mut failure).await;
            recheck::alarm_moved(core, &seen, &batch);
            verdicts::record(shared, &trust, batch, &mut report).await?;
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

/// Judges tags concurrently, all of them; notes the first failure.
///
/// Fetches in progress must not wait while verdicts are recorded, which may need what they hold.
async fn judge_batch(
    shared: &Shared,
    trust: &TrustStore,
    me: &Identity,
    tags: impl Iterator<Item = Tag>,
    bundles: Option<&[Tag]>,
    failure: &mut Option<MailboxError>,
) -> Vec<Judged> {
    let mut results = stream::iter(tags)
        .map(|tag| judge_tag(shared, trust, me, tag, bundles))
        .buffered(CANDIDATES_AT_ONCE);
    let mut batch = Vec::new();
    while let Some(result) = results.next().await {
        match result {
            Ok(judged) => batch.extend(judged),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    batch
}

async fn judge_tag(
    shared: &Shared,
    trust: &TrustStore,
    me: &Identity,
    tag: Tag,
    bundles: Option<&[Tag]>,
) -> Result<Option<Judged>, MailboxError> {
    let reference = ManifestRef::Tag(tag.clone());
    match shared.core.repository.fetch_manifest(&reference, MANIFEST_LEN_MAX).await {
        Ok(fetched) => {
            let verdict = admit::judge(shared, trust, me, fetched.bytes, bundles).await?;
            Ok(Some(Judged { tag, digest: fetched.digest, verdict }))
        }
        Err(error) => {
            let error = MailboxError::from(error);
            match error.class() {
                // Deleted between the listing and now.
                ErrorClass::NotFound => Ok(None),
                // The registry did not send this page: nothing is known about the tag.
                ErrorClass::Malformed
                    if matches!(error.registry(), Some(RegistryError::WebPage)) =>
                {
                    Err(error)
                }
                ErrorClass::Malformed => {
                    // Its bytes are unknown, so the tag's own name stands for it.
                    let digest = Digest::of(tag.as_str().as_bytes());
                    Ok(Some(Judged { tag, digest, verdict: admit::unreadable(&error) }))
                }
                _ => Err(error),
            }
        }
    }
}
