//! The gate: decides, runs the work, and lets nothing out before it is in the ledger.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::clock::{Clock, IdSource};
use crate::error::Error;
use crate::fhir::{Identity, Version};

use super::caller::Caller;
use super::interaction::{Interaction, Kind};
use super::ledger::{CommitError, Disclosed, LedgerRow, Outcome, UnitOfWork, Units};
use super::permit::Permit;
use super::unaudited::Unaudited;

/// How often a write is tried when other writers keep being faster.
const TRIES: u32 = 24;
/// The same where it is likely that trying is in vain.
const FEW_TRIES: u32 = 2;

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
            Ok(permit) => work(&permit).instrument(span_of(interaction)).await,
            Err(denied) => Err(denied),
        };
        match found {
            Ok(found) => {
                let (value, disclosed) = found.open();
                row.disclosed = disclosed;
                self.units.record(vec![row]).instrument(span_of_ledger()).await?;
                Ok(value)
            }
            Err(error) => {
                row.fail(&error);
                self.units.record(vec![row]).instrument(span_of_ledger()).await?;
                Err(error)
            }
        }
    }

    /// Shows the current version of a resource: as [`Gate::run`], but the row goes on record in the
    /// statement that finds the version.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn read(&self, identity: &Identity, caller: &Caller) -> Result<Version, Error> {
        let interaction = Kind::Read.of(identity.resource_type);
        let group = self.ids.ordered();
        let found = match Permit::decide(interaction, &caller.principal) {
            Ok(permit) => {
                let row = self.row(interaction, caller, group);
                let reading = self.units.read(&identity.id, &permit, row);
                reading.instrument(span_of(interaction)).await
            }
            Err(denied) => Err(denied),
        };
        match found {
            Ok(found) => Ok(found.open().0),
            Err(error) => self.refuse(interaction, caller, group, error, vec![]).await,
        }
    }

    /// The attempts at one write: other writers may be faster, then it is tried anew.
    ///
    /// ```text
    /// let mut attempts = gate.attempts(interaction, caller);
    /// loop {
    ///     let attempt = attempts.write(async |permit, unit| ..);
    ///     if let Some(done) = attempt.await? {
    ///         return Ok(done);
    ///     }
    /// }
    /// ```
    pub fn attempts<'g>(&'g self, interaction: Interaction, caller: &'g Caller) -> Attempts<'g, U> {
        Attempts { gate: self, interaction, caller, group: self.ids.ordered(), tried: 0 }
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

/// The span of an interaction: what it is, never whose.
fn span_of(interaction: Interaction) -> Span {
    let resource_type = interaction.resource_type.map(tracing::field::display);
    tracing::debug_span!(
        target: "kiln::span",
        "fhir.interaction",
        fhir.interaction = interaction.kind.as_str(),
        fhir.resource_type = resource_type,
    )
}

fn span_of_commit() -> Span {
    tracing::debug_span!(target: "kiln::span", "db.commit")
}

fn span_of_ledger() -> Span {
    tracing::debug_span!(target: "kiln::span", "db.ledger.record")
}

/// One write and how often it was tried.
pub struct Attempts<'g, U> {
    gate: &'g Gate<U>,
    interaction: Interaction,
    caller: &'g Caller,
    group: Uuid,
    tried: u32,
}

impl<U: Units> Attempts<'_, U> {
    /// The same attempts, given up soon.
    #[must_use]
    pub fn few(self) -> Self {
        Self { tried: TRIES - FEW_TRIES, ..self }
    }

    /// Runs `work` under a permit and commits what it wrote with its ledger rows. `None` when
    /// another writer was faster: nothing happened, try again with the same work.
    ///
    /// # Errors
    /// As [`Gate::run`]; [`Error::Conflict`] when other writers were faster again and again. A
    /// failed write leaves nothing but its own ledger rows.
    pub async fn write<T>(
        &mut self,
        work: impl AsyncFnOnce(&Permit<'_>, &mut U::Unit) -> Result<Unaudited<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let (gate, interaction, caller, group) =
            (self.gate, self.interaction, self.caller, self.group);
        let permit = match Permit::decide(interaction, &caller.principal) {
            Ok(permit) => permit,
            Err(denied) => return gate.refuse(interaction, caller, group, denied, vec![]).await,
        };
        let mut unit = gate.units.begin(&permit);
        match work(&permit, &mut unit).instrument(span_of(interaction)).await {
            Ok(done) => {
                let (value, disclosed) = done.open();
                let rows = gate.rows(interaction, caller, group, disclosed, &mut unit);
                match unit.commit(rows).instrument(span_of_commit()).await {
                    Ok(()) => Ok(Some(value)),
                    Err(CommitError::Failed(error)) => {
                        gate.refuse(interaction, caller, group, error, vec![]).await
                    }
                    Err(CommitError::Raced) => self.raced().await,
                }
            }
            Err(_) if unit.is_raced() => {
                unit.roll_back().await;
                self.raced().await
            }
            Err(error) => {
                let entries = unit.disclosed();
                unit.roll_back().await;
                gate.refuse(interaction, caller, group, error, entries).await
            }
        }
    }

    /// Waits a little longer after each attempt, so that racing writers spread out.
    async fn raced<T>(&mut self) -> Result<Option<T>, Error> {
        self.tried += 1;
        if self.tried == TRIES {
            let text = "other writers kept changing the resource; try again";
            let error = Error::Conflict(text.to_owned());
            let (interaction, caller) = (self.interaction, self.caller);
            return self.gate.refuse(interaction, caller, self.group, error, vec![]).await;
        }
        let step = u64::from(self.tried.min(6));
        tokio::time::sleep(Duration::from_millis(step * step)).await;
        Ok(None)
    }
}
