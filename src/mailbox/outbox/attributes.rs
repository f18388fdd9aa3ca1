//! Extended attributes that tools keep with a file; never sent.

use super::file::OutboxFile;
use crate::mailbox::MailboxError;

/// Most bytes that extended attributes of one file may take, as ext4 allows.
const XATTR_BYTES_MAX: usize = 64 << 10;

impl OutboxFile {
    /// Returns a local extended attribute.
    pub fn xattr(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.lock().xattrs.get(name).cloned()
    }

    /// Sets a local extended attribute, or removes it.
    ///
    /// # Errors
    /// `TooLarge` when the file's attributes would take more than 64 KiB.
    pub fn set_xattr(&self, name: &str, value: Option<&[u8]>) -> Result<(), MailboxError> {
        let mut inner = self.inner.lock();
        let Some(value) = value else {
            inner.xattrs.remove(name);
            return Ok(());
        };
        let used: usize = inner.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if used + name.len() + value.len() > XATTR_BYTES_MAX {
            return Err(MailboxError::TooLarge);
        }
        inner.xattrs.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    /// Returns the names of the local extended attributes.
    pub fn xattr_names(&self) -> Vec<String> {
        self.inner.lock().xattrs.keys().cloned().collect()
    }
}
