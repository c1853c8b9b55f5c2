//! The statements that write versions with their feed and ledger rows.
//!
//! All take the same parameters: those of a ledger statement, the bucket, what changes in the index,
//! and the versions, columns as arrays; last comes the epoch of the search parameters by which the rows
//! of the index were made: one of another epoch ends the statement (migration 6). The forms for one
//! version and one ledger row take the first of each array: half the work of `unnest` for the
//! database, and most writes are of this form while few clients write.

use crate::store::index::{indexed, put_index};
use crate::store::ledger::insert_ledger;

/// The versions `w`, with what the index says of each; behind them contained resources, which are no
/// versions: the index alone has them, and all columns of versions are null.
macro_rules! versions {
    (many) => {
        concat!(
            "WITH w AS (",
            indexed!(many
                ", $69::xid8[], $70::int[], $71::\"char\"[], $72::text[], $73::int[], $74::timestamptz[], \
                 $75::jsonb[], $76::jsonb[]"
                ", prior, vid, op, id, dh, lu, meta, body"
            ),
            "), "
        )
    };
    (one) => {
        concat!(
            "WITH w AS NOT MATERIALIZED (",
            indexed!(one
                ", ($69::xid8[])[1] AS prior, ($70::int[])[1] AS vid, ($71::\"char\"[])[1] AS op, \
                 ($72::text[])[1] AS id, ($73::int[])[1] AS dh, ($74::timestamptz[])[1] AS lu, \
                 ($75::jsonb[])[1] AS meta, ($76::jsonb[])[1] AS body"
            ),
            "), "
        )
    };
}

macro_rules! new_resources {
    () => {
        "idn AS (INSERT INTO ident (tid, rt, id, rid, dk, dh) \
         SELECT $1::int, rt, id, rid, $21::int, dh FROM w WHERE prior = '0'), \
         ins AS (INSERT INTO res (rid, lu, tid, dk, vid, rt, op, id, pats, meta, body) \
         SELECT rid, lu, $1::int, $21::int, vid, rt, op, id, pats, meta, body FROM w WHERE prior = '0'), "
    };
}

/// Versions that follow others. Rows are locked in the order of their keys; one row needs no order,
/// and the condition on its state finds the writer who was faster.
macro_rules! new_versions {
    (many) => {
        concat!(
            "locked AS MATERIALIZED (SELECT ", superseded!(), " FROM res r \
             WHERE r.rid IN (SELECT rid FROM w WHERE prior > '0') AND r.dk = $21 ORDER BY r.rid FOR UPDATE), \
             old AS (INSERT INTO hist (", hist_columns!(), ") \
             SELECT l.* FROM locked l JOIN w ON w.rid = l.rid AND w.prior = l.xid), ",
            "upd AS (UPDATE res r SET ", new_values!(), "FROM w JOIN locked l ON l.rid = w.rid AND l.xid = w.prior \
             WHERE r.rid = w.rid AND r.dk = $21 AND r.xid = w.prior RETURNING r.rid), "
        )
    };
    (one) => {
        concat!(
            "old AS (INSERT INTO hist (", hist_columns!(), ") SELECT ", superseded!(), " FROM res r \
             WHERE r.rid = ($22::bigint[])[1] AND r.dk = $21 AND r.xid = ($69::xid8[])[1]), ",
            "upd AS (UPDATE res r SET ", new_values!(), "FROM w \
             WHERE r.rid = ($22::bigint[])[1] AND r.dk = $21 AND r.xid = ($69::xid8[])[1] RETURNING r.rid), "
        )
    };
}

macro_rules! hist_columns {
    () => {
        "rid, lu, xid, tid, dk, vid, rt, op, id, pats, meta, body"
    };
}

macro_rules! superseded {
    () => {
        "r.rid, r.lu, r.xid, r.tid, r.dk, r.vid, r.rt, r.op, r.id, r.pats, r.meta, r.body"
    };
}

macro_rules! new_values {
    () => {
        "lu = w.lu, xid = pg_current_xact_id(), vid = w.vid, op = w.op, pats = w.pats, \
         meta = w.meta, body = w.body "
    };
}

macro_rules! records {
    ($count:ident) => {
        concat!(
            "fed AS (INSERT INTO feed (at, rid, dk, vid, rt, op) SELECT lu, rid, $21::int, vid, rt, op FROM w WHERE vid > 0), \
             led AS (",
            insert_ledger!($count),
            ") "
        )
    };
}

macro_rules! unless_raced {
    () => {
        "SELECT CASE WHEN (SELECT count(*) FROM upd) = (SELECT count(*) FROM w WHERE prior > '0') \
         THEN kiln_current($77) ELSE kiln_conflict() END"
    };
}

/// New resources only: nothing to lock, nothing to supersede.
pub(super) const CREATE: &str = concat!(
    versions!(many),
    new_resources!(),
    put_index!(new),
    records!(many),
    "SELECT kiln_current($77)"
);

/// One new resource.
pub(super) const CREATE_ONE: &str = concat!(
    versions!(one),
    new_resources!(),
    put_index!(new),
    records!(one),
    "SELECT kiln_current($77)"
);

/// New versions of resources only.
pub(super) const SUPERSEDE: &str = concat!(
    versions!(many),
    new_versions!(many),
    put_index!(changed),
    records!(many),
    unless_raced!()
);

/// A new version of one resource.
pub(super) const SUPERSEDE_ONE: &str = concat!(
    versions!(one),
    new_versions!(one),
    put_index!(changed),
    records!(one),
    unless_raced!()
);

/// The index alone, of versions that stay as they are.
pub(in crate::store) const INDEX: &str = concat!(
    "WITH w AS (",
    indexed!(many "" ""),
    "), ",
    put_index!(changed),
    "led AS (",
    insert_ledger!(many),
    ") SELECT kiln_current($69)"
);

/// New resources and new versions of resources.
pub(super) const WRITE: &str = concat!(
    versions!(many),
    new_versions!(many),
    new_resources!(),
    put_index!(changed),
    records!(many),
    unless_raced!()
);

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] =
    &[CREATE, CREATE_ONE, INDEX, SUPERSEDE, SUPERSEDE_ONE, WRITE];
