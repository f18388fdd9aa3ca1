//! Whole messages: no bundle, address, time, terms of a key, and the verified type
//! (B01, B05, B19, B23).

use super::*;

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

fn verify_at(
    store: &TrustStore,
    envelope: Envelope,
    key: &SigningKey,
    now: Timestamp,
) -> Result<VerifiedMessage, Refusal> {
    let manifest = manifest_of(envelope);
    let bundle = bundle(key, &manifest);
    let message = UnverifiedMessage::parse(manifest).unwrap();
    verify_message(store, &[identity("carl"), identity(BOB)], message, &[bundle], now)
        .map_err(|refused| refused.refusal)
}

#[test]
fn b01_without_a_bundle_nothing_is_believed() {
    let store = store_of(&[(ALICE, &key(1))]);

    assert_eq!(verify(&store, &manifest(), &[]), Err(Refusal::NoBundle));
    assert_eq!(verify(&TrustStore::default(), &manifest(), &[]), Err(Refusal::NoBundle));
}

#[test]
fn an_unknown_sender_is_refused_and_the_card_asked_for() {
    let refusal =
        verify(&TrustStore::default(), &manifest(), &[bundle(&key(1), &manifest())]).unwrap_err();

    assert_eq!(
        refusal,
        Refusal::UnknownSender {
            claimed: identity(ALICE),
            claimed_key: Some(key(1).public_key().fingerprint())
        }
    );
    assert!(refusal.to_string().contains("trust add"));
}

#[test]
fn a_verified_message_says_what_was_signed() {
    let alice = p256_key();
    let store = store_of(&[(ALICE, &alice)]);
    let hostile = Envelope { filename: "../../x\u{202e}.pdf".into(), ..envelope(ALICE, BOB) };

    let verified = verify_at(&store, hostile.clone(), &alice, now()).unwrap();

    assert_eq!(verified.envelope(), &hostile);
    assert_eq!(verified.digest(), &Digest::of(verified.manifest()));
    assert_eq!(verified.sender(), &identity(ALICE));
    assert_eq!(verified.signer().key_fingerprint, alice.public_key().fingerprint());
    assert_eq!(verified.file_name().as_str(), "..%2F..%2Fx%E2%80%AE.pdf");
    assert_eq!(verified.message().chunks.len(), 1);
}

#[test]
fn b23_a_genuine_message_for_somebody_else_is_not_mine() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice)]);

    for recipient in ["carol@example.com", "Bob@example.com", "bob@example.com "] {
        let refusal = verify_at(&store, envelope(ALICE, recipient), &alice, now()).unwrap_err();
        assert_eq!(refusal, Refusal::Readdressed { recipient: identity(recipient) });
        assert!(refusal.is_genuine());
    }
    assert!(verify_at(&store, envelope(ALICE, "carl"), &alice, now()).is_ok());
}

/// P2 and P6, as the receiver keeps them.
#[test]
fn time_to_live_and_clock_skew_are_kept_to_the_second() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice)]);
    let at = |ttl_secs, offset| {
        let now = created_at().saturating_add_secs(offset);
        let envelope = Envelope { ttl_secs, ..envelope(ALICE, BOB) };
        verify_at(&store, envelope, &alice, now).map(drop).map_err(|refusal| refusal.code())
    };

    assert_eq!(at(100, 399), Ok(()));
    assert_eq!(at(100, 400), Err("expired"));
    assert_eq!(at(0, 1_000_000_000), Ok(()));
    assert_eq!(at(100, -300), Ok(()));
    assert_eq!(at(100, -301), Err("pending-future"));
}

#[test]
fn an_address_or_date_is_only_judged_when_the_signature_is_good() {
    let store = store_of(&[(ALICE, &key(1))]);
    let expired = Envelope { ttl_secs: 1, ..envelope(ALICE, "carol@example.com") };
    let late = created_at().saturating_add_secs(10_000);

    let refusal = verify_at(&store, expired, &key(2), late).unwrap_err();

    assert_eq!(refusal.code(), "untrusted-signer");
    assert!(!refusal.is_genuine());
}

