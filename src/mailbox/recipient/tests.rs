//! Who may become a recipient, who was probably meant, and what goes to people without a key here.

use proptest::prelude::*;

use super::*;
use crate::protocol::{AddressPart, AddressProblem};
use crate::trust::TrustStore;

const KNOWN: [&str; 10] = [
    "alice@example.org",
    "Bob.Smith@example.org",
    "carol@example.org",
    "bill@example.org",
    "modern@example.org",
    "zo\u{eb}@example.org",
    "ci",
    "team-a",
    "spiffe://acme/ci",
    "Otto <otto@x.org>",
];

fn names(names: &[&str]) -> Vec<Identity> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn known() -> KnownNames {
    KnownNames::new(&TrustStore::default(), &names(&KNOWN))
}

fn allowed(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|&pattern| pattern.to_owned()).collect()
}

#[test]
fn a_known_name_is_taken_whatever_its_form() {
    for name in KNOWN {
        let judged = judge(name, &known(), &[]).unwrap();

        assert_eq!(judged.recipient.as_str(), name);
        assert_eq!((judged.standing, judged.near), (Standing::Known, Vec::new()), "{name}");
    }
}

#[test]
fn an_address_and_what_the_user_allows_are_taken_too() {
    let patterns = allowed(&["ci-*", "spiffe://acme/*", "exactly this"]);
    for (name, standing) in [
        ("dave@elsewhere.example", Standing::Address),
        ("user@host", Standing::Address),
        ("ci-7", Standing::Allowed),
        ("ci-", Standing::Allowed),
        ("ci-7@example.org", Standing::Allowed),
        ("spiffe://acme/build", Standing::Allowed),
        ("exactly this", Standing::Allowed),
    ] {
        let judged = judge(name, &known(), &patterns);
        assert_eq!(judged.unwrap().standing, standing, "{name}");
    }
    for name in ["cj-7", "xci-7", "spiffe://other/ci", "exactly that", "photos", "CI-7"] {
        assert!(judge(name, &known(), &patterns).is_err(), "{name}");
    }
    for name in ["photos", "New Folder", "a,b", "*", "../x"] {
        assert!(judge(name, &known(), &allowed(&["*"])).is_ok(), "{name}");
    }
    // P1 has the last word.
    for name in ["", "a\nb", "\u{1b}[2J", &"x".repeat(256)] {
        assert!(judge(name, &known(), &allowed(&["*"])).is_err(), "{name:?}");
    }
}

#[test]
fn a_refused_name_has_a_reason_and_what_was_meant() {
    let no_at = AddressProblem::NoAt;
    let cases: [(&str, AddressProblem, &[&str]); 22] = [
        ("photos", no_at, &[]),
        ("New Folder", AddressProblem::Space, &[]),
        ("flat", no_at, &[]),
        ("*", AddressProblem::Punctuation('*'), &[]),
        ("../x", AddressProblem::Punctuation('/'), &[]),
        ("a@x,b@y", AddressProblem::List(','), &[]),
        ("alice@example.org,carol@example.org", AddressProblem::List(','), &[]),
        ("otto;c1", AddressProblem::List(';'), &[]),
        (" otto@x.org", AddressProblem::Space, &["otto@x.org"]),
        ("Otto M <otto@x.org>", AddressProblem::Space, &["otto@x.org"]),
        ("mailto:otto@x.org", AddressProblem::Punctuation(':'), &["otto@x.org"]),
        (
            "otto@x.org.",
            AddressProblem::Edge { part: AddressPart::Domain, joiner: '.' },
            &["otto@x.org"],
        ),
        // The address inside is known: that is certain.
        ("Alice <alice@example.org>", AddressProblem::Space, &["alice@example.org"]),
        // It is almost a known one: that comes first.
        ("alcie@example.org ", AddressProblem::Space, &["alice@example.org", "alcie@example.org"]),
        // The part before the `@` alone.
        ("alice", no_at, &["alice@example.org"]),
        ("BOB.SMITH", no_at, &["Bob.Smith@example.org"]),
        // Known names without an `@`.
        ("Team-A", no_at, &["team-a"]),
        ("team-b", no_at, &["team-a"]),
        ("c1", no_at, &["ci"]),
        ("spiffe://acme/c1", AddressProblem::Punctuation(':'), &["spiffe://acme/ci"]),
        ("alice@example.org\u{200b}", AddressProblem::Invisible, &["alice@example.org"]),
        ("zoe\u{308}@example.org", AddressProblem::NotComposed, &["zo\u{eb}@example.org"]),
    ];

    for (name, problem, meant) in cases {
        let refused = judge(name, &known(), &[]).unwrap_err();

        assert_eq!(refused.problem, problem, "{name:?}");
        assert_eq!(refused.meant, names(meant), "{name:?}");
    }
}

