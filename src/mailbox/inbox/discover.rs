//! Finds the bundles of a manifest: tags, referrers API, fallback tag (P16).

use std::collections::HashSet;

use bytes::Bytes;

use crate::mailbox::MailboxError;
use crate::protocol::limits::{BUNDLE_CANDIDATE_COUNT_MAX, MANIFEST_LEN_MAX};
use crate::protocol::{Digest, Tag, parse_bundle_manifest};
use crate::registry::{ManifestRef, RegistryError, Repository};

/// What the search for a good bundle ended with.
pub(crate) enum Search<T> {
    /// The first bundle that `accept` took.
    Found(T),
    /// None was taken; these were offered.
    Nothing(Vec<Bytes>),
}

/// Offers every bundle that may sign `subject` to `accept`, until it takes one.
///
/// `listed` holds all bundle tags of the repository when the caller has just listed them. Our own
/// tags come first, since they are the authority; referrers follow. Junk candidates are
/// skipped: a bundle attached by somebody else blocks nothing. At most
/// [`BUNDLE_CANDIDATE_COUNT_MAX`] candidates are looked at.
///
/// # Errors
/// Only failures after which a later attempt may find more.
pub(crate) async fn search<T>(
    repository: &dyn Repository,
    subject: &Digest,
    listed: Option<&[Tag]>,
    mut accept: impl FnMut(&Bytes) -> Option<T> + Send,
) -> Result<Search<T>, MailboxError> {
    let mut seen = HashSet::new();
    let mut offered = Vec::new();
    let prefix = Tag::bundle_prefix(subject);
    let tags = match listed {
        Some(listed) => {
            listed.iter().filter(|tag| tag.as_str().starts_with(&prefix)).cloned().collect()
        }
        None => repository.list_tags(&prefix).await?.tags,
    };
    // The newest last: tags carry their time. A re-attached bundle is then found first.
    let by_tag = tags.into_iter().rev().map(ManifestRef::Tag);
    for candidate in by_tag.take(BUNDLE_CANDIDATE_COUNT_MAX) {
        if let Some(found) =
            offer(repository, subject, &candidate, &mut seen, &mut offered, &mut accept).await?
        {
            return Ok(Search::Found(found));
        }
    }
    let referrers = transient_only(repository.list_referrers(subject).await)?.unwrap_or_default();
    for entry in referrers {
        if seen.len() >= BUNDLE_CANDIDATE_COUNT_MAX {
            break;
        }
        let candidate = ManifestRef::Digest(entry.digest);
        if let Some(found) =
            offer(repository, subject, &candidate, &mut seen, &mut offered, &mut accept).await?
        {
            return Ok(Search::Found(found));
        }
    }
    Ok(Search::Nothing(offered))
}

async fn offer<T>(
    repository: &dyn Repository,
    subject: &Digest,
    candidate: &ManifestRef,
    seen: &mut HashSet<Digest>,
    offered: &mut Vec<Bytes>,
    accept: &mut (impl FnMut(&Bytes) -> Option<T> + Send),
) -> Result<Option<T>, MailboxError> {
    if let ManifestRef::Digest(digest) = candidate
        && seen.contains(digest)
    {
        return Ok(None);
    }
    let fetched = repository.fetch_manifest(candidate, MANIFEST_LEN_MAX).await;
    let Some(fetched) = transient_only(fetched)? else { return Ok(None) };
    if !seen.insert(fetched.digest) {
        return Ok(None);
    }
    let Ok(layer) = parse_bundle_manifest(&fetched.bytes, subject) else { return Ok(None) };
    let blob = repository.fetch_blob(&layer.digest, layer.size).await;
    let Some(bundle) = transient_only(blob)? else { return Ok(None) };
    let taken = accept(&bundle);
    offered.push(bundle);
    Ok(taken)
}

/// Passes transient errors on, and makes `None` of all others: one bad candidate blocks nothing.
fn transient_only<T>(result: Result<T, RegistryError>) -> Result<Option<T>, MailboxError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.class().is_transient() => Err(error.into()),
        Err(_) => Ok(None),
    }
}
