//! How often and how many at a time: for each client, user and address.
//!
//! Each node counts for itself.
//!
//! Spec: security H11

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::interaction::Kind;
use crate::access::{Actor, Caller};
use crate::config;
use crate::error::Error;

use super::Authority;
use super::refusal::Refusal;

/// The party that all together are.
pub const ALL: &str = "all";
/// Most parties that are remembered by one limit.
const MAX_PARTIES: usize = 50_000;

/// What one request may take: each such time more counts as one more.
const ONE: Duration = Duration::from_millis(100);

/// All limits of an endpoint.
pub struct Limits {
    /// Questions about tokens.
    pub introspections: Rate,
    /// Requests that proved nobody.
    pub refusals: Rate,
    /// Registrations.
    pub registrations: Rate,
    /// Requests with tokens.
    pub requests: Rate,
    /// Requests for tokens.
    pub tokens: Rate,
    /// Requests with tokens at a time.
    pub at_a_time: AtATime,
    /// Requests with tokens of all together.
    pub total: Rate,
    /// The same at a time.
    pub total_at_a_time: AtATime,
}

impl Limits {
    /// The limits of the configuration.
    pub fn new(config: &config::Limits) -> Self {
        Self {
            introspections: Rate::new(config.introspections_per_minute),
            refusals: Rate::new(config.refusals_per_minute),
            registrations: Rate::new(config.registrations_per_minute),
            requests: Rate::new(config.requests_per_minute),
            tokens: Rate::new(config.tokens_per_minute),
            at_a_time: AtATime::new(config.requests_at_a_time),
            total: Rate::new(config.total_per_minute),
            total_at_a_time: AtATime::new(config.total_at_a_time),
        }
    }
}

/// So many in a minute: a party may save up those of ten seconds, at least one.
pub struct Rate {
    per_minute: u32,
    parties: Mutex<HashMap<Box<str>, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Rate {
    /// A limit; zero is none.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, parties: Mutex::default() }
    }

    /// Counts one of a party.
    ///
    /// # Errors
    /// [`Refusal::TooMany`] when it has had as many as it may.
    pub fn count(&self, party: &str) -> Result<(), Refusal> {
        if self.takes(party, Instant::now()) { Ok(()) } else { Err(Refusal::TooMany) }
    }

    /// Counts the work that a request of a party was: what took long is as many as would have fitted
    /// into its time. Nobody owes more than a minute's.
    pub fn charge(&self, party: &str, took: Duration) {
        let more = (took.as_secs_f64() / ONE.as_secs_f64()).floor();
        if self.per_minute == 0 || more < 1.0 {
            return;
        }
        let mut parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = parties.get_mut(party) {
            bucket.left = (bucket.left - more).max(-f64::from(self.per_minute));
        }
    }

    fn takes(&self, party: &str, now: Instant) -> bool {
        if self.per_minute == 0 {
            return true;
        }
        let per_second = f64::from(self.per_minute) / 60.0;
        let most = (per_second * 10.0).max(1.0);
        let mut parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = parties.get_mut(party) {
            let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * per_second;
            bucket.left = (bucket.left + gained).min(most);
            bucket.at = now;
            let is_left = bucket.left >= 1.0;
            if is_left {
                bucket.left -= 1.0;
            }
            return is_left;
        }
        if parties.len() >= MAX_PARTIES {
            let is_full = |bucket: &Bucket| {
                let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * per_second;
                bucket.left + gained >= most
            };
            parties.retain(|_, bucket| !is_full(bucket));
        }
        if parties.len() >= MAX_PARTIES {
            return false;
        }
        parties.insert(party.into(), Bucket { left: most - 1.0, at: now });
        true
    }
}

/// So many at a time.
pub struct AtATime {
    most: u32,
    parties: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

impl AtATime {
    /// A limit; zero is none.
    pub fn new(most: u32) -> Self {
        Self { most, parties: Mutex::default() }
    }

