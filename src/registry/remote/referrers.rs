//! The manifests that refer to a manifest: the referrers API, and OCI's fallback tag
//! `sha256-<hex>`.
//!
//! All clients read, change and write the tag concurrently, so it is a hint: our writes are read
//! back and repeated, and nothing breaks when one is lost. A registry may also deny for some seconds
//! what it has confirmed: `recent.rs` knows what we wrote.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::auth::Call;
use super::client::Client;
use super::manifest::Pushed;
use super::paging::next_link;
use super::recent::RecentWrites;
use super::transport::Request;
use crate::protocol::json::parse_object;
use crate::protocol::{Descriptor, Digest, Tag, media_type};
use crate::registry::{ManifestRef, ManifestUpload, RegistryError};
use crate::sys::backoff::jitter;

/// Largest index of referrers in bytes, as for any manifest.
const INDEX_LEN_MAX: u64 = 4 << 20;

/// Most entries that are read or kept.
const ENTRY_COUNT_MAX: usize = 1_000;

/// Most pages of the referrers API; 1,000 entries fit in one or two.
const PAGE_COUNT_MAX: usize = 32;

/// Most rounds of write and read back before the entry is abandoned; each lost round means that
/// another writer succeeded.
const ATTEMPT_COUNT_MAX: u32 = 16;

/// Most rounds in which the registry shows what we have replaced: it lags then, rather than another
/// writer puts back again and again what was there.
const STALE_COUNT_MAX: u32 = 3;

/// Longest pause before another round; it lets the other writer finish.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Most old entries that are checked one by one, if the registry refuses an index because of some.
const CHECKED_ENTRY_COUNT_MAX: usize = 64;

/// Reads and writes referrers; remembers what the registry can do, and whose turn it is to write.
#[derive(Default)]
pub(super) struct Referrers {
    /// Whether the referrers API exists; `None` = not known yet.
    has_api: Mutex<Option<bool>>,
    /// Writers of one subject take turns. A fixed number of locks bounds the memory; two subjects
    /// that share one only wait a little.
    turns: [tokio::sync::Mutex<()>; 16],
    recent: RecentWrites,
}

impl Referrers {
    /// Lists the manifests that name `subject`, in both ways.
    pub(super) async fn list(
        &self,
        client: &Client,
        call: &Call,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let by_api = self.get_by_api(client, call, subject).await;
        let by_tag = get_by_tag(client, call, subject).await;
        let by_tag = by_tag.map(|found| parse_entries(&found.entries));
        let entries = match (by_api, by_tag) {
            (Ok(mut entries), Ok(more)) => {
                entries.extend(more);
                entries
            }
            // One of the two ways may fail without hiding what the other found.
            (Ok(entries), Err(_)) | (Err(_), Ok(entries)) if !entries.is_empty() => entries,
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let mut seen = HashSet::new();
        let mut unique: Vec<Descriptor> =
            entries.into_iter().filter(|entry| seen.insert(entry.digest)).collect();
        unique.truncate(ENTRY_COUNT_MAX);
        Ok(unique)
    }

    async fn get_by_api(
        &self,
        client: &Client,
        call: &Call,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let mut found = Vec::new();
        if *self.has_api.lock() == Some(false) {
            return Ok(found);
        }
        let mut seen = HashSet::new();
        let mut url = client.url(&format!("referrers/{subject}"));
        let mut left = INDEX_LEN_MAX;
        for _page in 0..PAGE_COUNT_MAX {
            let request = Request::get(url.clone()).accept(media_type::IMAGE_INDEX);
            let answer = client.send(call, request).await?;
            match answer.status() {
                StatusCode::OK => {}
                // The API never answers so about a manifest, not even about an unknown one.
                StatusCode::NOT_FOUND if found.is_empty() => {
                    self.has_api.lock().get_or_insert(false);
                    return Ok(found);
                }
                _ => return Err(answer.into_refusal().await.into_error("referrers")),
            }
            let next = next_link(answer.headers());
            let next = next.map(|link| client.resolve_here(answer.url(), &link)).transpose()?;
            let body = answer.read("referrers", left).await?;
            left -= body.len() as u64;
            let entries = parse_index(&body)?;
            *self.has_api.lock() = Some(true);
            let before = seen.len();
            found.extend(parse_entries(&entries).into_iter().filter(|e| seen.insert(e.digest)));
            match next {
                Some(next) if seen.len() > before && found.len() < ENTRY_COUNT_MAX => url = next,
                _ => break,
            }
        }
        Ok(found)
    }

    /// Makes a pushed manifest known as a referrer, unless the registry has done that itself.
    ///
    /// # Errors
    /// Only what a retry may fix. A registry that will never accept the tag (immutable tags, no
    /// space) does not fail a send: `bundle-` tags are what counts.
    pub(super) async fn add(
        &self,
        client: &Client,
        call: &Call,
        manifest: &ManifestUpload,
        pushed: &Pushed,
    ) -> Result<(), RegistryError> {
        let Some(referrer) = &manifest.referrer else { return Ok(()) };
        if pushed.indexed_subject == Some(referrer.subject) {
            *self.has_api.lock() = Some(true);
            return Ok(());
        }
        let _turn = self.turn(&referrer.subject).await;
        let size = manifest.bytes.len() as u64;
        let mut entry = Descriptor::new(manifest.media_type, pushed.digest, size);
        entry.artifact_type = Some(referrer.artifact_type.clone());
        match write_until_read_back(client, call, &self.recent, &referrer.subject, &entry).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(subject = %referrer.subject, "referrers tag is contended"),
            Err(error)
                if error.class().is_transient()
                    && !matches!(error, RegistryError::BlobUnknown { .. }) =>
            {
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(subject = %referrer.subject, %error, "referrers tag not written");
            }
        }
        Ok(())
    }

