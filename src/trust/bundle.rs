//! Strict, bounded reading of a Sigstore bundle: what it claims, before anything is proven.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha512};

use super::statement::{PAYLOAD_TYPE, check_statement, pae};
use crate::protocol::Digest;
use crate::protocol::json::parse_object;
use crate::protocol::limits::BUNDLE_LEN_MAX;

/// The bundle versions whose signatures we read; all carry the same two kinds (P15).
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
];

/// A parsed bundle. Nothing in it is believed yet.
pub(super) struct Bundle {
    /// Who is said to have signed.
    pub(super) material: Material,
    content: Content,
}

/// Who a bundle says has signed.
pub(super) enum Material {
    /// The owner of a public key; the hint is an unauthenticated claim, maybe empty.
    PublicKey {
        /// Base64 of the SHA-256 of the key, when a decent tool wrote it.
        hint: String,
    },
    /// The subject of a certificate.
    Certificate,
}

enum Content {
    Dsse { payload: Vec<u8>, signature: Vec<u8> },
    Message { digest: MessageDigest, signature: Vec<u8> },
}

/// What a message signature says it covers; the signature itself decides.
enum MessageDigest {
    Sha256(Vec<u8>),
    Sha512(Vec<u8>),
    /// `{}`, which cosign writes for Ed25519 keys.
    Unnamed,
}

/// The bytes that a bundle's signature must cover, and the signature.
pub(super) struct SignedClaim {
    /// What was signed.
    pub(super) bytes: Vec<u8>,
    /// By this.
    pub(super) signature: Vec<u8>,
}

impl Bundle {
    /// Parses the JSON of a bundle.
    ///
    /// Members that the format does not know are refused: another reader might take
    /// `dsse_envelope` for what we read as `dsseEnvelope`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let bundle = parse_object("bundle", bytes, BUNDLE_LEN_MAX)
            .map_err(|_source| "the bundle is not one JSON object of at most 1 MiB")?;
        only(&bundle, &["mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"])?;
        match bundle.get("mediaType").and_then(Value::as_str) {
            Some(media_type) if MEDIA_TYPES.contains(&media_type) => {}
            _ => return Err("the bundle is of an unknown version"),
        }
        let content = match (bundle.get("dsseEnvelope"), bundle.get("messageSignature")) {
            (Some(Value::Object(envelope)), None) => parse_envelope(envelope)?,
            (None, Some(Value::Object(message))) => parse_message_signature(message)?,
            _ => return Err("the bundle has not exactly one kind of signature"),
        };
        let Some(Value::Object(material)) = bundle.get("verificationMaterial") else {
            return Err("the bundle names no key");
        };
        Ok(Self { material: parse_material(material)?, content })
    }

    /// Returns the hint of a keyed bundle that names one.
    pub(super) fn hint(&self) -> Option<&str> {
        match &self.material {
            Material::PublicKey { hint } if !hint.is_empty() => Some(hint),
            _ => None,
        }
    }

    /// Returns what must have been signed if this bundle is about `manifest`.
    ///
    /// # Errors
    /// When it is about something else, or is for another purpose.
    pub(super) fn claim(
        &self,
        manifest: &[u8],
        digest: &Digest,
    ) -> Result<SignedClaim, &'static str> {
        match &self.content {
            Content::Dsse { payload, signature } => {
                check_statement(payload, digest)?;
                Ok(SignedClaim { bytes: pae(PAYLOAD_TYPE, payload), signature: signature.clone() })
            }
            Content::Message { digest: claimed, signature } => {
                let same = match claimed {
                    MessageDigest::Sha256(claimed) => claimed == digest.as_bytes(),
                    MessageDigest::Sha512(claimed) => {
                        claimed == Sha512::digest(manifest).as_slice()
                    }
                    MessageDigest::Unnamed => true,
                };
                if !same {
                    return Err("it signs another manifest");
                }
                Ok(SignedClaim { bytes: manifest.to_vec(), signature: signature.clone() })
            }
        }
    }
}

fn parse_material(material: &Map<String, Value>) -> Result<Material, &'static str> {
    // Log entries and timestamps prove nothing about a key of ours, so they are left unread.
    only(
        material,
        &[
            "publicKey",
            "certificate",
            "x509CertificateChain",
            "tlogEntries",
            "timestampVerificationData",
        ],
    )?;
    let certificate = material.contains_key("certificate");
    let chain = material.contains_key("x509CertificateChain");
    match material.get("publicKey") {
        Some(Value::Object(key)) if !certificate && !chain => {
            only(key, &["hint"])?;
            match key.get("hint") {
                None => Ok(Material::PublicKey { hint: String::new() }),
                Some(Value::String(hint)) => Ok(Material::PublicKey { hint: hint.clone() }),
                Some(_) => Err("the bundle's key hint is not a string"),
            }
        }
        None if certificate != chain => Ok(Material::Certificate),
        _ => Err("the bundle names not exactly one signer"),
    }
}

fn parse_envelope(envelope: &Map<String, Value>) -> Result<Content, &'static str> {
    only(envelope, &["payload", "payloadType", "signatures"])?;
    if envelope.get("payloadType").and_then(Value::as_str) != Some(PAYLOAD_TYPE) {
        return Err("the signed payload is not an in-toto statement");
    }
    let Some([Value::Object(signature)]) =
        envelope.get("signatures").and_then(Value::as_array).map(Vec::as_slice)
    else {
        return Err("the envelope has not exactly one signature");
    };
    only(signature, &["sig", "keyid"])?;
    Ok(Content::Dsse { payload: bytes(envelope, "payload")?, signature: bytes(signature, "sig")? })
}

fn parse_message_signature(message: &Map<String, Value>) -> Result<Content, &'static str> {
    only(message, &["messageDigest", "signature"])?;
    let Some(Value::Object(digest)) = message.get("messageDigest") else {
        return Err("the signature names no digest");
    };
    only(digest, &["algorithm", "digest"])?;
    let digest = match digest.get("algorithm").and_then(Value::as_str) {
        Some("SHA2_256") => MessageDigest::Sha256(bytes(digest, "digest")?),
        Some("SHA2_512") => MessageDigest::Sha512(bytes(digest, "digest")?),
        None if digest.is_empty() => MessageDigest::Unnamed,
        _ => return Err("the signature's digest is of another kind"),
    };
    Ok(Content::Message { digest, signature: bytes(message, "signature")? })
}

/// Checks that an object has no members but the known ones.
fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), &'static str> {
    if object.keys().all(|key| known.contains(&key.as_str())) {
        Ok(())
    } else {
        Err("the bundle has a member that the format does not know")
    }
}

/// Reads the one base64 form: standard alphabet, padded, no spaces, no stray bits.
fn bytes(object: &Map<String, Value>, key: &str) -> Result<Vec<u8>, &'static str> {
    object
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .and_then(|text| STANDARD.decode(text).ok())
        .ok_or("the bundle has a field that is not base64")
}
