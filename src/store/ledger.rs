//! The ledger's columns, and the writer that commits the rows of many reads at once.

use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::access::LedgerRow;
use crate::error::{Error, root_cause};
use crate::fhir::ResourceType;

use super::connection::{Flush, Pipelines, Transaction};
use super::parties::Parties;
use super::resource::failure_told;
use super::rows::{Timestamptz, number_array, text_array};
use super::tenant::Realm;
use super::together::{Queue, Together};
use super::unflushed::Unflushed;
use super::{TENANT, failure};

/// Most rows in one statement.
const BATCH: usize = 256;
/// Statements in flight at once: with one, the rows that arrive meanwhile share the next.
const LANES: usize = 1;

/// Ends each statement that adds to the ledger. In a build for `kiln bench audit` alone, which measures
/// what the ledger costs, the connection says whether it adds anything (see [`keep_none`]).
#[cfg(not(feature = "bench-without-ledger"))]
macro_rules! if_kept {
    ($word:literal) => {
        ""
    };
}
#[cfg(feature = "bench-without-ledger")]
macro_rules! if_kept {
    ($word:literal) => {
        concat!($word, " current_setting('kiln.ledger', true) IS DISTINCT FROM 'off'")
    };
}
pub(super) use if_kept;

/// Whether this process keeps no ledger.
#[cfg(feature = "bench-without-ledger")]
static KEEPS_NONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Has this process add nothing to the ledger, on connections that are opened from now on. For
/// `kiln bench audit` alone: no other build has it, so that no server can be told to.
#[cfg(feature = "bench-without-ledger")]
pub fn keep_none() {
    tracing::warn!("nothing is recorded: this is for a measurement alone");
    KEEPS_NONE.store(true, std::sync::atomic::Ordering::Release);
}

#[cfg(feature = "bench-without-ledger")]
fn keeps_none() -> bool {
    KEEPS_NONE.load(std::sync::atomic::Ordering::Acquire)
}

/// What connections are told of it, beside their other settings.
#[cfg(feature = "bench-without-ledger")]
pub(super) fn setting() -> &'static str {
    if keeps_none() { " -c kiln.ledger=off" } else { "" }
}
#[cfg(not(feature = "bench-without-ledger"))]
pub(super) const fn setting() -> &'static str {
    ""
}

/// Adds ledger rows. `$1` is the tenant, `$2` to `$20` are the columns of [`Columns`]; for `one` row
/// the first of each array is taken, which costs half of `unnest`.
macro_rules! insert_ledger {
    ($count:ident) => {
        $crate::store::ledger::insert_ledger!($count "l.failure")
    };
    (many $($failure:tt)+) => {
        concat!(
            $crate::store::ledger::insert_ledger!(@into $($failure)+),
            "FROM unnest($2::uuid[], $3::timestamptz[], $4::uuid[], $5::smallint[], $6::smallint[], \
             $7::smallint[], $8::int[], $9::uuid[], $10::text[], $11::bigint[], $12::uuid[], $13::uuid[], \
             $14::text[], $15::text[], $16::text[], $17::bigint[], $18::text[], $19::text[], $20::text[]) AS l(id, \
             at, grp, interaction, outcome, rt, vid, subject, logical_id, party, token_id, request, request_id, \
             query, failure, pat, pats, entities, token)",
            $crate::store::ledger::if_kept!(" WHERE")
        )
    };
    (one $($failure:tt)+) => {
        concat!(
            $crate::store::ledger::insert_ledger!(@into $($failure)+),
            "FROM (SELECT ($2::uuid[])[1] AS id, ($3::timestamptz[])[1] AS at, ($4::uuid[])[1] AS grp, \
             ($5::smallint[])[1] AS interaction, ($6::smallint[])[1] AS outcome, ($7::smallint[])[1] AS \
             rt, ($8::int[])[1] AS vid, ($9::uuid[])[1] AS subject, ($10::text[])[1] AS logical_id, \
             ($11::bigint[])[1] AS party, ($12::uuid[])[1] AS token_id, ($13::uuid[])[1] AS request, \
             ($14::text[])[1] AS request_id, ($15::text[])[1] AS query, ($16::text[])[1] AS failure, \
             ($17::bigint[])[1] AS pat, ($18::text[])[1] AS pats, ($19::text[])[1] AS entities, ($20::text[])[1] AS \
             token) AS l",
            $crate::store::ledger::if_kept!(" WHERE")
        )
    };
    (@into $($failure:tt)+) => {
        concat!(
            "INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, rt, vid, subject, logical_id, \
             party, token_id, request, request_id, query, failure, pat, pats, entities, token) \
             SELECT l.id, l.at, l.grp, $1::int, l.interaction, l.outcome, l.rt, l.vid, l.subject, \
             l.logical_id, l.party, l.token_id, l.request, l.request_id, l.query, ",
            $($failure)+,
            ", l.pat, l.pats::bigint[], l.entities::text[], l.token "
        )
    };
}
pub(super) use insert_ledger;

