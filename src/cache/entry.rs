//! One layer as a file: exactly the layer's bytes, named by their digest.
//!
//! Nothing here is durable. A torn, truncated or altered file is noticed when it is read: by its
//! seal, or by SHA-256 if that does not match.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{
    Advice, FallocateFlags, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fadvise,
    fallocate, fcntl_setfl, futimens,
};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::seal::SealKey;
use crate::protocol::Digest;
use crate::protocol::limits::{CHUNK_BYTES_MAX, layer_len_max};
use crate::sys::buffer::{self, ALIGNMENT};
use crate::sys::crash;
use crate::sys::durable::create_private;
use crate::sys::owner::is_plain_file_of_this_user;

/// Shorter layers go through the page cache.
const DIRECT_LEN_MIN: usize = 1 << 20;

/// Layers that are written past the page cache at once.
const DIRECT_COUNT_MAX: u32 = 2;

/// Permits to write past the page cache, and so to wait for the disk. Layers that arrive in the
/// meantime do not wait: a slow disk must not delay readers.
static DIRECT: Semaphore = Semaphore::const_new(DIRECT_COUNT_MAX as usize);

/// Why a file was not used.
#[derive(Debug)]
pub(super) enum Miss {
    /// It does not exist, or this process cannot open another file.
    Absent,
    /// The layer is complete, but has another length than the caller knows from the manifest.
    OtherLength,
    /// It is not our file or not what was written: it should be removed.
    Broken,
}

/// Reads the layer `digest`, which has `len` bytes, and checks every one of them.
///
/// Never follows a link and never waits for a FIFO. A hit becomes the most recently used file.
pub(super) fn read(
    path: &Path,
    digest: &Digest,
    len: u64,
    key: Option<&SealKey>,
) -> Result<Bytes, Miss> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        // A link, a file that was made unreadable, a socket: nothing that we wrote.
        Some(Errno::LOOP | Errno::ACCESS | Errno::NXIO) => Miss::Broken,
        _ => Miss::Absent,
    })?;
    let broken = |_source: io::Error| Miss::Broken;
    let metadata = file.metadata().map_err(broken)?;
    // Before anything is allocated: no layer is larger.
    if !is_plain_file_of_this_user(&metadata) || metadata.len() > layer_len_max(CHUNK_BYTES_MAX) {
        return Err(Miss::Broken);
    }
    let capacity = usize::try_from(metadata.len()).map_err(|_source| Miss::Broken)?;
    let mut layer = buffer::take(capacity);
    (&file).take(metadata.len()).read_to_end(&mut layer).map_err(broken)?;
    release_pages(&file);
    if !key.is_some_and(|key| key.vouches(&file, digest, &layer)) {
        if Digest::of(&layer) != *digest {
            return Err(Miss::Broken);
        }
        key.inspect(|key| key.seal(&file, digest, &layer));
    }
    // Only now: a manifest with a false size must not make others fetch again.
    if layer.len() as u64 != len {
        return Err(Miss::OtherLength);
    }
    touch(&file);
    Ok(layer.into())
}

/// Writes a checked layer to `path`, under the name `temporary` until it is complete.
#[expect(clippy::disallowed_methods, reason = "a cache file that a power cut tears is a miss")]
pub(super) fn write(
    path: &Path,
    temporary: &Path,
    digest: &Digest,
    layer: &[u8],
    key: Option<&SealKey>,
) -> io::Result<()> {
    let written = (|| {
        let file = create_private(temporary)?;
        crash::point!("cache.created");
        fill(&file, layer)?;
        key.inspect(|key| key.seal(&file, digest, layer));
        drop(file);
        crash::point!("cache.written");
        fs::rename(temporary, path)?;
        crash::point!("cache.renamed");
        Ok(())
    })();
    if written.is_err() {
        fs::remove_file(temporary).ok();
    }
    written
}

