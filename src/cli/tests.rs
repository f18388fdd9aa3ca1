use clap::{CommandFactory as _, Parser as _};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_of_the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_of_the_manual_parses() {
    for line in [
        "dockercomms init --me a@x --registry oci:/m",
        "dockercomms --home /h mount /mnt --poll 1 --foreground",
        "dockercomms mount /mnt -o rw,allow_other --registry docker://h/r --me a@x",
        "dockercomms umount -z /mnt",
        "dockercomms send a b - --to bob --name x --compression gzip --chunk-bytes 1MiB --ttl 7d",
        "dockercomms send a --to bob@x --new",
        "dockercomms init --me ci --any-name",
        "dockercomms recv --out /d --since 2026-01-01 --max 3 --json",
        "dockercomms ls",
        "dockercomms ls quarantine --offline",
        "dockercomms verify sha256:abc --explain",
        "dockercomms ack 7f3c9a1e --status rejected --reason no",
        "dockercomms restore",
        "dockercomms recall 7f3c9a1e",
        "dockercomms resend 7f3c9a1e report.pdf",
        "dockercomms gc --dry-run --json",
        "dockercomms key new --algorithm ed25519",
        "dockercomms key show --pem",
        "dockercomms key export",
        "dockercomms key rotate --algorithm ed25519",
        "dockercomms trust add card --yes",
        "dockercomms trust add - --name bob --yes",
        "dockercomms trust ls",
        "dockercomms trust rm bob",
        "dockercomms trust pending",
        "dockercomms trust export",
        "dockercomms status --watch",
        "dockercomms doctor --write -vv",
        "dockercomms completions bash",
        "dockercomms man send",
        "dockercomms __watchdog /mnt",
        "dockercomms __announce /mnt",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_is_not_a_command_line_is_refused() {
    for line in [
        "dockercomms frobnicate",
        "dockercomms queue",
        "dockercomms queue cancel",
        "dockercomms send --to bob",
        "dockercomms send a",
        "dockercomms ack x",
        "dockercomms ack x --status maybe",
        "dockercomms send a --to b --compression lzma",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn every_verb_has_a_manual_page_with_its_help() {
    let mut command = command();
    command.build();

    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let mut page = Vec::new();
        clap_mangen::Man::new(verb.clone()).render(&mut page).unwrap();

        assert!(verb.get_about().is_some(), "{} has no help", verb.get_name());
        assert!(page.len() > 100, "{}", verb.get_name());
    }
}

#[test]
fn help_says_first_that_nothing_is_encrypted() {
    let help = command().render_long_help().to_string();

    assert!(help.contains("NOT encrypted"), "{help}");
}

#[test]
fn every_verb_shows_an_example_and_every_example_parses() {
    for verb in command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let shown = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> =
            shown.lines().filter_map(|line| line.strip_prefix("  ")).collect();

        assert!(!examples.is_empty(), "{} has no example", verb.get_name());
        for example in examples {
            // What a shell makes of the line: one word in quotes, nothing behind `>`, `<` or `|`.
            let line = example.split(['>', '<', '|']).next().unwrap_or_default().trim();
            let line = line.replace("\"not for me\"", "no");
            assert!(line.starts_with(&format!("dockercomms {}", verb.get_name())), "{line}");
            assert!(parse(&line).is_ok(), "{line}: {}", parse(&line).unwrap_err());
        }
    }
}
