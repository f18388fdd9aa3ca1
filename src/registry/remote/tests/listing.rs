//! Tag lists in every order, with and without links, honest and not.

use std::fmt::Write as _;

use super::*;
use crate::protocol::ErrorClass;
use crate::registry::{RegistryError, Repository as _, TagList};

const PREFIX: &str = "inbox-b-";

/// How a fake registry lists its tags.
#[derive(Clone, Copy)]
struct Style {
    order: Order,
    last: Last,
    links: bool,
    page_len: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Sorted,
    Reversed,
    Insertion,
}

/// What it accepts as `last`.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Anything,
    ExistingTags,
    Nothing,
}

const HONEST: Style =
    Style { order: Order::Sorted, last: Last::Anything, links: true, page_len: 1000 };

fn all_tags() -> Vec<String> {
    let mut tags: Vec<String> = (0..9).map(|i| format!("inbox-b-{i}")).collect();
    tags.extend((0..5).map(|i| format!("inbox-a-{i}")));
    tags.extend((0..5).map(|i| format!("inbox-c-{i}")));
    tags.extend(["receipt-1", "Zebra", "bundle-1", "zoo"].map(str::to_owned));
    // An order of its own, for registries that do not sort.
    tags.sort_by_key(|tag| crate::protocol::Digest::of(tag.as_bytes()));
    tags
}

fn expected() -> TagList {
    let tags = (0..9).map(|i| format!("inbox-b-{i}").parse().unwrap()).collect();
    TagList { tags, truncated: false }
}

fn registry(style: Style, tags: Vec<String>) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| {
        let mut tags = tags.clone();
        match style.order {
            Order::Sorted => tags.sort(),
            Order::Reversed => tags.sort_by(|a, b| b.cmp(a)),
            Order::Insertion => {}
        }
        let last = seen.query("last").filter(|_last| style.last != Last::Nothing);
        let rest: Vec<String> = match last {
            None => tags,
            Some(last) => match tags.iter().position(|tag| tag == last) {
                Some(at) => tags[at + 1..].to_vec(),
                None if style.last == Last::ExistingTags => Vec::new(),
                None => tags.into_iter().filter(|tag| tag.as_str() > last).collect(),
            },
        };
        let page = &rest[..rest.len().min(style.page_len)];
        let reply = Reply::json(serde_json::json!({"name": "x", "tags": page}).to_string());
        if style.links && rest.len() > page.len() {
            let path = seen.path();
            let last = page.last().unwrap();
            return reply.with("Link", format!("<{path}?n=2&last={last}>; rel=\"next\""));
        }
        reply
    }
}

#[tokio::test]
async fn every_way_of_listing_gives_the_same_tags() {
    for page_len in [1, 2, 7, 1000] {
        for (name, style) in [
            ("honest", HONEST),
            ("no link", Style { links: false, ..HONEST }),
            ("existing last only", Style { last: Last::ExistingTags, ..HONEST }),
            ("reversed", Style { order: Order::Reversed, ..HONEST }),
            (
                "insertion order",
                Style { order: Order::Insertion, last: Last::ExistingTags, ..HONEST },
            ),
        ] {
            let style = Style { page_len, ..style };
            if page_len < 1000 && style.order == Order::Reversed {
                continue; // its links lead nowhere: `last` does not page a reversed list
            }
            let server = Server::start(registry(style, all_tags())).await;
            let repository = open(&server, &anonymous());

            let first = repository.list_tags(PREFIX).await.unwrap();
            let second = repository.list_tags(PREFIX).await.unwrap();

            assert_eq!(first, expected(), "{name} {page_len}");
            assert_eq!(second, expected(), "{name} {page_len}, again");
        }
    }
}

/// P24: whatever a server does with `last`, every tag is found.
#[tokio::test]
async fn a_registry_that_ignores_last_is_noticed_and_listed_whole() {
    let style = Style { last: Last::Nothing, links: false, ..HONEST };
    let server = Server::start(registry(style, all_tags())).await;
    let repository = open(&server, &anonymous());

    let first = repository.list_tags(PREFIX).await.unwrap();
    let count_first = server.seen().len();
    let second = repository.list_tags(PREFIX).await.unwrap();

    assert_eq!((first, second), (expected(), expected()));
    assert_eq!((count_first, server.seen().len()), (2, 3));
}

