//! `close`, `fsync` and the last release: carries out what the commit rule decides.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Fs, subject_of};
use crate::fs::commit::{
    FlushFacts, FlushStep, FsyncStep, Rewrite, abandons_on_release, on_flush, on_fsync,
};
use crate::fs::empty::{FAILED, REFUSED, describe};
use crate::fs::error::FsError;
use crate::fs::handle::{Handle, Writer};
use crate::fs::interrupt::until_interrupted;
use crate::fs::requester::{Requester, Scope, is_written_by};
use crate::mailbox::{Delivery, OutboxFile, SendState};
use crate::sys::blocking::{self, TaskLost};

/// How long `sync FILE` waits for the tag; retries with back-off fit in it.
const SENT_WAIT_MAX: Duration = Duration::from_mins(1);

impl Fs {
    /// Answers the closes that need no decision: nothing was written.
    pub(crate) fn flush_now(&self, handle: u64) -> Option<Result<(), FsError>> {
        match self.handles.get(handle).as_deref() {
            Ok(Handle::Writer(writer)) => {
                let has_news = writer.file.is_dirty() || writer.write_errno().is_some();
                (!has_news).then_some(Ok(()))
            }
            Ok(Handle::Sealed(sealed)) if sealed.was_refused() => Some(Err(FsError::NotPermitted)),
            Ok(_) => Some(Ok(())),
            Err(_) => Some(Err(FsError::BadHandle)),
        }
    }

    /// Closes one descriptor of a file that was written.
    pub(crate) async fn flush(&self, handle: u64, requester: Requester) -> Result<(), FsError> {
        let writer = self.writer(handle)?;
        let outbox = self.mailbox.outbox();
        let step = {
            let writer = Arc::clone(&writer);
            let delivery = outbox.delivery_of(&writer.file);
            let is_local = self.mailbox.snapshot().stays_local(&writer.file);
            blocking::run(move || flush_step(&writer, delivery, is_local, requester))
                .await
                .map_err(|TaskLost| FsError::Interrupted)?
        };
        let closed = match step {
            FlushStep::Nothing => Ok(()),
            FlushStep::KeepEmpty => {
                self.writers.note_close(&writer.file, requester.process());
                Ok(())
            }
            FlushStep::AbandonRefused => {
                outbox.abandon_empty(&writer.file, REFUSED);
                Ok(())
            }
            FlushStep::Abandon if writer.file.len() == 0 && !writer.file.is_rewriting() => {
                let why = requester.failure().map_or_else(|| FAILED.to_owned(), describe);
                outbox.abandon_empty(&writer.file, &why);
                Ok(())
            }
            FlushStep::RepeatError => {
                // What made it Abandoned before says more.
                if writer.file.state() != SendState::Abandoned {
                    self.end_unsent(&writer, "an earlier write failed or its writer died").await?;
                }
                match writer.write_errno() {
                    Some(errno) => Err(FsError::EarlierWrite(errno)),
                    None => Err(FsError::Interrupted),
                }
            }
            FlushStep::Abandon => {
                self.end_unsent(&writer, "the program that wrote it was killed or failed").await
            }
            FlushStep::RefusePart => {
                self.give_up_rewrite(&writer).await?;
                Err(FsError::NotPermitted)
            }
            FlushStep::SyncSpool => {
                let synced = outbox.sync_spool(&writer.file).await;
                self.noted(&subject_of(&writer.file), synced)
            }
            FlushStep::Prepare => self.prepare(&writer.file, requester).await,
            FlushStep::Enqueue => self.enqueue(&writer.file).await,
        };
        writer.note_close(closed.is_err());
        closed
    }

    /// Makes a file that its writer has not completed one that is never sent; in place of a sent
    /// file, that one is listed again.
    async fn end_unsent(&self, writer: &Writer, why: &str) -> Result<(), FsError> {
        if writer.file.is_rewriting() {
            return self.give_up_rewrite(writer).await;
        }
        self.mailbox.outbox().abandon(&writer.file, why);
        Ok(())
    }

