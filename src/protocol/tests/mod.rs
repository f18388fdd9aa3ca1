//! Tests of whole manifests; the ids are those of the hostile-manifest catalogue.

mod addresses;
mod bundles;
mod documents;
mod mapping;
mod messages;
mod receipts;
mod round_trips;

use serde_json::{Value, json};

use super::{Digest, Message, ProtocolError, annotation as key, media_type};

const ID: &str = "7f3c9a1e-1111-4222-8333-444444444444";

/// Returns a good message of one chunk of 5000 bytes, as the Go peer writes it.
fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "artifactType": media_type::MESSAGE,
        "config": {
            "mediaType": media_type::EMPTY,
            "digest": Digest::of(b"{}").to_string(),
            "size": 2,
        },
        "layers": [layer("0")],
        "annotations": {
            key::VERSION: "1.0",
            key::SENDER: "alice@example.com",
            key::RECIPIENT: "bob@example.com",
            key::CREATED_AT: "2026-09-21T14:13:20Z",
            key::TTL_SECONDS: "604800",
            key::FILENAME: "report.pdf",
            key::TOTAL_BYTES: "5000",
            key::CHUNK_BYTES: "5000",
            key::CHUNK_COUNT: "1",
            key::COMPRESSION: "zstd",
            key::MESSAGE_ID: ID,
        },
    })
}

fn layer(index: &str) -> Value {
    json!({
        "mediaType": media_type::CHUNK_ZSTD,
        "digest": Digest::of(index.as_bytes()).to_string(),
        "size": 2700,
        "annotations": { key::CHUNK_INDEX: index },
    })
}

/// Returns the good message with the member at the JSON pointer `at` set to `value`.
fn with(at: &str, value: Value) -> Vec<u8> {
    let mut manifest = manifest();
    set(&mut manifest, at, value);
    manifest.to_string().into_bytes()
}

fn set(manifest: &mut Value, at: &str, value: Value) {
    let (parent, name) = at.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    match parent {
        Value::Object(object) => drop(object.insert(name.to_owned(), value)),
        _ => parent[name.parse::<usize>().unwrap()] = value,
    }
}

/// Returns the good message with one annotation set.
fn annotated(key: &str, value: &str) -> Vec<u8> {
    with(&format!("/annotations/{key}"), json!(value))
}

/// Returns a message of `total` bytes in as many layers as `indices`.
fn chunked(total: u64, chunk: u64, indices: &[&str]) -> Vec<u8> {
    let mut manifest = manifest();
    let layers: Vec<Value> = indices.iter().map(|index| layer(index)).collect();
    let count = layers.len().to_string();
    set(&mut manifest, "/layers", json!(layers));
    set(&mut manifest, &format!("/annotations/{}", key::CHUNK_COUNT), json!(count));
    set(&mut manifest, &format!("/annotations/{}", key::TOTAL_BYTES), json!(total.to_string()));
    set(&mut manifest, &format!("/annotations/{}", key::CHUNK_BYTES), json!(chunk.to_string()));
    manifest.to_string().into_bytes()
}

#[track_caller]
fn assert_code<T>(id: &str, result: Result<T, ProtocolError>, code: &str) {
    match result {
        Err(error) => assert_eq!(error.code(), code, "{id}: {error}"),
        Ok(_) => panic!("{id}: accepted"),
    }
}

/// Asserts for each value of one annotation the code with which the message is refused.
#[track_caller]
fn assert_values_refused(id: &str, key: &str, code: &str, values: &[&str]) {
    for value in values {
        assert_code(&format!("{id} {value:?}"), Message::parse(&annotated(key, value)), code);
    }
}
