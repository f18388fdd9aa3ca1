//! One HTTP exchange with bounds: every wait has a deadline, every body and header a limit.
//!
//! It handles no login and follows no redirect: `client.rs` decides what is sent next, `auth.rs`
//! fetches tokens. Start at [`Transport::send`].
//!
//! **Must never:** add an `Authorization` of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, RANGE,
};
use reqwest::{Body, Certificate, Method, Url, redirect};
use tokio::time::timeout;

use super::answer::Answer;
use super::classify::transport_error;
use super::options::{Deadlines, RemoteOptions};
use super::pace::Pace;
use crate::registry::RegistryError;
use crate::sys::durable::read_bounded;

/// Largest headers of one answer in bytes.
const HEADERS_LEN_MAX: u32 = 64 << 10;

/// Largest CA file in bytes; the bundle of a whole system is below 1 MiB.
const CA_FILE_LEN_MAX: u64 = 4 << 20;

/// Bytes handed to the connection at once; the deadline of an upload counts these pieces.
const PIECE_LEN: usize = 64 << 10;

/// Where a request may be redirected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    None,
    SameOrigin,
    Anywhere,
}

/// A request, complete except for the authorization.
pub(super) struct Request {
    method: Method,
    pub(super) url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    pub(super) redirects: Redirects,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, redirects: Redirects::None }
    }

    pub(super) fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    pub(super) fn post(url: Url) -> Self {
        Self::new(Method::POST, url).with(CONTENT_LENGTH, HeaderValue::from(0))
    }

    pub(super) fn following(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }

    pub(super) fn accept(self, types: &'static str) -> Self {
        self.with(ACCEPT, HeaderValue::from_static(types))
    }

    /// Requests the bytes from `start` on.
    pub(super) fn range_from(self, start: usize) -> Self {
        let value = HeaderValue::try_from(format!("bytes={start}-"));
        self.with(RANGE, value.expect("digits are a header value"))
    }

    pub(super) fn body(mut self, media_type: &'static str, body: Bytes) -> Self {
        self.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        self.body = Some(body);
        self.with(CONTENT_TYPE, HeaderValue::from_static(media_type))
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// The connections to one registry and to its token server.
pub(super) struct Transport {
    http: reqwest::Client,
    base: Url,
    deadlines: Deadlines,
    upload_pace: Option<Arc<Pace>>,
    download_pace: Option<Arc<Pace>>,
}

impl Transport {
    /// Prepares the connections; nothing is sent. `base` is `scheme://host/v2/<name>/`.
    pub(super) fn new(
        base: Url,
        is_loopback: bool,
        options: &RemoteOptions,
    ) -> Result<Self, RegistryError> {
        let build = |roots: Roots| {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("dockercomms/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .referer(false)
                .connect_timeout(options.deadlines.connect)
                .http2_max_header_list_size(HEADERS_LEN_MAX);
            if is_loopback {
                // A proxy is another machine.
                builder = builder.no_proxy();
            }
            match roots {
                Roots::System(extra) => builder.tls_certs_merge(extra),
                Roots::None => builder.tls_certs_only([]),
            }
            .build()
        };
        let extra = match &options.ca_file {
            Some(path) => {
                let wrong = |what: &str| {
                    RegistryError::Configuration(format!("ca_file {}: {what}", path.display()))
                };
                let pem = read_bounded(path, CA_FILE_LEN_MAX)
                    .map_err(|error| wrong(&error.to_string()))?;
                let certificates = Certificate::from_pem_bundle(&pem)
                    .map_err(|_source| wrong("not PEM certificates"))?;
                if certificates.is_empty() {
                    return Err(wrong("no certificate in it"));
                }
                certificates
            }
            None => Vec::new(),
        };
        let http = match build(Roots::System(extra)) {
            Ok(http) => http,
            // A machine without ca-certificates can still use a registry that has no TLS.
            Err(_no_roots) if base.scheme() == "http" => {
                build(Roots::None).map_err(|error| unusable(&error))?
            }
            Err(error) => return Err(unusable(&error)),
        };
        Ok(Self {
            http,
            base,
            deadlines: options.deadlines,
            upload_pace: Pace::new(options.upload_bytes_per_sec),
            download_pace: Pace::new(options.download_bytes_per_sec),
        })
    }

    /// Returns `scheme://host/v2/<name>/`.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// Sends `request` to `url` with no authorization except the given one; returns the answer
    /// whatever its status.
    pub(super) async fn send(
        &self,
        request: &Request,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, RegistryError> {
        let mut builder = self
            .http
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone())
            // A compressed answer would have another size and digest than the requested bytes.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(header) = authorization {
            builder = builder.header(AUTHORIZATION, header);
        }
        let sent_len = Arc::new(AtomicU64::new(0));
        if let Some(body) = &request.body {
            let pace = self.upload_pace.clone();
            builder = builder.body(metered(body.clone(), Arc::clone(&sent_len), pace));
        }
        let mut response = std::pin::pin!(builder.send());
        let window = self.deadlines.first_byte;
        let mut seen_len = 0;
        let response = loop {
            match timeout(window, &mut response).await {
                Ok(result) => break result.map_err(transport_error)?,
                // An upload takes as long as it makes progress.
                Err(_elapsed) => {
                    let now_len = sent_len.load(Ordering::Relaxed);
                    if Deadlines::is_too_slow(now_len - seen_len, window) {
                        return Err(RegistryError::TimedOut);
                    }
                    seen_len = now_len;
                }
            }
        };
        let len: usize = response.headers().iter().map(|(k, v)| k.as_str().len() + v.len()).sum();
        if len > HEADERS_LEN_MAX as usize {
            return Err(RegistryError::TooLarge { what: "header", limit: HEADERS_LEN_MAX.into() });
        }
        Ok(Answer::new(response, self.deadlines, self.download_pace.clone()))
    }
}

enum Roots {
    System(Vec<Certificate>),
    None,
}

/// Turns `body` into a stream that counts what the connection has accepted, at the given pace.
fn metered(body: Bytes, sent_len: Arc<AtomicU64>, pace: Option<Arc<Pace>>) -> Body {
    let starts = (0..body.len()).step_by(PIECE_LEN);
    let pieces = starts.map(move |start| {
        let piece = body.slice(start..body.len().min(start + PIECE_LEN));
        sent_len.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece)
    });
    let Some(pace) = pace else { return Body::wrap_stream(stream::iter(pieces)) };
    Body::wrap_stream(stream::iter(pieces).then(move |piece| {
        let pace = Arc::clone(&pace);
        async move {
            let len = piece.as_ref().map_or(0, Bytes::len);
            pace.pass(len).await;
            piece
        }
    }))
}

fn unusable(error: &reqwest::Error) -> RegistryError {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    RegistryError::Configuration(format!(
        "TLS cannot be set up: {cause}; install ca-certificates or set ca_file"
    ))
}
