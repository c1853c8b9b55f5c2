//! The ledger in the order in which it is sealed, and its seals.
//!
//! Rows are ordered by (transaction, id). Below the snapshot's horizon no row can come between others
//! any more, so sealing takes no lock that a writer could wait for. What is hashed of a row is the
//! columns of the view `ledger` in the order of [`ROW`], in PostgreSQL's binary form: for each its length as four bytes,
//! big-endian, and its bytes; for NULL the length -1.

use deadpool_postgres::Object;
use futures_util::{TryStreamExt as _, pin_mut};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use crate::audit::{Checkpoint, Hash, PublicKey, Sealed, Signed, merkle};
use crate::error::Error;
use crate::fhir::Instant;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::encoding::{KnownParties, encode_raw, push, raw, raw_columns};
use super::patients::{KnownPatients, MetPatients};

/// The columns that are sealed, in this order.
macro_rules! row {
    () => {
        "id, at, xid, grp, tid, interaction, outcome, rt, vid, logical_id, actor, client, token, source, \
         request_id, method, query, failure, pats, entities, person, purpose"
    };
}

const ROWS_BELOW: &str = concat!(
    "SELECT ",
    raw_columns!(),
    " FROM ledger_row WHERE (xid, id) > ($1, $2) AND xid < $3 ORDER BY xid, id LIMIT $4"
);

const ROWS_THROUGH: &str = concat!(
    "SELECT ",
    raw_columns!(),
    " FROM ledger_row WHERE (xid, id) > ($1, $2) AND (xid, id) <= ($3, $4) ORDER BY xid, id LIMIT $5"
);

const ROW: &str =
    concat!("SELECT ", row!(), " FROM ledger WHERE id = $1 AND kiln_time(id) = kiln_time($1)");

const UNSEALED: &str = "SELECT count(*), min(at) FROM ledger_row WHERE (xid, id) > ($1, $2)";

const ADD: &str = "WITH added AS (INSERT INTO seal \
     (n, at, month, size, total, last_xid, last_id, root, log_root, key, signature) \
     SELECT $1, $2, date_trunc('month', $3::timestamptz AT TIME ZONE 'UTC')::date, \
     $4, $5, $6, $7, $8, $9, $10, $11 RETURNING n) \
     INSERT INTO seal_rows (n, at, ids, leaves) SELECT n, $3::timestamptz, $12, $13 FROM added";

const SEALS: &str = "SELECT n, at, size, total, last_xid, last_id, root, log_root, key, signature, \
     to_char(month, 'YYYYMMDDBC') FROM seal WHERE n >= $1 ORDER BY n LIMIT $2";

const LAST: &str = "SELECT n, at, size, total, last_xid, last_id, root, log_root, key, signature, \
     to_char(month, 'YYYYMMDDBC') FROM seal ORDER BY n DESC LIMIT 1";

const SEAL_OF: &str = "SELECT n FROM seal WHERE (last_xid, last_id) >= ($1, $2) AND n >= 0 \
     ORDER BY last_xid, last_id LIMIT 1";

const SEALED_ROWS: &str =
    "SELECT n, ids, leaves, at FROM seal_rows WHERE n >= $1 AND n < $2 ORDER BY n";

/// Numbers that no batch of the log has.
const STRAYS: &str = "SELECT n FROM seal WHERE n < 0 UNION ALL SELECT n FROM seal_rows WHERE n < 0 \
     UNION ALL SELECT n FROM seal_rows WHERE n > (SELECT coalesce(max(n), -1) FROM seal) LIMIT 1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[ROWS_BELOW, ROWS_THROUGH, ROW, UNSEALED, ADD, SEALS, LAST, SEAL_OF, SEALED_ROWS, STRAYS];

/// A place in the order of rows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The transaction.
    pub xid: i64,
    /// The row.
    pub id: Uuid,
}

impl Place {
    /// Before every row.
    pub const START: Self = Self { xid: i64::MIN, id: Uuid::nil() };
}

