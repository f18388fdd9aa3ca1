//! Waiting on behalf of a process that may be interrupted.
//!
//! fuser 0.18 does not pass `FUSE_INTERRUPT` on, so the kernel stops sending it and a caller waits
//! in the kernel, deaf even to SIGKILL, until we answer. Checking its pending signals ourselves
//! frees it within a second.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::FsError;
use super::requester::Requester;

/// Most requests are answered before this; for the others reading `/proc` is worth the cost.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// Time between two checks: 25 us of work, and Ctrl-C feels immediate.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long cancelled work may take to clean up before its caller is released.
const WIND_DOWN: Duration = Duration::from_millis(400);

/// Runs `work` until it ends, the requester has a signal pending, or the mount stops.
///
/// # Errors
/// `Interrupted` when `work` did not end by itself; it is signalled through `cancel` and then
/// dropped.
pub(super) async fn until_interrupted<T>(
    requester: Requester,
    stop: &CancellationToken,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, FsError>>,
) -> Result<T, FsError> {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        () = interruption(requester) => {}
        () = stop.cancelled() => {}
    }
    cancel.cancel();
    match tokio::time::timeout(WIND_DOWN, work).await {
        // It finished at the same moment; the caller may as well get the result.
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) | Err(_) => Err(FsError::Interrupted),
    }
}

async fn interruption(requester: Requester) {
    tokio::time::sleep(FIRST_LOOK).await;
    while !requester.is_interrupted() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn living() -> Requester {
        Requester::new(std::process::id())
    }

    fn gone() -> Requester {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        Requester::new(child.id())
    }

    async fn interruption_looks(count: u32) {
        tokio::time::sleep(FIRST_LOOK + LOOK_EVERY * count).await;
    }

    #[tokio::test]
    async fn work_of_a_living_caller_may_take_its_time() {
        let (stop, cancel) = (CancellationToken::new(), CancellationToken::new());
        let work = async {
            // Past the first checks of the caller.
            interruption_looks(3).await;
            Ok(7)
        };

        let result = until_interrupted(living(), &stop, &cancel, work).await;

        assert_eq!(result.unwrap(), 7);
        assert!(!cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_killed_caller_is_let_go_within_a_second_even_if_the_work_hangs() {
        let (stop, cancel) = (CancellationToken::new(), CancellationToken::new());
        let started = tokio::time::Instant::now();

        let work = std::future::pending::<Result<(), FsError>>();
        let result = until_interrupted(gone(), &stop, &cancel, work).await;

        assert!(matches!(result, Err(FsError::Interrupted)));
        assert!(cancel.is_cancelled());
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_stopping_mount_lets_everybody_go() {
        let (stop, cancel) = (CancellationToken::new(), CancellationToken::new());
        stop.cancel();

        let work = async {
            cancel.cancelled().await;
            Err::<(), _>(FsError::Interrupted)
        };
        let result = until_interrupted(living(), &stop, &cancel, work).await;

        assert!(matches!(result, Err(FsError::Interrupted)));
    }
}
