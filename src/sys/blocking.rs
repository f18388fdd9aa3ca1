//! Work that blocks, away from the threads of the runtime.

/// The work ended without a result: it panicked, which the panic hook has reported, or the runtime
/// is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task of this program ended early")]
pub struct TaskLost;

/// Runs `work` on a thread for blocking work.
///
/// It runs to its end even when the future is dropped.
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TaskLost> {
    tokio::task::spawn_blocking(work).await.map_err(|_panicked| TaskLost)
}

/// As [`run`], for work that may fail by itself.
pub async fn try_run<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<TaskLost> + Send + 'static,
{
    run(work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Error {
        Failed,
        Lost,
    }

    impl From<TaskLost> for Error {
        fn from(_lost: TaskLost) -> Self {
            Self::Lost
        }
    }

    #[tokio::test]
    async fn a_result_comes_back_and_so_does_an_error() {
        assert_eq!(run(|| 7).await, Ok(7));
        assert_eq!(try_run(|| Ok::<_, Error>(7)).await, Ok(7));
        assert_eq!(try_run(|| Err::<u8, _>(Error::Failed)).await, Err(Error::Failed));
    }

    #[tokio::test]
    async fn work_that_panics_is_lost_and_takes_no_other_with_it() {
        let lost = run(|| -> u8 { panic!("on purpose") }).await;
        let lost_too = try_run(|| -> Result<u8, Error> { panic!("on purpose") }).await;

        assert_eq!(lost, Err(TaskLost));
        assert_eq!(lost_too, Err(Error::Lost));
    }
}
