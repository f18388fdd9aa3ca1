//! Read-ahead: grows for a sequential reader, stays off for a random one. A pure state machine.

/// Most chunks fetched ahead of a sequential reader.
const AHEAD_MAX: u32 = 4;

/// Watches the reads of one open file and decides which chunks to fetch ahead.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    expected: u64,
    streak: u32,
    /// One past the last chunk that was requested ahead.
    planned: u32,
}

impl ReadAhead {
    /// Notes a read of `len` bytes at `offset` that ended in chunk `last`; returns the chunks to
    /// fetch ahead of it.
    ///
    /// The kernel reads ahead too, slightly out of order; a read within one chunk of where the last
    /// one ended still counts as sequential.
    pub(super) fn after_read(
        &mut self,
        offset: u64,
        len: u64,
        chunk_bytes: u64,
        last: u32,
        chunk_count: u32,
    ) -> std::ops::Range<u32> {
        let near = offset.abs_diff(self.expected) <= chunk_bytes.min(2 << 20);
        // The very first read proves nothing: many programs read only a header.
        let sequential = near && self.expected > 0;
        self.streak = if sequential { self.streak.saturating_add(1) } else { 0 };
        self.expected = offset.saturating_add(len);
        if !sequential {
            self.planned = 0;
            return 0..0;
        }
        let ahead = (1 << self.streak.saturating_sub(1).min(8)).min(AHEAD_MAX);
        let start = self.planned.max(last.saturating_add(1));
        let end = last.saturating_add(1).saturating_add(ahead).min(chunk_count);
        if start >= end {
            return 0..0;
        }
        self.planned = end;
        start..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_first_read_fetches_nothing_ahead() {
        let mut ahead = ReadAhead::default();

        assert!(ahead.after_read(0, 4096, 8 * MIB, 0, 100).is_empty());
    }

    #[test]
    fn a_sequential_reader_gets_more_and_more_each_chunk_once() {
        let mut ahead = ReadAhead::default();
        let mut planned = Vec::new();

        for step in 0..16 {
            let offset = step * MIB;
            let last = u32::try_from((offset + MIB - 1) / (8 * MIB)).unwrap();
            planned.extend(ahead.after_read(offset, MIB, 8 * MIB, last, 100));
        }

        let mut unique = planned.clone();
        unique.dedup();
        assert_eq!(planned, unique);
        assert_eq!(planned, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_random_reader_gets_nothing() {
        let mut ahead = ReadAhead::default();

        for offset in [900, 20, 500, 40, 700].map(|mib| mib * MIB) {
            let last = u32::try_from(offset / (8 * MIB)).unwrap();
            assert!(ahead.after_read(offset, 4096, 8 * MIB, last, 200).is_empty());
        }
    }

    #[test]
    fn nothing_is_planned_past_the_end() {
        let mut ahead = ReadAhead::default();
        ahead.after_read(0, MIB, MIB, 0, 2);

        assert_eq!(ahead.after_read(MIB, MIB, MIB, 1, 2), 0..0);
    }
}
