//! The trust store: round trips, changes, and every file that is refused.

use proptest::prelude::*;

use super::*;

fn entry(body: &str) -> String {
    format!("[[sender]]\nname = 'bob'\n{body}\n")
}

fn pem() -> String {
    key(1).public_key().to_pem()
}

fn keyed(terms: &str) -> String {
    entry(&format!("[[sender.key]]\npem = '''{}'''\n{terms}", pem()))
}

fn with_identity(lines: &str) -> String {
    entry(&format!(
        "[[sender.identity]]\ntrusted_root = 'corp'\nissuer = 'https://i'\n{lines}\n\
         [trusted_root.corp]\nfile = '/etc/root.json'"
    ))
}

#[test]
fn a_store_with_everything_survives_encoding() {
    let text = format!(
        r#"
        [trusted_root.corp]
        file = "/etc/dockercomms/trusted_root.json"

        [trusted_root."two words"]
        file = "x"

        [[sender]]
        name = "bob@example.com"
        [[sender.key]]
        pem = """
{}"""
        roles = ["message"]
        not_before = 2026-01-01
        not_after = 2026-12-31T23:00:00+01:00
        [[sender.key]]
        pem = '''{}'''
        revoked = true
        roles = ["receipt", "message"]
        [[sender.identity]]
        trusted_root = "corp"
        issuer = "https://accounts.example.com"
        email = "bob@example.com"
        [[sender.identity]]
        trusted_root = "two words"
        issuer = "https://token.actions.githubusercontent.com"
        uri_pattern = "https://github.com/acme/*"
        roles = ["receipt"]

        [[sender]]
        name = "ali\u00e7e \"the\" / \\ # \u202e"
        [[sender.identity]]
        trusted_root = "corp"
        issuer = "https://accounts.example.com"
        uri = "https://example.com/alice"
        revoked = true
        "#,
        key(1).public_key().to_pem(),
        p256_key().public_key().to_pem(),
    );

    let store = TrustStore::parse(&text).unwrap();
    let encoded = store.encode();

    assert_eq!(store.len(), 2);
    assert_eq!(TrustStore::parse(&encoded).unwrap(), store);
    assert_eq!(TrustStore::parse(&encoded).unwrap().encode(), encoded);
    let bob = store.get(&identity("bob@example.com")).unwrap();
    assert_eq!(bob.keys()[0].terms.not_before, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(bob.keys()[0].terms.not_after, Some("2026-12-31T22:00:00Z".parse().unwrap()));
    assert!(!bob.keys()[0].terms.receipts && bob.keys()[1].terms.receipts);
    assert!(bob.keys()[1].terms.revoked);
    assert_eq!(bob.identities().len(), 2);
    assert_eq!(
        store.trusted_roots().collect::<Vec<_>>(),
        [("corp", "/etc/dockercomms/trusted_root.json"), ("two words", "x")]
    );
}

#[test]
fn the_empty_store_trusts_nobody() {
    let store = TrustStore::parse("").unwrap();

    assert!(store.is_empty());
    assert_eq!(TrustStore::parse(&store.encode()).unwrap(), TrustStore::default());
}

#[test]
fn taking_a_card_twice_changes_nothing_and_never_undoes_a_revocation() {
    let mut store = TrustStore::default();
    let card = |seed| ContactCard {
        identity: identity("bob"),
        public_key: key(seed).public_key(),
        rotations: Vec::new(),
    };

    assert_eq!(store.add_card(&card(1)), Ok(Added::New));
    assert_eq!(store.add_card(&card(1)), Ok(Added::AlreadyKnown));
    assert_eq!(store.add_card(&card(2)), Ok(Added::KeyAdded));
    assert!(store.revoke(&key(1).public_key().fingerprint()));
    assert_eq!(store.add_card(&card(1)), Ok(Added::Revoked));

    let bob = store.get(&identity("bob")).unwrap();
    assert_eq!(bob.keys().iter().map(|key| key.terms.revoked).collect::<Vec<_>>(), [true, false]);
    assert!(!store.revoke("SHA256:nobody"));
    assert!(store.remove(&identity("bob")));
    assert!(!store.remove(&identity("bob")));
}

#[test]
fn a_sender_holds_at_most_16_keys() {
    let mut store = TrustStore::default();
    let card = |seed| ContactCard {
        identity: identity("bob"),
        public_key: key(seed).public_key(),
        rotations: Vec::new(),
    };

    for seed in 1..=16 {
        store.add_card(&card(seed)).unwrap();
    }

    assert!(store.add_card(&card(17)).is_err());
    assert_eq!(TrustStore::parse(&store.encode()), Ok(store));
}

#[test]
fn a_store_that_is_not_fully_understood_is_refused_with_the_place() {
    let twice = |text: &str| format!("{text}{text}");
    let key_twice = format!("[[sender.key]]\npem = '''{}'''\n", pem());
    let cases = [
        ("sender = 1".into(), "line 1"),
        ("a = ".into(), "line 1"),
        ("\n\n[[senders]]\nname = 'x'".into(), "unknown field"),
        (entry(""), "no message in this name"),
        ("[[sender]]\nname = ''\n".into(), "number 1"),
        ("[[sender]]\nname = \"a\\u0007\"\n".into(), "not a valid identity"),
        (twice(&keyed("")), "appears twice"),
        (entry(&twice(&key_twice)), "same key"),
        (keyed("trusted = true"), "unknown field"),
        (keyed("roles = []"), "must not be empty"),
        (keyed("roles = ['messages']"), "may only be"),
        (keyed("roles = 'message'"), "line"),
        (keyed("revoked = 'yes'"), "line"),
        (keyed("revoked = false\nrevoked = true"), "line"),
        (keyed("not_before = 5"), "is not a date"),
        (keyed("not_before = 2026-01-01T00:00:00"), "offset"),
        (keyed("not_before = 12:00:00"), "neither a date"),
        (keyed("not_before = '2026-02-30'"), "neither a date"),
        (keyed("not_after = 'tomorrow'"), "neither a date"),
        (keyed("not_before = 2026-02-01\nnot_after = 2026-01-01"), "is after"),
        (entry("[[sender.key]]\npem = 'x'"), "not a PEM"),
        (entry(&format!("[[sender.key]]\npem = '''{}'''", *pem_of(&key(1)))), "private key"),
        (with_identity(""), "exactly one of"),
        (with_identity("email = 'a@b'\nuri = 'x:y'"), "exactly one of"),
        (with_identity("email = ''"), "must not be empty"),
        (with_identity("email = 'a@b'").replace("'https://i'", "''"), "must not be empty"),
        (with_identity("email = 'a@b'").replace("= 'corp'", "= 'other'"), "trusted_root"),
        (with_identity("uri_pattern = '*'"), "scheme://host"),
        (with_identity("uri_pattern = 'https://*/x'"), "scheme://host"),
        (with_identity("uri_pattern = 'https://github.com*'"), "scheme://host"),
        (with_identity(&format!("uri = '{}'", "x".repeat(3000))), "too long"),
        (format!("# {}", "x".repeat(5 << 20)), "larger"),
        (format!("a = {}{}", "[".repeat(200_000), "]".repeat(200_000)), "line 1"),
        (
            (0..9).map(|n| format!("trusted_root.r{n}.file = 'x'")).collect::<Vec<_>>().join("\n"),
            "too many trusted",
        ),
        ("\"\\u001b[2J\" = 1".into(), "unknown field"),
    ];

    for (text, expected) in cases {
        let error = TrustStore::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

proptest! {
    #[test]
    fn any_senders_survive_encoding(
        senders in proptest::collection::btree_map("\\PC{1,30}", 1u8.., 0..6),
        dates in (0i64..2_000_000_000, 0i64..2_000_000_000),
    ) {
        let mut store = TrustStore::default();
        for (name, seed) in &senders {
            let card =
                ContactCard { identity: identity(name), public_key: key(*seed).public_key(), rotations: Vec::new() };
            store.add_card(&card).unwrap();
        }
        for sender in store.senders.values_mut() {
            let terms = &mut sender.keys[0].terms;
            terms.not_before = Some(Timestamp::from_unix_secs(dates.0.min(dates.1)));
            terms.not_after = Some(Timestamp::from_unix_secs(dates.0.max(dates.1)));
        }

        prop_assert_eq!(TrustStore::parse(&store.encode()), Ok(store));
    }

    #[test]
    fn no_text_makes_the_store_panic(text in any::<String>(), at in 0usize..500) {
        drop(TrustStore::parse(&text));
        let mut hostile: String = keyed("revoked = false").chars().take(at).collect();
        hostile.push_str(&text);
        drop(TrustStore::parse(&hostile));
    }
}
