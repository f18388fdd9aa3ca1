//! Seals: they distinguish what this user has checked before from what others may have put there.
//!
//! The seal of a layer is the BLAKE3 MAC of its bytes and its digest, in an extended attribute of
//! its file. It costs a fraction of SHA-256. The key is kept with the journal and never in the
//! cache, which may be on a disk that others can write to. A file with no seal, or the seal of
//! another key, is checked by SHA-256 and then sealed; on file systems without attributes this is
//! done for every file.
//!
//! **Invariant:** only bytes that were checked against their digest are sealed under it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use crate::protocol::Digest;
use crate::sys::crash;
use crate::sys::durable::{create_private, rename_durable};
use crate::sys::owner::{is_open_to_others, is_plain_file_of_this_user};

const ATTRIBUTE: &str = "user.dockercomms.seal";

/// Makes and checks the seals of one user.
#[derive(Clone)]
pub struct SealKey([u8; blake3::KEY_LEN]);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(secret)")
    }
}

impl SealKey {
    /// Reads the key in `path`. Makes a new one if it is missing, damaged or not secret: seals of
    /// the old one are then worthless, which costs only time.
    ///
    /// # Errors
    /// When there is no randomness, or a new key cannot be stored.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        if let Some(key) = Self::load(path) {
            return Ok(key);
        }
        let mut key = [0; blake3::KEY_LEN];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        // Removes what a crash left. Two processes that get here at once may end with a key other
        // than the one in the file: what they seal is checked once more.
        let temporary = path.with_extension("new");
        fs::remove_file(&temporary).ok();
        let mut file = create_private(&temporary)?;
        file.write_all(&key)?;
        file.sync_all()?;
        crash::point!("seal.written");
        rename_durable(&temporary, path)?;
        Ok(Self(key))
    }

    fn load(path: &Path) -> Option<Self> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let metadata = file.metadata().ok()?;
        let mut key = [0; blake3::KEY_LEN];
        let is_secret = is_plain_file_of_this_user(&metadata) && !is_open_to_others(&metadata);
        if !is_secret || metadata.len() != key.len() as u64 {
            return None;
        }
        file.read_exact(&mut key).ok()?;
        Some(Self(key))
    }

    /// Seals a file, which holds a layer that was checked against `digest`.
    pub(super) fn seal(&self, file: &File, digest: &Digest, layer: &[u8]) {
        let seal = self.seal_of(digest, layer);
        // Not every file system keeps attributes.
        fsetxattr(file, ATTRIBUTE, seal.as_bytes(), XattrFlags::empty()).ok();
    }

    /// Returns whether the seal of a file confirms that `layer` was checked against `digest`.
    pub(super) fn vouches(&self, file: &File, digest: &Digest, layer: &[u8]) -> bool {
        let mut seal = [0; blake3::OUT_LEN];
        let len = fgetxattr(file, ATTRIBUTE, &mut seal);
        // The comparison of hashes takes the same time wherever they differ.
        len.is_ok_and(|len| len == seal.len()) && self.seal_of(digest, layer) == seal
    }

    fn seal_of(&self, digest: &Digest, layer: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(layer).update(digest.as_bytes()).finalize()
    }
}

#[cfg(test)]
impl From<[u8; blake3::KEY_LEN]> for SealKey {
    fn from(key: [u8; blake3::KEY_LEN]) -> Self {
        Self(key)
    }
}
