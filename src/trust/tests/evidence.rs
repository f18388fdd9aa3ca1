//! What must come with a certificate: every bundle with invalid evidence is refused (B09 to B11,
//! B13, B14, B17).

use serde_json::{Value, json};

use super::certificate::{ALICE, bytes, refusal, signed, store, store_with_root};
use super::standin::{Deployment, Order, TIME_STAMPING, order, order_v2, sha256, signed_at};
use super::*;

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const STAMP: &str =
    "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";

/// Changes the value at `pointer`.
fn set(bundle: &Value, pointer: &str, value: Value) -> Value {
    let mut bundle = bundle.clone();
    *bundle.pointer_mut(pointer).unwrap() = value;
    bundle
}

fn remove(bundle: &Value, pointer: &str) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let mut bundle = bundle.clone();
    bundle.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member).unwrap();
    bundle
}

/// Flips one bit in the middle of the base64 value at `pointer`.
fn flip(bundle: &Value, pointer: &str) -> Value {
    let text = bundle.pointer(pointer).unwrap().as_str().unwrap();
    let mut raw = data_encoding::BASE64.decode(text.as_bytes()).unwrap();
    let middle = raw.len() / 2;
    raw[middle] ^= 1;
    set(bundle, pointer, json!(base64::encode(&raw)))
}

fn entry(member: &str) -> String {
    format!("{ENTRY}/{member}")
}

/// Replaces text in a string member.
fn edit(bundle: &Value, pointer: &str, from: &str, to: &str) -> Value {
    let text = bundle.pointer(pointer).unwrap().as_str().unwrap();
    assert!(text.contains(from), "{text}");
    set(bundle, pointer, json!(text.replacen(from, to, 1)))
}

/// Checks that each bundle is refused as a bad signature for the given reason.
fn assert_refused(cases: &[(&str, Value)]) {
    for (number, (expected, bundle)) in cases.iter().enumerate() {
        let refusal = refusal(&store(), bundle);
        assert_eq!(refusal.code(), "bad-signature", "case {number}: {refusal}");
        assert!(refusal.to_string().contains(expected), "case {number}: {refusal}");
    }
}

const PROMISE: &str = "inclusionPromise/signedEntryTimestamp";
const CHECKPOINT: &str = "inclusionProof/checkpoint/envelope";
const NO_LOG: &str = "no log of the trusted root";
const NO_TIME: &str = "no authority of the trusted root states when";
const INCOMPLETE: &str = "incomplete or has an unknown form";

/// Flips one bit of the log's signature under its checkpoint.
fn flip_checkpoint(bundle: &Value) -> Value {
    let note = bundle.pointer(&entry(CHECKPOINT)).unwrap().as_str().unwrap();
    let (text, signature) = note.trim_end().rsplit_once(' ').unwrap();
    let mut raw = data_encoding::BASE64.decode(signature.as_bytes()).unwrap();
    *raw.last_mut().unwrap() ^= 1;
    let note = format!("{text} {}\n", base64::encode(&raw));
    set(bundle, &entry(CHECKPOINT), json!(note))
}

