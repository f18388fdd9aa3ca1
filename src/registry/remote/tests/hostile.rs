//! Bodies without end, answers without a beginning, pages instead of data.

use bytes::Bytes;

use super::*;
use crate::protocol::{Digest, ErrorClass, Tag};
use crate::registry::{ManifestRef, Repository as _};

const ENDLESS_HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n";

fn tag() -> Tag {
    "inbox-x".parse().unwrap()
}

#[tokio::test]
async fn endless_bodies_are_cut_at_their_limits() {
    let server = Server::start(|_seen| Reply::endless(ENDLESS_HEAD)).await;
    let repository = open(&server, &anonymous());

    let manifest = repository.fetch_manifest(&ManifestRef::Tag(tag()), 1 << 20).await;
    let blob = repository.fetch_blob(&Digest::of(b"x"), 100_000).await;
    let tags = repository.list_tags("inbox-").await;
    let referrers = repository.list_referrers(&Digest::of(b"x")).await;

    assert!(
        matches!(manifest, Err(RegistryError::TooLarge { limit: 0x10_0000, .. })),
        "{manifest:?}"
    );
    assert!(matches!(blob, Err(RegistryError::TooLarge { limit: 100_000, .. })), "{blob:?}");
    assert!(matches!(tags, Err(RegistryError::TooLarge { .. })), "{tags:?}");
    assert!(matches!(referrers, Err(RegistryError::TooLarge { .. })), "{referrers:?}");
}

#[tokio::test]
async fn an_endless_error_body_does_not_hide_its_status() {
    let head = "HTTP/1.1 403 No\r\nTransfer-Encoding: identity\r\n\r\n";
    let server = Server::start(move |_seen| Reply::endless(head)).await;
    let repository = open(&server, &anonymous());

    let fetched = repository.fetch_blob(&Digest::of(b"x"), 10).await;

    assert!(matches!(fetched, Err(RegistryError::Denied { .. })), "{fetched:?}");
}

#[tokio::test]
async fn a_huge_claimed_length_reserves_nothing_and_is_refused() {
    let raw = b"HTTP/1.1 200 OK\r\nContent-Length: 4611686018427387904\r\n\r\nx";
    let server = Server::start(|_seen| Reply::Raw(raw.to_vec())).await;
    let repository = open(&server, &anonymous());

    let manifest = repository.fetch_manifest(&ManifestRef::Tag(tag()), 1 << 20).await;
    let blob = repository.fetch_blob(&Digest::of(b"x"), 1).await;

    assert!(matches!(manifest, Err(RegistryError::TooLarge { .. })), "{manifest:?}");
    assert!(matches!(blob, Err(RegistryError::TooLarge { .. })), "{blob:?}");
}

#[tokio::test]
async fn a_registry_that_hangs_or_drips_ends_at_the_deadline() {
    let drip = || Reply::Endless {
        head: ENDLESS_HEAD,
        piece: b"x".to_vec(),
        pause: Duration::from_millis(5),
    };
    let hanging = Server::start(|_seen| Reply::Hang).await;
    let dripping = Server::start(move |_seen| drip()).await;
    let stalling = Server::start(|_seen| Reply::Endless {
        head: ENDLESS_HEAD,
        piece: b"x".to_vec(),
        pause: Duration::from_hours(1),
    })
    .await;

    for server in [hanging, dripping, stalling] {
        let repository = open(&server, &hasty());

        let blob = repository.fetch_blob(&Digest::of(b"x"), 1 << 20).await;
        let manifest = repository.fetch_manifest(&ManifestRef::Tag(tag()), 1 << 20).await;
        let tags = repository.list_tags("inbox-").await;

        assert!(matches!(blob, Err(RegistryError::TimedOut)), "{blob:?}");
        assert!(matches!(manifest, Err(RegistryError::TimedOut)), "{manifest:?}");
        assert!(matches!(tags, Err(RegistryError::TimedOut)), "{tags:?}");
    }
}

