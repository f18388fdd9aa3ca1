//! The staged file alone: no mailbox, no database, no registry.

mod directories;
mod properties;
mod shared;
mod transitions;

use std::sync::Arc;

use tempfile::TempDir;

use super::area::StagingArea;
use super::delivering::{MessageBasis, Tagging};
use super::file::{NewContent, OutboxFile};
use super::queueing::Queued;
use super::spool::Spool;
use super::state::SendState;
use super::uploading::Extent;
use crate::mailbox::{EntryPath, MailboxError};
use crate::protocol::{
    ChunkLayer, Digest, ErrorClass, FileName, Identity, MessageId, SessionId, Tag, Timestamp,
};
use crate::store::{OutboxEntry, OutboxState, PreparedMessage};
use crate::sys::ManualClock;

const NOW: u64 = 1_790_000_000;

/// A staging area, and what its files leave in their rows.
struct Desk {
    dir: TempDir,
    area: Arc<StagingArea>,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let names = vec!["*.part".to_owned()];
        let area = StagingArea::new(dir.path().to_owned(), clock, names, 4);
        Self { dir, area: Arc::new(area) }
    }

    /// Stages one content for each of `recipients`, open for one writer.
    fn draft(&self, recipients: &[&str]) -> Vec<Staging> {
        let spool = Spool::create(self.dir.path()).unwrap();
        let spool_name = spool.name();
        let content = NewContent::new(&self.area, spool, 0o600);
        let names = recipients.iter().zip(1_i64..);
        names
            .map(|(recipient, id)| {
                let recipient: Identity = recipient.parse().unwrap();
                let file = content.draft(id, &recipient, &name("report.pdf"));
                Staging { file, row: new_row(id, recipient, &spool_name), last_place: 0 }
            })
            .collect()
    }

    fn one(&self) -> Staging {
        self.draft(&["bob"]).remove(0)
    }

    /// Returns what a start after a crash makes of a row.
    fn restart(&self, staging: Staging) -> Staging {
        let Staging { file, mut row, last_place } = staging;
        drop(file);
        let is_sent = row.state == OutboxState::Sent;
        let spool = Spool::adopt(self.dir.path(), &row.spool).unwrap().filter(|_| !is_sent);
        let len = spool.as_ref().map(|spool| spool.len().unwrap());
        let file = OutboxFile::of_entry(&self.area, row.clone(), spool);
        if let Some(len) = len {
            file.note_found_len(len);
        }
        let is_cut = row.state == OutboxState::Queued && len.is_some_and(|len| len != row.len);
        let is_partial = file.state() == SendState::Draft;
        if (is_cut || is_partial) && file.lose_content("cut off") {
            let saved = file.abandoning().unwrap().apply(&mut row);
            let _left = file.abandoned(saved);
        }
        if !is_sent && file.state() != SendState::Draft {
            file.park_unheld();
        }
        Staging { file, row, last_place }
    }
}

fn name(text: &str) -> EntryPath {
    text.parse().unwrap()
}

fn new_row(id: i64, recipient: Identity, spool: &str) -> OutboxEntry {
    let now = Timestamp::from_unix_secs(NOW.try_into().unwrap());
    OutboxEntry {
        id,
        recipient,
        directory: None,
        name: "report.pdf".to_owned(),
        state: OutboxState::Draft,
        spool: spool.to_owned(),
        len: 0,
        mtime: now,
        mode: 0o600,
        created_at: now,
        updated_at: now,
        queue_place: None,
        message_id: None,
        message: None,
        tag: None,
        error: None,
        unattended: false,
        hidden: false,
        receipt: None,
    }
}

/// A file and its row, driven as the outbox drives them.
struct Staging {
    file: Arc<OutboxFile>,
    row: OutboxEntry,
    last_place: i64,
}

/// Where a delivery is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// The registry refuses before anything is promised.
    Refused,
    /// The journal cannot be written.
    Journal,
    /// A program writes while the message is on its way.
    Write,
    /// The program ends after the registry has everything, before the row says so.
    Crash,
}

impl Staging {
    /// Returns the staged bytes.
    fn bytes(&self) -> Vec<u8> {
        let len = usize::try_from(self.file.len()).unwrap();
        self.file.read_at(0, len).unwrap().to_vec()
    }

    /// Pretends that the registry has taken every chunk.
    fn upload(&self) -> u64 {
        self.file.fit_chunks().unwrap();
        let next = self.file.next_chunks(Extent::Everything, 0, usize::MAX).unwrap();
        for claim in next.claims {
            claim.complete(ChunkLayer { digest: Digest::of(b"layer"), size: 5 });
        }
        self.file.uploaded().unwrap().expect("every chunk is there").generation
    }

    /// Carries everything but the tag to an imagined registry, as `sender::prepare` does.
    fn prepare(&mut self, trouble: Trouble) -> Result<(), MailboxError> {
        let result = self.try_prepare(trouble);
        if let Err(error) = &result
            && trouble != Trouble::Crash
        {
            self.fail(error);
        }
        result
    }

