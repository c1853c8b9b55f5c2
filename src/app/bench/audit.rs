//! *audit*: what the ledger costs, and what it holds.
//!
//! Beside the server stands one that was built with the feature `bench-without-ledger`, on a database of
//! its own with the same data; both are asked in turn. With `--database` the ledger of the first is
//! then filled with copies of its own rows, at other times and of many users, and its events are
//! searched for as a client does. How fast the ledger is compared with its seal `kiln audit verify`
//! tells.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::load::{Interaction, Measured, Notes, measure, scattered};
use super::process::Meter;
use super::target::Target;
use super::{Bench, BenchError, read};

/// What may be lost of the throughput of reads at full load, of writes at eight clients, in percent.
const READS_LOSS: f64 = 25.0;
const WRITES_LOSS: f64 = 5.0;
/// How much longer half of the reads may take, in milliseconds.
const READ_P50_MS: f64 = 1.5;
/// A load that both servers can bear, and what may be lost of it, in percent.
const PACE: u64 = 1_000;
const PACED_LOSS: f64 = 10.0;
/// What no busy machine and no unoptimised build explains: percent lost, and milliseconds longer.
const FAR_LOSS: f64 = 60.0;
const FAR_MS: f64 = 10.0;
/// Times that each is measured: the order changes, so that what changes meanwhile hits both.
const ROUNDS: usize = 2;
/// What a row may weigh with its part of the indexes, beside its query and eight bytes a patient.
const ROW_BYTES: f64 = 220.0;
/// How long a search of events may take.
const SEARCH_MS: f64 = 20.0;
/// Searches of each kind.
const SEARCHES: usize = 40;
const USERS: u64 = 2_000;
/// Rows that are copied again and again.
const COPIED: u64 = 10_000;

/// Number of rows, bytes of the table, of its indexes, of queries, and eight for each patient.
const WEIGHT: &str = "SELECT count(*), (SELECT sum(pg_table_size(inhrelid)) FROM pg_inherits WHERE \
     inhparent = 'ledger_row'::regclass), (SELECT sum(pg_indexes_size(inhrelid)) FROM pg_inherits WHERE \
     inhparent = 'ledger_row'::regclass), sum(octet_length(query)), sum(8 * cardinality(pats)) FROM ledger";

pub(super) async fn run(bench: &mut Bench) -> Result<(), BenchError> {
    let with = bench.target.clone();
    let (paths, bodies) = read::load(bench).await?;
    if let Some(without) = &bench.args.without {
        let without = Target::parse(without, &bench.args.header).map_err(BenchError::Arguments)?;
        bench.target = without.clone();
        read::load(bench).await?;
        let targets = [with.clone(), without];
        for count in bench.clients.clone() {
            reads(bench, &targets, &paths, count).await?;
            writes(bench, &targets, &bodies, count).await;
        }
        paced(bench, &targets, &paths).await;
        bench.target = with;
    } else {
        bench.report.note("no --without: what the ledger costs was not measured");
    }
    if bench.floor.is_some() {
        weigh(bench, "as it is").await?;
        fill(bench).await?;
        weigh(bench, "filled").await?;
        search(bench, &paths).await?;
    }
    Ok(())
}

/// Two ways to be served that are measured in turn.
pub(super) struct Turns<'t> {
    pub(super) targets: &'t [Target; 2],
    pub(super) names: [&'static str; 2],
    /// Times that each is measured.
    pub(super) rounds: usize,
}

impl<'t> Turns<'t> {
    /// The server with a ledger and that without.
    fn of_ledger(targets: &'t [Target; 2]) -> Self {
        Self { targets, names: ["with a ledger", "without"], rounds: ROUNDS }
    }
}

/// Rates and middle times of one of the two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    requests: u64,
    time: Duration,
    p50_ms: f64,
}

impl Sums {
    fn add(&mut self, measured: &Measured, rounds: usize) {
        self.requests += measured.notes.count(None);
        self.time += measured.elapsed;
        self.p50_ms += measured.notes.percentiles(None)[0] / rounds as f64;
    }

    /// Requests a second, over all rounds.
    pub(super) fn per_second(self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64().max(0.001)
    }
}

/// Measures both in turn.
pub(super) async fn in_turn(
    bench: &mut Bench,
    turns: &Turns<'_>,
    (what, count): (&str, usize),
    work: impl AsyncFn(&Bench) -> Measured,
) -> [Sums; 2] {
    let mut sums = [Sums::default(); 2];
    // Each server's processor time is its own, and that of the PostgreSQL that it started.
    let first = bench.meter.clone();
    let meters = turns.targets.each_ref().map(|target| Meter::of(target.port(), &first));
    for round in 0..turns.rounds {
        for turn in 0..2 {
            let kind = (round + turn) % 2;
            bench.target = turns.targets[kind].clone();
            bench.meter = meters[kind].clone();
            let measured = work(bench).await;
            let name = format!("{what}, {}", turns.names[kind]);
            bench.report.add(count, &name, None, &measured, None);
            sums[kind].add(&measured, turns.rounds);
        }
    }
    bench.meter = first;
    sums
}

