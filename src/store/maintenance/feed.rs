//! The change feed: what became of which resource, in an order in which nothing is overlooked.
//!
//! Transactions commit in another order than they begin, so a reader goes by (transaction, row)
//! and only as far as every transaction has ended: up to the horizon.

use crate::error::Error;
use crate::fhir::{Instant, ResourceType};

use super::super::{Store, failure};

const HORIZON: &str = "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint \
     FROM pg_current_snapshot() s";

const CHANGES: &str = "SELECT xid::text::bigint, seq, rid, rt, \
     (extract(epoch FROM at) * 1000000)::bigint FROM feed \
     WHERE (xid, seq) > ($1::bigint::text::xid8, $2) AND xid < $3::bigint::text::xid8 \
     ORDER BY xid, seq LIMIT $4";

const FIRST: &str = "SELECT xid::text::bigint, seq FROM feed ORDER BY xid, seq LIMIT 1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[HORIZON, CHANGES, FIRST];

/// A place in the feed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FeedPosition {
    /// The transaction.
    pub xid: u64,
    /// The row.
    pub seq: i64,
}

/// A change.
#[derive(Clone, Copy, Debug)]
pub struct FeedRow {
    /// Its place.
    pub position: FeedPosition,
    /// The key of what changed.
    pub key: i64,
    /// Its type; `None` for one of another version of this program.
    pub resource_type: Option<ResourceType>,
    /// When.
    pub at: Instant,
}

/// Which transactions have ended.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// All before this one.
    pub ended: u64,
    /// All that committed so far are before this one.
    pub next: u64,
}

/// The horizon of this moment.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn horizon(store: &Store) -> Result<Horizon, Error> {
    let (ended, next): (i64, i64) =
        sqlx::query_as(HORIZON).fetch_one(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(Horizon { ended: ended.cast_unsigned(), next: next.cast_unsigned() })
}

/// At most `limit` changes after `after` of transactions before `below`, in the feed's order.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn changes(
    store: &Store,
    after: FeedPosition,
    below: u64,
    limit: u32,
) -> Result<Vec<FeedRow>, Error> {
    let rows: Vec<(i64, i64, i64, i16, i64)> = sqlx::query_as(CHANGES)
        .bind(after.xid.cast_signed())
        .bind(after.seq)
        .bind(below.cast_signed())
        .bind(i64::from(limit))
        .fetch_all(&store.0.admin)
        .await
        .map_err(failure::sqlx_error)?;
    let change = |(xid, seq, key, rt, at): (i64, i64, i64, i16, i64)| FeedRow {
        position: FeedPosition { xid: xid.cast_unsigned(), seq },
        key,
        resource_type: ResourceType::from_code(rt),
        at: Instant::from_micros(at),
    };
    Ok(rows.into_iter().map(change).collect())
}

/// The oldest change that is kept.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn first_change(store: &Store) -> Result<Option<FeedPosition>, Error> {
    let first: Option<(i64, i64)> =
        sqlx::query_as(FIRST).fetch_optional(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(first.map(|(xid, seq)| FeedPosition { xid: xid.cast_unsigned(), seq }))
}
