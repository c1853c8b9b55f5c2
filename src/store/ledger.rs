//! The ledger's columns, and the writer that commits the rows of many reads at once.

use std::time::Instant;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::access::{LedgerRow, Principal};
use crate::error::{Error, root_cause};
use crate::fhir::ResourceType;

use super::TENANT;
use super::connection::{Flush, Pipelines, Transaction};
use super::failure;
use super::resource::failure_told;
use super::rows::{Timestamptz, number_array, text_array};
use super::tenant::Realm;
use super::together::{Queue, Together};

/// Most rows in one statement.
const BATCH: usize = 256;
/// Statements in flight at once: with one, the rows that arrive meanwhile share the next.
const LANES: usize = 1;

/// Ends each statement that adds to the ledger. In a build for `kiln bench audit` alone, which measures
/// what the ledger costs, it adds nothing.
#[cfg(not(feature = "bench-without-ledger"))]
macro_rules! if_kept {
    ($word:literal) => {
        ""
    };
}
#[cfg(feature = "bench-without-ledger")]
macro_rules! if_kept {
    ($word:literal) => {
        concat!($word, " false")
    };
}
pub(super) use if_kept;

/// Adds ledger rows. `$1` is the tenant, `$2` to `$19` are the columns of [`Columns`]; for `one` row
/// the first of each array is taken, which costs half of `unnest`.
macro_rules! insert_ledger {
    ($count:ident) => {
        $crate::store::ledger::insert_ledger!($count "l.failure")
    };
    (many $($failure:tt)+) => {
        concat!(
            $crate::store::ledger::insert_ledger!(@into $($failure)+),
            "FROM unnest($2::uuid[], $3::timestamptz[], $4::uuid[], $5::smallint[], $6::smallint[], \
             $7::smallint[], $8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], \
             $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[]) AS l(id, at, grp, \
             interaction, outcome, rt, vid, logical_id, actor, source, request_id, method, query, \
             failure, pats, entities, client, token)",
            $crate::store::ledger::if_kept!(" WHERE")
        )
    };
    (one $($failure:tt)+) => {
        concat!(
            $crate::store::ledger::insert_ledger!(@into $($failure)+),
            "FROM (SELECT ($2::uuid[])[1] AS id, ($3::timestamptz[])[1] AS at, ($4::uuid[])[1] AS grp, \
             ($5::smallint[])[1] AS interaction, ($6::smallint[])[1] AS outcome, ($7::smallint[])[1] AS \
             rt, ($8::int[])[1] AS vid, ($9::text[])[1] AS logical_id, ($10::text[])[1] AS actor, \
             ($11::text[])[1] AS source, ($12::text[])[1] AS request_id, ($13::text[])[1] AS method, \
             ($14::text[])[1] AS query, ($15::text[])[1] AS failure, ($16::text[])[1] AS pats, \
             ($17::text[])[1] AS entities, ($18::text[])[1] AS client, ($19::text[])[1] AS token) AS l",
            $crate::store::ledger::if_kept!(" WHERE")
        )
    };
    (@into $($failure:tt)+) => {
        concat!(
            "INSERT INTO ledger (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, actor, person, \
             purpose, client, token, source, request_id, method, query, failure, pats, entities) \
             SELECT l.id, l.at, l.grp, $1::int, l.interaction, l.outcome, l.rt, l.vid, l.logical_id, ",
            $crate::store::ledger::who_asked!("l.actor"),
            ", l.client, l.token, l.source, l.request_id, l.method, l.query, ",
            $($failure)+,
            ", l.pats::bigint[], l.entities::text[] "
        )
    };
}
pub(super) use insert_ledger;

/// The columns actor, person and purpose of what [`who`] made.
macro_rules! who_asked {
    ($who:literal) => {
        concat!(
            "split_part(",
            $who,
            ", E'\\x1f', 1), nullif(split_part(",
            $who,
            ", E'\\x1f', 2), ''), nullif(split_part(",
            $who,
            ", E'\\x1f', 3), '')"
        )
    };
}
pub(super) use who_asked;

