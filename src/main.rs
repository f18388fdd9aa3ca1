//! The `dockercomms` program; everything is in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dockercomms::cli::main()
}
