//! The outcome of a file: its state, why it failed, and its receipt.

use super::state::{Event, SendState};
use crate::protocol::{ErrorClass, ReceiptStatus};
use crate::store::{StoredError, Withdrawal};

/// Why a file is not sent, or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: ErrorClass,
    /// One sentence for the user.
    pub(super) text: String,
    /// It occurred when no program waited for it any longer.
    pub(super) is_unattended: bool,
}

impl Failure {
    /// Returns the failure as recorded in the row.
    pub(super) fn stored(&self) -> StoredError {
        StoredError { code: self.class.code().to_owned(), text: self.text.clone() }
    }
}

/// The outcome of a file.
#[derive(Debug)]
pub(super) struct Outcome {
    state: SendState,
    failure: Option<Failure>,
    receipt: Option<ReceiptStatus>,
    /// Set once the message was withdrawn from the registry.
    withdrawn: Option<Withdrawal>,
    /// Whether the registry has lost the message, as far as is known.
    is_lost: bool,
}

impl Outcome {
    pub(super) fn new(
        state: SendState,
        failure: Option<Failure>,
        receipt: Option<ReceiptStatus>,
    ) -> Self {
        Self { state, failure, receipt, withdrawn: None, is_lost: false }
    }

    pub(super) fn state(&self) -> SendState {
        self.state
    }

    /// Moves along the table; returns whether the event was possible. A failure that the new state
    /// contradicts is forgotten.
    pub(super) fn apply(&mut self, event: Event) -> bool {
        let Some(next) = self.state.after(event) else { return false };
        self.state = next;
        if !matches!(next, SendState::Failed | SendState::Abandoned) {
            self.failure = None;
        }
        true
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Explains why the file is in its state.
    pub(super) fn set_failure(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    /// The user has seen the failure.
    pub(super) fn dismiss_failure(&mut self) {
        if let Some(failure) = &mut self.failure {
            failure.is_unattended = false;
        }
    }

    pub(super) fn receipt(&self) -> Option<ReceiptStatus> {
        self.receipt
    }

    pub(super) fn set_receipt(&mut self, status: ReceiptStatus) {
        self.receipt = Some(status);
    }

    pub(super) fn withdrawn(&self) -> Option<Withdrawal> {
        self.withdrawn
    }

    /// Remembers why the message left the registry; the first reason stays.
    pub(super) fn withdraw(&mut self, why: Withdrawal) {
        self.withdrawn.get_or_insert(why);
    }

    /// Returns whether the registry has lost the message: neither withdrawn nor known to be received.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost && self.withdrawn.is_none() && self.receipt.is_none()
    }

    pub(super) fn set_lost(&mut self, is_lost: bool) {
        self.is_lost = is_lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Outcome {
        let mut outcome = Outcome::new(SendState::Preparing, None, None);
        assert!(outcome.apply(Event::PrepareFailed));
        let (class, text) = (ErrorClass::Denied, "no push".to_owned());
        outcome.set_failure(Failure { class, text, is_unattended: true });
        outcome
    }

    #[test]
    fn a_failure_lasts_until_the_file_moves_on() {
        let mut outcome = failed();
        assert!(outcome.failure().is_some());

        assert!(outcome.apply(Event::Changed));

        assert_eq!(outcome.failure(), None);
    }

    #[test]
    fn what_the_table_forbids_changes_nothing() {
        let mut outcome = failed();

        assert!(!outcome.apply(Event::Published));

        assert_eq!(outcome.state(), SendState::Failed);
        assert!(outcome.failure().is_some());
    }

    #[test]
    fn the_first_reason_of_a_withdrawal_stays() {
        let mut outcome = Outcome::new(SendState::Sent, None, None);

        outcome.withdraw(Withdrawal::Recalled);
        outcome.withdraw(Withdrawal::Expired);

        assert_eq!(outcome.withdrawn(), Some(Withdrawal::Recalled));
    }

    #[test]
    fn a_message_that_was_received_or_withdrawn_is_not_lost() {
        let lost = || {
            let mut outcome = Outcome::new(SendState::Sent, None, None);
            outcome.set_lost(true);
            outcome
        };
        let (mut received, mut recalled, mut found) = (lost(), lost(), lost());
        assert!(lost().is_lost());

        received.set_receipt(ReceiptStatus::Accepted);
        recalled.withdraw(Withdrawal::Recalled);
        found.set_lost(false);

        assert!(![received, recalled, found].iter().any(Outcome::is_lost));
    }
}
