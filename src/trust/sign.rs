//! Signs a manifest: the bundle v0.3 that every tool of the Sigstore family reads (P17).

use serde::Serialize;

use super::base64;
use super::error::TrustError;
use super::key::SigningKey;
use super::statement::{PAYLOAD_TYPE, encode_statement, pae, to_json};
use crate::protocol::limits::BUNDLE_LEN_MAX;
use crate::protocol::{Annotations, Digest, ImageManifest, ProtocolError, media_type};

/// Prefix of the annotations that the statement repeats.
const ANNOTATION_PREFIX: &str = "dockercomms.";

// Structs, not maps: the order of members, and so the bundle's bytes, must never change.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bundle<'a> {
    media_type: &'a str,
    verification_material: Material,
    dsse_envelope: Envelope<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Hint,
}

#[derive(Serialize)]
struct Hint {
    hint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    payload: String,
    payload_type: &'a str,
    signatures: [Signature; 1],
}

#[derive(Serialize)]
struct Signature {
    sig: String,
}

/// Signs the bytes of a message or receipt manifest and returns the bundle's JSON.
///
/// The same key and bytes always give the same bundle, so a retried send pushes the same digest.
/// The statement repeats the manifest's `dockercomms.*` annotations, so that
/// `cosign verify -a dockercomms.sender=...` works.
///
/// # Errors
/// When `manifest` is neither, or its annotations are too long to be repeated in a bundle.
pub fn sign_manifest(key: &SigningKey, manifest: &[u8]) -> Result<Vec<u8>, TrustError> {
    let parsed = ImageManifest::parse(manifest)?;
    let is_ours =
        matches!(parsed.artifact_type.as_deref(), Some(media_type::MESSAGE | media_type::RECEIPT));
    if !is_ours {
        return Err(ProtocolError::WrongArtifact { expected: "message or receipt" }.into());
    }
    let annotations: Annotations = parsed
        .annotations
        .into_iter()
        .filter(|(name, _)| name.starts_with(ANNOTATION_PREFIX))
        .collect();
    let payload = encode_statement(&Digest::of(manifest), &annotations);
    let signature = key.sign(&pae(PAYLOAD_TYPE, &payload));
    let bundle = Bundle {
        media_type: media_type::BUNDLE,
        verification_material: Material { public_key: Hint { hint: key.public_key().hint() } },
        dsse_envelope: Envelope {
            payload: base64::encode(&payload),
            payload_type: PAYLOAD_TYPE,
            signatures: [Signature { sig: base64::encode(&signature) }],
        },
    };
    let bytes = to_json(&bundle);
    if bytes.len() as u64 > BUNDLE_LEN_MAX {
        return Err(ProtocolError::TooLarge { what: "bundle", limit: BUNDLE_LEN_MAX }.into());
    }
    Ok(bytes)
}
