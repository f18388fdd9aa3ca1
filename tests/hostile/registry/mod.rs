//! A registry of our own that is correct, and lies on command.
//!
//! A threaded HTTP/1.1 server on loopback with its content in memory. Tests put anything into it
//! past every check ([`Registry::put_manifest`]), inspect what clients sent ([`Registry::seen`])
//! and bind a [`Fault`] to a [`Class`] of requests. Without faults it passes the conformance suite.

mod fault;
mod wire;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dockercomms::protocol::{Digest, media_type};
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

pub(crate) use fault::{Class, Fault};
pub(crate) use wire::{Answer, Request};

/// The registry's content.
#[derive(Default)]
struct Content {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    tags: BTreeMap<String, String>,
    upload_count: u64,
}

struct Rule {
    class: Class,
    /// Part of the path; empty = every request of the class.
    path_part: String,
    /// How often it still applies.
    left: u64,
    fault: Fault,
}

pub(crate) struct Shared {
    content: Mutex<Content>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<(Class, Request)>>,
    endless_len: AtomicU64,
    /// The `Authorization` header that every request needs.
    login: Mutex<Option<String>>,
    /// Whether there is a referrers API.
    has_referrers: bool,
    /// Most tags of one page.
    page_count: usize,
    /// How often a name is denied after its push was confirmed, and how often each still is.
    lag: Mutex<(u64, BTreeMap<String, u64>)>,
    /// Before how many of the next pushes of a manifest all blobs are collected.
    collections: AtomicU64,
    /// What every request may meet besides its rules: the state of the dice, and one in how many.
    dice: Mutex<Option<(u32, u32)>>,
    is_released: AtomicBool,
    is_over: Mutex<bool>,
    ended: Condvar,
}

/// A running registry; it ends with this value.
pub(crate) struct Registry {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Registry {
    /// Starts a registry with the referrers API and pages of 100 tags.
    pub(crate) fn start() -> Self {
        Self::start_with(true, 100)
    }

