//! Large buffers that are reused.
//!
//! Fresh memory is expensive: the kernel finds, clears and maps every page of it, which costs as
//! much as hashing its contents, and an allocator returns blocks of this size to the kernel as soon
//! as they are free. So a few are kept for the next chunk, until [`release_idle`] finds them
//! unused. Start at [`take`].
//!
//! **Invariant:** a buffer is empty when it is handed out; nothing of an earlier use is visible.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller buffers are left to the allocator, which itself keeps those.
const LEN_MIN: usize = 1 << 20;

/// Blocks of a disk begin at multiples of the largest block size that disks have.
pub const ALIGNMENT: usize = 4096;

/// Largest buffer that is prepared in advance: the expected size is only a promise so far.
const PREPARED_LEN_MAX: usize = 16 << 20;

/// Most bytes that are kept: layers and chunks of the default size for seven fetches at once.
const IDLE_LEN_MAX: usize = 128 << 20;

/// Unused buffers, the most recently used ones last.
static IDLE: Mutex<Idle> = Mutex::new(Idle::empty());

/// Returns an empty buffer with room for `capacity` bytes at least.
///
/// There may be room for half as much again; untouched memory costs nothing.
pub fn take(capacity: usize) -> Buffer {
    let idle = if capacity < LEN_MIN { None } else { IDLE.lock().take(capacity) };
    Buffer(idle.unwrap_or_else(|| {
        // Layers differ a little in size, and should still fit into each other's buffers.
        let unit = if capacity < LEN_MIN { 1 } else { LEN_MIN };
        Vec::with_capacity(capacity.checked_next_multiple_of(unit).unwrap_or(capacity))
    }))
}

/// Returns a buffer that holds some padding, with room for `capacity` bytes behind it.
///
/// In a large buffer the padding aligns the first of those bytes to a block of a disk.
pub fn take_aligned(capacity: usize) -> Buffer {
    if capacity < LEN_MIN {
        return take(capacity);
    }
    let mut buffer = take(capacity.saturating_add(ALIGNMENT));
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    buffer.resize(start, 0);
    buffer
}

/// Prepares a buffer, so that the next [`take`] of `capacity` bytes does not get fresh memory.
///
/// Takes as long as the kernel needs to find that memory, unless there already is a buffer.
pub fn prepare(capacity: usize) {
    if (LEN_MIN..=PREPARED_LEN_MAX).contains(&capacity) && IDLE.lock().find(capacity).is_none() {
        take(capacity).resize(capacity, 0);
    }
}

/// Frees the buffers that were not used since the previous call.
///
/// For a caller that wakes regularly anyway: freeing them needs no timer of its own.
pub fn release_idle() {
    let dropped = IDLE.lock().age();
    drop(dropped);
}

/// Bytes in a buffer that is reused when it is dropped.
///
/// [`Bytes`] made of it keep it until the last slice is gone.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.capacity() >= LEN_MIN {
            let dropped = IDLE.lock().put(std::mem::take(&mut self.0));
            // Not under the lock: freeing memory takes the kernel a while.
            drop(dropped);
        }
    }
}

#[derive(Debug)]
struct Idle {
    /// Each with the round in which it was put here; later rounds come last.
    buffers: VecDeque<(u64, Vec<u8>)>,
    len: usize,
    round: u64,
}

impl Idle {
    const fn empty() -> Self {
        Self { buffers: VecDeque::new(), len: 0, round: 0 }
    }

    /// Finds the last buffer that is large enough and not much larger.
    fn find(&self, capacity: usize) -> Option<usize> {
        let fits = capacity..=capacity.saturating_add(capacity / 2);
        self.buffers.iter().rposition(|(_, buffer)| fits.contains(&buffer.capacity()))
    }

    fn take(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let at = self.find(capacity)?;
        let (_, buffer) = self.buffers.remove(at)?;
        self.len -= buffer.capacity();
        Some(buffer)
    }

    /// Keeps a buffer, and returns those that now exceed the limit.
    fn put(&mut self, mut buffer: Vec<u8>) -> Vec<Vec<u8>> {
        buffer.clear();
        self.len += buffer.capacity();
        self.buffers.push_back((self.round, buffer));
        let mut dropped = Vec::new();
        while self.len > IDLE_LEN_MAX
            && let Some(oldest) = self.pop()
        {
            dropped.push(oldest);
        }
        dropped
    }

