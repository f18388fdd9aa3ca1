//! The tar framing of a chunk: one entry written canonically, read strictly (P13).
//!
//! The reader is our own: general tar readers stop at their end blocks and honour extensions that
//! rename or resize an entry, and so disagree with each other on hostile input.

use std::ops::Range;

/// Every part of a tar file is a multiple of this many bytes.
const BLOCK_LEN: usize = 512;

/// Two zero blocks end a tar file.
const END_LEN: usize = 2 * BLOCK_LEN;

/// Many tars pad to a record of 20 blocks; more padding than that has no legitimate reason.
const RECORD_LEN: usize = 20 * BLOCK_LEN;

/// Returns the name of the only entry.
fn entry_name(index: u32) -> String {
    format!("chunk_{index}.bin")
}

/// Returns the most bytes that the tar file of a chunk of `chunk_len` bytes may have.
pub(super) fn framed_len_max(chunk_len: usize) -> usize {
    (BLOCK_LEN + chunk_len.next_multiple_of(BLOCK_LEN) + END_LEN).next_multiple_of(RECORD_LEN)
}

/// Makes `out` the tar file of a chunk of `len` bytes and returns the slice for these bytes.
///
/// Everything but index, size and bytes is constant, so equal chunks give equal tar files. The
/// slice still holds bytes of the last chunk: the caller overwrites all of it.
pub(super) fn prepare(index: u32, len: usize, out: &mut Vec<u8>) -> &mut [u8] {
    let mut header = tar::Header::new_ustar();
    header.set_path(entry_name(index)).expect("21 ASCII characters fit into a tar header");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(len as u64);
    header.set_cksum();

    // Consecutive chunks mostly have one size, and then only what differs is written.
    out.resize(BLOCK_LEN + len.next_multiple_of(BLOCK_LEN) + END_LEN, 0);
    let (head, rest) = out.split_at_mut(BLOCK_LEN);
    head.copy_from_slice(header.as_bytes());
    let (place, tail) = rest.split_at_mut(len);
    tail.fill(0);
    place
}

/// Returns where the chunk's bytes are in `framed`.
///
/// # Errors
/// The rule that is broken. Accepted is exactly one plain ustar header with the expected name and
/// size, the data, and zeros to the end: at least the two end blocks, in whole blocks.
pub(super) fn read(
    framed: &[u8],
    index: u32,
    chunk_len: usize,
) -> Result<Range<usize>, &'static str> {
    let (header, rest) = framed.split_first_chunk::<BLOCK_LEN>().ok_or("no tar header")?;
    check_header(header, index, chunk_len)?;
    let (_data, tail) = rest.split_at_checked(chunk_len).ok_or("tar entry is cut")?;
    if !framed.len().is_multiple_of(BLOCK_LEN) {
        return Err("tar file is not made of whole blocks");
    }
    let padding_len = chunk_len.next_multiple_of(BLOCK_LEN) - chunk_len;
    if tail.len() < padding_len + END_LEN {
        return Err("tar file has no end");
    }
    if tail.iter().any(|byte| *byte != 0) {
        return Err("something follows the tar entry");
    }
    Ok(BLOCK_LEN..BLOCK_LEN + chunk_len)
}

/// Checks the fields that identify the bytes; owner, mode and time mean nothing here.
fn check_header(
    header: &[u8; BLOCK_LEN],
    index: u32,
    chunk_len: usize,
) -> Result<(), &'static str> {
    let field = |range: Range<usize>| header.get(range).unwrap_or_default();
    if octal(field(148..156)) != Some(checksum(header)) {
        return Err("tar header has a wrong checksum");
    }
    if field(257..265) != b"ustar\x0000" {
        return Err("tar header is not ustar");
    }
    if !matches!(field(156..157), b"0" | b"\0") {
        return Err("tar entry is not a regular file");
    }
    let name = entry_name(index);
    let named = field(0..100).strip_prefix(name.as_bytes()).is_some_and(is_zero);
    // The prefix field would put a directory before the name; a link name would name another file.
    if !named || !is_zero(field(345..500)) || !is_zero(field(157..257)) {
        return Err("tar entry has another name");
    }
    if octal(field(124..136)) != Some(chunk_len as u64) {
        return Err("tar entry has another size");
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Reads an octal number between spaces or NULs; base-256, signs and other forms are not accepted.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_start_matches(' ').trim_end_matches([' ', '\0']);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}

/// Sums the header's bytes, those of the checksum itself counted as spaces.
fn checksum(header: &[u8; BLOCK_LEN]) -> u64 {
    header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
        .sum()
}
