//! Texts of messages that are kept for a time only.
//!
//! Spec: v2 P6

use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::receive::Receiver;
use crate::error::{Error, root_cause};
use crate::fhir::Instant;

/// Between two looks for what is old.
const PAUSE: Duration = Duration::from_mins(1);
/// After so many looks all is looked through once more: what failed may have been set aside since.
const ANEW: u32 = 24 * 60;
const DAY_MS: i64 = 24 * 3_600_000;

impl Receiver {
    /// Takes away texts when they are as old as the settings say, until told to stop.
    pub async fn purge(&self, mut stop: watch::Receiver<bool>) {
        let Some(days) = self.settings.days_kept else { return };
        let (mut after, mut looks) = (Uuid::nil(), 0);
        loop {
            if looks % ANEW == 0 {
                after = Uuid::nil();
            }
            looks += 1;
            let before = self.clock.now().plus_millis(-DAY_MS.saturating_mul(days.into()));
            match self.purge_once(after, before).await {
                Ok(last) => after = last,
                Err(error) => {
                    tracing::warn!(cause = root_cause(&error), "old messages are not purged");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// Takes away all texts from before a time, of messages after one: the last that was looked at.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn purge_once(&self, after: Uuid, before: Instant) -> Result<Uuid, Error> {
        let mut after = after;
        loop {
            let purged = self.store.purge_messages(after, before).await?;
            let count = purged.count.unsigned_abs();
            metrics::counter!("kiln_v2_purged_total").increment(count);
            after = purged.last.unwrap_or(after);
            if !purged.is_more {
                return Ok(after);
            }
        }
    }
}
