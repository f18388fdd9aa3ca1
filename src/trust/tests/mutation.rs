//! Mutations: no changed byte of a bundle or a manifest is ever believed (B17).

use proptest::prelude::*;

use super::*;

const ALICE: &str = "alice@example.com";

/// The one part of a bundle that proves nothing, and so may change: the key hint.
pub(super) fn hint_span(bundle: &[u8]) -> std::ops::Range<usize> {
    let member = b"\"hint\":\"";
    let at = bundle.windows(member.len()).position(|window| window == member).unwrap();
    let start = at + member.len();
    let len = bundle[start..].iter().position(|byte| *byte == b'"').unwrap();
    start..start + len
}

#[test]
fn b17_every_flipped_bit_of_a_bundle_is_refused_except_in_the_hint() {
    for key in [p256_key(), key(1)] {
        let store = store_of(&[(ALICE, &key)]);
        let good = bundle(&key, &manifest());
        let irrelevant = hint_span(&good);

        for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut mutated = good.to_vec();
            mutated[at] ^= 1 << bit;
            let accepted = verify(&store, &manifest(), &[mutated.into()]).is_ok();
            assert!(!accepted || irrelevant.contains(&at), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn b17_every_flipped_bit_of_a_manifest_is_refused() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice)]);
    let good = bundle(&alice, &manifest());

    for (at, bit) in (0..manifest().len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut mutated = manifest().to_vec();
        mutated[at] ^= 1 << bit;
        let manifest = mutated.into();
        assert!(verify(&store, &manifest, std::slice::from_ref(&good)).is_err(), "{at} {bit}");
    }
}

#[test]
fn b17_every_truncation_of_a_bundle_is_refused() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice)]);
    let good = bundle(&alice, &manifest());

    for len in 0..good.len() {
        assert!(verify(&store, &manifest(), &[good.slice(..len)]).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn what_is_signed_verifies(
        seed in 1u8.., filename in any::<String>(), note in "\\PC{0,100}", ttl_secs in 1000u64..9999,
    ) {
        let key = key(seed);
        let store = store_of(&[(ALICE, &key)]);
        let manifest = manifest_of(Envelope {
            filename: format!("{filename}{note}"),
            ttl_secs,
            ..envelope(ALICE, "bob@example.com")
        });

        let signer = verify(&store, &manifest, &[bundle(&key, &manifest)]);

        prop_assert_eq!(signer.unwrap().key_fingerprint, key.public_key().fingerprint());
    }

    #[test]
    fn no_bytes_make_the_verifier_panic_or_believe(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let store = store_of(&[(ALICE, &key(1))]);
        prop_assert!(verify(&store, &manifest(), &[bytes.clone().into()]).is_err());
        prop_assert!(verify(&store, &bytes.into(), &[bundle(&key(1), &manifest())]).is_err());
    }

    #[test]
    fn no_splice_of_two_good_bundles_is_believed(cut in 0usize..2000, back in 0usize..2000) {
        let alice = key(1);
        let store = store_of(&[(ALICE, &alice)]);
        let other = manifest_of(Envelope { ttl_secs: 5, ..envelope(ALICE, "bob@example.com") });
        let (one, two) = (bundle(&alice, &manifest()), bundle(&alice, &other));
        let cut = cut.min(one.len());
        let spliced = [&one[..cut], &two[two.len() - back.min(two.len())..]].concat();

        prop_assume!(spliced != one);
        let accepted = verify(&store, &manifest(), &[spliced.clone().into()]).is_ok();
        prop_assert!(!accepted, "{}", String::from_utf8_lossy(&spliced));
    }
}
