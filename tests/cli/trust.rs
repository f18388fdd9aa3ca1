//! `trust`: confirming before trusting, contact cards by bad people, forgetting.

use std::path::Path;

use super::{failure, on_terminal, send};
use crate::common::{
    ALICE, BOB, Home, Ran, Running, alice_and_bob, read, repository, run, temp_dir, write,
};

fn add(home: &Home, card: &Path) -> Ran {
    home.run(["trust".as_ref(), "add".as_ref(), card.as_os_str(), "--yes".as_ref()])
}

#[test]
fn nobody_is_trusted_without_a_question_or_yes() {
    let dir = temp_dir();
    let (alice, bob) = (Home::init(ALICE, &repository(&dir)), Home::init(BOB, &repository(&dir)));
    let card = bob.card();
    let fingerprint = bob.json(["key", "show"])[0]["fingerprint"].as_str().unwrap().to_owned();

    let file = alice.run(["trust".as_ref(), "add".as_ref(), card.as_os_str()]);
    let mut command = alice.command();
    command.args(["trust", "add", "-"]);
    let piped = Running::start_with_input(command, &read(&card)).end();

    for ran in [file, piped] {
        assert!(failure(&ran, 9).contains("--yes"), "{ran:?}");
        assert!(ran.stderr.contains(&fingerprint), "what to compare is not shown: {ran:?}");
    }
    assert!(alice.run(["trust", "ls"]).ok().contains("no one"));
}

/// Runs `trust add` on a terminal of its own, where `answer` is typed.
fn add_on_terminal(home: &Home, card: &Path, answer: &str) -> Option<Ran> {
    on_terminal(home, &format!("trust add '{}'", card.display()), &format!("{answer}\n"))
}

#[test]
fn a_person_is_shown_the_fingerprint_and_asked() {
    let dir = temp_dir();
    let (alice, bob) = (Home::init(ALICE, &repository(&dir)), Home::init(BOB, &repository(&dir)));
    let card = bob.card();
    let fingerprint = bob.json(["key", "show"])[0]["fingerprint"].as_str().unwrap().to_owned();

    let Some(no) = add_on_terminal(&alice, &card, "n") else { return };
    let trusted_after_no = alice.run(["trust", "ls"]).ok();
    let Some(yes) = add_on_terminal(&alice, &card, "y") else { return };
    let trusted_after_yes = alice.run(["trust", "ls"]).ok();

    assert!(no.text().contains(&fingerprint) && no.text().contains("[y/N]"), "{no:?}");
    assert_ne!(no.code(), 0, "{no:?}");
    assert!(!trusted_after_no.contains(BOB), "{trusted_after_no}");
    assert_eq!(yes.code(), 0, "{yes:?}");
    assert!(trusted_after_yes.contains(BOB), "{trusted_after_yes}");
}

#[test]
fn a_hostile_card_is_refused_and_changes_nothing() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let mallory = Home::init("mallory@example.com", &repository(&dir));
    let good = String::from_utf8(read(mallory.card())).unwrap();
    let other = String::from_utf8(read(bob.card())).unwrap();
    let other_print = other.lines().find(|line| line.starts_with("fingerprint")).unwrap();
    let print = good.lines().find(|line| line.starts_with("fingerprint")).unwrap();
    let name = "name = \"mallory@example.com\"";
    let store = alice.path().join("config/trust.toml");
    let before = read(&store);

    for (what, card) in [
        ("empty", String::new()),
        ("binary", "\0\u{1}\u{2}".repeat(100)),
        ("another's fingerprint", good.replace(print, other_print)),
        ("a second name", good.replace(name, &format!("{name}\nname = \"{BOB}\""))),
        ("a member more", format!("{good}\nadmin = true\n")),
        ("another format", good.replace("card-1", "card-2")),
        ("no name", good.replace(name, "name = \"\"")),
        ("a name with a line end", good.replace(name, "name = \"a\\nb\"")),
        ("a name with an escape", good.replace(name, "name = \"\\u001b[2Jx\"")),
        ("a long name", good.replace(name, &format!("name = \"{}\"", "a".repeat(5000)))),
        ("a long card", format!("{good}\n#{}", "x".repeat(1 << 20))),
        ("no key", good.replace("PUBLIC KEY", "CERTIFICATE")),
        ("deep", format!("format = {}", "[".repeat(10_000))),
        ("escapes outside", "\u{1b}[2J\u{1b}]0;owned\u{7}".to_owned()),
    ] {
        let card = write(alice.dir().join("hostile.card"), card);

        let ran = add(&alice, &card);

        assert_ne!(ran.code(), 0, "{what}: {ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{what}: {ran:?}");
        assert!(!ran.stderr.contains(['\u{1b}', '\u{7}']), "{what}: {ran:?}");
        assert_eq!(read(&store), before, "{what} changed the trust store");
    }
}

