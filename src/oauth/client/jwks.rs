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
/// Between two looks for a key that is not known.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);
/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 1000;

/// What was fetched.
#[derive(Default)]
pub struct Cache {
    known: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Fetched>>>>>,
}

#[derive(Clone)]
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
        let mut slot = slot.lock().await;
        if let Some(known) = &*slot {
            let age = known.at.elapsed();
            let is_fresh = age < known.kept;
            if is_fresh && (known.jwks.has(id) || age < BETWEEN_LOOKS) {
                return Some(known.jwks.clone());
            }
        }
        let fetched = fetch(outbound, url).await;
        // Keys that cannot be looked at anew are not used longer than they may be.
        *slot = fetched.or_else(|| slot.take().filter(|known| known.at.elapsed() < known.kept));
        slot.as_ref().map(|known| known.jwks.clone())
    }

    fn slot(&self, url: &str) -> Arc<tokio::sync::Mutex<Option<Fetched>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ADDRESSES && !known.contains_key(url) {
            known.clear();
        }
        known.entry(url.to_owned()).or_default().clone()
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