const RECORD: &str = insert_ledger!(many failure_told!());
const RECORD_ONE: &str = insert_ledger!(one failure_told!());

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[RECORD, RECORD_ONE];

/// Ledger rows column by column, as `unnest` takes them.
#[derive(Default)]
pub(super) struct Columns<'a> {
    id: Vec<Uuid>,
    at: Vec<Timestamptz>,
    group: Vec<Option<Uuid>>,
    interaction: Vec<i16>,
    outcome: Vec<i16>,
    resource_type: Vec<Option<i16>>,
    version: Vec<Option<i32>>,
    /// The id of the resource: this or the next.
    subject: Vec<Option<Uuid>>,
    logical_id: Vec<Option<&'a str>>,
    party: Vec<i64>,
    /// The name of the token: this or that of the last column.
    token: Vec<Option<Uuid>>,
    /// The id of the request: this or the next.
    request: Vec<Option<Uuid>>,
    request_id: Vec<Option<&'a str>>,
    query: Vec<&'a str>,
    failure: Vec<Option<&'a str>>,
    /// The patients: this or the next.
    patient: Vec<Option<i64>>,
    patients: Vec<Option<String>>,
    entities: Vec<Option<String>>,
    token_name: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    /// Of rows, whose parties have these keys.
    pub(super) fn of(rows: impl IntoIterator<Item = &'a LedgerRow>, parties: Vec<i64>) -> Self {
        let mut columns = Self { party: parties, ..Self::default() };
        for row in rows {
            columns.push(row);
        }
        columns
    }

    /// The same, with keys that are looked up.
    pub(super) async fn with_parties(
        rows: &[&'a LedgerRow],
        parties: &Parties,
    ) -> Result<Self, Error> {
        let keys = parties.keys(rows.iter().copied()).await?;
        Ok(Self::of(rows.iter().copied(), keys))
    }

    fn push(&mut self, row: &'a LedgerRow) {
        let request = &row.caller.request;
        let subject = row.disclosed.subject.as_ref();
        let subject_type = subject.map(|(resource_type, ..)| *resource_type);
        self.id.push(row.id);
        self.at.push(Timestamptz(row.at));
        self.group.push(group(row));
        self.interaction.push(row.interaction.kind.number());
        self.outcome.push(row.outcome.number());
        let resource_type = subject_type.or(row.interaction.resource_type);
        self.resource_type.push(resource_type.map(ResourceType::code));
        self.version.push(subject.and_then(|(_, _, version)| version.map(|version| version.0)));
        let (uuid, text) = subject.map(|(_, id, _)| packed(id.as_str())).unwrap_or_default();
        self.subject.push(uuid);
        self.logical_id.push(text);
        let (uuid, text) = row.caller.principal.token_on_record();
        self.token.push(uuid);
        self.token_name.push(text);
        let (uuid, text) = packed(&request.id);
        self.request.push(uuid);
        self.request_id.push(text);
        self.query.push(&request.path_and_query);
        self.failure.push((!row.failure.is_empty()).then_some(row.failure.as_str()));
        let (patient, patients) = match &row.disclosed.patients[..] {
            [] => (None, None),
            [patient] => (Some(*patient), None),
            patients => (None, Some(number_array(patients))),
        };
        self.patient.push(patient);
        self.patients.push(patients);
        let entities = &row.disclosed.entities;
        self.entities.push((!entities.is_empty()).then(|| text_array(entities)));
    }

    /// The columns in the order of the statements' parameters.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 19] {
        [
            &self.id,
            &self.at,
            &self.group,
            &self.interaction,
            &self.outcome,
            &self.resource_type,
            &self.version,
            &self.subject,
            &self.logical_id,
            &self.party,
            &self.token,
            &self.request,
            &self.request_id,
            &self.query,
            &self.failure,
            &self.patient,
            &self.patients,
            &self.entities,
            &self.token_name,
        ]
    }
}

