//! Decides what to do about a sent message, from what one look at the registry has found.
//!
//! Pure, without a clock: start at [`decide`]. One bad look proves nothing, since registries lag and
//! are restored step by step; the same finding twice in a row does.

use std::time::Duration;

use crate::registry::Presence;
use crate::store::{Finding, PUT_BACK_COUNT_MAX, Standing};

/// Longest time between two looks at one message.
pub(super) const LOOK_INTERVAL_MAX: Duration = Duration::from_hours(24);

/// Where the tag of a message points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagFact {
    /// To the message.
    Ours,
    /// There is no such tag.
    Gone,
    /// To something else.
    Elsewhere,
    /// To another message of ours that was given the same tag (P4).
    Shared,
}

/// What is known when a look is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) tag: TagFact,
    /// Where the manifest is, by its digest; asked only when the tag is not ours.
    pub(super) manifest: Presence,
    /// What the look before this one found wrong, if it is long enough ago to count.
    pub(super) before: Option<Finding>,
    pub(super) standing: Standing,
    pub(super) put_back_count: u32,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is where it belongs.
    Fine,
    /// It was lost, and is there again.
    Found,
    /// Something is wrong, for the first time: look again soon.
    Suspect(Finding),
    /// Put the tag back.
    PutBack,
    /// It was put back often enough.
    GiveUp,
    /// The registry has lost it.
    Lose,
    /// Nothing can be told, or nothing is to be done.
    Wait,
}

/// Decides what a look means.
pub(super) fn decide(facts: Facts) -> Step {
    let Facts { tag, manifest, before, standing, put_back_count } = facts;
    match (tag, standing) {
        (TagFact::Ours, Standing::Lost) => return Step::Found,
        (TagFact::Ours, _) => return Step::Fine,
        // What is lost is never pushed by itself, whatever else of it turns up.
        (_, Standing::Lost | Standing::Resent | Standing::Over) | (TagFact::Shared, _) => {
            return Step::Wait;
        }
        (TagFact::Gone | TagFact::Elsewhere, _) => {}
    }
    let finding = match manifest {
        Presence::There => Finding::Untagged,
        Presence::Gone => Finding::Gone,
        Presence::Unknown => return Step::Wait,
    };
    match (finding, standing) {
        (Finding::Untagged, Standing::GivenUp) => Step::Wait,
        _ if before != Some(finding) => Step::Suspect(finding),
        (Finding::Gone, _) => Step::Lose,
        (Finding::Untagged, _) if put_back_count < PUT_BACK_COUNT_MAX => Step::PutBack,
        (Finding::Untagged, _) => Step::GiveUp,
    }
}

