//! Which chunks of a draft are in the registry, and for which content.

use std::ops::Range;

use crate::protocol::ChunkLayer;

/// Whole chunks that a copy may be ahead of the registry beside the one it has just filled: four
/// are in transfer at once. When one of them ends, the next is filled in a few milliseconds;
/// anything further ahead would only wait for the close.
const AHEAD_CHUNK_COUNT_MAX: usize = 3;

/// What is known about the chunks of a draft, kept while it is written.
///
/// Each chunk has a generation that grows after every write into it. An upload remembers the
/// generation it began with and counts only while that is still the current one, so a chunk that is
/// written again during its upload is uploaded again.
#[derive(Debug)]
pub(in crate::mailbox) struct ChunkTable {
    chunk_bytes: u64,
    slots: Vec<Slot>,
    /// A writer has waited for a chunk in vain, and none has been completed since.
    is_stalled: bool,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    generation: u64,
    done: Option<Done>,
    /// The generation that is being uploaded.
    claimed: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Done {
    generation: u64,
    len: u64,
    layer: ChunkLayer,
}

/// A chunk that must be encoded and uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mailbox) struct Pending {
    pub(in crate::mailbox) index: u32,
    pub(in crate::mailbox) generation: u64,
    pub(in crate::mailbox) offset: u64,
    pub(in crate::mailbox) len: u64,
}

impl ChunkTable {
    pub(in crate::mailbox) fn new(chunk_bytes: u64) -> Self {
        Self { chunk_bytes: chunk_bytes.max(1), slots: Vec::new(), is_stalled: false }
    }

    pub(in crate::mailbox) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Notes that the bytes of `range` have changed. Called after the write.
    pub(in crate::mailbox) fn touch(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.index_of(range.start);
        let last = self.index_of(range.end - 1);
        if self.slots.len() <= last {
            self.slots.resize(last + 1, Slot::default());
        }
        for slot in self.slots.iter_mut().take(last + 1).skip(first) {
            slot.generation += 1;
            slot.done = None;
        }
    }

    /// Notes that the length changed from `old` to `new`: the chunk at the nearer end changes too.
    pub(in crate::mailbox) fn resize(&mut self, old: u64, new: u64) {
        // The bytes between the two lengths appear as zeros or vanish; the chunk that holds the
        // lower end changes its length with them.
        self.touch(old.min(new)..old.max(new));
    }

