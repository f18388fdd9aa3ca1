//! Answers to 401: a password for the registry, or a token from its token server.
//!
//! **Invariant:** a secret is sent only to the registry's own origin or to a realm that
//! [`origin::may_see_password`] allows, and never into a log or an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::{Bearer, Challenge, choose};
use super::credentials::{Credential, CredentialError, CredentialSource, Secret};
use super::origin;
use super::transport::{Request, Transport};
use crate::registry::RegistryError;
use crate::sys::blocking;

/// Most token requests of one call: a registry that always answers 401 must not cause a loop.
const TOKEN_REQUEST_COUNT_MAX: u8 = 3;

/// Largest answer of a token server in bytes; real ones are below 8 KiB.
const TOKEN_ANSWER_LEN_MAX: u64 = 64 << 10;

/// Bounds of a token's lifetime: one second would mean one token per request, a year a stale one.
const TOKEN_LIFE_SECS: std::ops::RangeInclusive<i64> = 60..=3600;

/// A token is renewed this long before it expires, so that it does not expire in transit.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// What one call of the trait may still spend.
#[derive(Debug)]
pub(super) struct Call {
    token_requests_left: AtomicU8,
}

impl Call {
    pub(super) fn new() -> Self {
        Self { token_requests_left: AtomicU8::new(TOKEN_REQUEST_COUNT_MAX) }
    }

    fn take_token_request(&self) -> Result<(), RegistryError> {
        let take = |left: u8| left.checked_sub(1);
        let took =
            self.token_requests_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        took.map(|_before| ()).map_err(|_zero| denied("the registry keeps demanding new tokens"))
    }
}

/// The header that a request carries, and which renewal it came from.
#[derive(Clone, Default)]
pub(super) struct Grant {
    /// Marked sensitive, so that it is not shown.
    pub(super) header: Option<HeaderValue>,
    generation: u64,
}

#[derive(Default)]
struct State {
    grant: Grant,
    /// The token's challenge and end; `None` for a password.
    bearer: Option<(Bearer, Instant)>,
    /// Whether a request needed permission to delete, which is not requested otherwise.
    may_delete: bool,
    /// Why the last look-up found no login, if one is configured.
    lookup_failure: Option<CredentialError>,
}

/// Keeps one repository's password or token.
pub(super) struct Authenticator {
    host: String,
    repository: String,
    source: Arc<dyn CredentialSource>,
    realms: Vec<String>,
    state: parking_lot::Mutex<State>,
    /// Held while a token is fetched, so that many requests wait for one.
    renewal: tokio::sync::Mutex<()>,
    /// What the source's logins looked like at the last look.
    mark: AtomicU64,
}

impl Authenticator {
    pub(super) fn new(
        host: String,
        repository: String,
        source: Arc<dyn CredentialSource>,
        realms: Vec<String>,
    ) -> Self {
        let (state, renewal) = (parking_lot::Mutex::default(), tokio::sync::Mutex::default());
        let mark = AtomicU64::new(source.mark());
        Self { host, repository, source, realms, state, renewal, mark }
    }

    /// Returns whether the login may have changed since the last call; what came from the old one is
    /// no longer sent then.
    pub(super) async fn login_changed(&self) -> bool {
        let source = Arc::clone(&self.source);
        let Ok(mark) = blocking::run(move || source.mark()).await else { return false };
        if self.mark.swap(mark, Ordering::Relaxed) == mark {
            return false;
        }
        let mut state = self.state.lock();
        // Of the same generation: a request that was refused with the old header logs in anew.
        state.grant.header = None;
        state.bearer = None;
        state.lookup_failure = None;
        true
    }

    /// Returns what to send; a token near its end is renewed first, since the request may carry
    /// megabytes that a 401 would waste.
    pub(super) async fn grant(&self, transport: &Transport, call: &Call) -> Grant {
        let (grant, expired) = {
            let state = self.state.lock();
            let expired = state.bearer.as_ref().filter(|(_bearer, end)| *end <= Instant::now());
            (state.grant.clone(), expired.map(|(bearer, _end)| bearer.clone()))
        };
        let Some(bearer) = expired else { return grant };
        // If that fails, the 401 that follows tells the caller why.
        self.renew(transport, call, Challenge::Bearer(bearer), &grant).await.ok();
        self.state.lock().grant.clone()
    }

