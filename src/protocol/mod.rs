//! The wire format of the DockerComms protocol v1.0: bytes to types and back.
//!
//! Pure: no I/O, no clock, no randomness, no async, no logging. Every parser is total and bounded,
//! because every byte may come from a hostile registry. Rules are cited as `P7` from `README.md`
//! beside this file. Start at [`Message`]; the bounds are in [`limits`].
//!
//! **Invariant:** what parses here is consistent, never trusted. Only `trust` decides on trust.
#![warn(clippy::indexing_slicing, clippy::string_slice)]

mod address;
pub mod annotation;
mod bundle;
mod descriptor;
mod digest;
mod error;
mod file_name;
mod identity;
pub mod json;
pub mod limits;
mod manifest;
pub mod media_type;
mod message;
mod name_text;
mod receipt;
mod tag;
#[cfg(test)]
mod tests;
mod timestamp;

pub use address::{AddressPart, AddressProblem, address_inside, check_address, local_address};
pub use bundle::{PREDICATE_TYPE, encode_bundle_manifest, parse_bundle_manifest};
pub use descriptor::{Annotations, Descriptor, EMPTY_BYTES, annotations_from_json};
pub use digest::Digest;
pub use error::{ErrorClass, ProtocolError};
pub use file_name::FileName;
pub use identity::{Identity, RecipientTag};
pub use manifest::ImageManifest;
pub use media_type::Compression;
pub use message::{ChunkLayer, Envelope, Message, MessageId};
pub use receipt::{Receipt, ReceiptDraft, ReceiptStatus, clean_reason};
pub use tag::{SessionId, Tag, TagKind, TagRandom};
pub use timestamp::Timestamp;
