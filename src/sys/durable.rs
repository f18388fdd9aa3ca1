//! Files that survive a power cut, and a lock that does not outlive its process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::clock::{Clock as _, SystemClock};
use super::crash;
use super::owner::is_open_to_others;

/// Temporary files older than this were left by a crash; writing one takes milliseconds.
const TEMPORARY_AGE_MAX: Duration = Duration::from_hours(1);

/// How the names of temporary files end.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes `bytes` to `path` so that a reader sees either the old file or the new one, and the
/// new one survives a power cut once this returns.
///
/// The file has mode 0600. The temporary file is beside the target, under a name that starts
/// with a dot; one that a crash left there earlier is removed.
///
/// # Errors
/// Any failure leaves the old file unchanged.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    remove_stale_temporaries(dir);
    let temporary = dir.join(format!(".{}{TEMPORARY_SUFFIX}", uuid::Uuid::new_v4().simple()));
    let result = (|| {
        let mut file = create_private(&temporary)?;
        file.write_all(bytes)?;
        crash::point!("durable.written");
        file.sync_all()?;
        crash::point!("durable.synced");
        rename_durable(&temporary, path)
    })();
    if result.is_err() {
        fs::remove_file(&temporary).ok();
    }
    result
}

/// Removes what killed writers left; a failure only leaves it for the next one.
fn remove_stale_temporaries(dir: &Path) {
    let is_ours = |name: &str| {
        let stem = name.strip_prefix('.').and_then(|name| name.strip_suffix(TEMPORARY_SUFFIX));
        stem.is_some_and(|stem| stem.len() == 32 && stem.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_ours) && is_stale(&entry.path()) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

/// Returns whether a file, which may be a link, was last written so long ago that no writer of a
/// temporary file can still be working on it.
pub fn is_stale(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        SystemClock.now().duration_since(modified).is_ok_and(|age| age > TEMPORARY_AGE_MAX)
    })
}

/// Creates a new file of mode 0600; an existing name or a link in its place is an error.
///
/// # Errors
/// As `open(2)` with `O_CREAT | O_EXCL`.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Renames `from` to `to` and makes the new directory entry durable.
///
/// # Errors
/// As `rename(2)` or `fsync(2)`.
#[expect(clippy::disallowed_methods, reason = "this is the durable rename")]
pub fn rename_durable(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    crash::point!("durable.renamed");
    sync_dir(to.parent().unwrap_or_else(|| Path::new(".")))
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates `dir` and its parents with mode 0700; an existing directory is tightened to 0700.
///
/// # Errors
/// When it cannot be created, or is not a directory of ours.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = fs::symlink_metadata(dir)?;
    if is_open_to_others(&metadata) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Reads a file of at most `len_max` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] when it is longer.
pub fn read_bounded(path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(len_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > len_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// An exclusive lock on a file, held until dropped or until the process dies.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock without waiting and writes our process id into the file.
    ///
    /// `Ok(Err(pid))` names the process that holds it (0 if unknown).
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn try_acquire(path: &Path) -> io::Result<Result<Self, u32>> {
        let mut file = open_lock(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Ok(Self { file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.take(32).read_to_string(&mut text)?;
                Ok(Err(text.trim().parse().unwrap_or(0)))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits for the lock. Only for locks that are held for milliseconds.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        let file = open_lock(path)?;
        file.lock()?;
        Ok(Self { file })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing would release it too; a failure to unlock changes nothing.
        self.file.unlock().ok();
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_atomic_replaces_the_whole_file_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");

        write_atomic(&path, b"a longer first version").unwrap();
        write_atomic(&path, b"second").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn write_atomic_removes_what_a_crash_left_long_ago_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let left = format!(".{}.tmp", "0a".repeat(16));
        for (name, age) in
            [(left.as_str(), 7_200), (".x.tmp", 7_200), (&format!(".{}.tmp", "0b".repeat(16)), 60)]
        {
            let file = create_private(&path(name)).unwrap();
            file.set_modified(SystemClock.now() - Duration::from_secs(age)).unwrap();
        }

        write_atomic(&path("state"), b"x").unwrap();

        assert!(!path(&left).exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn read_bounded_refuses_a_longer_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_atomic(&path, b"12345").unwrap();

        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert_eq!(read_bounded(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_second_lock_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");

        let first = FileLock::try_acquire(&path).unwrap().unwrap();

        assert_eq!(FileLock::try_acquire(&path).unwrap().unwrap_err(), std::process::id());
        drop(first);
        assert!(FileLock::try_acquire(&path).unwrap().is_ok());
    }
}