    /// Drops a handle; the last writer's release starts the settle window.
    ///
    /// Returns the writer of a file that is to be given up by [`Fs::give_up_released`].
    pub(crate) fn release(&self, handle: u64) -> Option<Arc<Writer>> {
        let handle = self.handles.remove(handle)?;
        let Handle::Writer(writer) = &*handle else { return None };
        let file = &writer.file;
        let is_unsent =
            abandons_on_release(writer.close_failed(), file.state(), file.is_unlinked());
        if is_unsent && !file.is_rewriting() {
            self.mailbox.outbox().abandon(file, "its close was interrupted");
        }
        self.mailbox.outbox().release_writer(file);
        self.writers.judge(file);
        let is_left = file.is_rewriting() && file.writer_count() == 0;
        (is_left && (is_unsent || file.is_partly_rewritten())).then(|| Arc::clone(writer))
    }

    /// Makes content durable, or waits until a finished file is sent.
    pub(crate) async fn fsync(&self, handle: u64, requester: Requester) -> Result<(), FsError> {
        let handle = self.handles.get(handle)?;
        let file = match &*handle {
            Handle::Writer(writer) => match writer.write_errno() {
                Some(errno) => return Err(FsError::EarlierWrite(errno)),
                // Databases that change pages in place look here, and not at `close`.
                None if writer.file.is_partly_rewritten() => return Err(FsError::NotPermitted),
                None => Arc::clone(&writer.file),
            },
            Handle::OutgoingReader(open) => self.outgoing(open.ino)?,
            Handle::Sealed(sealed) if sealed.was_refused() => return Err(FsError::NotPermitted),
            Handle::Sealed(_) | Handle::Dir(_) | Handle::Message(_) | Handle::Text(_) => {
                return Ok(());
            }
        };
        match on_fsync(file.state(), file.writer_count(), file.is_queued()) {
            FsyncStep::Nothing => Ok(()),
            FsyncStep::SyncSpool => {
                let synced = self.mailbox.outbox().sync_spool(&file).await;
                self.noted(&subject_of(&file), synced)
            }
            FsyncStep::ReportError => match file.error() {
                Some((class, _text)) => {
                    Err(FsError::EarlierWrite(crate::fs::errno::of_class(class)))
                }
                None => Ok(()),
            },
            FsyncStep::WaitSent => {
                let cancel = CancellationToken::new();
                until_interrupted(requester, &self.stop, &cancel, async {
                    let sent = self.mailbox.outbox().wait_sent(&file, SENT_WAIT_MAX).await;
                    self.noted(&subject_of(&file), sent)
                })
                .await
            }
        }
    }

    /// Promises the delivery; the mailbox records its errors in `.dockercomms/errors`.
    ///
    /// Local and short, so callers are not interrupted before it ends.
    pub(super) async fn enqueue(&self, file: &Arc<OutboxFile>) -> Result<(), FsError> {
        Ok(self.mailbox.outbox().enqueue(file).await?)
    }

    /// Pushes everything but the tag; the mailbox records its errors in `.dockercomms/errors`.
    pub(super) async fn prepare(
        &self,
        file: &Arc<OutboxFile>,
        requester: Requester,
    ) -> Result<(), FsError> {
        let cancel = self.stop.child_token();
        until_interrupted(requester, &self.stop, &cancel, async {
            // The semaphore is never closed.
            let _permit = self.commits.acquire().await.ok();
            Ok(self.mailbox.outbox().prepare(file, &cancel).await?)
        })
        .await
    }
}

/// Gathers the facts and decides; reads `/proc`, so it runs on a blocking thread.
fn flush_step(
    writer: &Writer,
    delivery: Delivery,
    is_local: bool,
    requester: Requester,
) -> FlushStep {
    let file = &writer.file;
    let facts = FlushFacts {
        is_dirty: file.is_dirty(),
        write_failed: writer.write_errno().is_some(),
        was_refused: writer.was_refused(),
        state: file.state(),
        delivery,
        dies: requester.dies(),
        len: file.len(),
        is_temporary: is_local,
        is_unlinked: file.is_unlinked(),
        rewrite: Rewrite::of(file),
    };
    on_flush(facts, || {
        // One open file description can be shared only by `dup` and by `fork`, which stay inside a
        // session; with several, the others may belong to any process.
        let scope = if file.writer_count() > 1 {
            Scope::EveryProcess
        } else {
            Scope::SessionsOf([requester.process(), writer.opener])
        };
        is_written_by(scope, writer.ino)
    })
}
