//! SHA-256 digests: parse, print, compute, compare.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::error::ProtocolError;

/// The SHA-256 digest of some bytes, printed as `sha256:<64 lower-case hex digits>`.
///
/// No other algorithm exists here, so a digest that parsed can always be checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Computes the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps 32 bytes that already are a SHA-256 digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 lower-case hex digits without `sha256:`.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Returns the specification's `hexDigest12`: the first 12 hex digits.
    pub fn hex12(&self) -> String {
        HEXLOWER.encode(&self.0[..6])
    }
}

impl FromStr for Digest {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |reason| ProtocolError::bad("digest", reason);
        let hex = text.strip_prefix("sha256:").ok_or_else(|| bad("not sha256"))?;
        let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_source| bad("not lower-case hex"))?;
        Ok(Self(bytes.try_into().map_err(|_source| bad("not 64 hex digits"))?))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_config_has_the_digest_of_the_specification() {
        let digest = Digest::of(b"{}");

        assert_eq!(
            digest.to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(digest.hex12(), "44136fa355b3");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn other_forms_of_a_digest_are_refused() {
        let good = Digest::of(b"x").hex();
        let cases = [
            good.clone(),
            format!("sha512:{good}"),
            format!("sha256:{}", good.to_uppercase()),
            format!("sha256:{}", good.chars().skip(1).collect::<String>()),
            format!("sha256:{good}?x=y"),
            "sha256:".into(),
            "sha256:../../etc/passwd".into(),
            String::new(),
        ];

        for case in cases {
            assert!(case.parse::<Digest>().is_err(), "{case}");
        }
    }
}
