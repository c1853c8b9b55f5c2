//! The parts of a writing statement that keep the index: `$19` to `$32` say for each resource `w`
//! what `srow` and `comp` hold, `$33` to `$52` are the rows that are added, `$53` to `$65` those
//! that are gone ([`super::IndexColumns::parameters`]). `$18` is the bucket.
//!
//! Arrays of a resource (`pats`, `toks`) are slices of one array for all: PostgreSQL has no arrays of
//! arrays of different lengths, and a literal for each would have to be read.

/// The columns `rid, rt, idh, s, hi, keys, ix, pats, marks, toks` of `w`; other arrays that are
/// aligned with them come through `more` as `name = array`.
macro_rules! indexed {
    (many $types:literal $names:literal) => {
        concat!(
            "SELECT x.*, ($31::bigint[])[p0:p1] AS pats, ($32::bigint[])[t0:t1] AS marks, \
             ($32::bigint[])[t0:t2] AS toks FROM unnest($19::bigint[], $20::smallint[], $21::bigint[], \
             $22::timestamptz[], $23::timestamptz[], $24::jsonb[], $25::\"char\"[], $26::int[], \
             $27::int[], $28::int[], $29::int[], $30::int[]",
            $types,
            ") AS x(rid, rt, idh, s, hi, keys, ix, p0, p1, t0, t1, t2",
            $names,
            ")"
        )
    };
    (one $more:literal) => {
        concat!(
            "SELECT ($19::bigint[])[1] AS rid, ($20::smallint[])[1] AS rt, ($21::bigint[])[1] AS idh, \
             ($22::timestamptz[])[1] AS s, ($23::timestamptz[])[1] AS hi, ($24::jsonb[])[1] AS keys, \
             ($25::\"char\"[])[1] AS ix, ($31::bigint[])[($26::int[])[1]:($27::int[])[1]] AS pats, \
             ($32::bigint[])[($28::int[])[1]:($29::int[])[1]] AS marks, \
             ($32::bigint[])[($28::int[])[1]:($30::int[])[1]] AS toks",
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
            "unused AS (SELECT $53::bigint[], $54::bigint[], $55::timestamptz[], $56::bigint[], $57::bigint[], \
             $58::timestamptz[], $59::int[], $60::bigint[], $61::bigint[], $62::bigint[], $63::bigint[], $64::bigint[], $65::bigint[]), "
        )
    };
    (changed) => {
        concat!(
            put_index!(
                rows
                " ON CONFLICT (rid, dk) DO UPDATE SET rt = excluded.rt, idh = excluded.idh, \
                 s = excluded.s, hi = excluded.hi, toks = excluded.toks, keys = excluded.keys";
                " ON CONFLICT (pat, rt, s, rid, dk) DO UPDATE SET hi = excluded.hi, toks = excluded.toks";
                " ON CONFLICT DO NOTHING"
            ),
            "srd AS (DELETE FROM srow x USING w WHERE w.ix = 'D' AND x.rid = w.rid AND x.dk = $18), \
             cmd AS (DELETE FROM comp x USING unnest($53::bigint[], $54::bigint[], $55::timestamptz[]) \
             AS g(pat, rid, s) JOIN w ON w.rid = g.rid WHERE x.pat = g.pat AND x.rt = w.rt AND x.s = g.s \
             AND x.rid = g.rid AND x.dk = $18), \
             tkd AS (DELETE FROM tok x USING unnest($56::bigint[], $57::bigint[], $58::timestamptz[], $59::int[]) \
             AS g(rid, h, s, sysh) WHERE x.h = g.h AND x.s = g.s AND x.rid = g.rid AND x.dk = $18 \
             AND x.sysh = g.sysh), \
             nmd AS (DELETE FROM num x USING (SELECT * FROM unnest($60::bigint[], $61::bigint[]) AS u(rid, h) \
             UNION ALL SELECT rid, NULL FROM w WHERE ix = 'D') g \
             WHERE x.rid = g.rid AND (x.h = g.h OR g.h IS NULL)), \
             dtd AS (DELETE FROM dat x USING (SELECT * FROM unnest($62::bigint[], $63::bigint[]) AS u(rid, h) \
             UNION ALL SELECT rid, NULL FROM w WHERE ix = 'D') g \
             WHERE x.rid = g.rid AND (x.h = g.h OR g.h IS NULL)), \
             std AS (DELETE FROM str x USING (SELECT * FROM unnest($64::bigint[], $65::bigint[]) AS u(rid, h) \
             UNION ALL SELECT rid, NULL FROM w WHERE ix = 'D') g \
             WHERE x.rid = g.rid AND (x.h = g.h OR g.h IS NULL)), "
        )
    };
    (rows $summary:literal; $compartment:literal; $token:literal) => {
        concat!(
            "srw AS (INSERT INTO srow (rid, idh, s, hi, dk, rt, toks, keys) \
             SELECT rid, idh, s, hi, $18::int, rt, toks, keys FROM w WHERE ix = 'I'",
            $summary,
            "), cmp AS (INSERT INTO comp (pat, rt, s, rid, dk, hi, toks) \
             SELECT p, w.rt, w.s, w.rid, $18::int, w.hi, \
             CASE WHEN cardinality(w.marks) > 250 THEN '{}' ELSE w.marks END \
             FROM w, unnest(w.pats) p WHERE w.ix = 'I'",
            $compartment,
            "), tkn AS (INSERT INTO tok (rid, h, s, sysh, dk) \
             SELECT x.*, $18::int FROM unnest($33::bigint[], $34::bigint[], $35::timestamptz[], $36::int[]) x",
            $token,
            "), nmb AS (INSERT INTO num (rid, h, y, u, n, lo, hi, dk) \
             SELECT rid, h, y, u, n, lo::numeric, hi::numeric, $18::int FROM unnest($37::bigint[], \
             $38::bigint[], $39::int[], $40::int[], $41::int[], $42::text[], $43::text[]) \
             AS x(rid, h, y, u, n, lo, hi)), \
             dtt AS (INSERT INTO dat (rid, h, lo, hi, dk) SELECT x.*, $18::int FROM unnest($44::bigint[], \
             $45::bigint[], $46::timestamptz[], $47::timestamptz[]) x), \
             stt AS (INSERT INTO str (rid, h, v, exact, whole, dk) SELECT x.*, $18::int FROM \
             unnest($48::bigint[], $49::bigint[], $50::text[], $51::text[], $52::text[]) x), "
        )
    };
}

pub(in crate::store) use {indexed, put_index};
