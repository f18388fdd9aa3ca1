//! Verifies keyless bundles: a certificate, its log entry and its timestamps.
//!
//! The cryptography is `sigstore-verify`'s, which no other file names; `verify.rs` decides which
//! sender a certificate may speak for. Nothing is fetched: everything trusted comes from a
//! `trusted_root.json` that the caller passes in. Start at [`TrustedRoot::verify`].
//!
//! That crate reads the system clock, which nothing else in this module does: it refuses log
//! entries from the future.

use std::fmt;
use std::sync::Arc;

use sigstore_verify::types::{Bundle, SignatureContent};
use sigstore_verify::{
    CertificateError, Error, SubjectAltName, TransparencyLogError, VerificationPolicy,
    VerificationResult, Verifier, trust_root,
};

use super::bundle::SignedClaim;
use super::limits::TRUSTED_ROOT_LEN_MAX;
use super::policy::CertificateName;
use crate::protocol::limits::CLOCK_SKEW_SECS;
use crate::protocol::{Digest, Timestamp};
use crate::sys::Untrusted;

/// Prefix of the media types of every `trusted_root.json`.
const MEDIA_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.trustedroot";

/// The certificate authorities, logs and timestamp authorities of one Sigstore deployment.
#[derive(Clone)]
pub(super) struct TrustedRoot {
    digest: Digest,
    verifier: Arc<Verifier>,
}

impl PartialEq for TrustedRoot {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TrustedRoot {}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedRoot({})", self.digest)
    }
}

/// A certificate bundle as `sigstore-verify` reads it.
pub(super) struct KeylessBundle(Bundle);

/// Who signed, as certified by a deployment.
pub(super) struct Certified {
    /// The OIDC issuer that vouched for the name.
    pub(super) issuer: String,
    /// The certificate's subject.
    pub(super) name: CertificateName,
    /// When it was signed: every time that a log or a timestamp authority has signed.
    pub(super) times: Vec<Timestamp>,
}

/// Why nothing was certified.
pub(super) enum Doubt {
    /// The bundle is invalid.
    Bad(&'static str),
    /// It may be valid once this computer's clock has reached the time of its log entry.
    Future(Timestamp),
}

impl Certified {
    /// Describes the signer, safe on a terminal.
    pub(super) fn signer(&self) -> String {
        let (CertificateName::Email(name) | CertificateName::Uri(name)) = &self.name;
        format!("certificate {} from {}", Untrusted(name), Untrusted(&self.issuer))
    }
}

impl KeylessBundle {
    /// Reads a bundle whose form was checked and whose claim is `claim`.
    pub(super) fn parse(bytes: &[u8], claim: &SignedClaim) -> Result<Self, &'static str> {
        let bundle = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| Bundle::from_json(text).ok())
            .ok_or("the certificate, a log entry or a timestamp is malformed")?;
        // Two parsers have read it: what this one verifies must be what the other one checked.
        let same = match &bundle.content {
            SignatureContent::DsseEnvelope(envelope) => {
                envelope.pae() == claim.bytes
                    && envelope.signature.sig.as_bytes() == claim.signature
            }
            SignatureContent::MessageSignature(message) => {
                message.signature.as_bytes() == claim.signature
            }
            _ => false,
        };
        if same { Ok(Self(bundle)) } else { Err("the bundle can be read in two ways") }
    }

    fn doubt(&self, error: &Error, now: Timestamp) -> Doubt {
        let entries = &self.0.verification_material.tlog_entries;
        let logged_at = entries.iter().filter_map(|entry| entry.integrated_time).max();
        match (error, logged_at.map(|at| Timestamp::from_unix_secs(at.as_second()))) {
            (Error::TransparencyLog(TransparencyLogError::IntegratedTime(_)), Some(at))
                if at > now =>
            {
                Doubt::Future(at)
            }
            _ => Doubt::Bad(reason(error)),
        }
    }
}

