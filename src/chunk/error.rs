//! Why a payload cannot be cut, or a layer cannot be read.

use std::io;

use crate::protocol::ErrorClass;

/// Why a payload cannot be split into chunks, or chunks joined into a payload.
///
/// The text contains an index, a number or a short reason of ours; never bytes of a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The payload or chunk is larger than the protocol can carry (P10).
    #[error("payload is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The layer is not the one entry that was promised (P13). Fetching it again cannot help.
    #[error("layer of chunk {index} is not valid: {reason}")]
    BadLayer {
        /// The chunk's index.
        index: u32,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The source has more or fewer bytes than when its size was taken: it is being written to.
    #[error("source does not have the {expected} bytes it had at the start")]
    SourceChanged {
        /// The size that was promised, in bytes.
        expected: u64,
    },
    /// The caller gave a chunk twice, out of order, of a wrong length, or not at all (P8).
    #[error("chunk {index} does not fit into the payload: {reason}")]
    Misplaced {
        /// The chunk's index.
        index: u32,
        /// Why.
        reason: &'static str,
    },
    /// Reading the source failed.
    #[error("reading the payload failed")]
    Read(#[source] io::Error),
    /// Writing the joined payload failed.
    #[error("writing the payload failed")]
    Write(#[source] io::Error),
    /// The compressor failed, which can only be due to a lack of memory.
    #[error("compression failed")]
    Compressor(#[source] io::Error),
}

impl ChunkError {
    /// Returns the class that decides errno and exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::TooLarge { .. } => ErrorClass::TooLarge,
            Self::BadLayer { .. } => ErrorClass::Malformed,
            Self::SourceChanged { .. } => ErrorClass::Busy,
            Self::Write(source) => ErrorClass::of_io(source),
            Self::Misplaced { .. } | Self::Read(_) | Self::Compressor(_) => ErrorClass::Internal,
        }
    }
}
