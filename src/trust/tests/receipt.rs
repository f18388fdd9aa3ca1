//! Receipts: only the recipient's own signature makes one (B20).

use super::*;

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

/// Alice, who sent a message to bob, checks a receipt.
fn check(
    store: &TrustStore,
    receipt: &Bytes,
    bundles: &[Bytes],
) -> Result<VerifiedReceipt, Refusal> {
    let sent = Digest::of(&manifest());
    verify_receipt(store, receipt.clone(), &sent, &envelope(ALICE, BOB), bundles, now())
}

fn receipt() -> Bytes {
    receipt_manifest(&manifest(), &envelope(ALICE, BOB))
}

#[test]
fn the_recipients_receipt_is_proof() {
    let bob = p256_key();
    let store = store_of(&[(ALICE, &key(1)), (BOB, &bob)]);

    let verified = check(&store, &receipt(), &[bundle(&bob, &receipt())]).unwrap();

    assert_eq!(verified.receipt().status, ReceiptStatus::Accepted);
    assert!(verified.receipt().verified);
    assert_eq!(verified.signer().sender, identity(BOB));
    assert_eq!(verified.digest(), &Digest::of(&receipt()));
    assert_eq!(verified.manifest(), &receipt());
}

#[test]
fn b20_a_receipt_by_anybody_else_is_no_proof() {
    let (alice, bob, carol, eve) = (key(1), key(2), key(3), key(4));
    let store = store_of(&[(ALICE, &alice), (BOB, &bob), ("carol", &carol)]);
    let code = |bundles: &[Bytes]| check(&store, &receipt(), bundles).unwrap_err().code();

    assert_eq!(code(&[]), "no-bundle");
    assert_eq!(code(&[bundle(&carol, &receipt())]), "sender-mismatch");
    assert_eq!(code(&[bundle(&alice, &receipt())]), "sender-mismatch");
    assert_eq!(code(&[bundle(&eve, &receipt())]), "untrusted-signer");
    // The sender's own signature over the message proves nothing about the receipt.
    assert_eq!(code(&[bundle(&alice, &manifest())]), "bad-signature");
    assert_eq!(code(&[bundle(&bob, &manifest())]), "bad-signature");
}

#[test]
fn b20_a_receipt_for_another_message_is_no_proof() {
    let bob = key(2);
    let store = store_of(&[(BOB, &bob)]);
    let other = manifest_of(Envelope { ttl_secs: 1, ..envelope(ALICE, BOB) });
    let cases = [
        receipt_manifest(&other, &envelope(ALICE, BOB)),
        receipt_manifest(&manifest(), &envelope("mallory", BOB)),
        receipt_manifest(&manifest(), &envelope(ALICE, "carol")),
    ];

    for receipt in cases {
        let refusal = check(&store, &receipt, &[bundle(&bob, &receipt)]).unwrap_err();
        assert_eq!(refusal.code(), "receipt-mismatch", "{refusal}");
    }
}

#[test]
fn a_message_is_no_receipt_and_a_receipt_no_message() {
    let alice = key(1);
    let store = store_of(&[(ALICE, &alice), (BOB, &alice)]);

    let as_receipt = check(&store, &manifest(), &[bundle(&alice, &manifest())]).unwrap_err();
    let as_message = verify(&store, &receipt(), &[bundle(&alice, &receipt())]).unwrap_err();

    assert_eq!(as_receipt.code(), "not-a-message");
    assert_eq!(as_message.code(), "not-a-message");
}

#[test]
fn a_key_for_messages_alone_signs_no_receipt() {
    let bob = key(2);
    let pem = bob.public_key().to_pem();
    let store = TrustStore::parse(&format!(
        "[[sender]]\nname = '{BOB}'\n[[sender.key]]\npem = '''{pem}'''\nroles = ['message']\n"
    ))
    .unwrap();

    let refusal = check(&store, &receipt(), &[bundle(&bob, &receipt())]).unwrap_err();

    assert_eq!(refusal.code(), "role-not-allowed");
}

#[test]
fn a_receipt_is_not_older_than_its_message_nor_from_the_future() {
    let bob = key(2);
    let store = store_of(&[(BOB, &bob)]);
    let text = String::from_utf8(receipt().to_vec()).unwrap();
    let at = |offset| {
        let date = created_at().saturating_add_secs(30).to_string();
        let changed = created_at().saturating_add_secs(offset).to_string();
        let receipt = Bytes::from(text.replace(&date, &changed));
        check(&store, &receipt, &[bundle(&bob, &receipt)]).map(drop).map_err(|e| e.code())
    };

    assert_eq!(at(-300), Ok(()));
    assert_eq!(at(-301), Err("receipt-mismatch"));
    assert_eq!(at(360), Ok(()));
    assert_eq!(at(361), Err("pending-future"));
}
