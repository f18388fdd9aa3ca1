//! Verifies bundles over a manifest, and messages as a whole
//! (src/protocol/README.md "Trust").

use std::collections::HashSet;

use bytes::Bytes;

use super::base64;
use super::bundle::{Bundle, Material, SignedClaim};
use super::certificate::{Certified, Doubt, KeylessBundle};
use super::policy::IdentityRule;
use super::refusal::Refusal;
use super::role::Role;
use super::store::TrustStore;
use super::verdict::{RefusedMessage, Signer, UnverifiedMessage, VerifiedMessage};
use crate::protocol::limits::{BUNDLE_CANDIDATE_COUNT_MAX, BUNDLE_LEN_MAX};
use crate::protocol::{Digest, Envelope, Identity, Timestamp};

/// Proves which of `claimed_sender`'s keys or certificate identities signed exactly the bytes
/// `manifest`.
///
/// One good bundle among the first 64 different ones suffices: adding junk blocks nothing (P16).
/// The kind of manifest is not checked; [`verify_message`] and [`super::verify_receipt`] do that.
///
/// # Errors
/// The refusal of the bundle that passed the most checks.
pub fn verify_signature(
    store: &TrustStore,
    role: Role,
    manifest: &[u8],
    claimed_sender: &Identity,
    bundles: &[Bytes],
    now: Timestamp,
) -> Result<Signer, Refusal> {
    let question = Question::new(store, role, manifest, claimed_sender, now);
    let mut best: Option<Refusal> = None;
    for candidate in candidates(bundles) {
        match question.examine(candidate) {
            Ok(signer) => return Ok(signer),
            Err(refusal) => {
                if best.as_ref().is_none_or(|best| refusal.rank() > best.rank()) {
                    best = Some(refusal);
                }
            }
        }
    }
    Err(best.unwrap_or(Refusal::NoBundle))
}

/// Returns the first 64 different bundles, so that copies cannot crowd out a good one.
pub(super) fn candidates<'a>(bundles: &'a [Bytes]) -> impl Iterator<Item = &'a [u8]> {
    let mut seen: HashSet<&'a [u8]> = HashSet::new();
    bundles
        .iter()
        .map(AsRef::as_ref)
        .filter(|bytes: &&[u8]| bytes.len() as u64 <= BUNDLE_LEN_MAX)
        .filter(move |bytes| seen.insert(bytes))
        .take(BUNDLE_CANDIDATE_COUNT_MAX)
}

/// What each candidate is checked against.
pub(super) struct Question<'a> {
    store: &'a TrustStore,
    role: Role,
    manifest: &'a [u8],
    digest: Digest,
    claimed: &'a Identity,
    now: Timestamp,
}

impl<'a> Question<'a> {
    pub(super) fn new(
        store: &'a TrustStore,
        role: Role,
        manifest: &'a [u8],
        claimed: &'a Identity,
        now: Timestamp,
    ) -> Self {
        Self { store, role, manifest, digest: Digest::of(manifest), claimed, now }
    }

    /// Judges one candidate.
    pub(super) fn examine(&self, candidate: &[u8]) -> Result<Signer, Refusal> {
        let bad = |reason| Refusal::BadSignature { reason };
        let bundle = Bundle::parse(candidate).map_err(bad)?;
        let claim = bundle.claim(self.manifest, &self.digest).map_err(bad)?;
        if matches!(bundle.material, Material::Certificate) {
            return self.examine_certificate(candidate, &claim);
        }
        let keys = self.store.get(self.claimed).map_or(&[][..], |sender| sender.keys());
        // Every key is tried: the hint is a claim, and may be missing or false.
        let signer =
            keys.iter().find(|trusted| trusted.key.verifies(&claim.bytes, &claim.signature));
        if let Some(trusted) = signer {
            let key_fingerprint = trusted.key.fingerprint();
            trusted.terms.permit(self.role, self.now, self.claimed, &key_fingerprint)?;
            return Ok(Signer { sender: self.claimed.clone(), key_fingerprint });
        }
        Err(self.diagnose(&bundle, &claim))
    }

