//! When a file in `outbox/` counts as complete: the commit rule, as pure functions
//! (src/fs/README.md "The commit rule").
//!
//! Programs never say "done"; they close. These functions turn the facts known at a close, a rename
//! or an fsync into one step; `ops` gathers the facts and carries the step out. Start at
//! [`on_flush`].
//!
//! **Invariant:** a file whose writer dies, fails or is interrupted is never sent.

use crate::mailbox::{Delivery, OutboxFile, SendState};

/// What is known when a descriptor of a writable handle is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact of the rule")]
pub(crate) struct FlushFacts {
    /// Content that no prepare has covered.
    pub is_dirty: bool,
    /// An earlier write through this handle failed.
    pub write_failed: bool,
    /// An earlier operation through this handle, which did not write, was refused.
    pub was_refused: bool,
    /// The delivery state of the file.
    pub state: SendState,
    /// What a close of files to this recipient waits for.
    pub delivery: Delivery,
    /// The caller is exiting with a code other than 0, or by a signal.
    pub dies: bool,
    /// Bytes in the file.
    pub len: u64,
    /// The name stays local, or a control file says that the download is not complete.
    pub is_temporary: bool,
    /// The file no longer has a name.
    pub is_unlinked: bool,
    /// Whether it takes the place of a sent file that was not cut first.
    pub rewrite: Rewrite,
}

/// How far a sent file was written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rewrite {
    /// It was not, or all of it was.
    Whole,
    /// A part of it would have to stay.
    Partial,
    /// The sent file is listed again.
    GivenUp,
}

impl Rewrite {
    /// Returns how far `file` has got.
    pub(crate) fn of(file: &OutboxFile) -> Self {
        match (file.is_rewrite_given_up(), file.is_partly_rewritten()) {
            (true, _) => Self::GivenUp,
            (false, true) => Self::Partial,
            (false, false) => Self::Whole,
        }
    }
}

/// What a close does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlushStep {
    /// Nothing to do; the close succeeds.
    Nothing,
    /// Return the earlier error again; the file is not sent.
    RepeatError,
    /// Mark as never to be sent: its writer died.
    Abandon,
    /// Mark as never to be sent: something that the program wanted was refused, and it wrote nothing.
    AbandonRefused,
    /// The end of the caller decides; the close succeeds.
    KeepEmpty,
    /// Refuse the change of a part of a sent file, which stays as it was.
    RefusePart,
    /// The content becomes durable on the local disk only.
    SyncSpool,
    /// Push everything now; the result is the close's result.
    Prepare,
    /// The content becomes durable and its delivery a promise; the result is the close's result.
    Enqueue,
}

/// Decides what closing a descriptor does; the numbers are those of the commit rule.
///
/// `has_other_writers` costs a walk through `/proc` and is evaluated last.
pub(crate) fn on_flush(facts: FlushFacts, has_other_writers: impl FnOnce() -> bool) -> FlushStep {
    // 2, before 1: the name belongs to the sent file again.
    if facts.rewrite == Rewrite::GivenUp {
        return FlushStep::RefusePart;
    }
    // 1: also the flush that every `dup2` of a shell causes before anything was written.
    if facts.is_unlinked || (!facts.is_dirty && !facts.write_failed) {
        return FlushStep::Nothing;
    }
    // 2: programs that ignored ENOSPC at write must not send a truncated file. A file whose writer
    // died stays unsent until a program writes to it again.
    if facts.write_failed || facts.state == SendState::Abandoned {
        return FlushStep::RepeatError;
    }
    // 3
    if facts.dies {
        return FlushStep::Abandon;
    }
    // 4: a shell creates the file long before the command writes to it.
    if facts.len == 0 {
        return if facts.was_refused { FlushStep::AbandonRefused } else { FlushStep::KeepEmpty };
    }
    // 5
    if facts.is_temporary {
        return FlushStep::SyncSpool;
    }
    // 6
    if has_other_writers() {
        return FlushStep::Nothing;
    }
    // 7: a message is not made of two.
    if facts.rewrite == Rewrite::Partial {
        return FlushStep::RefusePart;
    }
    // 8
    match facts.delivery {
        Delivery::Sync => FlushStep::Prepare,
        Delivery::Queued => FlushStep::Enqueue,
    }
}

