//! What each target does with its bytes: one plain function for the fuzzer and for every test run.
//!
//! A function panics when an invariant breaks. "No panic" alone would find little in code without
//! `unsafe`: accepted input must have one meaning, and no output may exceed what was promised.

use std::sync::LazyLock;

use bytes::Bytes;
use dockercomms::chunk::{LayerEncoder, decode_layer};
use dockercomms::protocol::{
    Annotations, Compression, Digest, Envelope, FileName, Identity, ImageManifest, Message,
    Receipt, Tag, TagKind, Timestamp, parse_bundle_manifest,
};
use dockercomms::registry::rewrite_index;
use dockercomms::testing::parse_config;
use dockercomms::trust::{ContactCard, PublicKey, Role, SigningKey, TrustStore, verify_signature};

/// Largest payload that the layer target lets a layer promise, in bytes.
const CHUNK_LEN_MAX: u64 = 64 << 10;

/// Who signed the bundles of the corpus.
const SENDER: &str = "alice@example.com";

/// What the bundles of the corpus sign.
const MANIFEST: &[u8] = include_bytes!("../../src/trust/testdata/manifest.json");

/// A target's name and its body.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target, as `targets/` and `corpus/` name them.
pub(crate) const TARGETS: [Target; 8] = [
    ("annotations", annotations),
    ("bundle", bundle),
    ("config", config),
    ("layer", layer),
    ("layout_index", layout_index),
    ("manifest", manifest),
    ("tag", tag),
    ("trust_file", trust_file),
];

/// An image manifest, a message and a receipt: what is accepted survives being written again.
pub(crate) fn manifest(data: &[u8]) {
    if let Ok(parsed) = ImageManifest::parse(data) {
        let again = parsed.encode();
        let reparsed = ImageManifest::parse(&again).expect("our own manifest is one");
        assert_eq!(reparsed, parsed);
        assert_eq!(reparsed.encode(), again, "one manifest has one encoding");
    }
    if let Ok(message) = Message::parse(data) {
        let again = message.encode().expect("an accepted message can be encoded");
        assert_eq!(Message::parse(&again).expect("our own message is one"), message);
        let lens = (0..message.envelope.chunk_count).map(|index| message.envelope.chunk_len(index));
        assert_eq!(lens.sum::<u64>(), message.envelope.total_bytes);
        check_name(&message.envelope.filename);
    }
    if let Ok(receipt) = Receipt::parse(data) {
        assert_eq!(Message::parse(data).ok(), None, "a receipt is not a message");
        assert!(receipt.reason.is_none_or(|reason| !reason.chars().any(char::is_control)));
    }
    parse_bundle_manifest(data, &Digest::of(MANIFEST)).ok();
}

/// The required annotations, one in a line as `key=value`, and the names in them.
pub(crate) fn annotations(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let pairs: Annotations = lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if let Ok(envelope) = Envelope::from_annotations(&pairs) {
        let again = Envelope::from_annotations(&envelope.to_annotations());
        assert_eq!(again.expect("our own annotations are right"), envelope);
        check_identity(&envelope.sender);
        check_identity(&envelope.recipient);
    }
    for value in pairs.values() {
        check_name(value);
        if let Ok(identity) = value.parse() {
            check_identity(&identity);
        }
    }
    if let Ok(identity) = Identity::from_dir_name(&text) {
        check_identity(&identity);
    }
}

/// A tag: what it says about itself is a prefix of what it is.
pub(crate) fn tag(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(tag) = text.parse::<Tag>() else { return };
    assert_eq!(tag.as_str(), text);
    match TagKind::parse(&tag) {
        Ok(TagKind::Message(recipient)) => {
            assert!(text.starts_with(&Tag::message_prefix(&recipient)), "{text}");
        }
        Ok(TagKind::Receipt(digits)) => assert!(text.starts_with(&format!("receipt-{digits}-"))),
        Ok(TagKind::Bundle(digits)) => assert!(text.starts_with(&format!("bundle-{digits}-"))),
        Err(_) => {}
    }
}

