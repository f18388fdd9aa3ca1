//! Where files are: `--home`, `DOCKERCOMMS_HOME`, the XDG directories, and none of them (F22).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::failure;
use crate::common::{ALICE, Home, names_in, run};

#[test]
fn f22_without_any_home_it_says_which_variable_to_set() {
    let home = Home::new();
    let mut command = home.bare_command();
    command.env_remove("HOME").args(["init", "--me", ALICE]);

    let ran = run(command);

    let text = failure(&ran, 9);
    assert!(text.contains("--home") && text.contains("HOME"), "{text}");
}

#[test]
fn an_empty_or_relative_home_is_as_good_as_none() {
    for value in ["", "relative/home"] {
        let home = Home::new();
        let mut command = home.bare_command();
        command.env("HOME", value).args(["init", "--me", ALICE]);

        failure(&run(command), 9);

        assert!(names_in(home.dir()).is_empty(), "{value}: {:?}", names_in(home.dir()));
    }
}

#[test]
fn f22_home_alone_gives_the_usual_places() {
    let home = Home::new();
    let mut command = home.bare_command();
    command.args(["init", "--me", ALICE]);

    run(command).ok();

    for place in [".config/dockercomms/key.pem", ".local/state/dockercomms"] {
        assert!(home.dir().join(place).exists(), "{place}: {:?}", names_in(home.dir()));
    }
}

#[test]
fn the_xdg_directories_win_over_home_and_need_none() {
    let home = Home::new();
    let mut command = home.bare_command();
    command.env_remove("HOME").args(["init", "--me", ALICE]);
    for (variable, dir) in [
        ("XDG_CONFIG_HOME", "c"),
        ("XDG_STATE_HOME", "s"),
        ("XDG_CACHE_HOME", "k"),
        ("XDG_DATA_HOME", "d"),
    ] {
        command.env(variable, home.dir().join(dir));
    }

    run(command).ok();

    assert!(home.dir().join("c/dockercomms/key.pem").exists());
    assert!(home.dir().join("s/dockercomms").exists());
    assert_eq!(names_in(home.dir()).iter().filter(|name| name.starts_with('.')).count(), 0);
}

#[test]
fn a_relative_xdg_directory_is_ignored_as_its_standard_says() {
    let home = Home::new();
    let mut command = home.bare_command();
    command.env("XDG_CONFIG_HOME", "relative").args(["init", "--me", ALICE]);

    run(command).ok();

    assert!(home.dir().join(".config/dockercomms/key.pem").exists());
    assert!(!home.dir().join("relative").exists());
}

#[test]
fn the_variable_is_as_good_as_the_option_and_the_option_wins() {
    let home = Home::new();
    let with = |variable: &str, option: Option<&str>| {
        let mut command = home.bare_command();
        command.env("DOCKERCOMMS_HOME", home.dir().join(variable));
        command.args(option.map(|dir| format!("--home={}", home.dir().join(dir).display())));
        command.args(["init", "--me", ALICE]);
        run(command).ok();
    };

    with("one", None);
    with("two", Some("three"));

    assert!(home.dir().join("one/config/key.pem").exists());
    assert!(!home.dir().join("two").exists());
    assert!(home.dir().join("three/config/key.pem").exists());
}

#[test]
fn the_environment_says_who_and_where_for_one_command() {
    let home = Home::new();
    home.initialise(ALICE, "oci:/nowhere/a");
    let mut command = home.command();
    command.env("DOCKERCOMMS_REGISTRY", "oci:/nowhere/b").args(["status", "--json"]);

    let changed = run(command).ok();

    assert!(changed.contains("oci:/nowhere/b"), "{changed}");
    assert!(home.run(["status"]).ok().contains("oci:/nowhere/a"));
}

#[test]
fn a_home_that_is_not_text_works_with_a_registry_and_is_refused_without() {
    let home = Home::new();
    let odd = home.dir().join(OsStr::from_bytes(b"odd-\xff"));
    let init = |registry: &[&str]| {
        let mut command = home.bare_command();
        command.env("DOCKERCOMMS_HOME", &odd).args(["init", "--me", ALICE]).args(registry);
        run(command)
    };

    failure(&init(&[]), 9);
    init(&["--registry", "oci:/nowhere"]).ok();

    assert!(odd.join("config/key.pem").exists());
    assert_eq!(std::fs::read_dir(home.dir()).unwrap().count(), 1);
}
