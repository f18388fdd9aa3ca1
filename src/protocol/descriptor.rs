//! OCI content descriptors.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::digest::Digest;
use super::error::ProtocolError;
use super::limits::{ANNOTATION_COUNT_MAX, ANNOTATION_LEN_MAX};
use super::media_type;

/// Annotations of a manifest or descriptor, in the canonical order.
pub type Annotations = BTreeMap<String, String>;

/// The two bytes of the OCI empty config and empty layer.
pub const EMPTY_BYTES: &[u8] = b"{}";

/// What a blob or manifest is: its media type, digest and size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The digest of the exact bytes.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// The descriptor's own annotations.
    pub annotations: Annotations,
    /// The artifact type, only in entries of an index.
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Describes `bytes` as `media_type`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Describes a blob whose digest and size are known.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: Annotations::new(),
            artifact_type: None,
        }
    }

    /// Returns the specification's empty config descriptor.
    pub fn empty() -> Self {
        Self::of(media_type::EMPTY, EMPTY_BYTES)
    }

    /// Returns the descriptor as JSON, members in canonical order.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("mediaType".into(), json!(self.media_type));
        object.insert("digest".into(), json!(self.digest.to_string()));
        object.insert("size".into(), json!(self.size));
        if !self.annotations.is_empty() {
            object.insert("annotations".into(), json!(self.annotations));
        }
        if let Some(artifact_type) = &self.artifact_type {
            object.insert("artifactType".into(), json!(artifact_type));
        }
        Value::Object(object)
    }

    /// Reads a descriptor; `field` names it in errors.
    ///
    /// # Errors
    /// `urls` are refused, since nothing may be fetched from another host. `data` is refused
    /// unless it is the empty document, since it would be a second, unhashed version.
    pub fn from_json(field: &'static str, value: &Value) -> Result<Self, ProtocolError> {
        let bad = |reason| ProtocolError::bad(field, reason);
        let object = value.as_object().ok_or_else(|| bad("not an object"))?;
        if object.contains_key("urls") {
            return Err(bad("has urls"));
        }
        let descriptor = Self {
            media_type: text(object, "mediaType").ok_or_else(|| bad("no mediaType"))?.to_owned(),
            digest: text(object, "digest").ok_or_else(|| bad("no digest"))?.parse()?,
            size: object
                .get("size")
                .and_then(Value::as_u64)
                .ok_or_else(|| bad("size is not a whole number"))?,
            annotations: annotations_from_json(object.get("annotations"))?,
            artifact_type: text(object, "artifactType").map(str::to_owned),
        };
        if let Some(data) = object.get("data") {
            let empty = Self::empty();
            let is_empty = data.as_str() == Some("e30=")
                && descriptor.digest == empty.digest
                && descriptor.size == empty.size;
            if !is_empty {
                return Err(bad("has embedded data"));
            }
        }
        Ok(descriptor)
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// Reads annotations; absent and `null` are empty.
///
/// # Errors
/// When a value is not a string, or there are more or longer ones than the limits allow.
pub fn annotations_from_json(value: Option<&Value>) -> Result<Annotations, ProtocolError> {
    let object = match value {
        None | Some(Value::Null) => return Ok(Annotations::new()),
        Some(Value::Object(object)) => object,
        Some(_) => return Err(ProtocolError::bad("annotations", "not an object")),
    };
    if object.len() > ANNOTATION_COUNT_MAX {
        return Err(ProtocolError::TooLarge {
            what: "annotations",
            limit: ANNOTATION_COUNT_MAX as u64,
        });
    }
    object
        .iter()
        .map(|(key, value)| match value {
            Value::String(text) if text.len() <= ANNOTATION_LEN_MAX => {
                Ok((key.clone(), text.clone()))
            }
            Value::String(_) => Err(ProtocolError::TooLarge {
                what: "annotation",
                limit: ANNOTATION_LEN_MAX as u64,
            }),
            _ => Err(ProtocolError::bad("annotations", "a value is not a string")),
        })
        .collect()
}
