//! Patience with a registry: repeats a call a little later, while that may help.
//!
//! Every call of [`Repository`] is idempotent, so a call that failed half-way can be repeated.
//! Only transient errors are retried; start at [`RetryRepository`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    FetchedManifest, ManifestRef, ManifestUpload, Presence, RegistryError, Repository, SweptBlobs,
    TagList,
};
use crate::protocol::{Descriptor, Digest, Tag};
use crate::sys::backoff::Backoff;

/// How often and how long a call is tried.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Most attempts of one call.
    pub attempt_count_max: u32,
    /// Longest pause after the first attempt; it doubles with each.
    pub pause_first: Duration,
    /// Longest pause of our own; a registry may request more.
    pub pause_max: Duration,
    /// After this time the last transient error is returned.
    ///
    /// A blob transfer that has begun may finish: it has a minimum rate of its own, and an aborted
    /// one would have to start again.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempt_count_max: 6,
            pause_first: Duration::from_millis(200),
            pause_max: Duration::from_secs(30),
            deadline: Duration::from_mins(2),
        }
    }
}

impl RetryPolicy {
    /// Returns how long to wait after attempt number `attempt` (from 1) failed with `error`, or
    /// `None` when that is final.
    ///
    /// It is never shorter than what the registry requests.
    fn pause(&self, attempt: u32, error: &RegistryError) -> Option<Duration> {
        // The manifest is as it is: the caller pushes first what it names.
        let needs_push = matches!(error, RegistryError::BlobUnknown { .. });
        if attempt >= self.attempt_count_max || needs_push || !error.class().is_transient() {
            return None;
        }
        let wish = match error {
            RegistryError::Throttled { retry_after } => *retry_after,
            _ => None,
        };
        Some(Backoff::new(self.pause_first, self.pause_max).random_pause(attempt, wish))
    }
}

/// A repository that repeats calls with transient errors.
pub struct RetryRepository {
    inner: Arc<dyn Repository>,
    policy: RetryPolicy,
}

impl RetryRepository {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Repository>, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }

    /// Runs a call without a blob; it ends at the deadline even if an attempt hangs.
    async fn run<T, F>(&self, call: impl Fn() -> F + Send + Sync) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>> + Send,
    {
        let deadline = Instant::now() + self.policy.deadline;
        let last_error = Mutex::new(RegistryError::TimedOut);
        match timeout_at(deadline, self.repeat(deadline, &last_error, call)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(last_error.into_inner()),
        }
    }

    /// Runs a call with a blob; only the next attempt depends on the deadline.
    async fn run_blob<T, F>(&self, call: impl Fn() -> F + Send + Sync) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>> + Send,
    {
        let deadline = Instant::now() + self.policy.deadline;
        self.repeat(deadline, &Mutex::new(RegistryError::TimedOut), call).await
    }

    async fn repeat<T, F>(
        &self,
        deadline: Instant,
        last_error: &Mutex<RegistryError>,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>> + Send,
    {
        let mut attempt = 1;
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(pause) = self.policy.pause(attempt, &error) else { return Err(error) };
            if Instant::now() + pause >= deadline {
                return Err(error); // waiting past the deadline is useless
            }
            tracing::debug!(attempt, ?pause, %error, "registry call failed, trying again");
            *last_error.lock() = error;
            sleep(pause).await;
            attempt += 1;
        }
    }
}

#[async_trait]
impl Repository for RetryRepository {
    fn reference(&self) -> String {
        self.inner.reference()
    }

    async fn login_changed(&self) -> bool {
        self.inner.login_changed().await
    }

    async fn probe(&self) -> Result<(), RegistryError> {
        self.run(|| self.inner.probe()).await
    }

    async fn fetch_manifest(
        &self,
        reference: &ManifestRef,
        len_max: u64,
    ) -> Result<FetchedManifest, RegistryError> {
        self.run(|| self.inner.fetch_manifest(reference, len_max)).await
    }

    async fn resolve_tag(&self, tag: &Tag) -> Result<Option<Digest>, RegistryError> {
        self.run(|| self.inner.resolve_tag(tag)).await
    }

    async fn manifest_presence(&self, digest: &Digest) -> Result<Presence, RegistryError> {
        self.run(|| self.inner.manifest_presence(digest)).await
    }

