//! Media types, artifact types and the compression of chunk layers.

use std::fmt;
use std::str::FromStr;

use super::error::ProtocolError;

/// The media type of every manifest of the protocol.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index; never followed from a tag, used for referrers.
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of the two bytes `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The artifact type of a message.
pub const MESSAGE: &str = "application/vnd.dockercomms.message.v1";
/// The artifact type of a receipt.
pub const RECEIPT: &str = "application/vnd.dockercomms.receipt.v1";
/// The artifact type and layer media type of a Sigstore bundle.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The prefix that every version of a Sigstore bundle's media type has (P15).
pub const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// A chunk layer, gzip.
pub const CHUNK_GZIP: &str = "application/vnd.dockercomms.chunk.v1.tar+gzip";
/// A chunk layer, zstd.
pub const CHUNK_ZSTD: &str = "application/vnd.dockercomms.chunk.v1.tar+zstd";

/// How a chunk layer is compressed (P12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Zstandard, the default.
    #[default]
    Zstd,
    /// Gzip, for peers that need it.
    Gzip,
}

impl Compression {
    /// Returns the value of `dockercomms.compression`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Returns the media type of a layer with this compression.
    pub const fn layer_media_type(self) -> &'static str {
        match self {
            Self::Zstd => CHUNK_ZSTD,
            Self::Gzip => CHUNK_GZIP,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "zstd" => Ok(Self::Zstd),
            "gzip" => Ok(Self::Gzip),
            _ => Err(ProtocolError::bad("dockercomms.compression", "neither zstd nor gzip")),
        }
    }
}