    /// Explains whose signature it may be, since it is not the claimed sender's.
    ///
    /// The hint only chooses which sentence the user reads: all of them are refusals.
    fn diagnose(&self, bundle: &Bundle, claim: &SignedClaim) -> Refusal {
        let claimed = self.claimed.clone();
        let hint = bundle.hint();
        let named = |sender: &&super::TrustedSender| {
            sender.keys().iter().any(|trusted| Some(trusted.key.hint().as_str()) == hint)
        };
        if let Some(other) =
            self.store.senders().filter(|other| other.name() != self.claimed).find(named)
            && other.keys().iter().any(|key| key.key.verifies(&claim.bytes, &claim.signature))
        {
            return Refusal::SenderMismatch { claimed, signer: other.name().clone() };
        }
        let claimed_key = hint.and_then(fingerprint_of_hint);
        match self.store.get(self.claimed) {
            None => Refusal::UnknownSender { claimed, claimed_key },
            Some(entry) if hint.is_none() || named(&entry) => {
                Refusal::BadSignature { reason: "the signature does not fit the sender's keys" }
            }
            Some(_) => Refusal::UntrustedSigner { claimed, claimed_key },
        }
    }

    /// Judges a candidate that a certificate signed.
    fn examine_certificate(
        &self,
        candidate: &[u8],
        claim: &SignedClaim,
    ) -> Result<Signer, Refusal> {
        let bad = |reason| Refusal::BadSignature { reason };
        let bundle = KeylessBundle::parse(candidate, claim).map_err(bad)?;
        let rules = self.store.get(self.claimed).map_or(&[][..], |sender| sender.identities());
        let mut best: Option<Refusal> = None;
        // Every root is tried, the sender's or not: it is useful to know whose signature it is.
        for (name, root) in &self.store.loaded_roots {
            let refusal = match root.verify(&bundle, self.manifest, self.now) {
                Ok(certified) => match self.judge_certified(name, &certified) {
                    Ok(signer) => return Ok(signer),
                    Err(refusal) => refusal,
                },
                Err(_) if rules.iter().all(|rule| rule.trusted_root != *name) => continue,
                Err(Doubt::Bad(reason)) => bad(reason),
                Err(Doubt::Future(signed_at)) => Refusal::SignedInFuture { signed_at },
            };
            if best.as_ref().is_none_or(|best| refusal.rank() > best.rank()) {
                best = Some(refusal);
            }
        }
        let reason = if rules.is_empty() {
            "no certificate identity is trusted for this sender"
        } else {
            "the trusted root of its rules is not loaded"
        };
        Err(best.unwrap_or_else(|| self.refuse_certificate(None, reason)))
    }

    /// Decides whether the holder of a certificate that `root` certified is the claimed sender.
    fn judge_certified(&self, root: &str, certified: &Certified) -> Result<Signer, Refusal> {
        let takes = |rule: &&IdentityRule| {
            rule.trusted_root == root && rule.matches(&certified.issuer, &certified.name)
        };
        let rules = self.store.get(self.claimed).map_or(&[][..], |sender| sender.identities());
        // A revoked rule takes precedence over a wider one that would still accept its subject.
        let revoked = rules.iter().filter(takes).any(|rule| rule.terms.revoked);
        let signer = certified.signer();
        let verdict = rules
            .iter()
            .filter(|rule| takes(rule) && rule.terms.revoked == revoked)
            .map(|rule| {
                certified
                    .times
                    .iter()
                    .try_for_each(|at| rule.terms.permit(self.role, *at, self.claimed, &signer))
            })
            .reduce(Result::or);
        if let Some(verdict) = verdict {
            let sender = self.claimed.clone();
            return verdict.map(|()| Signer { sender, key_fingerprint: signer });
        }
        let claimed = self.claimed.clone();
        match self.store.senders().find(|other| other.identities().iter().any(|rule| takes(&rule)))
        {
            Some(other) => Err(Refusal::SenderMismatch { claimed, signer: other.name().clone() }),
            None => Err(self.refuse_certificate(
                Some(signer),
                "it is not one of the certificate identities trusted for this sender",
            )),
        }
    }

    fn refuse_certificate(&self, signer: Option<String>, reason: &'static str) -> Refusal {
        let claimed = self.claimed.clone();
        match self.store.get(self.claimed) {
            None => Refusal::UnknownSender { claimed, claimed_key: None },
            Some(_) => Refusal::CertificateRefused { claimed, signer, reason },
        }
    }
}