#[test]
fn b19_the_terms_of_a_key_decide_even_when_the_signature_is_good() {
    let alice = key(1);
    let at = |terms: &str, offset: i64| {
        let pem = alice.public_key().to_pem();
        let store = TrustStore::parse(&format!(
            "[[sender]]\nname = \"{ALICE}\"\n[[sender.key]]\npem = '''{pem}'''\n{terms}\n"
        ))
        .unwrap();
        let now = now().saturating_add_secs(offset);
        verify_at(&store, envelope(ALICE, BOB), &alice, now)
            .map(drop)
            .map_err(|refusal| refusal.code())
    };

    // The fixture's day is 2026-09-21, 14:14:20 UTC.
    assert_eq!(at("", 0), Ok(()));
    assert_eq!(at("roles = ['message']", 0), Ok(()));
    assert_eq!(at("roles = ['receipt']", 0), Err("role-not-allowed"));
    assert_eq!(at("revoked = true", 0), Err("revoked"));
    assert_eq!(at("not_before = 2026-09-21", 0), Ok(()));
    assert_eq!(at("not_before = 2026-09-22", 0), Err("key-not-yet-valid"));
    assert_eq!(at("not_after = 2026-09-20", 0), Err("key-expired"));
    assert_eq!(at("not_after = 2026-09-21", 0), Ok(()));
    assert_eq!(at("not_after = 2026-09-21T14:14:20Z", 0), Ok(()));
    assert_eq!(at("not_after = 2026-09-21T14:14:20Z", 1), Err("key-expired"));
    assert_eq!(at("not_before = '2026-09-21T16:14:20+02:00'", 0), Ok(()));
    assert_eq!(at("not_before = '2026-09-21T16:14:20+02:00'", -1), Err("key-not-yet-valid"));
}

#[test]
fn forgetting_a_sender_takes_effect_at_once() {
    let alice = key(1);
    let mut store = store_of(&[(ALICE, &alice)]);

    store.remove(&identity(ALICE));

    let refusal = verify_at(&store, envelope(ALICE, BOB), &alice, now()).unwrap_err();
    assert_eq!(refusal.code(), "unknown-sender");
}

#[test]
fn a_message_comes_back_from_our_database_only_under_its_own_sender() {
    let again = |sender: &str, manifest: Bytes| {
        VerifiedMessage::from_trusted_store(manifest, identity(sender), "SHA256:x".into())
    };

    let restored = again(ALICE, manifest()).unwrap();
    assert_eq!(restored.digest(), &Digest::of(&manifest()));
    assert_eq!(restored.signer().key_fingerprint, "SHA256:x");
    assert!(again("eve", manifest()).is_err());
    assert!(again(ALICE, manifest().slice(1..)).is_err());
}

#[test]
fn explain_lists_every_check_and_fails_exactly_when_verification_does() {
    let (alice, eve) = (key(1), key(2));
    let store = store_of(&[(ALICE, &alice)]);
    let bundles = [bundle(&eve, &manifest()), bundle(&alice, &manifest())];
    let message = UnverifiedMessage::parse(manifest()).unwrap();
    let failed = |me: &str, bundles: &[Bytes], now| {
        let checks = explain(&store, &[identity(me)], &message, bundles, now);
        let failed = checks.iter().filter(|check| check.outcome == CheckOutcome::Failed);
        let failed: Vec<_> = failed.map(|check| check.name).collect();
        let verdict =
            verify_message(&store, &[identity(me)], message.clone(), bundles, now).is_ok();
        assert_eq!(failed.is_empty(), verdict, "{checks:#?}");
        failed
    };
    let late = created_at().saturating_add_secs(10_000_000);

    assert_eq!(failed(BOB, &bundles, now()), Vec::<&str>::new());
    assert_eq!(failed("carol", &bundles, late), ["envelope"]);
    assert_eq!(failed(BOB, &bundles[..1], now()), ["signature"]);
    assert_eq!(failed("carol", &[], now()), ["signature", "envelope"]);
}

#[test]
fn every_refusal_says_what_to_do_and_shows_no_raw_text() {
    let evil = identity("ev\u{202e}il");
    let fingerprint = key(1).public_key().fingerprint();
    let (sender, claimed, at) = (evil.clone(), evil.clone(), now());
    let refusals = [
        Refusal::NoBundle,
        Refusal::UnknownSender { claimed: claimed.clone(), claimed_key: None },
        Refusal::BadSignature { reason: "it signs another manifest" },
        Refusal::UntrustedSigner { claimed: claimed.clone(), claimed_key: None },
        Refusal::CertificateRefused { claimed: claimed.clone(), signer: None, reason: "x" },
        Refusal::SignedInFuture { signed_at: at },
        Refusal::Revoked { sender: sender.clone(), fingerprint: fingerprint.clone() },
        Refusal::KeyExpired {
            sender: sender.clone(),
            fingerprint: fingerprint.clone(),
            not_after: at,
        },
        Refusal::KeyNotYetValid {
            sender: sender.clone(),
            fingerprint: fingerprint.clone(),
            not_before: at,
        },
        Refusal::RoleNotAllowed { sender, fingerprint, role: Role::Receipt },
        Refusal::SenderMismatch { claimed, signer: evil.clone() },
        Refusal::Readdressed { recipient: evil },
        Refusal::Expired { at },
        Refusal::FromFuture { created_at: at },
        Refusal::ReceiptMismatch { reason: "x" },
        Refusal::Malformed(crate::protocol::ProtocolError::DuplicateKey),
    ];

    for refusal in refusals {
        let shown = refusal.to_string();
        assert!(shown.contains(';'), "no next step: {shown}");
        assert!(!shown.chars().any(crate::sys::untrusted::is_deceptive), "{shown}");
        assert!(!refusal.code().is_empty());
    }
}