    /// Removes a manifest from the fallback tag of its subject.
    ///
    /// A round that another writer has overtaken is repeated, as when one is added.
    pub(super) async fn remove(
        &self,
        client: &Client,
        call: &Call,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        let _turn = self.turn(subject).await;
        self.recent.forget(subject, referrer);
        let tag = Tag::referrers(subject);
        for attempt in 0..ATTEMPT_COUNT_MAX {
            if attempt > 0 {
                tokio::time::sleep(jitter(PAUSE_MAX)).await;
            }
            let by_tag = ManifestRef::Tag(tag.clone());
            let old = match client.get_manifest(call, &by_tag, INDEX_LEN_MAX).await {
                Ok(old) => old,
                Err(RegistryError::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            // Anything that is not an index is not ours to change.
            let mut entries = parse_index(&old.bytes).unwrap_or_default();
            let before = entries.len();
            entries.retain(|entry| digest_of(entry) != Some(*referrer));
            if entries.len() == before {
                return Ok(());
            }
            if entries.is_empty() {
                // By the digest of what was read: an entry that another client adds now stays, and
                // most registries refuse to delete a tag by its name.
                match client.drop_manifest(call, &old.digest).await {
                    Ok(()) | Err(RegistryError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
                // For a registry that keeps the tag then, the tag's name is used instead.
                if client.head_tag(call, &tag).await? == Some(old.digest) {
                    client.drop_manifest(call, &tag).await?;
                }
                continue;
            }
            let url = client.url(&format!("manifests/{tag}"));
            let index = encode_index(entries);
            let request = Request::new(Method::PUT, url).body(media_type::IMAGE_INDEX, index);
            let answer = client.send(call, request).await?;
            if answer.status() != StatusCode::CREATED {
                return Err(answer.into_refusal().await.into_error(tag));
            }
        }
        Err(RegistryError::Unreachable("the referrers tag is contended".into()))
    }

    /// Waits until no other writer of this process works on the referrers of `subject`.
    async fn turn(&self, subject: &Digest) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns[usize::from(subject.as_bytes()[0]) % self.turns.len()].lock().await
    }
}

/// What the fallback tag holds.
struct Found {
    /// The digest of the index; `None` without a tag.
    index: Option<Digest>,
    entries: Vec<Value>,
}

/// Returns the entries of the fallback tag; a tag that is not an index has none.
async fn get_by_tag(
    client: &Client,
    call: &Call,
    subject: &Digest,
) -> Result<Found, RegistryError> {
    let tag = ManifestRef::Tag(Tag::referrers(subject));
    match client.get_manifest(call, &tag, INDEX_LEN_MAX).await {
        Ok(fetched) => {
            let entries = parse_index(&fetched.bytes).unwrap_or_default();
            Ok(Found { index: Some(fetched.digest), entries })
        }
        Err(
            RegistryError::NotFound { .. }
            | RegistryError::Malformed { .. }
            | RegistryError::TooLarge { .. },
        ) => Ok(Found { index: None, entries: Vec::new() }),
        Err(error) => Err(error),
    }
}

async fn write_until_read_back(
    client: &Client,
    call: &Call,
    recent: &RecentWrites,
    subject: &Digest,
    entry: &Descriptor,
) -> Result<bool, RegistryError> {
    let mut must_check = false;
    // What our last write has replaced, and how often it was shown since.
    let mut replaced = None;
    let mut stale_count = 0;
    for attempt in 0..ATTEMPT_COUNT_MAX {
        let found = get_by_tag(client, call, subject).await?;
        if found.entries.iter().any(|other| digest_of(other) == Some(entry.digest)) {
            return Ok(true);
        }
        if replaced == Some(found.index) {
            stale_count += 1;
            // A confirmed write counts. No writer but a collection takes the tag itself away.
            if found.index.is_none() || stale_count == STALE_COUNT_MAX {
                return Ok(true);
            }
        }
        if attempt > 0 {
            tokio::time::sleep(jitter(PAUSE_MAX)).await;
        }
        let mut entries = found.entries;
        let own = recent.missing_from(subject, found.index, &entries).into_iter();
        entries.extend(own.filter(|own| own.digest != entry.digest).map(|own| own.to_json()));
        if must_check {
            entries = retain_existing(client, call, entries).await?;
        }
        entries.push(entry.to_json());
        let tag = Tag::referrers(subject);
        let url = client.url(&format!("manifests/{tag}"));
        let index = encode_index(entries);
        let request = Request::new(Method::PUT, url).body(media_type::IMAGE_INDEX, index);
        let answer = client.send(call, request).await?;
        if matches!(answer.status(), StatusCode::CREATED | StatusCode::ACCEPTED) {
            recent.note(subject, found.index, entry);
            replaced = Some(found.index);
            continue;
        }
        let error = answer.into_refusal().await.into_error(tag);
        // Some registries refuse an index for one entry that was deleted or never existed.
        let is_refused = matches!(
            error,
            RegistryError::NotFound { .. }
                | RegistryError::BlobUnknown { .. }
                | RegistryError::Rejected { .. }
        );
        if must_check || !is_refused {
            return Err(error);
        }
        must_check = true;
    }
    Ok(false)
}

async fn retain_existing(
    client: &Client,
    call: &Call,
    entries: Vec<Value>,
) -> Result<Vec<Value>, RegistryError> {
    let excess = entries.len().saturating_sub(CHECKED_ENTRY_COUNT_MAX);
    let mut existing = Vec::new();
    for entry in entries.into_iter().skip(excess) {
        if let Some(digest) = digest_of(&entry)
            && client.head_manifest(call, &digest).await?
        {
            existing.push(entry);
        }
    }
    Ok(existing)
}

fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

/// Reads the entries of an image index, unchecked.
fn parse_index(bytes: &[u8]) -> Result<Vec<Value>, RegistryError> {
    let malformed =
        |_source| RegistryError::Malformed { reason: "referrers are not an image index".into() };
    let mut object = parse_object("referrers", bytes, INDEX_LEN_MAX).map_err(malformed)?;
    match object.remove("manifests") {
        Some(Value::Array(entries)) => Ok(entries),
        Some(Value::Null) => Ok(Vec::new()),
        _ => Err(RegistryError::Malformed { reason: "referrers are not an image index".into() }),
    }
}

/// Returns the well-formed entries; a bad one does not hide the others.
fn parse_entries(entries: &[Value]) -> Vec<Descriptor> {
    let parsed = entries.iter().filter_map(|e| Descriptor::from_json("referrers", e).ok());
    parsed.take(ENTRY_COUNT_MAX).collect()
}

/// Encodes an index of the newest entries that fit.
///
/// What others wrote is kept as it is. If another client filled the index with junk, the oldest
/// entries are dropped.
fn encode_index(mut entries: Vec<Value>) -> Bytes {
    entries.drain(..entries.len().saturating_sub(ENTRY_COUNT_MAX));
    loop {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::IMAGE_INDEX,
            "manifests": entries,
        });
        let bytes = index.to_string().into_bytes();
        if bytes.len() as u64 <= INDEX_LEN_MAX || entries.len() <= 1 {
            return bytes.into();
        }
        entries.drain(..entries.len() / 2);
    }
}
