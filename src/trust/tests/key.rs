//! Keys and contact cards: round trips, and every form that is refused.

use proptest::prelude::*;

use super::*;

#[test]
fn a_new_key_survives_pem_and_keeps_its_fingerprint() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
        let key = SigningKey::generate(algorithm).unwrap();

        let read = SigningKey::from_pem(&pem_of(&key)).unwrap();
        let public = PublicKey::from_pem(&key.public_key().to_pem()).unwrap();

        assert_eq!(read.algorithm(), algorithm);
        assert_eq!(read.public_key(), key.public_key());
        assert_eq!(public, key.public_key());
        assert_eq!(public.fingerprint().len(), "SHA256:".len() + 43);
    }
}

#[test]
fn two_new_keys_differ() {
    let one = SigningKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let two = SigningKey::generate(KeyAlgorithm::EcdsaP256).unwrap();

    assert_ne!(one.public_key(), two.public_key());
}

#[test]
fn a_key_never_prints_its_secret() {
    let key = key(7);
    let secret = pem_of(&key).lines().nth(1).unwrap().to_owned();

    let shown = format!("{key:?}");

    assert_eq!(shown, format!("SigningKey(Ed25519 {})", key.public_key().fingerprint()));
    assert!(!shown.contains(&secret));
}

#[test]
fn fingerprint_and_hint_are_openssls_hash_of_the_public_key() {
    // openssl pkey -in p256.key.pem -pubout -outform DER | openssl dgst -sha256 -binary | base64
    let expected = include_str!("../testdata/p256.spki-sha256.txt").trim();

    let public = p256_key().public_key();

    assert_eq!(public.hint(), expected);
    assert_eq!(public.fingerprint(), format!("SHA256:{}", expected.trim_end_matches('=')));
}

#[test]
fn other_private_keys_are_refused_with_what_to_do() {
    let good = pem_of(&key(1));
    let label = |name: &str| good.replace("PRIVATE KEY", name);
    let cases = [
        (label("ENCRYPTED SIGSTORE PRIVATE KEY"), "encrypted"),
        (label("ENCRYPTED COSIGN PRIVATE KEY"), "encrypted"),
        (label("ENCRYPTED PRIVATE KEY"), "encrypted"),
        (label("EC PRIVATE KEY"), "SEC1"),
        (label("PUBLIC KEY"), "public key"),
        (private_pem(0x6f, 1), "neither"),
        (good.replace("MC4", "M*4"), "damaged"),
        (String::new(), "not a PEM"),
        ("x".repeat(20_000), "larger"),
    ];

    for (pem, expected) in cases {
        let error = SigningKey::from_pem(&pem).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn other_public_keys_are_refused() {
    let weak = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64::encode(
            &[&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0][..], &[0; 32]]
                .concat()
        )
    );
    let cases = [
        (weak, "weak"),
        (pem_of(&key(1)).to_string(), "never share it"),
        (key(1).public_key().to_pem().replace("PUBLIC", "RSA PUBLIC"), "not a PEM"),
        (key(1).public_key().to_pem().replace("MCo", "MC*"), "damaged"),
        (String::new(), "not a PEM"),
    ];

    for (pem, expected) in cases {
        let error = PublicKey::from_pem(&pem).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

fn card(name: &str) -> ContactCard {
    ContactCard {
        identity: identity(name),
        public_key: p256_key().public_key(),
        rotations: Vec::new(),
    }
}

#[test]
fn a_contact_card_survives_encoding() {
    for name in ["alice@example.com", "a\"b\\c", "\u{e9}\u{202e}", "'''", "\"\"\"", "a # b"] {
        let card = card(name);

        assert!(!card.encode().contains('\u{202e}'));
        assert_eq!(ContactCard::parse(&card.encode()), Ok(card), "{name}");
    }
}

#[test]
fn a_card_that_does_not_hold_together_is_refused() {
    let good = card("alice@example.com").encode();
    let other = key(1).public_key();
    let cases = [
        good.replace("card-1", "card-2"),
        good.replace(&p256_key().public_key().fingerprint(), &other.fingerprint()),
        good.replace(&p256_key().public_key().to_pem(), &other.to_pem()),
        good.replace("alice@example.com", ""),
        good.replace("alice@example.com", "a\\u001bb"),
        good.replace("name =", "nom ="),
        format!("{good}admin = true\n"),
        format!("{good}name = \"bob\"\n"),
        format!("{good}# {}", "x".repeat(20_000)),
        pem_of(&key(1)).to_string(),
        String::new(),
    ];

    for text in cases {
        assert!(ContactCard::parse(&text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in any::<String>()) {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");

        prop_assert!(PublicKey::from_pem(&pem).is_err());
        prop_assert!(SigningKey::from_pem(&pem.replace("PUBLIC", "PRIVATE")).is_err());
        prop_assert!(ContactCard::parse(&text).is_err());
    }

    #[test]
    fn any_name_survives_in_a_card(name in "\\PC{1,60}") {
        let card = card(&name);
        prop_assert_eq!(ContactCard::parse(&card.encode()), Ok(card));
    }
}