/// Returns whether a release must mark the file as never to be sent.
///
/// A close that failed reported to its program that the file was not sent, so the background must
/// not send it after all. Failed files are kept from sending by their state; a Prepared one was
/// promised by a later close.
pub(crate) fn abandons_on_release(close_failed: bool, state: SendState, is_unlinked: bool) -> bool {
    close_failed && !is_unlinked && matches!(state, SendState::Draft | SendState::Preparing)
}

/// What a rename inside one recipient does after the name changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenameStep {
    /// The new name stays local too.
    Nothing,
    /// An empty file waits in its settle window under the new name.
    Settle,
    /// A new name does not complete what no writer completed.
    StayAbandoned,
    /// The new name is final: push everything now; the result is the rename's result.
    Prepare,
    /// The new name is final: its delivery becomes a promise; the result is the rename's result.
    Enqueue,
}

/// Decides what a rename does, by the new name, the state before it and the content.
///
/// A failed file is tried again; an abandoned one is not completed by a new name.
pub(crate) fn on_rename(
    to_is_temporary: bool,
    state: SendState,
    len: u64,
    delivery: Delivery,
) -> RenameStep {
    match state {
        SendState::Abandoned => RenameStep::StayAbandoned,
        SendState::Sent => RenameStep::Nothing,
        SendState::Draft
        | SendState::Queued
        | SendState::Preparing
        | SendState::Prepared
        | SendState::Failed => match delivery {
            _ if to_is_temporary => RenameStep::Nothing,
            _ if len == 0 => RenameStep::Settle,
            Delivery::Sync => RenameStep::Prepare,
            Delivery::Queued => RenameStep::Enqueue,
        },
    }
}

/// What fsync does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FsyncStep {
    /// Nothing could be lost.
    Nothing,
    /// The content becomes durable on the local disk.
    SyncSpool,
    /// `sync FILE` is the confirmation: wait until the tag exists.
    WaitSent,
    /// Report why it will not be sent.
    ReportError,
}