/// A row in the order.
#[derive(Clone, Copy, Debug)]
pub struct OrderedRow {
    /// Where it stands.
    pub place: Place,
    /// When it was made.
    pub at: Instant,
    /// The hash of its encoding.
    pub leaf: Hash,
}

impl OrderedRow {
    /// What is sealed of it.
    pub fn sealed(&self) -> Sealed {
        Sealed { id: self.place.id, leaf: self.leaf }
    }
}

/// A row with what is hashed of it.
#[derive(Clone, Debug)]
pub struct EncodedRow {
    /// Where it stands.
    pub place: Place,
    /// The columns in the order of the seal.
    pub encoding: Vec<u8>,
}

/// A batch of rows in the log.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Its number, from 0.
    pub n: u64,
    /// The month of its rows, six digits; more where it is not the first of a month, none where it is no day.
    pub month: String,
    /// How many rows it has.
    pub size: u32,
    /// The place of its last row.
    pub last: Place,
    /// The root over its rows.
    pub root: Hash,
    /// The checkpoint after it.
    pub signed: Signed,
}

/// The rows of a batch as they were sealed.
#[derive(Clone, Debug)]
pub struct SealedBatch {
    /// Its number.
    pub n: u64,
    /// When the first of them was made.
    pub at: Instant,
    /// The rows, in order; none where the row of the seal has not an id and a hash for each.
    pub rows: Vec<Sealed>,
}

/// Up to where rows are wanted.
#[derive(Clone, Copy, Debug)]
pub enum UpTo {
    /// Those of transactions before this one.
    Below(i64),
    /// Those up to this place and the one there.
    Through(Place),
}

/// At most `limit` rows after `after`, in order; `parties` are those that were met before.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn ordered_rows(
    store: &Store,
    parties: &KnownParties,
    after: Place,
    up_to: UpTo,
    limit: i64,
) -> Result<Vec<OrderedRow>, Error> {
    let through: [&(dyn ToSql + Sync); 5];
    let below: [&(dyn ToSql + Sync); 4];
    let (sql, values) = match &up_to {
        UpTo::Below(xid) => {
            below = [&after.xid, &after.id, xid, &limit];
            (ROWS_BELOW, &below[..])
        }
        UpTo::Through(last) => {
            through = [&after.xid, &after.id, &last.xid, &last.id, &limit];
            (ROWS_THROUGH, &through[..])
        }
    };
    read(store, parties, (sql, values), |_| Ok(())).await
}

/// At most `limit` rows after `after` of transactions before `below`, in order, and keeps the names of their patients:
/// what is sealed has them.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn rows_to_seal(
    store: &Store,
    (parties, patients): (&KnownParties, &mut KnownPatients),
    after: Place,
    below: i64,
    limit: i64,
) -> Result<Vec<OrderedRow>, Error> {
    let mut met = MetPatients::default();
    let values: [&(dyn ToSql + Sync); 4] = [&after.xid, &after.id, &below, &limit];
    let each = |row: &Row| met.meet(row, patients, store.hasher());
    let rows = read(store, parties, (ROWS_BELOW, &values), each).await?;
    met.keep(store, patients).await?;
    Ok(rows)
}

/// Rows of a statement with [`raw_columns`]; `each` looks at them, too.
async fn read(
    store: &Store,
    parties: &KnownParties,
    (sql, values): (&'static str, &[&(dyn ToSql + Sync)]),
    mut each: impl FnMut(&Row) -> Result<(), Error>,
) -> Result<Vec<OrderedRow>, Error> {
    let (_connection, found) = stream(store, sql, values).await?;
    pin_mut!(found);
    let (mut rows, mut encoding) = (Vec::new(), Vec::new());
    while let Some(row) = found.try_next().await.map_err(failure::error)? {
        each(&row)?;
        let party = parties.of(&row, store).await?;
        encoding.clear();
        encode_raw(&row, &party, &mut encoding)?;
        let at: Timestamptz = row.try_get(1).map_err(failure::error)?;
        rows.push(OrderedRow { place: place(&row)?, at: at.0, leaf: merkle::leaf(&encoding) });
    }
    Ok(rows)
}

/// The row with an id; `None` when there is none.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn encoded_row(store: &Store, id: Uuid) -> Result<Option<EncodedRow>, Error> {
    let mut found = None;
    let each = |row: &Row| {
        let mut encoding = Vec::new();
        encode(row, &mut encoding)?;
        found = Some(EncodedRow { place: place(row)?, encoding });
        Ok(())
    };
    for_each(store, ROW, &[&id], each).await?;
    Ok(found)
}

