//! How ids are guessed: by many reads of what is not there or out of reach.
//!
//! A party with limits that misses so often within a minute is worth an alert: a line in the log, a
//! counter, and a row of the ledger. The party itself hears nothing of it.
//!
//! Spec: security V1

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many misses are no accident.
const MANY: u32 = 100;
/// How long they are counted together.
const WITHIN: Duration = Duration::from_mins(1);
/// Most parties that are counted at a time.
const MAX_PARTIES: usize = 10_000;

/// What the log and the record say of it; the party itself is told nothing.
pub(super) const TEXT: &str =
    "many reads of what is not there, or is out of reach, within a minute";

/// The misses of each party since a moment.
#[derive(Debug, Default)]
pub(super) struct Misses(Mutex<HashMap<String, (Instant, u32)>>);

impl Misses {
    /// Counts one; whether that makes them many, which is said once for each minute.
    pub(super) fn add(&self, party: &str, now: Instant) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_PARTIES {
            known.retain(|_, (since, _)| now.duration_since(*since) < WITHIN);
        }
        if known.len() >= MAX_PARTIES && !known.contains_key(party) {
            return false;
        }
        let (since, count) = known.entry(party.to_owned()).or_insert((now, 0));
        if now.duration_since(*since) >= WITHIN {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count == MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_in_a_minute_are_told_once() {
        let (misses, now) = (Misses::default(), Instant::now());
        let told = |party: &str, count: u32, at: Instant| {
            (0..count).filter(|_| misses.add(party, at)).count()
        };
        assert_eq!(told("a", MANY - 1, now), 0);
        assert_eq!(told("b", 1, now), 0);
        assert_eq!(told("a", MANY, now + WITHIN / 2), 1);
        assert_eq!(told("a", MANY - 1, now + WITHIN), 0);
        assert_eq!(told("a", 1, now + WITHIN), 1);
    }
}