#[test]
fn b09_b10_b12_a_log_entry_that_does_not_hold_is_refused() {
    let v1 = signed(&order(ALICE));
    let v2 = signed(&order_v2(ALICE));
    let other = base64::encode(&sha256(&[b"other"]));
    let evil_log = Deployment::new(2).trusted_root()["tlogs"][0]["logId"]["keyId"].clone();

    assert_refused(&[
        (NO_LOG, flip(&v1, &entry(PROMISE))),
        (NO_LOG, set(&v1, &entry("integratedTime"), json!("1700000006"))),
        (NO_LOG, set(&v1, &entry("logIndex"), json!("1002"))),
        (NO_LOG, set(&v1, &entry("logId/keyId"), evil_log)),
        (NO_LOG, edit(&v1, &entry(CHECKPOINT), "log.example", "log.evil.org")),
        (NO_LOG, flip_checkpoint(&v1)),
        (NO_LOG, flip_checkpoint(&v2)),
        (NO_LOG, set(&v1, &entry("inclusionProof/hashes/0"), json!(other))),
        (NO_LOG, set(&v2, &entry("inclusionProof/hashes/0"), json!(other))),
        (NO_LOG, set(&v1, &entry("inclusionProof/hashes"), json!([]))),
        (NO_LOG, set(&v1, &entry("inclusionProof/logIndex"), json!("0"))),
        (NO_LOG, set(&v2, &entry("logIndex"), json!("0"))),
        (NO_TIME, remove(&v1, &entry("integratedTime"))),
        (NO_TIME, remove(&v1, &entry("inclusionPromise"))),
        (INCOMPLETE, set(&v2, &entry("logIndex"), json!("2"))),
        (INCOMPLETE, set(&v1, &entry("inclusionProof/rootHash"), json!(other))),
        (INCOMPLETE, set(&v1, &entry("inclusionProof/treeSize"), json!("1"))),
        ("no proof", remove(&v1, &entry("inclusionProof/checkpoint"))),
        // Neither version of the log passes for the other.
        (INCOMPLETE, set(&v2, &entry("kindVersion/version"), json!("0.0.1"))),
        (
            INCOMPLETE,
            set(&v1, &entry("kindVersion"), v2.pointer(&entry("kindVersion")).unwrap().clone()),
        ),
        ("no proof", remove(&v1, &entry("inclusionProof"))),
        ("no proof", set(&v1, &entry("inclusionProof"), Value::Null)),
        ("no log entry", remove(&v1, "/verificationMaterial/tlogEntries")),
        ("no log entry", set(&v1, "/verificationMaterial/tlogEntries", json!([]))),
    ]);
}

#[test]
fn b10_b12_the_log_entry_of_another_signature_is_refused() {
    let deployment = Deployment::new(1);
    let other = manifest_of(Envelope { ttl_secs: 5, ..envelope(ALICE, "bob@example.com") });
    let later = |order: Order| Order { issued_at: signed_at().saturating_add_secs(1), ..order };
    let plain = |order: Order| Order { plain: true, ..order };
    // An entry of the same log, genuine in itself.
    let with_entry_of = |order: &Order, donor: &Value| {
        set(&signed(order), ENTRY, donor.pointer(ENTRY).unwrap().clone())
    };
    let mismatch = "belongs to another signature";

    assert_refused(&[
        (
            "belongs to another",
            with_entry_of(&order(ALICE), &deployment.sign(&order(ALICE), &other)),
        ),
        (
            "another manifest",
            with_entry_of(&order_v2(ALICE), &deployment.sign(&order_v2(ALICE), &other)),
        ),
        (
            "another manifest",
            with_entry_of(&plain(order(ALICE)), &deployment.sign(&plain(order(ALICE)), &other)),
        ),
        // The same signature under another certificate.
        (mismatch, with_entry_of(&order(ALICE), &signed(&later(order(ALICE))))),
        (mismatch, with_entry_of(&order_v2(ALICE), &signed(&later(order_v2(ALICE))))),
        (mismatch, with_entry_of(&plain(order(ALICE)), &signed(&later(plain(order(ALICE)))))),
        (INCOMPLETE, with_entry_of(&order(ALICE), &signed(&plain(order(ALICE))))),
    ]);
}

#[test]
fn b11_b12_a_signature_outside_its_certificates_life_is_refused() {
    let at = |secs| Some(signed_at().saturating_add_secs(secs));
    let logged = |secs| signed(&Order { logged_at: at(secs), ..order(ALICE) });
    let stamped = |secs| signed(&Order { stamped_at: at(secs), ..order_v2(ALICE) });
    let both = |logged, stamped| {
        signed(&Order { logged_at: at(logged), stamped_at: at(stamped), ..order(ALICE) })
    };
    let expired = "was not valid when it signed";

    for good in [logged(0), logged(600), stamped(0), stamped(600), both(0, 600)] {
        assert!(verify(&store(), &manifest(), &[bytes(&good)]).is_ok());
    }
    assert_refused(&[
        (expired, logged(-1)),
        (expired, logged(601)),
        (expired, logged(86_400)),
        (expired, stamped(-1)),
        (expired, stamped(601)),
        // One good time does not rescue the other.
        (expired, both(5, 601)),
        (expired, both(601, 5)),
        (expired, both(-1, 5)),
    ]);
}

