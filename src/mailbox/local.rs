//! Which files of the outbox stay on this machine for now, and the word that people see for it.
//!
//! Derived from names and states each time, never stored. Start at [`Snapshot::is_local`].

use super::snapshot::Snapshot;
use super::staged::{OutboxFile, SendState};
use super::temporary_names::controls_of;

/// The word for a draft that is not on its way to anybody.
const LOCAL: &str = "local";

impl Snapshot {
    /// Returns whether nothing sends the file as things are: its name is a temporary one, a control
    /// file beside it says that its download is not complete, or it is the empty placeholder of one.
    ///
    /// Only drafts are held back by this: what a close has promised is sent.
    pub fn is_local(&self, file: &OutboxFile) -> bool {
        file.state() == SendState::Draft && (self.stays_local(file) || file.is_waiting_beside())
    }

    /// Returns whether a close leaves the file here, whatever its state: see [`Self::is_local`].
    pub fn stays_local(&self, file: &OutboxFile) -> bool {
        file.is_temporary() || self.has_control_file(file)
    }

    /// Returns the word for people: `local`, how the message was withdrawn, or the state.
    pub fn shown_state(&self, file: &OutboxFile) -> &'static str {
        if self.is_local(file) { LOCAL } else { file.own_state() }
    }

    /// Returns whether a file such as `NAME.aria2` beside NAME says that it is not finished.
    ///
    /// One that was left there before the file was begun says nothing: a copy over what an
    /// interrupted download left is complete. One that the configuration lets be sent is a message
    /// like any other.
    fn has_control_file(&self, file: &OutboxFile) -> bool {
        let Some(dir) = self.outbox.get(&file.recipient().dir_name()) else { return false };
        controls_of(&file.name())
            .filter_map(|control| dir.files.get(&control))
            .filter(|control| control.is_temporary() && control.state() != SendState::Sent)
            .any(|control| control.mtime() >= file.begun_at())
    }
}
