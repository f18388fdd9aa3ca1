//! The trust store: which keys and certificate identities speak for which sender.

use std::collections::BTreeMap;

use super::card::ContactCard;
use super::certificate::TrustedRoot;
use super::error::TrustError;
use super::limits::{AUTHORITY_COUNT_MAX, SENDER_COUNT_MAX};
use super::policy::{IdentityRule, Terms, TrustedKey};
use crate::protocol::Identity;
use crate::sys::Untrusted;

/// All trusted senders. One name, one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustStore {
    pub(super) senders: BTreeMap<Identity, TrustedSender>,
    /// Name of a trusted root to the file that holds its `trusted_root.json`.
    pub(super) trusted_roots: BTreeMap<String, String>,
    /// The contents of those files. Without them no certificate is trusted.
    pub(super) loaded_roots: BTreeMap<String, TrustedRoot>,
}

/// A sender, and who may sign in that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedSender {
    pub(super) name: Identity,
    pub(super) keys: Vec<TrustedKey>,
    pub(super) identities: Vec<IdentityRule>,
}

impl TrustedSender {
    /// Returns the name, exactly as manifests write it.
    pub fn name(&self) -> &Identity {
        &self.name
    }

    /// Returns the keys, including revoked and expired ones.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// Returns the certificate identities.
    pub fn identities(&self) -> &[IdentityRule] {
        &self.identities
    }
}

/// The result of adding a contact card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The sender is new.
    New,
    /// The sender was known; the key is added.
    KeyAdded,
    /// Nothing: the sender had this key already.
    AlreadyKnown,
    /// Nothing: the key is revoked, and a card does not undo that.
    Revoked,
}

impl TrustStore {
    /// Takes the contents of the files that [`Self::trusted_roots`] names, by name.
    ///
    /// Until then every certificate is refused.
    ///
    /// # Errors
    /// When one is missing or unusable: continuing without it would hide why everything that it
    /// certifies is refused.
    pub fn with_trusted_roots<B: AsRef<[u8]>>(
        mut self,
        files: &BTreeMap<String, B>,
    ) -> Result<Self, TrustError> {
        self.loaded_roots = self
            .trusted_roots
            .keys()
            .map(|name| {
                let error = |reason: String| {
                    TrustError::store(format!("trusted_root `{}`", Untrusted(name)), reason)
                };
                let bytes = files.get(name).ok_or_else(|| error("its file is missing".into()))?;
                Ok((name.clone(), TrustedRoot::parse(bytes.as_ref()).map_err(error)?))
            })
            .collect::<Result<_, TrustError>>()?;
        Ok(self)
    }

    /// Adds a contact card whose fingerprint the user has compared.
    ///
    /// # Errors
    /// When the store or the sender's entry is full.
    pub fn add_card(&mut self, card: &ContactCard) -> Result<Added, TrustError> {
        let place = format!("sender `{}`", card.identity);
        // A successor may do what its predecessor may, and nothing else.
        let terms = self
            .predecessor(card)
            .map_or_else(Terms::default, |trusted| Terms { not_before: None, ..trusted.terms });
        let trusted = TrustedKey { key: card.public_key.clone(), terms };
        if let Some(sender) = self.senders.get_mut(&card.identity) {
            if let Some(known) = sender.keys.iter().find(|known| known.key == trusted.key) {
                return Ok(if known.terms.revoked { Added::Revoked } else { Added::AlreadyKnown });
            }
            if sender.keys.len() >= AUTHORITY_COUNT_MAX {
                return Err(TrustError::store(place, "too many keys; remove old ones first"));
            }
            sender.keys.push(trusted);
            return Ok(Added::KeyAdded);
        }
        if self.senders.len() >= SENDER_COUNT_MAX {
            return Err(TrustError::store(place, "too many senders"));
        }
        let name = card.identity.clone();
        let sender = TrustedSender { name, keys: vec![trusted], identities: Vec::new() };
        self.senders.insert(card.identity.clone(), sender);
        Ok(Added::New)
    }

    /// Returns the trusted key of the card's owner that vouches for the card's key: the nearest one
    /// whose holder signed that it was replaced, in one step or several.
    ///
    /// A revoked key vouches for nothing: a thief could sign a successor of their own.
    pub fn predecessor(&self, card: &ContactCard) -> Option<&TrustedKey> {
        let keys = self.get(&card.identity)?.keys();
        let found = card
            .previous_keys()
            .find_map(|previous| keys.iter().find(|trusted| trusted.key == *previous));
        found.filter(|trusted| !trusted.terms.revoked)
    }

    /// Forgets a sender; returns whether there was one.
    pub fn remove(&mut self, name: &Identity) -> bool {
        self.senders.remove(name).is_some()
    }

    /// Marks the key with this fingerprint as revoked for all senders; returns whether it exists.
    pub fn revoke(&mut self, fingerprint: &str) -> bool {
        let mut found = false;
        for key in self.senders.values_mut().flat_map(|sender| &mut sender.keys) {
            if key.key.fingerprint() == fingerprint {
                key.terms.revoked = true;
                found = true;
            }
        }
        found
    }

    /// Returns whether a message of `sender` that `signer` signed earlier may still be shown.
    ///
    /// Time does not matter: what was signed while a key was valid stays. Removing the sender, or
    /// removing or revoking the key, ends it at once.
    pub fn still_trusts(&self, sender: &Identity, signer: &str) -> bool {
        let Some(entry) = self.get(sender) else { return false };
        let by_key = entry.keys().iter().any(|trusted| {
            trusted.key.fingerprint() == signer && trusted.terms.messages && !trusted.terms.revoked
        });
        let is_fingerprint = signer.starts_with("SHA256:");
        let by_identity = !is_fingerprint
            && entry.identities().iter().any(|rule| rule.terms.messages && !rule.terms.revoked);
        by_key || by_identity
    }

    /// Returns the senders, ordered by name.
    pub fn senders(&self) -> impl Iterator<Item = &TrustedSender> {
        self.senders.values()
    }

    /// Returns the entry of exactly this name.
    pub fn get(&self, name: &Identity) -> Option<&TrustedSender> {
        self.senders.get(name)
    }

    /// Returns the names of trusted roots with the files that hold them.
    pub fn trusted_roots(&self) -> impl Iterator<Item = (&str, &str)> {
        self.trusted_roots.iter().map(|(name, file)| (name.as_str(), file.as_str()))
    }

    /// Returns the number of senders.
    pub fn len(&self) -> usize {
        self.senders.len()
    }

    /// Returns whether there are no trusted senders.
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }
}
