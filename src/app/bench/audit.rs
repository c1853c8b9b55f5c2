//! *audit*: what the ledger costs, how many bytes a row has, and how fast it is searched and verified.
//!
//! The cost is that beside a server built with the feature `without-ledger`, asked in turn for the same.
//! For the rest rows are made (`rows`) and sealed, in the database that --database and the settings name.

mod rows;

use std::fmt::Display;
use std::time::{Duration, Instant};

use memchr::memmem;

use super::connection::Connection;
use super::load::{Interaction, Measured, Notes, measure, scattered};
use super::target::Target;
use super::{Bench, BenchError, read};
use crate::app::audit::folder::Folder;
use crate::app::audit::sealer::{Sealer, log_name};
use crate::app::audit::verify::{Outside, verify};
use crate::app::database::Database;
use crate::clock::SystemClock;
use crate::config::Config;

/// How much slower it may be with the ledger when all are busy: reads, and writes.
const READS: f64 = 0.25;
const WRITES: f64 = 0.05;
/// Milliseconds that half of the reads may take longer at eight clients.
const LONGER_MS: f64 = 1.5;
/// Milliseconds that a page of AuditEvents may take, and `kiln audit who`.
const PAGE_MS: f64 = 20.0;
const WHO_MS: f64 = 1_000.0;
/// Rows that are to be verified in a second.
const VERIFIED: f64 = 200_000.0;
/// Times that each is measured: the order changes, so that what changes meanwhile hits both.
const ROUNDS: usize = 2;
/// Times that a page is asked for.
const PAGES: usize = 100;

pub(super) async fn run(bench: &mut Bench, config: &Config) -> Result<(), BenchError> {
    match bench.args.beside.clone() {
        Some(base) => {
            let without = Target::parse(&base, &bench.args.header);
            cost(bench, &without.map_err(BenchError::Arguments)?).await?;
        }
        None => bench.report.note("no --beside: what the ledger costs was not measured"),
    }
    let Some(floor) = bench.floor.as_ref() else {
        bench.report.note("no --database: rows were not measured");
        return Ok(());
    };
    let made = rows::make(floor, config, bench.args.rows).await?;
    let sizes = rows::sizes(floor).await?;
    sizes.iter().for_each(|size| bench.report.note(size));
    search(bench, &made).await?;
    seal(bench, config).await
}

/// Reads, searches and creates with the ledger and without.
async fn cost(bench: &mut Bench, without: &Target) -> Result<(), BenchError> {
    let with = bench.target.clone();
    let mut paths = Vec::new();
    for target in [&with, without] {
        bench.target = target.clone();
        // The same seed makes the same resources.
        paths.push(read::load(bench).await?.0);
    }
    for count in bench.clients.clone() {
        for (what, goal) in [("read", READS), ("search", READS), ("create", WRITES)] {
            let mut ran = [(0, Duration::ZERO, Vec::new()), (0, Duration::ZERO, Vec::new())];
            for round in 0..ROUNDS {
                for turn in 0..2 {
                    let kind = (round + turn) % 2;
                    let (target, name) = [(&with, "ledger"), (without, "no ledger")][kind];
                    bench.target = target.clone();
                    let (measured, of) = one(bench, what, &paths[kind], count).await;
                    bench.report.add(count, &format!("{what}, {name}"), None, &measured, None);
                    ran[kind].0 += measured.notes.count(Some(of));
                    ran[kind].1 += measured.elapsed;
                    ran[kind].2.push(measured.notes.percentiles(Some(of))[0]);
                }
            }
            let [rate, bare] =
                [&ran[0], &ran[1]].map(|it| it.0 as f64 / it.1.as_secs_f64().max(0.001));
            let [p50, bare_p50] =
                [&ran[0], &ran[1]].map(|it| it.2.iter().sum::<f64>() / it.2.len().max(1) as f64);
            let (lost, longer) = (1.0 - rate / bare.max(0.001), p50 - bare_p50);
            let is_slow = lost > goal || (what == "read" && count == 8 && longer > LONGER_MS);
            let mark = if is_slow { " !" } else { "" };
            bench.report.note(format!(
                "{count} clients, {what}: {rate:.0} a second with the ledger, {bare:.0} without \
                 ({:.1} % lost, at most {:.0}); p50 {longer:+.2} ms{mark}",
                lost * 100.0,
                goal * 100.0,
            ));
        }
    }
    bench.target = with;
    Ok(())
}

async fn one(bench: &Bench, what: &str, paths: &[String], count: usize) -> (Measured, Interaction) {
    let of_type = |of: &str| -> Vec<String> {
        let ids = paths.iter().filter_map(|path| path.strip_prefix(of));
        ids.take(500).map(|id| format!("/Observation?patient={id}&_count=10")).collect()
    };
    match what {
        "read" => (scattered(bench, paths, count, Interaction::Read).await, Interaction::Read),
        "search" => {
            let searches = of_type("/Patient/");
            (scattered(bench, &searches, count, Interaction::Search).await, Interaction::Search)
        }
        _ => (creates(bench, count).await, Interaction::Create),
    }
}

