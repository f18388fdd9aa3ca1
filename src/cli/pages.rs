//! `completions` and `man`: pages generated from the definition of the command line.

use clap::Args as ClapArgs;
use clap_complete::Shell;

use super::exit;
use super::failure::Failure;
use super::session::Session;
use crate::protocol::ErrorClass;

/// Shown below the help of `completions`.
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  dockercomms completions bash > ~/.local/share/bash-completion/completions/dockercomms
  dockercomms completions fish > ~/.config/fish/completions/dockercomms.fish";

/// Shown below the help of `man`.
const MAN_EXAMPLES: &str = "\
Examples:
  dockercomms man | man -l -
  dockercomms man send | man -l -";

/// Print a completion script for your shell
#[derive(Debug, ClapArgs)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page of the program or of a verb
#[derive(Debug, ClapArgs)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct ManArgs {
    /// The verb [default: the program itself]
    verb: Option<String>,
}

/// Runs `completions`.
pub(crate) fn completions(
    session: &Session,
    args: &CompletionsArgs,
    mut command: clap::Command,
) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "dockercomms", &mut script);
    session.output.document(&String::from_utf8_lossy(&script));
    exit::OK
}

/// Runs `man`.
pub(crate) fn man(
    session: &Session,
    args: &ManArgs,
    mut command: clap::Command,
) -> Result<u8, Failure> {
    // Adds the global options and `help` to every verb, as parsing does.
    command.build();
    let page = match &args.verb {
        None => command,
        Some(verb) => command
            .get_subcommands()
            .find(|candidate| candidate.get_name() == verb && !candidate.is_hide_set())
            .cloned()
            .map(|found| found.display_name(format!("dockercomms-{verb}")))
            .ok_or_else(|| {
                Failure::new(ErrorClass::Configuration, "no such verb")
                    .hint("run `dockercomms --help` for the list")
            })?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| Failure::io("cannot make the manual page", &error))?;
    session.output.document(&String::from_utf8_lossy(&text));
    Ok(exit::OK)
}