    /// A place for a party until it is dropped; `None` where there is no limit.
    ///
    /// # Errors
    /// [`Error::Throttled`] when it has as many as it may.
    pub fn enter(&self, party: &str) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if self.most == 0 {
            return Ok(None);
        }
        let seats = {
            let mut parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(seats) = parties.get(party) {
                seats.clone()
            } else {
                if parties.len() >= MAX_PARTIES {
                    // Who has nothing at work is remembered by nobody.
                    parties.retain(|_, seats| Arc::strong_count(seats) > 1);
                }
                let seats = Arc::new(Semaphore::new(self.most as usize));
                parties.insert(party.into(), seats.clone());
                seats
            }
        };
        let text = "as many requests of yours are at work as the server takes at a time";
        let full = |_| Error::Throttled(text.to_owned());
        seats.try_acquire_owned().map(Some).map_err(full)
    }
}

impl Authority {
    /// What came of counting a request of a `kind`: that there are too many is on record, by a few rows
    /// however many there are.
    ///
    /// # Errors
    /// As `counted`; [`Refusal::Fault`] when the ledger cannot be written.
    pub async fn counted(
        &self,
        counted: Result<(), Refusal>,
        kind: Kind,
        by: &Actor,
    ) -> Result<(), Refusal> {
        match counted {
            Err(Refusal::TooMany) => Err(self.held_off(kind, by).await),
            counted => counted,
        }
    }

    /// The same for a party with a grant.
    ///
    /// # Errors
    /// As [`Authority::counted`].
    pub async fn counted_of(
        &self,
        counted: Result<(), Refusal>,
        kind: Kind,
        by: &Caller,
    ) -> Result<(), Refusal> {
        match counted {
            Err(Refusal::TooMany) => {
                Err(told(self.gate.held_back(kind.of_system(), by, too_often()).await))
            }
            counted => counted,
        }
    }

    /// Puts on record that a party asks too often. Gives what to tell.
    pub(super) async fn held_off(&self, kind: Kind, by: &Actor) -> Refusal {
        told(self.gate.held_off(kind.of_system(), by, too_often()).await)
    }
}

fn too_often() -> Error {
    Error::Throttled(Refusal::TooMany.told())
}

/// What somebody hears who was held back, or whose refusal could not be put on record.
fn told(error: Error) -> Refusal {
    match error {
        Error::Throttled(_) => Refusal::TooMany,
        error => Refusal::Fault(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_party_has_so_many_in_a_minute_and_others_have_theirs() {
        let (rate, start) = (Rate::new(60), Instant::now());
        let count = |party, at| (0..100).filter(|_| rate.takes(party, at)).count();
        assert_eq!(count("a", start), 10);
        assert_eq!(count("b", start), 10);
        assert_eq!(count("a", start + Duration::from_secs(3)), 3);
        assert_eq!(count("a", start + Duration::from_mins(5)), 10);
        assert!((0..1000).all(|_| Rate::new(0).takes("a", start)));
        assert!(Rate::new(1).takes("a", start));
    }

    #[test]
    fn what_takes_long_counts_as_several() {
        let (rate, start) = (Rate::new(60), Instant::now());
        assert!(rate.takes("a", start));
        rate.charge("a", Duration::from_millis(99));
        assert!(rate.takes("a", start));
        rate.charge("a", Duration::from_secs(1));
        assert!(!rate.takes("a", start) && rate.takes("b", start));
        assert!(!rate.takes("a", start + Duration::from_secs(1)));
        assert!(rate.takes("a", start + Duration::from_secs(4)));
        rate.charge("a", Duration::from_hours(9));
        assert!(!rate.takes("a", start + Duration::from_secs(50)));
        assert!(rate.takes("a", start + Duration::from_secs(70)));
        Rate::new(0).charge("a", Duration::from_hours(1));
    }

    #[test]
    fn a_party_has_so_many_at_a_time() {
        let limit = AtATime::new(2);
        let first = limit.enter("a").expect("a place");
        let _second = limit.enter("a").expect("a place");
        assert!(limit.enter("a").is_err());
        assert!(limit.enter("b").is_ok());
        drop(first);
        assert!(limit.enter("a").is_ok());
        assert!(AtATime::new(0).enter("a").expect("no limit").is_none());
    }
}