/// Small resources, as many as the time allows.
async fn creates(bench: &Bench, count: usize) -> Measured {
    const BODY: &[u8] = br#"{"resourceType":"Basic","code":{"text":"kiln bench audit"}}"#;
    let end = Instant::now() + Duration::from_secs(bench.args.seconds.max(1));
    let clients: Vec<Connection> = (0..count).map(|_| Connection::new(&bench.target)).collect();
    let (measured, _) = measure(&bench.meter, clients, async |mut connection| {
        let mut notes = Notes::default();
        while Instant::now() < end {
            let started = Instant::now();
            let answer = connection.send("POST", "/Basic", Some(BODY)).await;
            notes.note(Interaction::Create, started, &answer);
        }
        (connection, notes)
    })
    .await;
    measured
}

/// Pages of AuditEvents by what auditors ask for.
async fn search(bench: &mut Bench, made: &rows::Made) -> Result<(), BenchError> {
    let day = |at: usize| format!("date={}", made.days[at % made.days.len()]);
    let patient = |at: usize| format!("patient={}", made.patients[at * 37 % made.patients.len()]);
    let user = |at: usize| format!("altid=user:{}", made.users[at * 7 % made.users.len()]);
    let urls = |criteria: &dyn Fn(usize) -> String| -> Vec<String> {
        (0..PAGES).map(|at| format!("/AuditEvent?{}", criteria(at))).collect()
    };
    let both = |at| format!("{}&{}", patient(at), day(at));
    for (what, goal, urls) in [
        ("events of a patient", PAGE_MS, urls(&patient)),
        ("events of a user", PAGE_MS, urls(&user)),
        ("events of a day", PAGE_MS, urls(&day)),
        ("events of a patient on a day", PAGE_MS, urls(&both)),
        ("who saw a patient", WHO_MS, urls(&|at| format!("{}&_count=500", patient(at)))),
        ("what a user saw", WHO_MS, urls(&|at| format!("{}&_count=500", user(at)))),
    ] {
        let (measured, found) = pages(bench, &urls).await;
        if let Some(reason) = measured.notes.first_failure.clone() {
            return Err(BenchError::Refused(reason));
        }
        let [p50, _, p99] = measured.notes.percentiles(None);
        bench.report.add(1, what, None, &measured, None);
        let mark = if p99 > goal { " !" } else { "" };
        let of = urls.len();
        bench.report.note(format!(
            "{what}: p50 {p50:.1} ms, p99 {p99:.1} ms (at most {goal:.0}), {found} of {of} find any{mark}"
        ));
    }
    Ok(())
}

/// Asks for each, one after the other; how many had an event.
async fn pages(bench: &Bench, urls: &[String]) -> (Measured, usize) {
    let client = vec![(Connection::new(&bench.target), 0)];
    let (measured, clients) = measure(&bench.meter, client, async |(mut connection, mut found)| {
        let mut notes = Notes::default();
        for url in urls {
            let started = Instant::now();
            let answer = connection.send("GET", url, None).await;
            notes.note(Interaction::Search, started, &answer);
            let has_one = |body| memmem::find(body, b"\"resourceType\":\"AuditEvent\"").is_some();
            found += usize::from(answer.is_ok_and(|answer| has_one(answer.body)));
        }
        ((connection, found), notes)
    })
    .await;
    (measured, clients.iter().map(|(_, found)| found).sum())
}

/// Seals what is not sealed yet, and verifies all of it.
async fn seal(bench: &mut Bench, config: &Config) -> Result<(), BenchError> {
    let database = Database::open(config, true).await.map_err(failed)?;
    let folder = Folder::of(config);
    let began = Instant::now();
    let mut sealer =
        Sealer::new(database.store.clone(), SystemClock, folder.clone()).map_err(failed)?;
    let count = sealer.finish().await.map_err(failed)?;
    let sealing = began.elapsed().as_secs_f64();
    let outside = Outside {
        trusted: folder.trusted().map_err(failed)?,
        checkpoints: folder.checkpoints().map_err(failed)?,
    };
    let began = Instant::now();
    let log = log_name(&database.store);
    let report = verify(&database.store, &log, &outside, 0, |_| ()).await.map_err(failed)?;
    let rate = report.rows as f64 / began.elapsed().as_secs_f64().max(0.001);
    database.close().await;
    bench.report.note(format!("{count} rows are sealed; the rest of them in {sealing:.1} s"));
    let is_wrong = report.finding.is_some() || rate < VERIFIED;
    let mark = if is_wrong { " !" } else { "" };
    let found = report.finding.as_ref();
    let found = found.map_or_else(|| "as sealed".to_owned(), ToString::to_string);
    bench.report.note(format!(
        "verify: {} rows, {rate:.0} a second (at least {VERIFIED:.0}), {found}{mark}",
        report.rows
    ));
    Ok(())
}

/// Why the ledger cannot be measured.
fn failed(error: impl Display) -> BenchError {
    BenchError::Ledger(error.to_string())
}
