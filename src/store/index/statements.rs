//! The parts of a writing statement that keep the index: `$22` to `$35` say for each resource `w`
//! what `srow` and `comp` hold, `$36` to `$55` are the rows that are added, `$56` to `$68` those
//! that are gone ([`super::IndexColumns::parameters`]). `$21` is the bucket.
//!
//! Arrays of a resource (`pats`, `toks`) are slices of one array for all: PostgreSQL has no arrays of
//! arrays of different lengths, and a literal for each would have to be read.

/// The columns `rid, rt, idh, s, hi, keys, ix, pats, present, marks, toks` of `w`; other arrays that are
/// aligned with them come through `more` as `name = array`.
macro_rules! indexed {
    (many $types:literal $names:literal) => {
        concat!(
            "SELECT x.*, ($34::bigint[])[p0:p1] AS pats, ($35::bigint[])[t0 - 1] AS present, \
             ($35::bigint[])[t0:t1] AS marks, \
             ($35::bigint[])[t0:t2] AS toks FROM unnest($22::bigint[], $23::smallint[], $24::bigint[], \
             $25::timestamptz[], $26::timestamptz[], $27::jsonb[], $28::\"char\"[], $29::int[], \
             $30::int[], $31::int[], $32::int[], $33::int[]",
            $types,
            ") AS x(rid, rt, idh, s, hi, keys, ix, p0, p1, t0, t1, t2",
            $names,
            ")"
        )
    };
    (one $more:literal) => {
        concat!(
            "SELECT ($22::bigint[])[1] AS rid, ($23::smallint[])[1] AS rt, ($24::bigint[])[1] AS idh, \
             ($25::timestamptz[])[1] AS s, ($26::timestamptz[])[1] AS hi, ($27::jsonb[])[1] AS keys, \
             ($28::\"char\"[])[1] AS ix, ($34::bigint[])[($29::int[])[1]:($30::int[])[1]] AS pats, \
             ($35::bigint[])[($31::int[])[1] - 1] AS present, \
             ($35::bigint[])[($31::int[])[1]:($32::int[])[1]] AS marks, \
             ($35::bigint[])[($31::int[])[1]:($33::int[])[1]] AS toks",
            $more
        )
    };
}

/// Adds rows; with `changed`, takes away what is gone too. Of a resource that is deleted no value stays, not
/// of search parameters either that are no more in force.
macro_rules! put_index {
    (new) => {
        concat!(
            put_index!(rows ""; ""; ""),
            // Types for the parameters that a new resource has no use for; never run.
            "unused AS (SELECT $56::bigint[], $57::bigint[], $58::timestamptz[], $59::bigint[], $60::bigint[], \
             $61::timestamptz[], $62::int[], $63::bigint[], $64::bigint[], $65::bigint[], $66::bigint[], $67::bigint[], $68::bigint[]), "
        )
    };
    (changed) => {
        concat!(
            put_index!(
                rows
                " ON CONFLICT (rid, dk) DO UPDATE SET rt = excluded.rt, idh = excluded.idh, \
                 s = excluded.s, hi = excluded.hi, present = excluded.present, toks = excluded.toks, \
                 keys = excluded.keys";
                " ON CONFLICT (pat, rt, s, rid, dk) DO UPDATE SET hi = excluded.hi, toks = excluded.toks";
                " ON CONFLICT DO NOTHING"
            ),
            "srd AS (DELETE FROM srow x USING w WHERE w.ix = 'D' AND x.rid = w.rid AND x.dk = $21), \
             cmd AS (DELETE FROM comp WHERE ctid = ANY (ARRAY(SELECT x.at \
             FROM unnest($56::bigint[], $57::bigint[], $58::timestamptz[]) AS g(pat, rid, s) \
             JOIN w ON w.rid = g.rid CROSS JOIN LATERAL (SELECT x.ctid AS at FROM comp x WHERE x.pat = g.pat \
             AND x.rt = w.rt AND x.s = g.s AND x.rid = g.rid AND x.dk = $21 OFFSET 0) x))), \
             tkd AS (DELETE FROM tok WHERE ctid = ANY (ARRAY(SELECT x.at \
             FROM unnest($59::bigint[], $60::bigint[], $61::timestamptz[], $62::int[]) AS g(rid, h, s, sysh) \
             CROSS JOIN LATERAL (SELECT x.ctid AS at FROM tok x WHERE x.h = g.h AND x.s = g.s \
             AND x.rid = g.rid AND x.dk = $21 AND x.sysh = g.sysh OFFSET 0) x))), \
             nmd AS (", put_index!(gone "num" "$63" "$64"), "), \
             dtd AS (", put_index!(gone "dat" "$65" "$66"), "), \
             std AS (", put_index!(gone "str" "$67" "$68"), "), "
        )
    };
    // Found row by row: joined freely, a table that was small at planning would be read through from then on.
    (gone $table:literal $rids:literal $hashes:literal) => {
        concat!(
            "DELETE FROM ", $table, " WHERE ctid = ANY (ARRAY(SELECT x.at FROM (SELECT * FROM unnest(",
            $rids, "::bigint[], ", $hashes, "::bigint[]) AS u(rid, h) \
             UNION ALL SELECT rid, NULL FROM w WHERE ix = 'D') g \
             CROSS JOIN LATERAL (SELECT x.ctid AS at FROM ", $table, " x \
             WHERE x.rid = g.rid AND (x.h = g.h OR g.h IS NULL) OFFSET 0) x))"
        )
    };
    (rows $summary:literal; $compartment:literal; $token:literal) => {
        concat!(
            "srw AS (INSERT INTO srow (rid, idh, s, hi, dk, rt, present, toks, keys) \
             SELECT rid, idh, s, hi, $21::int, rt, present, toks, keys FROM w WHERE ix = 'I'",
            $summary,
            "), cmp AS (INSERT INTO comp (pat, rt, s, rid, dk, hi, toks) \
             SELECT p, w.rt, w.s, w.rid, $21::int, w.hi, \
             CASE WHEN cardinality(w.marks) > 250 THEN '{}' ELSE w.marks END \
             FROM w, unnest(w.pats) p WHERE w.ix = 'I'",
            $compartment,
            "), tkn AS (INSERT INTO tok (rid, h, s, sysh, dk) \
             SELECT x.*, $21::int FROM unnest($36::bigint[], $37::bigint[], $38::timestamptz[], $39::int[]) x",
            $token,
            "), nmb AS (INSERT INTO num (rid, h, y, u, n, lo, hi, dk) \
             SELECT rid, h, y, u, n, lo::numeric, hi::numeric, $21::int FROM unnest($40::bigint[], \
             $41::bigint[], $42::int[], $43::int[], $44::int[], $45::text[], $46::text[]) \
             AS x(rid, h, y, u, n, lo, hi)), \
             dtt AS (INSERT INTO dat (rid, h, lo, hi, dk) SELECT x.*, $21::int FROM unnest($47::bigint[], \
             $48::bigint[], $49::timestamptz[], $50::timestamptz[]) x), \
             stt AS (INSERT INTO str (rid, h, v, exact, whole, dk) SELECT x.*, $21::int FROM \
             unnest($51::bigint[], $52::bigint[], $53::text[], $54::text[], $55::text[]) x), "
        )
    };
}

pub(in crate::store) use {indexed, put_index};
