//! One promise of a content: its recipient, its name, how far it has come.
//!
//! Pure: it locks nothing and waits for nothing. Its parts are `place`, `promise` and `outcome`;
//! every change of state goes through [`Member::apply`], and so through the table of `state.rs`.

use tokio::sync::watch;

use super::content::Content;
use super::outcome::Outcome;
use super::place::Place;
use super::promise::{Promise, Version};
use super::state::{Event, SendState};
use crate::protocol::Identity;
use crate::store::PreparedMessage;

/// One recipient's part of a staged file; `F` is the file that a name is taken over from.
pub(super) struct Member<F> {
    pub(super) recipient: Identity,
    pub(super) place: Place<F>,
    pub(super) promise: Promise,
    pub(super) outcome: Outcome,
    /// Number of the settle window; a timer of an older one is void.
    window: u64,
    /// Follows the state, for the tasks that wait for it.
    states: watch::Sender<SendState>,
}

impl<F> Member<F> {
    pub(super) fn new(
        recipient: Identity,
        place: Place<F>,
        promise: Promise,
        outcome: Outcome,
    ) -> Self {
        let states = watch::Sender::new(outcome.state());
        Self { recipient, place, promise, outcome, window: 0, states }
    }

    pub(super) fn state(&self) -> SendState {
        self.outcome.state()
    }

    pub(super) fn watch(&self) -> watch::Receiver<SendState> {
        self.states.subscribe()
    }

    /// Moves along the table; returns whether the event was possible.
    pub(super) fn apply(&mut self, event: Event) -> bool {
        let is_possible = self.outcome.apply(event);
        if is_possible {
            self.states.send_replace(self.outcome.state());
        }
        is_possible
    }

    /// Voids every running settle timer and returns the number of the new window.
    pub(super) fn begin_window(&mut self) -> u64 {
        self.window += 1;
        self.window
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn version(&self, content: &Content) -> Version {
        Version { content: content.generation(), name: self.place.name_version() }
    }

    /// Returns the message that covers the current content and name.
    pub(super) fn message(&self, content: &Content) -> Option<&PreparedMessage> {
        self.promise.message(self.version(content))
    }

    /// Returns the message that covers the current content and name and is in the registry, all but
    /// its tag.
    pub(super) fn pushed_message(&self, content: &Content) -> Option<&PreparedMessage> {
        self.promise.pushed_message(self.version(content))
    }

    /// Returns whether all but the tag of the current content and name is in the registry.
    pub(super) fn is_pushed(&self, content: &Content) -> bool {
        self.pushed_message(content).is_some()
    }

    /// Returns whether the row promises the current content and name, all but the tag of which is in
    /// the registry.
    pub(super) fn is_promised(&self, content: &Content) -> bool {
        self.promise.is_promised(self.version(content))
    }

    /// Returns whether the staged bytes are still needed for this promise.
    pub(super) fn needs_content(&self) -> bool {
        self.state() != SendState::Sent && !self.place.is_removed()
    }
}
