//! The message: envelope, chunk map, and the manifest that carries both.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use super::annotation as key;
use super::descriptor::{Annotations, Descriptor};
use super::digest::Digest;
use super::error::ProtocolError;
use super::identity::Identity;
use super::limits::{
    ANNOTATION_LEN_MAX, CHUNK_BYTES_MAX, CHUNK_COUNT_MAX, CLOCK_SKEW_SECS, PAYLOAD_LEN_MAX,
    TTL_SECS_MAX, layer_len_max,
};
use super::manifest::ImageManifest;
use super::media_type::{self, Compression};
use super::timestamp::Timestamp;

/// The UUID of a message; written as UUIDv4 in lower case (P4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(uuid::Uuid);

impl MessageId {
    /// Wraps a UUID; the caller draws it.
    pub const fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(uuid)
    }

    /// Returns the specification's `mid8`.
    pub fn mid8(&self) -> String {
        self.0.simple().to_string().chars().take(8).collect()
    }
}

impl FromStr for MessageId {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hyphenated = text.len() == 36;
        uuid::Uuid::parse_str(text)
            .ok()
            .filter(|_| hyphenated)
            .map(Self)
            .ok_or(ProtocolError::bad(key::MESSAGE_ID, "not a UUID"))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The required annotations, the same in a message, its receipts and its bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Who claims to have sent it (P19).
    pub sender: Identity,
    /// To whom it is addressed (P26).
    pub recipient: Identity,
    /// When the manifest was built (P2).
    pub created_at: Timestamp,
    /// Time to live in seconds; 0 = never expires (P6).
    pub ttl_secs: u64,
    /// The file's name as the peer wrote it: any text, never a path. See `FileName::sanitize`.
    pub filename: String,
    /// Payload size in bytes (P8).
    pub total_bytes: u64,
    /// Uncompressed size of every chunk but the last, in bytes (P9).
    pub chunk_bytes: u64,
    /// Number of chunks; 0 only for the Go peer's empty files (P11).
    pub chunk_count: u32,
    /// How the layers are compressed (P12).
    pub compression: Compression,
}

impl Envelope {
    /// Writes the ten required annotations.
    pub fn to_annotations(&self) -> Annotations {
        [
            (key::VERSION, key::VERSION_VALUE.to_owned()),
            (key::SENDER, self.sender.as_str().to_owned()),
            (key::RECIPIENT, self.recipient.as_str().to_owned()),
            (key::CREATED_AT, self.created_at.to_string()),
            (key::TTL_SECONDS, self.ttl_secs.to_string()),
            (key::FILENAME, self.filename.clone()),
            (key::TOTAL_BYTES, self.total_bytes.to_string()),
            (key::CHUNK_BYTES, self.chunk_bytes.to_string()),
            (key::CHUNK_COUNT, self.chunk_count.to_string()),
            (key::COMPRESSION, self.compression.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// Reads the ten required annotations and checks that the sizes are consistent (P8, P9, P11).
    ///
    /// # Errors
    /// When one is missing, malformed, or contradicts another.
    pub fn from_annotations(annotations: &Annotations) -> Result<Self, ProtocolError> {
        key::require_version(annotations)?;
        let name = |field: &'static str| -> Result<Identity, ProtocolError> {
            key::require(annotations, field)?
                .parse()
                .map_err(|_source| ProtocolError::bad(field, "not an identity"))
        };
        let chunk_count = key::require_number(annotations, key::CHUNK_COUNT, u64::MAX)?;
        let envelope = Self {
            sender: name(key::SENDER)?,
            recipient: name(key::RECIPIENT)?,
            created_at: key::require(annotations, key::CREATED_AT)?.parse()?,
            ttl_secs: key::require_number(annotations, key::TTL_SECONDS, TTL_SECS_MAX)?,
            filename: key::require(annotations, key::FILENAME)?.to_owned(),
            total_bytes: key::require_number(annotations, key::TOTAL_BYTES, PAYLOAD_LEN_MAX)?,
            chunk_bytes: key::require_number(annotations, key::CHUNK_BYTES, CHUNK_BYTES_MAX)?,
            chunk_count: u32::try_from(chunk_count)
                .ok()
                .filter(|count| *count <= CHUNK_COUNT_MAX)
                .ok_or(ProtocolError::BadChunkMap { reason: "too many chunks" })?,
            compression: key::require(annotations, key::COMPRESSION)?.parse()?,
        };
        envelope.check_sizes()?;
        Ok(envelope)
    }

    fn check_sizes(&self) -> Result<(), ProtocolError> {
        let bad = |reason| Err(ProtocolError::BadChunkMap { reason });
        match (self.total_bytes, self.chunk_count) {
            (0, 0 | 1) => Ok(()),
            (_, 0) => bad("no chunks for a payload that is not empty"),
            (0, _) => bad("several chunks for an empty payload"),
            (total, 1) if self.chunk_bytes >= total => Ok(()),
            (total, count) => {
                if self.chunk_bytes == 0 {
                    return bad("chunks of no size");
                }
                if total.div_ceil(self.chunk_bytes) != u64::from(count) {
                    return bad("chunk_count does not follow from total_bytes and chunk_bytes");
                }
                Ok(())
            }
        }
    }

    /// Returns the uncompressed length in bytes of chunk `index`, which must exist.
    pub fn chunk_len(&self, index: u32) -> u64 {
        let start = u64::from(index).saturating_mul(self.chunk_bytes);
        self.total_bytes.saturating_sub(start).min(self.chunk_bytes)
    }

    /// Returns when the receiver stops listing the message; `None` = never (P6).
    pub fn expires_at(&self) -> Option<Timestamp> {
        let ttl = i64::try_from(self.ttl_secs).unwrap_or(i64::MAX);
        let grace = ttl.saturating_add(CLOCK_SKEW_SECS);
        (self.ttl_secs > 0).then(|| self.created_at.saturating_add_secs(grace))
    }

    /// Returns whether the message has expired at `now` (P6).
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|end| now >= end)
    }

