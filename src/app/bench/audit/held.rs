//! What the ledger holds: what a row weighs, how soon events are found among many, and how fast they are
//! compared with their seal.

use std::time::{Duration, Instant};

use super::super::connection::Connection;
use super::super::figures::{Bound, Figure};
use super::super::load::{Interaction, Notes};
use super::super::{Bench, BenchError, Only, Origin};
use super::{waits, who};
use crate::app::audit::folder::Folder;
use crate::app::audit::sealer::log_name;
use crate::app::audit::verify::{Outside, verify};
use crate::app::database::Database;
use crate::config::Config;
use crate::error::{Error, root_cause};
use crate::store::{Store, maintenance};

/// Its parts for `--only`.
pub(super) const SEAL: &str = "seal";
pub(super) const SEARCH: &str = "search";
pub(super) const WHO: &str = "who";
/// What a row may weigh on the disk with its part of the indexes, beside its query and eight bytes a patient. What the
/// seal keeps of each, its id and its hash (48 bytes), is neither of the row nor of an index but the evidence of it: it
/// is told by itself, and the row with it beside the same number, marked and not refused where that is more.
const ROW_BYTES: f64 = 220.0;
/// How long a search of events may take.
const SEARCH_MS: f64 = 20.0;
/// Searches of each kind.
const SEARCHES: usize = 40;
/// Users that rows are of.
pub(super) const USERS: u64 = 2_000;
/// Rows that are copied again and again.
const COPIED: u64 = 10_000;
/// Rows that have to be compared with their seal in a second.
const COMPARED: f64 = 200_000.0;
/// How long the server may seal nothing before it is taken to seal no more.
const STILL: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Number of rows, bytes of the table, of its indexes, of queries, and eight for each patient.
const WEIGHT: &str = "SELECT count(*), (SELECT sum(pg_table_size(inhrelid)) FROM pg_inherits WHERE \
     inhparent = 'ledger_row'::regclass), (SELECT sum(pg_indexes_size(inhrelid)) FROM pg_inherits WHERE \
     inhparent = 'ledger_row'::regclass), sum(octet_length(query)), sum(8 * cardinality(pats)) FROM ledger";

/// Rows that are sealed, and the bytes of the seal with its indexes.
const SEAL_WEIGHT: &str = "SELECT coalesce((SELECT sum(size) FROM seal), 0), pg_total_relation_size('seal') + \
     (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'seal_rows'::regclass)";

/// Days that have events, at random.
const DAYS: &str = "SELECT 'date=' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD') FROM ledger_row \
     ORDER BY random() LIMIT";

pub(super) async fn run(
    bench: &mut Bench,
    paths: &[String],
    only: &Only,
    settings: (&Config, &Origin),
) -> Result<(), BenchError> {
    let (_, each) = weigh(bench, "as they are").await?;
    weigh_seal(bench, each, "as they are").await?;
    fill(bench).await?;
    let (rows, each) = weigh(bench, "filled up").await?;
    if only.wants(SEAL) {
        Box::pin(compare(bench, rows, settings.0)).await?;
    }
    weigh_seal(bench, each, "filled up").await?;
    if only.wants(SEARCH) {
        search(bench, paths, waits(settings.0.audit.reads)).await?;
    }
    if only.wants(WHO) {
        Box::pin(who::run(bench, paths, settings)).await?;
    }
    Ok(())
}

async fn sql(bench: &Bench, text: &str) -> Result<String, BenchError> {
    match &bench.floor {
        Some(floor) => floor.sql(text).await,
        None => Ok(String::new()),
    }
}

/// The numbers of a line that psql prints.
fn numbers(text: &str) -> Vec<f64> {
    text.trim().split('|').filter_map(|number| number.parse().ok()).collect()
}

/// Says what a row weighs; how many there are, and that.
async fn weigh(bench: &mut Bench, when: &str) -> Result<(f64, f64), BenchError> {
    let text = sql(bench, &format!("VACUUM ANALYZE ledger_row; {WEIGHT};")).await?;
    let [rows, table, indexes, queries, patients] = numbers(&text)[..] else {
        return Err(BenchError::Arguments("--database: the ledger is empty".to_owned()));
    };
    bench.report.note(format!(
        "{rows} rows {when}: {:.0} bytes a row and {:.0} of indexes",
        table / rows,
        indexes / rows
    ));
    let rest = (table + indexes - queries - patients) / rows;
    let what = format!("a row beside its query and patients, {when}");
    bench.report.bind(Figure::new(what, rest, "bytes", Bound::AtMost(ROW_BYTES)));
    Ok((rows, rest))
}