    fn try_prepare(&mut self, trouble: Trouble) -> Result<(), MailboxError> {
        if !self.file.begin_delivery()? {
            return Ok(());
        }
        if let Some(step) = self.file.renewing() {
            let saved = step.apply(&mut self.row);
            return self.file.promised(saved);
        }
        let bytes = self.bytes();
        let generation = self.upload();
        if trouble == Trouble::Refused {
            return Err(MailboxError::Busy);
        }
        let message = match self.file.message_basis(generation) {
            MessageBasis::Made(message) => message,
            MessageBasis::Make { name, id, version } => {
                let message = message(&self.row.recipient, &name, id, &bytes);
                self.file.fix_message(version, &message);
                message
            }
        };
        if let Some(row) = self.file.fixed_row(&message) {
            row.apply(&mut self.row);
        }
        if trouble == Trouble::Crash {
            return Err(MailboxError::TaskLost);
        }
        if trouble == Trouble::Write {
            let _changed = self.file.write_at(0, b"meanwhile").unwrap();
        }
        let step = self.file.promising(&message);
        if trouble == Trouble::Journal {
            return Err(MailboxError::TaskLost);
        }
        let saved = step.apply(&mut self.row);
        self.file.promised(saved)
    }

    /// Promises the delivery in the background, as `delivery::enqueue` does.
    fn enqueue(&mut self, trouble: Trouble) -> Result<(), MailboxError> {
        let result = self.try_enqueue(trouble);
        if let Err(error) = &result {
            self.fail(error);
        }
        result
    }

    fn try_enqueue(&mut self, trouble: Trouble) -> Result<(), MailboxError> {
        let Some(version) = self.file.version_to_queue()? else { return Ok(()) };
        if let Some(step) = self.file.renewing() {
            let saved = step.apply(&mut self.row);
            return self.file.promised(saved);
        }
        if trouble == Trouble::Write {
            let _changed = self.file.write_at(0, b"meanwhile").unwrap();
        }
        let step = self.file.queueing(version, MessageId::from_uuid(uuid::Uuid::new_v4()));
        if trouble == Trouble::Journal {
            return Err(MailboxError::TaskLost);
        }
        self.last_place += 1;
        let saved = step.apply(&mut self.row, self.last_place);
        let Queued { is_same, .. } = self.file.queued(saved);
        if is_same {
            return Ok(());
        }
        self.leave_queue();
        Err(MailboxError::Busy)
    }

    fn leave_queue(&mut self) {
        if let Some(step) = self.file.leaving_queue() {
            let saved = step.apply(&mut self.row);
            let _left = self.file.left_queue(saved);
        }
    }

    /// Opens for writing, as `Outbox::open_for_write` does.
    fn open(&mut self) -> bool {
        self.leave_queue();
        self.unpark();
        if let Some(row) = self.file.unnaming_row() {
            row.apply(&mut self.row);
        }
        self.file.open_writer()
    }

    fn unpark(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.file.unpark()).ok();
    }

    /// Publishes the tag; returns the message that its recipient sees.
    fn publish(&mut self, trouble: Trouble) -> Option<PreparedMessage> {
        let Ok(Tagging::Prepared(message)) = self.file.tagging() else { return None };
        self.file.note_tag_tried();
        if trouble == Trouble::Refused {
            self.fail(&MailboxError::NotPermitted("no push"));
            return None;
        }
        if trouble != Trouble::Crash {
            let saved = self.file.sending().apply(&mut self.row);
            let _left = self.file.sent(saved);
        }
        Some(message)
    }

    fn fail(&mut self, error: &MailboxError) {
        if let Some(failed) = self.file.fail(error.class(), error.to_string(), true) {
            failed.row.apply(&mut self.row);
        }
    }

    fn abandon(&mut self) -> bool {
        let is_abandoned = self.file.abandon("its writer died");
        if is_abandoned && let Some(step) = self.file.abandoning() {
            let saved = step.apply(&mut self.row);
            let _left = self.file.abandoned(saved);
        }
        is_abandoned
    }

    fn rename(&mut self, to: &str) {
        if !self.file.is_queued() {
            self.leave_queue();
        }
        let stays_queued = self.file.is_queued();
        if let Ok(Some((_from, row))) = self.file.rename(&name(to), stays_queued) {
            row.apply(&mut self.row);
        }
    }
}

/// A message whose manifest is its content, so that a test sees what was promised.
fn message(
    recipient: &Identity,
    name: &FileName,
    id: Option<MessageId>,
    bytes: &[u8],
) -> PreparedMessage {
    let id = id.unwrap_or_else(|| MessageId::from_uuid(uuid::Uuid::new_v4()));
    let manifest = [name.as_str().as_bytes(), b"\n", bytes].concat();
    let session = SessionId::from_uuid(uuid::Uuid::new_v4());
    let now = Timestamp::from_unix_secs(NOW.try_into().unwrap());
    PreparedMessage {
        id,
        digest: Digest::of(&[manifest.as_slice(), id.to_string().as_bytes()].concat()),
        manifest,
        bundle: Vec::new(),
        session: session.as_str().to_owned(),
        tag: Tag::message(&recipient.recipient_tag(), now, &session, &id),
    }
}

fn class_of(file: &OutboxFile) -> Option<ErrorClass> {
    file.error().map(|(class, _)| class)
}
