//! What is an address, and what is not, with the reason.

use proptest::prelude::*;

use crate::protocol::AddressProblem::{
    DomainCharacter, Edge, Empty, EmptyLabel, Invisible, List, LocalTooLong, NoAt, NoPart,
    NotComposed, Punctuation, SeveralAts, Space, TooLong,
};
use crate::protocol::limits::NAME_LEN_MAX;
use crate::protocol::{
    AddressPart, AddressProblem, Identity, address_inside, check_address, local_address,
};
use crate::sys::untrusted::is_deceptive;

use AddressPart::{Domain, Local};

#[test]
fn addresses_of_every_script_and_size_pass() {
    for text in [
        "otto@example.org",
        "Otto@Example.ORG",
        "user@host",
        "o@x",
        "root@c0ffee123456",
        "first.last+tag@mail.example.co.uk",
        "a..b@x",
        "o'brien@x.org",
        "_@_",
        "a_b@c_d.e_f",
        "a!#$&'+x@y",
        "1@2.3",
        "build-7@ci-3.example.org",
        "\u{738b}@\u{4f8b}\u{5b50}.\u{4e2d}\u{56fd}",
        "\u{43f}\u{435}\u{442}\u{440}@\u{43f}\u{43e}\u{447}\u{442}\u{430}.\u{440}\u{444}",
        "m\u{fc}ller@stra\u{df}e.de",
        // Devanagari, whose vowels are marks, and Arabic.
        "x@\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}.\u{92d}\u{93e}\u{930}\u{924}",
        "\u{633}\u{644}\u{627}\u{645}@\u{645}\u{62b}\u{627}\u{644}",
        "\u{1f600}@x",
    ] {
        assert_eq!(check_address(text), Ok(()), "{text}");
    }
    let longest_local = format!("{}@x", "l".repeat(64));
    let longest = format!("{}@{}", "l".repeat(64), "d".repeat(190));
    assert_eq!(longest.len(), 255);
    for text in [longest_local, longest] {
        assert_eq!(check_address(&text), Ok(()), "{text}");
    }
}

#[test]
fn each_text_that_is_no_address_has_its_reason() {
    let edge = |part, joiner| Edge { part, joiner };
    let cases = [
        ("", Empty),
        ("photos", NoAt),
        ("New Folder", Space),
        ("\u{65b0}\u{5efa}\u{6587}\u{4ef6}\u{5939}", NoAt),
        ("flat", NoAt),
        ("bob", NoAt),
        ("team-a", NoAt),
        ("spiffe://acme/ci", Punctuation(':')),
        ("Otto <otto@x.org>", Space),
        ("Otto<otto@x.org>", Punctuation('<')),
        (" otto@x.org", Space),
        ("otto@x.org ", Space),
        ("otto@x.org\u{a0}", Space),
        ("ot\u{3000}to@x.org", Space),
        ("otto@x.org\n", Invisible),
        ("otto\t@x.org", Invisible),
        ("otto\0@x.org", Invisible),
        ("otto\u{7f}@x.org", Invisible),
        ("otto\u{202e}@x.org", Invisible),
        ("otto\u{200b}@x.org", Invisible),
        ("ot\u{ad}to@x.org", Invisible),
        ("\u{feff}otto@x.org", Invisible),
        ("a@x,b@y", List(',')),
        ("a@x;b@y", List(';')),
        ("otto;c1", List(';')),
        ("mailto:otto@x.org", Punctuation(':')),
        ("*", Punctuation('*')),
        ("*@x.org", Punctuation('*')),
        ("who?@x.org", Punctuation('?')),
        ("\"otto\"@x.org", Punctuation('"')),
        ("otto(work)@x.org", Punctuation('(')),
        ("otto)@x.org", Punctuation(')')),
        ("otto@[10.0.0.1]", Punctuation('[')),
        ("otto@x]", Punctuation(']')),
        ("../x", Punctuation('/')),
        ("/etc/passwd", Punctuation('/')),
        ("a/b@x", Punctuation('/')),
        ("CORP\\otto@x", Punctuation('\\')),
        ("otto%40x@y", Punctuation('%')),
        ("otto>@x", Punctuation('>')),
        ("..", NoAt),
        (".", NoAt),
        (".bashrc", NoAt),
        ("otto@@x.org", SeveralAts),
        ("otto@a@b", SeveralAts),
        ("@", NoPart(Local)),
        ("@team", NoPart(Local)),
        ("otto@", NoPart(Domain)),
        (".otto@x", edge(Local, '.')),
        ("otto.@x", edge(Local, '.')),
        ("-otto@x", edge(Local, '-')),
        ("otto-@x", edge(Local, '-')),
        ("otto@.x.org", edge(Domain, '.')),
        ("otto@x.org.", edge(Domain, '.')),
        ("otto@-x.org", edge(Domain, '-')),
        ("otto@x.org-", edge(Domain, '-')),
        ("-rf", NoAt),
        ("otto@x..org", EmptyLabel),
        ("otto@x+y", DomainCharacter('+')),
        ("otto@x!", DomainCharacter('!')),
        ("otto@x'", DomainCharacter('\'')),
        ("otto@\u{1f600}.org", DomainCharacter('\u{1f600}')),
        // A mark needs a letter before it.
        ("otto@x.\u{301}org", DomainCharacter('\u{301}')),
        ("jose\u{301}@x.org", NotComposed),
        ("otto@cafe\u{301}.fr", NotComposed),
    ];

    for (text, problem) in cases {
        assert_eq!(check_address(text), Err(problem), "{text:?}");
    }
    assert_eq!(check_address(&format!("{}@x", "l".repeat(65))), Err(LocalTooLong));
    assert_eq!(check_address(&format!("{}@x", "\u{e9}".repeat(33))), Err(LocalTooLong));
    assert_eq!(check_address(&format!("o@{}", "d".repeat(254))), Err(TooLong));
}

