//! Verifies receipts for messages that I sent (P20 to P23).

use bytes::Bytes;

use super::refusal::Refusal;
use super::role::Role;
use super::store::TrustStore;
use super::verdict::Signer;
use super::verify::verify_signature;
use crate::protocol::limits::CLOCK_SKEW_SECS;
use crate::protocol::{Digest, Envelope, Receipt, Timestamp};

/// A receipt that the recipient of the message has signed.
///
/// Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    digest: Digest,
    manifest: Bytes,
    receipt: Receipt,
    signer: Signer,
}

impl VerifiedReceipt {
    /// Returns the digest of the receipt's manifest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the signed bytes.
    pub fn manifest(&self) -> &Bytes {
        &self.manifest
    }

    /// Returns the signed content.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Returns who signed: the recipient of the message.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}

/// Verifies a receipt for the message `sent` whose envelope I wrote.
///
/// Its author must be that message's recipient, whatever the receipt copies. Which of several
/// receipts counts (P23) is for the caller to remember.
///
/// # Errors
/// A refusal; a refused receipt may be shown as an unsigned claim, never as proof (P22).
pub fn verify_receipt(
    store: &TrustStore,
    manifest: Bytes,
    sent: &Digest,
    envelope: &Envelope,
    bundles: &[Bytes],
    now: Timestamp,
) -> Result<VerifiedReceipt, Refusal> {
    let receipt = Receipt::parse(&manifest)?;
    let mismatch = |reason| Refusal::ReceiptMismatch { reason };
    if receipt.message != *sent {
        return Err(mismatch("it is for another message"));
    }
    if receipt.sender.as_deref().is_some_and(|name| name != envelope.sender.as_str()) {
        return Err(mismatch("it names another sender"));
    }
    if receipt.recipient.as_deref().is_some_and(|name| name != envelope.recipient.as_str()) {
        return Err(mismatch("it names another recipient"));
    }
    let author = &envelope.recipient;
    let signer = verify_signature(store, Role::Receipt, &manifest, author, bundles, now)?;
    if let Some(created_at) = receipt.created_at {
        if created_at > now.saturating_add_secs(CLOCK_SKEW_SECS) {
            return Err(Refusal::FromFuture { created_at });
        }
        if created_at.saturating_add_secs(CLOCK_SKEW_SECS) < envelope.created_at {
            return Err(mismatch("it is older than the message"));
        }
    }
    Ok(VerifiedReceipt { digest: Digest::of(&manifest), manifest, receipt, signer })
}
