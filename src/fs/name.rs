//! Names as the kernel passes them: bytes, to a safe component or an errno.

use std::ffi::OsStr;

use unicode_normalization::UnicodeNormalization as _;

use super::error::FsError;
use super::node::Dir;
use crate::mailbox::{EntryName, EntryPath};
use crate::protocol::limits::NAME_LEN_MAX;

/// Reads the name of a file that a program wants to create.
///
/// It keeps its spelling: one that is not in NFC (what macOS tools write) is another file than the
/// one in NFC, as on every Linux file system. Its message has the NFC form (P7).
///
/// # Errors
/// `NotUtf8`, `NameTooLong`, or `Invalid` for what P7 refuses.
pub(crate) fn entry_name(name: &OsStr) -> Result<EntryName, FsError> {
    // The NFC form may be the longer one.
    normalized(name)?;
    spelled(name)?.parse().map_err(|_source| FsError::Invalid)
}

/// Reads the name of a file that a program wants to create in `dir`.
///
/// # Errors
/// As [`entry_name`].
pub(crate) fn entry_path(dir: &Dir, name: &OsStr) -> Result<EntryPath, FsError> {
    let directory = dir.written_in().and_then(|(_recipient, directory)| directory);
    Ok(EntryPath::new(directory.map(EntryName::sanitize), entry_name(name)?))
}

/// Returns the name under which `dir` would list `name`: as it is spelled where I write, and in NFC
/// where names come from the wire.
///
/// # Errors
/// `NotUtf8` or `NameTooLong`.
pub(crate) fn listed(dir: &Dir, name: &OsStr) -> Result<String, FsError> {
    if dir.keeps_spelling() { spelled(name).map(str::to_owned) } else { normalized(name) }
}

/// Returns a name as it is spelled.
fn spelled(name: &OsStr) -> Result<&str, FsError> {
    if name.len() > NAME_LEN_MAX {
        return Err(FsError::NameTooLong);
    }
    name.to_str().ok_or(FsError::NotUtf8)
}

/// Returns the NFC form of a name, as listings of what comes from the wire store file names.
///
/// # Errors
/// `NotUtf8` or `NameTooLong`.
pub(crate) fn normalized(name: &OsStr) -> Result<String, FsError> {
    let text: String = spelled(name)?.nfc().collect();
    if text.len() > NAME_LEN_MAX {
        return Err(FsError::NameTooLong);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;
    use crate::fs::errno;

    fn refusal(name: &[u8]) -> i32 {
        errno::of(&entry_name(OsStr::from_bytes(name)).unwrap_err())
    }

    #[test]
    fn a_spelling_is_kept_in_the_outbox_and_nowhere_else() {
        let (composed, decomposed) = (OsStr::new("caf\u{e9}"), OsStr::new("cafe\u{301}"));
        let (one, other) = (entry_name(composed).unwrap(), entry_name(decomposed).unwrap());

        assert_ne!(one, other);
        assert_eq!(one.file_name(), other.file_name());
        assert_eq!(listed(&Dir::Recipient("bob".into()), decomposed).unwrap(), "cafe\u{301}");
        for dir in [Dir::Outbox, Dir::Inbox, Dir::Sender("alice".into()), Dir::Quarantine] {
            assert_eq!(listed(&dir, decomposed).unwrap(), "caf\u{e9}", "{dir:?}");
        }
    }

    #[test]
    fn a_name_is_too_long_as_it_is_spelled_or_in_nfc() {
        let dir = Dir::Recipient("bob".into());
        // 300 and 200 bytes, 150 and 400 bytes.
        let (here, on_the_wire) = ("e\u{301}".repeat(100), "\u{958}".repeat(50));

        for (name, is_listable) in [(here, false), (on_the_wire, true)] {
            assert_eq!(refusal(name.as_bytes()), libc::ENAMETOOLONG);
            assert_eq!(listed(&dir, OsStr::new(&name)).is_ok(), is_listable);
        }
    }

    #[test]
    fn hostile_names_have_their_errno() {
        assert_eq!(refusal(b"\xff\xfe"), libc::EILSEQ);
        assert_eq!(refusal(&[b'a'; 256]), libc::ENAMETOOLONG);
        assert_eq!(refusal("a\u{202e}b".as_bytes()), libc::EINVAL);
        assert_eq!(refusal("a\u{2066}b".as_bytes()), libc::EINVAL);
        assert_eq!(refusal(b"a\x1bb"), libc::EINVAL);
        assert_eq!(refusal(b"a\nb"), libc::EINVAL);
        assert_eq!(refusal(b""), libc::EINVAL);
    }

    #[test]
    fn ordinary_names_of_every_script_pass() {
        let names = ["-rf", "CON", "a b", "50%", "$(id)", "*", ".bashrc", "\u{65e5}\u{672c}"];
        let marked = ["\u{6cc}\u{200c}\u{62e}", "\u{5d3}\u{200f}", "\u{1f468}\u{200d}\u{1f469}"];
        for name in names.into_iter().chain(marked) {
            assert_eq!(entry_name(OsStr::new(name)).unwrap().as_str(), name);
        }
        assert!(entry_name(OsStr::from_bytes(&[b'a'; 255])).is_ok());
    }
}
