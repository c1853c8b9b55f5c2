//! How soon the record is sealed, and what is said of the rows that are not: a signed checkpoint comes within ten
//! seconds or after a thousand rows, whatever is first, and `kiln audit verify` tells what lies beyond the last one.
//!
//! Covers: security A11.

use std::time::{Duration, Instant};

use kiln::audit::{PublicKey, Signed};
use kiln::fhir;

use crate::harness::database::connect;
use crate::harness::process::Process;

/// So long after it came a row is sealed at the latest.
const BOUND: Duration = Duration::from_secs(10);
/// A machine that has something else to do for a moment spoils one of them.
const TRIES: usize = 3;
/// A whole batch comes sooner than less than one would, and that not sooner.
const SOON_MS: i64 = 6_500;

/// Two batches and a half, of one transaction.
const MANY: &str = "INSERT INTO ledger_row (id, at, tid, interaction, outcome, party, request, query) \
     SELECT gen_random_uuid(), now(), 0, 12, 0, party, gen_random_uuid(), '/' \
     FROM (SELECT party FROM ledger_row WHERE party IS NOT NULL LIMIT 1) p, generate_series(1, 2500)";

/// How many rows come after the last one that is sealed, and when the first of them was made.
const BEYOND: &str = "SELECT count(*), (extract(epoch FROM min(at)) * 1000000)::bigint FROM ledger \
     WHERE (xid, id) > (SELECT last_xid, last_id FROM seal ORDER BY n DESC LIMIT 1)";

/// The checkpoints that were exported, each signed by the key of the server.
fn checkpoints(process: &Process) -> Vec<Signed> {
    let folder = process.data_dir.join("audit");
    let text = std::fs::read_to_string(folder.join("checkpoints.jsonl")).unwrap_or_default();
    // The last line may be on its way.
    let whole =
        text.lines().filter_map(|line| Signed::from_json(&serde_json::from_str(line).ok()?));
    let all: Vec<Signed> = whole.collect();
    if !all.is_empty() {
        let key = std::fs::read_to_string(folder.join("checkpoints.pub")).unwrap();
        let trusted = [PublicKey::parse(&key).unwrap()];
        assert!(all.iter().all(|signed| signed.is_signed_by(&trusted)));
    }
    all
}

/// Waits until so many rows are sealed: the checkpoints up to there.
async fn until_sealed(process: &Process, rows: u64) -> Vec<Signed> {
    let began = Instant::now();
    loop {
        let all = checkpoints(process);
        if all.last().is_some_and(|signed| signed.checkpoint.rows >= rows) {
            return all;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{rows} rows are not sealed: {all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many rows there are.
async fn rows(database: &tokio_postgres::Client) -> u64 {
    let count = database.query_one("SELECT count(*) FROM ledger", &[]).await.unwrap();
    count.get::<_, i64>(0).cast_unsigned()
}

fn millis(signed: &Signed) -> i64 {
    signed.checkpoint.at.as_micros() / 1_000
}

/// One that comes right after a checkpoint waits the longest.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_sealed_within_ten_seconds() {
    let process = Process::start().await;
    let database = connect(&process.database_url()).await;
    until_sealed(&process, rows(&database).await).await;
    let mut took = Vec::new();
    while took.iter().all(|it| *it > BOUND) {
        assert!(took.len() < TRIES, "{took:?}");
        let began = Instant::now();
        process.client.get("/Patient/nobody").await.expect(404);
        until_sealed(&process, rows(&database).await).await;
        took.push(began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rows_are_sealed_at_once_and_fewer_wait() {
    let process = Process::start().await;
    let database = connect(&process.database_url()).await;
    let mut took = Vec::new();
    while took.iter().all(|it| *it > SOON_MS) {
        assert!(took.len() < TRIES, "{took:?}");
        let before = rows(&database).await;
        let known = until_sealed(&process, before).await;
        database.batch_execute(MANY).await.unwrap();
        let all = until_sealed(&process, before + 2_500).await;
        let [first, second, rest] = &all[known.len()..] else {
            panic!("{:?} after {:?}", &all[known.len()..], known.last());
        };
        let counts = [first, second, rest].map(|signed| signed.checkpoint.rows - before);
        assert_eq!(counts, [1_000, 2_000, 2_500]);
        // Time goes as the server counts it, however busy the machine is.
        assert!(millis(rest) - millis(second) > SOON_MS, "{rest:?} after {second:?}");
        took.push(millis(second) - known.last().map_or(0, millis));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beyond_the_last_checkpoint_is_told() {
    let mut process = Process::start().await;
    let database = connect(&process.database_url()).await;
    process.client.get("/Patient/nobody").await.expect(404);
    let sealed = until_sealed(&process, rows(&database).await).await;
    let verify = |process: &Process| {
        let verified = process.beside("audit", &["verify", "--quiet"]);
        let text = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "{text}");
        text
    };
    let text = verify(&process);
    let last = sealed.last().unwrap().checkpoint.at;
    assert!(text.contains("nothing waits to be sealed"), "{text}");
    assert!(text.contains(&format!("the last checkpoint is of {last}")), "{text}");

    // Nobody seals what comes from now on.
    drop(database);
    assert!(process.terminate().0);
    process.restart_with(&["audit.seal=false"]);
    process.ready(Duration::from_mins(1)).await;
    for _ in 0..3 {
        process.client.get("/Patient/nobody").await.expect(404);
    }
    let database = connect(&process.database_url()).await;
    let beyond = database.query_one(BEYOND, &[]).await.unwrap();
    let (count, first): (i64, i64) = (beyond.get(0), beyond.get(1));
    assert!(count >= 3, "{count}");
    let text = verify(&process);
    let told = text.lines().find_map(|it| it.strip_prefix("not sealed yet, and so not checked: "));
    let (told, since) = told.and_then(|it| it.split_once(" rows, the first of ")).expect(&text);
    assert_eq!(told, count.to_string(), "{text}");
    let since = fhir::Instant::parse(since).expect(&text);
    assert_eq!(since.as_micros() / 1_000, first / 1_000, "{text}");
}
