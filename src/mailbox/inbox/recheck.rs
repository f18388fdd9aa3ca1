//! Looks again at tags that were settled: one that points elsewhere now is an alarm (P25).
//!
//! Asking about every known tag would cost a request for each at every poll. A few are asked
//! about, in turn, so that each has its turn in the end; what was delivered stays in any case.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::settle::Judged;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::discover::random_below;
use crate::protocol::{Digest, Tag};
use crate::store::{SeenTag, SeenVerdict};

/// Tags of delivered messages, and as many of all other settled tags, asked about in one poll.
///
/// All at once, so it is one round trip. A thousand messages have their turn in an hour of polls.
const TAGS_A_POLL: usize = 4;

/// Whose turn it is. The first turn is random: a program that polls once looks at others each time.
#[derive(Debug)]
pub(crate) struct Turns {
    delivered: AtomicUsize,
    others: AtomicUsize,
}

impl Default for Turns {
    fn default() -> Self {
        let random = || AtomicUsize::new(random_below(usize::from(u16::MAX)));
        Self { delivered: random(), others: random() }
    }
}

/// Returns those of the `settled` tags that point elsewhere now.
///
/// The answers are claims: the caller fetches and judges. A registry that does not answer only
/// puts this off.
pub(super) async fn moved(core: &Core, settled: Vec<(Tag, SeenTag)>) -> Vec<Tag> {
    let (delivered, others): (Vec<_>, Vec<_>) =
        settled.into_iter().partition(|(_, seen)| seen.verdict == SeenVerdict::Admitted);
    let turns = &core.turns;
    let asked = [take(&turns.delivered, delivered), take(&turns.others, others)].concat();
    let answers = asked.iter().map(|(tag, _)| core.repository.resolve_tag(tag));
    let answers = join_all(answers).await;
    asked
        .into_iter()
        .zip(answers)
        .filter(|((_, seen), answer)| match answer {
            Ok(Some(digest)) => *digest != seen.digest,
            Ok(None) | Err(_) => false,
        })
        .map(|((tag, _), _)| tag)
        .collect()
}

fn take(turn: &AtomicUsize, mut tags: Vec<(Tag, SeenTag)>) -> Vec<(Tag, SeenTag)> {
    let first = turn.fetch_add(TAGS_A_POLL, Ordering::Relaxed);
    tags.sort_by(|(a, _), (b, _)| a.cmp(b));
    let start = first.checked_rem(tags.len()).unwrap_or_default();
    tags.rotate_left(start);
    tags.truncate(TAGS_A_POLL);
    tags
}

/// Raises the alarm for tags that were settled and now name other manifests.
pub(super) fn alarm_moved(core: &Arc<Core>, seen: &HashMap<Tag, SeenTag>, judged: &[Judged]) {
    for Judged { tag, digest: now, .. } in judged {
        if let Some(before) = seen.get(tag)
            && before.verdict != SeenVerdict::Pending
        {
            alarm(core, tag, &before.digest, now);
        }
    }
}

/// Raises the alarm once for each tag.
fn alarm(core: &Arc<Core>, tag: &Tag, before: &Digest, now: &Digest) {
    // What could not be read was remembered under the tag's own name: that it can be read now is
    // no change.
    if before == now || *before == Digest::of(tag.as_str().as_bytes()) {
        return;
    }
    let error = MailboxError::TagMoved { before: *before, now: *now };
    let subject = format!("inbox tag {tag}");
    let snapshot = core.listing.snapshot();
    let mut lines = snapshot.errors.iter();
    if !lines.any(|line| line.code == error.code() && line.subject == subject) {
        core.record_error(&subject, &error);
    }
}