/// Returns the fingerprint that a hint encodes, if it is the hash of a key.
fn fingerprint_of_hint(hint: &str) -> Option<String> {
    let hash = base64::decode(hint).filter(|hash| hash.len() == 32)?;
    Some(format!("SHA256:{}", base64::encode_unpadded(&hash)))
}

/// Verifies a message: its sender's signature, then that it is for one of `me` and current.
///
/// The signature comes first, so a refusal about address or time is about a genuine message.
/// Whether the message was seen before under another digest (P25) is for the caller to remember.
///
/// ```
/// use dockercomms::protocol::{
///     Annotations, ChunkLayer, Compression, Digest, Envelope, Identity, Message, MessageId,
///     Timestamp,
/// };
/// use dockercomms::trust::{
///     ContactCard, KeyAlgorithm, Refusal, SigningKey, TrustStore, UnverifiedMessage,
///     sign_manifest, verify_message,
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (alice, bob): (Identity, Identity) = ("alice@x".parse()?, "bob@x".parse()?);
/// let now = Timestamp::from_unix_secs(1_790_000_000);
/// let manifest = Message {
///     id: MessageId::from_uuid(uuid::Uuid::new_v4()),
///     envelope: Envelope {
///         sender: alice.clone(),
///         recipient: bob.clone(),
///         created_at: now,
///         ttl_secs: 3600,
///         filename: "report.pdf".to_owned(),
///         total_bytes: 11,
///         chunk_bytes: 11,
///         chunk_count: 1,
///         compression: Compression::Zstd,
///     },
///     chunks: vec![ChunkLayer { digest: Digest::of(b"a layer"), size: 7 }],
///     extensions: Annotations::new(),
/// }
/// .encode()?;
/// let key = SigningKey::generate(KeyAlgorithm::EcdsaP256)?;
/// let bundles = [sign_manifest(&key, &manifest)?.into()];
/// let mut store = TrustStore::default();
/// let (identity, public_key) = (alice.clone(), key.public_key());
/// store.add_card(&ContactCard { identity, public_key, rotations: Vec::new() })?;
///
/// let claimed = UnverifiedMessage::parse(manifest.clone().into())?;
/// let verified = verify_message(&store, &[bob.clone()], claimed, &bundles, now)?;
/// assert_eq!(verified.sender(), &alice);
///
/// // One byte differs from what was signed, so the message is refused.
/// let altered = String::from_utf8(manifest)?.replace("report.pdf", "resort.pdf");
/// let claimed = UnverifiedMessage::parse(altered.into())?;
/// let refused = verify_message(&store, &[bob], claimed, &bundles, now).unwrap_err();
/// assert!(matches!(refused.refusal, Refusal::BadSignature { .. }));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The refusal, with the message for the quarantine.
pub fn verify_message(
    store: &TrustStore,
    me: &[Identity],
    message: UnverifiedMessage,
    bundles: &[Bytes],
    now: Timestamp,
) -> Result<VerifiedMessage, Box<RefusedMessage>> {
    let envelope = &message.claims().envelope;
    let verdict =
        verify_signature(store, Role::Message, message.manifest(), &envelope.sender, bundles, now)
            .and_then(|signer| check_envelope(envelope, me, now).map(|()| signer));
    match verdict {
        Ok(signer) => Ok(VerifiedMessage::new(message, signer)),
        Err(refusal) => Err(Box::new(RefusedMessage { refusal, message })),
    }
}

/// Checks the address and time of a genuine message (P26, P2, P6).
pub(super) fn check_envelope(
    envelope: &Envelope,
    me: &[Identity],
    now: Timestamp,
) -> Result<(), Refusal> {
    if !me.contains(&envelope.recipient) {
        return Err(Refusal::Readdressed { recipient: envelope.recipient.clone() });
    }
    if envelope.is_from_future(now) {
        return Err(Refusal::FromFuture { created_at: envelope.created_at });
    }
    match envelope.expires_at() {
        Some(at) if envelope.is_expired(now) => Err(Refusal::Expired { at }),
        _ => Ok(()),
    }
}
