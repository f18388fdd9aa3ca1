//! A key that vouches for its successor, and keys that only claim to.

use super::*;

fn public(key: &SigningKey) -> PublicKey {
    key.public_key()
}

/// The card of bob's key `keys.last()`, which replaced the others in order.
fn card_of(keys: &[&SigningKey]) -> ContactCard {
    let rotations =
        keys.windows(2).map(|pair| Rotation::sign(pair[0], pair[1], created_at())).collect();
    let public_key = public(keys.last().unwrap());
    ContactCard { identity: identity("bob"), public_key, rotations }
}

#[test]
fn a_rotated_card_survives_encoding_and_is_vouched_for_by_any_key_of_its_chain() {
    let (first, second, third) = (key(1), p256_key(), key(3));
    let card = card_of(&[&first, &second, &third]);

    let parsed = ContactCard::parse(&card.encode()).unwrap();

    assert_eq!(parsed, card);
    for (known, vouches) in [(&first, true), (&second, true), (&key(9), false)] {
        let store = store_of(&[("bob", known)]);
        assert_eq!(store.predecessor(&card).is_some(), vouches, "{known:?}");
    }
    assert!(store_of(&[("carol", &first)]).predecessor(&card).is_none(), "another's key");
}

#[test]
fn a_revoked_key_vouches_for_nothing_even_behind_a_trusted_one() {
    let (old, new) = (key(1), key(2));
    let mut store = store_of(&[("bob", &old)]);
    store.revoke(&public(&old).fingerprint());

    assert!(store.predecessor(&card_of(&[&old, &new])).is_none());
}

#[test]
fn a_successor_may_do_what_its_predecessor_may_and_no_more() {
    let (old, new) = (key(1), key(2));
    let text = store_of(&[("bob", &old)]).encode();
    let limited = text.trim_end().to_owned()
        + "\nroles = [\"receipt\"]\nnot_before = 2026-01-01\nnot_after = 2026-12-31\n";
    let mut store = TrustStore::parse(&limited).unwrap();

    let added = store.add_card(&card_of(&[&old, &new])).unwrap();

    assert_eq!(added, Added::KeyAdded);
    let keys = store.get(&identity("bob")).unwrap().keys();
    let terms = keys[1].terms;
    assert!(!terms.messages && terms.receipts, "{terms:?}");
    assert_eq!((terms.not_before, terms.not_after), (None, keys[0].terms.not_after));
}

#[test]
fn a_message_of_either_key_is_taken_after_the_rotation() {
    let (old, new) = (key(1), key(2));
    let mut store = store_of(&[("alice@example.com", &old)]);
    let name = identity("alice@example.com");
    store.add_card(&ContactCard { identity: name, ..card_of(&[&old, &new]) }).unwrap();

    for key in [&old, &new] {
        let manifest = manifest();
        let signer = verify(&store, &manifest, &[bundle(key, &manifest)]);
        assert!(signer.is_ok(), "{signer:?}");
    }
}

#[test]
fn a_rotation_that_both_keys_have_not_signed_makes_no_card() {
    let (old, new, thief) = (key(1), key(2), key(7));
    let good = card_of(&[&old, &new]).encode();
    let real = Rotation::sign(&old, &new, created_at());
    let later = created_at().saturating_add_secs(1);
    let stolen = Rotation::sign(&thief, &new, created_at());
    let unconfirmed = Rotation::sign(&old, &thief, created_at());
    let (_, block) = good.split_once("[[rotation]]").unwrap();
    let block = format!("[[rotation]]{block}");

    for (what, text) in [
        ("a time of its own", good.replace(&created_at().to_string(), &later.to_string())),
        ("a thief's signature", good.replace(&real.signature(), &stolen.signature())),
        ("no consent", good.replace(&real.confirmation(), &unconfirmed.confirmation())),
        ("swapped", good.replace(&real.signature(), &real.confirmation())),
        ("no base64", good.replace(&real.signature(), "!")),
        ("another old key", good.replace(&public(&old).to_pem(), &public(&thief).to_pem())),
        ("a member more", format!("{good}admin = true\n")),
        ("the same again", format!("{good}\n{block}")),
        ("too many", format!("{good}\n{}", format!("{block}\n").repeat(ROTATION_COUNT_MAX))),
    ] {
        let parsed = ContactCard::parse(&text);
        assert!(parsed.is_err(), "{what}: {parsed:?}");
    }
    assert!(ContactCard::parse(&good).is_ok());
}