/// Says what a row of `each` bytes weighs with what the seal keeps of it, as far as rows are sealed.
async fn weigh_seal(bench: &mut Bench, each: f64, when: &str) -> Result<(), BenchError> {
    let text = sql(bench, &format!("{SEAL_WEIGHT};")).await?;
    let [sealed, bytes] = numbers(&text)[..] else {
        return Err(BenchError::Arguments("--database: there is no seal".to_owned()));
    };
    if sealed < 1.0 {
        bench.report.note(format!("no row is sealed {when}: the seal was not weighed"));
        return Ok(());
    }
    let seal = bytes / sealed;
    bench.report.note(format!("{sealed} sealed rows {when}: {seal:.0} bytes of the seal for each"));
    let what = format!("the same with its id and hash in the seal, {when}");
    bench.report.figure(Figure::new(what, each + seal, "bytes", Bound::AtMost(ROW_BYTES)));
    Ok(())
}

/// Fills the ledger up with copies of its newest rows, of many users, a second apart and up to yesterday. A
/// thousand are a transaction: the ledger's order goes by transactions. Their months have partitions, as they have
/// in a ledger that has grown, unless rows of them are where those without one go.
async fn fill(bench: &Bench) -> Result<(), BenchError> {
    let rows = bench.args.rows;
    let copy = format!(
        "DO $$ DECLARE month date; parent text; BEGIN \
         FOR month IN SELECT generate_series(date_trunc('month', now() - interval '2 days' - {rows} * \
         interval '1 second'), now(), interval '1 month') LOOP \
         FOREACH parent IN ARRAY ARRAY['ledger_row', 'seal_rows'] LOOP \
         BEGIN PERFORM kiln_make_partition(parent, month); EXCEPTION WHEN check_violation THEN NULL; END; \
         END LOOP; END LOOP; END $$; \
         CREATE TEMP TABLE copied AS SELECT row_number() OVER () AS place, l.* \
         FROM (SELECT * FROM ledger_row ORDER BY at DESC LIMIT {COPIED}) l; \
         ALTER TABLE copied ADD PRIMARY KEY (place); ANALYZE copied; \
         CREATE TEMP TABLE users AS SELECT n, kiln_party('user:bench' || n, 'bench', 'Practitioner/bench', \
         'TREAT', '192.0.2.1', 'GET') AS party FROM generate_series(0, {USERS}) n; \
         ALTER TABLE users ADD PRIMARY KEY (n); ANALYZE users; \
         DO $$ DECLARE \
         known bigint := (SELECT count(*) FROM ledger_row); has bigint := (SELECT count(*) FROM copied); \
         BEGIN FOR chunk IN known..{rows} BY 1000 LOOP \
         INSERT INTO ledger_row (id, at, tid, interaction, outcome, rt, vid, subject, logical_id, party, token_id, \
         request, query, failure, pat, pats, entities) \
         SELECT (substr(h, 1, 8) || '-' || substr(h, 9) || substr(gen_random_uuid()::text, 14))::uuid, t, \
         tid, interaction, outcome, rt, vid, subject, logical_id, u.party, gen_random_uuid(), \
         gen_random_uuid(), query, failure, pat, pats, entities \
         FROM (SELECT n, floor(power(random(), 3) * {USERS})::int AS one, \
         now() - interval '1 day' - ({rows} - n) * interval '1 second' AS t \
         FROM generate_series(chunk, least(chunk + 999, {rows})) n) s \
         CROSS JOIN LATERAL \
         (SELECT lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') AS h) x \
         JOIN users u ON u.n = s.one \
         JOIN copied l ON l.place = 1 + s.n % has; \
         COMMIT; END LOOP; END $$;"
    );
    sql(bench, &copy).await.map(drop)
}

