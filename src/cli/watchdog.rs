//! `__watchdog`: detaches a mount point after its process was killed.

use std::io::{self, Read as _};
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::exit;
use super::failure::Failure;
use super::unmount;

/// Waits for the end of standard input, then detaches DIR
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    dir: PathBuf,
}

/// Runs the verb. Whatever happens to its parent, the pipe ends.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    // In a session of its own: Ctrl-C at a mount in the foreground must not end the watchdog first.
    // It fails only for the leader of a group, which has what it would give.
    nix::unistd::setsid().ok();
    let mut buffer = [0; 64];
    loop {
        match io::stdin().read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
            Ok(_) | Err(_) => {}
        }
    }
    unmount::detach_if_ours(&args.dir)?;
    Ok(exit::OK)
}
