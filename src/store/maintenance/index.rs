//! Building the search index anew: when its format or the search parameters have changed, and when
//! somebody asks for it.
//!
//! Each resource's rows are replaced in place, some hundreds of resources in a transaction, so searches
//! see the old rows of a resource or the new ones and never none. What is replaced gets another
//! [`RowState`](super::super::rows::RowState), so a writer that waits for its lock, and whose statement
//! does not see the new rows, begins anew. The row of `index_build` is the
//! lock, the position and the progress at once: nodes that build at the same time take turns, and one
//! that was killed goes on where its last transaction ended.

use tokio_postgres::Row;

use crate::access::CommitError;
use crate::error::Error;
use crate::fhir::{Identity, ResourceType};

use super::super::connection::Transaction;
use super::super::index::inside::is_contained_in;
use super::super::index::{IndexRows, Indexed, Parameters};
use super::super::rows::JsonText;
use super::super::{BUCKET, Store, TENANT, failure, write};
use super::sweep::sweep;

/// Resources in one transaction at most.
const BATCH: i64 = 500;

/// What is stored of them at most, in bytes; one that is larger comes alone. Compressed, so some times
/// more in memory.
const BATCH_BYTES: i64 = 8 << 20;

/// The key of the last resource of the next window: after `$1`, at most `$3` resources and `$4` bytes.
const WINDOW: &str = "SELECT max(rid) FROM (SELECT rid, row_number() OVER w AS place, sum(size) OVER w AS bytes \
     FROM (SELECT rid, coalesce(pg_column_size(body), 0)::bigint AS size FROM res \
     WHERE rid > $1 AND tid = $2 ORDER BY rid LIMIT $3) r WINDOW w AS (ORDER BY rid)) v \
     WHERE place = 1 OR bytes <= $4::bigint";

/// How many resources there are, and the bytes of a body on average: as text, and as it is stored.
pub const ROOM_OF_BODIES: &str = "SELECT (SELECT count(*) FROM res WHERE op <> 'D'), \
     avg(octet_length(body::text))::bigint, avg(pg_column_size(body))::bigint \
     FROM (SELECT body FROM res WHERE body IS NOT NULL LIMIT 20000) b;";

/// Starts a build unless the index is of this fingerprint; with `$2` in any case.
const BEGIN: &str = "INSERT INTO index_build (fingerprint) VALUES ($1) \
     ON CONFLICT (one) DO UPDATE SET fingerprint = excluded.fingerprint, after_rid = 0, done = 0, \
     is_finished = false WHERE index_build.fingerprint <> excluded.fingerprint \
     OR (index_build.is_finished AND $2::bool)";

pub(super) const POSITION: &str =
    "SELECT after_rid, done, is_finished, fingerprint FROM index_build FOR UPDATE";

const MOVE: &str = "UPDATE index_build SET after_rid = $1, done = done + $2, is_finished = $3";

const NEXT: &str = "SELECT rid, rt, id, pats, meta, body FROM res \
     WHERE rid > $1 AND rid <= $3 AND tid = $2 AND op <> 'D' ORDER BY rid FOR NO KEY UPDATE";

/// A live resource by its name.
pub(super) const ONE: &str = "SELECT r.rid, r.rt, r.id, r.pats, r.meta, r.body FROM ident i \
     JOIN res r ON r.rid = i.rid AND r.dk = i.dk \
     WHERE i.tid = $1 AND i.rt = $2 AND i.id = $3 AND r.op <> 'D' FOR NO KEY UPDATE OF r";

const TOUCH: &str = "UPDATE res SET xid = pg_current_xact_id() WHERE rid = ANY($1) AND dk = $2";

/// The patients of one resource, where a program before this one did not know all of them.
const SET_PATIENTS: &str = "UPDATE res SET pats = $3::bigint[] WHERE rid = $1 AND dk = $2";

/// The keys of what resources contain.
const CONTAINED: &str = concat!(
    "SELECT c.rid FROM unnest($1::bigint[]) k(rid) CROSS JOIN LATERAL (SELECT x.rid FROM srow x WHERE ",
    is_contained_in!("x.rid", "k.rid"),
    " OFFSET 0) c"
);

