//! Chooses the checked tags to check again next (P25).

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::mailbox::discover::random_below;
use crate::protocol::Tag;
use crate::store::{SeenTag, SeenVerdict};

/// Tags of delivered messages, and as many of all other checked tags, resolved again in one poll.
///
/// All at once, so it is one round trip. A thousand messages are covered within an hour of polls.
const TAGS_A_POLL: usize = 4;

/// Walks the checked tags in a circle, a few at each poll.
///
/// It starts at a random position: a program that polls once checks different ones each time.
#[derive(Debug)]
pub(super) struct RecheckCursor {
    delivered: AtomicUsize,
    others: AtomicUsize,
}

impl Default for RecheckCursor {
    fn default() -> Self {
        let random = || AtomicUsize::new(random_below(usize::from(u16::MAX)));
        Self { delivered: random(), others: random() }
    }
}

impl RecheckCursor {
    /// Returns the next few of the `checked` tags.
    pub(super) fn next(&self, checked: Vec<(Tag, SeenTag)>) -> Vec<(Tag, SeenTag)> {
        let (delivered, others): (Vec<_>, Vec<_>) =
            checked.into_iter().partition(|(_, seen)| seen.verdict == SeenVerdict::Admitted);
        [take(&self.delivered, delivered), take(&self.others, others)].concat()
    }
}

fn take(position: &AtomicUsize, mut tags: Vec<(Tag, SeenTag)>) -> Vec<(Tag, SeenTag)> {
    let first = position.fetch_add(TAGS_A_POLL, Ordering::Relaxed);
    tags.sort_by(|(a, _), (b, _)| a.cmp(b));
    let start = first.checked_rem(tags.len()).unwrap_or_default();
    tags.rotate_left(start);
    tags.truncate(TAGS_A_POLL);
    tags
}
