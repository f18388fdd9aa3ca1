//! Assembles the outbox.

use std::path::PathBuf;
use std::sync::Arc;

use super::lane::on_wake;
use super::shared::Outbox;
use crate::mailbox::core::Core;
use crate::mailbox::reading::Reading;
use crate::mailbox::staged::StagingArea;

impl Outbox {
    /// Returns the outbox that stages its files in `dir`; with `owns_leftovers`, the files that an
    /// earlier run left there belong to this process.
    pub(in crate::mailbox) fn new(
        core: Arc<Core>,
        reading: Arc<Reading>,
        dir: PathBuf,
        owns_leftovers: bool,
    ) -> Self {
        let options = &core.options;
        let area = StagingArea::new(
            dir,
            Arc::clone(&core.clock),
            options.temporary_names.clone(),
            options.chunk_bytes,
        );
        Self::over(core, reading, Arc::new(area), owns_leftovers, on_wake)
    }
}
