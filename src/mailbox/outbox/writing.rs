//! Files that are written: created, opened again, changed, read back.

use std::sync::Arc;

use super::delivery::{leave_queue, leave_queue_soon};
use super::directory::list;
use super::shared::Outbox;
use super::upload;
use crate::mailbox::MailboxError;
use crate::mailbox::entry::{EntryName, EntryPath};
use crate::mailbox::reading::MessageReader;
use crate::mailbox::snapshot::Snapshot;
use crate::mailbox::staged::{Changed, NewContent, OutboxFile, Spool};
use crate::protocol::Identity;
use crate::store::NewOutbox;
use crate::sys::{blocking, crash};

impl Outbox {
    /// Creates an empty draft and takes one writer reference.
    ///
    /// # Errors
    /// `Exists` when the name is listed, `NotFound` when its directory is not; `NotARecipient` for a
    /// recipient that is not listed and cannot be; the disk's error when nothing can be staged.
    pub async fn create(
        &self,
        recipient: &Identity,
        path: &EntryPath,
        mode: u32,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        self.create_in_place_of(recipient, path, mode, None).await
    }

    pub(super) async fn create_in_place_of(
        &self,
        recipient: &Identity,
        path: &EntryPath,
        mode: u32,
        replaced: Option<&Arc<OutboxFile>>,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        let core = &self.core;
        self.admit(recipient)?;
        let check = |snapshot: &Snapshot| check_place(snapshot, recipient, path, replaced);
        check(&core.listing.snapshot())?;
        let area = Arc::clone(&self.shared.area);
        let spool = blocking::try_run(move || Spool::create(area.dir())).await?;
        crash::point!("outbox.create.staged");
        let new = NewOutbox {
            recipient: recipient.clone(),
            directory: path.directory().map(|directory| directory.as_str().to_owned()),
            name: path.name().as_str().to_owned(),
            spool: spool.name(),
            created_at: core.now(),
        };
        let id = match core.store.insert_outbox(new).await {
            Ok(id) => id,
            Err(error) => {
                spool.remove();
                return Err(error.into());
            }
        };
        crash::point!("outbox.create.recorded");
        let content = NewContent::new(&self.shared.area, spool, mode);
        let file = content.draft(id, recipient, path);
        let is_listed = core.listing.update(|snapshot| {
            check(snapshot)?;
            list(snapshot, &file);
            Ok(())
        });
        if let Err(error) = is_listed {
            self.forget(&file).await?;
            return Err(error);
        }
        if let Some(replaced) = replaced {
            self.replace(replaced, &file).await?;
            crash::point!("outbox.create.replaced");
        }
        Ok(file)
    }

    /// Takes a writer reference for a listed file and returns the file that the handle must use.
    ///
    /// A draft stays as it is; Prepared, Failed and Abandoned become drafts again; Sent with
    /// `truncate` is replaced by a new draft of the same name.
    ///
    /// # Errors
    /// `NotPermitted` for a sent file without `truncate`: a message is immutable. (`fs` may let
    /// such an open succeed and call again with `truncate` once the program truncates the file to
    /// nothing.)
    pub async fn open_for_write(
        &self,
        file: &Arc<OutboxFile>,
        truncate: bool,
    ) -> Result<Arc<OutboxFile>, MailboxError> {
        let is_open = {
            // A publish in progress ends first: the file is then either still ours, or sent.
            let _claim = file.claim();
            let _delivery = file.lock_delivery().await;
            leave_queue(self, file).await?;
            file.unpark().await?;
            if let Some(row) = file.unnaming_row() {
                row.save(&self.core.store).await?;
            }
            file.open_writer()
        };
        match (is_open, truncate) {
            (true, false) => Ok(Arc::clone(file)),
            (true, true) => match self.set_len(file, 0) {
                Ok(()) => Ok(Arc::clone(file)),
                Err(error) => {
                    self.release_writer(file);
                    Err(error)
                }
            },
            (false, false) => Err(MailboxError::NotPermitted("a sent message is immutable")),
            (false, true) => {
                let (path, mode) = (file.path(), file.mode());
                self.create_in_place_of(file.recipient(), &path, mode, Some(file)).await
            }
        }
    }

    /// Writes into the staged file; whole chunks start uploading.
    ///
    /// # Errors
    /// `NotPermitted` when sent, `TooLarge` past the protocol's limit, or the disk's error: it
    /// marks the file Failed, since what the writer meant is missing.
    pub fn write_at(
        &self,
        file: &Arc<OutboxFile>,
        offset: u64,
        data: &[u8],
    ) -> Result<(), MailboxError> {
        self.follow_change(file, file.write_at(offset, data)?)
    }

    /// Truncates or extends the file.
    ///
    /// # Errors
    /// As [`Outbox::write_at`].
    pub fn set_len(&self, file: &Arc<OutboxFile>, len: u64) -> Result<(), MailboxError> {
        self.follow_change(file, file.set_len(len)?)
    }

    fn follow_change(&self, file: &Arc<OutboxFile>, changed: Changed) -> Result<(), MailboxError> {
        for (recipient, place) in changed.voided {
            leave_queue_soon(self, recipient, place);
        }
        if changed.begin_upload {
            upload::begin(self, file);
        }
        changed.failure.map_or(Ok(()), Err)
    }

    /// Returns a reader over the registry for a sent file; `None` while the staged file holds the
    /// content.
    pub fn reader(&self, file: &OutboxFile) -> Option<MessageReader> {
        if file.is_readable_here() {
            return None;
        }
        // Digest and manifest of the same message, also while another one is made.
        let message = file.message()?;
        MessageReader::of_manifest(&self.shared.reading, message.digest, &message.manifest).ok()
    }
}

/// Checks that a new file may be listed as `path`, in place of `replaced`.
fn check_place(
    snapshot: &Snapshot,
    recipient: &Identity,
    path: &EntryPath,
    replaced: Option<&Arc<OutboxFile>>,
) -> Result<(), MailboxError> {
    let dir = snapshot.outbox.get(&recipient.dir_name());
    let is_listed =
        |directory: &EntryName| dir.is_some_and(|dir| dir.directories.contains(directory.as_str()));
    if !path.directory().is_none_or(is_listed) {
        return Err(MailboxError::NotFound("directory"));
    }
    let Some(dir) = dir.filter(|dir| dir.contains(path.as_str())) else { return Ok(()) };
    let is_replaced = dir
        .files
        .get(path.as_str())
        .is_some_and(|listed| replaced.is_some_and(|replaced| Arc::ptr_eq(listed, replaced)));
    if is_replaced { Ok(()) } else { Err(MailboxError::Exists) }
}
