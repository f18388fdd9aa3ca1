//! Standard input, output and error that are closed, full, or whose other end is gone.

use std::fs::File;
use std::process::Stdio;

use super::send;
use crate::common::{ALICE, BOB, Home, alice_and_bob, repository, run, shell, temp_dir};

/// Runs the program with a standard output that no process reads; returns the exit code.
fn unread(home: &Home, arguments: &[&str]) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = home.command();
    command.args(arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), errors)
}

#[test]
fn f22_a_reader_that_went_away_is_no_error() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    send(&alice, BOB, "a.txt", b"hello");

    for arguments in [
        vec!["ls"],
        vec!["ls", "--json"],
        vec!["man"],
        vec!["completions", "bash"],
        vec!["--help"],
        vec!["key", "export"],
        vec!["doctor"],
    ] {
        assert_eq!(unread(&bob, &arguments), (0, String::new()), "{arguments:?}");
    }
}

#[test]
fn what_a_verb_does_is_done_although_nobody_reads() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    crate::common::write(alice.dir().join("a.txt"), "hello");

    let (code, errors) = unread(&alice, &["send", "a.txt", "--to", BOB]);

    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(bob.receive().len(), 1);
}

#[test]
fn f22_a_full_disk_behind_standard_output_is_an_error() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));

    for arguments in [vec!["key", "export"], vec!["status"], vec!["man"]] {
        let mut command = alice.command();
        let full = File::options().write(true).open("/dev/full").unwrap();
        command.args(&arguments).stdout(full).stderr(Stdio::piped());
        let output = command.output().unwrap();

        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains("standard output"), "{arguments:?}: {errors}");
    }
}

#[test]
fn f22_closed_streams_are_like_dev_null() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    crate::common::write(alice.dir().join("a.txt"), "hello");
    let closed = |home: &Home, arguments: &[&str]| {
        let program = home.command();
        let mut script = shell("exec \"$@\" <&- >&- 2>&-", &[program.get_program()]);
        script.args(program.get_args()).args(arguments).current_dir(home.dir());
        run(script)
    };

    for arguments in [vec!["ls"], vec!["status"], vec!["send", "a.txt", "--to", BOB]] {
        let ran = closed(&alice, &arguments);

        assert_eq!(ran.code(), 0, "{ran:?}");
    }
    let refused = closed(&alice, &["trust", "add", bob.card().to_str().unwrap()]);
    assert_eq!(refused.code(), 9, "{refused:?}");
    assert_eq!(bob.receive(), [("a.txt".to_owned(), b"hello".to_vec())]);
}

#[test]
fn nothing_colours_or_draws_where_no_terminal_is() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    crate::common::write(alice.dir().join("big"), vec![7; 3 << 20]);

    let sent = alice.run(["send", "big", "gone", "--to", BOB]);
    let received = bob.run(["recv"]);

    for ran in [sent, received] {
        let all = format!("{}{}", ran.text(), ran.stderr);
        assert!(!all.contains('\u{1b}') && !all.contains('\r'), "{ran:?}");
    }
}