#[test]
fn b11_b12_a_timestamp_of_another_authority_or_signature_is_refused() {
    let v2 = signed(&order_v2(ALICE));
    let both = signed(&Order { stamped_at: Some(signed_at()), ..order(ALICE) });
    let other = manifest_of(Envelope { ttl_secs: 5, ..envelope(ALICE, "bob@example.com") });
    let of = |deployment: &Deployment, manifest: &Bytes| {
        deployment.sign(&order_v2(ALICE), manifest).pointer(STAMP).unwrap().clone()
    };
    let evil = of(&Deployment::new(2), &manifest());
    let unrelated = of(&Deployment::new(1), &other);
    let none = "/verificationMaterial/timestampVerificationData";

    assert_refused(&[
        (NO_TIME, remove(&v2, none)),
        (NO_TIME, set(&v2, none, Value::Null)),
        (NO_TIME, set(&v2, none, json!({"rfc3161Timestamps": []}))),
        (NO_TIME, set(&v2, STAMP, evil.clone())),
        (NO_TIME, set(&v2, STAMP, unrelated.clone())),
        (NO_TIME, set(&both, STAMP, evil)),
        (NO_TIME, set(&both, STAMP, unrelated)),
        (NO_TIME, flip(&v2, STAMP)),
        (NO_TIME, set(&v2, STAMP, json!("AAAA"))),
    ]);
}

#[test]
fn b12_a_certificate_of_another_deployment_kind_or_log_is_refused() {
    let evil = Deployment::new(2);
    let v1 = signed(&order(ALICE));
    let foreign = evil.sign(&order(ALICE), &manifest());
    let transplanted = foreign.pointer("/verificationMaterial/certificate/rawBytes").unwrap();
    let of_evil = "/verificationMaterial/certificate/rawBytes";
    let with_usage = |usage| signed(&Order { usage, ..order(ALICE) });
    let unlogged = signed(&Order { with_sct: false, ..order(ALICE) });
    let authority = "not from an authority of the trusted root";

    assert_refused(&[
        (NO_LOG, foreign.clone()),
        (NO_TIME, evil.sign(&order_v2(ALICE), &manifest())),
        (authority, set(&v1, of_evil, transplanted.clone())),
        (authority, with_usage(TIME_STAMPING)),
        (authority, with_usage("1.3.6.1.5.5.7.3.1")),
        ("no certificate log", unlogged),
        ("the signature does not fit", flip_signature(&v1)),
        (authority, set(&v1, of_evil, json!("AAAA"))),
    ]);
}

/// Flips one bit of the signature over the statement.
fn flip_signature(bundle: &Value) -> Value {
    flip(bundle, "/dsseEnvelope/signatures/0/sig")
}

#[test]
fn a_trusted_root_with_one_foreign_authority_believes_nobody() {
    let (good, evil) = (Deployment::new(1).trusted_root(), Deployment::new(2).trusted_root());

    for part in ["tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"] {
        let mut root = good.clone();
        root[part] = evil[part].clone();
        let store = store_with_root(&root);
        let stamped = Order { stamped_at: Some(signed_at()), ..order(ALICE) };
        for order in [stamped, order_v2(ALICE)] {
            let refusal = refusal(&store, &signed(&order));
            assert_eq!(refusal.code(), "bad-signature", "{part}: {refusal}");
        }
    }
}

#[test]
fn b13_statements_for_another_purpose_are_refused_under_a_certificate_too() {
    let manifest = manifest();
    let good = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "", "digest": {"sha256": Digest::of(&manifest).hex()}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    });
    let of = |statement: &Value| {
        let text = statement.to_string();
        Deployment::new(1).sign_statement(&order(ALICE), &manifest, text.as_bytes())
    };
    let other = json!({"name": "", "digest": {"sha256": Digest::of(b"other").hex()}});
    let two = json!([good["subject"][0], other]);

    assert!(verify(&store(), &manifest, &[bytes(&of(&good))]).is_ok());
    assert_refused(&[
        (
            "another predicate type",
            of(&set(&good, "/predicateType", json!("https://slsa.dev/provenance/v1"))),
        ),
        ("another manifest", of(&set(&good, "/subject/0", other))),
        ("exactly one subject", of(&set(&good, "/subject", two))),
        ("exactly one subject", of(&set(&good, "/subject", json!([])))),
        ("not an in-toto statement", of(&set(&good, "/_type", json!("x")))),
    ]);
}

