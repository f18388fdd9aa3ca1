//! Names as the kernel passes them: bytes, to a safe component or an errno.

use std::ffi::OsStr;

use unicode_normalization::UnicodeNormalization as _;

use super::error::FsError;
use crate::protocol::FileName;
use crate::protocol::limits::NAME_LEN_MAX;

/// Reads the name of a file that a program wants to create.
///
/// A name that is not in NFC (what macOS tools write) is converted to NFC, so both forms find the
/// same file (P7).
///
/// # Errors
/// `NotUtf8`, `NameTooLong`, or `Invalid` for what P7 refuses.
pub(crate) fn file_name(name: &OsStr) -> Result<FileName, FsError> {
    normalized(name)?.parse().map_err(|_source| FsError::Invalid)
}

/// Returns the NFC form of a name, as listings store file names and as addresses are written.
///
/// # Errors
/// `NotUtf8` or `NameTooLong`.
pub(crate) fn normalized(name: &OsStr) -> Result<String, FsError> {
    if name.len() > NAME_LEN_MAX {
        return Err(FsError::NameTooLong);
    }
    let text = name.to_str().ok_or(FsError::NotUtf8)?;
    let text: String = text.nfc().collect();
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
        errno::of(&file_name(OsStr::from_bytes(name)).unwrap_err())
    }

    #[test]
    fn both_unicode_forms_are_one_name() {
        let composed = file_name(OsStr::new("caf\u{e9}.txt")).unwrap();
        let decomposed = file_name(OsStr::new("cafe\u{301}.txt")).unwrap();

        assert_eq!(composed, decomposed);
        assert_eq!(composed.as_str(), "caf\u{e9}.txt");
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
            assert_eq!(file_name(OsStr::new(name)).unwrap().as_str(), name);
        }
        assert!(file_name(OsStr::from_bytes(&[b'a'; 255])).is_ok());
    }
}