    /// Answers the challenge in `headers` to a request that carried `refused`.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        call: &Call,
        headers: &HeaderMap,
        refused: &Grant,
    ) -> Result<(), RegistryError> {
        let challenge =
            choose(headers).ok_or_else(|| denied("it does not say how to log in (status 401)"))?;
        self.renew(transport, call, challenge, refused).await
    }

    async fn renew(
        &self,
        transport: &Transport,
        call: &Call,
        challenge: Challenge,
        refused: &Grant,
    ) -> Result<(), RegistryError> {
        let _one_at_a_time = self.renewal.lock().await;
        let wants_delete = matches!(&challenge, Challenge::Bearer(b) if asks_to_delete(&b.scope));
        let may_delete = {
            let mut state = self.state.lock();
            let is_known = state.may_delete || !wants_delete;
            if state.grant.generation != refused.generation && is_known {
                return Ok(()); // another request has renewed it
            }
            state.may_delete |= wants_delete;
            state.may_delete
        };
        let (header, bearer) = match challenge {
            Challenge::Basic => match self.lookup().await? {
                Some(Credential::Password { username, password }) => {
                    (basic(&username, &password)?, None)
                }
                Some(Credential::IdentityToken(_)) => {
                    return Err(denied("it requires a password, but the login is a token"));
                }
                None => return Err(self.no_credentials()),
            },
            Challenge::Bearer(bearer) => {
                let (header, life) = self.fetch_token(transport, call, &bearer, may_delete).await?;
                (header, Some((bearer, Instant::now() + life - TOKEN_MARGIN)))
            }
        };
        let mut state = self.state.lock();
        state.grant = Grant { header: Some(header), generation: state.grant.generation + 1 };
        state.bearer = bearer;
        Ok(())
    }

    async fn fetch_token(
        &self,
        transport: &Transport,
        call: &Call,
        bearer: &Bearer,
        may_delete: bool,
    ) -> Result<(HeaderValue, Duration), RegistryError> {
        let realm = origin::resolve_realm(transport.base(), &bearer.realm)
            .map_err(|bad| denied(&format!("its token server cannot be used: {bad}")))?;
        let credential = self.lookup().await?;
        if credential.is_some() && !origin::may_see_password(transport.base(), &realm, &self.realms)
        {
            let host = realm.host_str().unwrap_or_default();
            return Err(denied(&format!(
                "it wants the password sent to {host}; add that host to auth_realms if that is right"
            )));
        }
        // A token server may refuse a whole request because it includes the right to push.
        let actions = if may_delete { "pull,push,delete" } else { "pull,push" };
        for actions in [actions, "pull"] {
            let scope = format!("repository:{}:{actions}", self.repository);
            let request = token_request(&realm, bearer, &scope, credential.as_ref())?;
            call.take_token_request()?;
            let TokenRequest { request, header } = request;
            let answer = transport.send(&request, &request.url, header.as_ref()).await?;
            match answer.status() {
                StatusCode::OK => {
                    return match answer.read("token answer", TOKEN_ANSWER_LEN_MAX).await {
                        Ok(body) => parse_token(&body),
                        Err(error) if error.class().is_transient() => Err(error),
                        Err(_unusable) => Err(not_a_token()),
                    };
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {}
                status if status.is_redirection() => {
                    return Err(denied("its token server redirects"));
                }
                _ => return Err(answer.into_refusal().await.into_error("token")),
            }
        }
        Err(if credential.is_some() {
            denied("the token server does not accept the login")
        } else {
            self.no_credentials()
        })
    }

    async fn lookup(&self) -> Result<Option<Credential>, RegistryError> {
        match self.source.lookup(&self.host, &self.repository).await {
            Ok(found) => {
                self.state.lock().lookup_failure = None;
                Ok(found)
            }
            // Anonymous access may suffice, as when a login file names a helper that is not
            // installed.
            Err(error) => {
                tracing::warn!(host = self.host, %error, "no credentials, continuing anonymously");
                self.state.lock().lookup_failure = Some(error);
                Ok(None)
            }
        }
    }

    fn no_credentials(&self) -> RegistryError {
        let host = &self.host;
        self.unreadable_login().unwrap_or_else(|| {
            denied(&format!("no login for {host} was found; run `docker login {host}`"))
        })
    }

    /// Returns why the registry sees us as anonymous, when a configured login cannot be read.
    pub(super) fn unreadable_login(&self) -> Option<RegistryError> {
        let failure = self.state.lock().lookup_failure.clone()?;
        let reason = format!("no login for {} could be read: {failure}", self.host);
        Some(RegistryError::LoginUnreadable { reason })
    }
}