/// How many rows come after `after`, and when the first of them was made.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn unsealed(store: &Store, after: Place) -> Result<(i64, Option<Instant>), Error> {
    let mut found = (0, None);
    let each = |row: &Row| {
        let first: Option<Timestamptz> = row.try_get(1).map_err(failure::error)?;
        found = (row.try_get(0).map_err(failure::error)?, first.map(|first| first.0));
        Ok(())
    };
    for_each(store, UNSEALED, &[&after.xid, &after.id], each).await?;
    Ok(found)
}

/// Puts the batch of `rows` on record; false when another node was faster.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn add_seal(store: &Store, seal: &Seal, rows: &[OrderedRow]) -> Result<bool, Error> {
    let Some(first) = rows.first() else { return Ok(false) };
    let ids: Vec<u8> = rows.iter().flat_map(|row| row.place.id.into_bytes()).collect();
    let leaves: Vec<u8> = rows.iter().flat_map(|row| row.leaf).collect();
    let Checkpoint { rows: total, at, root: log_root, .. } = &seal.signed.checkpoint;
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(ADD).await.map_err(failure::error)?;
    let values: [&(dyn ToSql + Sync); 13] = [
        &seal.n.cast_signed(),
        &Timestamptz(*at),
        &Timestamptz(first.at),
        &seal.size.cast_signed(),
        &total.cast_signed(),
        &seal.last.xid,
        &seal.last.id,
        &&seal.root[..],
        &&log_root[..],
        &&seal.signed.key.0[..],
        &seal.signed.signature,
        &ids,
        &leaves,
    ];
    match connection.execute(&statement, &values).await {
        Ok(_) => Ok(true),
        Err(error) if failure::is_taken(&error) => Ok(false),
        Err(error) => Err(failure::error(error)),
    }
}

/// At most `limit` batches from number `from` on. `log` is the name that their checkpoints have.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn seals(store: &Store, log: &str, from: u64, limit: i64) -> Result<Vec<Seal>, Error> {
    let mut seals = Vec::new();
    let each = |row: &Row| {
        seals.push(seal(row, log)?);
        Ok(())
    };
    for_each(store, SEALS, &[&from.cast_signed(), &limit], each).await?;
    Ok(seals)
}

/// The last batch; `None` where nothing is sealed.
///
/// # Errors
/// As [`seals`].
pub async fn last_seal(store: &Store, log: &str) -> Result<Option<Seal>, Error> {
    let mut last = None;
    let each = |row: &Row| {
        last = Some(seal(row, log)?);
        Ok(())
    };
    for_each(store, LAST, &[], each).await?;
    Ok(last)
}

/// The number of the batch that has the row at `place`, if it is sealed.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn seal_of(store: &Store, place: Place) -> Result<Option<u64>, Error> {
    let mut found = None;
    let each = |row: &Row| {
        let n: i64 = row.try_get(0).map_err(failure::error)?;
        found = Some(n.cast_unsigned());
        Ok(())
    };
    for_each(store, SEAL_OF, &[&place.xid, &place.id], each).await?;
    Ok(found)
}

