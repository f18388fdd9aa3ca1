//! The in-toto statement inside a bundle: exact building, strict reading (P17).

use serde::Serialize;
use serde_json::{Map, Value};

use crate::protocol::json::parse_object;
use crate::protocol::limits::BUNDLE_LEN_MAX;
use crate::protocol::{Annotations, Digest, PREDICATE_TYPE};

/// The DSSE payload type of every statement.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What `cosign attest-blob` still writes; the members that are read here are the same.
const STATEMENT_TYPE_OLD: &str = "https://in-toto.io/Statement/v0.1";

// Structs, not maps: the order of members, and so the bundle's bytes, must never change.
#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'a str,
    subject: [Subject<'a>; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    predicate: Empty,
}

#[derive(Serialize)]
struct Subject<'a> {
    // Empty, but present: sigstore-python refuses a subject without it.
    name: &'a str,
    digest: DigestSet,
    annotations: &'a Annotations,
}

#[derive(Serialize)]
struct DigestSet {
    sha256: String,
}

#[derive(Serialize)]
struct Empty {}

/// Returns the statement that signs `digest`.
pub(super) fn encode_statement(digest: &Digest, annotations: &Annotations) -> Vec<u8> {
    let statement = Statement {
        kind: STATEMENT_TYPE,
        subject: [Subject { name: "", digest: DigestSet { sha256: digest.hex() }, annotations }],
        predicate_type: PREDICATE_TYPE,
        predicate: Empty {},
    };
    to_json(&statement)
}

/// Returns compact JSON; for structs of strings, numbers and maps of strings only.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and maps of strings always have a JSON form")
}

/// Checks that `payload` is a statement of ours, or of cosign's, about `digest` alone.
///
/// The signature is not checked here. Nor are the subject's annotations: the manifest that the
/// digest names has them all.
pub(super) fn check_statement(payload: &[u8], digest: &Digest) -> Result<(), &'static str> {
    let statement = parse_object("statement", payload, BUNDLE_LEN_MAX)
        .map_err(|_source| "the signed payload is not a JSON object")?;
    if !matches!(text(&statement, "_type"), Some(STATEMENT_TYPE | STATEMENT_TYPE_OLD)) {
        return Err("the signed payload is not an in-toto statement");
    }
    if text(&statement, "predicateType") != Some(PREDICATE_TYPE) {
        return Err("the signed statement has another predicate type");
    }
    let Some([Value::Object(subject)]) =
        statement.get("subject").and_then(Value::as_array).map(Vec::as_slice)
    else {
        return Err("the signed statement does not have exactly one subject");
    };
    match subject.get("digest") {
        Some(Value::Object(set)) if set.len() == 1 => match text(set, "sha256") {
            Some(hex) if hex == digest.hex() => Ok(()),
            Some(_) => Err("it signs another manifest"),
            None => Err("the signed statement names no SHA-256"),
        },
        _ => Err("the signed statement does not name exactly one digest"),
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// Returns the DSSE pre-authentication encoding: the bytes that are signed.
pub(super) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