/// A layer after four bytes that say how it is compressed, its index and its chunk's length.
pub(crate) fn layer(data: &[u8]) {
    let Some((&[kind, index, low, high], layer)) = data.split_first_chunk::<4>() else { return };
    let compression = if kind & 1 == 0 { Compression::Zstd } else { Compression::Gzip };
    let len = u64::from(u16::from_le_bytes([low, high])).min(CHUNK_LEN_MAX);
    let index = u32::from(index);
    let Ok(payload) = decode_layer(compression, index, len, layer) else { return };
    assert_eq!(payload.len() as u64, len, "exactly what was promised");
    let mut encoder = LayerEncoder::new(compression).expect("an encoder can be made");
    let ours = encoder.encode(index, &payload).expect("a small chunk");
    let again = decode_layer(compression, index, len, &ours.bytes).expect("our own layer is one");
    assert_eq!(again, payload);
    let other = decode_layer(compression, index + 1, len, layer);
    assert!(other.is_err(), "a layer belongs to one index");
}

/// A bundle: what proves one manifest proves no other, and nothing for another sender.
pub(crate) fn bundle(data: &[u8]) {
    static STORE: LazyLock<TrustStore> = LazyLock::new(|| {
        let p256 = SigningKey::from_pem(include_str!("../../src/trust/testdata/p256.key.pem"));
        let ed25519 = include_str!("../../src/trust/testdata/ed25519.pub.pem");
        let mut store = TrustStore::default();
        let identity: Identity = SENDER.parse().expect("an identity");
        for public_key in
            [p256.expect("a key").public_key(), PublicKey::from_pem(ed25519).expect("a public key")]
        {
            let rotations = Vec::new();
            let card = ContactCard { identity: identity.clone(), public_key, rotations };
            store.add_card(&card).expect("an empty store has room");
        }
        store
    });
    let bundles = [Bytes::copy_from_slice(data)];
    let verify = |manifest: &[u8], sender: &str| {
        let sender = sender.parse().expect("an identity");
        let now = Timestamp::from_unix_secs(1_790_000_000);
        verify_signature(&STORE, Role::Message, manifest, &sender, &bundles, now)
    };
    if verify(MANIFEST, SENDER).is_ok() {
        let mut other = MANIFEST.to_vec();
        other.push(b' ');
        assert!(verify(&other, SENDER).is_err(), "a bundle proves one manifest");
        assert!(verify(MANIFEST, "mallory@example.com").is_err(), "and one sender");
    }
}

/// `index.json` of a layout: written again it says the same.
pub(crate) fn layout_index(data: &[u8]) {
    if let Ok(again) = rewrite_index(data) {
        let third = rewrite_index(again.as_bytes()).expect("our own index is one");
        assert_eq!(third, again);
    }
}

/// The trust store: written again it trusts the same.
pub(crate) fn trust_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(store) = TrustStore::parse(text) {
        let again = store.encode();
        let reparsed = TrustStore::parse(&again).expect("our own store is one");
        assert_eq!(reparsed, store);
        assert_eq!(reparsed.version(), store.version());
    }
    if let Ok(card) = ContactCard::parse(text) {
        let again = ContactCard::parse(&card.encode()).expect("our own card is one");
        assert_eq!(again.public_key.fingerprint(), card.public_key.fingerprint());
        assert_eq!(again.identity, card.identity);
    }
}

/// The configuration: an error names a line that exists and shows no control characters.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(line) = parse_config(text) {
        assert!(line >= 1 && line <= text.split('\n').count(), "line {line} of {text:?}");
    }
}

/// A name from outside, made safe: one component, printable, short, and stable.
fn check_name(text: &str) {
    let name = FileName::sanitize(text);
    for name in [name.clone(), name.numbered(2), name.numbered(u32::MAX)] {
        let shown = name.as_str();
        assert!(!shown.is_empty() && shown.len() <= 255, "{shown:?}");
        assert!(!shown.contains('/') && shown != "." && shown != "..", "{shown:?}");
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert_eq!(FileName::sanitize(shown), name, "safe names stay as they are");
    }
}

/// An identity and its directory's name stand for each other.
fn check_identity(identity: &Identity) {
    let dir = identity.dir_name();
    assert!(!dir.contains('/') && dir != "." && dir != "..", "{dir:?}");
    assert!(!dir.chars().any(char::is_control), "{dir:?}");
    assert_eq!(&Identity::from_dir_name(&dir).expect("our own name is one"), identity);
}
