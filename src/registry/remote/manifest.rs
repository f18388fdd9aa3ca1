//! Manifests: fetched and pushed as exact bytes, named by the hash of these bytes alone.

use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{Method, StatusCode};

use super::auth::Call;
use super::classify::OciCode;
use super::client::Client;
use super::transport::{Redirects, Request};
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Digest, Tag};
use crate::registry::{FetchedManifest, ManifestRef, ManifestUpload, RegistryError};

/// The types of a manifest or index, spelled out: docker-registry answers 404 without them.
pub(super) const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");

/// Means that the registry has indexed a push by its `subject` itself.
const SUBJECT_HEADER: HeaderName = HeaderName::from_static("oci-subject");

/// A manifest that the registry accepted.
pub(super) struct Pushed {
    pub(super) digest: Digest,
    /// The subject for which the registry has indexed it.
    pub(super) indexed_subject: Option<Digest>,
}

impl Client {
    pub(super) async fn get_manifest(
        &self,
        call: &Call,
        reference: &ManifestRef,
        len_max: u64,
    ) -> Result<FetchedManifest, RegistryError> {
        let name = match reference {
            ManifestRef::Tag(tag) => tag.to_string(),
            ManifestRef::Digest(digest) => digest.to_string(),
        };
        let request = Request::get(self.url(&format!("manifests/{name}")))
            .accept(MANIFEST_TYPES)
            .following(Redirects::SameOrigin);
        let answer = self.send(call, request).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer.into_refusal().await.into_error(name));
        }
        let bytes = answer.read("manifest", len_max).await?;
        // Cheap, and enough to tell a manifest from anything else a network puts in its place.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(RegistryError::Malformed { reason: "a manifest is not JSON".into() });
        }
        let digest = Digest::of(&bytes);
        match reference {
            ManifestRef::Digest(expected) if *expected != digest => {
                Err(RegistryError::DigestMismatch { expected: *expected, actual: digest })
            }
            _ => Ok(FetchedManifest { bytes, digest }),
        }
    }

    pub(super) async fn head_tag(
        &self,
        call: &Call,
        tag: &Tag,
    ) -> Result<Option<Digest>, RegistryError> {
        let request = Request::new(Method::HEAD, self.url(&format!("manifests/{tag}")))
            .accept(MANIFEST_TYPES)
            .following(Redirects::SameOrigin);
        let answer = self.send(call, request).await?;
        match answer.status() {
            StatusCode::OK => answer.require_plain()?,
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(answer.into_refusal().await.into_error(tag)),
        }
        if let Some(digest) = answer.header(&DIGEST_HEADER).and_then(|text| text.parse().ok()) {
            return Ok(Some(digest));
        }
        // The header is optional, and useless with another algorithm.
        let reference = ManifestRef::Tag(tag.clone());
        match self.get_manifest(call, &reference, MANIFEST_LEN_MAX).await {
            Ok(fetched) => Ok(Some(fetched.digest)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn put_manifest(
        &self,
        call: &Call,
        manifest: &ManifestUpload,
    ) -> Result<Pushed, RegistryError> {
        let digest = Digest::of(&manifest.bytes);
        let name = manifest.tag.as_ref().map_or_else(|| digest.to_string(), Tag::to_string);
        let url = self.url(&format!("manifests/{name}"));
        let request =
            Request::new(Method::PUT, url).body(manifest.media_type, manifest.bytes.clone());
        let answer = self.send(call, request).await?;
        if !matches!(answer.status(), StatusCode::CREATED | StatusCode::ACCEPTED) {
            let refusal = answer.into_refusal().await;
            // We compute every digest that we name. docker-registry answers so while another client
            // pushes a blob that both manifests name: it reads the half-written link to the blob.
            if refusal.code == Some(OciCode::DigestInvalid) {
                return Err(RegistryError::Unreachable("the registry misread a digest".into()));
            }
            if refusal.code == Some(OciCode::BlobUnknown) {
                return Err(RegistryError::BlobUnknown { digests: refusal.unknown });
            }
            // The subject was pushed before: the registry has collected it, or lags.
            if refusal.code == Some(OciCode::ManifestUnknown)
                && let Some(referrer) = &manifest.referrer
            {
                return Err(RegistryError::BlobUnknown { digests: vec![referrer.subject] });
            }
            return Err(refusal.into_error(name));
        }
        let indexed_subject = answer.header(&SUBJECT_HEADER).and_then(|text| text.parse().ok());
        Ok(Pushed { digest, indexed_subject })
    }

    pub(super) async fn head_manifest(
        &self,
        call: &Call,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let request = Request::new(Method::HEAD, self.url(&format!("manifests/{digest}")))
            .accept(MANIFEST_TYPES);
        let answer = self.send(call, request).await?;
        match answer.status() {
            StatusCode::OK => answer.require_plain().map(|()| true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.into_refusal().await.into_error(digest)),
        }
    }

    /// Deletes a manifest by its digest, or a tag by its name.
    pub(super) async fn drop_manifest(
        &self,
        call: &Call,
        name: &(impl std::fmt::Display + Sync),
    ) -> Result<(), RegistryError> {
        let url = self.url(&format!("manifests/{name}"));
        let answer = self.send(call, Request::new(Method::DELETE, url)).await?;
        match answer.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(()),
            // Older registries; but a page says nothing about what was deleted.
            StatusCode::OK if answer.header(&CONTENT_TYPE).is_none() || !answer.is_html() => Ok(()),
            _ => Err(answer.into_refusal().await.into_error(name)),
        }
    }
}
