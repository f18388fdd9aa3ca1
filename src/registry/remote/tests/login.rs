//! Where the password goes: to the registry and its own token server, and nowhere else.

use bytes::Bytes;

use super::*;
use crate::protocol::Digest;
use crate::registry::{ManifestRef, Repository as _};

/// `me:hunter2` as a Basic header.
const BASIC: &str = "Basic bWU6aHVudGVyMg==";

fn unauthorized(challenge: String) -> Reply {
    Reply::new(401, "").with("WWW-Authenticate", challenge)
}

/// A registry whose token server is `/token` of itself; `token` answers it.
fn guarded(token: impl Fn(&Seen) -> Reply + Send + Sync) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| {
        let host = seen.header("host").unwrap();
        if seen.path() == "/token" {
            return token(seen);
        }
        if seen.header("authorization") == Some("Bearer good") {
            return Reply::new(200, "{}");
        }
        unauthorized(format!(
            "Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:team/mail:pull\""
        ))
    }
}

fn count(server: &Server, path: &str) -> usize {
    server.seen().iter().filter(|seen| seen.path() == path).count()
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_again() {
    let server = Server::start(guarded(|_seen| Reply::json(r#"{"token":"good"}"#))).await;
    let repository = open(&server, &logged_in());
    let reference = ManifestRef::Tag("x".parse().unwrap());

    let calls = (0..4).map(|_| repository.fetch_manifest(&reference, 100));
    let fetched = futures_util::future::join_all(calls).await;
    repository.fetch_manifest(&reference, 100).await.unwrap();

    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert_eq!(count(&server, "/token"), 1);
    let seen = server.seen();
    let token = seen.iter().find(|seen| seen.path() == "/token").unwrap();
    assert_eq!(token.header("authorization"), Some(BASIC));
    assert_eq!(token.query("scope"), Some("repository%3Ateam%2Fmail%3Apull%2Cpush"));
    assert_eq!(token.query("service"), Some("s"));
}

#[tokio::test]
async fn without_a_login_an_anonymous_token_is_used() {
    let server = Server::start(guarded(|seen| match seen.header("authorization") {
        None => Reply::json(r#"{"access_token":"good"}"#),
        Some(_) => Reply::new(500, ""),
    }))
    .await;

    let fetched = open(&server, &anonymous())
        .fetch_manifest(&ManifestRef::Tag("x".parse().unwrap()), 100)
        .await;

    assert!(fetched.is_ok(), "{fetched:?}");
}

#[tokio::test]
async fn a_realm_on_another_host_gets_no_password() {
    let thief = Server::start(|_seen| Reply::json(r#"{"token":"good"}"#)).await;
    let realm = thief.url("/token");
    let server =
        Server::start(move |_seen| unauthorized(format!("Bearer realm=\"{realm}\""))).await;
    let repository = open(&server, &logged_in());

    let fetched = repository.fetch_blob(&Digest::of(b"x"), 1).await;

    assert!(matches!(fetched, Err(RegistryError::Denied { .. })), "{fetched:?}");
    assert!(thief.seen().is_empty(), "{:?}", thief.seen());
}

#[tokio::test]
async fn a_realm_that_the_user_allows_gets_the_password() {
    let other = Server::start(|_seen| Reply::json(r#"{"token":"good"}"#)).await;
    let realm = other.url("/token");
    let server = Server::start(move |seen| match seen.header("authorization") {
        Some("Bearer good") => Reply::new(200, "x"),
        _ => unauthorized(format!("Bearer realm=\"{realm}\"")),
    })
    .await;
    let options = RemoteOptions { auth_realms: vec![other.address.to_string()], ..logged_in() };

    let fetched = open(&server, &options).fetch_blob(&Digest::of(b"x"), 1).await;

    assert!(fetched.is_ok(), "{fetched:?}");
    assert_eq!(other.seen()[0].header("authorization"), Some(BASIC));
}

#[tokio::test]
async fn an_identity_token_goes_into_a_form_and_not_into_an_address() {
    struct Token;
    #[async_trait]
    impl CredentialSource for Token {
        async fn lookup(&self, _: &str, _: &str) -> Result<Option<Credential>, CredentialError> {
            Ok(Some(Credential::IdentityToken(Secret::new("re&fresh".into()))))
        }
    }
    let server = Server::start(guarded(|_seen| Reply::json(r#"{"access_token":"good"}"#))).await;
    let options = RemoteOptions { credentials: Arc::new(Token), ..anonymous() };

    let fetched =
        open(&server, &options).fetch_manifest(&ManifestRef::Tag("x".parse().unwrap()), 100).await;

    assert!(fetched.is_ok(), "{fetched:?}");
    let seen = server.seen();
    let request = seen.iter().find(|seen| seen.path() == "/token").unwrap();
    let form = String::from_utf8(request.body.clone()).unwrap();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/token"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert!(form.starts_with("grant_type=refresh_token&service=s&scope="), "{form}");
    assert!(form.ends_with("&refresh_token=re%26fresh"), "{form}");
}

#[tokio::test]
async fn a_password_is_sent_only_after_it_was_asked_for() {
    let server = Server::start(|seen| match seen.header("authorization") {
        Some(BASIC) => Reply::new(200, "x"),
        _ => unauthorized("Basic realm=\"r\"".into()),
    })
    .await;
    let repository = open(&server, &logged_in());

    repository.fetch_blob(&Digest::of(b"x"), 1).await.unwrap();
    repository.fetch_blob(&Digest::of(b"x"), 1).await.unwrap();

    let sent: Vec<bool> =
        server.seen().iter().map(|seen| seen.header("authorization").is_some()).collect();
    assert_eq!(sent, [false, true, true]);
}

#[tokio::test]
async fn a_registry_that_is_never_satisfied_is_denied_without_a_loop() {
    for token in [
        Reply::json(r#"{"token":"bad","expires_in":-5}"#),
        Reply::json("{}"),
        Reply::new(403, ""),
        Reply::new(200, "<html>").with("Content-Type", "text/html"),
        Reply::new(302, "").with("Location", "http://127.0.0.1:1/"),
    ] {
        let token = parking_lot::Mutex::new(token);
        let server = Server::start(guarded(move |_seen| match &*token.lock() {
            Reply::Full { status, headers, body } => {
                Reply::Full { status: *status, headers: headers.clone(), body: body.clone() }
            }
            _ => Reply::Hang,
        }))
        .await;

        let fetched = open(&server, &logged_in()).fetch_blob(&Digest::of(b"x"), 1).await;

        assert!(matches!(fetched, Err(RegistryError::Denied { .. })), "{fetched:?}");
        assert!(count(&server, "/token") <= 3);
    }
}

#[tokio::test]
async fn h24_a_rejected_token_is_renewed_once() {
    let valid = Arc::new(parking_lot::Mutex::new("one"));
    let current = Arc::clone(&valid);
    let server = Server::start(move |seen| {
        let host = seen.header("host").unwrap();
        let token = *current.lock();
        if seen.path() == "/token" {
            return Reply::json(format!(r#"{{"token":"{token}"}}"#));
        }
        match seen.header("authorization") {
            Some(header) if header == format!("Bearer {token}") => Reply::new(200, "x"),
            _ => unauthorized(format!("Bearer realm=\"http://{host}/token\"")),
        }
    })
    .await;
    let repository = open(&server, &logged_in());
    repository.fetch_blob(&Digest::of(b"x"), 1).await.unwrap();

    *valid.lock() = "two";
    let fetched = repository.fetch_blob(&Digest::of(b"x"), 1).await;

    assert!(fetched.is_ok(), "{fetched:?}");
    assert_eq!(count(&server, "/token"), 2);
}

#[tokio::test]
async fn deleting_asks_for_a_token_that_may() {
    let server = Server::start(move |seen| {
        let host = seen.header("host").unwrap();
        if seen.path() == "/token" {
            let may_delete = seen.query("scope").unwrap().ends_with("delete");
            return Reply::json(format!(r#"{{"token":"{may_delete}"}}"#));
        }
        match (seen.method.as_str(), seen.header("authorization")) {
            ("DELETE", Some("Bearer true")) => Reply::new(202, ""),
            ("GET", Some(_)) => Reply::new(200, "x"),
            (method, _) => {
                let action = if method == "DELETE" { "delete" } else { "pull" };
                unauthorized(format!(
                    "Bearer realm=\"http://{host}/token\",scope=\"repository:team/mail:{action}\""
                ))
            }
        }
    })
    .await;
    let repository = open(&server, &logged_in());
    repository.fetch_blob(&Digest::of(b"x"), 1).await.unwrap();

    let deleted = repository.delete_manifest(&Digest::of(b"x")).await;

    assert!(deleted.is_ok(), "{deleted:?}");
}

#[tokio::test]
async fn another_host_never_sees_an_authorization() {
    let elsewhere = Server::start(|seen| match seen.method.as_str() {
        "PUT" => Reply::new(201, ""),
        _ => Reply::new(200, "x").with("Set-Cookie", "a=b"),
    })
    .await;
    let (blob, upload) = (elsewhere.url("/blob?sig=1"), elsewhere.url("/upload?state=2"));
    let server = Server::start(move |seen| match (seen.header("authorization"), &*seen.method) {
        (None, _) => unauthorized("Basic realm=\"r\"".into()),
        (Some(_), "POST") => Reply::new(202, "").with("Location", upload.clone()),
        (Some(_), _) => Reply::new(307, "").with("Location", blob.clone()),
    })
    .await;
    let repository = open(&server, &logged_in());
    let bytes = Bytes::from_static(b"x");

    let fetched = repository.fetch_blob(&Digest::of(b"x"), 1).await;
    let pushed = repository.push_blob(&Digest::of(b"x"), bytes).await;

    assert!(fetched.is_ok() && pushed.is_ok(), "{fetched:?} {pushed:?}");
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 2);
    for request in &seen {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("cookie"), None);
        assert_eq!(request.header("referer"), None);
    }
    assert_eq!(seen[1].query("state"), Some("2"));
    assert_eq!(seen[1].body, b"x");
}

#[tokio::test]
async fn another_host_that_asks_for_a_password_is_refused() {
    let elsewhere = Server::start(|_seen| unauthorized("Basic realm=\"r\"".into())).await;
    let target = elsewhere.url("/blob");
    let server =
        Server::start(move |_seen| Reply::new(307, "").with("Location", target.clone())).await;

    let fetched = open(&server, &logged_in()).fetch_blob(&Digest::of(b"x"), 1).await;

    assert!(matches!(fetched, Err(RegistryError::Denied { .. })), "{fetched:?}");
    assert_eq!(elsewhere.seen().len(), 1);
}

#[tokio::test]
async fn a_refusal_names_the_helper_that_failed() {
    struct Broken;
    #[async_trait]
    impl CredentialSource for Broken {
        async fn lookup(&self, _: &str, _: &str) -> Result<Option<Credential>, CredentialError> {
            Err(CredentialError::new("/home/me/config.json: the credential helper failed"))
        }
    }
    let basic = Server::start(|_seen| unauthorized("Basic realm=\"r\"".to_owned())).await;
    let bearer = Server::start(guarded(|_seen| Reply::new(401, ""))).await;
    // Grants anyone read access, and no one this.
    let reading = guarded(|_seen| Reply::json(r#"{"token":"reads"}"#));
    let forbidden = Server::start(move |seen| match seen.header("authorization") {
        Some("Bearer reads") => Reply::new(403, ""),
        _ => reading(seen),
    })
    .await;
    for server in [basic, bearer, forbidden] {
        let options = RemoteOptions { credentials: Arc::new(Broken), ..anonymous() };

        let fetched = open(&server, &options).fetch_blob(&Digest::of(b"x"), 1).await;

        let Err(RegistryError::LoginUnreadable { reason }) = fetched else { panic!("{fetched:?}") };
        assert!(reason.contains("/home/me/config.json: the credential helper"), "{reason}");
    }
}
