//! `__watchdog`: detaches a mount point after its process was killed.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::exit;
use super::failure::Failure;
use crate::fs;

/// Waits for the end of standard input, then detaches DIR
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    dir: PathBuf,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    fs::run_watchdog(&args.dir)
        .map_err(|error| Failure::io(format!("cannot detach {}", args.dir.display()), &error))?;
    Ok(exit::OK)
}
