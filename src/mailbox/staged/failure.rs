//! `<file>.FAILED.txt`: why a file was not sent, when no program is left to get the error.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::mailbox::MailboxError;
use crate::protocol::{ErrorClass, Identity, Timestamp};
use crate::sys::Untrusted;

/// Ends the note's name.
const SUFFIX: &str = ".FAILED.txt";

/// Longest name of a file in bytes, as on every Linux file system.
const NAME_LEN_MAX: usize = 255;

/// The text beside a file that failed in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureNote {
    /// Its name in the recipient's directory.
    pub name: String,
    /// What failed, why, and what to do.
    pub text: String,
    /// When the file was written last.
    pub mtime: SystemTime,
}

impl FailureNote {
    pub(super) fn new(
        file: &str,
        recipient: &Identity,
        class: ErrorClass,
        why: &str,
        mtime: SystemTime,
    ) -> Self {
        let mut text = format!(
            "{} was not sent to {}.\n\nWhy: {} ({})\n",
            Untrusted(file),
            Untrusted(recipient.as_str()),
            Untrusted(why),
            class.code(),
        );
        if let Some(hint) = MailboxError::hint_of(class) {
            // Writing to a String cannot fail, here and below.
            writeln!(text, "Hint: {hint}.").ok();
        }
        write!(
            text,
            "\nWhat to do: when the cause is fixed, run `dockercomms queue retry --all` or copy the \
             file again;\nto give it up, remove the file. This note disappears by itself.\n\nFile of {}.\n",
            Timestamp::from(mtime),
        )
        .ok();
        Self { name: Self::name_for(file), text, mtime }
    }

    /// Returns whether `name` has the form of a note's name.
    pub fn is_name(name: &str) -> bool {
        name.ends_with(SUFFIX)
    }

    /// Returns the name of the note about `file`, shortened if both together would be too long.
    fn name_for(file: &str) -> String {
        let len_max = NAME_LEN_MAX - SUFFIX.len();
        let cut = (0..=file.len().min(len_max)).rev().find(|&at| file.is_char_boundary(at));
        format!("{}{SUFFIX}", file.get(..cut.unwrap_or(0)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RegistryError;

    #[test]
    fn the_note_says_what_failed_why_and_what_to_do() {
        let bob = "bob@example.com".parse().unwrap();
        let why = "registry refused access: no push";

        let time = SystemTime::UNIX_EPOCH;
        let note = FailureNote::new("a\u{1b}.pdf", &bob, ErrorClass::Denied, why, time);

        assert_eq!(note.name, "a\u{1b}.pdf.FAILED.txt");
        for part in ["a%1B.pdf was not sent to bob@example.com", why, "denied", "docker login"] {
            assert!(note.text.contains(part), "{part}: {}", note.text);
        }
        assert!(note.text.contains("dockercomms queue retry"), "{}", note.text);
    }

    #[test]
    fn the_note_about_a_directory_that_refuses_speaks_of_permissions_not_of_a_login() {
        let bob = "bob@example.com".parse().unwrap();
        let denied = RegistryError::DirectoryDenied { reason: "no permission" };

        let time = SystemTime::UNIX_EPOCH;
        let note = FailureNote::new("a", &bob, denied.class(), &denied.to_string(), time);

        assert!(
            note.text.contains("chmod") && !note.text.contains("docker login"),
            "{}",
            note.text
        );
    }

    #[test]
    fn the_note_of_a_long_name_has_a_name_that_fits() {
        let long = "\u{e9}".repeat(127);

        let name = FailureNote::name_for(&long);

        assert!(name.len() <= NAME_LEN_MAX && FailureNote::is_name(&name), "{name}");
    }
}
