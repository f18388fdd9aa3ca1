//! The cases of the hostile-input catalogue (B..) that need no registry, and their fixtures.

mod certificate;
mod cosign;
mod der;
mod evidence;
mod key;
mod message;
mod mutation;
mod receipt;
mod rotation;
mod signature;
mod standin;
mod store;
mod vectors;

use bytes::Bytes;
use p256::elliptic_curve::zeroize::Zeroizing;

use super::*;
use crate::protocol::{
    ChunkLayer, Compression, Descriptor, Digest, Envelope, Identity, Message, MessageId,
    ReceiptDraft, ReceiptStatus, Timestamp, media_type,
};

/// When the fixtures were made.
fn created_at() -> Timestamp {
    Timestamp::from_unix_secs(1_790_000_000)
}

/// A minute later.
fn now() -> Timestamp {
    created_at().saturating_add_secs(60)
}

fn identity(name: &str) -> Identity {
    name.parse().unwrap()
}

fn envelope(sender: &str, recipient: &str) -> Envelope {
    Envelope {
        sender: identity(sender),
        recipient: identity(recipient),
        created_at: created_at(),
        ttl_secs: 604_800,
        filename: "report.pdf".into(),
        total_bytes: 5,
        chunk_bytes: 5,
        chunk_count: 1,
        compression: Compression::Zstd,
    }
}

fn manifest_of(envelope: Envelope) -> Bytes {
    let message = Message {
        id: "6f1d2c3b-4a59-4e87-9c10-2b3d4e5f6a7b".parse::<MessageId>().unwrap(),
        envelope,
        chunks: vec![ChunkLayer { digest: Digest::of(b"layer"), size: 100 }],
        extensions: std::iter::once(("dockercomms.x.note".to_owned(), "hi".to_owned())).collect(),
    };
    message.encode().unwrap().into()
}

/// A message from alice to bob.
fn manifest() -> Bytes {
    manifest_of(envelope("alice@example.com", "bob@example.com"))
}

/// A receipt for `message`, which `envelope` describes.
fn receipt_manifest(message: &Bytes, envelope: &Envelope) -> Bytes {
    let draft = ReceiptDraft {
        message: &Descriptor::of(media_type::IMAGE_MANIFEST, message),
        annotations: &envelope.to_annotations(),
        status: ReceiptStatus::Accepted,
        verified: true,
        reason: None,
        created_at: created_at().saturating_add_secs(30),
        with_subject: true,
    };
    draft.encode().into()
}

/// A fixed key, so that failures repeat.
fn key(seed: u8) -> SigningKey {
    SigningKey::from_pem(&private_pem(0x70, seed)).unwrap()
}

/// A PKCS#8 key of the algorithm 1.3.101.`oid_end`; 0x70 is Ed25519.
fn private_pem(oid_end: u8, seed: u8) -> String {
    let der = [
        &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, oid_end][..],
        &[0x04, 0x22, 0x04, 0x20],
        &[seed; 32],
    ]
    .concat();
    let body = base64::encode(&der);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

/// A fixed P-256 key.
fn p256_key() -> SigningKey {
    SigningKey::from_pem(include_str!("../testdata/p256.key.pem")).unwrap()
}

fn store_of(senders: &[(&str, &SigningKey)]) -> TrustStore {
    let mut store = TrustStore::default();
    for (name, key) in senders {
        let card = ContactCard {
            identity: identity(name),
            public_key: key.public_key(),
            rotations: Vec::new(),
        };
        store.add_card(&card).unwrap();
    }
    store
}

fn bundle(key: &SigningKey, manifest: &[u8]) -> Bytes {
    sign_manifest(key, manifest).unwrap().into()
}

fn pem_of(key: &SigningKey) -> Zeroizing<String> {
    key.to_pem()
}

/// Verifies `manifest` as a message from its claimed sender to bob.
fn verify(store: &TrustStore, manifest: &Bytes, bundles: &[Bytes]) -> Result<Signer, Refusal> {
    let message = UnverifiedMessage::parse(manifest.clone())?;
    verify_message(store, &[identity("bob@example.com")], message, bundles, now())
        .map(|verified| verified.signer().clone())
        .map_err(|refused| refused.refusal)
}
