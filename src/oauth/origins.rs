//! Web origins that some client has registered: what a preflight, which names no client, is judged by.
//!
//! Spec: security R8

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::store::oauth::client;

use super::Authority;

/// How long they count.
const KEPT: Duration = Duration::from_secs(5);

/// What a node remembers of origins.
#[derive(Default)]
pub struct Origins {
    known: RwLock<Option<(Instant, Arc<HashSet<String>>)>>,
}

impl Origins {
    fn get(&self) -> Option<Arc<HashSet<String>>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (at, found) = known.as_ref()?;
        (at.elapsed() < KEPT).then(|| found.clone())
    }

    pub(super) fn forget(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Authority {
    /// Whether some client has pages at `origin`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn has_origin(&self, origin: &str) -> Result<bool, Error> {
        if let Some(known) = self.origins.get() {
            return Ok(known.contains(origin));
        }
        let at = Instant::now();
        let found: HashSet<String> = client::origins(&self.store).await?.into_iter().collect();
        let has = found.contains(origin);
        let mut known = self.origins.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some((at, Arc::new(found)));
        Ok(has)
    }
}
