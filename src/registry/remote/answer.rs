//! The answer to one request, read with bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use reqwest::{Response, StatusCode, Url};
use tokio::time::{Instant, timeout};

use super::classify::{Refusal, parse_code, parse_unknown, retry_after, transport_error};
use super::options::Deadlines;
use super::pace::Pace;
use crate::registry::RegistryError;
use crate::sys::{Clock as _, SystemClock, Untrusted};

/// Most bytes of an error's body that are read.
const ERROR_LEN_MAX: u64 = 64 << 10;

/// Most bytes of an error's body that reach the log, escaped.
const ERROR_SHOWN_LEN_MAX: usize = 4 << 10;

/// An answer whose body has not been read yet.
pub(super) struct Answer {
    response: Response,
    deadlines: Deadlines,
    pace: Option<Arc<Pace>>,
    window_start: Instant,
    window_len: u64,
}

impl Answer {
    pub(super) fn new(response: Response, deadlines: Deadlines, pace: Option<Arc<Pace>>) -> Self {
        Self { response, deadlines, pace, window_start: Instant::now(), window_len: 0 }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn url(&self) -> &Url {
        self.response.url()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns a header's text; text that is not visible ASCII counts as absent.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the length of the body as the header claims it.
    pub(super) fn claimed_len(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Returns whether this is a page for people, as captive portals send.
    pub(super) fn is_html(&self) -> bool {
        let media_type = self.header(&CONTENT_TYPE).unwrap_or_default().trim_start();
        media_type.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("text/html"))
    }

    /// Fails unless the body is what it claims to be: not compressed, not a page.
    pub(super) fn require_plain(&self) -> Result<(), RegistryError> {
        if self.is_html() {
            return Err(RegistryError::WebPage);
        }
        match self.header(&CONTENT_ENCODING) {
            None | Some("" | "identity") => Ok(()),
            Some(_) => Err(RegistryError::Malformed {
                reason: "the answer is compressed, which was not requested".into(),
            }),
        }
    }

    /// Returns the next piece of the body, or `None` at its end.
    pub(super) async fn next_piece(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let piece = timeout(self.deadlines.idle, self.response.chunk())
            .await
            .map_err(|_elapsed| RegistryError::TimedOut)?
            .map_err(transport_error)?;
        let Some(piece) = piece else { return Ok(None) };
        if let Some(pace) = &self.pace {
            pace.pass(piece.len()).await;
        }
        self.window_len += piece.len() as u64;
        let window = self.window_start.elapsed();
        if window >= self.deadlines.rate_window {
            if Deadlines::is_too_slow(self.window_len, window) {
                return Err(RegistryError::TimedOut);
            }
            self.window_start = Instant::now();
            self.window_len = 0;
        }
        Ok(Some(piece))
    }

    /// Reads a body of at most `len_max` bytes.
    pub(super) async fn read(
        mut self,
        what: &'static str,
        len_max: u64,
    ) -> Result<Bytes, RegistryError> {
        let too_large = || RegistryError::TooLarge { what, limit: len_max };
        self.require_plain()?;
        if self.claimed_len().is_some_and(|len| len > len_max) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(piece) = self.next_piece().await? {
            if body.len() as u64 + piece.len() as u64 > len_max {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// Reads why the registry refused; whatever happens to the body, the status remains.
    pub(super) async fn into_refusal(mut self) -> Refusal {
        let status = self.status();
        let retry_after = retry_after(self.headers(), SystemClock.now());
        let mut body = BytesMut::new();
        let read = async {
            while let Ok(Some(piece)) = self.next_piece().await {
                body.extend_from_slice(&piece);
                if body.len() as u64 > ERROR_LEN_MAX {
                    break;
                }
            }
        };
        // The reason is a courtesy and not worth a long wait.
        timeout(ERROR_DEADLINE, read).await.ok();
        let shown = body.get(..ERROR_SHOWN_LEN_MAX).unwrap_or(&body);
        let shown = String::from_utf8_lossy(shown);
        tracing::debug!(status = status.as_u16(), body = %Untrusted(&shown), "registry refused");
        Refusal { status, code: parse_code(&body), unknown: parse_unknown(&body), retry_after }
    }
}

/// Longest wait for the body of an error.
const ERROR_DEADLINE: Duration = Duration::from_secs(5);
