//! Signatures over a manifest: what is signed, and every bundle that is refused (B04, B05, B08,
//! B13, B14, B15, B18).

use serde_json::{Value, json};

use super::base64::encode as base64;
use super::statement::pae;
use super::*;
use crate::protocol::json::parse_object;

const ALICE: &str = "alice@example.com";

/// Signs any statement, as a hostile program would.
fn forge(key: &SigningKey, payload_type: &str, payload: &Value) -> Value {
    let payload = payload.to_string();
    let signature = key.sign(&pae(payload_type, payload.as_bytes()));
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": key.public_key().hint()}},
        "dsseEnvelope": {
            "payload": base64(payload.as_bytes()),
            "payloadType": payload_type,
            "signatures": [{"sig": base64(&signature)}],
        },
    })
}

fn statement_for(manifest: &[u8]) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "", "digest": {"sha256": Digest::of(manifest).hex()}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
}

const IN_TOTO: &str = "application/vnd.in-toto+json";

fn bytes(bundle: &Value) -> Bytes {
    bundle.to_string().into()
}

fn code(store: &TrustStore, manifest: &Bytes, bundles: &[Bytes]) -> &'static str {
    verify(store, manifest, bundles).unwrap_err().code()
}

/// P17.
#[test]
fn what_is_signed_is_exactly_what_the_protocol_says() {
    let manifest = manifest();

    let bundle = parse_object("bundle", &bundle(&p256_key(), &manifest), 1 << 20).unwrap();

    let envelope = &bundle["dsseEnvelope"];
    let payload =
        data_encoding::BASE64.decode(envelope["payload"].as_str().unwrap().as_bytes()).unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(bundle["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
    assert_eq!(envelope["payloadType"], IN_TOTO);
    assert_eq!(bundle["verificationMaterial"]["publicKey"]["hint"], p256_key().public_key().hint());
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://sigstore.dev/cosign/sign/v1");
    assert_eq!(statement["predicate"], json!({}));
    let subject = statement["subject"].as_array().unwrap();
    assert_eq!(subject.len(), 1);
    assert_eq!(subject[0]["name"], "");
    assert_eq!(subject[0]["digest"], json!({"sha256": Digest::of(&manifest).hex()}));
    assert_eq!(subject[0]["annotations"]["dockercomms.sender"], ALICE);
    assert_eq!(subject[0]["annotations"]["dockercomms.x.note"], "hi");
    assert_eq!(subject[0]["annotations"].as_object().unwrap().len(), 12);
}

#[test]
fn a_bundle_is_the_same_bytes_each_time() {
    let manifest = manifest();

    for key in [p256_key(), key(1)] {
        assert_eq!(bundle(&key, &manifest), bundle(&key, &manifest));
    }
    // A change here changes every digest that we push: it must be deliberate.
    assert_eq!(
        Digest::of(&bundle(&p256_key(), &manifest)).hex(),
        "ca102dfd5d17bfd96e27480fb62ba3b5019a79069d722a85221bff8c06ff4710"
    );
}

#[test]
fn only_messages_and_receipts_are_signed() {
    let other = String::from_utf8(manifest().to_vec())
        .unwrap()
        .replace("vnd.dockercomms.message.v1", "vnd.example.image.v1");

    for manifest in [other.as_bytes(), b"{}", b"", b"#!/bin/sh"] {
        assert!(sign_manifest(&key(1), manifest).is_err());
    }
}

#[test]
fn the_senders_signature_is_believed_with_either_kind_of_key() {
    for key in [p256_key(), key(1)] {
        let store = store_of(&[(ALICE, &key)]);

        let signer = verify(&store, &manifest(), &[bundle(&key, &manifest())]).unwrap();

        assert_eq!(signer.sender, identity(ALICE));
        assert_eq!(signer.key_fingerprint, key.public_key().fingerprint());
    }
}

#[test]
fn b02_junk_before_a_good_bundle_hides_nothing() {
    let (alice, eve) = (key(1), key(2));
    let store = store_of(&[(ALICE, &alice)]);
    let mut bundles: Vec<Bytes> = vec![
        Bytes::new(),
        "{}".into(),
        "<html>".into(),
        bundle(&eve, &manifest()),
        vec![b' '; 2 << 20].into(),
    ];
    bundles.extend(std::iter::repeat_n(bundle(&eve, &manifest()), 500));
    bundles.extend(std::iter::repeat_n(Bytes::from_static(b"junk"), 500));
    bundles.push(bundle(&alice, &manifest()));

    assert!(verify(&store, &manifest(), &bundles).is_ok());
}

#[test]
fn b03_no_more_than_64_different_bundles_are_looked_at() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice)]);
    let junk: Vec<Bytes> = (0..64).map(|n| Bytes::from(format!("junk {n}"))).collect();
    let good = bundle(&alice, &manifest());

    let with_63 = [&junk[..63], std::slice::from_ref(&good)].concat();
    let with_64 = [&junk[..], &[good]].concat();

    assert!(verify(&store, &manifest(), &with_63).is_ok());
    assert_eq!(code(&store, &manifest(), &with_64), "bad-signature");
}