#[tokio::test]
async fn a_listing_starts_at_the_prefix_and_stops_past_it() {
    let server = Server::start(registry(Style { page_len: 10, ..HONEST }, all_tags())).await;
    let repository = open(&server, &anonymous());

    let listed = repository.list_tags(PREFIX).await.unwrap();

    assert_eq!(listed, expected());
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].query("last"), Some(PREFIX));
    assert_eq!(seen[0].query("n"), Some("1000"));
}

#[tokio::test]
async fn the_empty_prefix_lists_everything() {
    let server = Server::start(registry(Style { page_len: 3, ..HONEST }, all_tags())).await;

    let listed = open(&server, &anonymous()).list_tags("").await.unwrap();

    assert_eq!(listed.tags.len(), all_tags().len());
    assert!(listed.tags.is_sorted());
}

#[tokio::test]
async fn a_link_to_another_host_is_refused_and_never_asked() {
    let elsewhere = Server::start(|_seen| Reply::json(r#"{"name":"x","tags":[]}"#)).await;
    let link = format!("<{}>; rel=next", elsewhere.url("/v2/team/mail/tags/list"));
    let server = Server::start(move |_seen| {
        Reply::json(r#"{"name":"x","tags":["inbox-b-1"]}"#).with("Link", link.clone())
    })
    .await;

    let listed = open(&server, &logged_in()).list_tags(PREFIX).await;

    assert!(matches!(listed, Err(RegistryError::Malformed { .. })), "{listed:?}");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn pages_that_do_not_progress_end_the_listing() {
    let server = Server::start(|_seen| {
        Reply::json(r#"{"name":"x","tags":["inbox-b-1","inbox-b-0","inbox-b-1"]}"#)
            .with("Link", "</v2/team/mail/tags/list?last=a>; rel=\"next\"")
    })
    .await;

    let listed = open(&server, &anonymous()).list_tags(PREFIX).await.unwrap();

    assert!(listed.truncated);
    assert_eq!(listed.tags.len(), 2);
    assert!(server.seen().len() < 5);
}

#[tokio::test]
async fn endless_new_pages_end_at_the_deadline_with_what_came() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_seen| {
        let i = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::json(format!(r#"{{"tags":["inbox-b-{i:09}"]}}"#))
            .with("Link", format!("</v2/team/mail/tags/list?p={i}>; rel=\"next\""))
    })
    .await;

    let mut options = anonymous();
    // Long enough for one page on the busiest machine.
    options.deadlines.metadata = Duration::from_secs(3);
    let listed = open(&server, &options).list_tags(PREFIX).await.unwrap();

    assert!(listed.truncated);
    assert!(!listed.tags.is_empty());
}

#[tokio::test]
async fn a_flood_of_tags_ends_at_the_bound() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_seen| {
        let page = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut tags = String::new();
        for i in 0..60_000 {
            write!(tags, "\"aspam-{page:03}-{i:05}\",").unwrap();
        }
        Reply::json(format!(r#"{{"name":"x","tags":[{tags}"zz-{page:03}"]}}"#))
            .with("Link", "</v2/team/mail/tags/list>; rel=next")
    })
    .await;

    let listed = open(&server, &anonymous()).list_tags("inbox-").await.unwrap();

    assert!(listed.truncated);
    assert!(listed.tags.is_empty());
    assert!(server.seen().len() <= 19, "{}", server.seen().len());
}

#[tokio::test]
async fn what_is_no_tag_is_skipped() {
    let server = Server::start(|_seen| {
        Reply::json(
            r#"{"name":"x","tags":["inbox-b-1","inbox-b-../x","inbox-b-\u001b","inbox-b- 2"]}"#,
        )
    })
    .await;

    let listed = open(&server, &anonymous()).list_tags(PREFIX).await.unwrap();

    assert_eq!(listed.tags, ["inbox-b-1".parse().unwrap()]);
}

#[tokio::test]
async fn a_repository_that_does_not_exist_is_empty_and_a_wrong_url_is_not() {
    let unknown = Server::start(|_seen| {
        Reply::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}"#)
    })
    .await;
    let null = Server::start(|_seen| Reply::json(r#"{"name":"x","tags":null}"#)).await;
    let wrong = Server::start(|_seen| Reply::new(404, "404 page not found")).await;

    for server in [&unknown, &null] {
        let repository = open(server, &anonymous());
        assert_eq!(repository.list_tags(PREFIX).await.unwrap(), TagList::default());
        repository.probe().await.unwrap();
    }
    let error = open(&wrong, &anonymous()).probe().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
}
