//! Looks again at tags that were settled: one that points elsewhere now is an alarm (P25).
//!
//! Asking about every known tag would cost a request for each at every poll. A few are asked
//! about at a time, and each of them in the end; what was delivered stays in any case.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::settle::Judged;
use super::shared::Shared;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::protocol::{Digest, Tag};
use crate::store::{SeenTag, SeenVerdict};

/// Returns those of the `settled` tags that point elsewhere now.
///
/// The answers are claims: the caller fetches and judges. A registry that does not answer only
/// puts this off.
pub(super) async fn moved(shared: &Shared, settled: Vec<(Tag, SeenTag)>) -> Vec<Tag> {
    let asked = shared.recheck.next(settled);
    let answers = asked.iter().map(|(tag, _)| shared.core.repository.resolve_tag(tag));
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
    core.record_once(&format!("inbox tag {tag}"), &error);
}