#[test]
fn b04_a_certificate_bundle_of_another_manifest_is_refused() {
    let other = manifest_of(Envelope { ttl_secs: 5, ..envelope(ALICE, "bob@example.com") });
    let plain = Order { plain: true, ..order(ALICE) };
    let relabelled = set(
        &Deployment::new(1).sign(&plain, &other),
        "/messageSignature/messageDigest/digest",
        json!(base64::encode(&sha256(&[&manifest()]))),
    );

    assert_refused(&[
        ("another manifest", Deployment::new(1).sign(&order(ALICE), &other)),
        ("another manifest", Deployment::new(1).sign(&plain, &other)),
        ("does not fit the certificate", relabelled),
    ]);
}

#[test]
fn b14_b15_certificate_bundles_of_another_form_are_refused() {
    let good = signed(&Order { stamped_at: Some(signed_at()), ..order(ALICE) });
    let material = "/verificationMaterial";
    let with = |pointer: &str, member: &str, value: Value| {
        let mut bundle = good.clone();
        bundle.pointer_mut(pointer).unwrap()[member] = value;
        bundle
    };
    let version = |text: &str| set(&good, "/mediaType", json!(text));
    let certificate = good.pointer("/verificationMaterial/certificate").unwrap().clone();
    let chain = json!({"certificates": [certificate]});
    let chained = remove(
        &with(material, "x509CertificateChain", chain.clone()),
        "/verificationMaterial/certificate",
    );
    let entries = |count| json!(vec![good.pointer(ENTRY).unwrap().clone(); count]);
    let stamps =
        |count| json!(vec![json!({"signedTimestamp": good.pointer(STAMP).unwrap()}); count]);
    let unknown = "a member that is not in the format";
    let misplaced = "a list or an object where the format allows none";
    let proof = entry("inclusionProof");
    let checkpoint = entry(CHECKPOINT);
    let note = good.pointer(&checkpoint).unwrap().as_str().unwrap();
    let long = note.to_owned() + &"\u{2014} log.example AAAAAAAA\n".repeat(200);
    let stamp_data = "/verificationMaterial/timestampVerificationData";

    let several = set(
        &set(&good, "/verificationMaterial/tlogEntries", entries(4)),
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps",
        stamps(4),
    );
    assert!(verify(&store(), &manifest(), &[bytes(&several)]).is_ok());
    assert_refused(&[
        ("version 0.3", version("application/vnd.dev.sigstore.bundle+json;version=0.1")),
        ("version 0.3", version("application/vnd.dev.sigstore.bundle+json;version=0.2")),
        ("version 0.3", chained),
        ("not name exactly one signer", with(material, "publicKey", json!({"hint": ""}))),
        ("version 0.3", with(material, "x509CertificateChain", chain)),
        ("too many log entries", set(&good, "/verificationMaterial/tlogEntries", entries(5))),
        (
            "too many timestamps",
            set(
                &good,
                "/verificationMaterial/timestampVerificationData/rfc3161Timestamps",
                stamps(5),
            ),
        ),
        (unknown, with(material, "tlog_entries", json!([]))),
        (unknown, with(ENTRY, "log_index", json!("1"))),
        (unknown, with(&entry("logId"), "key_id", json!(""))),
        (unknown, with(&proof, "root_hash", json!(""))),
        (unknown, with(&entry("inclusionProof/checkpoint"), "note", json!(""))),
        (unknown, with("/verificationMaterial/certificate", "raw_bytes", json!(""))),
        ("checkpoint of the log is too long", set(&good, &checkpoint, json!(long))),
        (misplaced, set(&good, &entry("inclusionProof/checkpoint"), json!([long]))),
        (misplaced, set(&good, stamp_data, json!([stamps(5)]))),
        (misplaced, set(&good, stamp_data, json!({"rfc3161Timestamps": [[good.pointer(STAMP)]]}))),
        (misplaced, set(&good, &entry("logId"), json!([""]))),
        (misplaced, set(&good, &entry("inclusionProof/hashes"), json!([[""]]))),
        (misplaced, set(&good, ENTRY, json!(["1"]))),
        (misplaced, set(&good, "/verificationMaterial/tlogEntries", json!({"0": {}}))),
        ("malformed", set(&good, &entry("kindVersion/version"), json!("9.9.9"))),
        ("malformed", set(&good, &entry("canonicalizedBody"), json!("!"))),
        ("malformed", set(&good, "/verificationMaterial/certificate", json!({}))),
    ]);
}

