//! Referrers by the API and by the fallback tag.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::protocol::{Descriptor, Digest, Tag, media_type};
use crate::registry::{ManifestUpload, ReferrerEntry, RegistryError, Repository as _};

fn subject() -> Digest {
    Digest::of(b"subject")
}

fn attachment(i: usize) -> ManifestUpload {
    ManifestUpload {
        bytes: Bytes::from(format!("{{\"i\":{i}}}")),
        media_type: media_type::IMAGE_MANIFEST,
        tag: None,
        referrer: Some(ReferrerEntry {
            subject: subject(),
            artifact_type: media_type::BUNDLE.into(),
        }),
    }
}

fn entry(i: usize) -> Descriptor {
    let mut entry = Descriptor::of(media_type::IMAGE_MANIFEST, &attachment(i).bytes);
    entry.artifact_type = Some(media_type::BUNDLE.into());
    entry
}

fn index(entries: &[Descriptor]) -> String {
    let entries: Vec<_> = entries.iter().map(Descriptor::to_json).collect();
    json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": entries})
        .to_string()
}

type Manifests = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A registry of manifests without the referrers API.
fn plain(manifests: &Manifests) -> impl Fn(&Seen) -> Reply + Send + Sync + use<> {
    let manifests = Arc::clone(manifests);
    move |seen| {
        let Some(name) = seen.path().strip_prefix("/v2/team/mail/manifests/") else {
            return Reply::new(404, "404 page not found");
        };
        let mut manifests = manifests.lock();
        if seen.method == "PUT" {
            manifests.insert(name.to_owned(), seen.body.clone());
            return Reply::new(201, "");
        }
        manifests.get(name).map_or(Reply::new(404, ""), |bytes| Reply::new(200, bytes.clone()))
    }
}

fn fallback() -> String {
    Tag::referrers(&subject()).to_string()
}

#[tokio::test]
async fn eight_attaches_at_once_are_all_found() {
    let server = Server::start(plain(&Manifests::default())).await;
    let repository = open(&server, &anonymous());

    let uploads: Vec<_> = (0..8).map(attachment).collect();
    let calls = uploads.iter().map(|upload| repository.push_manifest(upload));
    let pushed = futures_util::future::join_all(calls).await;
    let mut found = repository.list_referrers(&subject()).await.unwrap();

    assert!(pushed.iter().all(Result::is_ok), "{pushed:?}");
    let mut expected: Vec<_> = (0..8).map(entry).collect();
    found.sort_by_key(|entry| entry.digest);
    expected.sort_by_key(|entry| entry.digest);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_write_that_another_process_overwrote_is_repeated() {
    let manifests = Manifests::default();
    let inner = plain(&manifests);
    let overwrites_left = Mutex::new(3);
    let server = Server::start(move |seen| {
        let reply = inner(seen);
        let is_index = seen.method == "PUT" && seen.path().ends_with(&fallback());
        let mut left = overwrites_left.lock();
        if is_index && *left > 0 {
            *left -= 1;
            manifests.lock().insert(fallback(), index(&[entry(99)]).into_bytes());
        }
        reply
    })
    .await;
    let repository = open(&server, &anonymous());

    repository.push_manifest(&attachment(1)).await.unwrap();

    assert_eq!(repository.list_referrers(&subject()).await.unwrap(), [entry(99), entry(1)]);
}

/// A registry without the referrers API that shows the tag as it was before any push.
fn lagging(
    manifests: &Manifests,
    writes: &Arc<Mutex<usize>>,
) -> impl Fn(&Seen) -> Reply + Send + Sync + use<> {
    let (inner, writes) = (plain(manifests), Arc::clone(writes));
    let before = manifests.lock().get(&fallback()).cloned();
    move |seen| {
        let is_index = seen.path().ends_with(&fallback());
        if is_index && seen.method == "PUT" {
            *writes.lock() += 1;
        } else if is_index {
            return before.clone().map_or(Reply::new(404, ""), |bytes| Reply::new(200, bytes));
        }
        inner(seen)
    }
}

#[tokio::test]
async fn a_registry_that_shows_the_index_of_before_loses_no_entry_and_is_not_stormed() {
    for (before, writes_max) in [(None, 2), (Some(index(&[entry(99)])), 6)] {
        let (manifests, writes) = (Manifests::default(), Arc::default());
        if let Some(before) = &before {
            manifests.lock().insert(fallback(), before.clone().into_bytes());
        }
        let server = Server::start(lagging(&manifests, &writes)).await;
        let repository = open(&server, &anonymous());

        repository.push_manifest(&attachment(1)).await.unwrap();
        repository.push_manifest(&attachment(2)).await.unwrap();

        let known: Vec<_> = before.iter().map(|_| entry(99)).collect();
        let expected = index(&[known, vec![entry(1), entry(2)]].concat());
        assert_eq!(manifests.lock()[&fallback()], expected.into_bytes());
        assert!(*writes.lock() <= writes_max, "{}", writes.lock());
    }
}

#[tokio::test]
async fn attaching_again_adds_nothing() {
    let manifests = Manifests::default();
    let server = Server::start(plain(&manifests)).await;
    let repository = open(&server, &anonymous());

    repository.push_manifest(&attachment(1)).await.unwrap();
    repository.push_manifest(&attachment(1)).await.unwrap();

    assert_eq!(manifests.lock()[&fallback()], index(&[entry(1)]).into_bytes());
}

#[tokio::test]
async fn a_hostile_index_is_replaced_and_its_size_is_bounded() {
    let mut huge = vec![b' '; 5 << 20];
    huge.splice(0..2, *b"{}");
    let many: Vec<_> = (100..1200).map(entry).collect();
    for (hostile, kept) in [
        (b"<html>".to_vec(), 0),
        (huge, 0),
        (b"{\"manifests\":7}".to_vec(), 0),
        (index(&many).into_bytes(), 999),
    ] {
        let manifests = Manifests::default();
        manifests.lock().insert(fallback(), hostile);
        let server = Server::start(plain(&manifests)).await;
        let repository = open(&server, &anonymous());

        repository.push_manifest(&attachment(1)).await.unwrap();

        let found = repository.list_referrers(&subject()).await.unwrap();
        assert_eq!(found.len(), kept + 1);
        assert_eq!(found.last(), Some(&entry(1)));
    }
}

#[tokio::test]
async fn an_index_refused_for_dead_entries_is_cleaned() {
    let manifests = Manifests::default();
    manifests.lock().insert(fallback(), index(&[entry(98), entry(99)]).into_bytes());
    manifests.lock().insert(entry(99).digest.to_string(), b"{}".to_vec());
    let dead = entry(98).digest.to_string();
    let inner = plain(&manifests);
    let server = Server::start(move |seen| {
        if seen.method == "PUT" && String::from_utf8_lossy(&seen.body).contains(&dead) {
            return Reply::new(400, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#);
        }
        inner(seen)
    })
    .await;
    let repository = open(&server, &anonymous());

    repository.push_manifest(&attachment(1)).await.unwrap();

    assert_eq!(repository.list_referrers(&subject()).await.unwrap(), [entry(99), entry(1)]);
}

#[tokio::test]
async fn a_registry_that_never_takes_the_tag_does_not_fail_the_push() {
    let inner = plain(&Manifests::default());
    let server = Server::start(move |seen| {
        if seen.method == "PUT" && seen.path().ends_with(&fallback()) {
            return Reply::new(412, "");
        }
        inner(seen)
    })
    .await;

    let pushed = open(&server, &anonymous()).push_manifest(&attachment(1)).await;

    assert!(pushed.is_ok(), "{pushed:?}");
}

#[tokio::test]
async fn a_registry_with_the_api_is_left_to_index_itself() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "PUT" => Reply::new(201, "").with("OCI-Subject", subject().to_string()),
        _ if seen.path().contains("/referrers/") => Reply::json(index(&[entry(1)])),
        _ => Reply::new(404, ""),
    })
    .await;
    let repository = open(&server, &anonymous());

    repository.push_manifest(&attachment(1)).await.unwrap();

    assert_eq!(server.seen().len(), 1);
    assert_eq!(repository.list_referrers(&subject()).await.unwrap(), [entry(1)]);
}

