//! Time, ids and randomness: the only place that asks the machine for them.
//!
//! Layer: 0. Imports `fhir`.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use crate::fhir::{Instant, LogicalId};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Instant;
}

/// Measures how long a thread is at something.
pub trait Stopwatch: std::fmt::Debug + Send + Sync {
    /// The time since a moment that stays the same for one thread. It never goes back, whatever is done to the
    /// machine's clock.
    fn reading(&self) -> Duration;
}

/// Makes new ids.
pub trait IdSource: Send + Sync {
    /// A logical id for a new resource.
    fn logical_id(&self) -> LogicalId;

    /// A time-ordered id (UUIDv7) for a ledger row or a request.
    fn ordered(&self) -> Uuid;

    /// 256 bits that nobody can guess, for a code or a token.
    fn secret(&self) -> [u8; 32];
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Instant {
        Instant::from_micros(Timestamp::now().as_microsecond())
    }
}

/// How long a processor has worked for this thread. While the thread waits for one it stands still, so that nothing
/// takes longer because the machine does much else, is stopped or sleeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemStopwatch;

impl Stopwatch for SystemStopwatch {
    fn reading(&self) -> Duration {
        // No such time is negative.
        Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
    }
}

/// Whether new logical ids tell the time of creation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IdOrder {
    /// UUIDv4: tells nothing.
    Random,
    /// UUIDv7: new ids sit side by side in the index.
    #[default]
    Time,
}

/// Lower-case UUIDs from the machine's random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds(pub IdOrder);

impl IdSource for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn logical_id(&self) -> LogicalId {
        let id = match self.0 {
            IdOrder::Random => Uuid::new_v4(),
            IdOrder::Time => Uuid::now_v7(),
        };
        let mut text = Uuid::encode_buffer();
        LogicalId::of_uuid(id.hyphenated().encode_lower(&mut text))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn ordered(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("a system without randomness cannot be served from");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_ordered_ids_ascend_and_random_ones_are_version_4() {
        let ids = SystemIds(IdOrder::Time);
        let made: Vec<_> = (0..100).map(|_| ids.logical_id()).collect();
        assert!(made.is_sorted(), "{made:?}");
        let random = SystemIds(IdOrder::Random).logical_id();
        assert_eq!(random.as_str().as_bytes()[14], b'4');
        assert_eq!(random.as_str().len(), 36);
    }

    #[test]
    fn no_secret_comes_twice() {
        let ids = SystemIds::default();
        let made: std::collections::BTreeSet<_> = (0..100).map(|_| ids.secret()).collect();
        assert_eq!(made.len(), 100);
    }

    #[test]
    fn the_clock_runs_forward() {
        let first = SystemClock.now();
        assert!(SystemClock.now() >= first);
        assert!(first > Instant::parse("2020-01-01T00:00:00Z").expect("instant"));
    }

    #[test]
    fn the_stopwatch_runs_while_its_thread_works_and_stands_still_while_it_waits() {
        let since = |first| SystemStopwatch.reading().checked_sub(first).expect("no way back");
        let first = SystemStopwatch.reading();
        std::thread::sleep(Duration::from_millis(500));
        let waited = since(first);
        assert!(waited < Duration::from_millis(250), "{waited:?}");
        let (began, first) = (std::time::Instant::now(), SystemStopwatch.reading());
        while since(first) < Duration::from_millis(2) {
            assert!(began.elapsed() < Duration::from_mins(1), "it stands still");
        }
    }
}
