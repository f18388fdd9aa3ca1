//! Empty files that are not meant to be sent: those of a writer that failed, and the
//! placeholder that a browser keeps under the final name while it downloads into a file beside it.
//!
//! Start at [`made_in`].

use std::borrow::Cow;
use std::sync::Arc;

use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::staged::{OutboxFile, SendState};
use crate::protocol::Identity;

/// Ends of temporary names beside a file that say nothing about it: a lock, or an editor that may
/// stay open all day.
const UNRELATED_ENDS: [&str; 9] =
    [".swp", ".kate-swp", ".lock", ".bak", ".laccdb", ".dwl", ".dwl2", ".idlk", ".blend@"];

/// Letters of the random end of `.NAME.XXXXXX`, as `mkstemp` and rsync make it.
const RANDOM_LEN: usize = 6;

/// Fewest random characters that a browser puts before an extension; `a.tar.gz.part` is no form of
/// `a.gz`.
const SALT_LEN_MIN: usize = 6;

/// Returns the names of the files that a program may be making in the file `name`.
///
/// `patterns` are those of temporary names: a pattern `*.part` makes one of `NAME.part`, and of the
/// forms of Firefox, which puts random characters in front (`k.NAME.part`) or before the extension.
/// `.NAME.XXXXXX` is one by its form.
pub(super) fn made_in<'a>(
    name: &'a str,
    patterns: &'a [String],
) -> impl Iterator<Item = Cow<'a, str>> {
    let by_end = patterns
        .iter()
        .filter_map(|pattern| pattern.strip_prefix('*'))
        .filter(|end| end.starts_with('.') && !end.contains(['*', '?']))
        .filter(|end| !UNRELATED_ENDS.contains(end))
        .filter_map(|end| name.strip_suffix(end))
        .flat_map(|rest| {
            let behind = rest.match_indices(['.', '~']).filter_map(|(at, _)| rest.get(at + 1..));
            let plain = std::iter::once(rest).chain(behind).map(Cow::Borrowed);
            plain.chain(without_salt(rest).map(Cow::Owned))
        });
    let random = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
    let by_form = random.filter(|(_, end)| {
        end.len() == RANDOM_LEN && end.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    let by_form = by_form.map(|(rest, _)| Cow::Borrowed(rest));
    by_end.chain(by_form).filter(|made| !made.is_empty())
}

/// Returns `report.pdf` for `report.Xy12ab9_.pdf`.
fn without_salt(name: &str) -> Option<String> {
    let (rest, extension) = name.rsplit_once('.')?;
    let (stem, salt) = rest.rsplit_once('.')?;
    let is_salt =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (salt.len() >= SALT_LEN_MIN && is_salt(salt)).then(|| format!("{stem}.{extension}"))
}

impl Outbox {
    /// Marks an empty file that its program did not finish: it is not sent, and `errors` says so.
    pub fn abandon_empty(&self, file: &Arc<OutboxFile>, why: &str) {
        self.abandon(file, why);
        if file.state() == SendState::Abandoned {
            let error = MailboxError::EmptyAbandoned { why: why.to_owned() };
            self.core.record_error(&file.subject(), &error);
        }
    }

    /// Returns whether an empty file waits for the one beside it in which a program works; it says
    /// so then.
    pub(super) fn waits_for_working_copy(&self, file: &OutboxFile) -> bool {
        if file.len() > 0 {
            return false;
        }
        let (name, snapshot) = (file.name(), self.core.listing.snapshot());
        let dir = snapshot.outbox.get(&file.recipient().dir_name());
        let mut names = dir.into_iter().flat_map(|dir| dir.files.keys());
        let is_made_in = |beside: &String| self.made_in(beside).any(|made| made == name);
        let stem = name.split_once('.').map_or(name.as_str(), |(stem, _)| stem);
        // The first is quick, and most names are those of other files.
        let copy = names.find(|beside| beside.contains(stem) && is_made_in(beside));
        let Some(copy) = copy else { return false };
        file.wait_beside(&format!(
            "an empty file that waits for {copy} beside it; it is sent once that has gone"
        ));
        self.core.listing.touch();
        let now = self.core.listing.snapshot();
        let dir = now.outbox.get(&file.recipient().dir_name());
        if !dir.is_some_and(|dir| dir.files.contains_key(copy)) {
            // Gone in this very moment, when nothing was known to wait for it.
            self.end_waiting(file.recipient(), copy);
        }
        true
    }

    /// Begins the settle windows of the files that may have waited for the file `gone`.
    pub(super) fn end_waiting(&self, recipient: &Identity, gone: &str) {
        let snapshot = self.core.listing.snapshot();
        let Some(dir) = snapshot.outbox.get(&recipient.dir_name()) else { return };
        for file in self.made_in(gone).filter_map(|made| dir.files.get(made.as_ref())) {
            if file.is_waiting_beside() {
                self.begin_settling(file);
            }
        }
    }

    fn made_in<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        let options = &self.core.options;
        let is_temporary = options.is_temporary(name);
        made_in(name, &options.temporary_names).filter(move |_made| is_temporary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_beside(name: &str, of: &str) -> bool {
        let patterns = [
            ".*",
            "*.part",
            "*.crdownload",
            "*.aria2",
            "*.!qB",
            "*.tmp",
            "*~",
            "#*#",
            "*.swp",
            "*.lock",
            "*-journal",
            "4913",
        ];
        made_in(name, &patterns.map(str::to_owned)).any(|made| made == of)
    }

    #[test]
    fn the_files_in_which_programs_work_are_known_by_the_name_of_the_final_one() {
        for name in [
            "report.pdf.part",
            "kTx2-a.report.pdf.part",
            "report.kTx2-a_9.pdf.part",
            "report.pdf.crdownload",
            "report.pdf.aria2",
            "report.pdf.!qB",
            "report.pdf.tmp",
            "~report.pdf.tmp",
            ".report.pdf.part",
            ".report.pdf.aB3xYz",
        ] {
            assert!(is_beside(name, "report.pdf"), "{name}");
        }
    }

    #[test]
    fn what_stands_beside_a_file_for_another_reason_is_no_working_copy() {
        for name in [
            "report.pdf",
            "report.pdf~",
            "#report.pdf#",
            ".report.pdf.swp",
            ".~lock.report.pdf#",
            "~$report.pdf",
            "._report.pdf",
            ".report.pdf.un~",
            "report.pdf.lock",
            "report.pdf.partial",
            "other-report.pdf.part",
            "report.pdf.gz.part",
            "report.part",
            "report.v2.pdf.part",
            "report.two words.pdf.part",
            ".report.pdf.old",
            ".report.pdf.a-3xYz",
            ".part",
        ] {
            assert!(!is_beside(name, "report.pdf"), "{name}");
        }
    }

    #[test]
    fn a_configured_pattern_names_working_copies_too() {
        let patterns = ["*.unfinished".to_owned(), "*.a*b".to_owned(), "draft-*".to_owned()];

        assert_eq!(made_in("x.unfinished", &patterns).collect::<Vec<_>>(), ["x"]);
        for name in ["x.part", "draft-x", "x.ab", ".unfinished"] {
            assert_eq!(made_in(name, &patterns).count(), 0, "{name}");
        }
    }
}