const RECORD: &str = insert_ledger!(many failure_told!());
const RECORD_ONE: &str = insert_ledger!(one failure_told!());

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[RECORD, RECORD_ONE];

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
    /// The party, the user's resource and the purpose of use, with [`BETWEEN`] between them.
    actor: Vec<String>,
    source: Vec<Option<String>>,
    request_id: Vec<&'a str>,
    method: Vec<&'a str>,
    query: Vec<&'a str>,
    failure: Vec<Option<&'a str>>,
    patients: Vec<String>,
    entities: Vec<String>,
    client: Vec<Option<&'a str>>,
    token: Vec<Option<String>>,
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
        self.actor.push(who(&row.caller.principal));
        self.source.push(request.source.map(|source| source.to_string()));
        self.request_id.push(&request.id);
        self.method.push(request.method);
        self.query.push(&request.path_and_query);
        self.failure.push((!row.failure.is_empty()).then_some(row.failure.as_str()));
        self.patients.push(number_array(&row.disclosed.patients));
        self.entities.push(text_array(&row.disclosed.entities));
        let (client, token) = client_and_token(row);
        self.client.push(client);
        self.token.push(token);
    }

    /// The columns in the order of the statements' parameters.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 18] {
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
            &self.client,
            &self.token,
        ]
    }
}

/// What stands between the parts of who asked, and in none of them.
const BETWEEN: char = '\u{1f}';

/// Who asked, as the statements take it: what [`who_parts`] says, in one text.
pub(super) fn who(principal: &Principal) -> String {
    match who_parts(principal) {
        [actor, person, purpose] if person.is_empty() && purpose.is_empty() => actor,
        parts => parts.join("\u{1f}"),
    }
}

/// The party, the resource that stands for the user, and the purpose of use; empty where there is none.
pub(super) fn who_parts(principal: &Principal) -> [String; 3] {
    let grant = principal.grant();
    let person = grant.and_then(|grant| grant.user.as_ref()?.fhir_user.as_ref());
    let person = person.map(|(of, id)| format!("{of}/{id}")).unwrap_or_default();
    let purpose = grant.and_then(|grant| grant.purpose.clone()).unwrap_or_default();
    [principal.actor().to_owned(), person, purpose].map(|part| part.replace(BETWEEN, " "))
}

/// The client, and the id of the access token, of whoever a row is about.
pub(super) fn client_and_token(row: &LedgerRow) -> (Option<&str>, Option<String>) {
    let grant = row.caller.principal.grant();
    grant.map(|it| (it.client.as_str(), it.token.to_string())).unzip()
}

/// Adds a row inside a transaction, which commits it with what it tells of.
pub(super) async fn record_in(transaction: &Transaction, row: &LedgerRow) -> Result<(), Error> {
    let columns = Columns::of([row]);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
    parameters.extend(columns.parameters());
    transaction.run(RECORD_ONE, &parameters).await.map(drop)
}

/// Commits rows that go with no data.
pub(super) struct LedgerWriter {
    pipelines: Pipelines,
    queue: Queue<Self>,
}

impl LedgerWriter {
    pub(super) fn new(realm: &Realm, timeout_ms: u32, flush: Flush) -> Result<Self, Error> {
        let pipelines = Pipelines::new(realm, LANES, timeout_ms, flush)?;
        Ok(Self { pipelines, queue: Queue::new(LANES, BATCH) })
    }

    /// Makes `rows` durable.
    #[cfg_attr(feature = "bench-without-ledger", expect(unreachable_code))]
    pub(super) async fn record(&self, rows: Vec<LedgerRow>) -> Result<(), Error> {
        #[cfg(feature = "bench-without-ledger")]
        return Ok(drop(rows));
        self.queue.submit(self, rows).await.map_err(|error| match error {
            Error::Unavailable(cause) | Error::Internal(cause) => Error::Unavailable(cause),
            other => Error::Unavailable(other.to_string().into()),
        })
    }

    async fn write(&self, columns: &Columns<'_>) -> Result<(), Error> {
        let sql = if columns.id.len() == 1 { RECORD_ONE } else { RECORD };
        let pipeline = self.pipelines.pipeline().await?;
        let statement = pipeline.prepare(sql).await?;
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(columns.parameters());
        pipeline.client().execute(&statement, &parameters).await.map_err(failure::error)?;
        Ok(())
    }
}

impl Together for LedgerWriter {
    type Work = Vec<LedgerRow>;
    type Answer = ();
    type Fault = Error;

    fn weight(rows: &Vec<LedgerRow>) -> usize {
        rows.len()
    }

    async fn run(&self, batch: &[Vec<LedgerRow>]) -> Result<Vec<()>, Error> {
        let columns = Columns::of(batch.iter().flatten());
        let rows = columns.id.len();
        let began = Instant::now();
        let written = self.write(&columns).await;
        metrics::histogram!("kiln_ledger_commit_duration_seconds").record(began.elapsed());
        match written {
            Ok(()) => metrics::counter!("kiln_ledger_rows_total").increment(rows as u64),
            Err(error) => {
                metrics::counter!("kiln_ledger_failures_total").increment(1);
                let cause = root_cause(&error);
                tracing::error!(cause, rows, "the ledger cannot be written");
                return Err(error);
            }
        }
        Ok(vec![(); batch.len()])
    }
}
