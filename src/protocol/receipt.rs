//! The receipt manifest: accepted or rejected, for which message, why (P20-P23).

use std::fmt;
use std::str::FromStr;

use super::annotation as key;
use super::descriptor::{Annotations, Descriptor};
use super::digest::Digest;
use super::error::ProtocolError;
use super::limits::REASON_LEN_MAX;
use super::manifest::ImageManifest;
use super::media_type;
use super::timestamp::Timestamp;

/// What the recipient says about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReceiptStatus {
    /// The message arrived and was accepted.
    Accepted,
    /// The recipient rejected the message.
    Rejected,
}

impl ReceiptStatus {
    /// Returns the annotation's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for ReceiptStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReceiptStatus {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "accepted" => Ok(Self::Accepted),
            "rejected" => Ok(Self::Rejected),
            _ => Err(ProtocolError::bad(key::RECEIPT_STATUS, "neither accepted nor rejected")),
        }
    }
}

/// A parsed receipt: a claim until its bundle is verified (P22).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Digest of the message manifest.
    pub message: Digest,
    /// The outcome.
    pub status: ReceiptStatus,
    /// Whether signature, policy and every chunk were checked (P21).
    pub verified: bool,
    /// Why; printable ASCII, at most 256 characters.
    pub reason: Option<String>,
    /// The message's sender as copied; the Go peer leaves it out.
    pub sender: Option<String>,
    /// The message's recipient as copied: the receipt's author when the signature agrees.
    pub recipient: Option<String>,
    /// When the receipt was made.
    pub created_at: Option<Timestamp>,
}

impl Receipt {
    /// Parses a receipt manifest, as leniently as P20 asks.
    ///
    /// # Errors
    /// When it is not a receipt manifest, or `version` or a `receipt.*` annotation is not valid.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let manifest = ImageManifest::parse(bytes)?;
        if manifest.artifact_type.as_deref() != Some(media_type::RECEIPT) {
            return Err(ProtocolError::WrongArtifact { expected: "receipt" });
        }
        let annotations = &manifest.annotations;
        key::require_version(annotations)?;
        let message = key::require(annotations, key::RECEIPT_FOR)?.parse()?;
        if manifest.subject.as_ref().is_some_and(|subject| subject.digest != message) {
            return Err(ProtocolError::bad("subject", "not the message of the receipt"));
        }
        let verified = match key::require(annotations, key::RECEIPT_VERIFIED)? {
            "true" => true,
            "false" => false,
            _ => return Err(ProtocolError::bad(key::RECEIPT_VERIFIED, "neither true nor false")),
        };
        Ok(Self {
            message,
            status: key::require(annotations, key::RECEIPT_STATUS)?.parse()?,
            verified,
            reason: annotations.get(key::RECEIPT_REASON).map(|text| clean_reason(text)),
            sender: annotations.get(key::SENDER).cloned(),
            recipient: annotations.get(key::RECIPIENT).cloned(),
            created_at: annotations.get(key::CREATED_AT).and_then(|text| text.parse().ok()),
        })
    }
}

/// The contents of a new receipt; [`ReceiptDraft::encode`] makes the manifest (P20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptDraft<'a> {
    /// The message's manifest descriptor, which becomes the subject.
    pub message: &'a Descriptor,
    /// The message's annotations, of which the required ones are copied unchanged.
    pub annotations: &'a Annotations,
    /// The outcome.
    pub status: ReceiptStatus,
    /// Whether everything was checked (P21).
    pub verified: bool,
    /// Why.
    pub reason: Option<&'a str>,
    /// When the receipt is made.
    pub created_at: Timestamp,
    /// Whether the registry accepts manifests with a `subject`.
    pub with_subject: bool,
}

impl ReceiptDraft<'_> {
    /// Returns the receipt manifest's canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut annotations: Annotations = key::REQUIRED
            .iter()
            .filter_map(|name| self.annotations.get_key_value(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut insert = |key: &str, value: String| annotations.insert(key.to_owned(), value);
        insert(key::VERSION, key::VERSION_VALUE.to_owned());
        insert(key::CREATED_AT, self.created_at.to_string());
        insert(key::RECEIPT_FOR, self.message.digest.to_string());
        insert(key::RECEIPT_STATUS, self.status.to_string());
        insert(key::RECEIPT_VERIFIED, self.verified.to_string());
        if let Some(reason) = self.reason {
            insert(key::RECEIPT_REASON, clean_reason(reason));
        }
        ImageManifest {
            artifact_type: Some(media_type::RECEIPT.to_owned()),
            config: Descriptor::empty(),
            layers: vec![Descriptor::empty()],
            subject: self.with_subject.then(|| self.message.clone()),
            annotations,
        }
        .encode()
    }
}

/// Keeps at most 256 printable ASCII characters; others become `?`.
pub fn clean_reason(text: &str) -> String {
    text.chars()
        .take(REASON_LEN_MAX)
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .collect()
}
