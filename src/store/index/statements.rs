//! The parts of a writing statement that keep the index: `$19` to `$28` say for each resource `w`
//! what `srow` and `comp` hold, `$29` to `$48` are the rows that are added, `$49` to `$61` those
//! that are gone ([`super::IndexColumns::parameters`]). `$18` is the bucket.

/// The columns `rid, rt, pats, idh, s, hi, toks, signs, keys, ix` of `w`.
macro_rules! index_arrays {
    (many) => {
        "$19::bigint[], $20::smallint[], $21::text[], $22::bigint[], $23::timestamptz[], \
         $24::timestamptz[], $25::text[], $26::text[], $27::jsonb[], $28::\"char\"[]"
    };
    (one) => {
        "($19::bigint[])[1] AS rid, ($20::smallint[])[1] AS rt, ($21::text[])[1] AS pats, \
         ($22::bigint[])[1] AS idh, ($23::timestamptz[])[1] AS s, ($24::timestamptz[])[1] AS hi, \
         ($25::text[])[1] AS toks, ($26::text[])[1] AS signs, ($27::jsonb[])[1] AS keys, ($28::\"char\"[])[1] AS ix"
    };
}

/// Adds rows; with `changed`, takes away what is gone too.
macro_rules! put_index {
    (new) => {
        concat!(
            put_index!(rows ""; ""; ""),
            // Types for the parameters that a new resource has no use for; never run.
            "unused AS (SELECT $49::bigint[], $50::bigint[], $51::timestamptz[], $52::bigint[], $53::bigint[], \
             $54::timestamptz[], $55::int[], $56::bigint[], $57::bigint[], $58::bigint[], $59::bigint[], $60::bigint[], $61::bigint[]), "
        )
    };
    (changed) => {
        concat!(
            put_index!(
                rows
                " ON CONFLICT (rid, dk) DO UPDATE SET s = excluded.s, hi = excluded.hi, \
                 toks = excluded.toks, keys = excluded.keys";
                " ON CONFLICT (pat, rt, s, rid, dk) DO UPDATE SET hi = excluded.hi, toks = excluded.toks";
                " ON CONFLICT DO NOTHING"
            ),
            "srd AS (DELETE FROM srow x USING w WHERE w.ix = 'D' AND x.rid = w.rid AND x.dk = $18), \
             cmd AS (DELETE FROM comp x USING unnest($49::bigint[], $50::bigint[], $51::timestamptz[]) \
             AS g(pat, rid, s) JOIN w ON w.rid = g.rid WHERE x.pat = g.pat AND x.rt = w.rt AND x.s = g.s \
             AND x.rid = g.rid AND x.dk = $18), \
             tkd AS (DELETE FROM tok x USING unnest($52::bigint[], $53::bigint[], $54::timestamptz[], $55::int[]) \
             AS g(rid, h, s, sysh) WHERE x.h = g.h AND x.s = g.s AND x.rid = g.rid AND x.dk = $18 \
             AND x.sysh = g.sysh), \
             nmd AS (DELETE FROM num x USING unnest($56::bigint[], $57::bigint[]) AS g(rid, h) \
             WHERE x.rid = g.rid AND x.h = g.h), \
             dtd AS (DELETE FROM dat x USING unnest($58::bigint[], $59::bigint[]) AS g(rid, h) \
             WHERE x.rid = g.rid AND x.h = g.h), \
             std AS (DELETE FROM str x USING unnest($60::bigint[], $61::bigint[]) AS g(rid, h) \
             WHERE x.rid = g.rid AND x.h = g.h), "
        )
    };
    (rows $summary:literal; $compartment:literal; $token:literal) => {
        concat!(
            "srw AS (INSERT INTO srow (rid, idh, s, hi, dk, rt, toks, keys) \
             SELECT rid, idh, s, hi, $18::int, rt, toks::bigint[] || signs::bigint[], keys FROM w WHERE ix = 'I'",
            $summary,
            "), cmp AS (INSERT INTO comp (pat, rt, s, rid, dk, hi, toks) \
             SELECT p, w.rt, w.s, w.rid, $18::int, w.hi, \
             CASE WHEN cardinality(w.toks::bigint[]) > 250 THEN '{}' ELSE w.toks::bigint[] END \
             FROM w, unnest(w.pats::bigint[]) p WHERE w.ix = 'I'",
            $compartment,
            "), tkn AS (INSERT INTO tok (rid, h, s, sysh, dk) \
             SELECT x.*, $18::int FROM unnest($29::bigint[], $30::bigint[], $31::timestamptz[], $32::int[]) x",
            $token,
            "), nmb AS (INSERT INTO num (rid, h, y, u, n, lo, hi, dk) \
             SELECT rid, h, y, u, n, lo::numeric, hi::numeric, $18::int FROM unnest($33::bigint[], \
             $34::bigint[], $35::int[], $36::int[], $37::int[], $38::text[], $39::text[]) \
             AS x(rid, h, y, u, n, lo, hi)), \
             dtt AS (INSERT INTO dat (rid, h, lo, hi, dk) SELECT x.*, $18::int FROM unnest($40::bigint[], \
             $41::bigint[], $42::timestamptz[], $43::timestamptz[]) x), \
             stt AS (INSERT INTO str (rid, h, v, exact, whole, dk) SELECT x.*, $18::int FROM \
             unnest($44::bigint[], $45::bigint[], $46::text[], $47::text[], $48::text[]) x), "
        )
    };
}

pub(in crate::store) use {index_arrays, put_index};
