//! The ledger's columns, and the writer that commits the rows of many reads at once.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::access::LedgerRow;
use crate::error::Error;
use crate::fhir::ResourceType;

use super::TENANT;
use super::connection::{Address, Flush, Pipelines};
use super::failure;
use super::rows::{Timestamptz, number_array, text_array};

/// Most rows in one statement.
const BATCH: usize = 256;
/// Statements in flight at once: with one, the rows that arrive meanwhile share the next.
const LANES: usize = 1;

/// The common table expression that adds ledger rows; its first parameter follows `$n`.
macro_rules! insert_ledger {
    ($from:literal) => {
        concat!(
            "INSERT INTO ledger (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, actor, client, \
             token, source, request_id, method, query, failure, pats, entities) \
             SELECT l.id, l.at, l.grp, ", $from,
            " l.interaction, l.outcome, l.rt, l.vid, l.logical_id, l.actor, NULL, NULL, l.source, \
             l.request_id, l.method, l.query, l.failure, l.pats::bigint[], l.entities::text[] "
        )
    };
}
pub(super) use insert_ledger;

/// `unnest` of the ledger's parameters, from `$1`.
const RECORD: &str = concat!(
    insert_ledger!("$1::int,"),
    "FROM unnest($2::uuid[], $3::timestamptz[], $4::uuid[], $5::smallint[], $6::smallint[], \
     $7::smallint[], $8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], \
     $14::text[], $15::text[], $16::text[], $17::text[]) \
     AS l(id, at, grp, interaction, outcome, rt, vid, logical_id, actor, source, request_id, method, \
     query, failure, pats, entities)"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[RECORD];

/// Ledger rows column by column, as `unnest` takes them.
#[derive(Default)]
pub(super) struct Columns<'a> {
    id: Vec<Uuid>,
    at: Vec<Timestamptz>,
    group: Vec<Uuid>,
    interaction: Vec<i16>,
    outcome: Vec<i16>,
    resource_type: Vec<Option<i16>>,
    version: Vec<Option<i32>>,
    logical_id: Vec<Option<&'a str>>,
    actor: Vec<&'a str>,
    source: Vec<Option<String>>,
    request_id: Vec<&'a str>,
    method: Vec<&'a str>,
    query: Vec<&'a str>,
    failure: Vec<Option<&'a str>>,
    patients: Vec<String>,
    entities: Vec<String>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(rows: impl IntoIterator<Item = &'a LedgerRow>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.push(row);
        }
        columns
    }

    fn push(&mut self, row: &'a LedgerRow) {
        let request = &row.caller.request;
        let subject = row.disclosed.subject.as_ref();
        let subject_type = subject.map(|(resource_type, ..)| *resource_type);
        self.id.push(row.id);
        self.at.push(Timestamptz(row.at));
        self.group.push(row.group);
        self.interaction.push(row.interaction.kind.number());
        self.outcome.push(row.outcome.number());
        let resource_type = subject_type.or(row.interaction.resource_type);
        self.resource_type.push(resource_type.map(ResourceType::code));
        self.version.push(subject.and_then(|(_, _, version)| version.map(|version| version.0)));
        self.logical_id.push(subject.map(|(_, id, _)| id.as_str()));
        self.actor.push(row.caller.principal.actor());
        self.source.push(request.source.map(|source| source.to_string()));
        self.request_id.push(&request.id);
        self.method.push(request.method);
        self.query.push(&request.path_and_query);
        self.failure.push((!row.failure.is_empty()).then_some(row.failure.as_str()));
        self.patients.push(number_array(&row.disclosed.patients));
        self.entities.push(text_array(&row.disclosed.entities));
    }

    /// The columns in the order of the statements' parameters.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 16] {
        [
            &self.id,
            &self.at,
            &self.group,
            &self.interaction,
            &self.outcome,
            &self.resource_type,
            &self.version,
            &self.logical_id,
            &self.actor,
            &self.source,
            &self.request_id,
            &self.method,
            &self.query,
            &self.failure,
            &self.patients,
            &self.entities,
        ]
    }
}

/// Commits rows that go with no data: whoever comes first takes all that wait along.
pub(super) struct LedgerWriter {
    pipelines: Pipelines,
    waiting: Mutex<Vec<Waiting>>,
    lanes: Semaphore,
}

struct Waiting {
    rows: Vec<LedgerRow>,
    done: oneshot::Sender<Result<(), String>>,
}

impl LedgerWriter {
    pub(super) fn new(address: &Address, timeout_ms: u32, flush: Flush) -> Result<Self, Error> {
        let pipelines = Pipelines::new(address, LANES, timeout_ms, flush)?;
        Ok(Self { pipelines, waiting: Mutex::default(), lanes: Semaphore::new(LANES) })
    }

    /// Makes `rows` durable.
    pub(super) async fn record(&self, rows: Vec<LedgerRow>) -> Result<(), Error> {
        let (done, mut outcome) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { rows, done });
        loop {
            tokio::select! {
                biased;
                result = &mut outcome => return answer(result),
                lane = self.lanes.acquire() => {
                    let _lane = lane.map_err(Error::internal)?;
                    self.write_waiting().await;
                }
            }
        }
    }

    /// Writes what waits, up to [`BATCH`] rows, and tells each who waited.
    async fn write_waiting(&self) {
        let batch = self.take_batch();
        if batch.is_empty() {
            return;
        }
        let began = Instant::now();
        let outcome = self.write(&batch).await.map_err(|error| match error {
            Error::Unavailable(cause) | Error::Internal(cause) => cause.to_string(),
            other => other.to_string(),
        });
        metrics::histogram!("kiln_ledger_commit_duration_seconds").record(began.elapsed());
        let rows: usize = batch.iter().map(|waiting| waiting.rows.len()).sum();
        if let Err(cause) = &outcome {
            metrics::counter!("kiln_ledger_failures_total").increment(1);
            tracing::error!(cause, rows, "the ledger cannot be written");
        } else {
            metrics::counter!("kiln_ledger_rows_total").increment(rows as u64);
        }
        for waiting in batch {
            // A caller who hung up no longer listens; its row is written all the same.
            let _ = waiting.done.send(outcome.clone());
        }
    }

    fn take_batch(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = 0;
        let fits = waiting.iter().take_while(|next| {
            rows += next.rows.len();
            rows <= BATCH
        });
        // A single caller with more rows than a batch goes alone.
        let count = fits.count().max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }

    async fn write(&self, batch: &[Waiting]) -> Result<(), Error> {
        let pipeline = self.pipelines.pipeline().await?;
        let statement = pipeline.prepare(RECORD).await?;
        let columns = Columns::of(batch.iter().flat_map(|waiting| &waiting.rows));
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(columns.parameters());
        pipeline.client().execute(&statement, &parameters).await.map_err(failure::error)?;
        Ok(())
    }
}

fn answer(result: Result<Result<(), String>, oneshot::error::RecvError>) -> Result<(), Error> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(cause)) => Err(Error::Unavailable(cause.into())),
        Err(lost) => Err(Error::Unavailable(lost.into())),
    }
}
