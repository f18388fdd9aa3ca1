//! One chunk as a file: a header that says what the file must hold, then the bytes.
//!
//! Nothing here is durable. A torn, truncated or altered file is noticed when it is read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::unistd::geteuid;

use crate::protocol::Digest;
use crate::sys::crash;
use crate::sys::durable::create_private;

/// Marks the format and its version; files of another one are misses.
const MAGIC: &[u8; 8] = b"DKCHUNK1";

/// Length of the header: magic, layer digest, payload length (little endian), payload SHA-256.
pub(super) const HEADER_LEN: usize = 8 + 32 + 8 + 32;

/// Why a file was not taken.
#[derive(Debug)]
pub(super) enum Miss {
    /// There is none, or this process cannot open one more file.
    Absent,
    /// There is a whole chunk, but of another length than the caller knows from the manifest.
    OtherLength,
    /// It is not a file of ours or not what was written: it should go.
    Broken,
}

/// Reads the chunk of layer `digest`, which has `len` bytes, and checks every one of them.
///
/// Never follows a link and never waits for a FIFO. A hit becomes the most recently used file.
pub(super) fn read(path: &Path, digest: &Digest, len: u64) -> Result<Bytes, Miss> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let mut file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        // A link, a file that was made unreadable, a socket: nothing that we have written.
        Some(Errno::ELOOP | Errno::EACCES | Errno::ENXIO) => Miss::Broken,
        _ => Miss::Absent,
    })?;
    let broken = |_source: io::Error| Miss::Broken;
    let metadata = file.metadata().map_err(broken)?;
    if !is_ours(&metadata) {
        return Err(Miss::Broken);
    }
    let mut header = [0; HEADER_LEN];
    file.read_exact(&mut header).map_err(broken)?;
    let (known, payload_digest) = header.split_at(HEADER_LEN - 32);
    // Before anything is allocated, the file's own length confirms the header's.
    let payload_len = metadata.len().saturating_sub(HEADER_LEN as u64);
    if known != prefix(digest, payload_len) {
        return Err(Miss::Broken);
    }
    if payload_len != len {
        return Err(Miss::OtherLength);
    }
    let capacity = usize::try_from(len).map_err(|_source| Miss::Broken)?;
    let mut payload = Vec::with_capacity(capacity);
    (&mut file).take(len).read_to_end(&mut payload).map_err(broken)?;
    if payload.len() != capacity || Digest::of(&payload).as_bytes() != payload_digest {
        return Err(Miss::Broken);
    }
    touch(&file);
    Ok(payload.into())
}

/// Writes the chunk of layer `digest` to `path`, under the name `temporary` until it is whole.
#[expect(clippy::disallowed_methods, reason = "a cache file that a power cut tears is a miss")]
pub(super) fn write(
    path: &Path,
    temporary: &Path,
    digest: &Digest,
    payload: &[u8],
) -> io::Result<()> {
    let written = (|| {
        let mut file = create_private(temporary)?;
        crash::point!("cache.created");
        file.write_all(&prefix(digest, payload.len() as u64))?;
        file.write_all(Digest::of(payload).as_bytes())?;
        file.write_all(payload)?;
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

/// Returns whether a file is a regular one of this user.
pub(super) fn is_ours(metadata: &Metadata) -> bool {
    metadata.is_file() && is_of_this_user(metadata)
}

/// Returns whether a file or directory belongs to this user.
pub(super) fn is_of_this_user(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw()
}

/// The header without the payload's SHA-256.
fn prefix(digest: &Digest, payload_len: u64) -> Vec<u8> {
    [&MAGIC[..], digest.as_bytes(), &payload_len.to_le_bytes()].concat()
}

/// Sets the modification time, by which the next start orders the files.
fn touch(file: &File) {
    // A cache that cannot be touched forgets in a worse order; nothing more.
    futimens(file, &TimeSpec::UTIME_OMIT, &TimeSpec::UTIME_NOW).ok();
}