/// Compares the ledger with its seal, once the server has sealed it.
async fn compare(bench: &mut Bench, rows: f64, config: &Config) -> Result<(), BenchError> {
    let folder = Folder::of(config);
    let outside = Outside {
        trusted: folder.trusted().map_err(failed)?,
        checkpoints: folder.checkpoints().map_err(failed)?,
    };
    let database = Database::open(config, true).await.map_err(failed)?;
    let compared = compared(&database.store, &outside).await;
    database.close().await;
    let (compared, seconds) = compared.map_err(failed)?;
    // Rows come in all the time; but far fewer are another ledger, or one that nobody seals.
    if compared < rows * 0.99 {
        return Err(BenchError::Ledger(format!(
            "{compared} rows are sealed where the settings lead, and {rows} are in --database"
        )));
    }
    let rate = compared / seconds.max(0.001);
    let what = format!("{compared} rows compared with their seal, a second");
    bench.report.bind(Figure::new(what, rate, "rows", Bound::AtLeast(COMPARED)));
    Ok(())
}

/// How many rows are as they were sealed, and the seconds that it took to tell.
async fn compared(store: &Store, outside: &Outside) -> Result<(f64, f64), Error> {
    let log = log_name(store);
    until_sealed(store, &log).await?;
    let began = Instant::now();
    let report = verify(store, &log, outside, 0, |_| ()).await?;
    match report.finding {
        Some(finding) => Err(Error::internal(format!("not as sealed: {finding}"))),
        None => Ok((report.rows as f64, began.elapsed().as_secs_f64())),
    }
}

fn failed(error: impl std::error::Error + 'static) -> BenchError {
    BenchError::Ledger(root_cause(&error))
}

/// Waits until nothing but the newest rows is left to be sealed, or nothing more is.
async fn until_sealed(store: &Store, log: &str) -> Result<(), Error> {
    let (mut known, mut since) = (None, Instant::now());
    while since.elapsed() < STILL {
        let last = maintenance::last_seal(store, log).await?.map(|seal| seal.last);
        if let Some(last) = last.filter(|_| last == known) {
            let (waiting, _) = maintenance::unsealed(store, last).await?;
            if waiting == 0 {
                return Ok(());
            }
        }
        if last != known {
            (known, since) = (last, Instant::now());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Searches for events by patient, by user and by date.
async fn search(bench: &mut Bench, paths: &[String], waits: &str) -> Result<(), BenchError> {
    let patients = paths.iter().filter(|path| path.starts_with("/Patient/")).take(SEARCHES);
    let days = sql(bench, &format!("{DAYS} {SEARCHES};")).await?;
    let kinds = [
        ("patient", patients.map(|path| format!("patient={}", &path[1..])).collect::<Vec<_>>()),
        ("user", (0..SEARCHES).map(|at| format!("altid=user:bench{}", at * at)).collect()),
        ("date", days.lines().map(str::to_owned).collect()),
    ];
    let mut connection = Connection::new(&bench.target);
    for (kind, queries) in kinds {
        let Some(first) = queries.first() else {
            return Err(BenchError::Refused(format!("there is no {kind} to search events by")));
        };
        let (mut before, mut notes) = (Notes::default(), Notes::default());
        let mut longest = Duration::ZERO;
        // By the first one a connection of the database learns of the tables and their indexes: it is told apart.
        for (at, query) in [first].into_iter().chain(&queries).enumerate() {
            let started = Instant::now();
            let path = format!("/AuditEvent?{query}&_count=50");
            let answer = connection.send("GET", &path, None).await;
            let notes = if at == 0 { &mut before } else { &mut notes };
            notes.note(Interaction::Search, started, &answer);
            if at > 0 {
                longest = longest.max(started.elapsed());
            }
        }
        if let Some(reason) = before.first_failure.as_ref().or(notes.first_failure.as_ref()) {
            return Err(BenchError::Refused(format!("a search of events by {kind}: {reason}")));
        }
        let [p50, p95, _] = notes.percentiles(None);
        for (what, value) in [("p50", p50), ("p95", p95)] {
            let count = queries.len();
            let what = format!("{what} of {count} searches of events by {kind}, {waits}");
            bench.report.bind(Figure::new(what, value, "ms", Bound::AtMost(SEARCH_MS)));
        }
        let longest = longest.as_secs_f64() * 1_000.0;
        let [first, ..] = before.percentiles(None);
        bench.report.note(format!(
            "events searched by {kind}: the first took {first:.1} ms, the longest of the others {longest:.1} ms"
        ));
    }
    Ok(())
}
