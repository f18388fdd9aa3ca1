//! The listing's side of the outbox: which file has which name, and the directories in between.

use std::sync::Arc;

use super::shared::Outbox;
use crate::mailbox::snapshot::{OutboxDir, Snapshot};
use crate::mailbox::staged::OutboxFile;
use crate::protocol::Identity;

pub(super) fn empty_dir(recipient: &Identity) -> Arc<OutboxDir> {
    Arc::new(OutboxDir::new(recipient.clone()))
}

/// Lists `file` under its name; returns the file that had the name.
pub(super) fn list(snapshot: &mut Snapshot, file: &Arc<OutboxFile>) -> Option<Arc<OutboxFile>> {
    let dir = snapshot
        .outbox
        .entry(file.recipient().dir_name())
        .or_insert_with(|| empty_dir(file.recipient()));
    Arc::make_mut(dir).insert(&file.path(), file)
}

/// Returns the file that is listed under `name`.
pub(super) fn listed(
    snapshot: &Snapshot,
    recipient: &Identity,
    name: &str,
) -> Option<Arc<OutboxFile>> {
    snapshot.outbox.get(&recipient.dir_name())?.files.get(name).cloned()
}

/// Removes `name` from the list of `file`'s recipient, unless it belongs to another file.
pub(super) fn unlist_name(dir: &mut OutboxDir, name: &str, file: &Arc<OutboxFile>) {
    if dir.files.get(name).is_some_and(|listed| Arc::ptr_eq(listed, file)) {
        dir.files.remove(name);
    }
}

impl Outbox {
    /// Removes a file from the list, unless its name belongs to another one.
    pub(super) fn unlist(&self, file: &Arc<OutboxFile>) {
        self.core.listing.update(|snapshot| {
            if let Some(dir) = snapshot.outbox.get_mut(&file.recipient().dir_name()) {
                unlist_name(Arc::make_mut(dir), &file.name(), file);
            }
        });
        self.name_left(file.recipient(), &file.name());
    }

    /// Begins the settle windows of what waited for the file `name`, which is off the list: a
    /// download for its control file, a placeholder for its working copy.
    pub(super) fn name_left(&self, recipient: &Identity, name: &str) {
        self.control_gone(recipient, name);
        self.end_waiting(recipient, name);
    }
}
