//! Who may get a file of the command line, and under which names people are set up.

use super::{failure, on_terminal};
use crate::common::{
    ALICE, BOB, Home, Ran, alice_and_bob, names_in, repository, run, temp_dir, write,
};

/// Names that nobody may get by accident, and what the error suggests.
const NO_ADDRESSES: [(&str, Option<&str>); 16] = [
    ("photos", None),
    ("New Folder", None),
    ("flat", None),
    ("", None),
    ("*", None),
    ("../x", None),
    ("a@x,b@y", None),
    ("otto;c1", None),
    ("spiffe://acme/ci", None),
    ("otto@x..org", None),
    ("otto@x.org.", Some("otto@x.org")),
    ("Otto <otto@x.org>", Some("otto@x.org")),
    (" otto@x.org", Some("otto@x.org")),
    ("mailto:otto@x.org", Some("otto@x.org")),
    ("otto@x.org\u{200b}", Some("otto@x.org")),
    // Pasted, and almost the name of somebody known.
    ("Bob <b0b@example.com>", Some(BOB)),
];

fn send_to(home: &Home, to: &str, more: &[&str]) -> Ran {
    write(home.dir().join("a.txt"), "hello");
    let to = format!("--to={to}");
    home.run(["send", "a.txt", to.as_str()].iter().chain(more))
}

