//! Annotation keys, and exact reading of their values.

use super::descriptor::Annotations;
use super::error::ProtocolError;

/// Protocol version, `1.0`.
pub const VERSION: &str = "dockercomms.version";
/// The signing identity's name; a claim (P19).
pub const SENDER: &str = "dockercomms.sender";
/// The recipient (P26).
pub const RECIPIENT: &str = "dockercomms.recipient";
/// When the manifest was built (P2).
pub const CREATED_AT: &str = "dockercomms.created_at";
/// Time to live in seconds; 0 = never expires (P6).
pub const TTL_SECONDS: &str = "dockercomms.ttl_seconds";
/// Basename of the file (P7).
pub const FILENAME: &str = "dockercomms.filename";
/// Payload size in bytes (P8).
pub const TOTAL_BYTES: &str = "dockercomms.total_bytes";
/// Uncompressed bytes of every chunk but the last (P9).
pub const CHUNK_BYTES: &str = "dockercomms.chunk_bytes";
/// Number of chunks.
pub const CHUNK_COUNT: &str = "dockercomms.chunk_count";
/// `zstd` or `gzip` (P12).
pub const COMPRESSION: &str = "dockercomms.compression";
/// UUIDv4 of a message (P4).
pub const MESSAGE_ID: &str = "dockercomms.message.id";
/// Index of a chunk, on its layer descriptor (P13).
pub const CHUNK_INDEX: &str = "dockercomms.chunk.index";
/// Full digest of the message that a receipt is for.
pub const RECEIPT_FOR: &str = "dockercomms.receipt.for";
/// `accepted` or `rejected`.
pub const RECEIPT_STATUS: &str = "dockercomms.receipt.status";
/// `true` only after everything was checked (P21).
pub const RECEIPT_VERIFIED: &str = "dockercomms.receipt.verified";
/// Why, optional.
pub const RECEIPT_REASON: &str = "dockercomms.receipt.reason";
/// Prefix of our own optional extensions (P28).
pub const EXTENSION_PREFIX: &str = "dockercomms.x.";

/// The annotations that every artifact has, by the specification.
pub const REQUIRED: &[&str] = &[
    VERSION,
    SENDER,
    RECIPIENT,
    CREATED_AT,
    TTL_SECONDS,
    FILENAME,
    TOTAL_BYTES,
    CHUNK_BYTES,
    CHUNK_COUNT,
    COMPRESSION,
];

/// The version that we write.
pub const VERSION_VALUE: &str = "1.0";

/// Returns the value of `key`.
///
/// # Errors
/// [`ProtocolError::MissingField`] when there is none.
pub fn require<'a>(
    annotations: &'a Annotations,
    key: &'static str,
) -> Result<&'a str, ProtocolError> {
    annotations.get(key).map(String::as_str).ok_or(ProtocolError::missing(key))
}

/// Checks that the version is 1.x in canonical form (P14).
///
/// # Errors
/// When it is missing or another version.
pub fn require_version(annotations: &Annotations) -> Result<(), ProtocolError> {
    let minor = require(annotations, VERSION)?.strip_prefix("1.");
    match minor.and_then(canonical_decimal) {
        Some(_) => Ok(()),
        None => Err(ProtocolError::UnsupportedVersion),
    }
}

/// Reads a number in the only form that we write: decimal, no sign, no leading zero.
///
/// # Errors
/// When it is missing, in another form, or larger than `max`.
pub fn require_number(
    annotations: &Annotations,
    key: &'static str,
    max: u64,
) -> Result<u64, ProtocolError> {
    let number = canonical_decimal(require(annotations, key)?)
        .ok_or(ProtocolError::bad(key, "not a canonical decimal number"))?;
    if number > max {
        return Err(ProtocolError::bad(key, "larger than the protocol allows"));
    }
    Ok(number)
}

/// Reads `0` or a number without leading zeros; `None` for any other text.
pub fn canonical_decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_numbers_are_read() {
        assert_eq!(canonical_decimal("0"), Some(0));
        assert_eq!(canonical_decimal("18446744073709551615"), Some(u64::MAX));
        for text in [
            "",
            "00",
            "01",
            "-1",
            "+0",
            " 1",
            "1 ",
            "5e3",
            "0x0",
            "5000.0",
            "NaN",
            "a",
            "18446744073709551616",
            "\u{665}\u{660}",
        ] {
            assert_eq!(canonical_decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_version_one_is_accepted() {
        let check = |version: &str| {
            require_version(&Annotations::from([(VERSION.to_owned(), version.to_owned())]))
        };

        assert!(check("1.0").is_ok() && check("1.7").is_ok());
        for version in ["", "1", "2.0", "1.0 ", "1.", "1.x", "v1.0", "1.00"] {
            assert_eq!(check(version), Err(ProtocolError::UnsupportedVersion), "{version:?}");
        }
    }
}
