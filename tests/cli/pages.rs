//! `completions` and `man`: what shells and `man` make of them.

use crate::common::{Home, Running, program, run, shell, write};

fn page(arguments: &[&str]) -> String {
    let home = Home::new();
    let mut command = home.bare_command();
    command.args(arguments);
    run(command).ok()
}

#[test]
fn bash_completes_verbs_options_and_listings() {
    let home = Home::new();
    let script = write(home.dir().join("completions"), page(&["completions", "bash"]));
    for (words, expected) in [
        ("dockercomms se", "send"),
        ("dockercomms ls quar", "quarantine"),
        ("dockercomms send --compr", "--compression"),
        ("dockercomms trust pen", "pending"),
    ] {
        let Some(mut bash) = program("bash") else { return };
        bash.args(["--norc", "-c"]).arg(
            "source \"$1\"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
             _dockercomms dockercomms \"${COMP_WORDS[COMP_CWORD]}\" \
             \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"",
        );
        bash.arg("bash").arg(&script).arg(words);

        let found = run(bash).ok();

        assert!(found.split_whitespace().any(|word| word == expected), "{words}: {found}");
    }
}

#[test]
fn every_script_is_one_that_its_shell_can_read() {
    for (shell, first, check) in [
        ("bash", "_dockercomms()", Some("bash")),
        ("zsh", "#compdef dockercomms", None),
        ("fish", "# Print an optspec", None),
        ("elvish", "", None),
        ("powershell", "", None),
    ] {
        let script = page(&["completions", shell]);

        assert!(script.starts_with(first) && script.contains("quarantine"), "{shell}: {script}");
        if let Some(mut command) = check.and_then(program) {
            command.arg("-n");
            let ran = Running::start_with_input(command, script.as_bytes()).end();
            assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{shell}");
        }
    }
}

#[test]
fn the_manual_page_names_every_verb() {
    let manual = page(&["man"]);

    assert!(manual.contains(".TH dockercomms 1"), "{manual}");
    for verb in ["init", "mount", "send", "recv", "verify", "trust", "doctor"] {
        assert!(manual.contains(&format!("dockercomms\\-{verb}(1)")), "{verb}: {manual}");
    }
    assert!(manual.contains("not encrypted") || manual.contains("NOT encrypted"), "{manual}");
}

#[test]
fn the_manual_page_of_a_verb_has_its_options_and_examples() {
    let manual = page(&["man", "send"]);

    for expected in ["compression", "chunk\\-bytes", "ttl", "Examples:", "report.pdf"] {
        assert!(manual.contains(expected), "{expected}: {manual}");
    }
}

#[test]
fn the_manual_pages_are_formatted_without_a_warning() {
    for verb in ["", "mount", "send", "trust"] {
        let arguments: Vec<&str> = ["man", verb].into_iter().filter(|a| !a.is_empty()).collect();
        let Some(_groff) = program("groff") else { return };
        let command = shell("groff -man -Tutf8 -ww -z", &[""; 0]);

        let ran = Running::start_with_input(command, page(&arguments).as_bytes()).end();

        assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{verb}");
    }
}
