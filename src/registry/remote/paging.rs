//! Tag listings: page by page, sceptical of order, of `last` and of the links.
//!
//! Registries differ: some sort and honour `last` (a listing then starts at the prefix and ends
//! past it), some require `last` to be an existing tag, some ignore it, some have no `Link`. What a
//! registry does is learned from its answers and remembered; until it is proven, everything is
//! listed.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use parking_lot::Mutex;
use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::auth::Call;
use super::client::Client;
use super::transport::Request;
use crate::protocol::Tag;
use crate::registry::{RegistryError, TagList};

/// Tags requested per page; what most registries serve at most.
const PAGE_TAG_COUNT: usize = 1000;

/// Largest page in bytes: 1,000 of the longest tags are 131 KiB; some registries never page.
const PAGE_LEN_MAX: u64 = 4 << 20;

/// Most pages, tags and bytes of tags of one listing: a bound on a flood, far above real use.
const PAGE_COUNT_MAX: usize = 10_000;
const TAG_COUNT_MAX: usize = 1_000_000;
const TAGS_LEN_MAX: usize = 64 << 20;

/// Longest link in bytes.
const LINK_LEN_MAX: usize = 4 << 10;

/// What is known about how this registry treats `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Seeking {
    #[default]
    Unknown,
    /// It had nothing after the prefix but something with the prefix: a race, or the next case.
    Doubtful,
    /// It sorts, and `last` may be any string.
    Works,
    /// It sorts, but accepts only existing tags as `last`.
    OnlyExisting,
    /// It does not sort, or ignores `last`.
    No,
}

/// Lists tags; remembers what earlier listings revealed about the registry.
#[derive(Debug, Default)]
pub(super) struct TagLister {
    seeking: Mutex<Seeking>,
}

#[derive(Deserialize)]
struct TagPage {
    name: Option<String>,
    tags: Option<Vec<String>>,
}

struct Page {
    tags: Vec<String>,
    next: Option<Url>,
}

/// How one walk over the pages ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete,
    /// A bound ended it, or the pages made no progress.
    Truncated,
    /// The order or `last` is unreliable; what was collected is incomplete.
    Unsorted,
}

/// Collects the tags with a prefix, within the bounds.
struct Collector<'a> {
    prefix: &'a str,
    found: BTreeSet<Tag>,
    // Hashes stand for tags: a million of them take 16 MiB. The keys are random, so that a new tag
    // cannot be made to look like a seen one.
    seen: HashSet<u64>,
    hasher: RandomState,
    len: usize,
    page_count: usize,
}

impl<'a> Collector<'a> {
    fn new(prefix: &'a str) -> Self {
        Self {
            prefix,
            found: BTreeSet::new(),
            seen: HashSet::new(),
            hasher: RandomState::new(),
            len: 0,
            page_count: 0,
        }
    }

    /// Adds a page and returns how many of its tags are new.
    fn add(&mut self, tags: &[String]) -> usize {
        self.page_count += 1;
        let mut new_count = 0;
        for text in tags {
            if self.is_full() {
                break;
            }
            if !self.seen.insert(self.hasher.hash_one(text)) {
                continue;
            }
            new_count += 1;
            self.len += text.len();
            if let Some(tag) = text.starts_with(self.prefix).then(|| text.parse().ok()).flatten() {
                self.found.insert(tag);
            }
        }
        new_count
    }

    fn is_full(&self) -> bool {
        self.seen.len() >= TAG_COUNT_MAX || self.len >= TAGS_LEN_MAX
    }

    fn is_spent(&self) -> bool {
        self.is_full() || self.page_count >= PAGE_COUNT_MAX
    }

    fn finish(self, truncated: bool) -> TagList {
        TagList { tags: self.found.into_iter().collect(), truncated }
    }
}

impl TagLister {
    /// Lists the tags with a prefix.
    pub(super) async fn list(
        &self,
        client: &Client,
        call: &Call,
        prefix: &str,
    ) -> Result<TagList, RegistryError> {
        let deadline = Instant::now() + client.deadlines().metadata;
        let known = *self.seeking.lock();
        if !prefix.is_empty() && !matches!(known, Seeking::OnlyExisting | Seeking::No) {
            let mut collector = Collector::new(prefix);
            let (end, saw_any) =
                self.walk(client, call, deadline, &mut collector, Some(prefix)).await?;
            // An empty answer proves nothing: some registries give one for every unknown `last`.
            let is_proven = saw_any || known == Seeking::Works;
            if end == End::Unsorted {
                self.learn(Seeking::No);
            } else if is_proven {
                self.learn(Seeking::Works);
                return Ok(collector.finish(end == End::Truncated));
            }
        }
        let mut collector = Collector::new(prefix);
        let (end, _saw_any) = self.walk(client, call, deadline, &mut collector, None).await?;
        let known = *self.seeking.lock();
        if !prefix.is_empty() && !collector.found.is_empty() {
            // The walk from the prefix had found none of them.
            match known {
                Seeking::Unknown => self.learn(Seeking::Doubtful),
                Seeking::Doubtful => self.learn(Seeking::OnlyExisting),
                Seeking::Works | Seeking::OnlyExisting | Seeking::No => {}
            }
        }
        Ok(collector.finish(end == End::Truncated))
    }

    fn learn(&self, seeking: Seeking) {
        let before = std::mem::replace(&mut *self.seeking.lock(), seeking);
        if before != seeking {
            tracing::debug!(?seeking, "how the registry pages its tags");
        }
    }

