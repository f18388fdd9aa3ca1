//! Finds the bundles of a manifest: tags, referrers API, fallback tag (P16).
//!
//! It never judges a signature: the caller's closure accepts or rejects each bundle. Start at
//! [`search`].
//!
//! **Invariant:** a bundle attached by a stranger never hides a good one; a flood only delays it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use parking_lot::Mutex;

use super::MailboxError;
use super::trust_mark::TrustMark;
use crate::protocol::limits::{BUNDLE_CANDIDATE_COUNT_MAX, MANIFEST_LEN_MAX};
use crate::protocol::{Digest, Tag, parse_bundle_manifest};
use crate::registry::{ManifestRef, RegistryError, Repository};
use crate::trust::TrustStore;

/// Most rejected candidates that are remembered, about 10 MiB. Forgetting costs time only.
const REJECTED_COUNT_MAX: usize = 50_000;

/// The result of the search for a good bundle.
pub(super) enum Search<T> {
    /// The first bundle that `accept` took.
    Found(T),
    /// No bundle was accepted.
    Nothing {
        /// The bundles that were offered.
        offered: Vec<Bytes>,
        /// Whether there are candidates that this search did not reach.
        more: bool,
    },
}

/// Candidates that earlier searches rejected, so that the next search continues after them.
///
/// Kept only while a search is incomplete: a tag may point to a better bundle later.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    by_subject: Mutex<HashMap<Digest, HashSet<String>>>,
    /// The trust store that they were rejected under.
    trust: TrustMark,
}

impl Rejected {
    /// Forgets everything if it was rejected under a trust store other than `trust`.
    pub(super) fn keep_under(&self, trust: &TrustStore) {
        if self.trust.advance(trust) {
            self.by_subject.lock().clear();
        }
    }

    fn of(&self, subject: &Digest) -> HashSet<String> {
        self.by_subject.lock().get(subject).cloned().unwrap_or_default()
    }

    fn set(&self, subject: &Digest, rejected: HashSet<String>) {
        let mut by_subject = self.by_subject.lock();
        let count: usize = by_subject.values().map(HashSet::len).sum();
        if count + rejected.len() > REJECTED_COUNT_MAX {
            by_subject.clear();
        }
        by_subject.insert(*subject, rejected);
    }

    fn forget(&self, subject: &Digest) {
        self.by_subject.lock().remove(subject);
    }
}

/// Offers every bundle that may sign `subject` to `accept`, until it takes one.
///
/// `listed` holds all bundle tags of the repository, sorted, if the caller has listed them. Our own
/// tags come first, since they are the authority; referrers follow. Junk candidates are skipped: a
/// bundle that a stranger attached blocks nothing. At most [`BUNDLE_CANDIDATE_COUNT_MAX`]
/// candidates are checked; if there are more, the next search with the same `rejected` checks
/// others, so that a flood only delays the good one.
///
/// # Errors
/// Only failures after which a later attempt may find more.
pub(super) async fn search<T>(
    repository: &dyn Repository,
    subject: &Digest,
    listed: Option<&[Tag]>,
    rejected: &Rejected,
    accept: impl FnMut(&Bytes) -> Option<T> + Send,
) -> Result<Search<T>, MailboxError> {
    let mut round = Round::new(repository, subject, rejected.of(subject), accept);
    let prefix = Tag::bundle_prefix(subject);
    let tags = match listed {
        Some(listed) => with_prefix(listed, &prefix).to_vec(),
        None => repository.list_tags(&prefix).await?.tags,
    };
    // The newest first: tags carry their time. A re-attached bundle is then found at once.
    let tags = tags.into_iter().rev().map(ManifestRef::Tag).collect();
    // A flood of tags leaves room for the bundles that referrers name.
    if let Some(found) = round.offer_all(tags, BUNDLE_CANDIDATE_COUNT_MAX / 2).await? {
        rejected.forget(subject);
        return Ok(Search::Found(found));
    }
    // Without such an API some proxies answer with their front page.
    let referrers = match repository.list_referrers(subject).await {
        Err(RegistryError::WebPage) => Vec::new(),
        listed => round.or_none(listed)?.unwrap_or_default(),
    };
    let referrers = referrers.into_iter().map(|entry| ManifestRef::Digest(entry.digest)).collect();
    if let Some(found) = round.offer_all(referrers, 0).await? {
        rejected.forget(subject);
        return Ok(Search::Found(found));
    }
    if let Some(error) = round.failure {
        return Err(error);
    }
    if round.more {
        rejected.set(subject, round.rejected);
    } else {
        rejected.forget(subject);
    }
    Ok(Search::Nothing { offered: round.offered, more: round.more })
}

