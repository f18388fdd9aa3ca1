//! Blobs and manifests through a registry that breaks off, lies and redirects.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::protocol::{Digest, media_type};
use crate::registry::{ManifestRef, ManifestUpload, RegistryError, Repository as _};

fn content() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i % 251) as u8).collect()
}

/// Sends half of the blob and breaks off; what it does with a range is up to `rest`.
fn breaking(
    rest: impl Fn(usize, &[u8]) -> Reply + Send + Sync,
) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| {
        let content = content();
        match seen.header("range") {
            None => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
                Reply::Raw([head.as_bytes(), &content[..100_000]].concat())
            }
            Some(range) => {
                let start = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
                rest(start.parse().unwrap(), &content)
            }
        }
    }
}

fn partial(start: usize, content: &[u8]) -> Reply {
    let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
    Reply::new(206, &content[start..]).with("Content-Range", range)
}

#[tokio::test]
async fn a_blob_that_broke_off_is_resumed_where_it_ended() {
    let server = Server::start(breaking(partial)).await;
    let content = content();

    let fetched = open(&server, &anonymous())
        .fetch_blob(&Digest::of(&content), content.len() as u64)
        .await
        .unwrap();

    assert_eq!(fetched, content);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].header("range").unwrap().starts_with("bytes="));
}

#[tokio::test]
async fn h28_a_registry_that_ignores_the_range_gives_the_right_bytes() {
    let server = Server::start(breaking(|_start, content| Reply::new(200, content))).await;
    let content = content();

    let fetched = open(&server, &anonymous())
        .fetch_blob(&Digest::of(&content), content.len() as u64)
        .await
        .unwrap();

    assert_eq!(fetched, content);
}

#[tokio::test]
async fn h29_a_wrong_range_never_gives_wrong_bytes() {
    let moved = breaking(|start, content| partial(start - 1, content));
    let claimed = breaking(|start, content| {
        let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
        let rest = content.len() - start;
        Reply::new(206, &content[..rest]).with("Content-Range", range)
    });
    let content = content();
    let size = content.len() as u64;

    let moved = Server::start(moved).await;
    let moved = open(&moved, &anonymous()).fetch_blob(&Digest::of(&content), size).await;
    let claimed = Server::start(claimed).await;
    let claimed = open(&claimed, &anonymous()).fetch_blob(&Digest::of(&content), size).await;

    assert!(moved.is_err(), "a moved range was taken");
    assert!(matches!(claimed, Err(RegistryError::DigestMismatch { .. })), "{:?}", claimed.err());
}

#[tokio::test]
async fn a_blob_that_always_breaks_off_at_once_is_not_asked_for_for_ever() {
    let server = Server::start(|_seen| {
        Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec())
    })
    .await;

    let fetched = open(&server, &anonymous()).fetch_blob(&Digest::of(b"x"), 10).await;

    assert!(matches!(fetched, Err(RegistryError::Unreachable(_))), "{fetched:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn wrong_bytes_and_wrong_sizes_are_errors() {
    let server = Server::start(|seen| match seen.header("range") {
        None => Reply::new(200, "forged"),
        Some(_) => Reply::new(416, ""),
    })
    .await;
    let repository = open(&server, &anonymous());

    let forged = repository.fetch_blob(&Digest::of(b"honest"), 6).await;
    let longer = repository.fetch_blob(&Digest::of(b"forged"), 5).await;
    let shorter = repository.fetch_blob(&Digest::of(b"forged and more"), 15).await;
    let right = repository.fetch_blob(&Digest::of(b"forged"), 6).await;

    let actual = Digest::of(b"forged");
    assert!(
        matches!(forged, Err(RegistryError::DigestMismatch { actual: a, .. }) if a == actual),
        "{forged:?}"
    );
    assert!(matches!(longer, Err(RegistryError::TooLarge { limit: 5, .. })), "{longer:?}");
    assert!(matches!(shorter, Err(RegistryError::DigestMismatch { .. })), "{shorter:?}");
    assert_eq!(right.unwrap(), "forged");
}

#[tokio::test]
async fn redirects_end_after_five_and_go_nowhere_dangerous() {
    for target in ["/v2/again", "file:///etc/passwd", "ftp://127.0.0.1/", "http://me:pw@127.0.0.1/"]
    {
        let server = Server::start(move |_seen| Reply::new(302, "").with("Location", target)).await;

        let fetched = open(&server, &anonymous()).fetch_blob(&Digest::of(b"x"), 1).await;

        assert!(matches!(fetched, Err(RegistryError::Malformed { .. })), "{target}: {fetched:?}");
        assert!(server.seen().len() <= 6);
    }
}

