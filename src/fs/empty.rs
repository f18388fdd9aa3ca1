//! Whether an empty file is the end of a writer that failed: the commit rule for files into which
//! nothing was written, as pure functions (src/fs/README.md "Empty files").
//!
//! A shell creates the target of `>` before the command runs, and a program that fails before its
//! first write leaves an empty file. To close it says nothing; the end of the program does.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use crate::mailbox::SendState;

/// What is known of an empty file that was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EmptyFacts {
    /// How a process that had closed it has failed.
    pub failure: Option<ExitStatus>,
    /// A program has set the file's time since it was opened: that comes last, after the content.
    pub is_time_set: bool,
    /// The delivery state of the file.
    pub state: SendState,
    /// Bytes in the file.
    pub len: u64,
    /// Handles that may still write.
    pub writer_count: u32,
    /// The file no longer has a name.
    pub is_unlinked: bool,
}

/// Returns how a writer of the file failed, if that means that the file is not to be sent.
///
/// Any of its writers, not the last one: dash opens the target of `cat nonexistent > FILE` itself,
/// and closes it after `cat` has failed.
pub(crate) fn failed_writer(facts: EmptyFacts) -> Option<ExitStatus> {
    let EmptyFacts { failure, is_time_set, state, len, writer_count, is_unlinked } = facts;
    // Whatever has content, or was promised, is the matter of the other rules.
    if len > 0 || state != SendState::Draft || is_unlinked {
        return None;
    }
    // A program that holds it may still write.
    if writer_count > 0 || is_time_set {
        return None;
    }
    failure
}

/// Describes the failure of a program, for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => return FAILED.to_owned(),
    };
    format!("{FAILED} ({how})")
}

/// What is said when it is not known how the program failed.
pub(crate) const FAILED: &str = "the program that made it failed before writing anything";

/// What is said when the program may not know that it failed.
pub(crate) const REFUSED: &str = "an operation on it was refused, and nothing was written into it";

#[cfg(test)]
mod tests {
    use super::*;

    /// What `cat nonexistent > FILE` leaves.
    fn failed() -> EmptyFacts {
        EmptyFacts {
            failure: Some(ExitStatus::from_raw(1 << 8)),
            is_time_set: false,
            state: SendState::Draft,
            len: 0,
            writer_count: 0,
            is_unlinked: false,
        }
    }

    #[test]
    fn only_an_empty_draft_with_a_writer_that_failed_is_given_up() {
        let table = [
            ("exit 1", failed(), true),
            ("killed", EmptyFacts { failure: Some(ExitStatus::from_raw(9)), ..failed() }, true),
            ("none failed", EmptyFacts { failure: None, ..failed() }, false),
            ("touched, then failed", EmptyFacts { is_time_set: true, ..failed() }, false),
            ("has content", EmptyFacts { len: 1, ..failed() }, false),
            ("is open", EmptyFacts { writer_count: 1, ..failed() }, false),
            ("removed", EmptyFacts { is_unlinked: true, ..failed() }, false),
        ];

        for (case, facts, is_given_up) in table {
            assert_eq!(failed_writer(facts).is_some(), is_given_up, "{case}");
        }
    }

    #[test]
    fn what_was_promised_is_not_given_up() {
        for state in [
            SendState::Queued,
            SendState::Preparing,
            SendState::Prepared,
            SendState::Sent,
            SendState::Failed,
            SendState::Abandoned,
        ] {
            assert_eq!(failed_writer(EmptyFacts { state, ..failed() }), None, "{state}");
        }
    }

    #[test]
    fn a_failure_is_described_by_its_status() {
        assert!(describe(ExitStatus::from_raw(8 << 8)).ends_with("(exit status 8)"));
        assert!(describe(ExitStatus::from_raw(9)).ends_with("(signal 9)"));
    }
}
