//! The gate: decides, runs the work, and lets nothing out before it is in the ledger.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::clock::{Clock, IdSource};
use crate::error::Error;
use crate::fhir::{Identity, LogicalId, ResourceType};

use super::caller::{Actor, Caller};
use super::interaction::{Interaction, Kind};
use super::ledger::{Attempted, CommitError, Disclosed, LedgerRow, Outcome};
use super::ledger::{UnitOfWork, Units, alone, named_only};
use super::misses::{self, Misses};
use super::pace::Pace;
use super::permit::Permit;
use super::principal::Principal;
use super::refusals::Refusals;
use super::unaudited::{Draft, Recording, Unaudited};

/// How often a write is tried when other writers keep being faster.
const TRIES: u32 = 24;
/// The same where it is likely that trying is in vain.
const FEW_TRIES: u32 = 2;

/// The one way to FHIR data.
pub struct Gate<U> {
    pub(super) units: U,
    clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    misses: Misses,
    pub(super) refusals: Refusals,
    pace: Pace,
}

impl<U: Units> Gate<U> {
    /// A gate before `units`.
    pub fn new(units: U, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        let (misses, refusals, pace) = (Misses::default(), Refusals::default(), Pace::default());
        Self { units, clock, ids, misses, refusals, pace }
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
        self.show(interaction, caller, async |permit, _| work(permit).await).await
    }

    /// The same for work that may find and record in one statement: it gets the ledger row too.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn show<T>(
        &self,
        interaction: Interaction,
        caller: &Caller,
        work: impl AsyncFnOnce(&Permit<'_>, Draft) -> Result<Unaudited<T>, Error>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let row = self.first(interaction, caller, self.ids.ordered());
        let LedgerRow { id, at, group, .. } = row;
        let mut is_restricted = false;
        let found = match Permit::decide(interaction, caller) {
            Ok(permit) => {
                is_restricted = permit.is_restricted();
                work(&permit, Draft::new(row)).instrument(span_of(interaction)).await
            }
            Err(denied) => Err(denied),
        };
        match found.map(Unaudited::open) {
            Ok((value, Recording::Recorded)) => Ok(value),
            Ok((value, Recording::Unrecorded(disclosed))) => {
                let row = LedgerRow { id, at, disclosed, ..self.row(interaction, caller, group) };
                self.units.record(vec![row]).instrument(span_of_ledger()).await?;
                Ok(value)
            }
            Err(error) => {
                let is_even = is_restricted && matches!(error, Error::NotFound(_));
                let refused = self.refuse(caller, group, error, alone(interaction)).await;
                if is_even {
                    self.miss(caller).await?;
                    self.pace.even_out(began).await;
                }
                refused
            }
        }
    }