/// What the ledger costs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    /// Percent of the requests that are lost.
    loss: f64,
    /// How much longer half of them take, in milliseconds.
    later_ms: f64,
}

/// What it may cost.
#[derive(Clone, Copy, Debug)]
struct Budget {
    loss: f64,
    later_ms: Option<f64>,
}

/// How a cost is beside its budget.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Within,
    Over,
    /// Beyond what a measurement may be wrong by.
    FarOver,
}

impl Cost {
    fn of([with, without]: [Sums; 2]) -> Self {
        let loss = 100.0 * (1.0 - with.per_second() / without.per_second().max(0.001));
        Self { loss, later_ms: with.p50_ms - without.p50_ms }
    }

    fn judge(self, most: Budget) -> Verdict {
        let Self { loss, later_ms } = self;
        if loss > FAR_LOSS || later_ms > FAR_MS {
            Verdict::FarOver
        } else if loss > most.loss || most.later_ms.is_some_and(|most| later_ms > most) {
            Verdict::Over
        } else {
            Verdict::Within
        }
    }
}

/// Says what is lost, and whether that is more than it may be.
fn tell(bench: &mut Bench, what: &str, count: usize, sums: [Sums; 2], most: Budget) {
    let cost = Cost::of(sums);
    let verdict = cost.judge(most);
    let mark = if verdict == Verdict::Within { "" } else { " !" };
    let (Cost { loss, later_ms }, most) = (cost, most.loss);
    let text = format!(
        "{count} clients, {what}: {loss:.1} % lost (at most {most}), p50 {later_ms:+.3} ms{mark}"
    );
    if verdict == Verdict::FarOver {
        bench.report.far_over(text.clone());
    }
    bench.report.note(text);
}

async fn reads(
    bench: &mut Bench,
    targets: &[Target; 2],
    paths: &[String],
    count: usize,
) -> Result<(), BenchError> {
    let work = async |bench: &Bench| scattered(bench, paths, count, Interaction::Read).await;
    let sums = in_turn(bench, &Turns::of_ledger(targets), ("read", count), work).await;
    if sums.iter().any(|sums| sums.requests == 0) {
        return Err(BenchError::Refused("reads".to_owned()));
    }
    // For eight clients there is one of the time, too.
    let later_ms = (count == 8).then_some(READ_P50_MS);
    tell(bench, "read", count, sums, Budget { loss: READS_LOSS, later_ms });
    Ok(())
}

