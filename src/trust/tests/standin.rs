//! A stand-in for a Sigstore deployment: certificate authority, certificate log, transparency log
//! (Rekor v1 and v2) and timestamp authority, without a socket.
//!
//! Its keys are fixed, so its bundles are the same bytes each time.

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey as EcdsaKey};
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};

use super::base64::encode as base64;
use super::der::{cert_time, context, extension, general_time, int, octets, oid, seq, tlv};
use super::statement::{encode_statement, pae};
use super::*;

const EC_SHA256: &str = "1.2.840.10045.4.3.2";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
pub(super) const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
pub(super) const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";

/// When the stand-in signs: in the past on every computer, since `sigstore-verify` reads the clock.
pub(super) fn signed_at() -> Timestamp {
    Timestamp::from_unix_secs(1_700_000_000)
}

/// What a signer requests of the deployment, and how the deployment is made to err.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) name: CertificateName,
    pub(super) issuer: &'static str,
    /// First second of the certificate, which lives ten minutes.
    pub(super) issued_at: Timestamp,
    /// What the log's promise says; `None` is Rekor v2, which promises nothing.
    pub(super) logged_at: Option<Timestamp>,
    /// What the timestamp says, if there is one.
    pub(super) stamped_at: Option<Timestamp>,
    /// Whether to sign the manifest itself instead of a statement.
    pub(super) plain: bool,
    pub(super) usage: &'static str,
    pub(super) with_sct: bool,
}

/// Rekor v1 without a timestamp.
pub(super) fn order(email: &str) -> Order {
    Order {
        name: CertificateName::Email(email.into()),
        issuer: "https://accounts.example.com",
        issued_at: signed_at(),
        logged_at: Some(signed_at().saturating_add_secs(5)),
        stamped_at: None,
        plain: false,
        usage: CODE_SIGNING,
        with_sct: true,
    }
}

/// Rekor v2 with the timestamp that it needs.
pub(super) fn order_v2(email: &str) -> Order {
    let stamped_at = Some(signed_at().saturating_add_secs(3));
    Order { logged_at: None, stamped_at, ..order(email) }
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    *Digest::of(&parts.concat()).as_bytes()
}

fn sign(key: &EcdsaKey, bytes: &[u8]) -> Vec<u8> {
    let signature: DerSignature = key.sign(bytes);
    signature.as_bytes().to_vec()
}

fn spki(key: &EcdsaKey) -> Vec<u8> {
    key.verifying_key().to_public_key_der().unwrap().into_vec()
}

fn pem(certificate: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(certificate))
}

fn name(common_name: &str) -> Vec<u8> {
    let attribute = seq(&[&oid("2.5.4.3"), &tlv(0x0c, &[common_name.as_bytes()])]);
    seq(&[&tlv(0x31, &[&attribute])])
}

struct Subject<'a> {
    name: Vec<u8>,
    key: &'a EcdsaKey,
    not_before: Timestamp,
    lifetime_secs: i64,
    extensions: Vec<Vec<u8>>,
}

fn tbs(subject: &Subject<'_>, issuer: &[u8]) -> Vec<u8> {
    let not_after = subject.not_before.saturating_add_secs(subject.lifetime_secs);
    seq(&[
        &context(0, &[&int(2)]),
        &int(1),
        &seq(&[&oid(EC_SHA256)]),
        issuer,
        &seq(&[&cert_time(subject.not_before), &cert_time(not_after)]),
        &subject.name,
        &spki(subject.key),
        &context(3, &[&seq(&subject.extensions.iter().map(Vec::as_slice).collect::<Vec<_>>())]),
    ])
}

fn certify(tbs: &[u8], issuer: &EcdsaKey) -> Vec<u8> {
    let signature = sign(issuer, tbs);
    seq(&[tbs, &seq(&[&oid(EC_SHA256)]), &tlv(0x03, &[&[0], &signature])])
}

fn authority(common_name: &str, key: &EcdsaKey) -> Vec<u8> {
    let constraints = seq(&[&tlv(0x01, &[&[0xff]])]);
    let subject = Subject {
        name: name(common_name),
        key,
        not_before: Timestamp::from_unix_secs(1_600_000_000),
        lifetime_secs: 500_000_000,
        extensions: vec![extension("2.5.29.19", true, &constraints)],
    };
    certify(&tbs(&subject, &subject.name), key)
}

/// A deployment; another seed makes one with other keys.
pub(super) struct Deployment {
    fulcio: EcdsaKey,
    certificate_log: EcdsaKey,
    rekor: EcdsaKey,
    stamper_root: EcdsaKey,
    stamper: EcdsaKey,
    signer: EcdsaKey,
}