    async fn push_manifest(&self, manifest: &ManifestUpload) -> Result<Digest, RegistryError> {
        self.run(|| self.inner.push_manifest(manifest)).await
    }

    async fn blob_exists(&self, digest: &Digest) -> Result<bool, RegistryError> {
        self.run(|| self.inner.blob_exists(digest)).await
    }

    async fn fetch_blob(&self, digest: &Digest, size: u64) -> Result<Bytes, RegistryError> {
        self.run_blob(|| self.inner.fetch_blob(digest, size)).await
    }

    async fn push_blob(&self, digest: &Digest, bytes: Bytes) -> Result<(), RegistryError> {
        self.run_blob(|| self.inner.push_blob(digest, bytes.clone())).await
    }

    async fn list_tags(&self, prefix: &str) -> Result<TagList, RegistryError> {
        self.run(|| self.inner.list_tags(prefix)).await
    }

    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        self.run(|| self.inner.list_referrers(subject)).await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        self.run(|| self.inner.delete_manifest(digest)).await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<(), RegistryError> {
        self.run(|| self.inner.delete_tag(tag)).await
    }

    async fn remove_referrer(
        &self,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), RegistryError> {
        self.run(|| self.inner.remove_referrer(subject, referrer)).await
    }

    async fn sweep_blobs(
        &self,
        age_min: Duration,
        dry_run: bool,
    ) -> Result<Option<SweptBlobs>, RegistryError> {
        self.run_blob(|| self.inner.sweep_blobs(age_min, dry_run)).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Answers `probe` and `push_blob` from a script; an empty script hangs.
    struct Scripted {
        script: Mutex<VecDeque<Result<(), RegistryError>>>,
    }

    impl Scripted {
        fn new(script: impl IntoIterator<Item = Result<(), RegistryError>>) -> Arc<Self> {
            Arc::new(Self { script: Mutex::new(script.into_iter().collect()) })
        }

        fn left(&self) -> usize {
            self.script.lock().len()
        }

        async fn next(&self) -> Result<(), RegistryError> {
            let next = self.script.lock().pop_front();
            match next {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    #[async_trait]
    impl Repository for Scripted {
        fn reference(&self) -> String {
            "scripted".into()
        }

        async fn probe(&self) -> Result<(), RegistryError> {
            self.next().await
        }

        async fn fetch_manifest(
            &self,
            _reference: &ManifestRef,
            _len_max: u64,
        ) -> Result<FetchedManifest, RegistryError> {
            unreachable!("not scripted")
        }

        async fn resolve_tag(&self, _tag: &Tag) -> Result<Option<Digest>, RegistryError> {
            unreachable!("not scripted")
        }

        async fn manifest_presence(&self, _digest: &Digest) -> Result<Presence, RegistryError> {
            unreachable!("not scripted")
        }

        async fn push_manifest(&self, _manifest: &ManifestUpload) -> Result<Digest, RegistryError> {
            unreachable!("not scripted")
        }

        async fn blob_exists(&self, _digest: &Digest) -> Result<bool, RegistryError> {
            unreachable!("not scripted")
        }

        async fn fetch_blob(&self, _digest: &Digest, _size: u64) -> Result<Bytes, RegistryError> {
            unreachable!("not scripted")
        }

        async fn push_blob(&self, _digest: &Digest, _bytes: Bytes) -> Result<(), RegistryError> {
            self.next().await
        }

        async fn list_tags(&self, _prefix: &str) -> Result<TagList, RegistryError> {
            unreachable!("not scripted")
        }

        async fn list_referrers(
            &self,
            _subject: &Digest,
        ) -> Result<Vec<Descriptor>, RegistryError> {
            unreachable!("not scripted")
        }

        async fn delete_manifest(&self, _digest: &Digest) -> Result<(), RegistryError> {
            unreachable!("not scripted")
        }

        async fn delete_tag(&self, _tag: &Tag) -> Result<(), RegistryError> {
            unreachable!("not scripted")
        }

        async fn remove_referrer(
            &self,
            _subject: &Digest,
            _referrer: &Digest,
        ) -> Result<(), RegistryError> {
            unreachable!("not scripted")
        }

        async fn sweep_blobs(
            &self,
            _age_min: Duration,
            _dry_run: bool,
        ) -> Result<Option<SweptBlobs>, RegistryError> {
            unreachable!("not scripted")
        }
    }

    fn unreachable_error() -> RegistryError {
        RegistryError::Unreachable("down".into())
    }

    fn denied() -> RegistryError {
        RegistryError::Denied { reason: "no".into() }
    }

    fn impatient() -> RetryPolicy {
        RetryPolicy { pause_first: Duration::from_micros(10), ..RetryPolicy::default() }
    }

    #[tokio::test]
    async fn a_call_is_repeated_until_it_works() {
        let inner = Scripted::new([Err(unreachable_error()), Err(RegistryError::TimedOut), Ok(())]);
        let retry = RetryRepository::new(Arc::clone(&inner) as Arc<dyn Repository>, impatient());

        let probed = retry.probe().await;

        assert!(probed.is_ok(), "{probed:?}");
        assert_eq!(inner.left(), 0);
    }

    #[tokio::test]
    async fn six_attempts_are_made_and_no_more() {
        let inner = Scripted::new((0..10).map(|_| Err(unreachable_error())));
        let retry = RetryRepository::new(Arc::clone(&inner) as Arc<dyn Repository>, impatient());

        let pushed = retry.push_blob(&Digest::of(b""), Bytes::new()).await;

        assert!(matches!(pushed, Err(RegistryError::Unreachable(_))), "{pushed:?}");
        assert_eq!(inner.left(), 4);
    }

    #[tokio::test]
    async fn a_final_error_is_not_repeated() {
        let inner = Scripted::new([Err(denied()), Ok(())]);
        let retry = RetryRepository::new(Arc::clone(&inner) as Arc<dyn Repository>, impatient());

        let probed = retry.probe().await;

        assert!(matches!(probed, Err(RegistryError::Denied { .. })), "{probed:?}");
        assert_eq!(inner.left(), 1);
    }

    #[tokio::test]
    async fn the_deadline_ends_a_hanging_attempt_with_the_last_error() {
        let policy = RetryPolicy { deadline: Duration::from_millis(30), ..impatient() };
        let hanging = Scripted::new([]);
        let failing_then_hanging = Scripted::new([Err(unreachable_error())]);

        let first = RetryRepository::new(hanging, policy).probe().await;
        let second = RetryRepository::new(failing_then_hanging, policy).probe().await;

        assert!(matches!(first, Err(RegistryError::TimedOut)), "{first:?}");
        assert!(matches!(second, Err(RegistryError::Unreachable(_))), "{second:?}");
    }

    #[tokio::test]
    async fn a_wish_longer_than_the_deadline_is_not_waited_for() {
        let wish = Some(Duration::from_hours(1));
        let inner = Scripted::new([Err(RegistryError::Throttled { retry_after: wish }), Ok(())]);
        let retry = RetryRepository::new(Arc::clone(&inner) as Arc<dyn Repository>, impatient());

        let probed = retry.probe().await;

        assert!(matches!(probed, Err(RegistryError::Throttled { .. })), "{probed:?}");
        assert_eq!(inner.left(), 1);
    }

    #[test]
    fn pauses_double_with_jitter_up_to_the_longest_and_honour_the_registry() {
        let policy = RetryPolicy { attempt_count_max: 100, ..RetryPolicy::default() };
        let wish = |secs| RegistryError::Throttled { retry_after: Some(Duration::from_secs(secs)) };

        for (attempt, most) in
            [(1, 200), (2, 400), (3, 800), (8, 25_600), (9, 30_000), (99, 30_000)]
        {
            let pause = policy.pause(attempt, &unreachable_error()).unwrap();
            let most = Duration::from_millis(most);

            assert!(pause >= most / 2 && pause <= most, "{attempt}: {pause:?}");
        }
        assert!(policy.pause(1, &wish(7)).unwrap() >= Duration::from_secs(7));
        assert!(policy.pause(9, &wish(0)).unwrap() >= Duration::from_secs(15));
        assert_eq!(policy.pause(1, &denied()), None);
        assert_eq!(policy.pause(100, &unreachable_error()), None);
    }
}
