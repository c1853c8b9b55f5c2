//! Reads of current versions, many in one statement, each together with its ledger row.
//!
//! Whoever comes first takes all along that wait. One statement finds the versions and adds their
//! ledger rows, so a read costs one turn of the database, and nothing is told before it is on
//! record. What is not found is not recorded here: the gate does that, with the reason.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::access::LedgerRow;
use crate::error::Error;
use crate::fhir::Identity;

use super::connection::{Address, Flush, Pipelines};
use super::resource::{self, Current, FIND_RECORDED};
use super::rows::{Timestamptz, number_array};
use super::{TENANT, failure};

/// Most reads in one statement.
const BATCH: usize = 64;

/// Reads that wait for the next statement.
pub(super) struct Reads {
    pipelines: Pipelines,
    waiting: Mutex<Vec<Waiting>>,
    lanes: Semaphore,
}

/// One read: what is asked for, how far the permit reaches, and what goes on record.
struct Waiting {
    identity: Identity,
    /// An array literal of patients; `None` reaches everything.
    reach: Option<String>,
    row: LedgerRow,
    done: oneshot::Sender<Result<Option<Current>, Error>>,
}

impl Reads {
    /// Reads over as many connections as statements may run at once.
    pub(super) fn new(
        address: &Address,
        lanes: usize,
        timeout_ms: u32,
        flush: Flush,
    ) -> Result<Self, Error> {
        let lanes = lanes.max(1);
        let pipelines = Pipelines::new(address, lanes, timeout_ms, flush)?;
        Ok(Self { pipelines, waiting: Mutex::default(), lanes: Semaphore::new(lanes) })
    }

    /// The current version within reach. Where it is live, `row` is on record.
    pub(super) async fn current(
        &self,
        identity: Identity,
        reach: Option<&[i64]>,
        row: LedgerRow,
    ) -> Result<Option<Current>, Error> {
        let (done, mut outcome) = oneshot::channel();
        let waiting = Waiting { identity, reach: reach.map(number_array), row, done };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
        loop {
            tokio::select! {
                biased;
                result = &mut outcome => {
                    return result.unwrap_or_else(|lost| Err(Error::Unavailable(lost.into())));
                }
                lane = self.lanes.acquire() => {
                    let _lane = lane.map_err(Error::internal)?;
                    self.read_waiting().await;
                }
            }
        }
    }

    async fn read_waiting(&self) {
        let batch = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = waiting.len().min(BATCH);
            waiting.drain(..count).collect::<Vec<_>>()
        };
        if batch.is_empty() {
            return;
        }
        match self.find(&batch).await {
            Ok(rows) => answer(batch, &rows),
            Err(Error::Internal(cause)) if batch.len() > 1 => {
                // One of them is at fault: each finds out for itself.
                tracing::warn!(cause, reads = batch.len(), "reads go one by one");
                for waiting in batch {
                    let one = vec![waiting];
                    match self.find(&one).await {
                        Ok(rows) => answer(one, &rows),
                        Err(error) => fail(one, &error),
                    }
                }
            }
            Err(error) => fail(batch, &error),
        }
    }

    async fn find(&self, batch: &[Waiting]) -> Result<Vec<Row>, Error> {
        let pipeline = self.pipelines.pipeline().await?;
        let statement = pipeline.prepare(FIND_RECORDED).await?;
        let columns = Columns::of(batch);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(columns.parameters());
        pipeline.client().query(&statement, &parameters).await.map_err(failure::error)
    }
}

/// Gives each the version that was found at its place.
fn answer(batch: Vec<Waiting>, rows: &[Row]) {
    let mut at: Vec<Option<&Row>> = vec![None; batch.len()];
    for row in rows {
        let place = row.try_get(7).ok().and_then(|place: i64| usize::try_from(place - 1).ok());
        let Some(slot) = place.and_then(|place| at.get_mut(place)) else {
            // Whose row it is cannot be told, and "not known" would be a lie.
            return fail(batch, &Error::internal("a row that was not asked for"));
        };
        *slot = Some(row);
    }
    for (waiting, row) in batch.into_iter().zip(at) {
        let found = row.map(|row| resource::current(row, waiting.identity)).transpose();
        // A caller who hung up no longer listens; its row is written all the same.
        let _ = waiting.done.send(found);
    }
}

fn fail(batch: Vec<Waiting>, error: &Error) {
    let is_unavailable = matches!(error, Error::Unavailable(_));
    let text = match error {
        Error::Internal(cause) | Error::Unavailable(cause) => cause.to_string(),
        other => other.to_string(),
    };
    for waiting in batch {
        let error = if is_unavailable {
            Error::Unavailable(text.clone().into())
        } else {
            Error::internal(text.clone())
        };
        let _ = waiting.done.send(Err(error));
    }
}

/// Reads column by column, as `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    resource_type: Vec<i16>,
    id: Vec<&'a str>,
    reach: Vec<Option<&'a str>>,
    row: Vec<Uuid>,
    at: Vec<Timestamptz>,
    group: Vec<Uuid>,
    interaction: Vec<i16>,
    actor: Vec<&'a str>,
    source: Vec<Option<String>>,
    request_id: Vec<&'a str>,
    method: Vec<&'a str>,
    query: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a [Waiting]) -> Self {
        let mut columns = Self::default();
        for Waiting { identity, reach, row, .. } in batch {
            let request = &row.caller.request;
            columns.resource_type.push(identity.resource_type.code());
            columns.id.push(identity.id.as_str());
            columns.reach.push(reach.as_deref());
            columns.row.push(row.id);
            columns.at.push(Timestamptz(row.at));
            columns.group.push(row.group);
            columns.interaction.push(row.interaction.kind.number());
            columns.actor.push(row.caller.principal.actor());
            columns.source.push(request.source.map(|source| source.to_string()));
            columns.request_id.push(&request.id);
            columns.method.push(request.method);
            columns.query.push(&request.path_and_query);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.resource_type,
            &self.id,
            &self.reach,
            &self.row,
            &self.at,
            &self.group,
            &self.interaction,
            &self.actor,
            &self.source,
            &self.request_id,
            &self.method,
            &self.query,
        ]
    }
}