#[tokio::test]
async fn manifests_are_not_fetched_from_another_host() {
    let elsewhere = Server::start(|_seen| Reply::new(200, "{}")).await;
    let target = elsewhere.url("/manifest");
    let server =
        Server::start(move |_seen| Reply::new(307, "").with("Location", target.clone())).await;

    let reference = ManifestRef::Tag("x".parse().unwrap());
    let fetched = open(&server, &anonymous()).fetch_manifest(&reference, 100).await;

    assert!(matches!(fetched, Err(RegistryError::Malformed { .. })), "{fetched:?}");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_manifests_digest_is_computed_here_whatever_the_header_says() {
    let lie = Digest::of(b"another").to_string();
    let server = Server::start(move |_seen| {
        Reply::new(200, "{\"a\":1}").with("Docker-Content-Digest", lie.clone())
    })
    .await;
    let repository = open(&server, &anonymous());
    let truth = Digest::of(b"{\"a\":1}");

    let by_tag =
        repository.fetch_manifest(&ManifestRef::Tag("x".parse().unwrap()), 100).await.unwrap();
    let by_lie = repository.fetch_manifest(&ManifestRef::Digest(Digest::of(b"another")), 100).await;

    assert_eq!(by_tag.digest, truth);
    assert!(
        matches!(by_lie, Err(RegistryError::DigestMismatch { actual, .. }) if actual == truth),
        "{by_lie:?}"
    );
    let accept = server.seen()[0].header("accept").unwrap().to_owned();
    assert!(accept.contains(media_type::IMAGE_MANIFEST) && accept.contains("docker"));
}

#[tokio::test]
async fn a_tag_is_resolved_with_and_without_the_header() {
    let digest = Digest::of(b"{}");
    let server = Server::start(move |seen| match seen.path().rsplit('/').next() {
        Some("with") => Reply::new(200, "").with("Docker-Content-Digest", digest.to_string()),
        Some("without") => Reply::new(200, "{}"),
        _ => Reply::new(404, ""),
    })
    .await;
    let repository = open(&server, &anonymous());

    for (tag, expected) in [("with", Some(digest)), ("without", Some(digest)), ("none", None)] {
        let resolved = repository.resolve_tag(&tag.parse().unwrap()).await.unwrap();

        assert_eq!(resolved, expected, "{tag}");
    }
}

#[tokio::test]
async fn h24_a_token_that_expires_in_the_middle_of_an_upload_or_download_is_renewed() {
    // The number of the last token, and whether it was used: each is good for one request.
    let token = parking_lot::Mutex::new((0, true));
    let broken = breaking(partial);
    let server = Server::start(move |seen| {
        let host = seen.header("host").unwrap();
        let (number, is_used) = &mut *token.lock();
        if seen.path() == "/token" {
            (*number, *is_used) = (*number + 1, false);
            return Reply::json(format!(r#"{{"token":"t{number}","expires_in":1}}"#));
        }
        let is_current = seen.header("authorization") == Some(&format!("Bearer t{number}"));
        if !is_current || std::mem::replace(is_used, true) {
            let challenge = format!("Bearer realm=\"http://{host}/token\"");
            return Reply::new(401, "").with("WWW-Authenticate", challenge);
        }
        match seen.method.as_str() {
            "POST" => Reply::new(202, "").with("Location", "/up"),
            "PUT" => Reply::new(201, ""),
            _ => broken(seen),
        }
    })
    .await;
    let (repository, content) = (open(&server, &logged_in()), Bytes::from(content()));
    let digest = Digest::of(&content);

    repository.push_blob(&digest, content.clone()).await.unwrap();
    let fetched = repository.fetch_blob(&digest, content.len() as u64).await.unwrap();

    assert_eq!(fetched, content);
    let seen = server.seen();
    let count = |method: &str| seen.iter().filter(|seen| seen.method == method).count();
    // The session was started once; the body and both halves of the download found a token spent.
    assert_eq!((count("POST"), count("PUT")), (2, 2), "{seen:?}");
    assert_eq!(seen.iter().filter(|seen| seen.path() == "/token").count(), 4);
}

#[tokio::test]
async fn a_lost_upload_session_is_begun_anew() {
    let put_count = AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" => Reply::new(202, "").with("Location", "up/1?_state=a%2Fb"),
        _ => match put_count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::new(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#),
            1 => Reply::new(416, ""),
            _ => Reply::new(201, ""),
        },
    })
    .await;
    let bytes = Bytes::from(content());
    let digest = Digest::of(&bytes);

    open(&server, &anonymous()).push_blob(&digest, bytes.clone()).await.unwrap();

    let seen = server.seen();
    let last = seen.last().unwrap();
    assert_eq!(seen.len(), 6);
    assert_eq!(last.path(), "/v2/team/mail/blobs/uploads/up/1");
    assert_eq!(last.query("_state"), Some("a%2Fb"));
    assert_eq!(last.query("digest"), Some(digest.to_string().replace(':', "%3A").as_str()));
    assert_eq!(last.header("content-length"), Some("200000"));
    assert_eq!(last.body, bytes);
}

#[tokio::test]
async fn a_registry_that_loses_every_upload_is_left_alone() {
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" => Reply::new(202, "").with("Location", "/up"),
        _ => Reply::new(404, ""),
    })
    .await;

    let pushed = open(&server, &anonymous()).push_blob(&Digest::of(b""), Bytes::new()).await;

    assert!(matches!(pushed, Err(RegistryError::Unreachable(_))), "{pushed:?}");
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn a_digest_that_the_registry_refuses_is_checked_here() {
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" => Reply::new(202, "").with("Location", "/up"),
        _ => Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#),
    })
    .await;
    let repository = open(&server, &anonymous());

    let ours = repository.push_blob(&Digest::of(b"other"), Bytes::from_static(b"x")).await;
    let theirs = repository.push_blob(&Digest::of(b"x"), Bytes::from_static(b"x")).await;

    assert!(matches!(ours, Err(RegistryError::DigestMismatch { .. })), "{ours:?}");
    assert!(matches!(theirs, Err(RegistryError::Unreachable(_))), "{theirs:?}");
}

