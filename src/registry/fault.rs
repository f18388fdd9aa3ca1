//! A repository that fails on demand: a decorator for tests of everything above it.
//!
//! Faults are scripted by operation and call number, never by time. Start at
//! [`FaultyRepository`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::memory::{OperationCounts, flip_bit};
use super::{
    FetchedManifest, ManifestRef, ManifestUpload, Presence, RegistryError, Repository, SweptBlobs,
    TagList,
};
use crate::protocol::{Descriptor, Digest, Tag};

pub use super::memory::Operation;

/// Makes the error of a fault; an error cannot be cloned.
type MakeError = Arc<dyn Fn() -> RegistryError + Send + Sync>;

/// What goes wrong in a call.
#[derive(Clone)]
pub struct Fault(Kind);

#[derive(Clone)]
enum Kind {
    Fail(MakeError),
    CommitThenFail(MakeError),
    Corrupt,
    Hold(Gate),
}

impl Fault {
    /// The call fails and changes nothing.
    pub fn fail(error: impl Fn() -> RegistryError + Send + Sync + 'static) -> Self {
        Self(Kind::Fail(Arc::new(error)))
    }

    /// The call does its work, but reports a failure to its caller.
    pub fn commit_then_fail(error: impl Fn() -> RegistryError + Send + Sync + 'static) -> Self {
        Self(Kind::CommitThenFail(Arc::new(error)))
    }

    /// One bit of what was fetched is flipped.
    ///
    /// A caller sees what every implementation makes of that: a digest mismatch if it fetched by
    /// digest, another manifest if it fetched by tag. Other operations are not changed.
    pub fn corrupt() -> Self {
        Self(Kind::Corrupt)
    }

    /// The call waits until the gate opens, and then continues.
    pub fn hold(gate: &Gate) -> Self {
        Self(Kind::Hold(gate.clone()))
    }
}

/// Holds calls until a test releases them. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    arrived_count: Arc<watch::Sender<u64>>,
}

impl Gate {
    /// Makes a closed gate.
    pub fn closed() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(false)),
            arrived_count: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Opens the gate for all present and later calls.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until `count` calls have reached the gate.
    pub async fn wait_for_arrivals(&self, count: u64) {
        let mut arrived = self.arrived_count.subscribe();
        // Fails only when the sender is gone, which `self` holds.
        arrived.wait_for(|arrived| *arrived >= count).await.ok();
    }

    async fn pass(&self) {
        self.arrived_count.send_modify(|arrived| *arrived += 1);
        self.open.subscribe().wait_for(|open| *open).await.ok();
    }
}

/// A repository with scripted faults.
pub struct FaultyRepository {
    inner: Arc<dyn Repository>,
    rules: Mutex<Vec<Rule>>,
    counts: OperationCounts,
    has_new_login: AtomicBool,
}

struct Rule {
    operation: Operation,
    /// Numbers of calls of this operation, from 0 at the start.
    calls: Range<u64>,
    /// Only for this blob or manifest.
    digest: Option<Digest>,
    fault: Fault,
}

impl FaultyRepository {
    /// Wraps `inner`, without any fault.
    pub fn new(inner: Arc<dyn Repository>) -> Self {
        Self {
            inner,
            rules: Mutex::default(),
            counts: OperationCounts::default(),
            has_new_login: AtomicBool::new(false),
        }
    }

    /// Makes the calls of `operation` with the numbers `calls` fail, counted from 0 at the start.
    ///
    /// The first rule that matches a call decides.
    pub fn inject(&self, operation: Operation, calls: Range<u64>, fault: Fault) {
        self.rules.lock().push(Rule { operation, calls, digest: None, fault });
    }

    /// Makes the next `count` calls of `operation` fail.
    pub fn inject_next(&self, operation: Operation, count: u64, fault: Fault) {
        let next = self.counts.of(operation);
        self.inject(operation, next..next.saturating_add(count), fault);
    }

    /// Makes every later call of `operation` fail.
    pub fn inject_always(&self, operation: Operation, fault: Fault) {
        self.inject_next(operation, u64::MAX, fault);
    }

    /// Makes every call of `operation` on one blob or manifest fail.
    pub fn inject_on(&self, operation: Operation, digest: &Digest, fault: Fault) {
        let rule = Rule { operation, calls: 0..u64::MAX, digest: Some(*digest), fault };
        self.rules.lock().push(rule);
    }

    /// Reports a new login once.
    pub fn change_login(&self) {
        self.has_new_login.store(true, Ordering::SeqCst);
    }

