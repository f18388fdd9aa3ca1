//! Staged files: one private file on local disk for each unsent file of the outbox.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{Advice, OFlags, fadvise};

use crate::mailbox::MailboxError;
use crate::sys::durable;

/// Most new names tried for a staged file; a single collision is already unlikely.
const CREATE_ATTEMPTS_MAX: usize = 8;

/// Bytes of a staged file that stay in the page cache behind what is being uploaded; shorter files
/// are not touched, and most are sent before they reach the disk.
const CACHED_LEN: u64 = 32 << 20;

/// Refuses a symbolic link in place of a staged file.
const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// A staged file, open and locked for as long as this process may send it.
///
/// By the lock a recovery in another process sees that the file has an owner.
#[derive(Debug)]
pub(in crate::mailbox) struct Spool {
    file: File,
    path: PathBuf,
}

impl Spool {
    /// Creates an empty staged file under a random name.
    pub(in crate::mailbox) fn create(dir: &Path) -> Result<Self, MailboxError> {
        let failed = MailboxError::io("stage the file");
        for _ in 0..CREATE_ATTEMPTS_MAX {
            let path = dir.join(uuid::Uuid::new_v4().simple().to_string());
            let file = durable::create_private(&path).map_err(&failed)?;
            // A start in another process may have taken it for a leftover, before it was locked.
            let is_taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            if !is_taken && file.metadata().map_err(&failed)?.nlink() > 0 {
                return Ok(Self { file, path });
            }
        }
        Err(MailboxError::Busy)
    }

    /// Opens the staged file `name`; `None` when it is gone or another process owns it.
    pub(in crate::mailbox) fn adopt(dir: &Path, name: &str) -> Result<Option<Self>, MailboxError> {
        let path = dir.join(name);
        let opened = OpenOptions::new().read(true).write(true).custom_flags(NOFOLLOW).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(MailboxError::Io { what: "open a staged file", source }),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, path })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => {
                Err(MailboxError::Io { what: "lock a staged file", source })
            }
        }
    }

    /// Opens the staged file `name` for reading only, regardless of its owner; `None` when it is
    /// gone.
    pub(in crate::mailbox) fn look(dir: &Path, name: &str) -> Result<Option<Self>, MailboxError> {
        let path = dir.join(name);
        match OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(&path) {
            Ok(file) => Ok(Some(Self { file, path })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(MailboxError::Io { what: "open a staged file", source }),
        }
    }

    /// Returns the file's name in the spool directory.
    pub(in crate::mailbox) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(in crate::mailbox) fn len(&self) -> Result<u64, MailboxError> {
        Ok(self.file.metadata().map_err(MailboxError::io("read the staged file"))?.len())
    }

    pub(in crate::mailbox) fn write_at(
        &self,
        offset: u64,
        data: &[u8],
    ) -> Result<(), MailboxError> {
        self.file.write_all_at(data, offset).map_err(MailboxError::io("write the staged file"))
    }

    pub(in crate::mailbox) fn set_len(&self, len: u64) -> Result<(), MailboxError> {
        self.file.set_len(len).map_err(MailboxError::io("resize the staged file"))
    }

    /// Reads up to `len` bytes from `offset`; short only at the end of the file.
    pub(in crate::mailbox) fn read_at(
        &self,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, MailboxError> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(MailboxError::Io { what: "read the staged file", source });
                }
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }

    /// Fills `place` with the bytes from `offset` on.
    pub(in crate::mailbox) fn read_exact_at(
        &self,
        offset: u64,
        place: &mut [u8],
    ) -> io::Result<()> {
        self.file.read_exact_at(place, offset)
    }

    /// Has the kernel write out, and then drop, the pages well behind `end`; only a hint.
    ///
    /// Called for each chunk, it passes every page several times: dirty ones it sends to the disk,
    /// clean ones it frees. A large file then fills the same few pages again and again instead of
    /// pushing out what other programs use, and a fresh page costs more than the copy into it.
    pub(in crate::mailbox) fn forget_behind(&self, end: u64) {
        let end = end.saturating_sub(CACHED_LEN);
        let start = end.saturating_sub(CACHED_LEN);
        if let Some(len) = NonZeroU64::new(end - start) {
            fadvise(&self.file, start, Some(len), Advice::DontNeed).ok();
        }
    }

    /// Makes content and directory entry durable.
    pub(in crate::mailbox) fn sync(&self) -> Result<(), MailboxError> {
        let dir = self.path.parent().unwrap_or_else(|| Path::new("."));
        self.file
            .sync_all()
            .and_then(|()| durable::sync_dir(dir))
            .map_err(MailboxError::io("make the staged file durable"))
    }

    /// Makes the directory entry durable; the bytes may still be in memory only.
    pub(in crate::mailbox) fn sync_name(&self) -> Result<(), MailboxError> {
        let dir = self.path.parent().unwrap_or_else(|| Path::new("."));
        durable::sync_dir(dir).map_err(MailboxError::io("make the staged file durable"))
    }

    /// Removes the name; open handles keep working until they are closed.
    pub(in crate::mailbox) fn remove(&self) {
        // Already gone is as good; anything else leaves a file that the next start removes.
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_file_keeps_what_was_written_and_reads_short_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::create(dir.path()).unwrap();

        spool.write_at(3, b"def").unwrap();
        spool.write_at(0, b"abc").unwrap();

        assert_eq!(spool.read_at(2, 100).unwrap(), &b"cdef"[..]);
        assert_eq!(spool.read_at(6, 1).unwrap(), &b""[..]);
        assert_eq!(spool.len().unwrap(), 6);
    }

    #[test]
    fn what_the_page_cache_forgets_is_still_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::create(dir.path()).unwrap();
        let chunk_len = 8 << 20;
        let chunk = |index: u8| vec![index; chunk_len];

        for index in 0..12 {
            let offset = u64::from(index) * chunk_len as u64;
            spool.write_at(offset, &chunk(index)).unwrap();
            spool.forget_behind(offset + chunk_len as u64);
        }

        for index in 0..12 {
            let found = spool.read_at(u64::from(index) * chunk_len as u64, chunk_len).unwrap();
            assert!(found == chunk(index), "chunk {index}");
        }
    }

    #[test]
    fn a_staged_file_with_an_owner_is_not_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::create(dir.path()).unwrap();
        let name = spool.name();

        assert!(Spool::adopt(dir.path(), &name).unwrap().is_none());
        drop(spool);
        assert!(Spool::adopt(dir.path(), &name).unwrap().is_some());
        assert!(Spool::adopt(dir.path(), "nothing").unwrap().is_none());
    }
}
