//! Withdraws one message of mine from the registry: the message, its signature, its receipts.

use std::collections::BTreeSet;

use crate::mailbox::MailboxError;
use crate::mailbox::core::{Core, describe};
use crate::protocol::limits::{BUNDLE_CANDIDATE_COUNT_MAX, MANIFEST_LEN_MAX};
use crate::protocol::{Digest, ImageManifest, Receipt, Tag, parse_bundle_manifest};
use crate::registry::{ManifestRef, RegistryError, Repository};
use crate::store::PreparedMessage;

/// Most receipts of one message that are checked; anyone may push more.
const RECEIPT_COUNT_MAX: usize = 256;

/// The registry's answer to the deletion of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It existed, and is deleted.
    Deleted,
    /// It no longer existed.
    AlreadyGone,
}

/// A part of a message that could not be deleted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remainder {
    /// A tag, or a digest.
    pub what: String,
    /// Why, in one sentence.
    pub why: String,
}

/// What happened to a message and its parts.
#[derive(Debug)]
pub(super) struct Withdrawn {
    pub(super) removal: Removal,
    pub(super) left: Vec<Remainder>,
}

/// A manifest to delete, the tag it was found under, and its subject.
struct Part {
    digest: Digest,
    tag: Option<Tag>,
    subject: Option<Digest>,
}

/// Whether receipts are deleted with their message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receipts {
    Keep,
    Delete,
}

/// Deletes a message that our journal knows.
///
/// The message is deleted first: a reader that sees its tag finds its signature. Its parts follow;
/// any that cannot be deleted are reported, and are harmless.
///
/// # Errors
/// When the message itself cannot be deleted: nothing has changed then.
pub(super) async fn withdraw(
    core: &Core,
    message: &PreparedMessage,
    receipts: Receipts,
) -> Result<Withdrawn, MailboxError> {
    let repository = core.repository.as_ref();
    // Before anything is deleted: if the registry cannot be listed, nothing changes.
    let mut parts = own_bundles(repository, message).await?;
    if receipts == Receipts::Delete {
        parts.extend(receipts_of(repository, &message.digest).await?);
    }
    let removal = delete_message(repository, message).await?;
    let mut left = Vec::new();
    for part in parts {
        if let Err(error) = delete_part(repository, &part).await {
            let what = part.tag.map_or_else(|| part.digest.to_string(), |tag| tag.to_string());
            left.push(Remainder { what, why: describe(&error) });
        }
    }
    Ok(Withdrawn { removal, left })
}

async fn delete_message(
    repository: &dyn Repository,
    message: &PreparedMessage,
) -> Result<Removal, MailboxError> {
    let deleted = is_deleted(repository.delete_manifest(&message.digest).await)?;
    // Some registries keep a tag, with its own copy of the manifest. A tag that now points
    // elsewhere belongs to another writer.
    let is_tagged = repository.resolve_tag(&message.tag).await? == Some(message.digest);
    if is_tagged {
        is_deleted(repository.delete_tag(&message.tag).await)?;
        if repository.resolve_tag(&message.tag).await? == Some(message.digest) {
            let reason =
                "the registry confirmed the deletion of the message and still lists it".into();
            return Err(RegistryError::Malformed { reason }.into());
        }
    }
    Ok(if deleted || is_tagged { Removal::Deleted } else { Removal::AlreadyGone })
}

async fn delete_part(repository: &dyn Repository, part: &Part) -> Result<(), MailboxError> {
    is_deleted(repository.delete_manifest(&part.digest).await)?;
    if let Some(tag) = &part.tag
        && repository.resolve_tag(tag).await? == Some(part.digest)
    {
        is_deleted(repository.delete_tag(tag).await)?;
    }
    if let Some(subject) = &part.subject {
        repository.remove_referrer(subject, &part.digest).await?;
    }
    Ok(())
}