impl Deployment {
    pub(super) fn new(seed: u8) -> Self {
        let key = |n: u8| EcdsaKey::from_slice(&sha256(&[&[seed, n]])).unwrap();
        Self {
            fulcio: key(1),
            certificate_log: key(2),
            rekor: key(3),
            stamper_root: key(4),
            stamper: key(5),
            signer: key(6),
        }
    }

    /// Returns the `trusted_root.json`.
    pub(super) fn trusted_root(&self) -> Value {
        let log = |key: &EcdsaKey| {
            json!([{
                "baseUrl": "https://log.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64(&spki(key)),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": {"start": "2021-01-01T00:00:00Z"},
                },
                "logId": {"keyId": base64(&sha256(&[&spki(key)]))},
            }])
        };
        let chain = |certificates: &[Vec<u8>]| {
            let certificates: Vec<Value> =
                certificates.iter().map(|der| json!({"rawBytes": base64(der)})).collect();
            json!([{
                "subject": {"organization": "example", "commonName": "example"},
                "uri": "https://authority.example",
                "certChain": {"certificates": certificates},
                "validFor": {"start": "2021-01-01T00:00:00Z"},
            }])
        };
        let stamper_root = authority("stamper", &self.stamper_root);
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": log(&self.rekor),
            "certificateAuthorities": chain(&[authority("fulcio", &self.fulcio)]),
            "ctlogs": log(&self.certificate_log),
            "timestampAuthorities": chain(&[self.stamper_certificate(), stamper_root]),
        })
    }

    fn stamper_certificate(&self) -> Vec<u8> {
        let subject = Subject {
            name: name("stamper 1"),
            key: &self.stamper,
            not_before: Timestamp::from_unix_secs(1_600_000_000),
            lifetime_secs: 500_000_000,
            extensions: vec![extension("2.5.29.37", true, &seq(&[&oid(TIME_STAMPING)]))],
        };
        certify(&tbs(&subject, &name("stamper")), &self.stamper_root)
    }

    /// Issues a certificate, logged in the certificate log.
    fn certificate(&self, order: &Order) -> Vec<u8> {
        let (tag, text) = match &order.name {
            CertificateName::Email(text) => (0x81, text),
            CertificateName::Uri(text) => (0x86, text),
        };
        let issuer = tlv(0x0c, &[order.issuer.as_bytes()]);
        let mut subject = Subject {
            name: seq(&[]),
            key: &self.signer,
            not_before: order.issued_at,
            lifetime_secs: 600,
            extensions: vec![
                extension("2.5.29.37", false, &seq(&[&oid(order.usage)])),
                extension("2.5.29.17", true, &seq(&[&tlv(tag, &[text.as_bytes()])])),
                extension("1.3.6.1.4.1.57264.1.8", false, &issuer),
            ],
        };
        if order.with_sct {
            let sct = self.certificate_timestamp(&tbs(&subject, &name("fulcio")), order.issued_at);
            subject.extensions.push(extension(SCT_LIST, false, &octets(&sct)));
        }
        certify(&tbs(&subject, &name("fulcio")), &self.fulcio)
    }

    /// Returns a list of one signed certificate timestamp (RFC 6962, 3.2 and 3.3).
    fn certificate_timestamp(&self, tbs: &[u8], at: Timestamp) -> Vec<u8> {
        let at = (u64::try_from(at.unix_secs()).unwrap() * 1000).to_be_bytes();
        let issuer = sha256(&[&spki(&self.fulcio)]);
        let tbs_len = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let entry = [&[0, 0][..], &at, &[0, 1], &issuer, &tbs_len[1..], tbs, &[0, 0]].concat();
        let signature = sign(&self.certificate_log, &entry);
        let with_len =
            |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let log = sha256(&[&spki(&self.certificate_log)]);
        let sct = [&[0][..], &log, &at, &[0, 0, 4, 3], &with_len(&signature)].concat();
        with_len(&with_len(&sct))
    }

    /// Returns an RFC 3161 answer about `signature`.
    fn timestamp(&self, signature: &[u8], at: Timestamp) -> Vec<u8> {
        let sha256_id = seq(&[&oid(SHA256)]);
        let info = seq(&[
            &int(1),
            &oid("1.3.6.1.4.1.57264.2"),
            &seq(&[&sha256_id, &octets(&sha256(&[signature]))]),
            &int(7),
            &general_time(at),
        ]);
        let attribute = |name: &str, value: &[u8]| seq(&[&oid(name), &tlv(0x31, &[value])]);
        let attributes = [
            attribute("1.2.840.113549.1.9.3", &oid(TST_INFO)),
            attribute("1.2.840.113549.1.9.4", &octets(&sha256(&[&info]))),
        ]
        .concat();
        let signer = seq(&[
            &int(1),
            &seq(&[&name("stamper"), &int(1)]),
            &sha256_id,
            &tlv(0xa0, &[&attributes]),
            &seq(&[&oid(EC_SHA256)]),
            &octets(&sign(&self.stamper, &tlv(0x31, &[&attributes]))),
        ]);
        let signed_data = seq(&[
            &int(3),
            &tlv(0x31, &[&sha256_id]),
            &seq(&[&oid(TST_INFO), &context(0, &[&octets(&info)])]),
            &tlv(0x31, &[&signer]),
        ]);
        let token = seq(&[&oid("1.2.840.113549.1.7.2"), &context(0, &[&signed_data])]);
        seq(&[&seq(&[&int(0)]), &token])
    }

    /// Puts `body` into a log of two entries.
    fn log_entry(&self, kind: &str, version: &str, body: &Value, order: &Order) -> Value {
        let body = body.to_string();
        let key_id = sha256(&[&spki(&self.rekor)]);
        let other = sha256(&[&[0], b"another entry"]);
        let root = sha256(&[&[1], &other, &sha256(&[&[0], body.as_bytes()])]);
        let note = format!("log.example\n2\n{}\n", base64(&root));
        let signed = [&key_id[..4], &sign(&self.rekor, note.as_bytes())].concat();
        let checkpoint = format!("{note}\n\u{2014} log.example {}\n", base64(&signed));
        let log_index = if order.logged_at.is_some() { 1001 } else { 1 };
        let mut entry = json!({
            "logIndex": log_index.to_string(),
            "logId": {"keyId": base64(&key_id)},
            "kindVersion": {"kind": kind, "version": version},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": base64(&root),
                "treeSize": "2",
                "hashes": [base64(&other)],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": base64(body.as_bytes()),
        });
        if let Some(at) = order.logged_at {
            let promised = json!({
                "body": base64(body.as_bytes()),
                "integratedTime": at.unix_secs(),
                "logID": data_encoding::HEXLOWER.encode(&key_id),
                "logIndex": log_index,
            });
            let promise = sign(&self.rekor, promised.to_string().as_bytes());
            entry["integratedTime"] = json!(at.unix_secs().to_string());
            entry["inclusionPromise"] = json!({"signedEntryTimestamp": base64(&promise)});
        }
        entry
    }

    /// Signs `manifest` as `order` says and returns the bundle.
    pub(super) fn sign(&self, order: &Order, manifest: &[u8]) -> Value {
        let statement = encode_statement(&Digest::of(manifest), &std::iter::empty().collect());
        self.sign_statement(order, manifest, &statement)
    }

    /// Signs any statement, as a hostile program would.
    pub(super) fn sign_statement(&self, order: &Order, manifest: &[u8], statement: &[u8]) -> Value {
        let signed = if order.plain {
            manifest.to_vec()
        } else {
            pae("application/vnd.in-toto+json", statement)
        };
        let signature = sign(&self.signer, &signed);
        let certificate = self.certificate(order);
        let digest = sha256(&[&signed]);
        let hex = |bytes: &[u8]| json!({"algorithm": "sha256", "value": data_encoding::HEXLOWER.encode(bytes)});
        let (kind, version, spec) = match (order.logged_at, order.plain) {
            (None, _) => (
                "hashedrekord",
                "0.0.2",
                json!({"hashedRekordV002": {
                    "data": {"algorithm": "SHA2_256", "digest": base64(&digest)},
                    "signature": {"content": base64(&signature), "verifier": {
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "x509Certificate": {"rawBytes": base64(&certificate)},
                    }},
                }}),
            ),
            (Some(_), true) => (
                "hashedrekord",
                "0.0.1",
                json!({
                    "data": {"hash": hex(&digest)},
                    "signature": {"content": base64(&signature), "publicKey": {
                        "content": base64(pem(&certificate).as_bytes()),
                    }},
                }),
            ),
            (Some(_), false) => (
                "dsse",
                "0.0.1",
                json!({
                    "envelopeHash": hex(&digest),
                    "payloadHash": hex(&sha256(&[statement])),
                    "signatures": [{
                        "signature": base64(&signature),
                        "verifier": base64(pem(&certificate).as_bytes()),
                    }],
                }),
            ),
        };
        let body = json!({"apiVersion": version, "kind": kind, "spec": spec});
        let mut material = json!({
            "certificate": {"rawBytes": base64(&certificate)},
            "tlogEntries": [self.log_entry(kind, version, &body, order)],
        });
        if let Some(at) = order.stamped_at {
            let token = base64(&self.timestamp(&signature, at));
            material["timestampVerificationData"] =
                json!({"rfc3161Timestamps": [{"signedTimestamp": token}]});
        }
        let mut bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
        });
        if order.plain {
            bundle["messageSignature"] = json!({
                "messageDigest": {"algorithm": "SHA2_256", "digest": base64(&digest)},
                "signature": base64(&signature),
            });
        } else {
            bundle["dsseEnvelope"] = json!({
                "payload": base64(statement),
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": base64(&signature)}],
            });
        }
        bundle
    }
}
