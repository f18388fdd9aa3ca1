//! A candidate manifest becomes a verified message, a note in quarantine, or nothing.

use bytes::Bytes;

use super::shared::Shared;
use crate::mailbox::MailboxError;
use crate::mailbox::discover::{self, Search};
use crate::protocol::limits::BUNDLE_GRACE_SECS;
use crate::protocol::{Digest, Identity, ImageManifest, ProtocolError, Tag, annotation};
use crate::registry::RegistryError;
use crate::trust::{
    Refusal, Role, TrustStore, UnverifiedMessage, VerifiedMessage, verify_message, verify_signature,
};

/// What a candidate turned out to be.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Signed by a trusted sender, addressed to me, current.
    Verified(Box<VerifiedMessage>),
    /// Not yet: its bundle may still arrive or its time may still come (P2, P18).
    Pending(Note),
    /// Refused, and why.
    Refused(Note),
    /// Not a message: another artifact under our tag.
    Foreign,
}

/// Why a candidate is not in the inbox. Text from the manifest is raw here.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) claimed_sender: String,
    pub(super) file_name: String,
    pub(super) code: String,
    pub(super) why: String,
    /// Whether another bundle may still arrive (P18), so that a refusal is not final.
    pub(super) look_again: bool,
    /// Set when a trusted sender's valid signature covers content that breaks the protocol: only
    /// then may a `rejected` receipt be sent.
    pub(super) proven_malformed: bool,
}

/// Judges the manifest `bytes` that a tag of `me`, one of my identities, pointed to (P26); `listed`
/// holds all bundle tags if they are already known.
///
/// # Errors
/// Only failures after which another attempt may judge differently.
pub(super) async fn judge(
    shared: &Shared,
    trust: &TrustStore,
    me: &Identity,
    bytes: Bytes,
    listed: Option<&[Tag]>,
) -> Result<Verdict, MailboxError> {
    let now = shared.core.latest();
    let message = match UnverifiedMessage::parse(bytes.clone()) {
        Ok(message) => message,
        Err(ProtocolError::WrongArtifact { .. }) => return Ok(Verdict::Foreign),
        Err(error) => return judge_malformed(shared, trust, me, &bytes, error, listed).await,
    };
    let digest = *message.digest();
    let my_names = std::slice::from_ref(me);
    let accept = |bundle: &Bytes| {
        let bundles = std::slice::from_ref(bundle);
        verify_message(trust, my_names, message.clone(), bundles, now).ok()
    };
    let (repository, rejected) = (shared.core.repository.as_ref(), &shared.rejected);
    match discover::search(repository, &digest, listed, rejected, accept).await? {
        Search::Found(verified) => Ok(Verdict::Verified(Box::new(verified))),
        Search::Nothing { offered: bundles, more } => {
            let created_at = message.claims().envelope.created_at;
            let waiting = more || now < created_at.saturating_add_secs(BUNDLE_GRACE_SECS);
            let verdict = refused(verify_message(trust, my_names, message, &bundles, now));
            Ok(match verdict {
                Verdict::Refused(note) if waiting && note.code == "no-bundle" => {
                    Verdict::Pending(note)
                }
                // A junk bundle that a stranger attached first must not win over the right one.
                Verdict::Refused(note) => Verdict::Refused(Note { look_again: waiting, ..note }),
                other => other,
            })
        }
    }
}

fn refused(result: Result<VerifiedMessage, Box<crate::trust::RefusedMessage>>) -> Verdict {
    match result {
        Ok(verified) => Verdict::Verified(Box::new(verified)),
        Err(refused) => {
            let envelope = &refused.message.claims().envelope;
            let note = Note {
                claimed_sender: envelope.sender.as_str().to_owned(),
                file_name: envelope.filename.clone(),
                code: refused.refusal.code().to_owned(),
                why: refused.refusal.to_string(),
                look_again: false,
                proven_malformed: false,
            };
            if matches!(
                refused.refusal,
                Refusal::FromFuture { .. } | Refusal::SignedInFuture { .. }
            ) {
                Verdict::Pending(note)
            } else {
                Verdict::Refused(note)
            }
        }
    }
}

/// Judges a manifest that claims to be a message and breaks a rule.
///
/// Its signature is still checked: a trusted sender whose program is at fault deserves a `rejected`
/// receipt, a stranger does not.
async fn judge_malformed(
    shared: &Shared,
    trust: &TrustStore,
    me: &Identity,
    bytes: &Bytes,
    error: ProtocolError,
    listed: Option<&[Tag]>,
) -> Result<Verdict, MailboxError> {
    let now = shared.core.latest();
    let annotations = ImageManifest::parse(bytes).map(|m| m.annotations).unwrap_or_default();
    let text = |key: &str| annotations.get(key).cloned().unwrap_or_default();
    let mut note = Note {
        claimed_sender: text(annotation::SENDER),
        file_name: text(annotation::FILENAME),
        code: error.code().to_owned(),
        why: Refusal::Malformed(error).to_string(),
        look_again: false,
        proven_malformed: false,
    };
    let recipient = text(annotation::RECIPIENT).parse::<Identity>();
    let mine = recipient.is_ok_and(|recipient| recipient == *me);
    let sender = note.claimed_sender.parse::<Identity>();
    if let Ok(sender) = sender
        && mine
        && trust.get(&sender).is_some()
    {
        let accept = |bundle: &Bytes| {
            let bundles = std::slice::from_ref(bundle);
            verify_signature(trust, Role::Message, bytes, &sender, bundles, now).ok()
        };
        let digest = Digest::of(bytes);
        let (repository, rejected) = (shared.core.repository.as_ref(), &shared.rejected);
        let found = discover::search(repository, &digest, listed, rejected, accept).await?;
        note.proven_malformed = matches!(found, Search::Found(_));
    }
    Ok(Verdict::Refused(note))
}

/// Makes a note of a registry failure that does not go away by itself.
pub(super) fn unreadable(error: &MailboxError) -> Verdict {
    let code = match error {
        MailboxError::Registry(RegistryError::TooLarge { .. }) => "too-large",
        other => other.class().code(),
    };
    Verdict::Refused(Note {
        claimed_sender: String::new(),
        file_name: String::new(),
        code: code.to_owned(),
        why: format!("the manifest cannot be read: {error}"),
        look_again: false,
        proven_malformed: false,
    })
}
