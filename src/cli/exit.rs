//! Error class to exit code: the other table of src/README.md "Errors" (the first is
//! `fs/errno.rs`).

use crate::protocol::ErrorClass;

/// Success.
pub(crate) const OK: u8 = 0;
/// Some of several actions succeeded, others failed.
pub(crate) const PARTLY_DONE: u8 = 6;
/// The configuration or the command line is wrong; clap's own 2 means something else here.
pub(crate) const CONFIGURATION: u8 = 9;
/// A bug in the program.
pub(crate) const INTERNAL: u8 = 70;

/// Returns the exit code of an error.
pub(crate) fn code(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::SignatureBad
        | ErrorClass::SignerUnknown
        | ErrorClass::Expired
        | ErrorClass::Revoked => 2,
        ErrorClass::Denied | ErrorClass::DirectoryDenied => 3,
        ErrorClass::Corrupt | ErrorClass::Malformed => 4,
        ErrorClass::NotFound => 5,
        ErrorClass::Unreachable | ErrorClass::TimedOut => 7,
        ErrorClass::Busy => 8,
        ErrorClass::Configuration => CONFIGURATION,
        ErrorClass::Internal => INTERNAL,
        // What a shell reports for a program that SIGINT ended.
        ErrorClass::Interrupted => 130,
        ErrorClass::NoSpace
        | ErrorClass::QuotaExceeded
        | ErrorClass::TooLarge
        | ErrorClass::NotPermitted
        | ErrorClass::NotSupported
        | ErrorClass::ReadOnly
        | ErrorClass::InvalidName
        | ErrorClass::Exists => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let table = [
            (ErrorClass::SignatureBad, 2),
            (ErrorClass::SignerUnknown, 2),
            (ErrorClass::Expired, 2),
            (ErrorClass::Revoked, 2),
            (ErrorClass::Denied, 3),
            (ErrorClass::DirectoryDenied, 3),
            (ErrorClass::Corrupt, 4),
            (ErrorClass::Malformed, 4),
            (ErrorClass::NotFound, 5),
            (ErrorClass::TimedOut, 7),
            (ErrorClass::Unreachable, 7),
            (ErrorClass::Busy, 8),
            (ErrorClass::Configuration, 9),
            (ErrorClass::Internal, 70),
            (ErrorClass::Interrupted, 130),
            (ErrorClass::NoSpace, 1),
            (ErrorClass::Exists, 1),
        ];

        for (class, exit) in table {
            assert_eq!(code(class), exit, "{class:?}");
        }
    }
}
