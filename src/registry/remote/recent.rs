//! What this process has written into referrers indexes a moment ago.
//!
//! An eventually consistent registry may show an index as it was before our write. A second write
//! that starts from it must not drop the first entry.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use serde_json::Value;

use crate::protocol::{Descriptor, Digest};

/// Subjects that are remembered: a message and a receipt have one index each, and are written in a
/// few seconds.
const SUBJECT_COUNT_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Entries of one subject that are remembered: we attach one signature, rarely two.
const ENTRY_COUNT_MAX: usize = 16;

/// The entries that we have written, by subject.
pub(super) struct RecentWrites(Mutex<LruCache<Digest, Written>>);

struct Written {
    /// The indexes that our writes have replaced; `None` = there was no tag.
    replaced: Vec<Option<Digest>>,
    entries: Vec<Descriptor>,
}

impl Default for RecentWrites {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(SUBJECT_COUNT_MAX)))
    }
}

impl RecentWrites {
    /// Remembers that a write in place of the index `replaced` has added `entry`.
    pub(super) fn note(&self, subject: &Digest, replaced: Option<Digest>, entry: &Descriptor) {
        let mut written = self.0.lock();
        let new = || Written { replaced: Vec::new(), entries: Vec::new() };
        let written = written.get_or_insert_mut(*subject, new);
        push_bounded(&mut written.replaced, replaced);
        if written.entries.iter().all(|known| known.digest != entry.digest) {
            push_bounded(&mut written.entries, entry.clone());
        }
    }

    /// Returns the entries that `found` lacks only because the registry shows an index, `shown`,
    /// that we have replaced. What another client has removed since stays away.
    pub(super) fn missing_from(
        &self,
        subject: &Digest,
        shown: Option<Digest>,
        found: &[Value],
    ) -> Vec<Descriptor> {
        let mut written = self.0.lock();
        let Some(written) = written.get(subject) else { return Vec::new() };
        if !written.replaced.contains(&shown) {
            return Vec::new();
        }
        let is_missing = |own: &&Descriptor| {
            let digest = own.digest.to_string();
            found.iter().all(|entry| entry.get("digest").and_then(Value::as_str) != Some(&digest))
        };
        written.entries.iter().filter(is_missing).cloned().collect()
    }

    /// Forgets an entry that is to be removed.
    pub(super) fn forget(&self, subject: &Digest, referrer: &Digest) {
        if let Some(written) = self.0.lock().get_mut(subject) {
            written.entries.retain(|entry| entry.digest != *referrer);
        }
    }
}

fn push_bounded<T>(list: &mut Vec<T>, value: T) {
    if list.len() == ENTRY_COUNT_MAX {
        list.remove(0);
    }
    list.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::media_type;

    fn entry(text: &str) -> Descriptor {
        Descriptor::of(media_type::IMAGE_MANIFEST, text.as_bytes())
    }

    #[test]
    fn only_an_index_that_we_have_replaced_gets_our_entries_back() {
        let (recent, subject) = (RecentWrites::default(), Digest::of(b"subject"));
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));

        recent.note(&subject, None, &entry("a"));
        recent.note(&subject, Some(old), &entry("b"));

        let missing = |shown, found: &[Value]| recent.missing_from(&subject, shown, found);
        assert_eq!(missing(None, &[]), [entry("a"), entry("b")]);
        assert_eq!(missing(Some(old), &[entry("a").to_json()]), [entry("b")]);
        assert!(missing(Some(new), &[]).is_empty());
        assert!(recent.missing_from(&Digest::of(b"other"), None, &[]).is_empty());
        recent.forget(&subject, &entry("a").digest);
        assert_eq!(recent.missing_from(&subject, None, &[]), [entry("b")]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (recent, subject) = (RecentWrites::default(), Digest::of(b"subject"));

        for number in 0..100 {
            recent.note(&subject, None, &entry(&number.to_string()));
            recent.note(&Digest::of(&[number]), None, &entry("a"));
        }

        assert_eq!(recent.missing_from(&subject, None, &[]).len(), ENTRY_COUNT_MAX);
        assert_eq!(recent.0.lock().len(), SUBJECT_COUNT_MAX.get());
    }
}
