//! One layer as a file: exactly the layer's bytes, under the name of their digest.
//!
//! Nothing here is durable. A torn, truncated or altered file is noticed when it is read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::unistd::geteuid;

use crate::protocol::Digest;
use crate::protocol::limits::{CHUNK_BYTES_MAX, layer_len_max};
use crate::sys::durable::create_private;
use crate::sys::{buffer, crash};

/// Why a file was not taken.
#[derive(Debug)]
pub(super) enum Miss {
    /// There is none, or this process cannot open one more file.
    Absent,
    /// There is the whole layer, but of another length than the caller knows from the manifest.
    OtherLength,
    /// It is not a file of ours or not what was written: it should go.
    Broken,
}

/// Reads the layer `digest`, which has `len` bytes, and checks every one of them.
///
/// Never follows a link and never waits for a FIFO. A hit becomes the most recently used file.
pub(super) fn read(path: &Path, digest: &Digest, len: u64) -> Result<Bytes, Miss> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        // A link, a file that was made unreadable, a socket: nothing that we have written.
        Some(Errno::ELOOP | Errno::EACCES | Errno::ENXIO) => Miss::Broken,
        _ => Miss::Absent,
    })?;
    let broken = |_source: io::Error| Miss::Broken;
    let metadata = file.metadata().map_err(broken)?;
    // Before anything is allocated: no layer is larger.
    if !is_ours(&metadata) || metadata.len() > layer_len_max(CHUNK_BYTES_MAX) {
        return Err(Miss::Broken);
    }
    let capacity = usize::try_from(metadata.len()).map_err(|_source| Miss::Broken)?;
    let mut layer = buffer::take(capacity);
    (&file).take(metadata.len()).read_to_end(&mut layer).map_err(broken)?;
    if Digest::of(&layer) != *digest {
        return Err(Miss::Broken);
    }
    // Only now: a manifest that lies about a size must not make others fetch again.
    if layer.len() as u64 != len {
        return Err(Miss::OtherLength);
    }
    touch(&file);
    Ok(layer.into())
}

/// Writes a layer to `path`, under the name `temporary` until it is whole.
#[expect(clippy::disallowed_methods, reason = "a cache file that a power cut tears is a miss")]
pub(super) fn write(path: &Path, temporary: &Path, layer: &[u8]) -> io::Result<()> {
    let written = (|| {
        let mut file = create_private(temporary)?;
        crash::point!("cache.created");
        reserve(&file, layer.len());
        file.write_all(layer)?;
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

/// Asks for the blocks of a file at once. On ext4 the write itself then costs a fraction.
fn reserve(file: &File, len: usize) {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    // Not every file system can; what is wrong with the disk the write will say.
    fallocate(file, FallocateFlags::empty(), 0, len).ok();
}

/// Returns whether a file is a regular one of this user.
pub(super) fn is_ours(metadata: &Metadata) -> bool {
    metadata.is_file() && is_of_this_user(metadata)
}

/// Returns whether a file or directory belongs to this user.
pub(super) fn is_of_this_user(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw()
}

/// Sets the modification time, by which the next start orders the files.
fn touch(file: &File) {
    // A cache that cannot be touched forgets in a worse order; nothing more.
    futimens(file, &TimeSpec::UTIME_OMIT, &TimeSpec::UTIME_NOW).ok();
}
