//! The place of a file on the list: under its path, behind another file, or nowhere.

use crate::mailbox::entry::{EntryName, EntryPath};
use crate::store::{OutboxChange, OutboxState};

/// How a file relates to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is listed under its name.
    Listed,
    /// Another file has taken the name, and this one is held back until that one is promised.
    Held,
    /// Another file has taken the name; this one is sent separately, and hidden once it is.
    Displaced,
    /// It has left the list, and is never sent.
    Removed,
}

/// A file whose name another one has taken; `F` is the file.
#[derive(Clone)]
pub(in crate::mailbox) struct Replaced<F> {
    /// The older file.
    pub(in crate::mailbox) file: F,
    /// What its row said when the name was taken.
    pub(in crate::mailbox) row: OutboxState,
    /// Whether it is held back until the newer file is promised; otherwise it is sent separately.
    pub(in crate::mailbox) is_held: bool,
}

/// The path of a file, and what it has taken the name of.
pub(super) struct Place<F> {
    path: EntryPath,
    /// Grows with every rename.
    name_version: u64,
    standing: Standing,
    replaced: Vec<Replaced<F>>,
}

impl<F> Place<F> {
    /// Returns the place of a listed file, or of one that another file has displaced.
    pub(super) fn new(path: EntryPath, is_hidden: bool) -> Self {
        let standing = if is_hidden { Standing::Displaced } else { Standing::Listed };
        Self { path, name_version: 1, standing, replaced: Vec::new() }
    }

    pub(super) fn path(&self) -> &EntryPath {
        &self.path
    }

    /// Returns what a row says about the path.
    pub(super) fn described(&self) -> OutboxChange {
        let directory = self.path.directory().map(EntryName::as_str);
        OutboxChange {
            directory: Some(directory.map(str::to_owned)),
            name: Some(self.path.name().as_str().to_owned()),
            ..OutboxChange::default()
        }
    }

    pub(super) fn name_version(&self) -> u64 {
        self.name_version
    }

    /// Gives the file another path and returns the one it had.
    pub(super) fn rename(&mut self, path: EntryPath) -> EntryPath {
        self.name_version += 1;
        std::mem::replace(&mut self.path, path)
    }

    /// Returns whether the file may be sent: neither removed nor held back.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.standing, Standing::Listed | Standing::Displaced)
    }

    /// Returns whether the file has left the list permanently.
    pub(super) fn is_removed(&self) -> bool {
        self.standing == Standing::Removed
    }

    /// Returns whether the file must be hidden once it is sent: its name belongs to another one.
    pub(super) fn is_name_taken(&self) -> bool {
        matches!(self.standing, Standing::Held | Standing::Displaced)
    }

    pub(super) fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Remembers a file whose name this one has taken.
    pub(super) fn take_over(&mut self, replaced: Replaced<F>) {
        self.replaced.push(replaced);
    }

    pub(super) fn replaced(&self) -> &[Replaced<F>] {
        &self.replaced
    }

    /// Takes what this file has taken the name of.
    pub(super) fn take_replaced(&mut self) -> Vec<Replaced<F>> {
        std::mem::take(&mut self.replaced)
    }

    /// No longer holds back what is not yet sent; returns those files.
    ///
    /// A sent one stays off the list until its name is free again.
    pub(super) fn release_held(&mut self) -> Vec<F>
    where
        F: Clone,
    {
        let mut released = Vec::new();
        for old in &mut self.replaced {
            if old.row != OutboxState::Sent && std::mem::take(&mut old.is_held) {
                released.push(old.file.clone());
            }
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place<&'static str> {
        Place::new("report.pdf".parse().unwrap(), false)
    }

    #[test]
    fn only_what_is_listed_or_displaced_may_be_sent() {
        for (standing, is_active, is_name_taken) in [
            (Standing::Listed, true, false),
            (Standing::Held, false, true),
            (Standing::Displaced, true, true),
            (Standing::Removed, false, false),
        ] {
            let mut place = place();

            place.set_standing(standing);

            assert_eq!(place.is_active(), is_active, "{standing:?}");
            assert_eq!(place.is_name_taken(), is_name_taken, "{standing:?}");
        }
    }

    #[test]
    fn what_is_held_and_not_sent_is_released_once() {
        let mut place = place();
        for (file, row, is_held) in [
            ("queued", OutboxState::Queued, true),
            ("sent", OutboxState::Sent, true),
            ("free", OutboxState::Prepared, false),
        ] {
            place.take_over(Replaced { file, row, is_held });
        }

        assert_eq!(place.release_held(), ["queued"]);
        assert!(place.release_held().is_empty());
        assert_eq!(place.take_replaced().len(), 3);
        assert!(place.replaced().is_empty());
    }

    #[test]
    fn a_rename_makes_another_version() {
        let mut place = place();
        let before = place.name_version();

        let old = place.rename("b".parse().unwrap());

        assert_eq!((old.as_str(), place.path().as_str()), ("report.pdf", "b"));
        assert_ne!(place.name_version(), before);
    }

    #[test]
    fn the_row_follows_a_file_into_a_directory_and_out_of_it() {
        let mut place = place();
        let mut described = Vec::new();
        for path in ["one", ".~tmp~/one", "two"] {
            place.rename(path.parse().unwrap());
            let OutboxChange { directory, name, .. } = place.described();
            described.push((directory.unwrap(), name.unwrap()));
        }

        let (one, tmp) = ("one".to_owned(), ".~tmp~".to_owned());
        assert_eq!(described, [(None, one.clone()), (Some(tmp), one), (None, "two".to_owned())]);
    }
}