    /// Begins a round, and returns the buffers that were not used in the previous one.
    fn age(&mut self) -> Vec<Vec<u8>> {
        let mut dropped = Vec::new();
        while self.buffers.front().is_some_and(|(round, _)| *round < self.round)
            && let Some(oldest) = self.pop()
        {
            dropped.push(oldest);
        }
        self.round += 1;
        dropped
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let (_, oldest) = self.buffers.pop_front()?;
        self.len -= oldest.capacity();
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_buffer_is_used_again_and_nothing_of_its_bytes_is_seen() {
        let mut idle = Idle::empty();
        let buffer = vec![7; 3 * MIB];
        let place = buffer.as_ptr();

        idle.put(buffer);
        let again = idle.take(2 * MIB + 1).unwrap();

        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(idle.take(1).is_none() && idle.len == 0);
    }

    #[test]
    fn a_buffer_that_is_too_small_or_much_too_large_is_left() {
        let mut idle = Idle::empty();
        idle.put(Vec::with_capacity(3 * MIB));

        assert!(idle.take(3 * MIB + 1).is_none());
        assert!(idle.take(2 * MIB - 1).is_none());
        assert!(idle.take(2 * MIB).is_some());
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let mut idle = Idle::empty();
        for mib in 1..=20 {
            idle.put(Vec::with_capacity(mib * MIB));

            assert!(idle.len <= IDLE_LEN_MAX);
        }

        assert!(idle.take(20 * MIB).is_some());
        assert!(idle.take(MIB).is_none());
        let gone = idle.put(Vec::with_capacity(IDLE_LEN_MAX + 1));
        assert!(gone.iter().any(|buffer| buffer.capacity() > IDLE_LEN_MAX));
    }

    #[test]
    fn a_large_aligned_buffer_has_its_room_where_a_block_may_begin() {
        for capacity in [0, LEN_MIN - 1, LEN_MIN, 3 * MIB + 1] {
            let mut buffer = take_aligned(capacity);
            let start = buffer.len();

            let place = buffer.as_ptr().addr() + start;
            buffer.resize(start + capacity, 7);

            assert_eq!(buffer.as_ptr().addr() + start, place, "{capacity}: it has not grown");
            assert!(capacity < LEN_MIN || place.is_multiple_of(ALIGNMENT), "{capacity}");
        }
    }

    #[test]
    fn what_was_prepared_is_there_for_the_next_one_and_nothing_huge_is() {
        // No other test uses buffers of about these sizes.
        let (some, huge) = (PREPARED_LEN_MAX - 1, 3 * PREPARED_LEN_MAX);
        let is_idle = |capacity| IDLE.lock().find(capacity).is_some();
        assert!(!is_idle(some));

        for capacity in [some, huge] {
            prepare(capacity);
        }

        assert!(is_idle(some) && !is_idle(huge));
        assert!(take(some).is_empty());
    }

    #[test]
    fn what_nobody_used_for_a_whole_round_is_given_back() {
        let mut idle = Idle::empty();
        idle.put(Vec::with_capacity(MIB));
        idle.put(Vec::with_capacity(2 * MIB));

        let at_once = idle.age();
        let used = idle.take(2 * MIB).unwrap();
        idle.put(used);
        let unused: Vec<_> = idle.age().iter().map(Vec::capacity).collect();
        let later = idle.age().len();

        assert!(at_once.is_empty());
        assert_eq!((unused, later), (vec![MIB], 1));
        assert_eq!((idle.len, idle.buffers.len()), (0, 0));
    }

    #[test]
    fn bytes_keep_their_buffer_until_the_last_slice_is_gone() {
        // No other test uses buffers of about this size.
        let capacity = 47 * MIB;
        let mut buffer = take(capacity);
        buffer.extend_from_slice(b"hello");
        let place = buffer.as_ptr();
        let is_idle = || IDLE.lock().buffers.iter().any(|(_, buffer)| buffer.as_ptr() == place);
        let slice = Bytes::from(buffer).slice(1..3);

        let was_idle = is_idle();
        drop(slice.clone());

        assert!(!was_idle && !is_idle());
        assert_eq!(slice, "el");
        drop(slice);
        assert!(is_idle());
    }
}
