//! Bundles that stock cosign 3.1.1 made over `testdata/manifest.json`.

use super::*;

const MANIFEST: &[u8] = include_bytes!("../testdata/manifest.json");

const SIGN_P256: &[u8] = include_bytes!("../testdata/cosign-sign-p256.json");
const SIGN_BLOB_P256: &[u8] = include_bytes!("../testdata/cosign-sign-blob-p256.json");
const SIGN_BLOB_ED25519: &[u8] = include_bytes!("../testdata/cosign-sign-blob-ed25519.json");
const ATTEST_BLOB_ED25519: &[u8] = include_bytes!("../testdata/cosign-attest-blob-ed25519.json");

fn cases() -> [(&'static [u8], PublicKey); 4] {
    let p256 = p256_key().public_key();
    let ed25519 = PublicKey::from_pem(include_str!("../testdata/ed25519.pub.pem")).unwrap();
    [
        (SIGN_P256, p256.clone()),
        (SIGN_BLOB_P256, p256),
        (SIGN_BLOB_ED25519, ed25519.clone()),
        (ATTEST_BLOB_ED25519, ed25519),
    ]
}

fn store(public_key: PublicKey) -> TrustStore {
    let mut store = TrustStore::default();
    store
        .add_card(&ContactCard {
            identity: identity("alice@example.com"),
            public_key,
            rotations: Vec::new(),
        })
        .unwrap();
    store
}

fn verify_with(public_key: PublicKey, manifest: &[u8], bundle: &[u8]) -> Result<Signer, Refusal> {
    let manifest = Bytes::copy_from_slice(manifest);
    verify(&store(public_key), &manifest, &[Bytes::copy_from_slice(bundle)])
}

#[test]
fn bundles_that_cosign_made_are_believed() {
    for (bundle, public_key) in cases() {
        let fingerprint = public_key.fingerprint();

        let signer = verify_with(public_key, MANIFEST, bundle).unwrap();

        assert_eq!(signer.key_fingerprint, fingerprint);
    }
}

#[test]
fn bundles_that_cosign_made_are_refused_for_another_key_or_manifest() {
    let mut other = MANIFEST.to_vec();
    let ttl = other.windows(6).position(|window| window == b"604800").unwrap();
    other[ttl] = b'5';

    for (bundle, public_key) in cases() {
        assert!(verify_with(key(1).public_key(), MANIFEST, bundle).is_err());
        assert_eq!(verify_with(public_key, &other, bundle).unwrap_err().code(), "bad-signature");
    }
}

#[test]
fn b17_every_flipped_bit_of_a_message_signature_is_refused_except_in_the_hint() {
    for (good, public_key) in cases() {
        let store = store(public_key);
        let manifest = Bytes::from_static(MANIFEST);
        let irrelevant = mutation::hint_span(good);

        for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut mutated = good.to_vec();
            mutated[at] ^= 1 << bit;
            let accepted = verify(&store, &manifest, &[mutated.into()]).is_ok();
            assert!(!accepted || irrelevant.contains(&at), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn an_ed25519_signature_over_the_prehashed_bytes_is_believed() {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let prehash = <sha2::Sha512 as sha2::Digest>::new_with_prefix(MANIFEST);
    let signature = secret.sign_prehashed(prehash, None).unwrap();
    let of = |bytes: &[u8]| {
        let bundle = serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "messageSignature": {
                "messageDigest": {
                    "algorithm": "SHA2_512",
                    "digest": base64::encode(&<sha2::Sha512 as sha2::Digest>::digest(bytes)),
                },
                "signature": base64::encode(&signature.to_bytes()),
            },
        });
        bundle.to_string().into_bytes()
    };

    assert!(verify_with(key(1).public_key(), MANIFEST, &of(MANIFEST)).is_ok());
    assert!(verify_with(key(2).public_key(), MANIFEST, &of(MANIFEST)).is_err());
    assert!(verify_with(key(1).public_key(), MANIFEST, &of(b"another")).is_err());
}