#[tokio::test]
async fn an_upload_that_nobody_reads_ends_at_the_deadline() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(202, "").with("Location", "/up/1"),
        _ => Reply::Hang,
    })
    .await;
    let bytes = Bytes::from(vec![7; 1 << 20]);

    let pushed = open(&server, &hasty()).push_blob(&Digest::of(&bytes), bytes).await;

    assert!(matches!(pushed, Err(RegistryError::TimedOut)), "{pushed:?}");
}

#[tokio::test]
async fn a_login_page_of_the_network_is_never_taken_for_data() {
    let server = Server::start(|_seen| {
        Reply::new(200, "<html>log in</html>").with("Content-Type", "text/html; charset=utf-8")
    })
    .await;
    let repository = open(&server, &anonymous());
    let digest = Digest::of(b"x");

    let classes = [
        repository.fetch_manifest(&ManifestRef::Tag(tag()), 1000).await.unwrap_err().class(),
        repository.fetch_manifest(&ManifestRef::Digest(digest), 1000).await.unwrap_err().class(),
        repository.resolve_tag(&tag()).await.unwrap_err().class(),
        repository.blob_exists(&digest).await.unwrap_err().class(),
        repository.fetch_blob(&digest, 1000).await.unwrap_err().class(),
        repository.push_blob(&digest, Bytes::from_static(b"x")).await.unwrap_err().class(),
        repository.list_tags("inbox-").await.unwrap_err().class(),
        repository.list_referrers(&digest).await.unwrap_err().class(),
        repository.delete_manifest(&digest).await.unwrap_err().class(),
        repository.probe().await.unwrap_err().class(),
    ];

    assert_eq!(classes, [ErrorClass::Malformed; 10]);
}

#[tokio::test]
async fn a_page_without_its_content_type_is_no_manifest_either() {
    let server = Server::start(|_seen| Reply::new(200, "<html>log in</html>")).await;

    let fetched = open(&server, &anonymous()).fetch_manifest(&ManifestRef::Tag(tag()), 1000).await;

    assert!(matches!(fetched, Err(RegistryError::Malformed { .. })), "{fetched:?}");
}

#[tokio::test]
async fn a_compressed_answer_is_refused() {
    let server =
        Server::start(|_seen| Reply::new(200, "{}").with("Content-Encoding", "gzip")).await;
    let repository = open(&server, &anonymous());

    let fetched = repository.fetch_blob(&Digest::of(b"{}"), 2).await;

    assert!(matches!(fetched, Err(RegistryError::Malformed { .. })), "{fetched:?}");
    assert_eq!(server.seen()[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn broken_http_is_an_error_and_never_data() {
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1000));
    let big_header =
        format!("HTTP/1.1 200 OK\r\nA: {}\r\nContent-Length: 2\r\n\r\n{{}}", "x".repeat(65 << 10));
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
        "\0\0\0\0",
        "",
        &many_headers,
        &big_header,
    ] {
        let bytes = raw.as_bytes().to_vec();
        let server = Server::start(move |_seen| Reply::Raw(bytes.clone())).await;

        let fetched =
            open(&server, &anonymous()).fetch_manifest(&ManifestRef::Tag(tag()), 1000).await;

        assert!(fetched.is_err(), "{raw:.60?}");
    }
}

#[tokio::test]
async fn throttling_carries_the_registrys_wish() {
    for (status, wish, expected) in
        [(429, "2", Some(2)), (503, "1000000000", Some(120)), (429, "x", None), (503, "-1", None)]
    {
        let server =
            Server::start(move |_seen| Reply::new(status, "").with("Retry-After", wish)).await;

        let fetched = open(&server, &anonymous()).fetch_blob(&Digest::of(b"x"), 1).await;

        let Err(RegistryError::Throttled { retry_after }) = fetched else {
            panic!("{status}: {fetched:?}");
        };
        assert_eq!(retry_after.map(|wait| wait.as_secs()), expected, "{status} {wish}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() {
    let server = Server::start(|_seen| Reply::Hang).await;
    let repository = open(&server, &anonymous());
    drop(server);

    let probed = repository.probe().await;

    assert!(matches!(probed, Err(RegistryError::Unreachable(_))), "{probed:?}");
}
