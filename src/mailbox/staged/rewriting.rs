//! Which bytes of a sent content have been written anew, for programs that overwrite a file before
//! they cut it to its new length.
//!
//! On other file systems such a program leaves the old bytes where it writes none. A message is
//! immutable, so there the new one would be made of two: it is sent only if nothing of the old one
//! is left.

use std::ops::Range;

/// Most separate ranges that are remembered of one file. Programs that send write from the
/// beginning to the end; what is not remembered counts as not written.
const RANGE_COUNT_MAX: usize = 256;

/// Whether a content takes the place of a sent one that was not cut first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Rewriting {
    /// It does not, or all of it was written anew.
    #[default]
    No,
    /// Not all of it may have been written anew.
    Begun(Rewritten),
    /// It was given up: the sent message stays, and this content is never sent.
    GivenUp,
}

/// What was written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rewritten {
    /// The length that the file has for its writer: that of the sent content until it is cut.
    len: u64,
    /// In ascending order, neither empty nor touching each other.
    ranges: Vec<Range<u64>>,
}

impl Rewritten {
    /// Begins to write a sent content of `len` bytes anew.
    pub(super) fn new(len: u64) -> Self {
        Self { len, ranges: Vec::new() }
    }

    /// Notes bytes that were written.
    pub(super) fn note_write(&mut self, written: Range<u64>) {
        if written.is_empty() {
            return;
        }
        self.len = self.len.max(written.end);
        let first = self.ranges.partition_point(|range| range.end < written.start);
        let last = self.ranges.partition_point(|range| range.start <= written.end);
        let touched = self.ranges.get(first..last).unwrap_or_default();
        let start = touched.first().map_or(written.start, |range| range.start.min(written.start));
        let end = touched.last().map_or(written.end, |range| range.end.max(written.end));
        if !touched.is_empty() || self.ranges.len() < RANGE_COUNT_MAX {
            self.ranges.splice(first..last, std::iter::once(start..end));
        }
    }

    /// Notes that the file was cut or extended; what an extension adds is not written.
    pub(super) fn note_resize(&mut self, len: u64) {
        self.len = len;
        self.ranges.retain_mut(|range| {
            range.end = range.end.min(len);
            !range.is_empty()
        });
    }

    /// Returns whether every byte up to the end was written anew.
    pub(super) fn is_whole(&self) -> bool {
        match self.ranges.as_slice() {
            [] => self.len == 0,
            [range] => *range == (0..self.len),
            _ => false,
        }
    }
}

impl Rewriting {
    /// Returns whether a part of the sent content would have to stay, or did.
    pub(super) fn is_partial(&self) -> bool {
        match self {
            Self::No => false,
            Self::Begun(rewritten) => !rewritten.is_whole(),
            Self::GivenUp => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    enum Step {
        Write(u64, u64),
        Cut(u64),
    }
    use Step::{Cut, Write};

    fn after(len: u64, steps: &[Step]) -> Rewritten {
        let mut rewritten = Rewritten::new(len);
        for step in steps {
            match *step {
                Write(start, end) => rewritten.note_write(start..end),
                Cut(len) => rewritten.note_resize(len),
            }
        }
        rewritten
    }

    #[test]
    fn only_what_was_written_anew_to_its_end_is_whole() {
        let table: [(&str, &[Step], bool); 20] = [
            ("nothing", &[], false),
            ("all of it", &[Write(0, 10)], true),
            ("scp of a longer file", &[Write(0, 8), Write(8, 12), Cut(12)], true),
            ("scp of a shorter file", &[Write(0, 4), Write(4, 5), Cut(5)], true),
            ("the cut of a shorter one is missing", &[Write(0, 5)], false),
            ("cut first", &[Cut(5), Write(0, 5)], true),
            ("cut to nothing at the end", &[Write(0, 5), Cut(0)], true),
            ("cut to nothing, and a part", &[Cut(0), Write(3, 5)], false),
            ("the beginning is missing", &[Write(1, 10)], false),
            ("the middle is missing", &[Write(0, 4), Write(6, 10)], false),
            ("out of order", &[Write(6, 10), Write(0, 6)], true),
            ("overlapping", &[Write(0, 7), Write(3, 10)], true),
            ("the same bytes twice", &[Write(0, 5), Write(0, 5)], false),
            ("closed gap", &[Write(0, 2), Write(8, 10), Write(2, 8)], true),
            ("a range around others", &[Write(2, 3), Write(5, 6), Write(0, 10)], true),
            ("extended by a hole", &[Write(0, 10), Cut(12)], false),
            ("the hole is filled", &[Write(0, 10), Cut(12), Write(10, 12)], true),
            ("written past a hole", &[Write(0, 10), Write(11, 12)], false),
            ("cut, and longer again", &[Write(0, 10), Cut(4), Cut(10)], false),
            ("a write of nothing", &[Write(0, 0)], false),
        ];
        for (what, steps, is_whole) in table {
            assert_eq!(after(10, steps).is_whole(), is_whole, "{what}");
        }
    }

    #[test]
    fn what_is_scattered_over_more_ranges_than_are_remembered_is_not_whole() {
        let mut rewritten = Rewritten::new(0);
        let count = RANGE_COUNT_MAX as u64 + 1;
        for index in 0..count {
            rewritten.note_write(2 * index..2 * index + 1);
        }
        for index in 0..count {
            rewritten.note_write(2 * index + 1..2 * index + 2);
        }

        assert!(rewritten.ranges.len() <= RANGE_COUNT_MAX);
        assert!(!rewritten.is_whole(), "one was forgotten");
        rewritten.note_write(0..2 * count);
        assert!(rewritten.is_whole());
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_bytes(
            len in 0_u64..12,
            steps in proptest::collection::vec((any::<bool>(), 0_u64..16, 0_u64..6), 0..12),
        ) {
            let mut rewritten = Rewritten::new(len);
            let mut bytes = vec![false; usize::try_from(len).unwrap()];
            for (is_write, at, count) in steps {
                let (start, end) = (usize::try_from(at).unwrap(), usize::try_from(at + count).unwrap());
                if !is_write {
                    rewritten.note_resize(at);
                    bytes.resize(start, false);
                } else if count > 0 {
                    rewritten.note_write(at..at + count);
                    bytes.resize(bytes.len().max(end), false);
                    bytes[start..end].fill(true);
                }
            }
            prop_assert_eq!(rewritten.is_whole(), bytes.iter().all(|is_written| *is_written));
        }
    }
}