    /// Walks the pages; with `start` only what sorts after it, and only as long as that holds.
    ///
    /// Returns whether any tags were received.
    async fn walk(
        &self,
        client: &Client,
        call: &Call,
        deadline: Instant,
        collector: &mut Collector<'_>,
        start: Option<&str>,
    ) -> Result<(End, bool), RegistryError> {
        let must_be_sorted = start.is_some();
        let mut last = start.map(str::to_owned);
        let mut url = page_url(client, last.as_deref());
        let mut saw_any = false;
        loop {
            let page = match timeout_at(deadline, get_page(client, call, url)).await {
                Ok(page) => page?,
                // What has been collected by now is better than nothing.
                Err(_elapsed) if saw_any => return Ok((End::Truncated, saw_any)),
                Err(_elapsed) => return Err(RegistryError::TimedOut),
            };
            saw_any |= !page.tags.is_empty();
            if must_be_sorted && !is_sorted_after(&page.tags, last.as_deref()) {
                return Ok((End::Unsorted, saw_any));
            }
            let new_count = collector.add(&page.tags);
            let is_past = page.tags.last().is_some_and(|tag| {
                tag.as_str() > collector.prefix && !tag.starts_with(collector.prefix)
            });
            if must_be_sorted && is_past {
                return Ok((End::Complete, saw_any));
            }
            if collector.is_spent() {
                return Ok((End::Truncated, saw_any));
            }
            url = match page.next {
                // A link that leads to nothing new would loop endlessly.
                Some(_) if new_count == 0 => return Ok((End::Truncated, saw_any)),
                Some(next) => next,
                None if new_count == 0 => return Ok((End::Complete, saw_any)),
                None if !self.may_hide_a_page(must_be_sorted, page.tags.len()) => {
                    return Ok((End::Complete, saw_any));
                }
                // A registry without links pages by `last` alone.
                None => page_url(client, page.tags.iter().max().map(String::as_str)),
            };
            last = page.tags.into_iter().max().or(last);
        }
    }

    /// Returns whether a page without a link may be followed by another.
    ///
    /// Where tags are sorted, checking costs one small answer. Elsewhere it costs the whole list
    /// again, so only a full page is doubted.
    fn may_hide_a_page(&self, is_sorted: bool, count: usize) -> bool {
        let seeking = *self.seeking.lock();
        is_sorted || count >= PAGE_TAG_COUNT || seeking == Seeking::OnlyExisting
    }
}

/// Checks that tags can be listed; a repository that does not exist yet counts as empty.
pub(super) async fn probe(client: &Client, call: &Call) -> Result<(), RegistryError> {
    let mut url = client.url("tags/list");
    url.set_query(Some("n=1"));
    get_page(client, call, url).await.map(|_page| ())
}

/// Returns whether the repository lists any tag; one that does not exist has none.
pub(super) async fn has_tags(client: &Client, call: &Call) -> Result<bool, RegistryError> {
    let mut url = client.url("tags/list");
    url.set_query(Some("n=1"));
    match get_page(client, call, url).await {
        Ok(page) => Ok(!page.tags.is_empty()),
        Err(RegistryError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn page_url(client: &Client, last: Option<&str>) -> Url {
    let mut url = client.url("tags/list");
    url.query_pairs_mut().append_pair("n", &PAGE_TAG_COUNT.to_string());
    if let Some(last) = last {
        url.query_pairs_mut().append_pair("last", last);
    }
    url
}

async fn get_page(client: &Client, call: &Call, url: Url) -> Result<Page, RegistryError> {
    let request = Request::get(url).accept("application/json");
    let answer = client.send(call, request).await?;
    if !answer.status().is_success() {
        let refusal = answer.into_refusal().await;
        if refusal.is_unknown_repository() {
            return Ok(Page { tags: Vec::new(), next: None });
        }
        return Err(refusal.into_error("tag list"));
    }
    let next = match next_link(answer.headers()) {
        Some(link) => Some(client.resolve_here(answer.url(), &link)?),
        None => None,
    };
    let body = answer.read("tag list", PAGE_LEN_MAX).await?;
    let page: TagPage = serde_json::from_slice(&body)
        .map_err(|_source| RegistryError::Malformed { reason: "a tag list is not JSON".into() })?;
    if page.name.is_none() && page.tags.is_none() {
        return Err(RegistryError::Malformed { reason: "a tag list has no tags".into() });
    }
    Ok(Page { tags: page.tags.unwrap_or_default(), next })
}

/// Returns whether `tags` ascend strictly in byte order and all sort after `last`.
fn is_sorted_after(tags: &[String], last: Option<&str>) -> bool {
    let first_is_after = match (tags.first(), last) {
        (Some(first), Some(last)) => first.as_str() > last,
        _ => true,
    };
    first_is_after && tags.is_sorted_by(|a, b| a < b)
}

/// Returns the target of the first link with `rel=next` (RFC 8288).
pub(super) fn next_link(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    for text in texts.filter(|text| text.len() <= LINK_LEN_MAX) {
        let mut rest = text;
        while let Some((_before, link)) = rest.split_once('<') {
            let (target, after) = link.split_once('>')?;
            let parameters = after.split_once('<').map_or(after, |(head, _next)| head);
            let is_next = parameters.split([';', ',']).any(|one| {
                let (key, value) = one.split_once('=').unwrap_or((one, ""));
                let value = value.trim().trim_matches('"');
                key.trim().eq_ignore_ascii_case("rel") && value.eq_ignore_ascii_case("next")
            });
            if is_next {
                return Some(target.to_owned());
            }
            rest = after;
        }
    }
    None
}