    /// Returns the chunks of a payload of `len` bytes that are not in the registry.
    ///
    /// With `whole_only`, those that the writer has filled; otherwise also the last one.
    pub(in crate::mailbox) fn unfinished(
        &self,
        len: u64,
        whole_only: bool,
    ) -> impl Iterator<Item = Pending> + '_ {
        let count =
            if whole_only { len / self.chunk_bytes } else { len.div_ceil(self.chunk_bytes).max(1) };
        (0..u32::try_from(count).unwrap_or(u32::MAX))
            .map(move |index| self.describe(index, len))
            .filter(|pending| self.layer(*pending).is_none())
    }

    /// Takes the first unfinished chunk that is not taken, for [`ChunkTable::give_back`].
    ///
    /// A chunk that was written after it was taken can be taken again.
    pub(in crate::mailbox) fn claim(&mut self, len: u64, whole_only: bool) -> Option<Pending> {
        let is_free = |pending: &Pending| {
            let slot = self.slots.get(pending.index as usize);
            slot.and_then(|slot| slot.claimed) != Some(pending.generation)
        };
        let pending = self.unfinished(len, whole_only).find(is_free)?;
        self.slot(pending.index).claimed = Some(pending.generation);
        Some(pending)
    }

    /// Ends a claim; what was not completed may be taken by others.
    pub(in crate::mailbox) fn give_back(&mut self, pending: Pending) {
        let slot = self.slot(pending.index);
        if slot.claimed == Some(pending.generation) {
            slot.claimed = None;
        }
    }

    /// Remembers that `pending` is in the registry as `layer`, unless it changed in the meantime.
    pub(in crate::mailbox) fn complete(&mut self, pending: Pending, layer: ChunkLayer) {
        self.is_stalled = false;
        let slot = self.slot(pending.index);
        if slot.generation == pending.generation {
            slot.done = Some(Done { generation: pending.generation, len: pending.len, layer });
        }
    }

    /// Notes that nothing was completed in the longest time that a writer waits.
    pub(in crate::mailbox) fn note_stall(&mut self) {
        self.is_stalled = true;
    }

    /// Returns whether more whole chunks of a payload of `len` bytes wait for the registry than a
    /// copy should be ahead, and waiting for it makes sense.
    pub(in crate::mailbox) fn is_far_ahead(&self, len: u64) -> bool {
        !self.is_stalled && self.unfinished(len, true).nth(AHEAD_CHUNK_COUNT_MAX).is_some()
    }

    /// Forgets what is in the registry; chunks in transfer count.
    pub(in crate::mailbox) fn forget_layers(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.done = None);
    }

    /// Returns all layers of a payload of `len` bytes, or `None` while one is missing.
    pub(in crate::mailbox) fn layers(&self, len: u64) -> Option<Vec<ChunkLayer>> {
        let count = u32::try_from(len.div_ceil(self.chunk_bytes).max(1)).ok()?;
        (0..count).map(|index| self.layer(self.describe(index, len))).collect()
    }

    /// Returns how many bytes of a payload of `len` bytes are in the registry.
    pub(in crate::mailbox) fn bytes_done(&self, len: u64) -> u64 {
        self.slots.iter().filter_map(|slot| slot.done).map(|done| done.len).sum::<u64>().min(len)
    }

    fn slot(&mut self, index: u32) -> &mut Slot {
        let index = index as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, Slot::default());
        }
        &mut self.slots[index]
    }

    fn describe(&self, index: u32, len: u64) -> Pending {
        let offset = u64::from(index) * self.chunk_bytes;
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        Pending { index, generation, offset, len: len.saturating_sub(offset).min(self.chunk_bytes) }
    }

    fn layer(&self, chunk: Pending) -> Option<ChunkLayer> {
        let done = self.slots.get(chunk.index as usize)?.done?;
        (done.generation == chunk.generation && done.len == chunk.len).then_some(done.layer)
    }

    fn index_of(&self, offset: u64) -> usize {
        usize::try_from(offset / self.chunk_bytes).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Digest;

    fn layer(byte: u8) -> ChunkLayer {
        ChunkLayer { digest: Digest::of(&[byte]), size: 1 }
    }

    fn indices(table: &ChunkTable, len: u64, whole_only: bool) -> Vec<u32> {
        table.unfinished(len, whole_only).map(|chunk| chunk.index).collect()
    }

    fn complete_all(table: &mut ChunkTable, len: u64, with: ChunkLayer) {
        while let Some(chunk) = table.claim(len, false) {
            table.complete(chunk, with);
            table.give_back(chunk);
        }
    }

    #[test]
    fn only_whole_chunks_are_pending_while_the_copy_runs() {
        let mut table = ChunkTable::new(10);
        table.touch(0..25);

        assert_eq!(indices(&table, 25, true), [0, 1]);
        assert_eq!(indices(&table, 25, false), [0, 1, 2]);
    }

    #[test]
    fn a_chunk_written_while_it_was_uploaded_is_done_again() {
        let mut table = ChunkTable::new(10);
        table.touch(0..10);
        let pending = table.claim(10, false).unwrap();

        table.touch(3..4);
        table.complete(pending, layer(1));

        assert_eq!(indices(&table, 10, false), [0]);
        let again = table.claim(10, false).unwrap();
        table.complete(again, layer(2));
        assert_eq!(table.layers(10), Some(vec![layer(2)]));
    }

    #[test]
    fn a_chunk_is_claimed_once_until_it_is_given_back_or_written_again() {
        let mut table = ChunkTable::new(10);
        table.touch(0..20);

        let first = table.claim(20, false).unwrap();
        let second = table.claim(20, false).unwrap();
        assert_eq!((first.index, second.index), (0, 1));
        assert_eq!(table.claim(20, false), None);

        table.give_back(second);
        assert_eq!(table.claim(20, false), Some(second));
        table.touch(0..1);
        let again = table.claim(20, false).unwrap();
        assert_eq!(again.index, 0);
        // The old claim ends without touching the new one.
        table.give_back(first);
        assert_eq!(table.claim(20, false), None);
    }

    #[test]
    fn growing_and_shrinking_make_the_last_chunk_pending() {
        let mut table = ChunkTable::new(10);
        table.touch(0..15);
        complete_all(&mut table, 15, layer(1));
        assert!(table.layers(15).is_some());

        table.resize(15, 18);
        assert_eq!(indices(&table, 18, false), [1]);

        complete_all(&mut table, 18, layer(2));
        table.resize(18, 10);
        assert!(indices(&table, 10, false).is_empty());
        assert_eq!(table.layers(10).unwrap().len(), 1);
    }

    #[test]
    fn an_empty_payload_is_one_empty_chunk() {
        let mut table = ChunkTable::new(10);
        assert_eq!(indices(&table, 0, false), [0]);

        complete_all(&mut table, 0, layer(0));
        assert_eq!(table.layers(0), Some(vec![layer(0)]));
    }

    #[test]
    fn a_hole_is_uploaded_as_zeros() {
        let mut table = ChunkTable::new(10);
        table.touch(25..30);

        assert_eq!(indices(&table, 30, false), [0, 1, 2]);
    }
}