impl TrustedRoot {
    /// Reads a `trusted_root.json`.
    ///
    /// One without a certificate authority, a certificate log or a transparency log is refused: it
    /// could not certify any signer, and is surely a mistake.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > TRUSTED_ROOT_LEN_MAX {
            return Err(format!("larger than {TRUSTED_ROOT_LEN_MAX} bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_source| "not UTF-8".to_owned())?;
        let root = trust_root::TrustedRoot::from_json(text).map_err(|error| shown(&error))?;
        if !root.media_type.starts_with(MEDIA_TYPE_PREFIX) {
            return Err("not a trusted root: unexpected mediaType".to_owned());
        }
        if root.certificate_authorities.is_empty()
            || root.ctlogs.is_empty()
            || root.tlogs.is_empty()
        {
            return Err("it lacks a certificate authority, a ctlog or a tlog".to_owned());
        }
        let verifier = Verifier::new(&root).map_err(|error| shown(&error))?;
        Ok(Self { digest: Digest::of(bytes), verifier: Arc::new(verifier) })
    }

    /// Returns the digest of the file's bytes.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Proves who signed `manifest`, whether trusted or not.
    ///
    /// The certificate must come from an authority of this root and be in its certificate log, the
    /// signature must be in its transparency log, and at least one of its authorities must state
    /// the time: each stated time must be within the certificate's validity.
    pub(super) fn verify(
        &self,
        bundle: &KeylessBundle,
        manifest: &[u8],
        now: Timestamp,
    ) -> Result<Certified, Doubt> {
        let policy = VerificationPolicy::any_identity();
        let result = self
            .verifier
            .verify(manifest, &bundle.0, &policy)
            .map_err(|error| bundle.doubt(&error, now))?;
        let certified = certified(&result).ok_or(Doubt::Bad("the certificate names no signer"))?;
        // The crate checks the times of logs only; a timestamp authority may err as well.
        let limit = now.saturating_add_secs(CLOCK_SKEW_SECS);
        match certified.times.iter().max() {
            Some(at) if *at > limit => Err(Doubt::Future(*at)),
            _ => Ok(certified),
        }
    }
}

/// Adopts what was verified; `None` unless all of it was.
fn certified(result: &VerificationResult) -> Option<Certified> {
    let name = match result.identity()? {
        SubjectAltName::Email(email) => CertificateName::Email(email.clone()),
        SubjectAltName::Uri(uri) => CertificateName::Uri(uri.clone()),
        _ => return None,
    };
    let issuer = result.issuer()?.to_owned();
    let times: Vec<_> = result
        .verified_timestamps()
        .iter()
        .map(|at| Timestamp::from_unix_secs(at.as_second()))
        .collect();
    // The policy promises this; should that ever change, no signer is trusted.
    let all = result.certificate_verified()
        && result.sct_verified()
        && result.tlog_verified()
        && !times.is_empty();
    all.then_some(Certified { issuer, name, times })
}

/// Describes why a bundle was refused; the crate's own text may quote the bundle.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::SignatureInvalid(_) => "the signature does not fit the certificate",
        Error::ArtifactMismatch(_) => "the signature or its log entry is about another manifest",
        Error::Certificate(CertificateError::Sct(_)) => {
            "no certificate log of the trusted root has signed the certificate"
        }
        Error::Certificate(_) => {
            "the certificate is not from an authority of the trusted root, or was not valid when \
             it signed"
        }
        Error::TransparencyLog(TransparencyLogError::EntryMismatch(_)) => {
            "the log entry belongs to another signature"
        }
        Error::TransparencyLog(TransparencyLogError::IntegratedTime(_)) => {
            "the certificate was not valid when the log took the entry"
        }
        Error::TransparencyLog(_) => "no log of the trusted root has signed the log entry",
        Error::Timestamp(_) => "no authority of the trusted root states when it was signed",
        _ => "the certificate bundle is incomplete or has an unknown form",
    }
}

/// Shortens and escapes the description of what is wrong with a local file.
fn shown(error: &dyn fmt::Display) -> String {
    let text: String = error.to_string().chars().take(200).collect();
    Untrusted(&text).to_string()
}