/// Returns the recipients of what was sent, from the lists of the sender.
fn recipients(home: &Home) -> Vec<String> {
    let rows = home.json(["ls", "outbox", "--offline"]);
    rows.iter().map(|row| row["peer"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_no_address_is_refused_with_the_reason_and_nothing_is_sent() {
    let dir = temp_dir();
    let (alice, _bob) = alice_and_bob(&repository(&dir));

    for (name, meant) in NO_ADDRESSES {
        for more in [&[][..], &["--new"]] {
            let ran = send_to(&alice, name, more);

            let text = failure(&ran, 9);
            assert!(text.contains("is not an address: "), "{text}");
            match meant {
                Some(meant) => assert!(text.contains(&format!("did you mean `{meant}`")), "{text}"),
                None => assert!(text.contains("  hint: "), "{text}"),
            }
        }
    }
    let ran = alice.run(["--json", "send", "a.txt", "--to", "photos"]);
    let object: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(
        (object["exit"].as_i64(), object["code"].as_str()),
        (Some(9), Some("configuration"))
    );
    assert!(recipients(&alice).is_empty());
    assert!(!dir.path().join("repository").exists(), "something was pushed");
}

#[test]
fn a_new_name_needs_a_yes_and_a_known_one_none() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let carol = Home::init("carol@elsewhere.example", &repository(&dir));
    carol.trust(&alice);

    let refused = send_to(&alice, "carol@elsewhere.example", &[]);
    let known = send_to(&alice, BOB, &[]);
    let confirmed = send_to(&alice, "carol@elsewhere.example", &["--new"]);

    let text = failure(&refused, 9);
    assert!(text.contains("do not hold the key of `carol@elsewhere.example`"), "{text}");
    assert!(text.contains("--new") && !text.contains("did you mean"), "{text}");
    known.ok();
    confirmed.ok();
    assert_eq!(recipients(&alice), [BOB, "carol@elsewhere.example"]);
    assert_eq!(bob.receive().len(), 1);
    assert_eq!(carol.receive().len(), 1);
}

#[test]
fn a_near_miss_of_a_known_name_is_named() {
    let dir = temp_dir();
    let (alice, _bob) = alice_and_bob(&repository(&dir));

    for typed in [
        "bbo@example.com",
        "boob@example.com",
        "bo@example.com",
        "bib@example.com",
        "Bob@example.com",
        "BOB@EXAMPLE.COM",
        "bob@exmaple.com",
        "bob@example.co",
        "b\u{43e}b@ex\u{430}mple.com",
        "b0b@examp1e.com",
    ] {
        let ran = send_to(&alice, typed, &[]);

        let text = failure(&ran, 9);
        assert!(text.contains("did you mean `bob@example.com`?"), "{text}");
        assert!(text.contains("--new"), "{text}");
    }
    assert!(recipients(&alice).is_empty());
    // It may be another person all the same.
    send_to(&alice, "bbo@example.com", &["--new"]).ok();
}

#[test]
fn a_terminal_is_asked_and_only_a_yes_sends() {
    let dir = temp_dir();
    let (alice, _bob) = alice_and_bob(&repository(&dir));
    write(alice.dir().join("a.txt"), "hello");

    for no in ["n\n", "\n", "what\n", "\u{4}"] {
        let Some(ran) = on_terminal(&alice, "send a.txt --to bbo@example.com", no) else { return };

        let said = ran.text();
        assert_eq!(ran.code(), 130, "{ran:?}");
        assert!(said.contains("did you mean `bob@example.com`?"), "{said}");
        assert!(said.contains("Send to `bbo@example.com` all the same? [y/N]"), "{said}");
        assert!(said.contains("nothing was sent"), "{said}");
    }
    assert!(recipients(&alice).is_empty());
    for (to, typed, is_asked) in [
        ("carol@example.com", "y\n", true),
        ("dave@elsewhere.example", "yes\n", true),
        ("erin@elsewhere.example --new", "", false),
        (BOB, "", false),
        (ALICE, "", false),
    ] {
        let verb = format!("send a.txt --to {to}");
        let ran = on_terminal(&alice, &verb, typed).expect("it ran before");

        assert_eq!(ran.code(), 0, "{ran:?}");
        assert_eq!(ran.text().contains("[y/N]"), is_asked, "{ran:?}");
    }
    assert_eq!(recipients(&alice).len(), 5);
}

/// The question would read the answer from what is to be sent.
#[test]
fn a_file_on_standard_input_leaves_nobody_to_ask() {
    let dir = temp_dir();
    let (alice, _bob) = alice_and_bob(&repository(&dir));

    let Some(ran) = on_terminal(&alice, "send - --name x --to carol@example.com", "y\n\u{4}")
    else {
        return;
    };

    assert_eq!(ran.code(), 9, "{ran:?}");
    assert!(ran.text().contains("--new") && !ran.text().contains("[y/N]"), "{ran:?}");
    assert!(recipients(&alice).is_empty());
}

#[test]
fn a_name_of_the_trust_store_or_my_own_is_taken_whatever_its_form() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let odd = ["ci", "team-a", "spiffe://acme/ci", "Otto <otto@x.org>", "a@x,b@y", "@staff", "50%"];

    for name in odd {
        let person = Home::new();
        let all = ["init", "--any-name", "--me", name, "--registry", &repository(&dir)];
        person.run(all).ok();
        person.trust(&alice);
        let before = send_to(&alice, name, &[]);
        alice.trust(&person);

        failure(&before, 9);
        send_to(&alice, name, &[]).ok();
        assert_eq!(person.receive().len(), 1, "{name}");
        // To itself.
        send_to(&person, name, &[]).ok();
        assert!(person.run(["doctor"]).text().contains("not an address: "), "{name}");
    }
    assert_eq!(recipients(&alice).len(), odd.len());
}

#[test]
fn the_configuration_allows_names_by_pattern() {
    let dir = temp_dir();
    let (alice, _bob) = alice_and_bob(&repository(&dir));
    alice.set("outbox_new = [\"ci-*\", \"team-a\"]");

    for name in ["ci-7", "team-a"] {
        // Allowed is not known: the typing error that this guards against has any form.
        failure(&send_to(&alice, name, &[]), 9);
        send_to(&alice, name, &["--new"]).ok();
    }
    for name in ["ci", "team-b", "photos"] {
        failure(&send_to(&alice, name, &["--new"]), 9);
    }
    assert_eq!(recipients(&alice), ["ci-7", "team-a"]);
}

#[test]
fn init_wants_an_address_unless_it_is_said_otherwise() {
    let dir = temp_dir();
    for (name, meant) in NO_ADDRESSES {
        let home = Home::new();
        let me = format!("--me={name}");

        let refused = home.run(["init", &me, "--registry", &repository(&dir)]);

        let text = failure(&refused, 9);
        assert!(text.contains("is not an address: "), "{text}");
        // Nobody is known yet, so only the address inside is found.
        let is_found = text.contains("did you mean");
        assert_eq!(is_found, meant.is_some(), "{text}");
        assert!(!home.path().join("config/config.toml").exists(), "{name}");
        assert!(!home.path().join("config/key.pem").exists(), "{name}");
        if name.is_empty() {
            continue;
        }
        home.run(["init", &me, "--any-name", "--registry", &repository(&dir)]).ok();
        // From now on it is configured.
        home.run(["init", &me]).ok();
        assert_eq!(home.json(["status"])[0]["me"][0], name);
    }
}

#[test]
fn a_flag_or_variable_that_says_who_i_am_is_checked_and_a_configured_name_goes_on() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let mail = alice.dir().join("mail");
    std::fs::create_dir(&mail).unwrap();
    let with_variable = |me: &str| {
        let mut command = alice.command();
        command.env("DOCKERCOMMS_ME", me).arg("status");
        run(command)
    };

    for (name, _) in NO_ADDRESSES {
        // An empty variable counts as unset, and a comma ends an option of fstab.
        let is_variable = !name.is_empty();
        let mut all = vec![alice.run(["mount", &format!("--me={name}"), "mail"])];
        all.extend(
            (is_variable && !name.contains(','))
                .then(|| alice.run(["mount", "-o", &format!("me={name}"), "mail"])),
        );
        all.extend(is_variable.then(|| with_variable(name)));
        for ran in all {
            assert!(failure(&ran, 9).contains("is not an address: "), "{ran:?}");
        }
    }
    assert!(names_in(&mail).is_empty());
    let path = alice.path().join("config/config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    write(
        &path,
        text.replace(&format!("me = \"{ALICE}\""), "me = [\"ci\", \"Otto <otto@x.org>\"]"),
    );
    assert_eq!(alice.json(["status"])[0]["me"].as_array().unwrap().len(), 2);
    with_variable("Otto <otto@x.org>").ok();
}