#[tokio::test]
async fn a_manifest_is_pushed_unchanged_under_its_tag_or_its_digest() {
    let server = Server::start(|_seen| Reply::new(201, "")).await;
    let repository = open(&server, &anonymous());
    let bytes = Bytes::from_static(b"{ \"odd\" :  1 }");
    let mut manifest = ManifestUpload {
        bytes: bytes.clone(),
        media_type: media_type::IMAGE_MANIFEST,
        tag: None,
        referrer: None,
    };

    let digest = repository.push_manifest(&manifest).await.unwrap();
    manifest.tag = Some("x".parse().unwrap());
    repository.push_manifest(&manifest).await.unwrap();

    assert_eq!(digest, Digest::of(&bytes));
    let seen = server.seen();
    assert_eq!(seen[0].target, format!("/v2/team/mail/manifests/{digest}"));
    assert_eq!(seen[1].target, "/v2/team/mail/manifests/x");
    assert_eq!(seen[1].header("content-type"), Some(media_type::IMAGE_MANIFEST));
    assert_eq!(seen[1].body, bytes);
}

#[tokio::test]
async fn a_manifest_whose_right_digest_is_refused_may_be_pushed_again() {
    let body = r#"{"errors":[{"code":"DIGEST_INVALID","message":"x"}]}"#;
    let server = Server::start(move |_seen| Reply::new(400, body)).await;
    let upload = ManifestUpload {
        bytes: Bytes::from_static(b"{}"),
        media_type: media_type::IMAGE_MANIFEST,
        tag: None,
        referrer: None,
    };

    let pushed = open(&server, &anonymous()).push_manifest(&upload).await;

    assert!(pushed.as_ref().is_err_and(|error| error.class().is_transient()), "{pushed:?}");
}

#[tokio::test]
async fn deletion_that_is_not_offered_is_rejected() {
    let server = Server::start(|_seen| {
        Reply::new(405, r#"{"errors":[{"code":"UNSUPPORTED","message":"\u001b[2J"}]}"#)
    })
    .await;

    let deleted = open(&server, &anonymous()).delete_manifest(&Digest::of(b"x")).await;

    let Err(RegistryError::Rejected { reason }) = deleted else { panic!("{deleted:?}") };
    assert_eq!(reason, "not offered by this registry (status 405, UNSUPPORTED)");
}

#[tokio::test]
async fn transfers_are_not_faster_than_their_limits() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(202, "").with("Location", "/v2/team/mail/blobs/uploads/1"),
        "PUT" => Reply::new(201, ""),
        _ => Reply::new(200, content()),
    })
    .await;
    let (content, digest) = (content(), Digest::of(&content()));
    // Two tenths of a second for each direction.
    let limited = RemoteOptions {
        upload_bytes_per_sec: 1_000_000,
        download_bytes_per_sec: 1_000_000,
        ..anonymous()
    };
    let repository = open(&server, &limited);
    // Unused time is not saved for later, except to make up for late timers.
    let least = Duration::from_millis(150);

    let begin = tokio::time::Instant::now();
    repository.push_blob(&digest, content.clone().into()).await.unwrap();
    assert!(begin.elapsed() >= least, "{:?}", begin.elapsed());

    let begin = tokio::time::Instant::now();
    let fetched = repository.fetch_blob(&digest, content.len() as u64).await.unwrap();
    assert!(begin.elapsed() >= least, "{:?}", begin.elapsed());
    assert_eq!(fetched, content);
    assert_eq!(server.seen().last().unwrap().method, "GET");
}
