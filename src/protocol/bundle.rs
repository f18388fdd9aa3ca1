//! The manifest that attaches a Sigstore bundle to a message or receipt (P15, P16).

use super::descriptor::{Annotations, Descriptor};
use super::digest::Digest;
use super::error::ProtocolError;
use super::limits::BUNDLE_LEN_MAX;
use super::manifest::ImageManifest;
use super::media_type;

/// Returns the canonical bundle manifest for `bundle`, which signs `subject` (P15).
///
/// `annotations` are the subject's own, copied so that generic tools show what the bundle is for.
pub fn encode_bundle_manifest(
    subject: &Descriptor,
    bundle: &Descriptor,
    annotations: &Annotations,
) -> Vec<u8> {
    let mut annotations = annotations.clone();
    // Harmless hints for other Sigstore tools.
    annotations.insert("dev.sigstore.bundle.content".into(), "dsse-envelope".into());
    annotations.insert("dev.sigstore.bundle.predicateType".into(), PREDICATE_TYPE.into());
    ImageManifest {
        artifact_type: Some(media_type::BUNDLE.to_owned()),
        config: Descriptor::empty(),
        layers: vec![bundle.clone()],
        subject: Some(subject.clone()),
        annotations,
    }
    .encode()
}

/// The predicate type of every statement that we sign.
pub const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Returns the layer that holds the bundle of `subject`, from a candidate manifest (P16).
///
/// # Errors
/// When the manifest names another subject, does not have exactly one layer, or the layer is not a
/// bundle or is too large. Annotations and artifact type are ignored: cosign writes its own.
pub fn parse_bundle_manifest(bytes: &[u8], subject: &Digest) -> Result<Descriptor, ProtocolError> {
    let manifest = ImageManifest::parse(bytes)?;
    if manifest.subject.is_some_and(|named| named.digest != *subject) {
        return Err(ProtocolError::bad("subject", "another manifest"));
    }
    let [layer] = manifest.layers.as_slice() else {
        return Err(ProtocolError::bad("layers", "not exactly one bundle"));
    };
    if !layer.media_type.starts_with(media_type::BUNDLE_PREFIX) {
        return Err(ProtocolError::WrongArtifact { expected: "bundle" });
    }
    if layer.size > BUNDLE_LEN_MAX {
        return Err(ProtocolError::TooLarge { what: "bundle", limit: BUNDLE_LEN_MAX });
    }
    Ok(layer.clone())
}
