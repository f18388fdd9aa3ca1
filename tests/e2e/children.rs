//! A program that starts another one while it writes: close-on-exec ends in the middle of `execve`.

use crate::common::{BOB, alice_and_bob, program, repository, run, temp_dir};

/// Writes half, starts a program that does not get the descriptor, writes the rest.
const SCRIPT: &str = r#"
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
os.write(file, b"before ")
child = os.fork()
if child == 0:
    os.execv("/bin/sh", ["sh", "-c", "exit " + sys.argv[2]])
os.waitpid(child, 0)
os.write(file, b"after")
os.close(file)
"#;

#[test]
fn a_program_that_starts_another_one_midway_sends_one_whole_file() {
    sends_whole("0");
}

#[test]
fn the_failure_of_a_child_that_never_had_the_file_changes_nothing() {
    sends_whole("1");
}

#[track_caller]
fn sends_whole(code_of_child: &str) {
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    let mut mount = alice.mount();
    let target = mount.outbox(BOB).join("f.txt");
    let Some(mut python) = program("python3") else { return };
    python.args(["-c", SCRIPT]).arg(&target).arg(code_of_child);

    run(python).ok();

    mount.wait_for_state(&target, "sent");
    mount.unmount();
    assert_eq!(bob.receive(), [("f.txt".to_owned(), b"before after".to_vec())]);
}
