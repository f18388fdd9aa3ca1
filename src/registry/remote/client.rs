//! Requests to one repository: the login that they carry and the redirects that they follow.
//!
//! **Invariant:** `Authorization` is sent to the registry's own origin only.

use reqwest::header::LOCATION;
use reqwest::{StatusCode, Url};

use super::answer::Answer;
use super::auth::{Authenticator, Call, Grant};
use super::options::Deadlines;
use super::origin;
use super::transport::{Redirects, Request, Transport};
use crate::registry::RegistryError;

/// Most redirects of one request.
const REDIRECT_COUNT_MAX: usize = 5;

/// Talks to one repository.
pub(super) struct Client {
    transport: Transport,
    auth: Authenticator,
}

impl Client {
    pub(super) fn new(transport: Transport, auth: Authenticator) -> Self {
        Self { transport, auth }
    }

    /// Returns `scheme://host/v2/<name>/`.
    pub(super) fn base(&self) -> &Url {
        self.transport.base()
    }

    pub(super) fn deadlines(&self) -> &Deadlines {
        self.transport.deadlines()
    }

    /// Returns whether the login may have changed since the last call.
    pub(super) async fn login_changed(&self) -> bool {
        self.auth.login_changed().await
    }

    /// Returns the URL of a path below the repository; `path` is built only from checked parts.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base().clone();
        url.set_path(&format!("{}{path}", self.base().path()));
        url
    }

    /// Resolves an address that the registry gave in its answer to a request to `current`.
    pub(super) fn resolve(&self, current: &Url, text: &str) -> Result<Url, RegistryError> {
        origin::resolve(self.base(), current, text).map_err(malformed)
    }

    /// As [`Client::resolve`], and refuses any other origin.
    pub(super) fn resolve_here(&self, current: &Url, text: &str) -> Result<Url, RegistryError> {
        origin::resolve_same_origin(self.base(), current, text).map_err(malformed)
    }

    /// Sends a request, logs in if challenged, follows redirects by the rules of [`origin`], and
    /// returns the answer whatever its status.
    pub(super) async fn send(
        &self,
        call: &Call,
        request: Request,
    ) -> Result<Answer, RegistryError> {
        let mut url = request.url.clone();
        let mut hop_count = 0;
        let mut may_log_in = true;
        loop {
            let is_ours = origin::same_origin(self.base(), &url);
            let grant = if is_ours {
                self.auth.grant(&self.transport, call).await
            } else {
                Grant::default()
            };
            let answer = self.transport.send(&request, &url, grant.header.as_ref()).await?;
            let status = answer.status();
            if status == StatusCode::UNAUTHORIZED && is_ours && may_log_in {
                may_log_in = false;
                self.auth.answer(&self.transport, call, answer.headers(), &grant).await?;
                continue;
            }
            let is_refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if is_refused
                && is_ours
                && let Some(error) = self.auth.unreadable_login()
            {
                return Err(error);
            }
            if !is_redirect(status) || request.redirects == Redirects::None {
                return Ok(answer);
            }
            hop_count += 1;
            if hop_count > REDIRECT_COUNT_MAX {
                return Err(RegistryError::Malformed { reason: "too many redirects".into() });
            }
            let location = answer.header(&LOCATION).ok_or_else(|| RegistryError::Malformed {
                reason: "a redirect has no target".into(),
            })?;
            url = match request.redirects {
                Redirects::SameOrigin => self.resolve_here(&url, location)?,
                Redirects::Anywhere | Redirects::None => self.resolve(&url, location)?,
            };
        }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn malformed(bad: origin::BadTarget) -> RegistryError {
    RegistryError::Malformed { reason: bad.to_string() }
}
