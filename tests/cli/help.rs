//! Help teaches: what a verb does, how to call it, a line to copy.

use crate::common::{Home, run};

/// The verbs of the manual.
const VERBS: [&str; 19] = [
    "init",
    "mount",
    "umount",
    "send",
    "recv",
    "ls",
    "verify",
    "ack",
    "restore",
    "recall",
    "resend",
    "gc",
    "status",
    "queue",
    "key",
    "trust",
    "doctor",
    "completions",
    "man",
];

fn help(arguments: &[&str]) -> String {
    let home = Home::new();
    let mut command = home.bare_command();
    command.args(arguments);
    run(command).ok()
}

#[test]
fn the_first_help_shows_the_way() {
    let text = help(&["--help"]);

    for expected in
        ["NOT encrypted", "First steps:", "dockercomms init", "Exit codes:", "key export"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    for verb in VERBS {
        assert!(text.contains(&format!("\n  {verb} ")), "{verb}: {text}");
    }
    assert!(!text.contains("__watchdog"), "{text}");
}

#[test]
fn the_help_of_every_verb_says_what_it_does_and_shows_an_example() {
    for verb in VERBS {
        for flag in ["--help", "-h"] {
            let text = help(&[verb, flag]);

            assert!(text.starts_with(char::is_uppercase), "{verb}: {text}");
            assert!(text.contains(&format!("Usage: dockercomms {verb}")), "{verb}: {text}");
            assert!(text.contains("\nExample"), "{verb}: {text}");
            assert!(text.contains(&format!("\n  dockercomms {verb}")), "{verb}: {text}");
        }
    }
}

#[test]
fn the_usage_of_queue_says_that_all_is_an_alternative_to_files() {
    for verb in ["retry", "cancel"] {
        let text = help(&["queue", verb, "--help"]);

        let usage = text.lines().find(|line| line.starts_with("Usage:")).unwrap_or_default();
        assert!(usage.contains("--all") && usage.contains("FILE"), "{text}");
    }
}

#[test]
fn help_needs_no_home_and_writes_nothing() {
    let home = Home::new();
    let mut command = home.bare_command();
    command.env_remove("HOME").args(["send", "--help"]);

    run(command).ok();

    assert_eq!(std::fs::read_dir(home.dir()).unwrap().count(), 0);
}

#[test]
fn without_a_verb_the_help_is_a_usage_error() {
    let home = Home::new();

    let ran = run(home.bare_command());

    assert_eq!(ran.code(), 9, "{ran:?}");
    assert!(ran.stderr.contains("Usage:"), "{ran:?}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn a_mistyped_verb_or_option_gets_a_suggestion() {
    for (arguments, expected) in [(vec!["snd"], "send"), (vec!["send", "a", "--too", "b"], "--to")]
    {
        let ran = Home::new().run(arguments);

        assert_eq!(ran.code(), 9, "{ran:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(expected), "{ran:?}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(help(&["--version"]), format!("dockercomms {}\n", env!("CARGO_PKG_VERSION")));
}