/// Writes a large layer past the page cache if possible.
///
/// The kernel keeps the pages of what programs read from the mount. Those of this file would be a
/// second copy, in fresh memory, which costs several times as much as the copying.
fn fill(file: &File, layer: &[u8]) -> io::Result<()> {
    if layer.len() >= DIRECT_LEN_MIN
        && let Ok(_turn) = DIRECT.try_acquire()
        && fill_directly(file, layer).is_ok()
    {
        return Ok(());
    }
    reserve(file, layer.len());
    file.write_all_at(layer, 0)
}

fn fill_directly(file: &File, layer: &[u8]) -> io::Result<()> {
    if layer.as_ptr().align_offset(ALIGNMENT) == 0 {
        return write_blocks(file, layer);
    }
    let mut aligned = buffer::take_aligned(layer.len());
    let start = aligned.len();
    aligned.extend_from_slice(layer);
    write_blocks(file, aligned.get(start..).unwrap_or_default())
}

/// Writes the whole blocks of a layer past the page cache, and the rest through it.
fn write_blocks(file: &File, layer: &[u8]) -> io::Result<()> {
    let (blocks, rest) = layer.split_at(layer.len() - layer.len() % ALIGNMENT);
    set_direct(file, OFlags::DIRECT)?;
    let written = file.write_all_at(blocks, 0);
    set_direct(file, OFlags::empty())?;
    written?;
    file.write_all_at(rest, blocks.len() as u64)
}

/// Not every file system supports `O_DIRECT`.
fn set_direct(file: &File, flags: OFlags) -> io::Result<()> {
    Ok(fcntl_setfl(file, flags)?)
}

/// Reserves the blocks of a file at once. On ext4 the write itself then costs a fraction.
fn reserve(file: &File, len: usize) {
    // Not every file system can; the write reports any problem with the disk.
    fallocate(file, FallocateFlags::empty(), 0, len as u64).ok();
}

/// Releases the pages of a file that was read, for the next one.
///
/// The kernel keeps the pages of what programs read from the mount. Those of this file would be a
/// second copy, and the next file would need fresh memory, which takes more than twice as long.
fn release_pages(file: &File) {
    // A file system that cannot is slower.
    fadvise(file, 0, None, Advice::DontNeed).ok();
}

/// Sets the modification time, by which the next start orders the files.
fn touch(file: &File) {
    // If the time cannot be set, files are removed in a worse order; nothing else.
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
    futimens(file, &times).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        (0..=u8::MAX).cycle().take(len).collect()
    }

    /// Returns the content of a file that was filled with the sample, which began `shift` bytes
    /// after a possible block boundary.
    fn filled(len: usize, shift: usize, fill: impl Fn(&File, &[u8]) -> io::Result<()>) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer");
        let mut bytes = buffer::take_aligned(len + shift);
        let start = bytes.len() + shift;
        bytes.resize(start, 0);
        bytes.extend_from_slice(&sample(len));
        fill(&create_private(&path).unwrap(), &bytes[start..]).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn a_layer_of_any_length_is_written_whole_and_no_byte_more() {
        let lens = [0, 1, DIRECT_LEN_MIN - 1, DIRECT_LEN_MIN, DIRECT_LEN_MIN + 1, 3_000_001];
        for (len, shift) in lens.into_iter().flat_map(|len| [(len, 0), (len, 1)]) {
            let found = filled(len, shift, fill);

            assert!(found == sample(len), "{len}, {shift}: {} bytes", found.len());
        }
    }

    #[test]
    fn what_was_begun_past_the_page_cache_can_be_finished_in_it() {
        let found = filled(DIRECT_LEN_MIN + 5, 0, |file, layer| {
            // Without `O_DIRECT` this fails, and the file is written all the same.
            fill_directly(file, layer).ok();
            let _all_turns = DIRECT.try_acquire_many(DIRECT_COUNT_MAX);
            fill(file, layer)
        });

        assert!(found == sample(DIRECT_LEN_MIN + 5), "{} bytes", found.len());
    }
}