#[test]
fn b04_bundles_of_two_genuine_messages_do_not_fit_each_other() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice)]);
    let one = manifest();
    let other = manifest_of(Envelope { ttl_secs: 5, ..envelope(ALICE, "bob@example.com") });

    assert_eq!(code(&store, &one, &[bundle(&alice, &other)]), "bad-signature");
    assert_eq!(code(&store, &other, &[bundle(&alice, &one)]), "bad-signature");
    let both = [bundle(&alice, &other), bundle(&alice, &one)];
    assert!(verify(&store, &one, &both).is_ok());
}

#[test]
fn b05_the_signature_of_a_stranger_is_refused_and_names_the_key() {
    let (alice, eve) = (key(1), p256_key());
    let store = store_of(&[(ALICE, &alice)]);

    let refusal = verify(&store, &manifest(), &[bundle(&eve, &manifest())]).unwrap_err();

    assert_eq!(refusal.code(), "untrusted-signer");
    assert!(refusal.to_string().contains(&eve.public_key().fingerprint()), "{refusal}");
}

#[test]
fn b08_the_hint_decides_nothing() {
    let (alice, eve) = (key(1), key(2));
    let store = store_of(&[(ALICE, &alice)]);
    let with_hint = |key: &SigningKey, hint: Value| {
        let mut bundle = forge(key, IN_TOTO, &statement_for(&manifest()));
        bundle["verificationMaterial"]["publicKey"] = hint;
        bytes(&bundle)
    };
    let of_alice = json!({"hint": alice.public_key().hint()});
    let of_eve = json!({"hint": eve.public_key().hint()});

    for hint in [json!({}), json!({"hint": ""}), json!({"hint": "x"}), of_eve, of_alice.clone()] {
        assert!(verify(&store, &manifest(), &[with_hint(&alice, hint.clone())]).is_ok(), "{hint}");
        assert!(verify(&store, &manifest(), &[with_hint(&eve, hint)]).is_err());
    }
    assert_eq!(code(&store, &manifest(), &[with_hint(&eve, of_alice)]), "bad-signature");
    assert_eq!(code(&store, &manifest(), &[with_hint(&eve, json!({}))]), "bad-signature");
    let escape = with_hint(&eve, json!({"hint": "\u{1b}[2J"}));
    let refusal = verify(&store, &manifest(), &[escape]).unwrap_err();
    assert!(!refusal.to_string().contains('\u{1b}'));
}

/// P17: kind and subject of the statement are checked here.
#[test]
fn b13_statements_for_another_purpose_are_refused() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice)]);
    let manifest = manifest();
    let good = statement_for(&manifest);
    let with = |pointer: &str, value: Value| {
        let mut statement = good.clone();
        *statement.pointer_mut(pointer).unwrap() = value;
        statement
    };
    let hex = Digest::of(&manifest).hex();
    let subject = good["subject"][0].clone();
    let cases = [
        with("/_type", json!("https://in-toto.io/Statement/v0.2")),
        with("/predicateType", json!("https://slsa.dev/provenance/v1")),
        with("/predicateType", json!("https://cosign.sigstore.dev/attestation/v1")),
        with("/subject", json!([])),
        with("/subject", json!([subject, subject])),
        with("/subject", json!({"0": subject})),
        with("/subject", json!([["sha256", hex]])),
        with("/subject/0/digest", json!({"sha512": hex})),
        with("/subject/0/digest", json!({"sha256": hex, "sha512": hex})),
        with("/subject/0/digest", json!({})),
        with("/subject/0/digest/sha256", json!(hex.to_uppercase())),
        with("/subject/0/digest/sha256", json!(format!("sha256:{hex}"))),
        with("/subject/0/digest/sha256", json!(hex.split_at(63).0)),
        with("/subject/0/digest/sha256", json!(null)),
        json!({"payload": good}),
        json!([good]),
    ];

    assert!(verify(&store, &manifest, &[bytes(&forge(&alice, IN_TOTO, &good))]).is_ok());
    for case in cases {
        let bundle = bytes(&forge(&alice, IN_TOTO, &case));
        assert_eq!(code(&store, &manifest, &[bundle]), "bad-signature", "{case}");
    }
    for payload_type in ["application/json", "", "application/vnd.in-toto+json "] {
        let bundle = bytes(&forge(&alice, payload_type, &good));
        assert_eq!(code(&store, &manifest, &[bundle]), "bad-signature", "{payload_type}");
    }
}