/// Returns how long after a look that found nothing wrong the next one follows: as long as the
/// message is old, so that each gap is twice the last one.
pub(super) fn interval(age: Duration, first: Duration) -> Duration {
    age.clamp(first.min(LOOK_INTERVAL_MAX), LOOK_INTERVAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [TagFact; 4] = [TagFact::Ours, TagFact::Gone, TagFact::Elsewhere, TagFact::Shared];
    const MANIFESTS: [Presence; 3] = [Presence::There, Presence::Gone, Presence::Unknown];
    const STANDINGS: [Standing; 6] = [
        Standing::Watched,
        Standing::Refused,
        Standing::GivenUp,
        Standing::Lost,
        Standing::Resent,
        Standing::Over,
    ];
    const BEFORE: [Option<Finding>; 3] = [None, Some(Finding::Untagged), Some(Finding::Gone)];

    fn all() -> impl Iterator<Item = Facts> {
        TAGS.into_iter().flat_map(|tag| {
            MANIFESTS.into_iter().flat_map(move |manifest| {
                STANDINGS.into_iter().flat_map(move |standing| {
                    BEFORE.into_iter().flat_map(move |before| {
                        (0..=PUT_BACK_COUNT_MAX).map(move |put_back_count| Facts {
                            tag,
                            manifest,
                            before,
                            standing,
                            put_back_count,
                        })
                    })
                })
            })
        })
    }

    #[test]
    fn every_row_of_the_table_has_its_step() {
        use Finding::{Gone as NoManifest, Untagged};
        use Presence as P;
        use Standing as S;
        use TagFact as T;
        for (tag, manifest, before, standing, count, expected) in [
            (T::Ours, P::Unknown, None, S::Watched, 0, Step::Fine),
            (T::Ours, P::Unknown, Some(Untagged), S::Watched, 3, Step::Fine),
            (T::Ours, P::Unknown, None, S::GivenUp, 3, Step::Fine),
            (T::Ours, P::Unknown, None, S::Refused, 0, Step::Fine),
            (T::Ours, P::Unknown, None, S::Lost, 0, Step::Found),
            (T::Gone, P::There, None, S::Watched, 0, Step::Suspect(Untagged)),
            (T::Elsewhere, P::There, None, S::Watched, 0, Step::Suspect(Untagged)),
            (T::Gone, P::There, Some(NoManifest), S::Watched, 0, Step::Suspect(Untagged)),
            (T::Gone, P::There, Some(Untagged), S::Watched, 0, Step::PutBack),
            (T::Elsewhere, P::There, Some(Untagged), S::Watched, 2, Step::PutBack),
            (T::Elsewhere, P::There, Some(Untagged), S::Watched, 3, Step::GiveUp),
            (T::Gone, P::There, Some(Untagged), S::GivenUp, 3, Step::Wait),
            (T::Gone, P::There, None, S::Refused, 0, Step::Suspect(Untagged)),
            (T::Gone, P::There, Some(Untagged), S::Refused, 0, Step::PutBack),
            (T::Gone, P::There, Some(Untagged), S::Refused, 3, Step::GiveUp),
            (T::Gone, P::There, Some(Untagged), S::Lost, 0, Step::Wait),
            (T::Gone, P::Gone, None, S::Watched, 0, Step::Suspect(NoManifest)),
            (T::Gone, P::Gone, Some(Untagged), S::Watched, 0, Step::Suspect(NoManifest)),
            (T::Gone, P::Gone, Some(NoManifest), S::Watched, 0, Step::Lose),
            (T::Elsewhere, P::Gone, Some(NoManifest), S::Watched, 3, Step::Lose),
            (T::Gone, P::Gone, Some(NoManifest), S::GivenUp, 3, Step::Lose),
            (T::Gone, P::Gone, None, S::Refused, 0, Step::Suspect(NoManifest)),
            (T::Gone, P::Gone, Some(NoManifest), S::Lost, 0, Step::Wait),
            (T::Gone, P::Unknown, Some(NoManifest), S::Watched, 0, Step::Wait),
            (T::Gone, P::Unknown, Some(Untagged), S::Watched, 0, Step::Wait),
            (T::Shared, P::There, Some(Untagged), S::Watched, 0, Step::Wait),
        ] {
            let put_back_count = count;
            let facts = Facts { tag, manifest, before, standing, put_back_count };

            assert_eq!(decide(facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn nothing_is_pushed_or_claimed_without_two_equal_findings() {
        for facts in all() {
            let step = decide(facts);

            match step {
                Step::PutBack => {
                    assert_eq!(facts.before, Some(Finding::Untagged), "{facts:?}");
                    let may = matches!(facts.standing, Standing::Watched | Standing::Refused);
                    assert!(may, "{facts:?}");
                    assert!(facts.put_back_count < PUT_BACK_COUNT_MAX, "{facts:?}");
                    assert!(matches!(facts.tag, TagFact::Gone | TagFact::Elsewhere), "{facts:?}");
                }
                Step::GiveUp => assert_eq!(facts.before, Some(Finding::Untagged), "{facts:?}"),
                Step::Lose => {
                    assert_eq!(facts.before, Some(Finding::Gone), "{facts:?}");
                    assert_eq!(facts.manifest, Presence::Gone, "{facts:?}");
                }
                Step::Found => assert_eq!(facts.tag, TagFact::Ours, "{facts:?}"),
                Step::Fine | Step::Suspect(_) | Step::Wait => {}
            }
        }
        assert!(all().any(|facts| decide(facts) == Step::PutBack));
    }

    #[test]
    fn the_gaps_between_looks_double_up_to_a_day() {
        let first = Duration::from_mins(2);
        let mut age = first;
        let mut look_count = 0;
        while age < Duration::from_hours(7 * 24) {
            let gap = interval(age, first);
            assert!(gap == age || gap == LOOK_INTERVAL_MAX, "{age:?}: {gap:?}");
            age += gap;
            look_count += 1;
        }

        assert!((10..25).contains(&look_count), "{look_count}");
        assert_eq!(interval(Duration::ZERO, first), first);
        assert_eq!(interval(Duration::MAX, first), LOOK_INTERVAL_MAX);
        assert_eq!(interval(first, Duration::MAX), LOOK_INTERVAL_MAX);
    }
}
