//! Work that goes on when the client hangs up: the one place in `http` that starts a task.
//!
//! axum drops a handler together with its connection. An interaction must reach its end all the
//! same, so that no attempt goes unrecorded (architecture, decision 2).

use std::future::Future;
use std::time::Duration;

use tracing::Instrument;

use super::outcome::Failure;

/// Runs `work` to its end, and waits for it at most `limit`.
///
/// # Errors
/// The failure of `work`; [`Failure::TimedOut`], while the work goes on; [`Failure::Panicked`].
pub(super) async fn finish<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    #[expect(clippy::disallowed_methods, reason = "see the module's text")]
    let task = tokio::spawn(work.in_current_span());
    match tokio::time::timeout(limit, task).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(Failure::Panicked),
        Err(_) => Err(Failure::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        let work = async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            flag.store(true, Ordering::SeqCst);
            Ok(())
        };
        let result = finish(Duration::from_millis(1), work).await;
        assert!(matches!(result, Err(Failure::TimedOut)));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(done.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_an_answer_is_passed_on() {
        let second = Duration::from_secs(1);
        let panics = async { if true { panic!("planted") } else { Ok(()) } };
        assert!(matches!(finish(second, panics).await, Err(Failure::Panicked)));
        assert_eq!(finish(second, async { Ok(7) }).await.ok(), Some(7));
    }
}