/// Returns the positions at which one bit of `good` may be changed without it being refused.
fn believed_changes(good: &[u8], verify: impl Fn(Bytes) -> bool) -> Vec<usize> {
    let believed = |at: &usize| {
        let mut mutated = good.to_vec();
        // One bit per byte, a different one each time, leaves enough tries of every field.
        mutated[*at] ^= 1 << (at % 7);
        verify(mutated.into())
    };
    (0..good.len()).filter(believed).collect()
}

/// Returns where `part` is in `whole`, which must contain it once.
fn span(whole: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let mut found = (0..whole.len()).filter(|at| whole[*at..].starts_with(part));
    let start = found.next().unwrap();
    assert_eq!(found.next(), None);
    start..start + part.len()
}

#[test]
fn b17_no_changed_bit_of_a_certificate_bundle_is_believed_except_where_proved_irrelevant() {
    let plain = Order { plain: true, ..order(ALICE) };
    // Who claims to have signed the checkpoint: the signature decides.
    let signer = "\u{2014} log.example".to_owned();
    // Copies of what the log has signed; a promise of version 1 covers the first.
    let pointers = ["logId/keyId", "inclusionProof/logIndex", "inclusionProof/rootHash"];
    let v2 = signed(&order_v2(ALICE));
    let copies = pointers.map(|pointer| {
        let (_, member) = pointer.rsplit_once('/').unwrap();
        let text = v2.pointer(&entry(pointer)).unwrap();
        // The log index of the proof comes before its root, that of the entry does not.
        let next = if member == "logIndex" { ",\"rootHash" } else { "" };
        format!("\"{member}\":{text}{next}")
    });
    let tree_size = "\"treeSize\":\"2\"".to_owned();
    let stamp = v2.pointer(STAMP).unwrap().as_str().unwrap().to_owned();
    let v2_irrelevant = [copies.to_vec(), vec![signer.clone(), tree_size, stamp]].concat();

    for (order, irrelevant) in [
        (order(ALICE), vec![signer.clone()]),
        (plain, vec![signer]),
        (order_v2(ALICE), v2_irrelevant),
    ] {
        let good = signed(&order).to_string().into_bytes();
        let spans: Vec<_> = irrelevant.iter().map(|part| span(&good, part.as_bytes())).collect();
        let store = store();

        let believed =
            believed_changes(&good, |bundle| verify(&store, &manifest(), &[bundle]).is_ok());

        for at in believed {
            let near = String::from_utf8_lossy(&good[at.saturating_sub(40)..=at]);
            assert!(spans.iter().any(|span| span.contains(&at)), "{at}: {near}");
        }
    }
}

#[test]
fn b17_no_changed_bit_of_what_a_timestamp_says_is_believed() {
    let good = signed(&order_v2(ALICE));
    let decode = |pointer: &str| {
        let text = good.pointer(pointer).unwrap().as_str().unwrap();
        data_encoding::BASE64.decode(text.as_bytes()).unwrap()
    };
    let token = decode(STAMP);
    let imprint = sha256(&[&decode("/dsseEnvelope/signatures/0/sig")]);
    // Surrounded by copies of algorithm names, versions, and an unsigned status.
    let relevant = [
        span(&token, &imprint),
        span(&token, &der::general_time(signed_at().saturating_add_secs(3))),
        token.len() - 64..token.len(),
    ];
    let store = store();

    let believed = believed_changes(&token, |token| {
        let bundle = set(&good, STAMP, json!(base64::encode(&token)));
        verify(&store, &manifest(), &[bytes(&bundle)]).is_ok()
    });

    for at in believed {
        assert!(relevant.iter().all(|span| !span.contains(&at)), "{at} of {}", token.len());
    }
}
