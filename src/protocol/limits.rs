//! Every bound of the wire format, each with its reason.

/// Largest manifest in bytes. Registries refuse more (P14).
pub const MANIFEST_LEN_MAX: u64 = 4 << 20;

/// Largest bundle in bytes; a real one is below 16 KiB (P15).
pub const BUNDLE_LEN_MAX: u64 = 1 << 20;

/// Most bundle candidates checked for one manifest (P16).
pub const BUNDLE_CANDIDATE_COUNT_MAX: usize = 64;

/// Most chunks in a message: the manifest stays near 2 MiB (P10).
pub const CHUNK_COUNT_MAX: u32 = 10_000;

/// Largest uncompressed chunk in bytes that is accepted; the Go peer sends 100 MiB (P10).
pub const CHUNK_BYTES_MAX: u64 = 128 << 20;

/// Uncompressed chunk size that is sent, in bytes: a cold read of one byte costs one chunk (P10).
pub const CHUNK_BYTES_DEFAULT: u64 = 8 << 20;

/// Largest payload in bytes: the largest chunks, as many as a message can have.
pub const PAYLOAD_LEN_MAX: u64 = CHUNK_BYTES_MAX * CHUNK_COUNT_MAX as u64;

/// Longest identity and file name in bytes: one directory entry (P1, P7).
pub const NAME_LEN_MAX: usize = 255;

/// Default time to live in seconds: seven days (P6).
pub const TTL_SECS_DEFAULT: u64 = 604_800;

/// Longest time to live in seconds: ten years, so that date arithmetic cannot overflow.
pub const TTL_SECS_MAX: u64 = 10 * 366 * 86_400;

/// Tolerated difference between two clocks in seconds (P2, P6).
pub const CLOCK_SKEW_SECS: i64 = 300;

/// Time in seconds that a message may wait for its bundle (P18).
pub const BUNDLE_GRACE_SECS: i64 = 600;

/// Most annotations of one manifest.
pub const ANNOTATION_COUNT_MAX: usize = 1_000;

/// Longest annotation value in bytes.
pub const ANNOTATION_LEN_MAX: usize = 4_096;

/// Deepest nesting of a JSON document; ours need five levels.
pub const JSON_DEPTH_MAX: usize = 32;

/// Longest receipt reason kept, in printable ASCII characters.
pub const REASON_LEN_MAX: usize = 256;

/// Longest tag in characters, by the OCI distribution specification.
pub const TAG_LEN_MAX: usize = 128;

/// Returns the largest compressed layer that can hold a chunk of `chunk_bytes` bytes.
///
/// Compressors expand incompressible data by less than one part in 64; tar framing and frame
/// headers fit in 64 KiB. A descriptor that promises more is refused before anything is fetched.
pub const fn layer_len_max(chunk_bytes: u64) -> u64 {
    chunk_bytes.saturating_add(chunk_bytes / 64).saturating_add(64 << 10)
}