#[test]
fn what_is_no_file_of_a_card_is_refused_in_bounded_time() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));

    for path in [Path::new("/dev/zero"), Path::new("/dev/null"), alice.dir()] {
        let ran = add(&alice, path);

        assert_ne!(ran.code(), 0, "{ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    }
}

#[test]
fn a_private_key_is_no_card_and_is_not_shown() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let key = alice.path().join("config/key.pem");
    let pem = String::from_utf8(read(&key)).unwrap();

    let card = add(&bob, &key);
    let mut command = bob.command();
    command.args(["-vvv", "trust", "add", "--yes", "--name", "x@example.com"]).arg(&key);
    let named = run(command);

    for ran in [card, named] {
        assert_ne!(ran.code(), 0, "{ran:?}");
        for line in pem.lines().filter(|line| !line.starts_with("-----")) {
            assert!(!ran.stderr.contains(line) && !ran.text().contains(line), "{ran:?}");
        }
    }
}

#[test]
fn a_bare_key_needs_a_name() {
    let dir = temp_dir();
    let (alice, bob) = (Home::init(ALICE, &repository(&dir)), Home::init(BOB, &repository(&dir)));
    let key = write(alice.dir().join("bob.pub"), bob.run(["key", "show", "--pem"]).ok());
    let path = key.to_str().unwrap();

    let nameless = alice.run(["trust", "add", path, "--yes"]);
    alice.run(["trust", "add", path, "--name", BOB, "--yes"]).ok();
    let again = alice.json(["trust", "add", path, "--name", BOB, "--yes"]);

    assert!(failure(&nameless, 9).contains("--name"), "{nameless:?}");
    assert_eq!(again[0]["result"], "known");
    send(&bob, ALICE, "a.txt", b"hello");
    assert_eq!(alice.receive().len(), 1);
}

#[test]
fn a_second_key_of_a_known_name_is_said_to_be_one() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let second = Home::init(BOB, &repository(&dir));
    let card = second.card();

    let added = alice.json(["trust", "add", card.to_str().unwrap(), "--yes"]);

    assert_eq!(added[0]["result"], "key-added");
    send(&bob, ALICE, "old key.txt", b"a");
    send(&second, ALICE, "new key.txt", b"b");
    assert_eq!(alice.receive().len(), 2);
}

#[test]
fn who_is_forgotten_is_refused_and_who_is_trusted_again_is_admitted() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    bob.run(["trust", "rm", ALICE]).ok();
    send(&alice, BOB, "a.txt", b"hello");

    let refused = bob.run(["recv"]);
    let pending = bob.run(["trust", "pending"]).ok();
    bob.trust(&alice);

    assert_eq!(refused.code(), 0, "{refused:?}");
    assert!(refused.stderr.contains("ls quarantine"), "{refused:?}");
    assert!(pending.contains(ALICE), "{pending}");
    assert_eq!(bob.receive().len(), 1);
}

#[test]
fn a_revoked_key_is_refused_for_good_and_the_sender_s_other_key_counts() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let second = Home::init(BOB, &repository(&dir));
    let fingerprint = bob.json(["key", "show"])[0]["fingerprint"].as_str().unwrap().to_owned();

    let unknown = alice.run(["trust", "rm", BOB, "--key", "SHA256:nobody"]);
    let only = alice.json(["trust", "rm", BOB, "--key", &fingerprint]);
    let again = add(&alice, &bob.card());
    add(&alice, &second.card()).ok();

    assert!(failure(&unknown, 5).contains("trust ls"), "{unknown:?}");
    assert_eq!(only[0]["left_count"], 0);
    assert!(failure(&again, 2).contains("revoked"), "{again:?}");
    let listed = alice.run(["trust", "ls"]).ok();
    assert!(listed.lines().any(|l| l.contains(&fingerprint) && l.contains("revoked")), "{listed}");
    send(&bob, ALICE, "old key.txt", b"a");
    send(&second, ALICE, "new key.txt", b"b");
    assert_eq!(alice.receive(), [("new key.txt".to_owned(), b"b".to_vec())]);
}

#[test]
fn the_exported_store_is_one_that_another_machine_can_use() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let laptop = Home::init(BOB, &repository(&dir));

    let exported = bob.run(["trust", "export"]).ok();
    write(laptop.path().join("config/trust.toml"), exported);

    send(&alice, BOB, "a.txt", b"hello");
    assert_eq!(laptop.receive().len(), 1);
}

#[test]
fn a_damaged_store_trusts_nobody_and_names_the_file() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    send(&alice, BOB, "a.txt", b"hello");
    write(bob.path().join("config/trust.toml"), "[[sender]]\nname = 7\n");

    let listed = bob.run(["trust", "ls"]);
    let received = bob.run(["recv"]);

    assert!(failure(&listed, listed.code()).contains("trust.toml"), "{listed:?}");
    assert_ne!(received.code(), 0, "{received:?}");
    assert!(!bob.dir().join("a.txt").exists());
}

#[test]
fn a_card_may_come_through_a_pipe_of_the_shell() {
    let dir = temp_dir();
    let (alice, bob) = (Home::init(ALICE, &repository(&dir)), Home::init(BOB, &repository(&dir)));
    let Some(mut bash) = crate::common::program("bash") else { return };
    let program = alice.command();
    bash.args(["-c", "\"$@\" trust add <(cat \"$CARD\") --yes", "bash"]).env("CARD", bob.card());
    bash.arg(program.get_program()).args(program.get_args());

    run(bash).ok();

    assert!(alice.run(["trust", "ls"]).ok().contains(BOB));
}
