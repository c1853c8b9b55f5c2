//! Tasks that begin again when they panic: a feed goes on, whatever happened to one of them.
//!
//! Spec: v2 M1, M8

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;

/// How long a task waits that begins again: one that panics at once is not to fill the log.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a task to its end, and again after each panic, until told to stop. What a task keeps for itself begins
/// anew with it; what it shares stands behind locks that bear a panic.
pub async fn lasting<F>(
    what: &'static str,
    mut stop: watch::Receiver<bool>,
    mut begin: impl FnMut() -> F,
) where
    F: Future<Output = ()>,
{
    loop {
        let ran = AssertUnwindSafe(begin()).catch_unwind().await;
        if ran.is_ok() || *stop.borrow() {
            return;
        }
        metrics::counter!("kiln_v2_panics_total", "task" => what).increment(1);
        tracing::error!(task = what, "a task of the feed panicked: it begins again");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.changed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn panicking() {
        tokio::task::yield_now().await;
        panic!("planted");
    }

    #[tokio::test]
    async fn a_task_begins_again_after_each_panic_until_it_ends() {
        let (_tell, stop) = watch::channel(false);
        let times = Cell::new(0);
        lasting("test", stop, || {
            times.set(times.get() + 1);
            let is_last = times.get() == 3;
            async move { assert!(is_last, "planted") }
        })
        .await;
        assert_eq!(times.get(), 3);
    }

    #[tokio::test]
    async fn who_is_told_to_stop_begins_no_more() {
        let (tell, stop) = watch::channel(false);
        let times = Cell::new(0);
        lasting("test", stop.clone(), || {
            times.set(times.get() + 1);
            tell.send_replace(true);
            panicking()
        })
        .await;
        assert_eq!(times.get(), 1);
        // Nor while it waits.
        let (tell, stop) = watch::channel(false);
        let running = lasting("test", stop, || {
            times.set(times.get() + 1);
            panicking()
        });
        let told = async {
            tokio::task::yield_now().await;
            tell.send_replace(true);
        };
        tokio::join!(running, told);
        assert_eq!(times.get(), 2);
    }
}
