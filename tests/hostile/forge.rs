//! Letters as an attacker writes them: any manifest, any layers, signed by anyone.
//!
//! The signature is made here from the protocol's text, with the curve alone, so that the tests do
//! not rely on the program's own signer.

use bytes::Bytes;
use dockercomms::chunk::LayerEncoder;
use dockercomms::protocol::{
    Annotations, ChunkLayer, Compression, Descriptor, Digest, EMPTY_BYTES, Envelope, Identity,
    ImageManifest, Message, MessageId, ReceiptDraft, ReceiptStatus, Tag, TagRandom, Timestamp,
    encode_bundle_manifest, media_type,
};
use dockercomms::sys::{Clock as _, SystemClock};
use dockercomms::trust::{ContactCard, KeyAlgorithm, SigningKey};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json};

use super::registry::Registry;

/// Bytes of a letter's chunks, unless it says otherwise.
pub(crate) const CHUNK: usize = 1000;

/// A person with a name and a key.
pub(crate) struct Author {
    pub(crate) name: Identity,
    key: SigningKey,
}

impl Author {
    pub(crate) fn new(name: &str) -> Self {
        let key = SigningKey::generate(KeyAlgorithm::EcdsaP256).expect("a key can be made");
        Self { name: name.parse().expect("a test's name is an identity"), key }
    }

    /// Returns what others trust.
    pub(crate) fn card(&self) -> String {
        let (identity, public_key) = (self.name.clone(), self.key.public_key());
        ContactCard { identity, public_key, rotations: Vec::new() }.encode()
    }

    /// Returns the name of the key.
    pub(crate) fn fingerprint(&self) -> String {
        self.key.public_key().fingerprint()
    }

    /// Signs a manifest as src/protocol/README.md "Signatures" says.
    pub(crate) fn bundle(&self, manifest: &[u8]) -> Vec<u8> {
        self.bundle_of(&statement(&[Digest::of(manifest)], "https://sigstore.dev/cosign/sign/v1"))
    }

    /// Signs any statement.
    pub(crate) fn bundle_of(&self, statement: &Value) -> Vec<u8> {
        let statement = statement.to_string();
        let payload_type = "application/vnd.in-toto+json";
        let encoded =
            format!("DSSEv1 {} {payload_type} {} {statement}", payload_type.len(), statement.len());
        let key = p256::ecdsa::SigningKey::from_pkcs8_pem(&self.key.to_pem()).expect("our key");
        let signature: p256::ecdsa::Signature = key.sign(encoded.as_bytes());
        json!({
            "mediaType": media_type::BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": self.key.public_key().hint() } },
            "dsseEnvelope": {
                "payload": data_encoding::BASE64.encode(statement.as_bytes()),
                "payloadType": payload_type,
                "signatures": [{ "sig": data_encoding::BASE64.encode(signature.to_der().as_bytes()) }],
            },
        })
        .to_string()
        .into_bytes()
    }
}

/// Returns an in-toto statement about some digests.
pub(crate) fn statement(subjects: &[Digest], predicate_type: &str) -> Value {
    let subject = |digest: &Digest| json!({ "name": "", "digest": { "sha256": digest.hex() } });
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": predicate_type,
        "predicate": {},
    })
}

/// A message before it is posted; correct until a test changes it.
#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) manifest: Value,
    pub(crate) layers: Vec<Vec<u8>>,
    raw: Option<Vec<u8>>,
}

/// Where a letter went.
pub(crate) struct Posted {
    pub(crate) digest: Digest,
    pub(crate) tag: String,
}

impl Letter {
    /// Writes a correct message in chunks of [`CHUNK`] bytes.
    pub(crate) fn new(from: &Author, to: &str, name: &str, content: &[u8]) -> Self {
        Self::with(from, to, name, content, Compression::Zstd)
    }

    pub(crate) fn with(
        from: &Author,
        to: &str,
        name: &str,
        content: &[u8],
        compression: Compression,
    ) -> Self {
        let mut encoder = LayerEncoder::new(compression).expect("memory for an encoder");
        let chunks: Vec<&[u8]> =
            if content.is_empty() { vec![b""] } else { content.chunks(CHUNK).collect() };
        let layers: Vec<Bytes> = (0..)
            .zip(&chunks)
            .map(|(index, chunk)| encoder.encode(index, chunk).expect("a small chunk").bytes)
            .collect();
        let chunk_bytes = if chunks.len() == 1 { content.len() } else { CHUNK };
        let message = Message {
            id: MessageId::from_uuid(uuid::Uuid::new_v4()),
            envelope: Envelope {
                sender: from.name.clone(),
                recipient: to.parse().expect("a test's name is an identity"),
                created_at: now().saturating_add_secs(-60),
                ttl_secs: 604_800,
                filename: name.to_owned(),
                total_bytes: content.len() as u64,
                chunk_bytes: chunk_bytes as u64,
                chunk_count: u32::try_from(chunks.len()).expect("few chunks"),
                compression,
            },
            chunks: layers
                .iter()
                .map(|layer| ChunkLayer { digest: Digest::of(layer), size: layer.len() as u64 })
                .collect(),
            extensions: Annotations::new(),
        };
        let bytes = message.encode().expect("a consistent message");
        Self {
            manifest: serde_json::from_slice(&bytes).expect("a manifest is JSON"),
            layers: layers.iter().map(|layer| layer.to_vec()).collect(),
            raw: None,
        }
    }

