//! Blob uploads: a session, then everything in one PUT, which is fastest everywhere.

use bytes::Bytes;
use reqwest::header::LOCATION;
use reqwest::{Method, StatusCode};

use super::auth::Call;
use super::classify::OciCode;
use super::client::Client;
use super::transport::Request;
use crate::protocol::Digest;
use crate::registry::RegistryError;

/// Most upload sessions of one push: a registry that restarts loses one.
const SESSION_COUNT_MAX: usize = 3;

impl Client {
    /// Pushes a blob; a session that the registry lost is started again.
    pub(super) async fn upload_blob(
        &self,
        call: &Call,
        digest: &Digest,
        bytes: &Bytes,
    ) -> Result<(), RegistryError> {
        for _session in 1..SESSION_COUNT_MAX {
            match self.upload_once(call, digest, bytes).await? {
                Upload::Done => return Ok(()),
                Upload::SessionLost => {}
            }
        }
        match self.upload_once(call, digest, bytes).await? {
            Upload::Done => Ok(()),
            Upload::SessionLost => {
                Err(RegistryError::Unreachable("the registry keeps losing its uploads".into()))
            }
        }
    }

    async fn upload_once(
        &self,
        call: &Call,
        digest: &Digest,
        bytes: &Bytes,
    ) -> Result<Upload, RegistryError> {
        let request = Request::post(self.url("blobs/uploads/"));
        let answer = self.send(call, request).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(answer.into_refusal().await.into_error("repository"));
        }
        let location = answer.header(&LOCATION).ok_or_else(|| RegistryError::Malformed {
            reason: "an upload has no location".into(),
        })?;
        let mut url = self.resolve(answer.url(), location)?;
        // The session's state may be in the query, so parameters are only appended.
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let request = Request::new(Method::PUT, url).body(BLOB_TYPE, bytes.clone());
        let answer = self.send(call, request).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => return Ok(Upload::Done),
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => {
                return Ok(Upload::SessionLost);
            }
            _ => {}
        }
        let refusal = answer.into_refusal().await;
        if refusal.code == Some(OciCode::DigestInvalid) {
            let actual = Digest::of(bytes);
            if actual != *digest {
                return Err(RegistryError::DigestMismatch { expected: *digest, actual });
            }
            // Our bytes are right, so they were damaged in transit.
            return Ok(Upload::SessionLost);
        }
        Err(refusal.into_error(digest))
    }
}

const BLOB_TYPE: &str = "application/octet-stream";

enum Upload {
    Done,
    SessionLost,
}