/// Returns those of the sorted `tags` that start with `prefix`; called for each of thousands of
/// messages.
fn with_prefix<'a>(tags: &'a [Tag], prefix: &str) -> &'a [Tag] {
    let start = tags.partition_point(|tag| tag.as_str() < prefix);
    let found = tags.get(start..).unwrap_or_default();
    let len = found.partition_point(|tag| tag.as_str().starts_with(prefix));
    found.get(..len).unwrap_or_default()
}

/// One search in progress.
struct Round<'a, A> {
    repository: &'a dyn Repository,
    subject: &'a Digest,
    accept: A,
    /// Candidates that need no second check: tags and digests.
    rejected: HashSet<String>,
    offered: Vec<Bytes>,
    /// How many candidates may still be checked.
    left: usize,
    more: bool,
    /// The failure that kept a candidate from being judged, but not the others.
    failure: Option<MailboxError>,
}

impl<'a, A> Round<'a, A> {
    fn new(
        repository: &'a dyn Repository,
        subject: &'a Digest,
        rejected: HashSet<String>,
        accept: A,
    ) -> Self {
        let left = BUNDLE_CANDIDATE_COUNT_MAX;
        Self {
            repository,
            subject,
            accept,
            rejected,
            offered: Vec::new(),
            left,
            more: false,
            failure: None,
        }
    }

    /// Offers candidates until one is accepted. If there are more than may be checked, `reserve`
    /// checks are left unused, and the choice is random, so that authors of bundles cannot predict
    /// it.
    async fn offer_all<T>(
        &mut self,
        mut candidates: Vec<ManifestRef>,
        reserve: usize,
    ) -> Result<Option<T>, MailboxError>
    where
        A: FnMut(&Bytes) -> Option<T> + Send,
    {
        candidates.retain(|candidate| !self.rejected.contains(&key(candidate)));
        if candidates.len() > self.left {
            self.more = true;
            let start = random_below(candidates.len());
            candidates.rotate_left(start);
            candidates.truncate(self.left.saturating_sub(reserve));
        }
        for candidate in candidates {
            // The same manifest may have been checked through its tag.
            if self.rejected.contains(&key(&candidate)) {
                continue;
            }
            self.left = self.left.saturating_sub(1);
            if let Some(found) = self.offer(&candidate).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn offer<T>(&mut self, candidate: &ManifestRef) -> Result<Option<T>, MailboxError>
    where
        A: FnMut(&Bytes) -> Option<T> + Send,
    {
        self.rejected.insert(key(candidate));
        let fetched = self.repository.fetch_manifest(candidate, MANIFEST_LEN_MAX).await;
        let Some(fetched) = self.or_none(fetched)? else { return Ok(None) };
        let is_new = self.rejected.insert(fetched.digest.to_string());
        if !is_new && matches!(candidate, ManifestRef::Tag(_)) {
            return Ok(None);
        }
        let Ok(layer) = parse_bundle_manifest(&fetched.bytes, self.subject) else {
            return Ok(None);
        };
        let blob = self.repository.fetch_blob(&layer.digest, layer.size).await;
        let Some(bundle) = self.or_none(blob)? else { return Ok(None) };
        let taken = (self.accept)(&bundle);
        self.offered.push(bundle);
        Ok(taken)
    }

    /// Passes transient errors on, and turns all others into `None`: one bad candidate blocks
    /// nothing.
    ///
    /// A web page says nothing about the candidate, so the search must not count as complete.
    fn or_none<T>(&mut self, result: Result<T, RegistryError>) -> Result<Option<T>, MailboxError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.class().is_transient() => Err(error.into()),
            Err(error @ RegistryError::WebPage) => {
                self.failure.get_or_insert(error.into());
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}

fn key(candidate: &ManifestRef) -> String {
    match candidate {
        ManifestRef::Tag(tag) => tag.to_string(),
        ManifestRef::Digest(digest) => digest.to_string(),
    }
}

/// Returns a random number below `count`, zero when that is zero.
pub(super) fn random_below(count: usize) -> usize {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    usize::try_from(low & 0xffff_ffff).unwrap_or_default().checked_rem(count).unwrap_or_default()
}
