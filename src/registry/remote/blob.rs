//! Blobs: existence, and checked transfer, resumed where the connection broke.

use bytes::Bytes;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::auth::Call;
use super::client::Client;
use super::transport::{Redirects, Request};
use crate::protocol::Digest;
use crate::registry::RegistryError;
use crate::sys::buffer::{self, Buffer};

/// Most times that one fetch resumes after its connection broke; a new fetch is up to the retry
/// layer.
const RESUME_COUNT_MAX: usize = 3;

/// Most bytes reserved for a blob before any of it has arrived; the size is only a promise.
const RESERVE_LEN_MAX: u64 = 16 << 20;

impl Client {
    pub(super) async fn head_blob(
        &self,
        call: &Call,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"));
        let request = Request::new(Method::HEAD, url).following(Redirects::Anywhere);
        let answer = self.send(call, request).await?;
        match answer.status() {
            // A page in place of the blob would otherwise count as a finished upload.
            StatusCode::OK if answer.is_html() => Err(RegistryError::WebPage),
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.into_refusal().await.into_error(digest)),
        }
    }

    pub(super) async fn get_blob(
        &self,
        call: &Call,
        digest: &Digest,
        size: u64,
    ) -> Result<Bytes, RegistryError> {
        let mut part = Part::new(size);
        let mut resume_count = 0;
        loop {
            let had_len = part.len();
            match self.get_rest(call, digest, &mut part).await {
                Ok(()) => return part.finish(digest),
                Err(error) => {
                    let has_moved = part.len() != had_len;
                    // A body that is too slow would be as slow again: that is up to the retry
                    // layer, which knows the deadline of the whole.
                    if !matches!(error, RegistryError::Unreachable(_))
                        || !has_moved
                        || resume_count == RESUME_COUNT_MAX
                    {
                        return Err(error);
                    }
                    resume_count += 1;
                    tracing::debug!(%digest, len = part.len(), "blob broke off, resuming");
                }
            }
        }
    }

    /// Fetches what `part` lacks; an error leaves in it what has arrived.
    async fn get_rest(
        &self,
        call: &Call,
        digest: &Digest,
        part: &mut Part,
    ) -> Result<(), RegistryError> {
        let url = self.url(&format!("blobs/{digest}"));
        let mut request = Request::get(url).following(Redirects::Anywhere);
        let start = part.len();
        if start > 0 {
            request = request.range_from(start);
        }
        let mut answer = self.send(call, request).await?;
        match answer.status() {
            // It ignored the range and sends everything.
            StatusCode::OK => part.clear(),
            StatusCode::PARTIAL_CONTENT if start > 0 => {
                if range_start(&answer) != Some(start as u64) {
                    // Other bytes than requested. What we had is dropped, too.
                    part.clear();
                    return Err(RegistryError::Unreachable(
                        "another range than requested arrived".into(),
                    ));
                }
            }
            // It has no more than what arrived: the blob is shorter than promised.
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => return Ok(()),
            _ => return Err(answer.into_refusal().await.into_error(digest)),
        }
        answer.require_plain()?;
        if answer.claimed_len().is_some_and(|len| part.len() as u64 + len > part.size) {
            return Err(part.too_large());
        }
        while let Some(piece) = answer.next_piece().await? {
            part.push(&piece)?;
        }
        if part.is_whole() {
            return Ok(());
        }
        Err(RegistryError::Unreachable("the blob ended early".into()))
    }
}

fn range_start(answer: &Answer) -> Option<u64> {
    let text = answer.header(&CONTENT_RANGE)?.strip_prefix("bytes ")?;
    text.split_once('-')?.0.trim().parse().ok()
}

/// What has arrived of a blob.
struct Part {
    size: u64,
    /// Padding, so that the bytes of the blob can go to a disk as they are.
    start: usize,
    bytes: Buffer,
    hasher: Sha256,
}

impl Part {
    fn new(size: u64) -> Self {
        let reserve = usize::try_from(size.min(RESERVE_LEN_MAX)).unwrap_or_default();
        let bytes = buffer::take_aligned(reserve);
        Self { size, start: bytes.len(), bytes, hasher: Sha256::new() }
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn is_whole(&self) -> bool {
        self.len() as u64 == self.size
    }

    fn clear(&mut self) {
        self.bytes.truncate(self.start);
        self.hasher = Sha256::new();
    }

    fn too_large(&self) -> RegistryError {
        RegistryError::TooLarge { what: "blob", limit: self.size }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), RegistryError> {
        if self.len() as u64 + piece.len() as u64 > self.size {
            return Err(self.too_large());
        }
        self.bytes.extend_from_slice(piece);
        self.hasher.update(piece);
        Ok(())
    }

    fn finish(self, expected: &Digest) -> Result<Bytes, RegistryError> {
        let is_whole = self.is_whole();
        let actual = Digest::from_bytes(self.hasher.finalize().into());
        if actual != *expected || !is_whole {
            // If the bytes are right but their size is not the descriptor's, the descriptor is false.
            if actual == *expected {
                return Err(RegistryError::Malformed {
                    reason: "a blob has another size than its descriptor".into(),
                });
            }
            return Err(RegistryError::DigestMismatch { expected: *expected, actual });
        }
        Ok(Bytes::from(self.bytes).slice(self.start..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_blob_begins_where_a_block_of_a_disk_may_also_when_it_came_anew() {
        let blob: Vec<u8> = (0..=u8::MAX).cycle().take(3_000_001).collect();
        let mut part = Part::new(blob.len() as u64);

        part.push(b"other bytes").unwrap();
        part.clear();
        blob.chunks(1 << 16).for_each(|piece| part.push(piece).unwrap());
        let is_full = part.push(b"x").is_err();
        let found = part.finish(&Digest::of(&blob)).unwrap();

        assert!(is_full && found == blob);
        assert!(found.as_ptr().addr().is_multiple_of(buffer::ALIGNMENT));
    }
}
