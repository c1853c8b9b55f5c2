//! Search parameters that clients define: which are in force, and building the index for them.
//!
//! `search_parameter` is what all nodes go by. A definition that was stored is taken into it by
//! whichever node sees it first, and gives the index a new epoch. What is written from then on has its
//! rows: the database refuses what was prepared without, and is asked for when the last of that was
//! committed. Then the resources from before are indexed, some at a time: the row is the position and
//! the progress, so a build goes on where one that was killed has ended.

use crate::error::Error;
use crate::fhir::ResourceType;

use super::super::connection::Transaction;
use super::super::index::Parameters;
use super::super::index::inside::{self, container_of, is_contained_in};
use super::super::rows::JsonText;
use super::super::{Store, TENANT, failure};
use super::index::{POSITION, commit, replace, window};
use super::packages::{installed_packages, packaged};

const LOCK: &str = "SELECT pg_advisory_xact_lock(kiln_lock('kiln_search_parameters'))";

/// Writers that wait behind a definition wait no longer than this: it comes into force a little later.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '250ms'";

/// No write is under way that made its rows without what comes into force now.
const ALONE: &str = "SELECT pg_advisory_xact_lock(kiln_lock('kiln_parameter_epoch'))";

/// Those in force come first: of two that cannot be so together, the newcomer yields.
const STORED: &str = "SELECT r.rid, r.id, r.body FROM res r LEFT JOIN search_parameter p ON p.rid = r.rid \
     WHERE r.tid = $1 AND r.rt = $2 AND r.op <> 'D' ORDER BY p.generation NULLS LAST, r.rid";

const DROP: &str = "DELETE FROM search_parameter p WHERE NOT EXISTS \
     (SELECT FROM unnest($1::bigint[], $2::text[]) w (rid, definition) \
     WHERE w.rid = p.rid AND w.definition = p.definition)";

const IS_NEW: &str = "SELECT EXISTS (SELECT FROM unnest($1::bigint[]) w (rid) \
     WHERE NOT EXISTS (SELECT FROM search_parameter p WHERE p.rid = w.rid))";

/// In their order: it is the order of their generations.
const ADD: &str = "INSERT INTO search_parameter (rid, definition) \
     SELECT w.rid, w.definition FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY w (rid, definition, place) \
     WHERE NOT EXISTS (SELECT FROM search_parameter p WHERE p.rid = w.rid) ORDER BY w.place";

const IN_FORCE: &str = "SELECT * FROM kiln_parameters()";

const IS_WAITING: &str = "SELECT EXISTS (SELECT FROM search_parameter WHERE NOT is_active)";

const NEXT_BUILD: &str = "SELECT generation, after_rid, total FROM search_parameter \
     WHERE NOT is_active AND since < clock_timestamp() - $1::float8 * interval '1 second' \
     ORDER BY generation LIMIT 1 FOR UPDATE";

const TOTAL: &str = concat!(
    "SELECT count(*) FROM (SELECT rid FROM res WHERE tid = $1 AND rt = ANY($2) AND op <> 'D' UNION SELECT ",
    container_of!("rid"),
    " FROM srow WHERE rt = ANY($3)) w"
);

/// Resources of types, and those that contain some of them.
const OF_TYPES: &str = concat!(
    "SELECT rid, rt, id, pats, meta, body FROM res r \
     WHERE rid > $1 AND rid <= $2 AND tid = $3 AND op <> 'D' AND (rt = ANY($4) OR EXISTS \
     (SELECT FROM srow x WHERE ",
    is_contained_in!("x.rid", "r.rid"),
    " AND x.rt = ANY($5) OFFSET 0)) ORDER BY rid FOR NO KEY UPDATE OF r"
);

const STEP: &str = "UPDATE search_parameter SET after_rid = $2, done = done + $3, total = $4, \
     is_active = $5 WHERE generation = $1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[
    LOCK, ALONE, STORED, DROP, IS_NEW, ADD, IN_FORCE, IS_WAITING, NEXT_BUILD, TOTAL, OF_TYPES, STEP,
];

/// A SearchParameter that is stored or that an installed package has.
#[derive(Clone, Debug)]
pub struct StoredDefinition {
    /// Its key, below zero for those of packages.
    pub key: i64,
    /// Its logical id; those of packages have what is none.
    pub id: String,
    /// The resource without resourceType, id and meta, as JSON.
    pub body: Vec<u8>,
}

/// A definition in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Tells it from all others, at any time.
    pub generation: i32,
    /// As it was chosen.
    pub definition: String,
    /// How many resources are indexed for it.
    pub done: u64,
    /// How many there were when that began; 0 before.
    pub total: u64,
    /// Whether the index has all.
    pub is_active: bool,
}