    /// Runs `work` under a permit for a part of the server that works for `caller` and tells nobody what comes of
    /// it: it leaves no row. Whatever is told afterwards passes the gate by itself.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the policy does not cover the interaction; the error of `work`.
    pub async fn consider<T>(
        &self,
        interaction: Interaction,
        caller: &Caller,
        work: impl AsyncFnOnce(&Permit<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let permit = Permit::decide(interaction, caller)?;
        work(&permit).instrument(span_of(interaction)).await
    }

    /// Counts that a party with limits asked for what it does not reach, and tells when that is often.
    async fn miss(&self, caller: &Caller) -> Result<(), Error> {
        if !self.misses.add(caller.principal.actor(), Instant::now()) {
            return Ok(());
        }
        tracing::warn!("{}", misses::TEXT);
        metrics::counter!("kiln_guessing_total").increment(1);
        self.note_about(Kind::Alert, caller, Disclosed::default(), Some(misses::TEXT)).await
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
        let (group, entries, memory) = (self.ids.ordered(), Vec::new(), U::Memory::default());
        let asked = (interaction, Disclosed::default());
        Attempts { gate: self, asked, caller, group, entries, tried: 0, memory }
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
        self.refuse(caller, self.ids.ordered(), error, alone(interaction)).await
    }

    /// The same for an interaction of many, each of which goes on record too.
    ///
    /// # Errors
    /// As [`Gate::denied`].
    pub async fn denied_with<T>(
        &self,
        interaction: Interaction,
        entries: Vec<Attempted>,
        caller: &Caller,
        error: Error,
    ) -> Result<T, Error> {
        let all = alone(interaction).into_iter().chain(entries).collect();
        self.denied_each(all, caller, error).await
    }

    /// The same for entries alone, by what is known of each.
    ///
    /// # Errors
    /// As [`Gate::denied`].
    pub async fn denied_each<T>(
        &self,
        entries: Vec<Attempted>,
        caller: &Caller,
        error: Error,
    ) -> Result<T, Error> {
        self.refuse(caller, self.ids.ordered(), error, entries).await
    }

    /// Records that whoever asked for an interaction is not known. Gives what to tell: `error`, or
    /// [`Error::Unavailable`] when the ledger cannot be written.
    pub async fn turned_away(
        &self,
        interaction: Interaction,
        actor: &Actor,
        error: Error,
    ) -> Error {
        let principal = Principal::named(&actor.name);
        let caller = Caller { principal, request: actor.request.clone() };
        let Err(error) = self.denied::<Infallible>(interaction, &caller, error).await;
        error
    }

    /// Puts on record what the authorization server did for `actor`; `text` says what it was about,
    /// or why it was refused, and never holds a secret.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the ledger cannot be written: then it must not have been done.
    pub async fn note(
        &self,
        kind: Kind,
        actor: &Actor,
        outcome: Outcome,
        text: &str,
    ) -> Result<(), Error> {
        let principal = Principal::named(&actor.name);
        let caller = Caller { principal, request: actor.request.clone() };
        self.note_by(kind, &caller, outcome, text).await
    }

    /// The same for a party of which more is known than its name.
    ///
    /// # Errors
    /// As [`Gate::note`].
    pub async fn note_by(
        &self,
        kind: Kind,
        caller: &Caller,
        outcome: Outcome,
        text: &str,
    ) -> Result<(), Error> {
        let mut row = self.first(kind.of_system(), caller, self.ids.ordered());
        row.outcome = outcome;
        let text = text.replace('\0', "\u{fffd}");
        if outcome == Outcome::Success {
            row.disclosed.entities.extend((!text.is_empty()).then_some(text));
        } else {
            row.failure = text;
        }
        self.units.record(vec![row]).instrument(span_of_ledger()).await
    }

    /// The same for a party with a grant, and for what is about patients; `failure` says what went wrong.
    ///
    /// # Errors
    /// As [`Gate::note`].
    pub async fn note_about(
        &self,
        kind: Kind,
        caller: &Caller,
        disclosed: Disclosed,
        failure: Option<&str>,
    ) -> Result<(), Error> {
        self.note_each(kind, caller, vec![(disclosed, failure)]).await
    }

    /// The same for all of these, together.
    ///
    /// # Errors
    /// As [`Gate::note`].
    pub async fn note_each(
        &self,
        kind: Kind,
        caller: &Caller,
        all: Vec<(Disclosed, Option<&str>)>,
    ) -> Result<(), Error> {
        let row = |(disclosed, failure): (Disclosed, Option<&str>)| {
            let mut row = self.first(kind.of_system(), caller, self.ids.ordered());
            row.disclosed = disclosed;
            if let Some(failure) = failure {
                (row.outcome, row.failure) = (Outcome::Failure, failure.to_owned());
            }
            row
        };
        let rows = all.into_iter().map(row).collect();
        self.units.record(rows).instrument(span_of_ledger()).await
    }

    /// The same for what is refused for a reason of its own.
    ///
    /// # Errors
    /// As [`Gate::note`].
    pub async fn note_refused(
        &self,
        kind: Kind,
        caller: &Caller,
        disclosed: Disclosed,
        why: &str,
    ) -> Result<(), Error> {
        let mut row = self.first(kind.of_system(), caller, self.ids.ordered());
        row.disclosed = disclosed;
        (row.outcome, row.failure) = (Outcome::Refused, why.replace('\0', "\u{fffd}"));
        self.units.record(vec![row]).instrument(span_of_ledger()).await
    }

    async fn refuse<T>(
        &self,
        caller: &Caller,
        group: Uuid,
        error: Error,
        attempted: Vec<Attempted>,
    ) -> Result<T, Error> {
        let rows = attempted.into_iter().map(|attempted| {
            let mut row = self.row_of(attempted, caller, group);
            row.fail(&error);
            row
        });
        let recorded = self.units.record(rows.collect()).instrument(span_of_ledger()).await;
        match (recorded, &error) {
            // What may be stored must not be called impossible because the ledger is away too.
            (Ok(()), _) | (Err(_), Error::Unconfirmed(_)) => Err(error),
            (Err(unrecorded), _) => Err(unrecorded),
        }
    }

    fn rows(&self, caller: &Caller, group: Uuid, done: Vec<Attempted>) -> Vec<LedgerRow> {
        let row = |(at, attempted)| {
            let row = self.row_of(attempted, caller, group);
            LedgerRow { id: if at == 0 { group } else { row.id }, ..row }
        };
        done.into_iter().enumerate().map(row).collect()
    }

    /// The row of an attempt: what an entry of a Bundle asks for stands in the place of the Bundle.
    fn row_of(
        &self,
        (interaction, disclosed): Attempted,
        caller: &Caller,
        group: Uuid,
    ) -> LedgerRow {
        let asked = disclosed.asked.as_ref();
        let of_entry = asked.map(|(method, address)| caller.of_request(method, address));
        let row = self.row(interaction, of_entry.as_ref().unwrap_or(caller), group);
        LedgerRow { disclosed, ..row }
    }

    /// The first row of a group has the group's id, which then need not be kept beside it. Rows of
    /// failures have not: after [`Error::Unconfirmed`] those of success may be there as well.
    pub(super) fn first(
        &self,
        interaction: Interaction,
        caller: &Caller,
        group: Uuid,
    ) -> LedgerRow {
        LedgerRow { id: group, ..self.row(interaction, caller, group) }
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

pub(super) fn span_of_ledger() -> Span {
    tracing::debug_span!(target: "kiln::span", "db.ledger.record")
}

/// One write and how often it was tried.
pub struct Attempts<'g, U: Units> {
    gate: &'g Gate<U>,
    asked: Attempted,
    caller: &'g Caller,
    group: Uuid,
    entries: Vec<Attempted>,
    tried: u32,
    memory: U::Memory,
}

impl<U: Units> Attempts<'_, U> {
    /// The same attempts, given up soon.
    #[must_use]
    pub fn few(self) -> Self {
        Self { tried: TRIES - FEW_TRIES, ..self }
    }

    /// The same attempts at what names a resource: when it fails, that goes on record too.
    #[must_use]
    pub fn about(self, identity: &Identity) -> Self {
        Self { asked: named_only(self.asked.0, identity), ..self }
    }

    /// The same attempts at an interaction of many: when it fails, each of `entries` goes on record
    /// as failed, whether its turn had come or not.
    #[must_use]
    pub fn of_entries(self, entries: Vec<Attempted>) -> Self {
        Self { entries, ..self }
    }

    /// Runs `work` under a permit and commits what it wrote with its ledger rows. `None` when
    /// another writer was faster: nothing happened, try again with the same work.
    ///
    /// # Errors
    /// As [`Gate::run`]; [`Error::Conflict`] when other writers were faster again and again. A
    /// failed write leaves nothing but its own ledger rows. After [`Error::Unconfirmed`] the rows of
    /// the failure say what the caller heard, and rows of success of the same group, if there are
    /// such, that it is stored all the same.
    pub async fn write<T>(
        &mut self,
        work: impl AsyncFnOnce(&Permit<'_>, &mut U::Unit) -> Result<Unaudited<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let (gate, interaction, caller) = (self.gate, self.asked.0, self.caller);
        let permit = match Permit::decide(interaction, caller) {
            Ok(permit) => permit,
            Err(denied) => return self.refuse(denied, vec![self.asked.clone()]).await,
        };
        let mut unit = gate.units.begin(&permit, &self.memory);
        let worked = work(&permit, &mut unit).instrument(span_of(interaction)).await;
        let settled = match worked {
            Ok(done) => unit.settle(&permit).await.map(|()| done),
            Err(error) => Err(error),
        };
        match settled {
            Ok(done) => {
                let (value, told) = done.open();
                let main = match told {
                    Recording::Unrecorded(disclosed) => Some((interaction, disclosed)),
                    Recording::Recorded => None,
                };
                let done: Vec<Attempted> = main.into_iter().chain(unit.disclosed()).collect();
                // Of the moment at which it is done: the first row has it as its id.
                self.group = gate.ids.ordered();
                let rows = gate.rows(caller, self.group, done.clone());
                match unit.commit(rows).instrument(span_of_commit()).await {
                    Ok(()) => Ok(Some(value)),
                    Err(CommitError::Failed(error)) => self.refuse(error, done).await,
                    Err(CommitError::Raced) => self.raced(done).await,
                }
            }
            Err(error) => {
                let main = std::iter::once(self.asked.clone());
                let done = main.chain(unit.disclosed()).collect();
                let is_raced = unit.is_raced();
                unit.roll_back().await;
                if is_raced { self.raced(done).await } else { self.refuse(error, done).await }
            }
        }
    }

    /// Waits a little longer after each attempt, so that racing writers spread out.
    async fn raced<T>(&mut self, done: Vec<Attempted>) -> Result<Option<T>, Error> {
        self.tried += 1;
        if self.tried == TRIES {
            let text = "other writers kept changing the resource; try again";
            return self.refuse(Error::Conflict(text.to_owned()), done).await;
        }
        let step = u64::from(self.tried.min(6));
        tokio::time::sleep(Duration::from_millis(step * step)).await;
        Ok(None)
    }

    /// Puts the failure of everything on record: of what was `done` until then, and of the entries
    /// whose turn did not come.
    async fn refuse<T>(&self, error: Error, done: Vec<Attempted>) -> Result<T, Error> {
        let mut ran: HashMap<_, usize> = HashMap::new();
        for one in &done {
            *ran.entry(name_of(one)).or_default() += 1;
        }
        let not_done = self.entries.iter().filter(|entry| match ran.get_mut(&name_of(entry)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        });
        let not_done: Vec<Attempted> = not_done.cloned().collect();
        let attempted = done.into_iter().chain(not_done).collect();
        self.gate.refuse(self.caller, self.group, error, attempted).await
    }
}

/// What an attempt is recognized by: before it is run, its version is not known.
fn name_of(
    (interaction, disclosed): &Attempted,
) -> (Interaction, Option<(ResourceType, LogicalId)>) {
    let subject = disclosed.subject.as_ref();
    (*interaction, subject.map(|(resource_type, id, _)| (*resource_type, id.clone())))
}
