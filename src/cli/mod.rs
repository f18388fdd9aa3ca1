//! The command line: arguments in, lines and an exit code out.
//!
//! One file for each verb with its `Args` and `run`; the doc comments of `Args` are the help. Only
//! [`output`] prints, only [`mod@env`] reads the environment, only [`exit`] knows exit codes. Rules
//! of the product live below, in `mailbox`. Start at [`main`].
#![expect(clippy::doc_markdown, reason = "help texts are doc comments, and clap shows backticks")]

mod ack;
mod announce;
mod daemon;
mod doctor;
mod env;
mod exit;
mod failure;
mod gc;
mod global;
mod init;
mod key;
mod list;
mod mount;
mod mount_helper;
mod output;
mod pages;
mod queue;
mod recall;
mod receive;
mod recipient;
mod reference;
mod resend;
mod restore;
mod running;
mod send;
mod session;
mod status;
mod telemetry;
mod trust;
mod unconfirmed;
mod unmount;
mod verify;
mod watchdog;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use failure::Failure;
use global::Global;
use output::Output;
use session::Session;

use crate::protocol::ErrorClass;

/// Send files to people over any OCI registry, signed and acknowledged
///
/// A registry you already run is the post office; there is no other server. Every message is signed
/// by its sender and verified before its first byte is read; receipts are signed too. Payloads are
/// NOT encrypted: anyone with read access to the registry can read them.
///
/// First steps:
///   dockercomms init --me you@example.org --registry docker://registry.example.org/mail
///   dockercomms key export > you.card        (give it to the people you write to)
///   dockercomms trust add them.card          (add theirs; compare the fingerprint)
///   dockercomms mount ~/mail
///   cp report.pdf ~/mail/outbox/them@example.org/
#[derive(Debug, Parser)]
#[command(name = "dockercomms", version, verbatim_doc_comment, after_help = EXIT_CODES)]
#[command(propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 other error, 2 verification failed, 3 registry login or permission, 4 broken \
data or protocol, 5 not found, 6 partly done, 7 offline or timed out, 8 busy, 9 configuration or \
usage, 70 bug, 130 interrupted.

Environment: DOCKERCOMMS_HOME, DOCKERCOMMS_PROFILE, DOCKERCOMMS_ME and DOCKERCOMMS_REGISTRY stand for \
the options of these names, NO_COLOR for no colours.";

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Args),
    Mount(mount::Args),
    #[command(name = "umount", visible_alias = "unmount")]
    Unmount(unmount::Args),
    Send(send::Args),
    #[command(name = "recv", visible_alias = "receive")]
    Receive(receive::Args),
    #[command(name = "ls", visible_alias = "list")]
    List(list::Args),
    Verify(verify::Args),
    Ack(ack::Args),
    Restore(restore::Args),
    Recall(recall::Args),
    Resend(resend::Args),
    Gc(gc::Args),
    Status(status::Args),
    Queue(queue::Args),
    Key(key::Args),
    Trust(trust::Args),
    Doctor(doctor::Args),
    Completions(pages::CompletionsArgs),
    Man(pages::ManArgs),
    #[command(name = "__watchdog", hide = true)]
    Watchdog(watchdog::Args),
    #[command(name = "__announce", hide = true)]
    Announce(announce::Args),
}

/// Runs the program: parses the command line, carries out the verb, reports.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Determined before parsing, which may fail: a program needs that error as JSON too.
    let is_json = arguments.iter().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(mount_helper::rewrite(arguments)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, is_json),
    };
    let session = Session::new(cli.global);
    let result = run(&session, cli.verb);
    let finished = session.output.finish();
    let failure = match (result, finished) {
        (Err(failure), _) | (Ok(_), Err(failure)) => failure,
        (Ok(exit), Ok(())) => return ExitCode::from(exit),
    };
    session.output.failure(&failure);
    ExitCode::from(failure.exit)
}

fn run(session: &Session, verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Init(args) => init::run(session, &args),
        Verb::Mount(args) => mount::run(session, &args),
        Verb::Unmount(args) => unmount::run(session, &args),
        Verb::Send(args) => send::run(session, &args),
        Verb::Receive(args) => receive::run(session, &args),
        Verb::List(args) => list::run(session, &args),
        Verb::Verify(args) => verify::run(session, &args),
        Verb::Ack(args) => ack::run(session, &args),
        Verb::Restore(args) => restore::run(session, &args),
        Verb::Recall(args) => recall::run(session, &args),
        Verb::Resend(args) => resend::run(session, &args),
        Verb::Gc(args) => gc::run(session, &args),
        Verb::Status(args) => status::run(session, &args),
        Verb::Queue(args) => queue::run(session, &args),
        Verb::Key(args) => key::run(session, &args),
        Verb::Trust(args) => trust::run(session, &args),
        Verb::Doctor(args) => doctor::run(session, &args),
        Verb::Completions(args) => Ok(pages::completions(session, &args, command())),
        Verb::Man(args) => pages::man(session, &args, command()),
        Verb::Watchdog(args) => watchdog::run(&args),
        Verb::Announce(args) => announce::run(&args),
    }
}

/// Prints help, a version or a usage error; clap knows which goes where.
fn usage(error: &clap::Error, is_json: bool) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    let is_asked = matches!(error.kind(), DisplayHelp | DisplayVersion);
    if is_json && !is_asked {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let what = first.strip_prefix("error: ").unwrap_or(first);
        let failure = Failure::new(ErrorClass::Configuration, what);
        Output::new(true).failure(&failure.hint("run `dockercomms --help`"));
    } else {
        // A closed pipe while the help is printed is not our error.
        error.print().ok();
    }
    ExitCode::from(if is_asked { exit::OK } else { exit::CONFIGURATION })
}

/// Returns the definition of the command line, for help pages and completions.
fn command() -> clap::Command {
    Cli::command()
}
