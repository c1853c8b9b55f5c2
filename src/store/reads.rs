//! Reads of current versions, many in one statement, each together with its ledger row.
//!
//! One statement finds the versions and adds their
//! ledger rows, so a read costs one turn of the database, and nothing is told before it is on
//! record. What is not found is not recorded here: the gate does that, with the reason.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::access::{Disclosed, LedgerRow};
use crate::error::Error;
use crate::fhir::Identity;

use super::connection::Pipelines;
use super::frame::Sure;
use super::ledger::{self, packed};
use super::parties::Parties;
use super::resource::{self, Current, FIND_ONE_RECORDED, FIND_RECORDED};
use super::rows::{Timestamptz, number_array};
use super::tenant::Realm;
use super::together::{Queue, Together};
use super::unflushed::Unflushed;
use super::{Sizes, TENANT, failure};

/// Most reads in one statement.
const BATCH: usize = 64;

/// Finds current versions and puts the reads on record.
pub(super) struct Reads {
    pipelines: Pipelines,
    parties: Arc<Parties>,
    unflushed: Arc<Unflushed>,
    queue: Queue<Self>,
}

/// One read: what is asked for, how far the permit reaches, and what goes on record.
pub(super) struct Read {
    identity: Identity,
    /// An array literal of patients; `None` reaches everything.
    reach: Option<String>,
    /// The same of those of whom something is withheld, where something is.
    denied: Option<String>,
    row: LedgerRow,
}

impl Reads {
    /// Reads over as many connections as statements may run at once.
    pub(super) fn new(
        realm: &Realm,
        (parties, unflushed): (Arc<Parties>, Arc<Unflushed>),
        sizes: Sizes,
    ) -> Result<Self, Error> {
        let lanes = sizes.readers.max(1);
        let Sizes { statement_timeout_ms, read_audit, .. } = sizes;
        let pipelines = Pipelines::new(realm, lanes, statement_timeout_ms, read_audit)?;
        // To begin a statement that also inserts costs as much as several reads of it.
        let queue = Queue::new(lanes, BATCH).gathering();
        Ok(Self { pipelines, parties, unflushed, queue })
    }

    /// The current version within reach, and as far as nothing of it can be withheld. Where it is live,
    /// `row` is on record.
    pub(super) async fn current(
        &self,
        identity: Identity,
        within: &Sure<'_>,
        row: LedgerRow,
    ) -> Result<Option<Current>, Error> {
        let (reach, denied) = (within.reach, within.denied.as_deref());
        let (reach, denied) = (reach.map(number_array), denied.map(number_array));
        let read = Read { identity, reach, denied, row };
        self.queue.submit(self, read).await
    }
}

impl Together for Reads {
    type Work = Read;
    type Answer = Option<Current>;
    type Fault = Error;

    fn weight(_: &Read) -> usize {
        1
    }

    async fn run(&self, batch: &[Read]) -> Result<Vec<Option<Current>>, Error> {
        let sql = if batch.len() == 1 { FIND_ONE_RECORDED } else { FIND_RECORDED };
        let before = self.unflushed.before();
        let pipeline = self.pipelines.pipeline().await?;
        let statement = pipeline.prepare(sql).await?;
        let parties = self.parties.keys(batch.iter().map(|read| &read.row)).await?;
        let columns = Columns::of(batch, parties);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(columns.parameters());
        let rows =
            pipeline.client().query(&statement, &parameters).await.map_err(failure::error)?;
        let answers = answers(batch, &rows)?;
        self.unflushed.keep(before, recorded(batch, &answers)).await;
        Ok(answers)
    }
}

/// The rows that the statement added.
fn recorded(batch: &[Read], answers: &[Option<Current>]) -> impl Iterator<Item = LedgerRow> {
    batch.iter().zip(answers).filter_map(|(read, current)| {
        let current = current.as_ref().filter(|current| !current.version.is_deleted())?;
        let Identity { resource_type, id } = read.identity.clone();
        let subject = Some((resource_type, id, Some(current.version.version)));
        let patients = current.patients.clone();
        let disclosed = Disclosed { subject, patients, ..Disclosed::default() };
        Some(LedgerRow { disclosed, ..read.row.clone() })
    })
}

/// For each the version that was found at its place.
fn answers(batch: &[Read], rows: &[Row]) -> Result<Vec<Option<Current>>, Error> {
    let mut answers: Vec<Option<Current>> = batch.iter().map(|_| None).collect();
    for row in rows {
        let place: i64 = row.try_get(8).map_err(failure::error)?;
        let place = usize::try_from(place - 1).map_err(Error::internal)?;
        let (Some(read), Some(answer)) = (batch.get(place), answers.get_mut(place)) else {
            // Whose row it is cannot be told, and "not known" would be a lie.
            return Err(Error::internal("a row that was not asked for"));
        };
        *answer = Some(resource::current(row, read.identity.clone())?);
    }
    Ok(answers)
}

/// Reads column by column, as `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    resource_type: Vec<i16>,
    id: Vec<&'a str>,
    reach: Vec<Option<&'a str>>,
    row: Vec<Uuid>,
    at: Vec<Timestamptz>,
    group: Vec<Option<Uuid>>,
    interaction: Vec<i16>,
    /// As the ledger's other statements take them.
    subject: Vec<Option<Uuid>>,
    party: Vec<i64>,
    token: Vec<Option<Uuid>>,
    request: Vec<Option<Uuid>>,
    request_id: Vec<Option<&'a str>>,
    query: Vec<&'a str>,
    denied: Vec<Option<&'a str>>,
    token_name: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a [Read], parties: Vec<i64>) -> Self {
        let mut columns = Self { party: parties, ..Self::default() };
        for Read { identity, reach, denied, row } in batch {
            let request = &row.caller.request;
            columns.resource_type.push(identity.resource_type.code());
            columns.id.push(identity.id.as_str());
            columns.reach.push(reach.as_deref());
            columns.denied.push(denied.as_deref());
            columns.row.push(row.id);
            columns.at.push(Timestamptz(row.at));
            columns.group.push(ledger::group(row));
            columns.interaction.push(row.interaction.kind.number());
            columns.subject.push(packed(identity.id.as_str()).0);
            let (uuid, text) = row.caller.principal.token_on_record();
            columns.token.push(uuid);
            columns.token_name.push(text);
            let (uuid, text) = packed(&request.id);
            columns.request.push(uuid);
            columns.request_id.push(text);
            columns.query.push(&request.path_and_query);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 15] {
        [
            &self.resource_type,
            &self.id,
            &self.reach,
            &self.row,
            &self.at,
            &self.group,
            &self.interaction,
            &self.subject,
            &self.party,
            &self.token,
            &self.request,
            &self.request_id,
            &self.query,
            &self.denied,
            &self.token_name,
        ]
    }
}
