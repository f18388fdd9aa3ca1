//! The files of a layout directory, its creation and its lock.
//!
//! Every file is written under a temporary name and renamed, durably. Start at [`Directory`].

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::files::{
    classify, exists_at, make_dir_at, open_dir_at, open_file_at, open_root, read_at, read_bounded,
};
use super::index::Index;
use crate::protocol::Digest;
use crate::registry::RegistryError;
use crate::sys::buffer::Buffer;
use crate::sys::crash;

const INDEX_NAME: &str = "index.json";
const MARKER_NAME: &str = "oci-layout";
const MARKER_BYTES: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The only version that the image-layout specification has.
const LAYOUT_VERSION: &str = "1.0.0";
/// Longest `oci-layout` file in bytes; a real one has 30.
const MARKER_LEN_MAX: u64 = 4096;
const LOCK_NAME: &str = ".dockercomms.lock";
/// Where files are written before they are renamed; `oras` uses the same name for this purpose.
const INGEST_NAME: &str = "ingest";
const TEMPORARY_PREFIX: &str = "tmp-";
/// Age in seconds after which a temporary file has certainly lost its writer.
const TEMPORARY_AGE_MAX_SECS: i64 = 86_400;
const OWN_NAMES: [&str; 5] = ["blobs", INGEST_NAME, INDEX_NAME, MARKER_NAME, LOCK_NAME];

/// Handles of one layout directory, opened for one operation.
#[derive(Debug)]
pub(super) struct Directory {
    root: File,
    blobs: File,
    /// The permission bits of the root: anyone who can use the directory can use its files.
    mode: u32,
}

/// The exclusive right to replace `index.json`, until dropped or until the process dies.
#[derive(Debug)]
pub(super) struct IndexLock {
    root: File,
    _lock: File,
}