    /// Returns whether `created_at` is further in the future than the tolerated skew (P2).
    pub fn is_from_future(&self, now: Timestamp) -> bool {
        self.created_at > now.saturating_add_secs(CLOCK_SKEW_SECS)
    }
}

/// One compressed chunk as a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkLayer {
    /// Digest of the compressed layer.
    pub digest: Digest,
    /// Size of the compressed layer in bytes.
    pub size: u64,
}

/// A message manifest whose fields are all consistent. Parsed is not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message's UUID (P4).
    pub id: MessageId,
    /// The required annotations.
    pub envelope: Envelope,
    /// The layers, ordered by chunk index (P13).
    pub chunks: Vec<ChunkLayer>,
    /// Our own `dockercomms.x.*` annotations (P28).
    pub extensions: Annotations,
}

impl Message {
    /// Parses and cross-checks the bytes of a message manifest (P7-P14).
    ///
    /// # Errors
    /// When any rule is broken; the manifest may be hostile.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let manifest = ImageManifest::parse(bytes)?;
        if manifest.artifact_type.as_deref() != Some(media_type::MESSAGE) {
            return Err(ProtocolError::WrongArtifact { expected: "message" });
        }
        manifest.require_empty_config()?;
        let envelope = Envelope::from_annotations(&manifest.annotations)?;
        let chunks = chunk_map(&envelope, &manifest.layers)?;
        let extensions = manifest
            .annotations
            .iter()
            .filter(|(name, _)| name.starts_with(key::EXTENSION_PREFIX))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let id = key::require(&manifest.annotations, key::MESSAGE_ID)?.parse()?;
        Ok(Self { id, envelope, chunks, extensions })
    }

    /// Returns the canonical manifest (P14); its digest is the message's identity (P25).
    ///
    /// # Errors
    /// When the bytes would be refused, or read as another message: we never emit those.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        self.envelope.check_sizes()?;
        if self.envelope.filename.len() > ANNOTATION_LEN_MAX {
            return Err(ProtocolError::bad(key::FILENAME, "too long"));
        }
        let mut annotations = self.envelope.to_annotations();
        annotations.insert(key::MESSAGE_ID.to_owned(), self.id.to_string());
        annotations.extend(self.extensions.clone());
        let media_type = self.envelope.compression.layer_media_type();
        let layers = self
            .chunks
            .iter()
            .enumerate()
            .map(|(index, chunk)| Descriptor {
                annotations: [(key::CHUNK_INDEX.to_owned(), index.to_string())].into(),
                ..Descriptor::new(media_type, chunk.digest, chunk.size)
            })
            .collect();
        let bytes = ImageManifest {
            artifact_type: Some(media_type::MESSAGE.to_owned()),
            config: Descriptor::empty(),
            layers,
            subject: None,
            annotations,
        }
        .encode();
        // An extension named like a required annotation would have replaced it.
        if Self::parse(&bytes)? != *self {
            return Err(ProtocolError::bad("annotations", "extension is not dockercomms.x.*"));
        }
        Ok(bytes)
    }
}

/// Orders the layers by index and checks that each index occurs exactly once (P13).
fn chunk_map(envelope: &Envelope, layers: &[Descriptor]) -> Result<Vec<ChunkLayer>, ProtocolError> {
    let bad = |reason| ProtocolError::BadChunkMap { reason };
    if layers.len() != envelope.chunk_count as usize {
        return Err(bad("number of layers is not chunk_count"));
    }
    let mut slots: Vec<Option<ChunkLayer>> = vec![None; layers.len()];
    for layer in layers {
        if layer.media_type != envelope.compression.layer_media_type() {
            return Err(ProtocolError::bad("layers", "media type does not match compression"));
        }
        let index = layer
            .annotations
            .get(key::CHUNK_INDEX)
            .and_then(|text| key::canonical_decimal(text))
            .and_then(|index| usize::try_from(index).ok())
            .ok_or_else(|| bad("a layer has no valid chunk index"))?;
        let slot = slots.get_mut(index).ok_or_else(|| bad("a chunk index is out of range"))?;
        if slot.is_some() {
            return Err(bad("a chunk index occurs twice"));
        }
        let chunk_len = envelope.chunk_len(u32::try_from(index).unwrap_or(u32::MAX));
        if layer.size == 0 || layer.size > layer_len_max(chunk_len) {
            return Err(bad("a layer has an impossible size for its chunk"));
        }
        *slot = Some(ChunkLayer { digest: layer.digest, size: layer.size });
    }
    // The entry inside a layer carries its index, so one blob cannot be two chunks.
    let distinct: HashSet<Digest> = layers.iter().map(|layer| layer.digest).collect();
    if distinct.len() != layers.len() {
        return Err(bad("one layer is used for two chunks"));
    }
    slots.into_iter().collect::<Option<_>>().ok_or_else(|| bad("a chunk is missing"))
}
