//! What is true of every message: encode and parse are inverse, and nothing panics.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::manifest;
use crate::protocol::limits::{CHUNK_BYTES_MAX, NAME_LEN_MAX, TTL_SECS_MAX, layer_len_max};
use crate::protocol::{
    ChunkLayer, Compression, Descriptor, Digest, Envelope, Identity, ImageManifest, Message,
    MessageId, Receipt, Timestamp, media_type, parse_bundle_manifest,
};

fn identity() -> impl Strategy<Value = Identity> {
    "\\PC{1,60}".prop_filter_map("too long", |text| {
        (text.len() <= NAME_LEN_MAX).then(|| text.parse().unwrap())
    })
}

/// Total, chunk size and count that are consistent.
fn sizes() -> impl Strategy<Value = (u64, u64, u32)> {
    let several =
        (2_u32..20, 1..=CHUNK_BYTES_MAX, any::<Index>()).prop_map(|(count, chunk, last)| {
            let last = 1 + last.index(usize::try_from(chunk).unwrap()) as u64;
            (u64::from(count - 1) * chunk + last, chunk, count)
        });
    prop_oneof![
        4 => several,
        1 => (0..=CHUNK_BYTES_MAX).prop_map(|total| (total, total, 1)),
        1 => (0..=CHUNK_BYTES_MAX).prop_map(|total| (total, CHUNK_BYTES_MAX, 1)),
        1 => Just((0, 0, 0)),
    ]
}

prop_compose! {
    fn envelope()(
        sender in identity(),
        recipient in identity(),
        created_at in 0_i64..=253_402_300_799,
        ttl_secs in 0..=TTL_SECS_MAX,
        filename in any::<String>(),
        (total_bytes, chunk_bytes, chunk_count) in sizes(),
        zstd in any::<bool>(),
    ) -> Envelope {
        Envelope {
            sender,
            recipient,
            created_at: Timestamp::from_unix_secs(created_at),
            ttl_secs,
            filename,
            total_bytes,
            chunk_bytes,
            chunk_count,
            compression: if zstd { Compression::Zstd } else { Compression::Gzip },
        }
    }
}

prop_compose! {
    fn message()(
        envelope in envelope(),
        id in any::<u128>(),
        seeds in vec((any::<[u8; 32]>(), any::<u64>()), 20),
        extensions in btree_map("dockercomms\\.x\\.[a-z]{1,8}", any::<String>(), 0..3),
    ) -> Message {
        let chunks = (0..envelope.chunk_count).zip(seeds).map(|(index, (digest, size))| ChunkLayer {
            digest: Digest::from_bytes(digest),
            size: 1 + size % layer_len_max(envelope.chunk_len(index)),
        });
        Message {
            id: MessageId::from_uuid(uuid::Uuid::from_u128(id)),
            chunks: chunks.collect(),
            envelope: envelope.clone(),
            extensions,
        }
    }
}

/// Any JSON value, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9]{1,12}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-zA-Z]{1,9}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// Returns how many values are inside `value`, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum::<usize>(),
        Value::Object(object) => object.values().map(count).sum(),
        _ => 0,
    }
}

/// Replaces the `nth` value inside `value`, counted from the outermost, which is 0.
fn replace(value: &mut Value, nth: &mut usize, with: &Value) {
    if *nth == 0 {
        value.clone_from(with);
    }
    *nth = nth.wrapping_sub(1);
    match value {
        Value::Array(values) => values.iter_mut().for_each(|inner| replace(inner, nth, with)),
        Value::Object(object) => object.values_mut().for_each(|inner| replace(inner, nth, with)),
        _ => {}
    }
}

/// Gives the bytes to every parser; checks what must hold for a message that is accepted.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    Receipt::parse(bytes).ok();
    parse_bundle_manifest(bytes, &Digest::of(b"")).ok();
    let Ok(message) = Message::parse(bytes) else { return Ok(()) };
    let envelope = &message.envelope;
    prop_assert_eq!(message.chunks.len(), envelope.chunk_count as usize);
    let total: u64 = (0..envelope.chunk_count).map(|index| envelope.chunk_len(index)).sum();
    prop_assert_eq!(total, envelope.total_bytes);
    let again = message.encode().and_then(|bytes| Message::parse(&bytes));
    prop_assert_eq!(again, Ok(message));
    Ok(())
}

proptest! {
    #[test]
    fn a_message_reads_as_it_was_written(message in message()) {
        let bytes = message.encode().unwrap();

        let parsed = Message::parse(&bytes);

        prop_assert_eq!(parsed.as_ref(), Ok(&message));
        prop_assert_eq!(parsed.unwrap().encode().unwrap(), bytes);
    }

    #[test]
    fn a_manifest_reads_as_it_was_written(
        artifact_type in proptest::option::of(any::<String>()),
        blobs in vec(any::<Vec<u8>>(), 0..4),
        subject in proptest::option::of(any::<Vec<u8>>()),
        annotations in btree_map(any::<String>(), any::<String>(), 0..5),
    ) {
        let describe = |bytes: &Vec<u8>| Descriptor {
            annotations: annotations.clone(),
            ..Descriptor::of(media_type::EMPTY, bytes)
        };
        let manifest = ImageManifest {
            artifact_type,
            config: Descriptor::empty(),
            layers: blobs.iter().map(describe).collect(),
            subject: subject.as_ref().map(describe),
            annotations: annotations.clone(),
        };

        let bytes = manifest.encode();

        prop_assert_eq!(manifest.digest(), Digest::of(&bytes));
        prop_assert_eq!(ImageManifest::parse(&bytes), Ok(manifest));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>(), value in any_json()) {
        check(&bytes)?;
        check(value.to_string().as_bytes())?;
    }

    #[test]
    fn a_manifest_with_changed_bytes_is_refused_or_consistent(
        message in message(),
        changes in vec((any::<Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut bytes = message.encode().unwrap();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        check(&bytes)?;
    }

    #[test]
    fn a_manifest_with_changed_values_is_refused_or_consistent(
        at in any::<Index>(),
        value in any_json(),
    ) {
        let mut changed = manifest();
        let mut nth = at.index(count(&changed));

        replace(&mut changed, &mut nth, &value);

        check(changed.to_string().as_bytes())?;
    }

    #[test]
    fn a_manifest_with_changed_numbers_is_refused_or_consistent(
        total in 0_u64..12,
        chunk in 0_u64..12,
        count in 0_u32..5,
        indices in vec(0_u32..5, 0..5),
    ) {
        let indices: Vec<String> = indices.iter().map(ToString::to_string).collect();
        let indices: Vec<&str> = indices.iter().map(String::as_str).collect();
        let mut changed: Value =
            serde_json::from_slice(&super::chunked(total, chunk, &indices)).unwrap();
        changed["annotations"]["dockercomms.chunk_count"] = json!(count.to_string());

        check(changed.to_string().as_bytes())?;
    }
}
