//! Turns results into replies: attributes, errnos, flags and listings as the kernel expects them.

use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyAttr,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr,
};

use super::attr::{Attr, BLOCK_LEN};
use super::errno;
use super::error::FsError;
use super::ops::{Caching, DOT_COUNT, Fs, Listing, Opened, Space};
use crate::protocol::limits::NAME_LEN_MAX;

/// Inode numbers are never reused, so one generation is enough.
pub(super) const GENERATION: Generation = Generation(0);

/// The owner of all files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    /// The user.
    pub(super) uid: u32,
    /// The group.
    pub(super) gid: u32,
}

pub(super) fn to_file_attr(attr: &Attr, owner: Owner) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.len,
        blocks: attr.len.div_ceil(512),
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: attr.mtime,
        kind: kind(attr.is_dir),
        perm: attr.mode,
        nlink: attr.link_count,
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        blksize: BLOCK_LEN,
        flags: 0,
    }
}

fn kind(is_dir: bool) -> FileType {
    if is_dir { FileType::Directory } else { FileType::RegularFile }
}

pub(super) fn to_errno(error: &FsError) -> Errno {
    Errno::from_i32(errno::of(error))
}

/// `may_bypass`: the kernel drops what readers have cached when a write bypasses its cache.
pub(super) fn fopen_flags(opened: Opened, may_bypass: bool) -> FopenFlags {
    match opened.caching {
        Caching::Written if may_bypass => FopenFlags::FOPEN_DIRECT_IO,
        // Without it a shared mapping could be stored to, and nothing would report the refusal.
        Caching::Sealed => FopenFlags::FOPEN_DIRECT_IO,
        Caching::None | Caching::Written => FopenFlags::empty(),
        Caching::ReadOnly => FopenFlags::FOPEN_NOFLUSH,
        Caching::Immutable => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
        Caching::Listing => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
        Caching::Direct => FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH,
    }
}

pub(super) fn answer_empty(reply: ReplyEmpty, result: Result<(), FsError>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(to_errno(&error)),
    }
}

pub(super) fn answer_open(reply: ReplyOpen, result: Result<Opened, FsError>, may_bypass: bool) {
    match result {
        Ok(opened) => {
            reply.opened(FileHandle(opened.handle), fopen_flags(opened, may_bypass));
        }
        Err(error) => reply.error(to_errno(&error)),
    }
}

pub(super) fn answer_entry(reply: ReplyEntry, result: Result<Attr, FsError>, owner: Owner) {
    match result {
        Ok(attr) => {
            let shown = to_file_attr(&attr, owner);
            reply.entry_with_ttls(&attr.ttl, &attr.entry_ttl, &shown, GENERATION);
        }
        Err(error) => reply.error(to_errno(&error)),
    }
}

pub(super) fn answer_attr(reply: ReplyAttr, result: Result<Attr, FsError>, owner: Owner) {
    match result {
        Ok(attr) => reply.attr(&attr.ttl, &to_file_attr(&attr, owner)),
        Err(error) => reply.error(to_errno(&error)),
    }
}

pub(super) fn answer_xattr(reply: ReplyXattr, size: u32, result: Result<Vec<u8>, FsError>) {
    match result {
        Ok(value) => match u32::try_from(value.len()) {
            Ok(len) if size == 0 => reply.size(len),
            Ok(len) if len <= size => reply.data(&value),
            _ => reply.error(Errno::ERANGE),
        },
        Err(error) => reply.error(to_errno(&error)),
    }
}

pub(super) fn answer_statfs(reply: ReplyStatfs, result: Result<Space, FsError>) {
    /// The number of inodes to show: there is no limit, and 0 would look full.
    const FILE_COUNT: u64 = 1 << 32;
    let name_len = u32::try_from(NAME_LEN_MAX).unwrap_or(255);
    match result {
        Ok(space) => reply.statfs(
            space.block_count,
            space.free_block_count,
            space.free_block_count,
            FILE_COUNT,
            FILE_COUNT,
            BLOCK_LEN,
            name_len,
            BLOCK_LEN,
        ),
        Err(error) => reply.error(to_errno(&error)),
    }
}

/// Fills a listing from `offset` on. Offsets count entries, so they stay valid for this stream.
pub(super) fn answer_listing(mut reply: ReplyDirectory, fs: &Fs, listing: &Listing, offset: u64) {
    let mut next = offset;
    for (name, attr) in listing.dots.iter().skip(index(offset)) {
        next += 1;
        if reply.add(INodeNo(attr.ino), next, FileType::Directory, name) {
            return reply.ok();
        }
    }
    for (name, node) in listing.entries.iter().skip(index(next.saturating_sub(DOT_COUNT))) {
        next += 1;
        let ino = INodeNo(fs.number_of(node));
        if reply.add(ino, next, kind(node.is_dir()), name) {
            break;
        }
    }
    reply.ok();
}

/// The same with attributes; the kernel counts a reference for every entry that fits.
pub(super) fn answer_listing_plus(
    mut reply: ReplyDirectoryPlus,
    fs: &Fs,
    listing: &Listing,
    offset: u64,
    owner: Owner,
) {
    let mut next = offset;
    for (name, attr) in listing.dots.iter().skip(index(offset)) {
        next += 1;
        let shown = to_file_attr(attr, owner);
        if reply.add(shown.ino, next, name, &attr.ttl, &shown, GENERATION) {
            return reply.ok();
        }
    }
    for (name, node) in listing.entries.iter().skip(index(next.saturating_sub(DOT_COUNT))) {
        next += 1;
        let attr = fs.acquire(node);
        let ttl = attr.ttl.min(attr.entry_ttl);
        let shown = to_file_attr(&attr, owner);
        if reply.add(shown.ino, next, name, &ttl, &shown, GENERATION) {
            fs.forget(attr.ino, 1);
            break;
        }
    }
    reply.ok();
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn attributes_translate_field_by_field() {
        let attr = Attr {
            ino: 42,
            len: 1025,
            mtime: SystemTime::UNIX_EPOCH,
            is_dir: false,
            mode: 0o400,
            link_count: 1,
            ttl: Duration::ZERO,
            entry_ttl: Duration::ZERO,
        };

        let shown = to_file_attr(&attr, Owner { uid: 7, gid: 8 });

        assert_eq!((shown.ino, shown.size, shown.blocks), (INodeNo(42), 1025, 3));
        assert_eq!((shown.uid, shown.gid, shown.perm), (7, 8, 0o400));
        assert_eq!(shown.kind, FileType::RegularFile);
    }

    #[test]
    fn only_immutable_content_survives_a_close() {
        let flags = |caching| fopen_flags(Opened { handle: 1, caching }, true);

        assert!(flags(Caching::Immutable).contains(FopenFlags::FOPEN_KEEP_CACHE));
        assert!(!flags(Caching::ReadOnly).contains(FopenFlags::FOPEN_KEEP_CACHE));
        assert!(flags(Caching::Direct).contains(FopenFlags::FOPEN_DIRECT_IO));
        assert!(flags(Caching::None).is_empty());
    }

    #[test]
    fn writes_bypass_the_cache_only_where_readers_stay_right() {
        let written = Opened { handle: 1, caching: Caching::Written };

        assert_eq!(fopen_flags(written, true), FopenFlags::FOPEN_DIRECT_IO);
        assert!(fopen_flags(written, false).is_empty());
    }
}