impl Directory {
    /// Opens the layout; `None` when there is none yet.
    ///
    /// # Errors
    /// `Configuration` when the directory contains something else.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, RegistryError> {
        let root = match open_root(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(classify)?,
        };
        match read_at(&root, MARKER_NAME, MARKER_LEN_MAX) {
            Ok(bytes) => check_marker(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return require_unused(path).map(|()| None);
            }
            Err(error) => return Err(classify(error)),
        }
        let blobs = open_dir_at(&root, "blobs").and_then(|blobs| open_dir_at(&blobs, "sha256"));
        match blobs {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            blobs => Self::of(root, blobs.map_err(classify)?).map(Some),
        }
    }

    /// Creates the missing parts of the layout.
    pub(super) fn create(path: &Path, lock: &IndexLock) -> Result<Self, RegistryError> {
        if let Some(directory) = Self::open(path)? {
            return Ok(directory);
        }
        let root = lock.root.try_clone().map_err(classify)?;
        let mode = root.metadata().map_err(classify)?.mode();
        let make = |parent: &File, name: &str| make_dir_at(parent, name, mode).map_err(classify);
        let blobs = make(&make(&root, "blobs")?, "sha256")?;
        make(&root, INGEST_NAME)?;
        crash::point!("layout.create.folders");
        let directory = Self::of(root, blobs)?;
        if !exists_at(&directory.root, INDEX_NAME).map_err(classify)? {
            directory.write_index(Index::default().encode().as_bytes())?;
        }
        crash::point!("layout.create.index");
        // The marker is written last: a process that sees it can rely on the rest.
        let marker = directory.write_durably(&directory.root, MARKER_NAME, MARKER_BYTES, 0o666);
        marker.map_err(classify)?;
        crash::point!("layout.create.marker");
        Ok(directory)
    }

    fn of(root: File, blobs: File) -> Result<Self, RegistryError> {
        let mode = root.metadata().map_err(classify)?.mode();
        Ok(Self { root, blobs, mode })
    }

    /// Opens `index.json`; `None` when it is missing.
    pub(super) fn open_index(&self) -> Result<Option<File>, RegistryError> {
        optional(open_file_at(&self.root, INDEX_NAME))
    }

    /// Replaces `index.json` and returns a handle of the new one. Only under the lock.
    ///
    /// Before it, the names of all blobs become durable, including those of other processes:
    /// whatever an index leads to exists after a crash.
    pub(super) fn write_index(&self, bytes: &[u8]) -> Result<File, RegistryError> {
        self.blobs.sync_all().map_err(classify)?;
        self.write_durably(&self.root, INDEX_NAME, bytes, 0o666).map_err(classify)
    }

    /// Returns the size of a blob; `None` when there is no regular file of that name.
    pub(super) fn blob_len(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        match fstatat(&self.blobs, digest.hex().as_str(), flags) {
            Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFREG => {
                Ok(u64::try_from(stat.st_size).ok())
            }
            Ok(_) | Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(classify(error.into())),
        }
    }

    /// Reads a blob of at most `len_max` bytes and checks its digest; `None` when it is missing.
    pub(super) fn read_blob(
        &self,
        digest: &Digest,
        what: &'static str,
        len_max: u64,
    ) -> Result<Option<Buffer>, RegistryError> {
        let Some(file) = optional(open_file_at(&self.blobs, &digest.hex()))? else {
            return Ok(None);
        };
        let bytes = read_bounded(&file, len_max).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => RegistryError::TooLarge { what, limit: len_max },
            _ => classify(error),
        })?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(RegistryError::DigestMismatch { expected: *digest, actual });
        }
        Ok(Some(bytes))
    }

    /// Writes a blob unless one of that name and size already exists.
    ///
    /// Its bytes are then durable, its name with the next index: the directory is not synced for
    /// each of a thousand chunks.
    pub(super) fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), RegistryError> {
        if self.blob_len(digest)? == Some(bytes.len() as u64) && self.keep_blob(digest)? {
            return Ok(());
        }
        // Read-only, since a blob must never change; `oras` does the same.
        self.write(&self.blobs, &digest.hex(), bytes, 0o444).map_err(classify)?;
        Ok(())
    }

    /// Returns the handle of the blobs' directory.
    pub(super) fn blobs(&self) -> &File {
        &self.blobs
    }

    /// Returns the time by the file system's own clock, the one that matters on a shared disk.
    pub(super) fn now(&self) -> io::Result<i64> {
        let ingest = make_dir_at(&self.root, INGEST_NAME, self.mode)?;
        let temporary = format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::new_v4().simple());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let file = File::from(openat(&ingest, temporary.as_str(), flags, mode)?);
        unlinkat(&ingest, temporary.as_str(), UnlinkatFlags::NoRemoveDir)?;
        Ok(file.metadata()?.mtime())
    }

    /// Removes a blob; it is not an error if it is gone.
    pub(super) fn remove_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        match unlinkat(&self.blobs, digest.hex().as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(classify(error.into())),
        }
    }

    /// Removes what killed writers left behind.
    ///
    /// The age is measured against `now`, a time of the file system's own clock, which is the one
    /// that matters on a shared disk.
    pub(super) fn sweep(&self, path: &Path, now: i64) -> io::Result<()> {
        let ingest = make_dir_at(&self.root, INGEST_NAME, self.mode)?;
        for item in fs::read_dir(path.join(INGEST_NAME))? {
            let name = item?.file_name();
            if !name.to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                continue;
            }
            let stat = fstatat(&ingest, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
            if stat.is_ok_and(|stat| now.saturating_sub(stat.st_mtime) > TEMPORARY_AGE_MAX_SECS) {
                unlinkat(&ingest, name.as_os_str(), UnlinkatFlags::NoRemoveDir).ok();
            }
        }
        Ok(())
    }

    /// Writes a file so that a reader sees the old one or the new one, durably.
    fn write_durably(&self, dir: &File, name: &str, bytes: &[u8], mask: u32) -> io::Result<File> {
        let file = self.write(dir, name, bytes, mask)?;
        dir.sync_all()?;
        Ok(file)
    }

    /// Writes a file so that a reader sees the old one or the new one; its name is not durable yet.
    fn write(&self, dir: &File, name: &str, bytes: &[u8], mask: u32) -> io::Result<File> {
        let ingest = make_dir_at(&self.root, INGEST_NAME, self.mode)?;
        let temporary = format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::new_v4().simple());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(
            &ingest,
            temporary.as_str(),
            flags,
            Mode::from_bits_truncate(0o600),
        )?);
        let result = (|| {
            crash::point!("layout.file.created");
            file.write_all(bytes)?;
            crash::point!("layout.file.written");
            fchmod(&file, Mode::from_bits_truncate(self.mode & mask))?;
            file.sync_all()?;
            crash::point!("layout.file.synced");
            renameat(&ingest, temporary.as_str(), dir, name)?;
            crash::point!("layout.file.renamed");
            Ok(())
        })();
        if result.is_err() {
            unlinkat(&ingest, temporary.as_str(), UnlinkatFlags::NoRemoveDir).ok();
        }
        result.map(|()| file)
    }
}

