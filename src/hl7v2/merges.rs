//! Merges after their message: what is left with the one that ended is moved, and a merge is taken back.
//!
//! A merge moves what it can in its own transaction. What was too much for that, and what somebody wrote
//! at the same moment without knowing of the merge, is moved by looks that follow: at once, and then ever
//! later until a minute has gone by in which nothing more could come.
//!
//! Spec: v2 S5, B20

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::receive::Receiver;
use crate::access::Caller;
use crate::error::{Error, root_cause};
use crate::fhir::Instant;
use crate::store::hl7v2::{Merge, Moved};

/// Between two looks for merges.
const LOOK: Duration = Duration::from_secs(1);
/// How long a node has a merge for itself.
const LEASE_MS: i64 = 60_000;
/// How long after a merge something may still be written that knows nothing of it.
const LATEST_MS: i64 = 60_000;

/// A merge that is to be taken back.
pub struct TakeBack<'a> {
    /// Which.
    pub merge: &'a Merge,
    /// What it changed.
    pub moves: &'a [Moved],
    /// Why.
    pub reason: &'a str,
    /// When.
    pub at: Instant,
    /// Who wants it.
    pub caller: &'a Caller,
}

/// What became of a merge that was taken back.
#[derive(Clone, Debug)]
pub struct TakenBack {
    /// The one that is there again.
    pub source: String,
    /// The one that had stayed.
    pub target: String,
    /// How many resources went back.
    pub restored: usize,
    /// What cannot be put back, for it was changed since or is gone: resource and path.
    pub left: Vec<(String, String)>,
    /// What came since the merge and stays: nothing says whose it is.
    pub since: Vec<String>,
}

impl Receiver {
    /// Moves what merges have left behind, until told to stop.
    pub async fn settle_merges(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.settle_some().await {
                tracing::debug!(cause = root_cause(&error), "merges have to wait");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => break,
            }
        }
    }

    async fn settle_some(&self) -> Result<(), Error> {
        let now = self.clock.now();
        for merge in self.store.claim_merges(now, now.plus_millis(LEASE_MS)).await? {
            let caller = self.caller(merge.message, None, "");
            let moved = match self.work.settle(&merge, &caller).await {
                Ok(moved) => moved,
                Err(error) => {
                    tracing::warn!(cause = root_cause(&error), message = %merge.message, "a merge goes on later");
                    1
                }
            };
            let now = self.clock.now();
            let age = (now.as_micros() - merge.at.as_micros()) / 1_000;
            let next = (moved > 0 || age < LATEST_MS)
                .then(|| now.plus_millis(age.clamp(1_000, LATEST_MS)));
            self.store.look_at_merge(&merge, next).await?;
        }
        Ok(())
    }

    /// Takes the merges of a message back.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a message that merged nothing; [`Error::Conflict`] for what was taken back
    /// or cannot be by now; [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn unmerge(
        &self,
        message: Uuid,
        reason: &str,
        caller: &Caller,
    ) -> Result<Vec<TakenBack>, Error> {
        let merges = self.engine.merges(message, caller).await?;
        if merges.iter().all(|(merge, _)| merge.is_undone) {
            return Err(Error::Conflict("the merge was taken back before".to_owned()));
        }
        let (mut all, mut left): (Vec<_>, Vec<_>) =
            (Vec::new(), merges.iter().filter(|(merge, _)| !merge.is_undone).collect());
        while !left.is_empty() {
            // Where a message merged on what it had merged, the last merge goes first.
            let is_last = |at: &usize| {
                let (merge, _) = left[*at];
                left.iter().all(|(other, _)| {
                    (&other.resource_type, &other.source) != (&merge.resource_type, &merge.target)
                })
            };
            let (merge, moves) = left.remove((0..left.len()).find(is_last).unwrap_or(0));
            let at = self.clock.now();
            all.push(self.work.take_back(TakeBack { merge, moves, reason, at, caller }).await?);
        }
        Ok(all)
    }
}
