//! A repository in an OCI registry, accessed over HTTP by the distribution specification.
//!
//! The registry is an adversary: every body has a limit, every wait a deadline, every list a bound,
//! and credentials go to the registry and its token server only. Nothing here retries a failed
//! request (that is [`crate::registry::retry`]) and nothing interprets a message. Start at
//! [`RemoteRepository::open`]; [`transport`] has the bounds, [`client`] the redirects, [`auth`] the
//! secrets and [`origin`] the rules about other hosts.
//!
//! Only the grammar of names comes from oci-client: its transfers have neither limits nor
//! deadlines, and its passwords go to any realm.
//!
//! Of the environment, `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's certificates, and
//! `HTTPS_PROXY`, `NO_PROXY` and the like choose a proxy (never for this machine itself).

mod answer;
mod auth;
mod blob;
mod challenge;
mod classify;
mod client;
mod credentials;
mod manifest;
mod name;
mod options;
mod origin;
mod pace;
mod paging;
mod presence;
mod recent;
mod referrers;
#[cfg(test)]
mod tests;
mod transport;
mod upload;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Url;
use tokio::time::timeout;

pub use credentials::{Credential, CredentialError, CredentialSource, DockerCredentials, Secret};
pub use options::{Deadlines, RemoteOptions};

pub(super) use name::{is_loopback_host, parse_remote_name};

use auth::{Authenticator, Call};
use client::Client;
use paging::TagLister;
use referrers::Referrers;
use transport::Transport;

use super::{
    FetchedManifest, ManifestRef, ManifestUpload, Presence, RegistryError, Repository,
    RepositoryReference, SweptBlobs, TagList,
};
use crate::protocol::{Descriptor, Digest, Tag};

/// One repository of one registry.
///
/// Cheap to share behind an `Arc`; one object has one login and one pool of connections.
pub struct RemoteRepository {
    reference: RepositoryReference,
    client: Client,
    tags: TagLister,
    referrers: Referrers,
}

impl RemoteRepository {
    /// Prepares access to the repository; nothing is sent yet.
    ///
    /// The scheme is fixed here: https, except http for this machine (P27) and if the user set
    /// `insecure`.
    ///
    /// # Errors
    /// [`RegistryError::Configuration`] for a layout reference, or when TLS cannot be set up.
    pub fn open(
        reference: &RepositoryReference,
        options: &RemoteOptions,
    ) -> Result<Self, RegistryError> {
        let RepositoryReference::Remote { host, repository } = reference else {
            let shown = format!("{reference} is not a remote registry");
            return Err(RegistryError::Configuration(shown));
        };
        let is_loopback = reference.is_loopback();
        let is_plain = if is_loopback { !options.loopback_tls } else { options.insecure };
        let scheme = if is_plain { "http" } else { "https" };
        // Docker's registry is not at the host in its name.
        let address = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let base = Url::parse(&format!("{scheme}://{address}/v2/{repository}/"))
            .map_err(|_source| RegistryError::Configuration(format!("{host} is not a host")))?;
        let auth = Authenticator::new(
            host.clone(),
            repository.clone(),
            std::sync::Arc::clone(&options.credentials),
            options.auth_realms.clone(),
        );
        Ok(Self {
            reference: reference.clone(),
            client: Client::new(Transport::new(base, is_loopback, options)?, auth),
            tags: TagLister::default(),
            referrers: Referrers::default(),
        })
    }

    /// Ends a call that carries no blob after its deadline.
    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<T, RegistryError>> + Send,
    ) -> Result<T, RegistryError> {
        let deadline = self.client.deadlines().metadata;
        timeout(deadline, call).await.unwrap_or(Err(RegistryError::TimedOut))
    }
}

#[async_trait]
impl Repository for RemoteRepository {
    fn reference(&self) -> String {
        self.reference.to_string()
    }

    async fn login_changed(&self) -> bool {
        self.client.login_changed().await
    }

    async fn probe(&self) -> Result<(), RegistryError> {
        self.within_deadline(paging::probe(&self.client, &Call::new())).await
    }

    async fn fetch_manifest(
        &self,
        reference: &ManifestRef,
        len_max: u64,
    ) -> Result<FetchedManifest, RegistryError> {
        self.within_deadline(self.client.get_manifest(&Call::new(), reference, len_max)).await
    }

    async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, RegistryError> {
        self.within_deadline(self.client.head_tag(&Call::new(), tag)).await
    }

    async fn manifest_presence(&self, digest: &Digest) -> Result<Presence, RegistryError> {
        self.within_deadline(presence::of_manifest(&self.client, &Call::new(), digest)).await
    }

    async fn push_manifest(&self, manifest: &ManifestUpload) -> Result<Digest, RegistryError> {
        let call = Call::new();
        self.within_deadline(async {
            let pushed = self.client.put_manifest(&call, manifest).await?;
            self.referrers.add(&self.client, &call, manifest, &pushed).await?;
            Ok(pushed.digest)
        })
        .await
    }

    async fn blob_exists(&self, digest: &Digest) -> Result<bool, RegistryError> {
        self.within_deadline(self.client.head_blob(&Call::new(), digest)).await
    }

    async fn fetch_blob(&self, digest: &Digest, size: u64) -> Result<Bytes, RegistryError> {
        self.client.get_blob(&Call::new(), digest, size).await
    }

    async fn push_blob(&self, digest: &Digest, bytes: Bytes) -> Result<(), RegistryError> {
        self.client.upload_blob(&Call::new(), digest, &bytes).await
    }

    async fn list_tags(&self, prefix: &str) -> Result<TagList, RegistryError> {
        self.tags.list(&self.client, &Call::new(), prefix).await
    }

    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        self.within_deadline(self.referrers.list(&self.client, &Call::new(), subject)).await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.within_deadline(self.client.drop_manifest(&Call::new(), digest)).await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<(), RegistryError> {
        self.within_deadline(self.client.drop_manifest(&Call::new(), tag)).await
    }

    async fn remove_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        let call = Call::new();
        self.within_deadline(self.referrers.remove(&self.client, &call, subject, referrer)).await
    }

    async fn sweep_blobs(
        &self,
        _age_min: Duration,
        _dry_run: bool,
    ) -> Result<Option<SweptBlobs>, RegistryError> {
        Ok(None)
    }
}