impl IndexLock {
    /// Takes the lock of a directory, which is created if it is missing, without waiting; `None` if
    /// another process has it.
    pub(super) fn try_acquire(path: &Path) -> Result<Option<Self>, RegistryError> {
        let root = match open_root(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(classify)?;
                open_root(path)
            }
            root => root,
        };
        let root = root.map_err(classify)?;
        if !exists_at(&root, MARKER_NAME).map_err(classify)? {
            require_unused(path)?;
        }
        let lock = open_lock(&root).map_err(classify)?;
        match lock.try_lock() {
            Ok(()) => {
                crash::point!("layout.lock.taken");
                Ok(Some(Self { root, _lock: lock }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(classify(error)),
        }
    }
}

fn check_marker(bytes: &[u8]) -> Result<(), RegistryError> {
    let version = serde_json::from_slice::<serde_json::Value>(bytes)
        .ok()
        .and_then(|value| Some(value.get("imageLayoutVersion")?.as_str()? == LAYOUT_VERSION));
    if version == Some(true) {
        return Ok(());
    }
    Err(RegistryError::Malformed { reason: "oci-layout is not of version 1.0.0".into() })
}

/// Refuses to turn a directory with other files into a layout.
fn require_unused(path: &Path) -> Result<(), RegistryError> {
    for item in fs::read_dir(path).map_err(classify)? {
        let name = item.map_err(classify)?.file_name();
        if !OWN_NAMES.iter().any(|own| name == *own) {
            return Err(RegistryError::Configuration(format!(
                "{} is neither an OCI image layout nor empty",
                path.display()
            )));
        }
    }
    Ok(())
}

fn open_lock(root: &File) -> io::Result<File> {
    // Writable, because locks over NFS need it; created only when missing, because opening another
    // user's file with O_CREAT fails in a sticky directory.
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let create = flags | OFlag::O_CREAT | OFlag::O_EXCL;
    let file: File = match openat(root, LOCK_NAME, flags, Mode::empty()) {
        Err(Errno::ENOENT) => {
            match openat(root, LOCK_NAME, create, Mode::from_bits_truncate(0o600)) {
                Ok(file) => {
                    let mode = root.metadata()?.mode() & 0o666;
                    fchmod(&file, Mode::from_bits_truncate(mode))?;
                    file.into()
                }
                Err(Errno::EEXIST) => openat(root, LOCK_NAME, flags, Mode::empty())?.into(),
                Err(error) => return Err(error.into()),
            }
        }
        file => file?.into(),
    };
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(file)
}

fn optional(file: io::Result<File>) -> Result<Option<File>, RegistryError> {
    match file {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(classify(error)),
    }
}
