//! Inspects any message without admitting it: the basis of `verify`.

use super::handle::Inbox;
use crate::mailbox::MailboxError;
use crate::mailbox::discover::{self, Rejected, Search};
use crate::mailbox::reading::{MessageReader, Purpose};
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Digest, ErrorClass, Message};
use crate::registry::ManifestRef;
use crate::trust::{self, CheckOutcome, UnverifiedMessage, verify_message};

/// What verification found about one manifest.
#[derive(Debug)]
pub struct Inspection {
    /// The digest of the manifest's bytes.
    pub digest: Digest,
    /// Its content; only a claim unless `verdict` is Ok.
    pub message: Message,
    /// The fingerprint of the key that signed, if the signature verified.
    pub signer: Option<String>,
    /// Accepted, or why not: the class, the reason code and a sentence.
    pub verdict: Result<(), (ErrorClass, String, String)>,
    /// One line for each check.
    pub explain: Vec<String>,
}

impl Inbox {
    /// Fetches a manifest, finds its bundles and verifies it; changes nothing.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not a message.
    pub async fn inspect(&self, reference: &ManifestRef) -> Result<Inspection, MailboxError> {
        let core = &self.shared.core;
        let trust = core.trust.current()?;
        let fetched = core.repository.fetch_manifest(reference, MANIFEST_LEN_MAX).await?;
        let message = UnverifiedMessage::parse(fetched.bytes)?;
        let mut me = core.options.me.clone();
        let envelope = &message.claims().envelope;
        if me.contains(&envelope.sender) {
            // My own sent message is checked as its recipient would.
            me.push(envelope.recipient.clone());
        }
        let (me, now) = (me.as_slice(), core.latest());
        let mut offered = Vec::new();
        let (repository, all) = (core.repository.as_ref(), Rejected::default());
        let found = discover::search(repository, message.digest(), None, &all, |bundle| {
            offered.push(bundle.clone());
            let bundles = std::slice::from_ref(bundle);
            verify_message(&trust, me, message.clone(), bundles, now).ok()
        });
        let found = found.await?;
        let explain = trust::explain(&trust, me, &message, &offered, now);
        let explain = explain
            .into_iter()
            .map(|check| {
                let mark = match check.outcome {
                    CheckOutcome::Passed => "ok",
                    CheckOutcome::Failed => "FAILED",
                    CheckOutcome::Info => "info",
                };
                format!("{mark:<6} {}: {}", check.name, check.detail)
            })
            .collect();
        let (digest, claims) = (*message.digest(), message.claims().clone());
        let (signer, verdict) = match found {
            Search::Found(verified) => (Some(verified.signer().key_fingerprint.clone()), Ok(())),
            Search::Nothing { offered: bundles, .. } => {
                match verify_message(&trust, me, message, &bundles, now) {
                    Ok(verified) => (Some(verified.signer().key_fingerprint.clone()), Ok(())),
                    Err(refused) => {
                        let refusal = &refused.refusal;
                        let reason = refusal.code().to_owned();
                        (None, Err((refusal.class(), reason, refusal.to_string())))
                    }
                }
            }
        };
        Ok(Inspection { digest, message: claims, signer, verdict, explain })
    }

    /// Reads the payload of an inspected message, without issuing receipts.
    pub fn open_inspected(&self, inspection: &Inspection) -> MessageReader {
        let message = inspection.message.clone();
        MessageReader::new(&self.shared.reading, inspection.digest, message, Purpose::Inspect)
    }
}
