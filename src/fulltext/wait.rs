//! Who waits until the index has what the database has.
//!
//! Waiting is told by tickets: a caller draws one, the feeder sees which was drawn last, finds out
//! how far the feed is at that moment, and calls the ticket once the index is there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// The last ticket that somebody drew.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Asked(u64);

#[derive(Debug)]
pub(super) struct Waiting {
    drawn: AtomicU64,
    called: watch::Sender<Asked>,
    wake: Notify,
}

impl Default for Waiting {
    fn default() -> Self {
        let called = watch::Sender::new(Asked::default());
        Self { drawn: AtomicU64::new(0), called, wake: Notify::new() }
    }
}

impl Waiting {
    /// Draws a ticket and waits until it is called; whether it was in time.
    pub(super) async fn wait(&self, timeout: Duration) -> bool {
        let mut called = self.called.subscribe();
        let ticket = Asked(self.drawn.fetch_add(1, Ordering::SeqCst) + 1);
        self.wake.notify_one();
        let wait = called.wait_for(|called| *called >= ticket);
        matches!(tokio::time::timeout(timeout, wait).await, Ok(Ok(_)))
    }

    pub(super) fn asked(&self) -> Asked {
        Asked(self.drawn.load(Ordering::SeqCst))
    }

    /// Whether somebody waits: who drew the last ticket may have left.
    pub(super) fn has_somebody(&self) -> bool {
        self.called.receiver_count() > 0
    }

    pub(super) fn call(&self, ticket: Asked) {
        self.called.send_if_modified(|called| {
            let is_later = ticket > *called;
            *called = ticket.max(*called);
            is_later
        });
    }

    /// Waits until somebody draws a ticket.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ticket_waits_until_it_is_called() {
        let waiting = Waiting::default();
        let feeder = async {
            waiting.woken().await;
            waiting.call(waiting.asked());
        };
        let (in_time, ()) = tokio::join!(waiting.wait(Duration::from_secs(5)), feeder);
        assert!(in_time);
        assert!(!waiting.wait(Duration::from_millis(5)).await);
    }

    #[tokio::test]
    async fn who_left_waits_no_longer() {
        let waiting = Waiting::default();
        let feeder = async {
            waiting.woken().await;
            waiting.has_somebody()
        };
        let (in_time, had_somebody) = tokio::join!(waiting.wait(Duration::from_millis(20)), feeder);
        assert!(!in_time && had_somebody);
        assert!(!waiting.has_somebody());
    }

    #[tokio::test]
    async fn an_old_call_calls_nobody_new() {
        let waiting = Waiting::default();
        let old = waiting.asked();
        let (in_time, ()) = tokio::join!(waiting.wait(Duration::from_millis(20)), async {
            waiting.woken().await;
            waiting.call(old);
        });
        assert!(!in_time);
        assert_eq!(waiting.asked(), Asked(1));
    }
}
