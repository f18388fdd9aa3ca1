//! `__announce`: produces inotify events for what arrived in a directory of a mount.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::exit;
use super::failure::Failure;
use crate::fs;

/// Creates the names from standard input in the mailbox at DIR
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    dir: PathBuf,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    fs::run_announcer(&args.dir).map_err(|error| {
        Failure::io(format!("cannot announce in {}", args.dir.display()), &error)
    })?;
    Ok(exit::OK)
}