#[tokio::test]
async fn the_api_and_the_tag_are_united_page_by_page() {
    let manifests = Manifests::default();
    manifests.lock().insert(fallback(), index(&[entry(3), entry(1)]).into_bytes());
    let inner = plain(&manifests);
    let server = Server::start(move |seen| {
        if !seen.path().contains("/referrers/") {
            return inner(seen);
        }
        match seen.query("page") {
            None => Reply::json(index(&[entry(1)])).with("Link", "<?page=2>; rel=\"next\""),
            // It links to itself endlessly.
            Some(_) => Reply::json(index(&[entry(2)])).with("Link", "<?page=2>; rel=\"next\""),
        }
    })
    .await;

    let found = open(&server, &anonymous()).list_referrers(&subject()).await.unwrap();

    assert_eq!(found, [entry(1), entry(2), entry(3)]);
}

#[tokio::test]
async fn a_failing_api_does_not_hide_what_the_tag_has() {
    let manifests = Manifests::default();
    let inner = plain(&manifests);
    let server = Server::start(move |seen| {
        if seen.path().contains("/referrers/") { Reply::new(500, "") } else { inner(seen) }
    })
    .await;
    let repository = open(&server, &anonymous());

    let nothing = repository.list_referrers(&subject()).await;
    manifests.lock().insert(fallback(), index(&[entry(1)]).into_bytes());
    let found = repository.list_referrers(&subject()).await;

    assert!(matches!(nothing, Err(RegistryError::Unreachable(_))), "{nothing:?}");
    assert_eq!(found.unwrap(), [entry(1)]);
}

#[tokio::test]
async fn a_missing_api_is_remembered_and_bad_entries_are_skipped() {
    let manifests = Manifests::default();
    let junk = json!({"manifests": [
        {"digest": "sha256:../../x", "size": 1, "mediaType": "a"}, 7, entry(1).to_json(),
        {"digest": entry(2).digest.to_string(), "size": 1, "mediaType": "a", "urls": ["http://x/"]},
    ]});
    manifests.lock().insert(fallback(), junk.to_string().into_bytes());
    let server = Server::start(plain(&manifests)).await;
    let repository = open(&server, &anonymous());

    let first = repository.list_referrers(&subject()).await.unwrap();
    let second = repository.list_referrers(&subject()).await.unwrap();

    assert_eq!((first, second), (vec![entry(1)], vec![entry(1)]));
    assert_eq!(server.seen().len(), 3);
}