#[test]
fn every_reason_is_a_sentence_of_its_own() {
    let all: [AddressProblem; 16] = [
        Empty,
        TooLong,
        Invisible,
        Space,
        List(','),
        Punctuation('*'),
        NoAt,
        SeveralAts,
        NoPart(Local),
        NoPart(Domain),
        LocalTooLong,
        Edge { part: Domain, joiner: '.' },
        Edge { part: Local, joiner: '-' },
        EmptyLabel,
        DomainCharacter('+'),
        NotComposed,
    ];
    let said: std::collections::BTreeSet<String> = all.iter().map(ToString::to_string).collect();

    assert_eq!(said.len(), all.len());
    assert!(said.contains("the part after the `@` begins or ends with `.`"), "{said:?}");
    assert!(said.contains("it has nothing before the `@`"), "{said:?}");
}

#[test]
fn the_address_inside_a_pasted_text_is_found() {
    for text in [
        "Otto <otto@x.org>",
        "\"Otto, Dr.\" <otto@x.org>",
        "<otto@x.org>",
        "< otto@x.org >",
        "Otto <otto@x.org",
        " otto@x.org",
        "otto@x.org ",
        "\u{feff}otto@x.org\u{200b}",
        "mailto:otto@x.org",
        "MAILTO:otto@x.org?subject=hello",
        "Otto <mailto:otto@x.org>",
        "otto@x.org.",
        "otto@x.org;",
        "(otto@x.org)",
        "'otto@x.org'",
    ] {
        let found = address_inside(text);
        assert_eq!(found.as_ref().map(Identity::as_str), Some("otto@x.org"), "{text:?}");
    }
    let composed = address_inside("jose\u{301}@x.org");
    assert_eq!(composed.as_ref().map(Identity::as_str), Some("jos\u{e9}@x.org"));
    for text in ["photos", "", "a@x,b@y", "New Folder", "otto@x.org", "*", "../x", "mailto:", "<>"]
    {
        assert_eq!(address_inside(text), None, "{text:?}");
    }
}

#[test]
fn the_names_of_user_and_machine_make_an_address() {
    for (user, host, address) in [
        ("otto", "laptop", "otto@laptop"),
        ("root", "c0ffee123456", "root@c0ffee123456"),
        ("uid4711", "0f3a", "uid4711@0f3a"),
        ("CORP\\otto", "pc-7", "CORP_otto@pc-7"),
        ("otto@corp.local", "pc", "otto_corp.local@pc"),
        ("dr otto", "my pc", "dr_otto@my_pc"),
        ("otto", "host.example.org.", "otto@host.example.org"),
        ("otto", "a..b", "otto@a.b"),
        ("otto$", "PC$", "otto_@PC_"),
        ("-otto-", ".host-", "otto@host"),
        ("jose\u{301}", "caf\u{e9}", "jos\u{e9}@caf\u{e9}"),
        ("otto", "(none)", "otto@_none_"),
    ] {
        let made = local_address(user, host);
        assert_eq!(made.as_ref().map(Identity::as_str), Some(address), "{user:?} {host:?}");
    }
    for (user, host) in [("otto", ""), ("", "host"), ("otto", "..."), ("--", "host"), ("x", " ")] {
        assert_eq!(local_address(user, host), None, "{user:?} {host:?}");
    }
    let long = local_address(&"u".repeat(300), &"h".repeat(300)).unwrap();
    assert_eq!(long.as_str().len(), NAME_LEN_MAX);
}

/// Text in which what matters here is common.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        8 => "[a-z]".prop_map(|text| text.chars().next().unwrap()),
        4 => prop::sample::select(vec!['@', '.', '-', '_', ',', '%', '/', ' ', '\u{301}', '\u{200b}']),
        1 => any::<char>(),
    ];
    prop::collection::vec(character, 0..24).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn an_address_is_an_identity_and_the_name_of_its_own_directory(
        text in prop_oneof![text(), "[a-z0-9_]{1,8}@[a-z0-9_]{1,8}(\\.[a-z]{2,5}){0,2}"],
    ) {
        if check_address(&text).is_ok() {
            let identity: Identity = text.parse().unwrap();
            prop_assert_eq!(identity.dir_name(), text.as_str());
            prop_assert!(text.len() <= NAME_LEN_MAX && text.matches('@').count() == 1);
            prop_assert!(!text.chars().any(|c| c.is_whitespace() || is_deceptive(c)));
        }
    }

    /// A name of a directory that encodes no identity needs no reason of another kind.
    #[test]
    fn what_is_no_directory_of_an_identity_is_no_address(text in text()) {
        if Identity::from_dir_name(&text).is_err() {
            prop_assert!(check_address(&text).is_err(), "{:?}", text);
        }
    }

    #[test]
    fn what_is_found_inside_a_text_is_an_address(text in text()) {
        if let Some(inner) = address_inside(&text) {
            prop_assert_eq!(check_address(inner.as_str()), Ok(()));
            prop_assert_ne!(inner.as_str(), text);
        }
    }

    #[test]
    fn a_local_address_is_an_address(user in text(), host in text()) {
        if let Some(made) = local_address(&user, &host) {
            prop_assert_eq!(check_address(made.as_str()), Ok(()));
        }
    }
}