#[test]
fn without_a_name_the_machine_s_own_is_an_address() {
    let home = Home::new();

    home.run(["init"]).ok();

    let me = home.json(["status"])[0]["me"][0].as_str().unwrap().to_owned();
    assert!(dockercomms::protocol::check_address(&me).is_ok(), "{me}");
}

#[test]
fn status_doctor_and_ls_say_what_goes_to_people_without_a_key_here() {
    let dir = temp_dir();
    let (alice, _bob) = alice_and_bob(&repository(&dir));
    send_to(&alice, BOB, &[]).ok();
    let silent = [alice.run(["status"]), alice.run(["doctor"]), alice.run(["ls", "outbox"])];
    for ran in silent {
        assert!(
            !format!("{}{}", ran.text(), ran.stderr).contains("key you do not hold"),
            "{ran:?}"
        );
    }
    send_to(&alice, "bbo@example.com", &["--new"]).ok();
    write(alice.dir().join("b.txt"), "hello");
    alice.run(["send", "b.txt", "--new", "--to", "bbo@example.com"]).ok();
    send_to(&alice, "carol@elsewhere.example", &["--new"]).ok();

    let (status, doctor, list) =
        (alice.run(["status"]), alice.run(["doctor"]), alice.run(["ls", "outbox"]));

    let sentence = "3 files to people whose key you do not hold: \
                    bbo@example.com (2; almost bob@example.com), carol@elsewhere.example (1)";
    assert!(status.text().contains(sentence), "{status:?}");
    assert!(doctor.text().contains(sentence), "{doctor:?}");
    assert_eq!(doctor.code(), 0, "{doctor:?}");
    assert!(list.stderr.contains(sentence), "{list:?}");
    assert_eq!(list.text().matches("no key").count(), 3, "{list:?}");
    let status = &alice.json(["status"])[0]["outbox_unheld"];
    assert_eq!(status["file_count"], 3);
    assert_eq!(status["recipients"][0]["near"][0], BOB);
    let held: Vec<(String, bool)> = alice
        .json(["ls", "outbox"])
        .iter()
        .map(|row| (row["peer"].as_str().unwrap().to_owned(), row["key_held"].as_bool().unwrap()))
        .collect();
    assert_eq!(held.iter().filter(|(_, held)| *held).count(), 1, "{held:?}");
    assert!(held.contains(&(BOB.to_owned(), true)), "{held:?}");
    let doctor = alice.json(["doctor"]);
    let check = doctor.iter().find(|check| check["check"] == "recipients").unwrap();
    assert_eq!(check["outcome"], "warning");
}
