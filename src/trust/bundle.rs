//! Strict, bounded parsing of a Sigstore bundle: what it claims, before anything is proven.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha512};

use super::base64;
use super::limits::{CHECKPOINT_LEN_MAX, EVIDENCE_COUNT_MAX};
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

/// The members that each object around a certificate may have, by the object's name.
const CERTIFICATE_MEMBERS: [(&str, &[&str]); 10] = [
    ("verificationMaterial", &["certificate", "tlogEntries", "timestampVerificationData"]),
    ("certificate", &["rawBytes"]),
    (
        "tlogEntries",
        &[
            "logIndex",
            "logId",
            "kindVersion",
            "integratedTime",
            "inclusionPromise",
            "inclusionProof",
            "canonicalizedBody",
        ],
    ),
    ("logId", &["keyId"]),
    ("kindVersion", &["kind", "version"]),
    ("inclusionPromise", &["signedEntryTimestamp"]),
    ("inclusionProof", &["logIndex", "rootHash", "treeSize", "hashes", "checkpoint"]),
    ("checkpoint", &["envelope"]),
    ("timestampVerificationData", &["rfc3161Timestamps"]),
    ("rfc3161Timestamps", &["signedTimestamp"]),
];

const MISPLACED: &str = "the bundle has a list or an object where the format allows none";

/// A parsed bundle. Nothing in it is believed yet.
pub(super) struct Bundle {
    /// The claimed signer.
    pub(super) material: Material,
    content: Content,
}

/// The signer that a bundle claims.
pub(super) enum Material {
    /// The owner of a public key; the hint is an unauthenticated claim, maybe empty.
    PublicKey {
        /// Base64 of the SHA-256 of the key, if a well-behaved tool wrote it.
        hint: String,
    },
    /// The subject of a certificate.
    Certificate,
}

enum Content {
    Dsse { payload: Vec<u8>, signature: Vec<u8> },
    Message { digest: MessageDigest, signature: Vec<u8> },
}

/// What a message signature claims to cover; the signature itself decides.
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
    /// The signature over it.
    pub(super) signature: Vec<u8>,
}

impl Bundle {
    /// Parses the JSON of a bundle.
    /// Members that are not in the format are refused: another reader might take `dsse_envelope`
    /// for what we read as `dsseEnvelope`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let bundle = parse_object("bundle", bytes, BUNDLE_LEN_MAX)
            .map_err(|_source| "the bundle is not one JSON object of at most 1 MiB")?;
        only(&bundle, &["mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"])?;
        let version = bundle
            .get("mediaType")
            .and_then(|value| MEDIA_TYPES.iter().position(|known| value == known))
            .ok_or("the bundle has an unknown version")?;
        let content = match (bundle.get("dsseEnvelope"), bundle.get("messageSignature")) {
            (Some(Value::Object(envelope)), None) => parse_envelope(envelope)?,
            (None, Some(Value::Object(message))) => parse_message_signature(message)?,
            _ => return Err("the bundle does not have exactly one kind of signature"),
        };
        let Some(Value::Object(material)) = bundle.get("verificationMaterial") else {
            return Err("the bundle names no key");
        };
        let material = parse_material(material)?;
        // Older versions carry a chain of certificates, or a log's promise without proof.
        if matches!(material, Material::Certificate) && version > 1 {
            return Err("a bundle with a certificate must be of version 0.3");
        }
        Ok(Self { material, content })
    }

    /// Returns the hint of a keyed bundle, if it has one.
    pub(super) fn hint(&self) -> Option<&str> {
        match &self.material {
            Material::PublicKey { hint } if !hint.is_empty() => Some(hint),
            _ => None,
        }
    }

    /// Returns what must have been signed if this bundle is about `manifest`.
    ///
    /// # Errors
    /// When it is about something else, or has another purpose.
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
        // Log entries and timestamps prove nothing about a key of ours, so they are ignored.
        Some(Value::Object(key)) if !certificate && !chain => {
            only(key, &["hint"])?;
            match key.get("hint") {
                None => Ok(Material::PublicKey { hint: String::new() }),
                Some(Value::String(hint)) => Ok(Material::PublicKey { hint: hint.clone() }),
                Some(_) => Err("the bundle's key hint is not a string"),
            }
        }
        None if certificate && !chain => check_certificate(material),
        None if chain => Err("a bundle with a certificate must be of version 0.3"),
        _ => Err("the bundle does not name exactly one signer"),
    }
}

