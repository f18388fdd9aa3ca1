//! The image manifest that messages, receipts and bundles share: strict parsing, canonical bytes.

use serde_json::{Map, Value, json};

use super::descriptor::{Annotations, Descriptor, annotations_from_json};
use super::error::ProtocolError;
use super::json::parse_object;
use super::limits::{CHUNK_COUNT_MAX, MANIFEST_LEN_MAX};
use super::media_type;

/// An OCI image manifest in which every member has been checked for form, not for meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    /// The artifact type; foreign manifests may lack it.
    pub artifact_type: Option<String>,
    /// The config descriptor.
    pub config: Descriptor,
    /// The layers; absent and `null` are empty (P14).
    pub layers: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
    /// The annotations.
    pub annotations: Annotations,
}

impl ImageManifest {
    /// Parses the bytes of a manifest (P14).
    ///
    /// # Errors
    /// More than 4 MiB, not one JSON object, a duplicate key, another schema version or media
    /// type, or a document that is also an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let object = parse_object("manifest", bytes, MANIFEST_LEN_MAX)?;
        if object.contains_key("manifests") {
            return Err(ProtocolError::Ambiguous);
        }
        if object.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            return Err(ProtocolError::bad("schemaVersion", "not 2"));
        }
        match object.get("mediaType") {
            None => {}
            Some(Value::String(text)) if text == media_type::IMAGE_MANIFEST => {}
            Some(_) => return Err(ProtocolError::bad("mediaType", "not an image manifest")),
        }
        let artifact_type = match object.get("artifactType") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(ProtocolError::bad("artifactType", "not a string")),
        };
        let config = object.get("config").ok_or(ProtocolError::missing("config"))?;
        let layers = match object.get("layers") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(values)) if values.len() <= CHUNK_COUNT_MAX as usize => values
                .iter()
                .map(|value| Descriptor::from_json("layers", value))
                .collect::<Result<_, _>>()?,
            Some(Value::Array(_)) => {
                return Err(ProtocolError::BadChunkMap { reason: "too many layers" });
            }
            Some(_) => return Err(ProtocolError::bad("layers", "not a list")),
        };
        let subject = match object.get("subject") {
            None | Some(Value::Null) => None,
            Some(value) => Some(Descriptor::from_json("subject", value)?),
        };
        Ok(Self {
            artifact_type,
            config: Descriptor::from_json("config", config)?,
            layers,
            subject,
            annotations: annotations_from_json(object.get("annotations"))?,
        })
    }

    /// Returns the canonical bytes: compact JSON, members and annotations in a fixed order.
    ///
    /// Equal manifests have equal bytes and so equal digests, which makes a retry idempotent.
    pub fn encode(&self) -> Vec<u8> {
        let layers: Vec<Value> = self.layers.iter().map(Descriptor::to_json).collect();
        let mut object = Map::new();
        object.insert("schemaVersion".into(), json!(2));
        object.insert("mediaType".into(), json!(media_type::IMAGE_MANIFEST));
        if let Some(artifact_type) = &self.artifact_type {
            object.insert("artifactType".into(), json!(artifact_type));
        }
        object.insert("config".into(), self.config.to_json());
        object.insert("layers".into(), Value::Array(layers));
        if let Some(subject) = &self.subject {
            object.insert("subject".into(), subject.to_json());
        }
        object.insert("annotations".into(), json!(self.annotations));
        Value::Object(object).to_string().into_bytes()
    }

    /// Returns the digest of [`ImageManifest::encode`].
    #[cfg(test)]
    pub fn digest(&self) -> super::Digest {
        super::Digest::of(&self.encode())
    }

    pub(crate) fn require_empty_config(&self) -> Result<(), ProtocolError> {
        let empty = Descriptor::empty();
        let same = self.config.media_type == empty.media_type
            && self.config.digest == empty.digest
            && self.config.size == empty.size;
        if same { Ok(()) } else { Err(ProtocolError::bad("config", "not the OCI empty config")) }
    }
}