/// Takes away the rows of resources and of what they contain, as far as `srow` tells of them.
const CLEAR: &str = "WITH old AS (SELECT rid, s, toks FROM srow WHERE rid = ANY($1)), \
     tkd AS (DELETE FROM tok x USING (SELECT o.rid, o.s, unnest(o.toks) AS h FROM old o) g \
     WHERE x.h = g.h AND x.s = g.s AND x.rid = g.rid AND x.dk = $2), \
     cmd AS (DELETE FROM comp x USING (SELECT o.rid, o.s, r.rt, unnest(r.pats) AS pat FROM old o \
     JOIN res r ON r.rid = o.rid AND r.dk = $2) g \
     WHERE x.pat = g.pat AND x.rt = g.rt AND x.s = g.s AND x.rid = g.rid AND x.dk = $2), \
     nmd AS (DELETE FROM num WHERE rid = ANY($1)), \
     dtd AS (DELETE FROM dat WHERE rid = ANY($1)), \
     std AS (DELETE FROM str WHERE rid = ANY($1)) \
     DELETE FROM srow WHERE rid = ANY($1) AND dk = $2";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[
    ROOM_OF_BODIES,
    BEGIN,
    POSITION,
    MOVE,
    WINDOW,
    NEXT,
    ONE,
    TOUCH,
    SET_PATIENTS,
    CONTAINED,
    CLEAR,
];

