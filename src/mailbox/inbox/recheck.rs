//! Resolves checked tags again: one that now points elsewhere raises an alarm (P25).
//!
//! Resolving every known tag would cost a request for each at every poll. A few are resolved at a
//! time, and each of them in the end; what was delivered stays in any case.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::shared::Shared;
use super::verdicts::Judged;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::protocol::{Digest, Tag};
use crate::store::{SeenTag, SeenVerdict};

/// Returns those of the `checked` tags that now point elsewhere.
///
/// The answers are claims: the caller fetches and judges. If the registry does not answer, this is
/// only postponed.
pub(super) async fn moved(shared: &Shared, checked: Vec<(Tag, SeenTag)>) -> Vec<Tag> {
    let asked = shared.recheck.next(checked);
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

/// Raises the alarm for checked tags that now name other manifests.
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
    // What could not be read was remembered under the tag's own name: becoming readable is not a
    // change.
    if before == now || *before == Digest::of(tag.as_str().as_bytes()) {
        return;
    }
    let error = MailboxError::TagMoved { before: *before, now: *now };
    core.record_once(&format!("inbox tag {tag}"), &error);
}
