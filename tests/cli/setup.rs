//! `init` and `key`: first steps that harm nothing when repeated, and modes that hide the key.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use super::failure;
use crate::common::{ALICE, BOB, Home, Running, read, repository, run, shell, temp_dir, write};

fn mode(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn init_again_changes_nothing_and_prints_the_same_card() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let files =
        ["config.toml", "key.pem", "contact.card"].map(|f| alice.path().join("config").join(f));
    let before = files.clone().map(read);

    let first = alice.run(["key", "export"]).ok();
    let again = alice.run(["init"]).ok();
    alice.run(["init", "--me", ALICE, "--registry", &repository(&dir)]).ok();

    assert!(again.contains(first.trim_end()), "{again}");
    assert_eq!(files.map(read), before);
}

#[test]
fn init_does_not_change_who_one_is() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));

    let ran = alice.run(["init", "--me", BOB]);

    let text = failure(&ran, 9);
    assert!(text.contains(ALICE) && text.contains("config.toml"), "{text}");
    assert!(alice.run(["status"]).ok().contains(ALICE));
}

#[test]
fn many_at_once_make_one_key() {
    let home = Home::new();
    let start = || {
        let mut command = home.command();
        command.args(["--json", "init", "--me", ALICE, "--registry", "oci:/nowhere"]);
        Running::start(command)
    };

    let started: Vec<Running> = (0..6).map(|_| start()).collect();
    let ended: Vec<_> = started.into_iter().map(Running::end).collect();

    let key = home.json(["key", "show"])[0]["fingerprint"].clone();
    for ran in ended {
        let shown: serde_json::Value = serde_json::from_str(ran.ok().trim_end()).unwrap();
        assert_eq!(shown["fingerprint"], key);
    }
    home.run(["status"]).ok();
}

#[test]
fn a_key_is_never_overwritten() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let key = read(alice.path().join("config/key.pem"));

    let ran = alice.run(["key", "new", "--algorithm", "ed25519"]);

    failure(&ran, 1);
    assert_eq!(read(alice.path().join("config/key.pem")), key);
}

#[test]
fn an_ed25519_key_signs_as_well() {
    let dir = temp_dir();
    let (alice, bob) = (Home::new(), Home::init(BOB, &repository(&dir)));
    alice.run(["key", "new", "--algorithm", "ed25519"]).ok();
    alice.initialise(ALICE, &repository(&dir));
    bob.trust(&alice);

    super::send(&alice, BOB, "a.txt", b"hello");

    assert!(alice.run(["key", "show"]).ok().contains("Ed25519"));
    assert_eq!(bob.receive(), [("a.txt".to_owned(), b"hello".to_vec())]);
}

#[test]
fn nobody_else_may_look_whatever_the_umask_is() {
    let dir = temp_dir();
    let home = Home::new();
    let program = home.command();
    let mut script = shell("umask 000; exec \"$@\"", &[program.get_program()]);
    script.args(program.get_args());
    script.args(["init", "--me", ALICE, "--registry", &repository(&dir)]);

    run(script).ok();
    write(home.dir().join("a.txt"), "hello");
    home.run(["send", "a.txt", "--to", BOB, "--new"]).ok();

    for dir in ["", "config", "state", "cache", "state/spool"] {
        assert_eq!(mode(home.path().join(dir)), 0o700, "{dir}");
    }
    for file in ["config/key.pem", "config/config.toml", "state/state.db"] {
        assert_eq!(mode(home.path().join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_key_that_others_may_read_is_closed_with_a_message() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let key = alice.path().join("config/key.pem");
    set_mode(&key, 0o644);

    let ran = alice.run(["key", "show"]);

    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(mode(&key), 0o600);
    assert!(ran.stderr.contains("key.pem"), "{ran:?}");
    assert_eq!(alice.run(["key", "show"]).stderr, "", "said only once");
}

#[test]
fn a_state_directory_that_others_may_read_is_closed() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    for place in ["state", "config", "cache"] {
        set_mode(alice.path().join(place), 0o755);
    }

    alice.run(["ls"]).ok();

    for place in ["state", "config", "cache"] {
        assert_eq!(mode(alice.path().join(place)), 0o700, "{place}");
    }
}

#[test]
fn f25_a_damaged_key_is_no_reason_to_make_another() {
    let dir = temp_dir();
    for content in
        ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "\0\u{1b}[2J"]
    {
        let alice = Home::init(ALICE, &repository(&dir));
        let key = write(alice.path().join("config/key.pem"), content);

        let ran = alice.run(["init"]);

        assert_ne!(ran.code(), 0, "{ran:?}");
        assert!(ran.stderr.contains("key.pem") && !ran.stderr.contains('\u{1b}'), "{ran:?}");
        assert_eq!(read(key), content.as_bytes());
    }
}

#[test]
fn profiles_are_different_people_in_one_home() {
    let dir = temp_dir();
    let home = Home::init(ALICE, &repository(&dir));
    let work = ["--profile", "work"];

    let init = ["init", "--me", "alice@work.example", "--registry", "oci:/nowhere"];
    home.run(work.iter().chain(&init)).ok();

    let mine = home.json(["key", "show"]);
    let theirs = home.json(work.iter().chain(&["key", "show"]));
    assert_ne!(mine[0]["fingerprint"], theirs[0]["fingerprint"]);
    assert_eq!(theirs[0]["me"][0], "alice@work.example");
    assert_eq!(mode(theirs[0]["path"].as_str().unwrap()), 0o600);
}

#[test]
fn a_registry_that_cannot_be_is_refused_before_anything_is_written() {
    for registry in
        ["", "nonsense", "https://registry.example.org/mail", "oci:", "ghcr.io/x:latest"]
    {
        let home = Home::new();

        let ran = home.run(["init", "--me", ALICE, "--registry", registry]);

        assert!(failure(&ran, 9).contains("registry"), "{registry}: {ran:?}");
        assert!(!home.path().join("config/config.toml").exists(), "{registry}");
    }
}

#[test]
fn a_mount_in_the_background_says_which_directory_it_must_be_able_to_write() {
    let dir = temp_dir();
    let alice = Home::of_ordinary_user();
    alice.initialise("alice@example.com", &repository(&dir));
    let state = alice.path().join("state");
    let mail = alice.dir().join("mail");
    let mut mkdir = alice.foreign("mkdir");
    mkdir.arg(&mail);
    run(mkdir).ok();
    set_mode(&state, 0o500);

    let mounted = alice.run(["mount".as_ref(), mail.as_os_str()]);

    set_mode(&state, 0o700);
    let text = failure(&mounted, 1);
    assert!(text.contains("hint: ") && text.contains(state.to_str().unwrap()), "{text}");
}
