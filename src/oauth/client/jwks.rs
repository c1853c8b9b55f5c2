//! Keys of clients that are published at an address: fetched, and kept as long as they may be.
//!
//! Spec: security T7, H20

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::outbound::Outbound;

use super::jwk::Jwks;

/// Largest set of keys, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// How long keys are kept whose address does not say.
const KEPT: Duration = Duration::from_mins(5);
/// Longest time that keys are kept.
const LONGEST: Duration = Duration::from_hours(1);
/// Between two looks for a key that is not known, or at a place that gives none.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);
/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 1000;

/// What was fetched.
#[derive(Default)]
pub struct Cache {
    known: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Place>>>>,
}

/// What is known of an address.
#[derive(Default)]
struct Place {
    /// The last keys that it gave, whether they may still be used or not.
    last: Option<Fetched>,
    /// When it was last asked, and whether it gave keys then.
    asked: Option<(Instant, bool)>,
}

struct Fetched {
    jwks: Arc<Jwks>,
    at: Instant,
    kept: Duration,
}

impl Cache {
    /// The keys at `url`, looked at anew when the one of that id is not among those that are known.
    /// `None`: there are none to be had.
    pub async fn keys(&self, outbound: &Outbound, url: &str, id: &str) -> Option<Arc<Jwks>> {
        // One request at a time for each address.
        let slot = self.slot(url);
        let mut place = slot.lock().await;
        if !place.needs_look(id, Instant::now()) {
            return place.keys(Instant::now());
        }
        let fetched = fetch(outbound, url).await;
        place.asked = Some((Instant::now(), fetched.is_some()));
        let Some(fetched) = fetched else { return place.keys(Instant::now()) };
        Some(place.last.insert(fetched).jwks.clone())
    }

    fn slot(&self, url: &str) -> Arc<tokio::sync::Mutex<Place>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ADDRESSES && !known.contains_key(url) {
            known.clear();
        }
        known.entry(url.to_owned()).or_default().clone()
    }
}

impl Place {
    /// The keys that may be used. Those that cannot be looked at anew are not used longer than they may be.
    fn keys(&self, now: Instant) -> Option<Arc<Jwks>> {
        let is_fresh = |known: &&Fetched| now.saturating_duration_since(known.at) < known.kept;
        self.last.as_ref().filter(is_fresh).map(|known| known.jwks.clone())
    }

    /// Whether it has to be asked for the key of that id. Who makes keys up, and a place that gives none,
    /// must not have us ask for each assertion; one whose keys may not be kept is asked each time.
    fn needs_look(&self, id: &str, now: Instant) -> bool {
        let is_there = self.last.as_ref().is_some_and(|known| known.jwks.has(id));
        if is_there && self.keys(now).is_some() {
            return false;
        }
        let Some((at, was_given)) = self.asked else { return true };
        let was_just_asked = now.saturating_duration_since(at) < BETWEEN_LOOKS;
        !was_just_asked || was_given && is_there
    }
}

async fn fetch(outbound: &Outbound, url: &str) -> Option<Fetched> {
    let answer = match outbound.get(url, MAX_BYTES).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(%error, "cannot fetch the keys of a client");
            return None;
        }
    };
    if answer.status != 200 {
        tracing::warn!(url, status = answer.status, "cannot fetch the keys of a client");
        return None;
    }
    match Jwks::parse(&answer.body) {
        Ok(jwks) => {
            let kept = answer.max_age.unwrap_or(KEPT).min(LONGEST);
            Some(Fetched { jwks: Arc::new(jwks), at: Instant::now(), kept })
        }
        Err(fault) => {
            tracing::warn!(url, fault, "a client's set of keys cannot be used");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_asked_as_often_as_it_helps() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let jwks = Jwks::parse(br#"{"keys":[{"kty":"EC","kid":"k"}]}"#).expect("keys");
        let jwks = Arc::new(jwks);
        // When keys were given, for how long, when it was last asked, whether it gave some, the key that
        // is needed, now: is it asked, and are there keys without that?
        for (given, asked, id, now, expected) in [
            (None, None, "k", 0, (true, false)),
            (None, Some((0, false)), "k", 9, (false, false)),
            (None, Some((0, false)), "k", 10, (true, false)),
            (Some((0, 60)), Some((0, true)), "k", 59, (false, true)),
            (Some((0, 60)), Some((0, true)), "k", 60, (true, false)),
            (Some((0, 60)), Some((0, true)), "x", 9, (false, true)),
            (Some((0, 60)), Some((0, true)), "x", 10, (true, true)),
            (Some((0, 60)), Some((55, false)), "k", 59, (false, true)),
            (Some((0, 60)), Some((55, false)), "k", 64, (false, false)),
            (Some((0, 60)), Some((55, false)), "k", 65, (true, false)),
            (Some((0, 0)), Some((0, true)), "k", 1, (true, false)),
            (Some((0, 0)), Some((0, true)), "x", 1, (false, false)),
            (Some((0, 0)), Some((0, true)), "x", 10, (true, false)),
        ] {
            let last = given.map(|(from, kept)| Fetched {
                jwks: jwks.clone(),
                at: at(from),
                kept: Duration::from_secs(kept),
            });
            let place = Place { last, asked: asked.map(|(when, given)| (at(when), given)) };
            let found = (place.needs_look(id, at(now)), place.keys(at(now)).is_some());
            assert_eq!(found, expected, "{given:?} {asked:?} {id} {now}");
        }
    }
}