/// Puts those of the stored definitions in force that `choose` names with what it makes of them.
/// One that changed begins anew. `false`: writes are under way that will not end soon; it is to be
/// tried again.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn choose_parameters(
    store: &Store,
    choose: impl FnOnce(&[StoredDefinition]) -> Vec<(i64, String)>,
) -> Result<bool, Error> {
    // Those of packages yield to what clients stored.
    let packaged = packaged(&installed_packages(store).await?, ResourceType::SEARCH_PARAMETER);
    let transaction = store.0.writers.begin("BEGIN").await?;
    transaction.all(LOCK, &[]).await?;
    let of = ResourceType::SEARCH_PARAMETER.code();
    let mut stored = Vec::with_capacity(packaged.len());
    for row in transaction.all(STORED, &[&TENANT, &of]).await? {
        let body: JsonText<'_> = row.try_get(2).map_err(failure::error)?;
        stored.push(StoredDefinition {
            key: row.try_get(0).map_err(failure::error)?,
            id: row.try_get(1).map_err(failure::error)?,
            body: body.0.to_vec(),
        });
    }
    stored.extend(packaged.into_iter().map(|it| StoredDefinition {
        key: it.key,
        id: it.id,
        body: it.body.into_bytes(),
    }));
    let (keys, definitions): (Vec<i64>, Vec<String>) = choose(&stored).into_iter().unzip();
    transaction.run(DROP, &[&keys, &definitions]).await?;
    let is_new = transaction.all(IS_NEW, &[&keys]).await?;
    let is_new = is_new.first().map_or(Ok(false), |row| row.try_get(0).map_err(failure::error))?;
    if is_new {
        // Last of all, so that writers never wait for what this waits for.
        transaction.batch_execute(LOCK_TIMEOUT).await.map_err(failure::error)?;
        match transaction.all(ALONE, &[]).await {
            Ok(_) => transaction.run(ADD, &[&keys, &definitions]).await?,
            Err(error) if failure::is_lock_timeout(&error) => {
                transaction.roll_back().await;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
    }
    commit(transaction).await?;
    Ok(true)
}

/// The definitions in force, and their epoch.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn parameters_in_force(store: &Store) -> Result<(Vec<InForce>, i64), Error> {
    type Row = (i64, Option<i32>, Option<String>, Option<i64>, Option<i64>, Option<bool>);
    let rows = sqlx::query_as(IN_FORCE).fetch_all(&store.0.admin).await;
    let rows: Vec<Row> = rows.map_err(failure::sqlx_error)?;
    let epoch = rows.first().map(|row| row.0).unwrap_or_default();
    let in_force = |(_, generation, definition, done, total, is_active): Row| {
        Some(InForce {
            generation: generation?,
            definition: definition?,
            done: done?.try_into().unwrap_or_default(),
            total: total?.try_into().unwrap_or_default(),
            is_active: is_active?,
        })
    };
    Ok((rows.into_iter().filter_map(in_force).collect(), epoch))
}

/// Indexes the next resources for a definition that has been in force for `grace_s` seconds; whether
/// there were any.
///
/// # Errors
/// [`Error::Unavailable`] without a database: what is done stays done.
pub async fn build_parameter(store: &Store, grace_s: f64) -> Result<bool, Error> {
    let is_waiting = sqlx::query_as(IS_WAITING).fetch_one(&store.0.admin).await;
    let (is_waiting,): (bool,) = is_waiting.map_err(failure::sqlx_error)?;
    if !is_waiting {
        return Ok(false);
    }
    let transaction = store.0.writers.begin("BEGIN").await?;
    // One build at a time, of whatever kind: all of them replace rows of resources.
    transaction.all(POSITION, &[]).await?;
    let found = transaction.all(NEXT_BUILD, &[&grace_s]).await?;
    let parameters = store.parameters()?;
    let Some((row, generation)) = found.first().and_then(|row| Some((row, row.try_get(0).ok()?)))
    else {
        transaction.roll_back().await;
        return Ok(false);
    };
    let Some(types) = types(&parameters, generation) else {
        // This node does not know it yet: it must not be the one that fills the index for it.
        transaction.roll_back().await;
        return Ok(false);
    };
    let after: i64 = row.try_get(1).map_err(failure::error)?;
    let total: Option<i64> = row.try_get(2).map_err(failure::error)?;
    let next = step(store, &transaction, &parameters, &types, after, total).await?;
    let (after, done, total) = (next.after, next.done, next.total);
    transaction.run(STEP, &[&generation, &after, &done, &total, &next.is_last]).await?;
    commit(transaction).await?;
    Ok(true)
}

/// Where a build is after some more resources.
pub(super) struct Step {
    /// The key of the last resource that was looked at.
    pub(super) after: i64,
    /// How many of them have new rows.
    pub(super) done: i64,
    /// How many there were when the build began.
    pub(super) total: i64,
    /// Of how many of those with new rows something could not be extracted.
    pub(super) skipped: i64,
    /// Whether there were none left.
    pub(super) is_last: bool,
}

/// Makes the rows of the next resources of some types.
pub(super) async fn step(
    store: &Store,
    transaction: &Transaction,
    parameters: &Parameters,
    types: &[ResourceType],
    after: i64,
    total: Option<i64>,
) -> Result<Step, Error> {
    let codes: Vec<i16> = types.iter().map(|of| of.code()).collect();
    let contained: Vec<i16> = types.iter().map(|of| inside::code(*of)).collect();
    let total = if let Some(total) = total {
        total
    } else {
        let found = transaction.all(TOTAL, &[&TENANT, &codes, &contained]).await?;
        number(&found)?.unwrap_or_default()
    };
    let end = window(transaction, after).await?;
    let (mut done, mut skipped) = (0_i64, 0);
    if let Some(end) = end {
        let rows = transaction.all(OF_TYPES, &[&after, &end, &TENANT, &codes, &contained]).await?;
        skipped = replace(store, transaction, parameters, &rows).await?;
        done = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    }
    Ok(Step { after: end.unwrap_or(after), done, total, skipped, is_last: end.is_none() })
}

/// The types that have the parameter of a generation; `None`: nobody has it here.
fn types(parameters: &Parameters, generation: i32) -> Option<Vec<ResourceType>> {
    let has_it = |of: &ResourceType| {
        let known = parameters.extractor.parameters(*of).iter();
        known.filter_map(|known| known.custom.as_ref()).any(|it| it.generation == generation)
    };
    let types: Vec<ResourceType> = ResourceType::all().filter(has_it).collect();
    (!types.is_empty()).then_some(types)
}

fn number(rows: &[tokio_postgres::Row]) -> Result<Option<i64>, Error> {
    rows.first().map_or(Ok(None), |row| row.try_get(0).map_err(failure::error))
}
