//! The command line: help, output, exit codes, JSON. The real binary, without a mount if possible.

mod exit_codes;
mod help;
mod json;
mod lifecycle;
mod listing;
mod pages;
mod places;
mod privacy;
mod recipients;
mod resend;
mod setup;
mod streams;
mod transfer;
mod trust;

use crate::common::{Home, Ran, Running, write};

/// Checks the exit code and the shape `error: ...`, `cause: ...`, `hint: ...`; returns that text.
#[track_caller]
fn failure(ran: &Ran, code: i32) -> &str {
    assert_eq!(ran.code(), code, "{ran:?}");
    let mut lines = ran.stderr.lines().skip_while(|line| !line.starts_with("error: "));
    assert!(lines.next().is_some(), "no `error:` line: {ran:?}");
    for line in lines {
        let known = ["error: ", "  cause: ", "  hint: "];
        assert!(known.iter().any(|start| line.starts_with(start)), "`{line}` of {ran:?}");
    }
    &ran.stderr
}

/// Runs a verb on a terminal of its own, where `typed` is typed.
fn on_terminal(home: &Home, verb: &str, typed: &str) -> Option<Ran> {
    let script = crate::common::tool("script")?;
    let program = home.command();
    let words: Vec<String> = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut command = home.foreign(script);
    let line = format!("{} {verb}", words.join(" "));
    command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm");
    Some(Running::start_with_input(command, typed.as_bytes()).end())
}

/// Sends one small file, whether the key is held or not; returns the digest of the message.
#[track_caller]
fn send(from: &Home, to: &str, name: &str, content: &[u8]) -> String {
    let path = write(from.dir().join(name), content);
    let to = ["--to".as_ref(), to.as_ref(), "--new".as_ref()];
    let sent = from.json(["send".as_ref(), path.as_os_str()].into_iter().chain(to));
    sent[0]["digest"].as_str().expect("a digest").to_owned()
}
