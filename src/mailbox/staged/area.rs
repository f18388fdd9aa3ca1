//! Where files are staged, and what every staged file needs to know.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mailbox::entry::EntryPath;
use crate::mailbox::pattern::matches_any;
use crate::sys::Clock;

/// The directory of staged files, the time, and the rules that are the same for all of them.
pub(in crate::mailbox) struct StagingArea {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    /// Names that stay local.
    temporary_names: Vec<String>,
    /// Uncompressed size of a chunk in bytes.
    chunk_bytes: u64,
}

impl StagingArea {
    pub(in crate::mailbox) fn new(
        dir: PathBuf,
        clock: Arc<dyn Clock>,
        temporary_names: Vec<String>,
        chunk_bytes: u64,
    ) -> Self {
        Self { dir, clock, temporary_names, chunk_bytes }
    }

    /// Returns the directory of the staged files.
    pub(in crate::mailbox) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Returns whether a file stays local: by its name, or in a local directory.
    pub(super) fn is_temporary(&self, path: &EntryPath) -> bool {
        path.directory().is_some() || matches_any(&self.temporary_names, path.file_name().as_str())
    }

    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }
}