    pub(crate) fn start_with(has_referrers: bool, page_count: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            content: Mutex::default(),
            rules: Mutex::default(),
            seen: Mutex::default(),
            endless_len: AtomicU64::new(0),
            login: Mutex::default(),
            has_referrers,
            page_count,
            lag: Mutex::default(),
            collections: AtomicU64::new(0),
            dice: Mutex::default(),
            is_released: AtomicBool::new(false),
            is_over: Mutex::new(false),
            ended: Condvar::new(),
        });
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *server.is_over.lock() {
                    return;
                }
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.serve(stream));
            }
        });
        Self { shared, address }
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns the reference of the one repository that tests use.
    pub(crate) fn reference(&self) -> String {
        format!("docker://{}/mail", self.address)
    }

    /// Misbehaves on every request of the class from now on; the newest rule wins.
    pub(crate) fn fail(&self, class: Class, fault: Fault) {
        self.fail_on(class, "", u64::MAX, fault);
    }

    /// Misbehaves on the next `count` requests of the class.
    pub(crate) fn fail_times(&self, class: Class, count: u64, fault: Fault) {
        self.fail_on(class, "", count, fault);
    }

    /// Misbehaves on requests whose path has `path_part` in it.
    pub(crate) fn fail_on(&self, class: Class, path_part: &str, count: u64, fault: Fault) {
        let path_part = path_part.to_owned();
        self.shared.rules.lock().insert(0, Rule { class, path_part, left: count, fault });
    }

    /// Lets the next `count` requests of the class pass despite any faults.
    pub(crate) fn let_pass(&self, class: Class, count: u64) {
        self.fail_times(class, count, Fault::None);
    }

    /// Misbehaves in one of `one_in` requests, in a way and order that `seed` decides.
    pub(crate) fn misbehave(&self, seed: u32, one_in: u32) {
        // The generator stands still at zero.
        *self.shared.dice.lock() = Some((seed.wrapping_mul(0x9e37_79b9).max(1), one_in));
    }

    /// Releases the requests that [`Fault::Hold`] holds, and all that follow.
    pub(crate) fn release(&self) {
        let _woken_after_this = self.shared.is_over.lock();
        self.shared.is_released.store(true, Ordering::Relaxed);
        self.shared.ended.notify_all();
    }

    /// Denies each manifest and tag that is pushed from now on `count` times, as if it were not there
    /// yet.
    pub(crate) fn lag(&self, count: u64) {
        self.shared.lag.lock().0 = count;
    }

    /// Collects every blob just before each of the next `count` pushes of a manifest.
    pub(crate) fn collect_before_manifests(&self, count: u64) {
        self.shared.collections.store(count, Ordering::Relaxed);
    }

    /// Collects every blob now.
    pub(crate) fn collect_blobs(&self) {
        self.shared.content.lock().blobs.clear();
    }

    /// Shows from now on all that was pushed.
    pub(crate) fn catch_up(&self) {
        *self.shared.lag.lock() = (0, BTreeMap::new());
    }

    /// Wants this user and password from now on.
    pub(crate) fn require_login(&self, user: &str, password: &str) {
        let header = format!(
            "Basic {}",
            data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes())
        );
        *self.shared.login.lock() = Some(header);
    }

    /// Forgets all faults.
    pub(crate) fn heal(&self) {
        self.shared.rules.lock().clear();
        *self.shared.dice.lock() = None;
    }

    /// Returns the requests that came so far.
    pub(crate) fn seen(&self, class: Class) -> Vec<Request> {
        let seen = self.shared.seen.lock();
        seen.iter()
            .filter(|(of, _)| class == Class::Any || *of == class)
            .map(|(_, request)| request.clone())
            .collect()
    }

    /// Returns how many requests of the class came so far.
    pub(crate) fn count(&self, class: Class) -> usize {
        self.seen(class).len()
    }

    /// Returns how many bytes of endless bodies went out.
    pub(crate) fn endless_len(&self) -> u64 {
        self.shared.endless_len.load(Ordering::Relaxed)
    }

    /// Puts a blob under its digest.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.shared.content.lock().blobs.insert(digest.to_string(), bytes.to_vec());
        digest
    }

    /// Puts other bytes under a digest.
    pub(crate) fn forge_blob(&self, digest: &Digest, bytes: &[u8]) {
        self.shared.content.lock().blobs.insert(digest.to_string(), bytes.to_vec());
    }

    /// Puts any bytes as a manifest, and a tag to it.
    pub(crate) fn put_manifest(&self, tag: Option<&str>, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut content = self.shared.content.lock();
        content.manifests.insert(digest.to_string(), bytes.to_vec());
        if let Some(tag) = tag {
            content.tags.insert(tag.to_owned(), digest.to_string());
        }
        digest
    }

    /// Points a tag somewhere.
    pub(crate) fn put_tag(&self, tag: &str, digest: &Digest) {
        self.shared.content.lock().tags.insert(tag.to_owned(), digest.to_string());
    }

    /// Takes a tag away.
    pub(crate) fn remove_tag(&self, tag: &str) {
        self.shared.content.lock().tags.remove(tag);
    }

    /// Returns the tags with this prefix, sorted.
    pub(crate) fn tags(&self, prefix: &str) -> Vec<String> {
        let content = self.shared.content.lock();
        content.tags.keys().filter(|tag| tag.starts_with(prefix)).cloned().collect()
    }

    /// Returns the manifest of a tag.
    pub(crate) fn manifest_of(&self, tag: &str) -> Option<Vec<u8>> {
        let content = self.shared.content.lock();
        content.manifests.get(content.tags.get(tag)?).cloned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        *self.shared.is_over.lock() = true;
        self.shared.ended.notify_all();
        // Wakes the thread that accepts, so that the port is free when this returns.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    /// Waits until the registry ends.
    fn wait_for_end(&self) {
        let mut is_over = self.is_over.lock();
        while !*is_over {
            self.ended.wait(&mut is_over);
        }
    }

    /// Waits until held requests may go on, or the registry ends.
    fn wait_for_release(&self) {
        let mut is_over = self.is_over.lock();
        while !*is_over && !self.is_released.load(Ordering::Relaxed) {
            self.ended.wait(&mut is_over);
        }
    }

    /// Throws the dice for a request; `None` = it is answered rightly.
    fn take_chance(&self, class: Class) -> Option<Fault> {
        let mut dice = self.dice.lock();
        let (state, one_in) = dice.as_mut()?;
        // xorshift32
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        if *state % *one_in != 0 {
            return None;
        }
        let soon = Answer::error(429, "TOOMANYREQUESTS").with("Retry-After", "0");
        Some(match (*state >> 8) % 6 {
            0 => Fault::Close,
            1 => Fault::status(500),
            2 => Fault::Answer(soon),
            3 => Fault::CommitThenClose,
            4 if class == Class::BlobGet => Fault::Corrupt,
            4 => Fault::CommitThenStatus(502),
            _ => Fault::Truncate(10),
        })
    }

    /// Waits for `pause` and returns whether the registry has ended.
    fn is_over_after(&self, pause: Duration) -> bool {
        let mut is_over = self.is_over.lock();
        if !*is_over && !pause.is_zero() {
            self.ended.wait_for(&mut is_over, pause);
        }
        *is_over
    }

    fn note_endless(&self, len: u64) {
        self.endless_len.fetch_add(len, Ordering::Relaxed);
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(mut writer) = stream.try_clone() else { return };
        stream.set_nodelay(true).ok();
        let mut reader = BufReader::new(stream);
        // An error here is a client that has gone away, which is what many of the tests make it do.
        while let Ok(Some(request)) = Request::read(&mut reader) {
            let class = Class::of(&request);
            self.seen.lock().push((class, request.clone()));
            let fault = self.take_fault(class, &request).or_else(|| self.take_chance(class));
            let goes_on = fault.unwrap_or(Fault::None).answer(self, &request, &mut writer);
            if !goes_on.unwrap_or(false) || *self.is_over.lock() {
                return;
            }
        }
    }

    fn take_fault(&self, class: Class, request: &Request) -> Option<Fault> {
        let mut rules = self.rules.lock();
        let rule = rules.iter_mut().find(|rule| {
            rule.left > 0
                && (rule.class == Class::Any || rule.class == class)
                && request.path.contains(&rule.path_part)
        })?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }

    /// Does what the distribution specification says.
    pub(crate) fn carry_out(&self, request: &Request) -> Answer {
        if let Some(login) = self.login.lock().as_deref()
            && request.header("authorization") != Some(login)
        {
            return Answer::error(401, "UNAUTHORIZED")
                .with("WWW-Authenticate", "Basic realm=\"mail\"");
        }
        let name = request.name();
        if self.denies(request) {
            return Answer::error(404, "MANIFEST_UNKNOWN");
        }
        let mut content = self.content.lock();
        match Class::of(request) {
            Class::Tags => self.list_tags(&content, request),
            Class::Referrers if self.has_referrers => list_referrers(&content, name),
            Class::ManifestGet | Class::ManifestHead => get_manifest(&content, name),
            Class::ManifestPut => {
                let take = |left: u64| left.checked_sub(1);
                if self.collections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
                {
                    content.blobs.clear();
                }
                put_manifest(&mut content, name, &request.body, self.has_referrers)
            }
            Class::BlobGet | Class::BlobHead => get_blob(&content, name, request),
            Class::UploadStart => {
                content.upload_count += 1;
                let location = format!("{}{}", request.path, content.upload_count);
                Answer::new(202).with("Location", location)
            }
            Class::UploadPut => put_blob(&mut content, request),
            Class::Other if request.method == "GET" && request.path == "/v2/" => {
                Answer::json(&json!({}))
            }
            _ => Answer::error(404, "UNSUPPORTED"),
        }
    }

    /// Counts a push, or a request for what was pushed a moment ago; returns whether it is denied.
    fn denies(&self, request: &Request) -> bool {
        let (count, left) = &mut *self.lag.lock();
        match Class::of(request) {
            Class::ManifestPut => {
                left.insert(request.name().to_owned(), *count);
                false
            }
            Class::ManifestGet | Class::ManifestHead => {
                let denied = left.get_mut(request.name()).filter(|left| **left > 0);
                denied.map(|left| *left -= 1).is_some()
            }
            _ => false,
        }
    }

    fn list_tags(&self, content: &Content, request: &Request) -> Answer {
        let last = request.parameter("last").unwrap_or_default();
        let wanted = request.parameter("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        let count = self.page_count.min(wanted);
        let after: Vec<&String> = content.tags.keys().filter(|tag| tag.as_str() > last).collect();
        let page: Vec<&String> = after.iter().copied().take(count).collect();
        let mut answer = Answer::json(&json!({ "name": "mail", "tags": page }));
        if after.len() > page.len()
            && let Some(last) = page.last()
        {
            let link = format!("<{}?n={count}&last={last}>; rel=\"next\"", request.path);
            answer = answer.with("Link", link);
        }
        answer
    }
}

fn list_referrers(content: &Content, subject: &str) -> Answer {
    let mut manifests: Vec<Value> = Vec::new();
    for (digest, bytes) in &content.manifests {
        let Ok(manifest) = serde_json::from_slice::<Value>(bytes) else { continue };
        if manifest.pointer("/subject/digest") == Some(&json!(subject)) {
            manifests.push(json!({
                "mediaType": media_type::IMAGE_MANIFEST,
                "digest": digest,
                "size": bytes.len(),
                "artifactType": manifest.get("artifactType"),
            }));
        }
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::IMAGE_INDEX,
        "manifests": manifests,
    });
    Answer::json(&index).with("Content-Type", media_type::IMAGE_INDEX)
}

