//! Whether a manifest is there: what each kind of "not found" proves.

use super::*;
use crate::protocol::{Digest, ErrorClass};
use crate::registry::{Presence, Repository as _};

fn error(status: u16, code: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"x"}}]}}"#);
    Reply::new(status, body).with("Content-Type", "application/json")
}

/// Answers requests for manifests and for the list of tags.
async fn asked(
    manifest: impl Fn() -> Reply + Send + Sync + 'static,
    tags: impl Fn() -> Reply + Send + Sync + 'static,
) -> (Result<Presence, RegistryError>, usize) {
    let server =
        Server::start(
            move |seen| {
                if seen.path().ends_with("/tags/list") { tags() } else { manifest() }
            },
        )
        .await;
    let presence = open(&server, &anonymous()).manifest_presence(&Digest::of(b"m")).await;
    (presence, server.seen().len())
}

#[tokio::test]
async fn only_an_answer_about_the_manifest_or_a_repository_with_tags_proves_that_it_is_gone() {
    type Answer = fn() -> Reply;
    let some_tags: Answer = || Reply::json(r#"{"tags":["t"]}"#);
    let no_tags: Answer = || Reply::json(r#"{"tags":[]}"#);
    let no_repository: Answer = || error(404, "NAME_UNKNOWN");
    let no_manifest: Answer = || error(404, "MANIFEST_UNKNOWN");
    let page: Answer = || Reply::new(404, "<html>").with("Content-Type", "text/html");
    let bare: Answer = || Reply::new(404, "");
    let other: Answer = || error(404, "NOT_FOUND");
    let cases: [(&str, Answer, Answer, Presence, usize); 11] = [
        ("it is there", || Reply::new(200, "{}"), some_tags, Presence::There, 1),
        ("docker-registry", no_manifest, some_tags, Presence::Gone, 2),
        ("docker-registry, wiped", no_manifest, no_repository, Presence::Gone, 2),
        ("Harbor", other, some_tags, Presence::Gone, 3),
        ("a bare 404", bare, some_tags, Presence::Gone, 3),
        ("a repository that was renamed", no_repository, no_repository, Presence::Unknown, 3),
        ("one that is hidden", no_repository, page, Presence::Unknown, 3),
        ("an empty one", other, no_tags, Presence::Unknown, 3),
        ("a wrong address", bare, bare, Presence::Unknown, 3),
        ("a page for everything", page, page, Presence::Unknown, 3),
        ("a page, and tags", page, some_tags, Presence::Gone, 3),
    ];
    for (what, manifest, tags, expected, request_count) in cases {
        let (presence, count) = asked(manifest, tags).await;

        assert_eq!(presence.unwrap(), expected, "{what}");
        assert_eq!(count, request_count, "{what}");
    }
}

#[tokio::test]
async fn a_registry_that_does_not_say_is_an_error() {
    for (status, code, expected) in [
        (401, "UNAUTHORIZED", ErrorClass::Denied),
        (403, "DENIED", ErrorClass::Denied),
        (404, "DENIED", ErrorClass::Denied),
        (429, "TOOMANYREQUESTS", ErrorClass::Unreachable),
        (500, "UNKNOWN", ErrorClass::Unreachable),
        (503, "UNKNOWN", ErrorClass::Unreachable),
    ] {
        let reply = move || error(status, code);
        let denied = || error(403, "DENIED");

        let (presence, _count) = asked(reply, denied).await;

        assert_eq!(presence.unwrap_err().class(), expected, "{status} {code}");
    }
    let (hidden, _count) = asked(|| error(404, "NAME_UNKNOWN"), || error(403, "DENIED")).await;
    assert_eq!(hidden.unwrap_err().class(), ErrorClass::Denied);
    let html = || Reply::new(200, "<html>").with("Content-Type", "text/html");
    let (page, _count) = asked(html, html).await;
    assert!(matches!(page, Err(RegistryError::WebPage)), "{page:?}");
}
