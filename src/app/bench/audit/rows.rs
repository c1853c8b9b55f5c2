//! Rows of the ledger that nobody caused: a month of reads, searches and writes by 500 users with 20 apps,
//! about 20,000 patients of whom few are seen often.

use super::super::BenchError;
use super::super::floor::Floor;
use super::failed;
use crate::app::database::Database;
use crate::config::Config;
use crate::fhir::LogicalId;

/// Patients that rows are about.
const PATIENTS: usize = 20_000;
const USERS: usize = 500;
/// When the month begins, in milliseconds, and the days of it to search by.
const FROM_MS: u64 = 1_767_225_600_000;
const DAYS: usize = 28;

/// What the rows are about.
pub(super) struct Made {
    /// Logical ids of patients.
    pub(super) patients: Vec<String>,
    /// Names of users.
    pub(super) users: Vec<String>,
    /// Dates.
    pub(super) days: Vec<String>,
}

/// Makes rows until there are so many.
pub(super) async fn make(floor: &Floor, config: &Config, wanted: u64) -> Result<Made, BenchError> {
    let database = Database::open(config, true).await.map_err(failed)?;
    let hasher = database.store.hasher();
    let mut names = Vec::with_capacity(PATIENTS);
    for number in 0..PATIENTS {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        let hash = hasher.patient(&id.parse::<LogicalId>().map_err(failed)?);
        names.push((id, hash));
    }
    database.close().await;
    let known: u64 = floor.sql(COUNT).await?.trim().parse().map_err(failed)?;
    if known < wanted {
        let values: Vec<String> =
            names.iter().map(|(id, hash)| format!("('{id}',{hash})")).collect();
        let sql = ROWS
            .replace(":patients", &values.join(","))
            .replace(":first", &known.to_string())
            .replace(":wanted", &wanted.to_string())
            .replace(":from", &FROM_MS.to_string());
        floor.sql(&sql).await?;
    }
    let day = |day: usize| format!("2026-01-{:02}", day + 1);
    Ok(Made {
        patients: names.into_iter().map(|(id, _)| id).collect(),
        users: (0..USERS).map(|number| format!("bench{number}")).collect(),
        days: (0..DAYS).map(day).collect(),
    })
}

/// How many bytes a row takes, and where they are, a line each.
pub(super) async fn sizes(floor: &Floor) -> Result<Vec<String>, BenchError> {
    let told = floor.sql(SIZES).await?;
    Ok(told.lines().map(str::to_owned).collect())
}

const COUNT: &str = "SELECT count(*) FROM ledger WHERE request_id LIKE 'kiln-bench-%';";

const ROWS: &str = "CREATE TEMP TABLE whose (n int GENERATED ALWAYS AS IDENTITY, id text, hash bigint);
INSERT INTO whose (id, hash) VALUES :patients;
CREATE UNIQUE INDEX ON whose (n);
INSERT INTO patient_name (hash, id) SELECT hash, id FROM whose ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS ledger_202601 PARTITION OF ledger
  FOR VALUES FROM ('2026-01-01+00') TO ('2026-02-01+00');
CREATE TABLE IF NOT EXISTS seal_rows_202601 PARTITION OF seal_rows
  FOR VALUES FROM ('2026-01-01+00') TO ('2026-02-01+00');
INSERT INTO ledger (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, actor, client, token,
  source, request_id, method, query, pats, entities, person, purpose)
SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid,
  to_timestamp(ms / 1000.0),
  (lpad(to_hex(ms), 12, '0') || '7' || substr(h, 18, 3) || '8' || substr(h, 15, 15))::uuid,
  0, CASE WHEN k < 65 THEN 12 WHEN k < 85 THEN 17 WHEN k < 95 THEN 14 ELSE 3 END, 0,
  CASE WHEN k < 85 AND k >= 65 THEN 96 ELSE 103 END,
  CASE WHEN k < 85 AND k >= 65 THEN NULL ELSE 1 END,
  CASE WHEN k < 85 AND k >= 65 THEN NULL ELSE w.id END,
  'user:bench' || u, 'app-' || u % 20, md5('t' || u || '-' || i / 20000)::uuid::text,
  '10.0.' || u / 250 || '.' || u % 250, 'kiln-bench-' || substr(h, 1, 25),
  CASE WHEN k < 85 THEN 'GET' WHEN k < 95 THEN 'PUT' ELSE 'POST' END,
  CASE WHEN k < 85 AND k >= 65 THEN '/fhir/Observation?patient=' || w.id || '&code=8480-6'
    ELSE '/fhir/Patient/' || w.id END,
  ARRAY[w.hash], '{}', 'Practitioner/' || md5('u' || u)::uuid, CASE WHEN u % 2 = 0 THEN 'TREAT' END
FROM (SELECT i, :from::bigint + i::bigint * 2419200000 / :wanted AS ms, md5(i || 'kiln') AS h,
    i * 31 % 500 AS u, i * 17 % 100 AS k,
    1 + (power((i * 7919 % 100003) / 100003.0, 2) * 19999)::int AS p
  FROM generate_series(:first::bigint + 1, :wanted::bigint) AS s (i)) AS g
JOIN whose w ON w.n = g.p
ORDER BY i;
VACUUM ANALYZE ledger;
";

const SIZES: &str = "WITH part AS (
  SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = 'ledger'::regclass),
counted AS (
  SELECT greatest(count(*), 1) AS rows, avg(octet_length(query))::numeric AS query,
    avg(8 * cardinality(pats))::numeric AS pats FROM ledger),
heap AS (SELECT sum(pg_table_size(oid)) AS bytes FROM part),
of_index AS (
  SELECT regexp_replace(x.relname, '^ledger_([0-9]{6}|default)_', '') AS name,
    sum(pg_relation_size(x.oid)) AS bytes
  FROM part JOIN pg_index i ON i.indrelid = part.oid JOIN pg_class x ON x.oid = i.indexrelid GROUP BY 1)
SELECT format('ledger: %s rows, %s bytes a row with indexes (at most 220 and %s of query and patients)',
  rows, round((heap.bytes + (SELECT sum(bytes) FROM of_index)) / rows, 1), round(query + pats, 1))
  || CASE WHEN (heap.bytes + (SELECT sum(bytes) FROM of_index)) / rows > 220 + query + pats
     THEN ' !' ELSE '' END
FROM counted, heap
UNION ALL SELECT format('of that the table: %s', round(heap.bytes / rows, 1)) FROM counted, heap
UNION ALL SELECT format('of that %s: %s', name, round(of_index.bytes / rows, 1))
  FROM counted, of_index;
";