fn denied(reason: &str) -> RegistryError {
    RegistryError::Denied { reason: reason.to_owned() }
}

/// A page or junk instead of a token: for the caller that is a failed login like any other.
fn not_a_token() -> RegistryError {
    denied("the token server's answer is not a token")
}

fn asks_to_delete(scope: &str) -> bool {
    let mut parts = scope.split_whitespace().filter_map(|one| one.rsplit_once(':'));
    parts.any(|(_name, actions)| actions.split(',').any(|a| a == "delete" || a == "*"))
}

struct TokenRequest {
    request: Request,
    header: Option<HeaderValue>,
}

/// Builds the request of the token specification, or of `OAuth2` for a refresh token.
fn token_request(
    realm: &Url,
    bearer: &Bearer,
    scope: &str,
    credential: Option<&Credential>,
) -> Result<TokenRequest, RegistryError> {
    let mut url = realm.clone();
    url.set_fragment(None);
    let service = bearer.service.as_deref().unwrap_or_default();
    if let Some(Credential::IdentityToken(token)) = credential {
        let mut form = realm.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service)
            .append_pair("scope", scope)
            .append_pair("client_id", "dockercomms")
            .append_pair("refresh_token", token.expose());
        let body = Bytes::from(form.query().unwrap_or_default().to_owned());
        let request = Request::post(url).body("application/x-www-form-urlencoded", body);
        return Ok(TokenRequest { request, header: None });
    }
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("service", service).append_pair("scope", scope);
        if let Some(Credential::Password { username, .. }) = credential {
            query.append_pair("account", username);
        }
    }
    let header = match credential {
        Some(Credential::Password { username, password }) => Some(basic(username, password)?),
        _ => None,
    };
    Ok(TokenRequest { request: Request::get(url), header })
}

fn basic(username: &str, password: &Secret) -> Result<HeaderValue, RegistryError> {
    let encoded = BASE64.encode(format!("{username}:{}", password.expose()).as_bytes());
    sensitive(&format!("Basic {encoded}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut header = HeaderValue::from_str(text).map_err(|_source| not_a_token())?;
    header.set_sensitive(true);
    Ok(header)
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<i64>,
}

fn parse_token(body: &[u8]) -> Result<(HeaderValue, Duration), RegistryError> {
    let answer: TokenAnswer = serde_json::from_slice(body).map_err(|_source| not_a_token())?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let header = sensitive(&format!("Bearer {}", token.ok_or_else(not_a_token)?))?;
    let (min, max) = TOKEN_LIFE_SECS.into_inner();
    let secs = answer.expires_in.unwrap_or(min).clamp(min, max);
    Ok((header, Duration::from_secs(secs.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_life_is_clamped() {
        for (answer, expected) in [
            (r#"{"token":"t"}"#, Some(60)),
            (r#"{"access_token":"t","expires_in":300}"#, Some(300)),
            (r#"{"token":"t","expires_in":-5}"#, Some(60)),
            (r#"{"token":"t","expires_in":1000000000}"#, Some(3600)),
            (r#"{"token":""}"#, None),
            (r#"{"token":"a\nb"}"#, None),
            (r#"{"token":7}"#, None),
            ("{}", None),
            ("<html>", None),
        ] {
            let life = parse_token(answer.as_bytes()).map(|(_header, life)| life.as_secs());

            assert_eq!(life.ok(), expected, "{answer}");
        }
    }

    #[test]
    fn a_token_header_is_sensitive() {
        let (header, _life) = parse_token(br#"{"token":"hush"}"#).unwrap();

        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("hush"));
    }

    #[test]
    fn permission_to_delete_is_asked_for_only_when_the_registry_wants_it() {
        assert!(asks_to_delete("repository:a/b:delete"));
        assert!(asks_to_delete("repository:a/b:*"));
        assert!(!asks_to_delete("repository:a/delete:pull,push"));
        assert!(!asks_to_delete(""));
    }
}