#[test]
fn a_near_miss_is_named() {
    let cases: [(&str, &[&str]); 25] = [
        // Case.
        ("Alice@example.org", &["alice@example.org"]),
        ("alice@Example.Org", &["alice@example.org"]),
        ("bob.smith@example.org", &["Bob.Smith@example.org"]),
        // One letter more, less, another, or two exchanged.
        ("allice@example.org", &["alice@example.org"]),
        ("alie@example.org", &["alice@example.org"]),
        ("alixe@example.org", &["alice@example.org"]),
        ("alcie@example.org", &["alice@example.org"]),
        ("alice@exmaple.org", &["alice@example.org"]),
        ("alice@example.or", &["alice@example.org"]),
        ("alice@example.orgg", &["alice@example.org"]),
        ("alic\u{e9}@example.org", &["alice@example.org"]),
        ("ALCIE@EXAMPLE.ORG", &["alice@example.org"]),
        ("carrol@example.org", &["carol@example.org"]),
        // Letters that look like others: more of them than one typing error changes.
        ("\u{430}l\u{456}\u{441}\u{435}@example.org", &["alice@example.org"]),
        ("a1ice@examp1e.org", &["alice@example.org"]),
        ("aIice@exampIe.org", &["alice@example.org"]),
        ("BilI@exampIe.org", &["bill@example.org"]),
        ("rnodem@example.org", &["modern@example.org"]),
        ("c\u{430}r\u{43e}l@example.org", &["carol@example.org"]),
        // The mark is another character, which looks the same.
        ("\u{1d41a}\u{1d425}\u{1d422}\u{1d41c}\u{1d41e}@example.org", &["alice@example.org"]),
        // None.
        ("dave@example.org", &[]),
        ("alice@example.com", &[]),
        ("alice2@example.net", &[]),
        ("lciae@example.org", &[]),
        ("x@y", &[]),
    ];

    for (name, near) in cases {
        assert_eq!(known().near(name), names(near), "{name}");
    }
    assert_eq!(
        judge("alcie@example.org", &known(), &[]).unwrap().near,
        known().near("alcie@example.org")
    );
}

#[test]
fn the_nearest_names_come_first_and_few_are_named() {
    let people = names(&["bob@x", "bab@x", "b0b@x", "Bob@x", "bub@x", "bib@x"]);
    let known = KnownNames::new(&TrustStore::default(), &people);

    assert_eq!(known.near("bOb@x"), names(&["Bob@x", "bob@x", "b0b@x"]));
    assert!(known.near("bOb@x").len() <= 3);
    assert!(!known.near("bob@x").contains(&people[0]), "a name is not almost itself");
    assert_eq!(known.near("bOb@x"), names(&["Bob@x", "bob@x", "b0b@x"]), "asked again");
}

#[test]
fn a_question_names_the_alternatives_escaped() {
    assert_eq!(did_you_mean(&[]), None);
    for (meant, question) in [
        (vec!["a@x"], "did you mean `a@x`?"),
        (vec!["a@x", "b@x"], "did you mean `a@x` or `b@x`?"),
        (vec!["a@x", "b@x", "c\u{202e}"], "did you mean `a@x`, `b@x` or `c%E2%80%AE`?"),
    ] {
        assert_eq!(did_you_mean(&names(&meant)).as_deref(), Some(question));
    }
}

#[test]
fn a_refusal_is_one_safe_line_that_says_what_to_do() {
    let said = |name: &str| {
        let refused = judge(name, &known(), &[]).unwrap_err();
        (refused.to_string(), refused.hint())
    };

    let (error, hint) = said("photos");
    assert_eq!(error, "`photos` is not an address: it has no `@`");
    assert!(hint.contains("outbox/RECIPIENT/") && hint.contains("outbox_new"), "{hint}");
    let (error, hint) = said("a@x,b@y");
    assert_eq!(
        error,
        "`a@x,b@y` is not an address: it has `,`, which separates several recipients"
    );
    assert_eq!(hint, "send to each recipient separately");
    let (error, _) = said("a\u{1b}[2J\u{202e}@x");
    assert_eq!(error, "`a%1B[2J%E2%80%AE@x` is not an address: it has an invisible character");
    assert_eq!(said("mailto:otto@x.org").1, "did you mean `otto@x.org`?");
}

#[test]
fn people_without_a_key_are_counted_and_some_named() {
    let people = names(&["alice@example.org", "alcie@example.org", "dave@x", "erin@x"]);
    let files =
        [(&people[0], 9), (&people[2], 2), (&people[1], 1), (&people[2], 3), (&people[3], 0)];

    let unheld = Unheld::of(files, &known());

    assert_eq!((unheld.file_count, unheld.recipient_count), (6, 3));
    assert_eq!(
        unheld.to_string(),
        "6 files to people whose key you do not hold: \
         alcie@example.org (1; almost alice@example.org), dave@x (5), erin@x (0)"
    );
    assert!(Unheld::of([(&people[0], 4)], &known()).is_empty());
    assert!(Unheld::of([], &known()).is_empty());
}

#[test]
fn of_many_people_without_a_key_the_first_are_named() {
    let many: Vec<Identity> = (0..100).map(|n| format!("p{n:02}@x").parse().unwrap()).collect();

    let unheld = Unheld::of(many.iter().map(|person| (person, 1)), &known());

    assert_eq!(
        (unheld.file_count, unheld.recipient_count, unheld.recipients.len()),
        (100, 100, 20)
    );
    let said = unheld.to_string();
    assert!(
        said.starts_with("100 files to people whose key you do not hold: p00@x (1), "),
        "{said}"
    );
    assert!(said.ends_with("p19@x (1), and 80 more"), "{said}");
}

proptest! {
    #[test]
    fn what_is_taken_is_known_allowed_or_an_address(name in "\\PC{0,30}|[a-z@., ]{0,12}") {
        let known = known();
        match judge(&name, &known, &allowed(&["ci-*"])) {
            Ok(judged) => {
                prop_assert_eq!(judged.recipient.as_str(), &name);
                let is_address = check_address(&name).is_ok();
                prop_assert!(KNOWN.contains(&name.as_str()) || name.starts_with("ci-") || is_address);
            }
            Err(refused) => prop_assert_eq!(Err(refused.problem), check_address(&name)),
        }
    }
}
