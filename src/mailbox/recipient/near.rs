//! Names that are known, and which of them another name almost is.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use lru::LruCache;
use parking_lot::Mutex;
use strsim::osa_distance;
use unicode_security::confusable_detection::skeleton;

use crate::protocol::Identity;
use crate::trust::{TrustStore, TrustedSender};

/// Most names offered in place of another one; a longer question is not read.
const NEAR_COUNT_MAX: usize = 3;

/// Answers kept: the status asks again and again about the few people whom it names, and to compare
/// one name with ten thousand takes milliseconds.
const ANSWER_COUNT_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Letters that may be added, left out, replaced or exchanged with their neighbour.
const DISTANCE_MAX: usize = 1;

/// The names that need no form and no question: those in the trust store, and my own.
#[derive(Debug)]
pub struct KnownNames {
    names: BTreeSet<Identity>,
    /// In the order of `names`; needed only for a name that is not one of them.
    folded: OnceLock<Vec<Folded>>,
    answers: Mutex<LruCache<String, Vec<Identity>>>,
}

impl Default for KnownNames {
    fn default() -> Self {
        Self::of(BTreeSet::new())
    }
}

/// How much two names resemble each other; the closest is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// The same but for upper and lower case.
    Case,
    /// The same to the eye.
    LookAlike,
    /// One typing error apart.
    Typo,
}

/// A name without what people overlook.
#[derive(Debug)]
struct Folded {
    lower: String,
    char_count: usize,
    /// Twice, since `I` looks like `l` in the one case and like `i` in the other.
    looks: [String; 2],
}

impl Folded {
    fn new(name: &str) -> Self {
        let lower = name.to_lowercase();
        let looks = [name, &lower].map(|text| skeleton(text).collect::<String>().to_lowercase());
        Self { char_count: lower.chars().count(), lower, looks }
    }

    fn likeness(&self, other: &Self) -> Option<Likeness> {
        if self.lower == other.lower {
            return Some(Likeness::Case);
        }
        if self.looks.iter().any(|look| other.looks.contains(look)) {
            return Some(Likeness::LookAlike);
        }
        let is_near = self.char_count.abs_diff(other.char_count) <= DISTANCE_MAX
            && osa_distance(&self.lower, &other.lower) <= DISTANCE_MAX;
        is_near.then_some(Likeness::Typo)
    }
}

impl KnownNames {
    /// Takes the names of `trust` and `me`.
    pub fn new(trust: &TrustStore, me: &[Identity]) -> Self {
        let senders = trust.senders().map(TrustedSender::name);
        Self::of(senders.chain(me).cloned().collect())
    }

    fn of(names: BTreeSet<Identity>) -> Self {
        let answers = Mutex::new(LruCache::new(ANSWER_COUNT_MAX));
        Self { names, folded: OnceLock::new(), answers }
    }

    /// Returns whether exactly this name is known.
    pub fn contains(&self, name: &Identity) -> bool {
        self.names.contains(name)
    }

    /// Returns the known names that `name` almost is, the nearest first: it differs in case, looks
    /// the same, or is one typing error away.
    pub fn near(&self, name: &str) -> Vec<Identity> {
        if let Some(answer) = self.answers.lock().get(name) {
            return answer.clone();
        }
        let answer = self.compare(name);
        self.answers.lock().put(name.to_owned(), answer.clone());
        answer
    }

    fn compare(&self, name: &str) -> Vec<Identity> {
        let folded = self
            .folded
            .get_or_init(|| self.names.iter().map(|name| Folded::new(name.as_str())).collect());
        let wanted = Folded::new(name);
        let mut found: Vec<(Likeness, &Identity)> = self
            .names
            .iter()
            .zip(folded)
            .filter(|(known, _)| known.as_str() != name)
            .filter_map(|(known, folded)| Some((folded.likeness(&wanted)?, known)))
            .collect();
        found.sort();
        found.into_iter().take(NEAR_COUNT_MAX).map(|(_, known)| known.clone()).collect()
    }

    /// Returns the known addresses of which `text` is the part before the `@`, in any case.
    pub(super) fn of_local_part(&self, text: &str) -> Vec<Identity> {
        let text = text.to_lowercase();
        let is_of = |known: &&Identity| {
            known.as_str().split_once('@').is_some_and(|(local, _)| local.to_lowercase() == text)
        };
        self.names.iter().filter(is_of).take(NEAR_COUNT_MAX).cloned().collect()
    }
}
