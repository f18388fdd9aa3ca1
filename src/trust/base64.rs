//! The one base64 form that is written and read: standard alphabet, padded, one text for some bytes.

use data_encoding::{BASE64, BASE64_NOPAD};

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Encodes without padding, for fingerprints, which are never decoded.
pub(super) fn encode_unpadded(bytes: &[u8]) -> String {
    BASE64_NOPAD.encode(bytes)
}

/// Decodes what [`encode`] has written: no space, no stray bits, no padding but at the end.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    // The decoder takes several padded texts in a row; then two texts would stand for the same bytes.
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"A", "QQ=="),
            (b"AB", "QUI="),
            (b"ABC", "QUJD"),
            (b"\xfb\xff", "+/8="),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Some(bytes));
        }
        assert_eq!(encode_unpadded(b"A"), "QQ");
    }

    #[test]
    fn any_other_text_for_the_same_bytes_is_refused() {
        for text in [
            "QQ",       // no padding
            "QQ=",      // half of it
            "QR==",     // stray bits
            "QQ==\n",   // a line's end
            " QQ==",    // a space
            "QQ==QQ==", // two texts in a row
            "QUI=QUJD", // padding in the middle
            "QQ======", // more padding than a block has
            "====",     // nothing but padding
            "-_8=",     // the alphabet for URLs
            "Q\u{430}==",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