    /// Removes every fault. Calls that wait at a gate keep waiting.
    pub fn heal(&self) {
        self.rules.lock().clear();
    }

    /// Returns how often each operation was called, failed calls included.
    pub fn counts(&self) -> &OperationCounts {
        &self.counts
    }

    /// Counts the call, makes it wait or fail, and returns the fault for its result.
    async fn enter(
        &self,
        operation: Operation,
        digest: Option<&Digest>,
    ) -> Result<Option<Kind>, RegistryError> {
        let number = self.counts.note(operation);
        let kind = {
            let rules = self.rules.lock();
            let fits = |rule: &&Rule| {
                rule.operation == operation
                    && rule.calls.contains(&number)
                    && rule.digest.as_ref().is_none_or(|only| digest == Some(only))
            };
            rules.iter().find(fits).map(|rule| rule.fault.0.clone())
        };
        match kind {
            Some(Kind::Fail(error)) => Err(error()),
            Some(Kind::Hold(gate)) => {
                gate.pass().await;
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

/// Replaces a result that the caller must not see.
fn leave<T>(fault: Option<Kind>, result: Result<T, RegistryError>) -> Result<T, RegistryError> {
    match fault {
        Some(Kind::CommitThenFail(error)) => result.and_then(|_| Err(error())),
        _ => result,
    }
}

fn mismatch(expected: Digest, bytes: &Bytes) -> RegistryError {
    RegistryError::DigestMismatch { expected, actual: Digest::of(bytes) }
}

#[async_trait]
impl Repository for FaultyRepository {
    fn reference(&self) -> String {
        self.inner.reference()
    }

    async fn login_changed(&self) -> bool {
        self.has_new_login.swap(false, Ordering::SeqCst) || self.inner.login_changed().await
    }

    async fn probe(&self) -> Result<(), RegistryError> {
        let fault = self.enter(Operation::Probe, None).await?;
        leave(fault, self.inner.probe().await)
    }

    async fn fetch_manifest(
        &self,
        reference: &ManifestRef,
        len_max: u64,
    ) -> Result<FetchedManifest, RegistryError> {
        let digest = match reference {
            ManifestRef::Digest(digest) => Some(digest),
            ManifestRef::Tag(_) => None,
        };
        let fault = self.enter(Operation::FetchManifest, digest).await?;
        let is_corrupt = matches!(fault, Some(Kind::Corrupt));
        let fetched = leave(fault, self.inner.fetch_manifest(reference, len_max).await)?;
        if !is_corrupt {
            return Ok(fetched);
        }
        let bytes = flip_bit(&fetched.bytes);
        match digest {
            Some(digest) => Err(mismatch(*digest, &bytes)),
            None => Ok(FetchedManifest { digest: Digest::of(&bytes), bytes }),
        }
    }

    async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, RegistryError> {
        let fault = self.enter(Operation::ResolveTag, None).await?;
        leave(fault, self.inner.resolve_tag(tag).await)
    }

    async fn manifest_presence(&self, digest: &Digest) -> Result<Presence, RegistryError> {
        let fault = self.enter(Operation::ManifestPresence, Some(digest)).await?;
        leave(fault, self.inner.manifest_presence(digest).await)
    }

    async fn push_manifest(&self, manifest: &ManifestUpload) -> Result<Digest, RegistryError> {
        let digest = Digest::of(&manifest.bytes);
        let fault = self.enter(Operation::PushManifest, Some(&digest)).await?;
        leave(fault, self.inner.push_manifest(manifest).await)
    }

    async fn blob_exists(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let fault = self.enter(Operation::BlobExists, Some(digest)).await?;
        leave(fault, self.inner.blob_exists(digest).await)
    }

    async fn fetch_blob(&self, digest: &Digest, size: u64) -> Result<Bytes, RegistryError> {
        let fault = self.enter(Operation::FetchBlob, Some(digest)).await?;
        let is_corrupt = matches!(fault, Some(Kind::Corrupt));
        let bytes = leave(fault, self.inner.fetch_blob(digest, size).await)?;
        if is_corrupt { Err(mismatch(*digest, &flip_bit(&bytes))) } else { Ok(bytes) }
    }

    async fn push_blob(&self, digest: &Digest, bytes: Bytes) -> Result<(), RegistryError> {
        let fault = self.enter(Operation::PushBlob, Some(digest)).await?;
        leave(fault, self.inner.push_blob(digest, bytes).await)
    }

    async fn list_tags(&self, prefix: &str) -> Result<TagList, RegistryError> {
        let fault = self.enter(Operation::ListTags, None).await?;
        leave(fault, self.inner.list_tags(prefix).await)
    }

    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let fault = self.enter(Operation::ListReferrers, Some(subject)).await?;
        leave(fault, self.inner.list_referrers(subject).await)
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        let fault = self.enter(Operation::DeleteManifest, Some(digest)).await?;
        leave(fault, self.inner.delete_manifest(digest).await)
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<(), RegistryError> {
        let fault = self.enter(Operation::DeleteTag, None).await?;
        leave(fault, self.inner.delete_tag(tag).await)
    }

    async fn remove_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        let fault = self.enter(Operation::RemoveReferrer, Some(subject)).await?;
        leave(fault, self.inner.remove_referrer(subject, referrer).await)
    }

    async fn sweep_blobs(
        &self,
        age_min: Duration,
        dry_run: bool,
    ) -> Result<Option<SweptBlobs>, RegistryError> {
        let fault = self.enter(Operation::SweepBlobs, None).await?;
        leave(fault, self.inner.sweep_blobs(age_min, dry_run).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;
    use crate::registry::memory::MemoryRepository;

    fn blob() -> (Digest, Bytes) {
        (Digest::of(b"blob"), Bytes::from_static(b"blob"))
    }

    fn over_memory() -> (MemoryRepository, FaultyRepository) {
        let memory = MemoryRepository::new();
        (memory.clone(), FaultyRepository::new(Arc::new(memory)))
    }

    #[tokio::test]
    async fn without_faults_the_contract_is_kept() {
        conformance::check(Arc::new(over_memory().1)).await;
    }

    #[tokio::test]
    async fn exactly_the_scripted_calls_fail() {
        let (memory, faulty) = over_memory();
        let (digest, bytes) = blob();
        faulty.inject(Operation::PushBlob, 1..2, Fault::fail(|| RegistryError::TimedOut));

        let mut results = Vec::new();
        for _ in 0..3 {
            results.push(faulty.push_blob(&digest, bytes.clone()).await.is_ok());
        }

        assert_eq!(results, [true, false, true]);
        assert_eq!(faulty.counts().of(Operation::PushBlob), 3);
        assert_eq!(memory.counts().of(Operation::PushBlob), 2);
    }

    #[tokio::test]
    async fn commit_then_fail_does_the_work_and_says_it_failed() {
        let (memory, faulty) = over_memory();
        let (digest, bytes) = blob();
        let fault = Fault::commit_then_fail(|| RegistryError::TimedOut);
        faulty.inject_next(Operation::PushBlob, 1, fault);

        let pushed = faulty.push_blob(&digest, bytes).await;

        assert!(matches!(pushed, Err(RegistryError::TimedOut)), "{pushed:?}");
        assert_eq!(memory.blobs(), [digest]);
    }

    #[tokio::test]
    async fn a_corrupt_blob_is_a_mismatch_for_that_blob_only() {
        let (_, faulty) = over_memory();
        let (digest, bytes) = blob();
        let other = Digest::of(b"other");
        faulty.push_blob(&digest, bytes).await.unwrap();
        faulty.push_blob(&other, Bytes::from_static(b"other")).await.unwrap();
        faulty.inject_on(Operation::FetchBlob, &digest, Fault::corrupt());

        let corrupt = faulty.fetch_blob(&digest, 4).await;
        let intact = faulty.fetch_blob(&other, 5).await;
        faulty.heal();
        let healed = faulty.fetch_blob(&digest, 4).await;

        assert!(matches!(corrupt, Err(RegistryError::DigestMismatch { .. })), "{corrupt:?}");
        assert!(intact.is_ok() && healed.is_ok());
    }

    #[tokio::test]
    async fn a_held_call_goes_on_when_the_gate_opens() {
        let (memory, faulty) = over_memory();
        let (digest, bytes) = blob();
        let gate = Gate::closed();
        faulty.inject_always(Operation::PushBlob, Fault::hold(&gate));

        let check_and_open = async {
            gate.wait_for_arrivals(1).await;
            let before = memory.blobs();
            gate.open();
            before
        };
        let (pushed, before) = tokio::join!(faulty.push_blob(&digest, bytes), check_and_open);

        assert!(pushed.is_ok() && before.is_empty());
        assert_eq!(memory.blobs(), [digest]);
    }
}
