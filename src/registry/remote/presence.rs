//! Whether the registry has a manifest, and what its "not found" is about.
//!
//! A 404 may be about the manifest, about a repository that was renamed or is hidden from us, or
//! come from something that is not a registry at all. Start at [`of_manifest`].

use reqwest::{Method, StatusCode};

use super::auth::Call;
use super::classify::OciCode;
use super::client::Client;
use super::manifest::MANIFEST_TYPES;
use super::paging;
use super::transport::{Redirects, Request};
use crate::protocol::Digest;
use crate::registry::{Presence, RegistryError};

/// Returns whether the registry has the manifest; up to three requests when it has not.
pub(super) async fn of_manifest(
    client: &Client,
    call: &Call,
    digest: &Digest,
) -> Result<Presence, RegistryError> {
    if client.head_manifest(call, digest).await? {
        return Ok(Presence::There);
    }
    // The answer to a HEAD has no body, and so no reason.
    let request = Request::new(Method::GET, client.url(&format!("manifests/{digest}")))
        .accept(MANIFEST_TYPES)
        .following(Redirects::SameOrigin);
    let answer = client.send(call, request).await?;
    if answer.status() == StatusCode::OK {
        answer.require_plain()?;
        return Ok(Presence::There);
    }
    let refusal = answer.into_refusal().await;
    if refusal.status != StatusCode::NOT_FOUND {
        return Err(refusal.into_error(digest));
    }
    if refusal.code == Some(OciCode::ManifestUnknown) {
        return Ok(Presence::Gone);
    }
    // Registries differ in the code for it; one that lists tags has the repository.
    Ok(if paging::has_tags(client, call).await? { Presence::Gone } else { Presence::Unknown })
}
