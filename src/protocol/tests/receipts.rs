//! Receipts (P20 to P23).

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{assert_code, manifest};
use crate::protocol::{
    Descriptor, Digest, Message, Receipt, ReceiptDraft, ReceiptStatus, Timestamp,
    annotation as key, clean_reason, limits::REASON_LEN_MAX, media_type,
};

/// Returns the least receipt that P20 accepts.
fn receipt() -> Value {
    json!({
        "schemaVersion": 2,
        "artifactType": media_type::RECEIPT,
        "config": Descriptor::empty().to_json(),
        "annotations": {
            key::VERSION: "1.0",
            key::RECEIPT_FOR: Digest::of(b"message").to_string(),
            key::RECEIPT_STATUS: "accepted",
            key::RECEIPT_VERIFIED: "true",
        },
    })
}

fn parse(value: &Value) -> Result<Receipt, crate::protocol::ProtocolError> {
    Receipt::parse(value.to_string().as_bytes())
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut value = receipt();
    change(&mut value);
    value
}

#[test]
fn p20_the_least_receipt_is_accepted() {
    let parsed = parse(&receipt()).unwrap();

    assert_eq!(
        parsed,
        Receipt {
            message: Digest::of(b"message"),
            status: ReceiptStatus::Accepted,
            verified: true,
            reason: None,
            sender: None,
            recipient: None,
            created_at: None,
        }
    );
}

#[test]
fn p20_layers_and_subject_may_be_anything_that_does_not_contradict() {
    let subject = Descriptor::of(media_type::IMAGE_MANIFEST, b"message").to_json();
    let cases = [
        ("null layers", changed(|value| value["layers"] = json!(null))),
        ("no layers", changed(|value| value["layers"] = json!([]))),
        ("empty layer", changed(|value| value["layers"] = json!([Descriptor::empty().to_json()]))),
        ("subject", changed(|value| value["subject"] = subject)),
        ("null subject", changed(|value| value["subject"] = json!(null))),
        ("bad time", changed(|value| value["annotations"][key::CREATED_AT] = json!("soon"))),
    ];

    for (case, value) in cases {
        assert_eq!(parse(&value), parse(&receipt()), "{case}");
    }
}

#[test]
fn p20_a_receipt_without_its_own_annotations_is_refused() {
    for name in [key::VERSION, key::RECEIPT_FOR, key::RECEIPT_STATUS, key::RECEIPT_VERIFIED] {
        let value = changed(|value| {
            value["annotations"].as_object_mut().unwrap().remove(name);
        });
        assert_code(name, parse(&value), "missing-field");
    }
}

#[test]
fn receipts_that_break_the_rules_are_refused() {
    let annotated =
        |key: &str, text: &str| changed(|value| value["annotations"][key] = json!(text));
    let other = Descriptor::of(media_type::IMAGE_MANIFEST, b"another").to_json();
    let cases = [
        ("version", annotated(key::VERSION, "2.0"), "unsupported-version"),
        ("status", annotated(key::RECEIPT_STATUS, "Accepted"), "bad-field"),
        ("no status", annotated(key::RECEIPT_STATUS, ""), "bad-field"),
        ("verified", annotated(key::RECEIPT_VERIFIED, "yes"), "bad-field"),
        ("for", annotated(key::RECEIPT_FOR, "sha256:abc"), "bad-field"),
        ("for a short digest", annotated(key::RECEIPT_FOR, "44136fa355b3"), "bad-field"),
        ("subject", changed(|value| value["subject"] = other), "bad-field"),
        ("bad subject", changed(|value| value["subject"] = json!({})), "bad-field"),
        ("index", changed(|value| value["manifests"] = json!([])), "ambiguous"),
        ("message", manifest(), "not-a-message"),
    ];

    for (case, value, code) in cases {
        assert_code(case, parse(&value), code);
    }
}

#[test]
fn n36_a_hostile_reason_is_cut_and_made_printable() {
    let hostile = "\u{1b}]0;x\u{7}\nb\u{e9}\u{202e}".to_owned() + &"z".repeat(2000);
    let value = changed(|value| value["annotations"][key::RECEIPT_REASON] = json!(hostile));

    let reason = parse(&value).unwrap().reason.unwrap();

    assert!(reason.starts_with("?]0;x??b??zz"), "{reason}");
    assert_eq!(reason.len(), REASON_LEN_MAX);
}

proptest! {
    #[test]
    fn a_receipt_reads_as_it_was_written(
        accepted in any::<bool>(),
        verified in any::<bool>(),
        with_subject in any::<bool>(),
        reason in proptest::option::of(any::<String>()),
        time in 0_i64..=253_402_300_799,
    ) {
        let message_bytes = manifest().to_string().into_bytes();
        let message = Message::parse(&message_bytes).unwrap();
        let descriptor = Descriptor::of(media_type::IMAGE_MANIFEST, &message_bytes);
        let status = if accepted { ReceiptStatus::Accepted } else { ReceiptStatus::Rejected };
        let created_at = Timestamp::from_unix_secs(time);
        let draft = ReceiptDraft {
            message: &descriptor,
            annotations: &message.envelope.to_annotations(),
            status,
            verified,
            reason: reason.as_deref(),
            created_at,
            with_subject,
        };

        let parsed = Receipt::parse(&draft.encode());

        let expected = Receipt {
            message: descriptor.digest,
            status,
            verified,
            reason: reason.as_deref().map(clean_reason),
            sender: Some("alice@example.com".into()),
            recipient: Some("bob@example.com".into()),
            created_at: Some(created_at),
        };
        prop_assert_eq!(parsed, Ok(expected));
    }

    #[test]
    fn a_reason_is_short_and_printable_and_stays_as_it_is(text in any::<String>()) {
        let reason = clean_reason(&text);

        prop_assert!(reason.len() <= REASON_LEN_MAX);
        prop_assert!(reason.bytes().all(|b| (b' '..=b'~').contains(&b)));
        prop_assert_eq!(clean_reason(&reason), reason);
    }
}
