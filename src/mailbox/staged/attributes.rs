//! Times, permissions and extended attributes that tools keep with a file; never sent.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::mailbox::MailboxError;

/// Most bytes that extended attributes of one file may take, as ext4 allows.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// What programs set on a file, kept on this machine alone.
#[derive(Debug)]
pub(super) struct Attributes {
    /// The last change of content, or what a program has set.
    pub(super) mtime: SystemTime,
    /// When its content was begun: at its creation, or when it was last cut to nothing.
    pub(super) begun_at: SystemTime,
    /// Permission bits.
    pub(super) mode: u32,
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl Attributes {
    pub(super) fn new(mtime: SystemTime, mode: u32) -> Self {
        Self { mtime, begun_at: mtime, mode, xattrs: BTreeMap::new() }
    }

    pub(super) fn xattr(&self, name: &str) -> Option<Vec<u8>> {
        self.xattrs.get(name).cloned()
    }

    /// Sets an extended attribute, or removes it.
    ///
    /// # Errors
    /// `TooLarge` when all of them would take more than 64 KiB.
    pub(super) fn set_xattr(
        &mut self,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<(), MailboxError> {
        let Some(value) = value else {
            self.xattrs.remove(name);
            return Ok(());
        };
        let used: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if used + name.len() + value.len() > XATTR_BYTES_MAX {
            return Err(MailboxError::TooLarge);
        }
        self.xattrs.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    pub(super) fn xattr_names(&self) -> Vec<String> {
        self.xattrs.keys().cloned().collect()
    }
}