#[test]
fn b13_b14_b15_bundles_of_another_form_are_refused() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice)]);
    let manifest = manifest();
    let good = forge(&alice, IN_TOTO, &statement_for(&manifest));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        bundle.to_string()
    };
    let signature = good["dsseEnvelope"]["signatures"][0].clone();
    let sig = signature["sig"].as_str().unwrap().to_owned();
    let text = good.to_string();
    let set_sig = |sig: String| with(&|b| b["dsseEnvelope"]["signatures"][0]["sig"] = json!(sig));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases = [
        with(&|b| b["dsseEnvelope"]["signatures"] = json!([])),
        with(&|b| b["dsseEnvelope"]["signatures"] = json!([signature, signature])),
        with(&|b| b["dsseEnvelope"]["signatures"] = json!({"sig": sig})),
        with(&|b| b["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.4+json")),
        with(&|b| b["mediaType"] = json!(null)),
        with(&|b| drop(b.as_object_mut().unwrap().remove("mediaType"))),
        with(&|b| b["dsse_envelope"] = b["dsseEnvelope"].clone()),
        with(&|b| b["messageSignature"] = json!({"signature": sig})),
        with(&|b| b["verificationMaterial"] = json!({})),
        with(&|b| b["verificationMaterial"]["certificate"] = json!({"rawBytes": "AA=="})),
        with(&|b| b["verificationMaterial"]["publicKey"]["rawBytes"] = json!("AA==")),
        set_sig(sig.trim_end_matches('=').to_owned()),
        set_sig(format!(" {sig}")),
        set_sig(sig.replacen('A', "A ", 1)),
        set_sig(format!("{sig}\n")),
        set_sig(String::new()),
        text.replacen("\"mediaType\"", "\"mediaType\":\"x\",\"mediaType\"", 1),
        text.replacen("\"hint\"", "\"hint\":\"x\",\"hint\"", 1),
        format!("{text}{text}"),
        format!("{text} x"),
        format!("\u{feff}{text}"),
        text.replacen("{\"publicKey\"", &format!("{{\"tlogEntries\":{deep},\"publicKey\""), 1),
        format!("{text}{}", " ".repeat(5 << 20)),
    ];

    assert!(verify(&store, &manifest, &[bytes(&good)]).is_ok());
    for case in cases {
        let shown: String = case.chars().take(300).collect();
        let refused = verify(&store, &manifest, &[case.into()]).unwrap_err();
        assert!(matches!(refused.code(), "bad-signature" | "no-bundle"), "{refused}: {shown}");
    }
}

#[test]
fn bundles_with_log_entries_are_judged_by_the_key_alone() {
    let (alice, eve) = (key(1), key(2));
    let store = store_of(&[(ALICE, &alice)]);
    let with_log = |key: &SigningKey| {
        let mut bundle = forge(key, IN_TOTO, &statement_for(&manifest()));
        bundle["verificationMaterial"]["tlogEntries"] = json!([{"logIndex": "1"}]);
        bundle["verificationMaterial"]["timestampVerificationData"] = Value::Null;
        bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!("");
        bytes(&bundle)
    };

    assert!(verify(&store, &manifest(), &[with_log(&alice)]).is_ok());
    assert!(verify(&store, &manifest(), &[with_log(&eve)]).is_err());
}

/// P19: the sender is a claim, and the signature decides.
#[test]
fn b18_another_trusted_sender_cannot_sign_in_this_ones_name() {
    let (alice, bob) = (key(1), key(2));
    let store = store_of(&[(ALICE, &alice), ("bob@example.com", &bob)]);
    let only_bob = store_of(&[("bob@example.com", &bob)]);
    let bundle = bundle(&bob, &manifest());

    for store in [store, only_bob] {
        assert_eq!(
            verify(&store, &manifest(), std::slice::from_ref(&bundle)),
            Err(Refusal::SenderMismatch {
                claimed: identity(ALICE),
                signer: identity("bob@example.com")
            })
        );
    }
}

#[test]
fn sender_names_are_compared_byte_by_byte() {
    let alice = key(1);

    for name in ["Alice@example.com", "alice@example.com ", "alice@example.co", "alic\u{e9}"] {
        let store = store_of(&[(name, &alice)]);
        let refusal = verify(&store, &manifest(), &[bundle(&alice, &manifest())]).unwrap_err();
        assert_eq!(refusal.code(), "sender-mismatch", "{name}");
    }
}

#[test]
fn the_refusal_of_the_bundle_that_came_furthest_is_reported() {
    let (alice, bob, eve) = (key(1), key(2), key(3));
    let mut store = store_of(&[(ALICE, &alice), ("bob@example.com", &bob)]);
    store.revoke(&alice.public_key().fingerprint());
    let junk = Bytes::from_static(b"junk");
    let bundles = [&eve, &bob, &alice].map(|key| bundle(key, &manifest()));

    let codes: Vec<_> = (0..=3)
        .map(|n| code(&store, &manifest(), &[std::slice::from_ref(&junk), &bundles[..n]].concat()))
        .collect();

    assert_eq!(codes, ["bad-signature", "untrusted-signer", "sender-mismatch", "revoked"]);
}