/// The rows of the batches from `from` to before `to`, as they were sealed.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn sealed_rows(store: &Store, from: u64, to: u64) -> Result<Vec<SealedBatch>, Error> {
    let mut batches = Vec::new();
    let each = |row: &Row| {
        let n: i64 = row.try_get(0).map_err(failure::error)?;
        let ids: &[u8] = row.try_get(1).map_err(failure::error)?;
        let leaves: &[u8] = row.try_get(2).map_err(failure::error)?;
        let at: Timestamptz = row.try_get(3).map_err(failure::error)?;
        let rows = sealed(ids, leaves).unwrap_or_default();
        batches.push(SealedBatch { n: n.cast_unsigned(), at: at.0, rows });
        Ok(())
    };
    for_each(store, SEALED_ROWS, &[&from.cast_signed(), &to.cast_signed()], each).await?;
    Ok(batches)
}

/// The number of a batch that is beside the log: before its first or behind its last.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn stray_batch(store: &Store) -> Result<Option<i64>, Error> {
    let mut found = None;
    let each = |row: &Row| {
        found = Some(row.try_get(0).map_err(failure::error)?);
        Ok(())
    };
    for_each(store, STRAYS, &[], each).await?;
    Ok(found)
}

/// The rows of ids and hashes; `None` where there are not as many of both, or a part of one.
fn sealed(ids: &[u8], leaves: &[u8]) -> Option<Vec<Sealed>> {
    let ((ids, more), (leaves, others)) = (ids.as_chunks::<16>(), leaves.as_chunks::<32>());
    let is_whole = more.is_empty() && others.is_empty() && ids.len() == leaves.len();
    let rows = ids.iter().zip(leaves);
    let rows = rows.map(|(id, leaf)| Sealed { id: Uuid::from_bytes(*id), leaf: *leaf });
    is_whole.then(|| rows.collect())
}

fn seal(row: &Row, log: &str) -> Result<Seal, Error> {
    let number = |at: usize| row.try_get::<_, i64>(at).map_err(failure::error);
    let bytes = |at: usize| row.try_get::<_, &[u8]>(at).map_err(failure::error);
    // What has not its 32 bytes becomes what is no hash, so that it is found like any other change.
    let hash = |at: usize| Ok::<Hash, Error>(bytes(at)?.try_into().unwrap_or([0; 32]));
    let at: Timestamptz = row.try_get(1).map_err(failure::error)?;
    let size: i32 = row.try_get(2).map_err(failure::error)?;
    let n = number(0)?.cast_unsigned();
    let checkpoint = Checkpoint {
        log: log.to_owned(),
        size: n.wrapping_add(1),
        rows: number(3)?.cast_unsigned(),
        at: at.0,
        root: hash(7)?,
    };
    let last = Place { xid: number(4)?, id: row.try_get(5).map_err(failure::error)? };
    let signed = Signed { checkpoint, key: PublicKey(hash(8)?), signature: bytes(9)?.to_vec() };
    // What is no day of any month, as `infinity`, has no digits: it is of no row.
    let month = row.try_get::<_, Option<&str>>(10).map_err(failure::error)?.unwrap_or_default();
    let month = month.strip_suffix("01AD").unwrap_or(month).to_owned();
    Ok(Seal { n, month, size: size.cast_unsigned(), last, root: hash(6)?, signed })
}

fn place(row: &Row) -> Result<Place, Error> {
    let id = row.try_get(0).map_err(failure::error)?;
    Ok(Place { xid: row.try_get(2).map_err(failure::error)?, id })
}

/// Runs `sql` on a connection that is held; rows come as they are found.
async fn stream(
    store: &Store,
    sql: &'static str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<(Object, RowStream), Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(sql).await.map_err(failure::error)?;
    let rows = connection.query_raw(&statement, values.iter().copied()).await;
    let rows = rows.map_err(failure::error)?;
    Ok((connection, rows))
}

/// Runs `sql` and gives each row to `each` as it comes.
async fn for_each(
    store: &Store,
    sql: &'static str,
    values: &[&(dyn ToSql + Sync)],
    mut each: impl FnMut(&Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let (_connection, rows) = stream(store, sql, values).await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await.map_err(failure::error)? {
        each(&row)?;
    }
    Ok(())
}

fn encode(row: &Row, out: &mut Vec<u8>) -> Result<(), Error> {
    (0..row.len()).try_for_each(|column| {
        push(out, raw(row, column)?);
        Ok(())
    })
}
