//! Pushes manifests and their bundles in the way that every message and every receipt needs (P15).
//!
//! It decides nothing about tags of messages or receipts: the caller pushes those last. Start at
//! [`push_bundle`].

use bytes::Bytes;

use super::MailboxError;
use super::core::Core;
use crate::protocol::{
    Descriptor, Digest, ImageManifest, Tag, TagRandom, encode_bundle_manifest, media_type,
};
use crate::registry::{ManifestUpload, ReferrerEntry, Repository};
use crate::sys::crash;

/// Pushes `bundle` and attaches it to the manifest with these bytes (P15).
pub(super) async fn push_bundle(
    core: &Core,
    subject: &[u8],
    bundle: &[u8],
) -> Result<(), MailboxError> {
    push_bundle_blob(core, bundle).await?;
    attach_bundle(core, subject, bundle).await
}

/// Pushes the bytes of a bundle without checking whether they exist: a new signature is in no
/// registry.
pub(super) async fn push_bundle_blob(core: &Core, bundle: &[u8]) -> Result<(), MailboxError> {
    let bytes = Bytes::copy_from_slice(bundle);
    core.repository.push_blob(&Digest::of(bundle), bytes).await?;
    crash::point!("outbox.bundle.blob-pushed");
    Ok(())
}

/// Attaches a bundle whose blob is already pushed: manifest, tag, referrers entry (P15).
pub(super) async fn attach_bundle(
    core: &Core,
    subject: &[u8],
    bundle: &[u8],
) -> Result<(), MailboxError> {
    let subject_descriptor = Descriptor::of(media_type::IMAGE_MANIFEST, subject);
    let annotations = ImageManifest::parse(subject)?.annotations;
    let bundle = Descriptor::of(media_type::BUNDLE, bundle);
    let tag = Tag::bundle(&subject_descriptor.digest, core.now(), tag_random());
    let bytes = encode_bundle_manifest(&subject_descriptor, &bundle, &annotations);
    let upload = ManifestUpload {
        bytes: bytes.into(),
        media_type: media_type::IMAGE_MANIFEST,
        tag: Some(tag),
        referrer: Some(ReferrerEntry {
            subject: subject_descriptor.digest,
            artifact_type: media_type::BUNDLE.to_owned(),
        }),
    };
    core.repository.push_manifest(&upload).await?;
    crash::point!("outbox.bundle.attached");
    Ok(())
}

/// Pushes a blob of a few bytes unless it exists.
pub(super) async fn push_small_blob(
    repository: &dyn Repository,
    bytes: &[u8],
) -> Result<(), MailboxError> {
    let digest = Digest::of(bytes);
    if !repository.blob_exists(&digest).await? {
        repository.push_blob(&digest, Bytes::copy_from_slice(bytes)).await?;
    }
    Ok(())
}

/// Returns the upload of an image manifest, under `tag` or by its digest alone.
pub(super) fn manifest_upload(bytes: Bytes, tag: Option<Tag>) -> ManifestUpload {
    ManifestUpload { bytes, media_type: media_type::IMAGE_MANIFEST, tag, referrer: None }
}

/// Returns the random part of a tag.
pub(super) fn tag_random() -> TagRandom {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    TagRandom::new(u32::try_from(low & 0x00ff_ffff).unwrap_or_default())
}