fn get_manifest(content: &Content, reference: &str) -> Answer {
    let digest = content.tags.get(reference).map_or(reference, String::as_str);
    let Some(bytes) = content.manifests.get(digest) else {
        return Answer::error(404, "MANIFEST_UNKNOWN");
    };
    let parsed = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let media_type =
        parsed.get("mediaType").and_then(Value::as_str).unwrap_or(media_type::IMAGE_MANIFEST);
    Answer::new(200)
        .with("Content-Type", media_type)
        .with("Docker-Content-Digest", digest)
        .body(bytes.clone())
}

fn put_manifest(
    content: &mut Content,
    reference: &str,
    bytes: &[u8],
    has_referrers: bool,
) -> Answer {
    let Ok(manifest) = serde_json::from_slice::<Value>(bytes) else {
        return Answer::error(400, "MANIFEST_INVALID");
    };
    let layers = manifest.get("layers").and_then(Value::as_array).cloned().unwrap_or_default();
    for descriptor in layers.iter().chain(manifest.get("config")) {
        let digest = descriptor.get("digest").and_then(Value::as_str).unwrap_or_default();
        if !content.blobs.contains_key(digest) {
            let error = json!({ "code": "MANIFEST_BLOB_UNKNOWN", "detail": { "Digest": digest } });
            return Answer { status: 400, ..Answer::json(&json!({ "errors": [error] })) };
        }
    }
    let digest = Digest::of(bytes).to_string();
    if reference.starts_with("sha256:") && reference != digest {
        return Answer::error(400, "DIGEST_INVALID");
    }
    content.manifests.insert(digest.clone(), bytes.to_vec());
    if !reference.starts_with("sha256:") {
        content.tags.insert(reference.to_owned(), digest.clone());
    }
    let mut answer = Answer::new(201).with("Docker-Content-Digest", digest);
    // The header says that the registry itself keeps the list of referrers.
    if let Some(subject) = manifest.pointer("/subject/digest").and_then(Value::as_str)
        && has_referrers
    {
        answer = answer.with("OCI-Subject", subject);
    }
    answer
}

fn get_blob(content: &Content, digest: &str, request: &Request) -> Answer {
    let Some(bytes) = content.blobs.get(digest) else {
        return Answer::error(404, "BLOB_UNKNOWN");
    };
    let start = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let answer = Answer::new(200)
        .with("Content-Type", "application/octet-stream")
        .with("Docker-Content-Digest", digest);
    match start {
        Some(start) if start < bytes.len() => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            let part = bytes.get(start..).unwrap_or_default();
            Answer { status: 206, ..answer }.with("Content-Range", range).body(part)
        }
        Some(_) => Answer::error(416, "SIZE_INVALID"),
        None => answer.body(bytes.clone()),
    }
}

fn put_blob(content: &mut Content, request: &Request) -> Answer {
    let digest = Digest::of(&request.body).to_string();
    if request.parameter("digest") != Some(&digest) {
        return Answer::error(400, "DIGEST_INVALID");
    }
    content.blobs.insert(digest.clone(), request.body.clone());
    Answer::new(201).with("Docker-Content-Digest", digest)
}
