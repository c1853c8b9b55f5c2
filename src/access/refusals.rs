//! How refusals of parties that ask too often go on record, so that a flood of them does not fill it.
//!
//! The first within a minute has a row, and then the tenth, the hundredth and so on, which say how many
//! there were: the record has each party that was held back, and how much about, by a few rows. Of more
//! parties within a minute than are counted, those that come last have none.
//!
//! Spec: security A3, H11

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::caller::party_of;

/// How long they are counted together.
const WITHIN: Duration = Duration::from_mins(1);
/// Most parties that are counted at a time.
const MAX_PARTIES: usize = 10_000;

/// The refusals of each party since a moment.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<String, (Instant, u32)>>);

impl Refusals {
    /// Counts one; how many there were, where that is to go on record.
    pub(super) fn add(&self, actor: &str, source: Option<IpAddr>, now: Instant) -> Option<u32> {
        let party = format!("{actor} {}", party_of(source));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_PARTIES {
            known.retain(|_, (since, _)| now.duration_since(*since) < WITHIN);
        }
        if known.len() >= MAX_PARTIES && !known.contains_key(&party) {
            return None;
        }
        let (since, count) = known.entry(party).or_insert((now, 0));
        if now.duration_since(*since) >= WITHIN {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        let is_told = 10_u32.pow(count.ilog10()) == *count;
        is_told.then_some(*count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_each_tenfold_within_a_minute_are_told() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = |actor: &str, count: u32, at: Instant| -> Vec<u32> {
            (0..count).filter_map(|_| refusals.add(actor, None, at)).collect()
        };
        assert_eq!(told("a", 1_234, now), [1, 10, 100, 1_000]);
        assert_eq!(told("b", 9, now), [1]);
        assert_eq!(told("a", 100, now + WITHIN / 2), [0_u32; 0]);
        assert_eq!(told("a", 10, now + WITHIN), [1, 10]);
    }

    #[test]
    fn addresses_of_one_line_are_counted_together() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = |address: &str| refusals.add("x", Some(address.parse().unwrap()), now);
        assert_eq!(told("2001:db8:1:2::1"), Some(1));
        assert_eq!(told("2001:db8:1:2::2"), None);
        assert_eq!(told("2001:db8:1:3::1"), Some(1));
        assert_eq!(told("192.0.2.1"), Some(1));
    }
}
