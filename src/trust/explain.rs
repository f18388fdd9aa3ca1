//! Explains check by check why a message is or is not believed, for `verify --explain`.

use std::fmt;

use bytes::Bytes;

use super::refusal::named_signer;
use super::role::Role;
use super::store::TrustStore;
use super::verdict::UnverifiedMessage;
use super::verify::{Question, candidates, check_envelope, verify_signature};
use crate::protocol::limits::BUNDLE_CANDIDATE_COUNT_MAX;
use crate::protocol::{Identity, Timestamp};
use crate::sys::Counted;

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It holds.
    Passed,
    /// It does not hold, and the message is refused.
    Failed,
    /// It decides nothing: another bundle may suffice.
    Info,
}

impl fmt::Display for CheckOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "pass",
            Self::Failed => "FAIL",
            Self::Info => "info",
        })
    }
}

/// One check and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// A short name: `digest`, `sender`, `bundle`, `signature`, `envelope`.
    pub name: &'static str,
    /// The outcome.
    pub outcome: CheckOutcome,
    /// A sentence for people, safe on a terminal.
    pub detail: String,
}

impl Check {
    fn new(name: &'static str, passed: bool, detail: String) -> Self {
        let outcome = if passed { CheckOutcome::Passed } else { CheckOutcome::Failed };
        Self { name, outcome, detail }
    }
}

/// Lists every check of [`super::verify_message`], in order, without stopping at the first failure.
///
/// The message is accepted exactly when no check failed.
pub fn explain(
    store: &TrustStore,
    me: &[Identity],
    message: &UnverifiedMessage,
    bundles: &[Bytes],
    now: Timestamp,
) -> Vec<Check> {
    let envelope = &message.claims().envelope;
    let sender = &envelope.sender;
    let mut checks = vec![Check::new(
        "digest",
        true,
        format!("the manifest's {} bytes hash to {}", message.manifest().len(), message.digest()),
    )];
    checks.push(match store.get(sender) {
        Some(entry) => Check::new(
            "sender",
            true,
            format!(
                "`{sender}` is in the trust store with {} and {}",
                Counted(entry.keys().len(), "key"),
                Counted(entry.identities().len(), "certificate identity")
            ),
        ),
        None => Check::new("sender", false, format!("`{sender}` is not in the trust store")),
    });
    let question = Question::new(store, Role::Message, message.manifest(), sender, now);
    let mut count = 0;
    for candidate in candidates(bundles) {
        count += 1;
        let detail = match question.examine(candidate) {
            Ok(signer) => {
                format!("bundle {count}: signed by {}", named_signer(&signer.key_fingerprint))
            }
            Err(refusal) => format!("bundle {count}: {refusal}"),
        };
        checks.push(Check { name: "bundle", outcome: CheckOutcome::Info, detail });
    }
    if count < bundles.len() {
        checks.push(Check {
            name: "bundle",
            outcome: CheckOutcome::Info,
            detail: format!(
                "{} more bundles are copies, too large, or past the first \
                 {BUNDLE_CANDIDATE_COUNT_MAX}",
                bundles.len() - count
            ),
        });
    }
    let verdict = verify_signature(store, Role::Message, message.manifest(), sender, bundles, now);
    checks.push(match verdict {
        Ok(signer) => Check::new(
            "signature",
            true,
            format!(
                "{} of `{}` signed this manifest",
                named_signer(&signer.key_fingerprint),
                signer.sender
            ),
        ),
        Err(refusal) => Check::new("signature", false, refusal.to_string()),
    });
    checks.push(match check_envelope(envelope, me, now) {
        Ok(()) => Check::new(
            "envelope",
            true,
            match envelope.expires_at() {
                Some(at) => format!("for you (`{}`), valid until {at}", envelope.recipient),
                None => format!("for you (`{}`), never expires", envelope.recipient),
            },
        ),
        Err(refusal) => Check::new("envelope", false, refusal.to_string()),
    });
    checks
}
