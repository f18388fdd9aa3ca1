//! Whose a file is, and who else can open it.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rustix::process::geteuid;

/// Returns whether a file or directory belongs to this user.
pub fn is_of_this_user(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw()
}

/// Returns whether it is a regular file of this user.
pub fn is_plain_file_of_this_user(metadata: &Metadata) -> bool {
    metadata.is_file() && is_of_this_user(metadata)
}

/// Returns whether the mode lets anyone but the owner in.
pub fn is_open_to_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;
    use crate::sys::durable::create_private;

    #[test]
    fn a_directory_is_of_this_user_but_not_a_plain_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        create_private(&file).unwrap();
        let (dir, file) = (fs::metadata(dir.path()).unwrap(), fs::metadata(file).unwrap());

        assert!(is_of_this_user(&dir) && is_of_this_user(&file));
        assert!(!is_plain_file_of_this_user(&dir) && is_plain_file_of_this_user(&file));
    }

    #[test]
    fn a_single_bit_for_others_opens_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        create_private(&file).unwrap();

        for (mode, expected) in [(0o600, false), (0o700, false), (0o604, true), (0o610, true)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();

            assert_eq!(is_open_to_others(&fs::metadata(&file).unwrap()), expected, "{mode:o}");
        }
    }
}