/// A text as the UUID that it is, in the form in which we write them, or as it is.
pub(super) fn packed(text: &str) -> (Option<Uuid>, Option<&str>) {
    let is_ours = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match Uuid::try_parse(text) {
        Ok(uuid) if is_ours => (Some(uuid), None),
        _ => (None, Some(text)),
    }
}

/// The group of a row that is not the first of it: that one's id is the group.
pub(super) fn group(row: &LedgerRow) -> Option<Uuid> {
    (row.group != row.id).then_some(row.group)
}

/// Adds a row inside a transaction, which commits it with what it tells of.
pub(super) async fn record_in(
    transaction: &Transaction,
    row: &LedgerRow,
    parties: Vec<i64>,
) -> Result<(), Error> {
    let columns = Columns::of([row], parties);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
    parameters.extend(columns.parameters());
    transaction.run(RECORD_ONE, &parameters).await.map(drop)
}

/// Commits rows that go with no data.
pub(super) struct LedgerWriter {
    pipelines: Pipelines,
    parties: Arc<Parties>,
    /// Keeps the rows for which the disk is not waited.
    unflushed: Option<Arc<Unflushed>>,
    queue: Queue<Self>,
}

impl LedgerWriter {
    /// Waits for the disk, or has its rows be kept until it has them.
    pub(super) fn new(
        realm: &Realm,
        (parties, unflushed): (Arc<Parties>, Option<Arc<Unflushed>>),
        timeout_ms: u32,
    ) -> Result<Self, Error> {
        let flush = unflushed.as_ref().map_or(Flush::Wait, |unflushed| unflushed.flush());
        let pipelines = Pipelines::new(realm, LANES, timeout_ms, flush)?;
        Ok(Self { pipelines, parties, unflushed, queue: Queue::new(LANES, BATCH) })
    }

    /// Makes `rows` durable.
    pub(super) async fn record(&self, rows: Vec<LedgerRow>) -> Result<(), Error> {
        #[cfg(feature = "bench-without-ledger")]
        if keeps_none() {
            return Ok(());
        }
        self.queue.submit(self, rows).await.map_err(|error| match error {
            Error::Unavailable(cause) | Error::Internal(cause) => Error::Unavailable(cause),
            other => Error::Unavailable(other.to_string().into()),
        })
    }

    async fn write(&self, rows: &[&LedgerRow]) -> Result<(), Error> {
        let before = self.unflushed.as_ref().map(|unflushed| unflushed.before());
        let pipeline = self.pipelines.pipeline().await?;
        let columns = Columns::with_parties(rows, &self.parties).await?;
        let sql = if columns.id.len() == 1 { RECORD_ONE } else { RECORD };
        let statement = pipeline.prepare(sql).await?;
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(columns.parameters());
        pipeline.client().execute(&statement, &parameters).await.map_err(failure::error)?;
        if let (Some(unflushed), Some(before)) = (&self.unflushed, before) {
            unflushed.keep(before, rows.iter().copied().cloned()).await;
        }
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
        let all: Vec<&LedgerRow> = batch.iter().flatten().collect();
        let rows = all.len();
        let began = Instant::now();
        let written = self.write(&all).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a build for the bench can leave a row out: no statement of this one asks a setting, no connection
    /// says one, and nothing but that build has a word for it.
    #[cfg(not(feature = "bench-without-ledger"))]
    #[test]
    fn no_setting_keeps_a_row_out_of_the_ledger() {
        assert_eq!((if_kept!(" WHERE"), setting()), ("", ""));
        for sql in crate::store::statements() {
            assert!(!sql.contains("kiln.ledger"), "{sql}");
        }
    }

    #[test]
    fn only_what_is_written_back_as_it_was_is_kept_as_a_uuid() {
        for (text, is_packed) in [
            ("0189a2b4-0000-7000-8000-00000000000a", true),
            ("0189A2B4-0000-7000-8000-00000000000a", false),
            ("0189a2b4000070008000000000000000000a", false),
            ("0189a2b400007000800000000000000a", false),
            ("p1", false),
            ("", false),
        ] {
            let (uuid, kept) = packed(text);
            assert_eq!(uuid.is_some(), is_packed, "{text:?}");
            let back = uuid.map(|uuid| uuid.to_string());
            assert_eq!(back.as_deref().or(kept), Some(text), "{text:?}");
        }
    }
}