/// Returns whether there was something to delete.
fn is_deleted(result: Result<(), RegistryError>) -> Result<bool, MailboxError> {
    match result {
        Ok(()) => Ok(true),
        Err(RegistryError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Finds the bundles that we attached: their layer is exactly the signature in our journal.
///
/// Signatures that others attached belong to them.
async fn own_bundles(
    repository: &dyn Repository,
    message: &PreparedMessage,
) -> Result<Vec<Part>, MailboxError> {
    let own = Digest::of(&message.bundle);
    let bundles = bundles_of(repository, &message.digest).await?;
    let ours = bundles.into_iter().filter(|(_, layer)| *layer == own);
    Ok(ours.map(|(part, _)| part).collect())
}

/// Returns whether the registry has our signature of the message, where readers find it.
pub(super) async fn is_signed(
    repository: &dyn Repository,
    message: &PreparedMessage,
) -> Result<bool, MailboxError> {
    Ok(!own_bundles(repository, message).await?.is_empty())
}

/// Finds the bundles that claim to sign `subject`, with the digest of the bundle.
async fn bundles_of(
    repository: &dyn Repository,
    subject: &Digest,
) -> Result<Vec<(Part, Digest)>, MailboxError> {
    let tags = repository.list_tags(&Tag::bundle_prefix(subject)).await?.tags;
    let by_tag = tags.into_iter().map(|tag| (ManifestRef::Tag(tag.clone()), Some(tag)));
    let referrers = repository.list_referrers(subject).await?;
    let by_digest = referrers.into_iter().map(|entry| (ManifestRef::Digest(entry.digest), None));
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (reference, tag) in by_tag.take(BUNDLE_CANDIDATE_COUNT_MAX).chain(by_digest) {
        if seen.len() >= 2 * BUNDLE_CANDIDATE_COUNT_MAX {
            break;
        }
        if let ManifestRef::Digest(digest) = &reference
            && seen.contains(digest)
        {
            continue;
        }
        let Some((digest, bytes)) = fetch(repository, &reference).await? else { continue };
        // Without a subject its tag decides what it is, and anyone may tag: another signer's bundle
        // must not be deleted because of a name that a stranger gave it.
        let names_subject = ImageManifest::parse(&bytes)
            .is_ok_and(|manifest| manifest.subject.is_some_and(|named| named.digest == *subject));
        if let Ok(layer) = parse_bundle_manifest(&bytes, subject)
            && names_subject
            && seen.insert(digest)
        {
            found.push((Part { digest, tag, subject: Some(*subject) }, layer.digest));
        }
    }
    Ok(found)
}

/// Finds the receipts that name `message` in full, each followed by its bundles.
async fn receipts_of(
    repository: &dyn Repository,
    message: &Digest,
) -> Result<Vec<Part>, MailboxError> {
    let tags = repository.list_tags(&Tag::receipt_prefix(message)).await?.tags;
    let mut found = Vec::new();
    for tag in tags.into_iter().take(RECEIPT_COUNT_MAX) {
        let reference = ManifestRef::Tag(tag.clone());
        let Some((digest, bytes)) = fetch(repository, &reference).await? else { continue };
        // Another message may begin with the same digits.
        if !Receipt::parse(&bytes).is_ok_and(|receipt| receipt.message == *message) {
            continue;
        }
        found.push(Part { digest, tag: Some(tag), subject: Some(*message) });
        found.extend(bundles_of(repository, &digest).await?.into_iter().map(|(part, _)| part));
    }
    Ok(found)
}

/// Fetches a candidate; `None` if it is gone or broken.
async fn fetch(
    repository: &dyn Repository,
    reference: &ManifestRef,
) -> Result<Option<(Digest, bytes::Bytes)>, MailboxError> {
    match repository.fetch_manifest(reference, MANIFEST_LEN_MAX).await {
        Ok(fetched) => Ok(Some((fetched.digest, fetched.bytes))),
        Err(error) if error.class().is_transient() => Err(error.into()),
        Err(_) => Ok(None),
    }
}
