//! Signing keys and public keys: make, read, write, sign, verify.

use std::fmt;

use ed25519_dalek::Signer as _;
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    LineEnding,
};
use sha2::{Digest as _, Sha256, Sha512};

use super::base64;
use super::error::{TrustError, check_len};
use super::limits::KEY_TEXT_LEN_MAX;

/// The two kinds of key that messages are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256, the default: every tool of the Sigstore family accepts it.
    EcdsaP256,
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// A private key. Its bytes are wiped when it is dropped and never printed.
pub struct SigningKey(Secret);

enum Secret {
    EcdsaP256(Box<p256::ecdsa::SigningKey>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl Secret {
    fn to_pem(&self) -> Zeroizing<String> {
        match self {
            Self::EcdsaP256(key) => key.to_pkcs8_pem(LineEnding::LF),
            // Without the public key, which older OpenSSL refuses (RFC 5958 version 2).
            Self::Ed25519(key) => {
                ed25519_dalek::pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None }
                    .to_pkcs8_pem(LineEnding::LF)
            }
        }
        .expect("a valid key of a fixed size always has a PKCS#8 form")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm(), self.public_key().fingerprint())
    }
}

impl SigningKey {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`TrustError::NoRandomness`].
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, TrustError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        loop {
            getrandom::fill(seed.as_mut()).map_err(|_source| TrustError::NoRandomness)?;
            match algorithm {
                KeyAlgorithm::Ed25519 => {
                    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
                    return Ok(Self(Secret::Ed25519(Box::new(key))));
                }
                // One seed in 2^32 is not a scalar of the curve; the next one will be.
                KeyAlgorithm::EcdsaP256 => {
                    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(seed.as_ref()) {
                        return Ok(Self(Secret::EcdsaP256(Box::new(key))));
                    }
                }
            }
        }
    }

    /// Reads an unencrypted PKCS#8 private key in PEM.
    ///
    /// # Errors
    /// [`TrustError::KeyEncrypted`] for a passphrase-protected one (cosign's are), and
    /// [`TrustError::KeyUnsupported`] for RSA and other curves.
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        let bad = |reason| TrustError::key("private key", reason);
        check_len("private key", pem, KEY_TEXT_LEN_MAX)?;
        let pem = pem.trim_start();
        let label = pem.lines().next().unwrap_or_default().trim_end();
        match label {
            "-----BEGIN PRIVATE KEY-----" => {}
            _ if label.starts_with("-----BEGIN ENCRYPTED ") => {
                return Err(TrustError::KeyEncrypted);
            }
            "-----BEGIN EC PRIVATE KEY-----" => {
                return Err(bad("SEC1 form; convert it with `openssl pkcs8 -topk8 -nocrypt`"));
            }
            "-----BEGIN PUBLIC KEY-----" => return Err(bad("it is a public key")),
            _ => return Err(bad("not a PEM of a PKCS#8 private key")),
        }
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self(Secret::EcdsaP256(Box::new(key))));
        }
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self(Secret::Ed25519(Box::new(key))));
        }
        match p256::pkcs8::SecretDocument::from_pem(pem) {
            Ok(_) => Err(TrustError::KeyUnsupported),
            Err(_) => Err(bad("damaged PEM")),
        }
    }

    /// Returns the unencrypted PKCS#8 private key in PEM; the text is wiped when dropped.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pem()
    }

    /// Returns the public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(match &self.0 {
            Secret::EcdsaP256(key) => Verifying::EcdsaP256(*key.verifying_key()),
            Secret::Ed25519(key) => Verifying::Ed25519(key.verifying_key()),
        })
    }

    /// Returns the kind of key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.public_key().algorithm()
    }

    /// Signs `bytes`, always with the same signature (RFC 6979, RFC 8032): a retry changes nothing.
    pub(super) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.0 {
            Secret::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(bytes);
                signature.to_der().as_bytes().to_vec()
            }
            Secret::Ed25519(key) => key.sign(bytes).to_vec(),
        }
    }
}

/// A public key; equal keys are the same key however their files were written.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Verifying);

#[derive(Clone, PartialEq, Eq)]
enum Verifying {
    EcdsaP256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl PublicKey {
    /// Reads a public key in PEM (X.509 SPKI), as `cosign` and `openssl` write it.
    ///
    /// # Errors
    /// When it is not such a PEM, or the key is neither P-256 nor Ed25519.
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        let bad = |reason| TrustError::key("public key", reason);
        check_len("public key", pem, KEY_TEXT_LEN_MAX)?;
        let pem = pem.trim_start();
        let label = pem.lines().next().unwrap_or_default().trim_end();
        if label.contains("PRIVATE KEY") {
            return Err(bad("it is a private key; never share it"));
        }
        if label != "-----BEGIN PUBLIC KEY-----" {
            return Err(bad("not a PEM of a public key"));
        }
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(pem) {
            return Ok(Self(Verifying::EcdsaP256(key)));
        }
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(pem) {
            // Anyone can sign for a point of small order.
            if key.is_weak() {
                return Err(bad("a weak Ed25519 point"));
            }
            return Ok(Self(Verifying::Ed25519(key)));
        }
        match p256::pkcs8::Document::from_pem(pem) {
            Ok(_) => Err(TrustError::KeyUnsupported),
            Err(_) => Err(bad("damaged PEM")),
        }
    }

    /// Returns the key in PEM, as `cosign` and `openssl` write it.
    pub fn to_pem(&self) -> String {
        // Lines of 64 characters, as every tool writes them.
        let encoded = base64::encode(&self.to_spki_der());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for (at, c) in encoded.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(c);
        }
        pem.push_str("\n-----END PUBLIC KEY-----\n");
        pem
    }

    /// Returns the kind of key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.0 {
            Verifying::EcdsaP256(_) => KeyAlgorithm::EcdsaP256,
            Verifying::Ed25519(_) => KeyAlgorithm::Ed25519,
        }
    }

    /// Returns the text that two people compare: `SHA256:` and the unpadded base64 of the key's
    /// SHA-256.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", base64::encode_unpadded(&Sha256::digest(self.to_spki_der())))
    }

    /// Returns the hint that bundles carry: the padded base64 of the key's SHA-256.
    pub fn hint(&self) -> String {
        base64::encode(&Sha256::digest(self.to_spki_der()))
    }

    fn to_spki_der(&self) -> Vec<u8> {
        match &self.0 {
            Verifying::EcdsaP256(key) => key.to_public_key_der(),
            Verifying::Ed25519(key) => key.to_public_key_der(),
        }
        .expect("a valid key of a fixed size always has a DER form")
        .into_vec()
    }

    /// Returns whether `signature` is this key's over `bytes`.
    ///
    /// An Ed25519 key may have signed the bytes or their SHA-512 (Ed25519ph, as cosign does); the
    /// two cannot be confused, since RFC 8032 separates their domains.
    pub(super) fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Verifying::EcdsaP256(key) => {
                use p256::ecdsa::signature::Verifier as _;
                p256::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify(bytes, &signature).is_ok())
            }
            Verifying::Ed25519(key) => {
                ed25519_dalek::Signature::from_slice(signature).is_ok_and(|signature| {
                    key.verify_strict(bytes, &signature).is_ok()
                        || key
                            .verify_prehashed_strict(
                                Sha512::new().chain_update(bytes),
                                None,
                                &signature,
                            )
                            .is_ok()
                })
            }
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}