async fn writes(bench: &mut Bench, targets: &[Target; 2], bodies: &[String], count: usize) {
    // What refers to nothing that the other server lacks.
    let is_plain = |body: &&String| body.contains(r#""resourceType":"Patient""#);
    let bodies: Vec<&String> = bodies.iter().filter(is_plain).collect();
    if bodies.is_empty() {
        return;
    }
    let work = async |bench: &Bench| {
        let end = Instant::now() + Duration::from_secs(bench.args.seconds.max(1));
        let clients = (0..count).map(|at| (at, Connection::new(&bench.target))).collect();
        let client = async |(at, mut connection): (usize, Connection)| {
            let (mut notes, mut number) = (Notes::default(), at);
            while Instant::now() < end {
                let body = bodies[number % bodies.len()].as_bytes();
                number += count;
                let started = Instant::now();
                let answer = connection.send("POST", "/Patient", Some(body)).await;
                notes.note(Interaction::Create, started, &answer);
            }
            ((at, connection), notes)
        };
        measure(&bench.meter, clients, client).await.0
    };
    let sums = in_turn(bench, &Turns::of_ledger(targets), ("create", count), work).await;
    let loss = if count == 8 { WRITES_LOSS } else { READS_LOSS };
    tell(bench, "create", count, sums, Budget { loss, later_ms: None });
}

/// Reads at a pace that is given, by eight clients.
async fn paced(bench: &mut Bench, targets: &[Target; 2], paths: &[String]) {
    const CLIENTS: usize = 8;
    let work = async |bench: &Bench| {
        let length = Duration::from_secs(bench.args.seconds.max(1));
        let began = tokio::time::Instant::now();
        let clients = (0..CLIENTS).map(|at| (at, Connection::new(&bench.target))).collect();
        let client = async |(at, mut connection): (usize, Connection)| {
            let (mut notes, mut number) = (Notes::default(), at as u64);
            loop {
                let due = began + Duration::from_micros(number * 1_000_000 / PACE);
                if due >= began + length {
                    return ((at, connection), notes);
                }
                tokio::time::sleep_until(due).await;
                let path = &paths[(number as usize).wrapping_mul(104_729) % paths.len()];
                number += CLIENTS as u64;
                let started = Instant::now();
                let answer = connection.send("GET", path, None).await;
                notes.note(Interaction::Read, started, &answer);
            }
        };
        measure(&bench.meter, clients, client).await.0
    };
    let what = format!("read at {PACE} a second");
    let sums = in_turn(bench, &Turns::of_ledger(targets), (&what, CLIENTS), work).await;
    let budget = Budget { loss: PACED_LOSS, later_ms: Some(READ_P50_MS) };
    tell(bench, &what, CLIENTS, sums, budget);
}

async fn sql(bench: &Bench, text: &str) -> Result<String, BenchError> {
    match &bench.floor {
        Some(floor) => floor.sql(text).await,
        None => Ok(String::new()),
    }
}

/// Says what a row weighs.
async fn weigh(bench: &mut Bench, when: &str) -> Result<(), BenchError> {
    let text = sql(bench, &format!("VACUUM ANALYZE ledger_row; {WEIGHT};")).await?;
    let numbers: Vec<f64> =
        text.trim().split('|').filter_map(|number| number.parse().ok()).collect();
    let [rows, table, indexes, queries, patients] = numbers[..] else { return Ok(()) };
    let rest = (table + indexes - queries - patients) / rows.max(1.0);
    let mark = if rest > ROW_BYTES { " !" } else { "" };
    bench.report.note(format!(
        "{rows} rows, {when}: {:.0} bytes a row and {:.0} of indexes, without queries and patients {rest:.0} \
         (at most {ROW_BYTES}){mark}",
        table / rows.max(1.0),
        indexes / rows.max(1.0)
    ));
    Ok(())
}

/// Fills the ledger up with copies of its newest rows, of many users, a second apart and up to yesterday. A
/// thousand are a transaction: the ledger's order goes by transactions.
async fn fill(bench: &Bench) -> Result<(), BenchError> {
    let rows = bench.args.rows;
    let copy = format!(
        "CREATE TEMP TABLE copied AS SELECT row_number() OVER () AS place, l.* \
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

/// Searches for events by patient, by user and by date.
async fn search(bench: &mut Bench, paths: &[String]) -> Result<(), BenchError> {
    let patients: Vec<&String> =
        paths.iter().filter(|path| path.starts_with("/Patient/")).take(SEARCHES).collect();
    let kinds = [
        ("by patient", patients.iter().map(|path| format!("patient={}", &path[1..])).collect()),
        (
            "by user",
            (0..SEARCHES).map(|at| format!("altid=user:bench{}", at * at)).collect::<Vec<_>>(),
        ),
        (
            "by date",
            (1..=SEARCHES).map(|at| format!("date=ge2020-01-{:02}", at % 28 + 1)).collect(),
        ),
    ];
    let mut connection = Connection::new(&bench.target);
    for (kind, queries) in kinds {
        let mut notes = Notes::default();
        let began = Instant::now();
        for query in &queries {
            let started = Instant::now();
            let path = format!("/AuditEvent?{query}&_count=50");
            let answer = connection.send("GET", &path, None).await;
            notes.note(Interaction::Search, started, &answer);
        }
        let [p50, p95, _] = notes.percentiles(None);
        let mark = if p50 > SEARCH_MS { " !" } else { "" };
        let elapsed = began.elapsed();
        bench.report.note(format!(
            "{} events searched {kind} in {elapsed:.1?}: p50 {p50:.1} ms, p95 {p95:.1} ms (at most \
             {SEARCH_MS}), {} failed{mark}",
            queries.len(),
            notes.failures
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What half of the reads may take longer, and what may be lost at a thousand a second.
    ///
    /// Covers in part: security A10.
    #[test]
    fn a_cost_is_judged_by_its_budget_and_by_what_no_noise_explains() {
        let paced = Budget { loss: PACED_LOSS, later_ms: Some(READ_P50_MS) };
        assert_eq!((paced.loss, paced.later_ms, PACE), (10.0, Some(1.5), 1_000));
        let sums = |requests, p50_ms| Sums { requests, time: Duration::from_secs(1), p50_ms };
        let without = sums(1_000, 1.0);
        for (with, expected) in [
            (sums(1_000, 1.0), Verdict::Within),
            (sums(1_100, 0.5), Verdict::Within),
            (sums(901, 2.4), Verdict::Within),
            (sums(890, 1.0), Verdict::Over),
            (sums(1_000, 2.6), Verdict::Over),
            (sums(390, 1.0), Verdict::FarOver),
            (sums(1_000, 11.1), Verdict::FarOver),
            (sums(0, 0.0), Verdict::FarOver),
        ] {
            assert_eq!(Cost::of([with, without]).judge(paced), expected, "{with:?}");
        }
        let creates = Budget { loss: WRITES_LOSS, later_ms: None };
        assert_eq!(Cost { loss: 4.9, later_ms: 9.0 }.judge(creates), Verdict::Within);
        assert_eq!(Cost { loss: 5.1, later_ms: 0.0 }.judge(creates), Verdict::Over);
    }
}
