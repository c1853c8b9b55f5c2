//! The gate: decides, runs the work, and lets nothing out before it is in the ledger.

use std::sync::Arc;

use uuid::Uuid;

use crate::clock::{Clock, IdSource};
use crate::error::Error;

use super::caller::Caller;
use super::interaction::Interaction;
use super::ledger::{CommitError, Disclosed, LedgerRow, Outcome, UnitOfWork, Units};
use super::permit::Permit;
use super::unaudited::Unaudited;

/// How often a write is tried when other writers keep being faster.
const TRIES: u32 = 24;

/// The one way to FHIR data.
pub struct Gate<U> {
    units: U,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl<U: Units> Gate<U> {
    /// A gate before `units`.
    pub fn new(units: U, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        Self { units, clock, ids }
    }

    /// Runs `work` under a permit for `interaction` and records what happened.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the policy does not cover the interaction; the error of `work`;
    /// or [`Error::Unavailable`] when the ledger cannot be written: nothing is disclosed then.
    pub async fn run<T>(
        &self,
        interaction: Interaction,
        caller: &Caller,
        work: impl AsyncFnOnce(&Permit<'_>) -> Result<Unaudited<T>, Error>,
    ) -> Result<T, Error> {
        let mut row = self.row(interaction, caller, self.ids.ordered());
        let found = match Permit::decide(interaction, &caller.principal) {
            Ok(permit) => work(&permit).await,
            Err(denied) => Err(denied),
        };
        match found {
            Ok(found) => {
                let (value, disclosed) = found.open();
                row.disclosed = disclosed;
                self.units.record(vec![row]).await?;
                Ok(value)
            }
            Err(error) => {
                row.fail(&error);
                self.units.record(vec![row]).await?;
                Err(error)
            }
        }
    }

    /// Runs `work` under a permit and commits what it wrote with its ledger rows; runs it anew when
    /// another writer was faster.
    ///
    /// # Errors
    /// As [`Gate::run`]; [`Error::Conflict`] when other writers were faster again and again. A
    /// failed write leaves nothing but its own ledger row.
    pub async fn write<T>(
        &self,
        interaction: Interaction,
        caller: &Caller,
        work: impl AsyncFn(&Permit<'_>, &mut U::Unit) -> Result<Unaudited<T>, Error>,
    ) -> Result<T, Error> {
        let group = self.ids.ordered();
        for attempt in 0..TRIES {
            let permit = match Permit::decide(interaction, &caller.principal) {
                Ok(permit) => permit,
                Err(denied) => {
                    return self.refuse(interaction, caller, group, denied, vec![]).await;
                }
            };
            let mut unit = self.units.begin(&permit);
            match work(&permit, &mut unit).await {
                Ok(done) => {
                    let (value, disclosed) = done.open();
                    let rows = self.rows(interaction, caller, group, disclosed, &mut unit);
                    match unit.commit(rows).await {
                        Ok(()) => return Ok(value),
                        Err(CommitError::Failed(error)) => {
                            return self.refuse(interaction, caller, group, error, vec![]).await;
                        }
                        Err(CommitError::Raced) => back_off(attempt).await,
                    }
                }
                Err(_) if unit.is_raced() => {
                    unit.roll_back().await;
                    back_off(attempt).await;
                }
                Err(error) => {
                    let entries = unit.disclosed();
                    unit.roll_back().await;
                    return self.refuse(interaction, caller, group, error, entries).await;
                }
            }
        }
        let error = Error::Conflict("other writers kept changing the resource; try again".into());
        self.refuse(interaction, caller, group, error, vec![]).await
    }

    /// Records that an interaction failed before it could reach the store.
    ///
    /// # Errors
    /// Always: `error`, or [`Error::Unavailable`] when the ledger cannot be written.
    pub async fn denied<T>(
        &self,
        interaction: Interaction,
        caller: &Caller,
        error: Error,
    ) -> Result<T, Error> {
        self.refuse(interaction, caller, self.ids.ordered(), error, vec![]).await
    }

    async fn refuse<T>(
        &self,
        interaction: Interaction,
        caller: &Caller,
        group: Uuid,
        error: Error,
        entries: Vec<(Interaction, Disclosed)>,
    ) -> Result<T, Error> {
        let all = std::iter::once((interaction, Disclosed::default())).chain(entries);
        let rows = all.map(|(interaction, disclosed)| {
            let mut row = LedgerRow { disclosed, ..self.row(interaction, caller, group) };
            row.fail(&error);
            row
        });
        self.units.record(rows.collect()).await?;
        Err(error)
    }

    fn rows(
        &self,
        interaction: Interaction,
        caller: &Caller,
        group: Uuid,
        disclosed: Disclosed,
        unit: &mut U::Unit,
    ) -> Vec<LedgerRow> {
        let main = LedgerRow { disclosed, ..self.row(interaction, caller, group) };
        let entries = unit.disclosed().into_iter();
        let entries = entries.map(|(interaction, disclosed)| LedgerRow {
            disclosed,
            ..self.row(interaction, caller, group)
        });
        std::iter::once(main).chain(entries).collect()
    }

    fn row(&self, interaction: Interaction, caller: &Caller, group: Uuid) -> LedgerRow {
        LedgerRow {
            id: self.ids.ordered(),
            at: self.clock.now(),
            group,
            caller: caller.clone(),
            interaction,
            outcome: Outcome::Success,
            failure: String::new(),
            disclosed: Disclosed::default(),
        }
    }
}

/// Waits longer after each attempt, so that racing writers spread out.
async fn back_off(attempt: u32) {
    let step = u64::from(attempt.min(6));
    tokio::time::sleep(std::time::Duration::from_millis(step * step)).await;
}