    /// Sets the member at a JSON pointer; `None` removes it.
    pub(crate) fn set(mut self, at: &str, value: impl Into<Option<Value>>) -> Self {
        let (parent, member) = at.rsplit_once('/').expect("a JSON pointer");
        let member = member.replace("~1", "/");
        match (self.manifest.pointer_mut(parent), value.into()) {
            (Some(Value::Object(object)), Some(value)) => drop(object.insert(member, value)),
            (Some(Value::Object(object)), None) => drop(object.remove(&member)),
            (Some(Value::Array(array)), value) => {
                let index: usize = member.parse().expect("an index");
                array.remove(index);
                array.splice(index..index, value);
            }
            _ => panic!("the manifest has no {parent}"),
        }
        self
    }

    /// Sets an annotation; `None` removes it.
    pub(crate) fn annotate<'a>(self, key: &str, value: impl Into<Option<&'a str>>) -> Self {
        self.set(&format!("/annotations/{key}"), value.into().map(|text| json!(text)))
    }

    /// Puts another layer in place of one, with the descriptor that fits it.
    pub(crate) fn layer(mut self, index: usize, bytes: Vec<u8>) -> Self {
        let descriptor = format!("/layers/{index}");
        let digest = Digest::of(&bytes).to_string();
        let size = bytes.len();
        if let Some(layer) = self.layers.get_mut(index) {
            *layer = bytes;
        }
        self.set(&format!("{descriptor}/digest"), json!(digest))
            .set(&format!("{descriptor}/size"), json!(size))
    }

    /// Puts these bytes in place of the whole manifest.
    pub(crate) fn raw(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.raw = Some(bytes.into());
        self
    }

    /// Returns the manifest's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.raw.clone().unwrap_or_else(|| self.manifest.to_string().into_bytes())
    }

    /// Returns the digest of the manifest.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.bytes())
    }

    /// Posts it to `to`, signed by `author`.
    pub(crate) fn post(&self, registry: &Registry, author: &Author, to: &str) -> Posted {
        attach(registry, &self.digest(), &author.bundle(&self.bytes()));
        self.post_unsigned(registry, to)
    }

    /// Posts it to `to` without any signature.
    pub(crate) fn post_unsigned(&self, registry: &Registry, to: &str) -> Posted {
        for layer in &self.layers {
            registry.put_blob(layer);
        }
        registry.put_blob(EMPTY_BYTES);
        let digest = self.digest();
        let tag = inbox_tag(to, &digest);
        registry.put_manifest(Some(&tag), &self.bytes());
        Posted { digest, tag }
    }
}

/// Attaches a bundle to a manifest, signed or not, about it or not.
pub(crate) fn attach(registry: &Registry, subject: &Digest, bundle: &[u8]) {
    registry.put_blob(EMPTY_BYTES);
    registry.put_blob(bundle);
    let subject_descriptor =
        Descriptor { digest: *subject, ..Descriptor::of(media_type::IMAGE_MANIFEST, b"") };
    let layer = Descriptor::of(media_type::BUNDLE, bundle);
    let manifest = encode_bundle_manifest(&subject_descriptor, &layer, &Annotations::new());
    let random = Digest::of(bundle).hex12();
    let random = random.get(..6).expect("twelve digits");
    let tag = format!("{}{}-{random}", Tag::bundle_prefix(subject), now().unix_secs());
    registry.put_manifest(Some(&tag), &manifest);
}

/// Posts an `accepted` receipt for a message, signed or not; `nth` distinguishes several.
pub(crate) fn post_receipt(registry: &Registry, message: &[u8], author: Option<&Author>, nth: u32) {
    let parsed = ImageManifest::parse(message).expect("a message");
    let receipt = ReceiptDraft {
        message: &Descriptor::of(media_type::IMAGE_MANIFEST, message),
        annotations: &parsed.annotations,
        status: ReceiptStatus::Accepted,
        verified: true,
        reason: None,
        created_at: now().saturating_add_secs(nth.into()),
        with_subject: true,
    }
    .encode();
    if let Some(author) = author {
        attach(registry, &Digest::of(&receipt), &author.bundle(&receipt));
    }
    registry.put_blob(EMPTY_BYTES);
    let tag = Tag::receipt(&Digest::of(message), now(), TagRandom::new(nth));
    registry.put_manifest(Some(tag.as_str()), &receipt);
}

/// Returns an inbox tag of `to` for a manifest.
pub(crate) fn inbox_tag(to: &str, manifest: &Digest) -> String {
    let to: Identity = to.parse().expect("a test's name is an identity");
    let prefix = Tag::message_prefix(&to.recipient_tag());
    let hex = manifest.hex12();
    let mid = hex.get(..8).expect("twelve digits");
    format!("{prefix}{}-00000000-{mid}", now().yyyymmdd())
}

/// Returns the time that the program sees too.
pub(crate) fn now() -> Timestamp {
    SystemClock.now().into()
}

/// Returns `len` bytes that do not repeat within a chunk.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_be_bytes()[0]
        })
        .collect()
}