/// Brings the search index to the search parameters in force, from the beginning with `again`.
/// `progress` hears how many resources are done, now and then.
///
/// # Errors
/// [`Error::Unavailable`] without a database: what is done stays done.
pub async fn build_index(
    store: &Store,
    again: bool,
    mut progress: impl FnMut(u64),
) -> Result<(), Error> {
    let parameters = store.parameters()?;
    let fingerprint = parameters.fingerprint().to_be_bytes();
    let transaction = store.0.writers.begin("BEGIN").await?;
    transaction.run(BEGIN, &[&&fingerprint[..], &again]).await?;
    commit(transaction).await?;
    loop {
        match build_some(store).await {
            Ok(Some(done)) => progress(done),
            Ok(None) => break,
            // By other search parameters then.
            Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if again { sweep(store).await.map(drop) } else { Ok(()) }
}

/// Builds the rows of the next resources; how many are done then. `None`: the build is finished.
async fn build_some(store: &Store) -> Result<Option<u64>, Error> {
    let transaction = store.0.writers.begin("BEGIN").await?;
    let position = transaction.all(POSITION, &[]).await?;
    let Some(position) = position.first() else {
        return Err(Error::internal("the build of the search index has no row"));
    };
    let after: i64 = position.try_get(0).map_err(failure::error)?;
    let done: i64 = position.try_get(1).map_err(failure::error)?;
    let is_finished: bool = position.try_get(2).map_err(failure::error)?;
    let fingerprint: &[u8] = position.try_get(3).map_err(failure::error)?;
    let parameters = store.parameters()?;
    if fingerprint != parameters.fingerprint().to_be_bytes() {
        return Err(Error::internal("another program has begun to build the index in its own way"));
    }
    if is_finished {
        transaction.roll_back().await;
        return Ok(None);
    }
    let end = window(&transaction, after).await?;
    let mut count = 0;
    if let Some(end) = end {
        let found = transaction.all(NEXT, &[&after, &TENANT, &end]).await?;
        replace(store, &transaction, &parameters, &found).await?;
        count = i64::try_from(found.len()).unwrap_or(i64::MAX);
    }
    let last = end.unwrap_or(after);
    transaction.run(MOVE, &[&last, &count, &end.is_none()]).await?;
    commit(transaction).await?;
    Ok(Some(u64::try_from(done + count).unwrap_or_default()))
}

/// The key of the last of the resources that may be looked at together, after `after`; `None`: there
/// are no more.
pub(super) async fn window(transaction: &Transaction, after: i64) -> Result<Option<i64>, Error> {
    let found = transaction.all(WINDOW, &[&after, &TENANT, &BATCH, &BATCH_BYTES]).await?;
    found.first().map_or(Ok(None), |row| row.try_get(0).map_err(failure::error))
}

/// Replaces the rows of resources, which are locked; of how many something could not be extracted.
pub(super) async fn replace(
    store: &Store,
    transaction: &Transaction,
    parameters: &Parameters,
    found: &[Row],
) -> Result<i64, Error> {
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        rows.extend(stored(row, parameters)?);
    }
    put(store, transaction, parameters.epoch, &rows).await?;
    let lacking = rows.iter().filter(|(_, rows)| rows.lacks_some).count();
    Ok(i64::try_from(lacking).unwrap_or(i64::MAX))
}

/// Puts rows in the place of those that are there.
async fn put(
    store: &Store,
    transaction: &Transaction,
    epoch: i64,
    rows: &[(Stored, IndexRows)],
) -> Result<(), Error> {
    let keys: Vec<i64> = rows.iter().map(|(stored, _)| stored.rid).collect();
    if keys.is_empty() {
        return Ok(());
    }
    touch(transaction, &keys).await?;
    let mut all = keys.clone();
    for row in transaction.all(CONTAINED, &[&keys]).await? {
        all.push(row.try_get(0).map_err(failure::error)?);
    }
    transaction.run(CLEAR, &[&all, &BUCKET]).await?;
    // What is cleared goes by the patients of before.
    for (stored, _) in rows.iter().filter(|(stored, _)| stored.is_of_others) {
        transaction.run(SET_PATIENTS, &[&stored.rid, &BUCKET, &stored.patients]).await?;
    }
    let indexed: Vec<Indexed<'_>> =
        rows.iter().map(|(stored, rows)| stored.indexed(rows, store)).collect();
    write::reindex(store, transaction, &indexed, epoch).await.map_err(fault)
}

/// Tells writers who read these resources before that their rows are others now; they are locked.
pub(super) async fn touch(transaction: &Transaction, keys: &[i64]) -> Result<(), Error> {
    transaction.run(TOUCH, &[&keys, &BUCKET]).await.map(drop)
}

/// A resource as it is stored, as far as its rows need it.
struct Stored {
    rid: i64,
    identity: Identity,
    patients: Vec<i64>,
    /// Whether other patients are stored with it.
    is_of_others: bool,
}

impl Stored {
    fn indexed<'a>(&'a self, rows: &'a IndexRows, store: &Store) -> Indexed<'a> {
        Indexed {
            rid: self.rid,
            identity: store.identity(&self.identity),
            resource_type: self.identity.resource_type,
            before: None,
            now: Some((rows, &self.patients)),
            patients: &self.patients,
        }
    }
}

/// The resource in a row of [`NEXT`] with its index rows; `None` for a type of another version of
/// this program.
fn stored(row: &Row, parameters: &Parameters) -> Result<Option<(Stored, IndexRows)>, Error> {
    let Some(resource_type) = ResourceType::from_code(row.try_get(1).map_err(failure::error)?)
    else {
        return Ok(None);
    };
    let id: &str = row.try_get(2).map_err(failure::error)?;
    let identity = Identity { resource_type, id: id.parse().map_err(Error::internal)? };
    let meta: Option<JsonText<'_>> = row.try_get(4).map_err(failure::error)?;
    let body: JsonText<'_> = row.try_get(5).map_err(failure::error)?;
    let (rows, patients) = parameters.rows_made_anew(&identity, meta.map(|meta| meta.0), body.0)?;
    let known: Vec<i64> = row.try_get(3).map_err(failure::error)?;
    let (rid, is_of_others) = (row.try_get(0).map_err(failure::error)?, known != patients);
    Ok(Some((Stored { rid, identity, patients, is_of_others }, rows)))
}

pub(super) async fn commit(transaction: Transaction) -> Result<(), Error> {
    transaction.commit().await.map_err(failure::error)
}

fn fault(error: CommitError) -> Error {
    match error {
        CommitError::Failed(error) => error,
        CommitError::Raced => Error::Conflict("the search parameters changed meanwhile".to_owned()),
    }
}
