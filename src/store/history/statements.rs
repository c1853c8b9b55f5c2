//! The statements of histories.

use crate::store::resource::{keys_of, reached, version_reached};

/// What every statement selects of its table.
macro_rules! columns {
    ($table:literal) => {
        concat!(
            "SELECT ", $table, ".vid, ", $table, ".lu, ", $table, ".op, ", $table, ".meta, ",
            $table, ".body, ", $table, ".pats, ", $table, ".rid, ", $table, ".rt, ", $table, ".id"
        )
    };
}

/// The parts of the condition that all scopes share: reach ($4), _since ($5), _at ($6, $7). What is not
/// asked for lies at infinity, so that the times are conditions of an index whatever was asked.
///
/// A version was current from its own time to that of its successor; a deletion only at its moment.
macro_rules! matching {
    ("r") => {
        concat!(
            reached!("r", "$4"),
            " AND r.lu >= $5 AND r.lu < $7 AND (r.op <> 'D' OR r.lu >= $6)"
        )
    };
    ("h") => {
        concat!(
            version_reached!("h", "$4"),
            " AND h.lu >= $5 AND h.lu < $7 AND (h.lu >= $6 OR (h.op <> 'D' AND (\
             EXISTS (SELECT FROM hist n WHERE n.rid = h.rid AND n.vid = h.vid + 1 AND n.lu > $6) \
             OR EXISTS (SELECT FROM res n WHERE n.rid = h.rid AND n.vid = h.vid + 1 AND n.lu > $6))))"
        )
    };
}

/// $1 tenant, $2 type, $3 id, $8 version below (or, going back, above) which the page starts, $9 limit.
macro_rules! instance {
    ($beyond:literal, $order:literal) => {
        concat!(
            "WITH i AS (SELECT rid, dk FROM ident WHERE tid = $1 AND rt = $2 AND id = $3) (",
            columns!("r"),
            " FROM i JOIN res r ON r.rid = i.rid AND r.dk = i.dk WHERE r.vid ",
            $beyond,
            " $8 AND ",
            matching!("r"),
            ") UNION ALL (",
            columns!("h"),
            " FROM i JOIN hist h ON h.rid = i.rid AND h.dk = i.dk WHERE h.vid ",
            $beyond,
            " $8 AND ",
            matching!("h"),
            " ORDER BY h.vid ",
            $order,
            " LIMIT $9) ORDER BY 1 ",
            $order,
            " LIMIT $9"
        )
    };
}

pub(super) const INSTANCE: &str = instance!("<", "DESC");
pub(super) const INSTANCE_BACK: &str = instance!(">", "ASC");

pub(super) const INSTANCE_TOTAL: &str = concat!(
    "WITH i AS (SELECT rid, dk FROM ident WHERE tid = $1 AND rt = $2 AND id = $3) ",
    "SELECT count(*), (SELECT count(*) FROM i) FROM (",
    "SELECT FROM i JOIN res r ON r.rid = i.rid AND r.dk = i.dk WHERE ",
    matching!("r"),
    " UNION ALL SELECT FROM i JOIN hist h ON h.rid = i.rid AND h.dk = i.dk WHERE ",
    matching!("h"),
    ") v"
);

/// $1 tenant, $2 and $3 first and last type, $8 and $9 time and key below (or, going back, above) which
/// the page starts, $10 limit.
macro_rules! across {
    ($scope_r:expr, $scope_h:expr, $beyond:literal, $order:literal) => {
        concat!(
            "(",
            columns!("r"),
            " FROM res r WHERE r.tid = $1 AND ",
            $scope_r,
            " AND (r.lu, r.rid) ",
            $beyond,
            " ($8, $9) AND ",
            matching!("r"),
            " ORDER BY r.lu ",
            $order,
            ", r.rid ",
            $order,
            " LIMIT $10) UNION ALL (",
            columns!("h"),
            " FROM hist h WHERE h.tid = $1 AND ",
            $scope_h,
            " AND (h.lu, h.rid) ",
            $beyond,
            " ($8, $9) AND ",
            matching!("h"),
            " ORDER BY h.lu ",
            $order,
            ", h.rid ",
            $order,
            " LIMIT $10) ORDER BY 2 ",
            $order,
            ", 7 ",
            $order,
            " LIMIT $10"
        )
    };
}

macro_rules! across_total {
    ($scope_r:expr, $scope_h:expr) => {
        concat!(
            "SELECT count(*) FROM (SELECT FROM (SELECT FROM res r WHERE r.tid = $1 AND ",
            $scope_r,
            " AND ",
            matching!("r"),
            " UNION ALL SELECT FROM hist h WHERE h.tid = $1 AND ",
            $scope_h,
            " AND ",
            matching!("h"),
            ") v LIMIT $8) c"
        )
    };
}

pub(super) const TYPE: &str = across!("r.rt = $2 AND $3::smallint = 0", "h.rt = $2", "<", "DESC");
pub(super) const TYPE_BACK: &str =
    across!("r.rt = $2 AND $3::smallint = 0", "h.rt = $2", ">", "ASC");
pub(super) const TYPE_TOTAL: &str = across_total!("r.rt = $2 AND $3::smallint = 0", "h.rt = $2");
pub(super) const SYSTEM: &str = across!("$2::smallint = $3::smallint", "true", "<", "DESC");
pub(super) const SYSTEM_BACK: &str = across!("$2::smallint = $3::smallint", "true", ">", "ASC");
pub(super) const SYSTEM_TOTAL: &str = across_total!("$2::smallint = $3::smallint", "true");

/// The condition on a table that a List names its version, and that this is of the type $2 or, where that is 0,
/// of the system. The parameters are the keys of the resources, and the version of each, where it is meant alone.
macro_rules! named {
    ($table:literal, $rids:literal, $versions:literal) => {
        concat!(
            "($2::smallint = $3::smallint OR ",
            $table,
            ".rt = $2) AND ",
            $table,
            ".rid = ANY (",
            $rids,
            ") AND EXISTS (SELECT FROM unnest(",
            $rids,
            "::bigint[], ",
            $versions,
            "::int[]) m(rid, vid) \
             WHERE m.rid = ",
            $table,
            ".rid AND (m.vid IS NULL OR m.vid = ",
            $table,
            ".vid))"
        )
    };
}

/// The versions that a List names: $11 and $12.
macro_rules! listed {
    ($beyond:literal, $order:literal) => {
        across!(named!("r", "$11", "$12"), named!("h", "$11", "$12"), $beyond, $order)
    };
}

pub(super) const LISTED: &str = listed!("<", "DESC");
pub(super) const LISTED_BACK: &str = listed!(">", "ASC");
/// The same with $9 and $10.
pub(super) const LISTED_TOTAL: &str =
    across_total!(named!("r", "$9", "$10"), named!("h", "$9", "$10"));

/// $1 tenant, $2 types, $3 ids, $4 versions that are meant alone: the keys of what a List names.
pub(super) const MEMBERS: &str = concat!(
    "SELECT i.rid, m.vid FROM unnest($2::smallint[], $3::text[], $4::int[]) m(rt, id, vid) ",
    keys_of!("m", "id")
);

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[
    INSTANCE,
    INSTANCE_BACK,
    INSTANCE_TOTAL,
    LISTED,
    LISTED_BACK,
    LISTED_TOTAL,
    MEMBERS,
    SYSTEM,
    SYSTEM_BACK,
    SYSTEM_TOTAL,
    TYPE,
    TYPE_BACK,
    TYPE_TOTAL,
];