/// Decides what fsync does.
///
/// Never sends unfinished content: vim, sqlite and git call it midway. Never waits for a tag that
/// is published only after the caller's own release, or for the queue, which may take days: what
/// `close` promised is already durable.
pub(crate) fn on_fsync(state: SendState, writer_count: u32, is_queued: bool) -> FsyncStep {
    match state {
        SendState::Sent => FsyncStep::Nothing,
        SendState::Queued | SendState::Preparing if is_queued => FsyncStep::Nothing,
        SendState::Failed if writer_count == 0 => FsyncStep::ReportError,
        SendState::Preparing | SendState::Prepared if writer_count == 0 => FsyncStep::WaitSent,
        SendState::Draft
        | SendState::Queued
        | SendState::Preparing
        | SendState::Prepared
        | SendState::Failed
        | SendState::Abandoned => FsyncStep::SyncSpool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A finished copy: everything written, no other process has the file open.
    const COMPLETE: FlushFacts = FlushFacts {
        is_dirty: true,
        write_failed: false,
        was_refused: false,
        state: SendState::Draft,
        delivery: Delivery::Sync,
        dies: false,
        len: 5,
        is_temporary: false,
        is_unlinked: false,
        rewrite: Rewrite::Whole,
    };

    #[test]
    #[expect(clippy::too_many_lines, reason = "the table is the rule")]
    fn the_flush_table_holds_in_its_order() {
        let table = [
            ("complete", COMPLETE, false, FlushStep::Prepare),
            (
                "1 nothing new",
                FlushFacts { is_dirty: false, ..COMPLETE },
                false,
                FlushStep::Nothing,
            ),
            (
                "1 before 3: nothing new in a dying process",
                FlushFacts { is_dirty: false, dies: true, ..COMPLETE },
                false,
                FlushStep::Nothing,
            ),
            (
                "2 an earlier write failed",
                FlushFacts { write_failed: true, ..COMPLETE },
                false,
                FlushStep::RepeatError,
            ),
            (
                "2 even when that write was the only one",
                FlushFacts { write_failed: true, is_dirty: false, len: 0, ..COMPLETE },
                false,
                FlushStep::RepeatError,
            ),
            (
                "2 before 3",
                FlushFacts { write_failed: true, dies: true, ..COMPLETE },
                false,
                FlushStep::RepeatError,
            ),
            (
                "2 abandoned by another writer",
                FlushFacts { state: SendState::Abandoned, ..COMPLETE },
                false,
                FlushStep::RepeatError,
            ),
            (
                "8 queued",
                FlushFacts { delivery: Delivery::Queued, ..COMPLETE },
                false,
                FlushStep::Enqueue,
            ),
            (
                "3 before 8: nothing of a dying process is queued",
                FlushFacts { delivery: Delivery::Queued, dies: true, ..COMPLETE },
                false,
                FlushStep::Abandon,
            ),
            (
                "6 before 8: nothing that another holds is queued",
                FlushFacts { delivery: Delivery::Queued, ..COMPLETE },
                true,
                FlushStep::Nothing,
            ),
            ("3 dies", FlushFacts { dies: true, ..COMPLETE }, false, FlushStep::Abandon),
            (
                "3 before 4 and 5",
                FlushFacts { dies: true, len: 0, is_temporary: true, ..COMPLETE },
                false,
                FlushStep::Abandon,
            ),
            ("4 empty", FlushFacts { len: 0, ..COMPLETE }, false, FlushStep::KeepEmpty),
            (
                "4 empty after a refusal",
                FlushFacts { was_refused: true, len: 0, ..COMPLETE },
                false,
                FlushStep::AbandonRefused,
            ),
            (
                "8 written after a refusal",
                FlushFacts { was_refused: true, ..COMPLETE },
                false,
                FlushStep::Prepare,
            ),
            (
                "5 temporary",
                FlushFacts { is_temporary: true, ..COMPLETE },
                true,
                FlushStep::SyncSpool,
            ),
            ("6 held by another", COMPLETE, true, FlushStep::Nothing),
            (
                "8 again after a failure",
                FlushFacts { state: SendState::Failed, ..COMPLETE },
                false,
                FlushStep::Prepare,
            ),
            (
                "7 a part of a sent file",
                FlushFacts { rewrite: Rewrite::Partial, ..COMPLETE },
                false,
                FlushStep::RefusePart,
            ),
            (
                "7 a part of a sent file, in the queue's mailbox too",
                FlushFacts {
                    rewrite: Rewrite::Partial,
                    delivery: Delivery::Queued,
                    state: SendState::Failed,
                    ..COMPLETE
                },
                false,
                FlushStep::RefusePart,
            ),
            (
                "6 before 7: another may write the rest",
                FlushFacts { rewrite: Rewrite::Partial, ..COMPLETE },
                true,
                FlushStep::Nothing,
            ),
            (
                "3 before 7",
                FlushFacts { rewrite: Rewrite::Partial, dies: true, ..COMPLETE },
                false,
                FlushStep::Abandon,
            ),
            (
                "2 given up before",
                FlushFacts { rewrite: Rewrite::GivenUp, is_unlinked: true, dies: true, ..COMPLETE },
                true,
                FlushStep::RefusePart,
            ),
            (
                "1 a part of a sent file whose name was removed",
                FlushFacts { rewrite: Rewrite::Partial, is_unlinked: true, ..COMPLETE },
                false,
                FlushStep::Nothing,
            ),
            (
                "unlinked while open",
                FlushFacts { is_unlinked: true, ..COMPLETE },
                false,
                FlushStep::Nothing,
            ),
        ];

        for (case, facts, others, step) in table {
            assert_eq!(on_flush(facts, || others), step, "{case}");
        }
    }

    #[test]
    fn proc_is_walked_only_when_it_decides() {
        for facts in [
            FlushFacts { is_dirty: false, ..COMPLETE },
            FlushFacts { dies: true, ..COMPLETE },
            FlushFacts { len: 0, ..COMPLETE },
            FlushFacts { is_temporary: true, ..COMPLETE },
        ] {
            on_flush(facts, || panic!("checked for other writers with {facts:?}"));
        }
    }

    #[test]
    fn a_failed_close_keeps_the_background_from_sending() {
        assert!(abandons_on_release(true, SendState::Draft, false));
        assert!(abandons_on_release(true, SendState::Preparing, false));
        assert!(!abandons_on_release(false, SendState::Draft, false));
        assert!(!abandons_on_release(true, SendState::Failed, false));
        assert!(!abandons_on_release(true, SendState::Draft, true));
    }

    #[test]
    fn a_rename_to_a_final_name_commits() {
        let table = [
            (false, SendState::Draft, 5, RenameStep::Prepare),
            (false, SendState::Prepared, 5, RenameStep::Prepare),
            (false, SendState::Failed, 5, RenameStep::Prepare),
            (false, SendState::Draft, 0, RenameStep::Settle),
            (true, SendState::Draft, 5, RenameStep::Nothing),
            (true, SendState::Prepared, 5, RenameStep::Nothing),
            (false, SendState::Abandoned, 5, RenameStep::StayAbandoned),
            (true, SendState::Abandoned, 5, RenameStep::StayAbandoned),
        ];

        for (temporary, state, len, step) in table {
            let done = on_rename(temporary, state, len, Delivery::Sync);
            assert_eq!(done, step, "{temporary} {state:?} {len}");
        }
    }

    #[test]
    fn a_rename_to_a_final_name_queues_where_a_close_does() {
        let table = [
            (false, SendState::Draft, 5, RenameStep::Enqueue),
            (false, SendState::Queued, 5, RenameStep::Enqueue),
            (false, SendState::Draft, 0, RenameStep::Settle),
            (true, SendState::Queued, 5, RenameStep::Nothing),
            (false, SendState::Abandoned, 5, RenameStep::StayAbandoned),
        ];

        for (temporary, state, len, step) in table {
            let done = on_rename(temporary, state, len, Delivery::Queued);
            assert_eq!(done, step, "{temporary} {state:?} {len}");
        }
    }

    #[test]
    fn fsync_confirms_what_is_prepared_and_never_sends_a_draft() {
        let table = [
            (SendState::Draft, 1, FsyncStep::SyncSpool),
            (SendState::Draft, 0, FsyncStep::SyncSpool),
            (SendState::Prepared, 0, FsyncStep::WaitSent),
            (SendState::Preparing, 0, FsyncStep::WaitSent),
            (SendState::Prepared, 1, FsyncStep::SyncSpool),
            (SendState::Sent, 0, FsyncStep::Nothing),
            (SendState::Failed, 0, FsyncStep::ReportError),
            (SendState::Failed, 1, FsyncStep::SyncSpool),
            (SendState::Abandoned, 0, FsyncStep::SyncSpool),
        ];

        for (state, writers, step) in table {
            assert_eq!(on_fsync(state, writers, false), step, "{state:?} {writers}");
        }
    }

    #[test]
    fn fsync_does_not_wait_for_the_queue() {
        for (state, step) in [
            (SendState::Queued, FsyncStep::Nothing),
            (SendState::Preparing, FsyncStep::Nothing),
            (SendState::Prepared, FsyncStep::WaitSent),
            (SendState::Draft, FsyncStep::SyncSpool),
        ] {
            assert_eq!(on_fsync(state, 0, true), step, "{state:?}");
        }
    }
}