/// Checks the form, the number and the size of what comes with a certificate, and nothing else.
fn check_certificate(material: &Map<String, Value>) -> Result<Material, &'static str> {
    check_members("verificationMaterial", material)?;
    let entries = material.get("tlogEntries").and_then(Value::as_array);
    match entries.map(Vec::as_slice) {
        None | Some([]) => return Err("no log entry covers the signature"),
        Some(entries) if entries.len() > EVIDENCE_COUNT_MAX => return Err("too many log entries"),
        Some(entries) => {
            for entry in entries {
                let checkpoint = entry.pointer("/inclusionProof/checkpoint/envelope");
                match checkpoint.and_then(Value::as_str) {
                    None => return Err("a log entry has no proof that it is in the log"),
                    Some(note) if note.len() > CHECKPOINT_LEN_MAX => {
                        return Err("a checkpoint of the log is too long");
                    }
                    Some(_) => {}
                }
            }
        }
    }
    let timestamps =
        material.get("timestampVerificationData").and_then(|data| data.get("rfc3161Timestamps"));
    match timestamps.and_then(Value::as_array) {
        Some(timestamps) if timestamps.len() > EVIDENCE_COUNT_MAX => Err("too many timestamps"),
        _ => Ok(Material::Certificate),
    }
}

/// Checks that no object in `object`, which is named `name`, has an unknown member.
///
/// Lists are allowed only where the format has them: the other reader of a bundle would take one
/// for an object.
fn check_members(name: &str, object: &Map<String, Value>) -> Result<(), &'static str> {
    let known = CERTIFICATE_MEMBERS.iter().find(|(known, _)| *known == name);
    only(object, known.map_or(&[], |(_, members)| members))?;
    for (name, value) in object {
        match (name.as_str(), value) {
            ("tlogEntries" | "rfc3161Timestamps", Value::Array(items)) => {
                for item in items {
                    let item = item.as_object().ok_or(MISPLACED)?;
                    check_members(name, item)?;
                }
            }
            ("hashes", Value::Array(items)) if items.iter().all(Value::is_string) => {}
            ("tlogEntries" | "rfc3161Timestamps", Value::Object(_)) | (_, Value::Array(_)) => {
                return Err(MISPLACED);
            }
            (_, Value::Object(object)) => check_members(name, object)?,
            _ => {}
        }
    }
    Ok(())
}

fn parse_envelope(envelope: &Map<String, Value>) -> Result<Content, &'static str> {
    only(envelope, &["payload", "payloadType", "signatures"])?;
    if envelope.get("payloadType").and_then(Value::as_str) != Some(PAYLOAD_TYPE) {
        return Err("the signed payload is not an in-toto statement");
    }
    let Some([Value::Object(signature)]) =
        envelope.get("signatures").and_then(Value::as_array).map(Vec::as_slice)
    else {
        return Err("the envelope does not have exactly one signature");
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
        _ => return Err("the signature's digest has an unknown algorithm"),
    };
    Ok(Content::Message { digest, signature: bytes(message, "signature")? })
}

/// Checks that an object has only the known members.
fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), &'static str> {
    if object.keys().all(|key| known.contains(&key.as_str())) {
        Ok(())
    } else {
        Err("the bundle has a member that is not in the format")
    }
}

/// Reads the only accepted form of base64: standard alphabet, padded, no spaces, no stray bits.
fn bytes(object: &Map<String, Value>, key: &str) -> Result<Vec<u8>, &'static str> {
    object
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .and_then(base64::decode)
        .ok_or("the bundle has a field that is not base64")
}
