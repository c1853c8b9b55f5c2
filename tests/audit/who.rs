//! `kiln audit who`: who saw a patient between two days, and what a user saw (G6).
//!
//! Covers: security G6.

use std::time::{Duration, Instant};

use kiln::access::interaction::Kind;

use crate::harness::database::connect;
use crate::harness::process::Process;

/// Accesses by users to patients: many, of whom one patient and one user have few.
const ROWS: &str = "INSERT INTO ledger (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, \
     actor, source, request_id, method, query, pats, entities) \
     SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' \
       || substr(md5(i::text), 4, 15))::uuid, to_timestamp(ms / 1000.0), gen_random_uuid(), 0, 12, 0, \
       103, 1, 'p' || i % 1000, 'user:u' || i % 97, '192.0.2.1', 'who-' || i, 'GET', \
       '/fhir/Patient/p' || i % 1000, ARRAY[i % 1000], '{}' \
     FROM (SELECT i, 1767225600000 + i::bigint * 10000 AS ms FROM generate_series(1, 100000) i) g";

/// A read, a token and what consents came down to: of a user, and the last of a client by itself.
const DECIDED: &str = "INSERT INTO ledger (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, actor, client, \
     source, request_id, method, query, pats, entities) \
     SELECT (lpad(to_hex(ms), 12, '0') || '7000800000000000000' || i)::uuid, to_timestamp(ms / 1000.0), \
       gen_random_uuid(), 0, kind, 0, CASE kind WHEN 12 THEN 103 END, NULL, CASE kind WHEN 12 THEN 'p1' END, actor, \
       'app', '192.0.2.1', 'r', 'POST', '/token', CASE kind WHEN TOKEN THEN '{}'::bigint[] ELSE '{1}' END, \
       CASE kind WHEN 67 THEN '{Consent/c}'::text[] ELSE '{}' END \
     FROM (VALUES (1, 12, 'user:eve, md'), (2, TOKEN, 'user:eve, md'), (3, 67, 'user:eve, md'), \
       (4, 67, 'client:app')) v (i, kind, actor), (SELECT 1767225600000) m (ms)";

/// Parts for two months; in each 20,000 rows a minute apart, of which every 500th is of the patient that was read, and
/// every 500th by another user, who is a patient herself, and of nobody.
const MONTHS: &str = "SELECT kiln_make_partition('ledger_row', month) \
     FROM unnest('{2020-01-01,2020-02-01}'::date[]) month; \
     INSERT INTO ledger_row (id, at, tid, interaction, outcome, rt, vid, logical_id, party, request, query, pat) \
     SELECT (substr(h, 1, 8) || '-' || substr(h, 9) || '-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, at, 0, 12, 0, \
       103, 1, 'a', CASE WHEN i % 500 = 1 THEN e.party ELSE l.party END, gen_random_uuid(), '/fhir/Patient/a', \
       CASE i % 500 WHEN 0 THEN l.pat WHEN 1 THEN NULL ELSE i END \
     FROM (SELECT party, pat FROM ledger_row WHERE pat IS NOT NULL AND interaction = 12 LIMIT 1) l, \
       (SELECT kiln_party('user:eve', 'app', 'Patient/b', NULL, '192.0.2.1', 'GET') AS party) e, \
       generate_series(1, 20000) i, unnest('{2020-01-02,2020-02-02}'::timestamptz[]) month, \
       LATERAL (SELECT month + i * interval '1 minute' AS at) t, \
       LATERAL (SELECT lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS h) x; \
     VACUUM ANALYZE ledger_row";

/// Three weeks of rows a minute apart, of which the first tenth are of the patient that was read.
const LONG_AGO: &str = "SELECT kiln_make_partition('ledger_row', '2020-03-01'); \
     INSERT INTO ledger_row (id, at, tid, interaction, outcome, rt, vid, logical_id, party, request, query, pat) \
     SELECT (substr(h, 1, 8) || '-' || substr(h, 9) || '-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, at, 0, 12, 0, \
       103, 1, 'a', l.party, gen_random_uuid(), '/fhir/Patient/a', CASE WHEN i <= 3000 THEN l.pat ELSE i END \
     FROM (SELECT party, pat FROM ledger_row WHERE pat IS NOT NULL AND interaction = 12 LIMIT 1) l, \
       generate_series(1, 30000) i, LATERAL (SELECT '2020-03-02'::timestamptz + i * interval '1 minute' AS at) t, \
       LATERAL (SELECT lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS h) x; \
     VACUUM ANALYZE ledger_row";

/// How many rows of that month were read.
const READ: &str = "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint FROM pg_stat_user_tables \
     WHERE relname = 'ledger_202003'";

/// How often the parts of both months were read through, and looked into by an index.
const LOOKS: &str = "SELECT coalesce(sum(seq_scan) FILTER (WHERE relname = 'ledger_202001'), 0)::bigint, \
       coalesce(sum(idx_scan) FILTER (WHERE relname = 'ledger_202001'), 0)::bigint, \
       coalesce(sum(seq_scan) FILTER (WHERE relname = 'ledger_202002'), 0)::bigint, \
       coalesce(sum(idx_scan) FILTER (WHERE relname = 'ledger_202002'), 0)::bigint \
     FROM pg_stat_user_tables";

fn lines(process: &Process, arguments: &[&str]) -> Vec<String> {
    let began = Instant::now();
    let told = process.beside("audit", arguments);
    let errors = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{arguments:?}: {errors}");
    assert!(began.elapsed() < Duration::from_secs(20), "{arguments:?}");
    String::from_utf8(told.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_saw_a_patient_and_what_a_user_saw_is_told_newest_first() {
    let process = Process::start().await;
    let client = &process.client;
    client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.expect(201);
    let database = connect(&process.database_url()).await;
    database.batch_execute(ROWS).await.unwrap();
    client.get("/Patient/a").await.expect(200);
    client.get("/Patient?_id=a").await.expect(200);
    let seen = lines(&process, &["who", "--patient", "a"]);
    assert_eq!(seen.len(), 3, "{seen:?}");
    for (line, what) in seen.iter().zip(["search-type", "read", "update"]) {
        assert!(line.contains(what) && line.contains("Patient/a"), "{line}");
        assert!(line.contains("anonymous") && line.contains("127.0.0.1"), "{line}");
    }
    let none = lines(&process, &["who", "--patient", "a", "--until", "2020-01-01"]);
    assert_eq!(none.len(), 0, "{none:?}");
    // A day has 8,640 of them, of which each user has every 97th.
    let day = ["who", "--user", "u3", "--since", "2026-01-02", "--until", "2026-01-02"];
    let found = lines(&process, &day);
    assert!((89..=90).contains(&found.len()), "{}", found.len());
    assert!(found.iter().all(|line| line.contains("user:u3") && line.starts_with("2026-01-02")));
    assert!(found.is_sorted_by(|one, other| one[..24] >= other[..24]));
    let json = lines(&process, &["who", "--user", "u3", "--limit", "5", "--json"]);
    assert_eq!(json.len(), 5);
    for line in json {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["resourceType"], "AuditEvent");
    }
    // What a user or a client does is found also where the pattern of its event does not name it by `altId`.
    let decided = DECIDED.replace("TOKEN", &Kind::Token.number().to_string());
    database.batch_execute(&decided).await.unwrap();
    let seen = lines(&process, &["who", "--user", "eve, md"]);
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().all(|line| line.contains("eve, md")), "{seen:?}");
    assert!(seen[0].contains("Consent/c") && seen[2].contains("Patient/p1"), "{seen:?}");
    let seen = lines(&process, &["who", "--user", "client:app"]);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("app") && seen[0].contains("Consent/c"), "{seen:?}");
    // The question is on record.
    let asked = "SELECT count(*) FROM ledger WHERE actor = 'service:audit who' AND outcome = 0";
    let count: i64 = database.query_one(asked, &[]).await.unwrap().get(0);
    assert!(count >= 4, "{count}");
}

/// What is asked since a day looks at the months since, and there by an index.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_since_a_day_looks_at_what_was_since_alone() {
    // The sealer looks at all of them.
    let process = Process::start_with(&["audit.seal=false"]).await;
    let client = &process.client;
    client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.expect(201);
    client.get("/Patient/a").await.expect(200);
    let database = connect(&process.database_url()).await;
    for statement in MONTHS.split("; ") {
        database.batch_execute(statement).await.unwrap();
    }
    for (option, name) in [("--patient", "a"), ("--user", "eve"), ("--patient", "b")] {
        let all = lines(&process, &["who", option, name, "--until", "2020-02-28"]);
        assert_eq!(all.len(), 80, "{option}: {all:?}");
        let before: [i64; 4] = settled(&database, LOOKS).await;
        let since = ["who", option, name, "--since", "2020-02-04", "--until", "2020-02-28"];
        let found = lines(&process, &since);
        // Two of fourteen days are before.
        assert!((33..=36).contains(&found.len()), "{option}: {found:?}");
        let began = Instant::now();
        let after = loop {
            let after: [i64; 4] = settled(&database, LOOKS).await;
            if after[3] > before[3] {
                break after;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{option}: {before:?} {after:?}");
        };
        assert_eq!(after[..3], before[..3], "{option}: the month before, or row by row");
    }
}

/// A patient who was not there of late is found without walking all that was since.
#[tokio::test(flavor = "multi_thread")]
async fn who_saw_a_patient_long_ago_is_told_without_reading_what_was_since() {
    let process = Process::start_with(&["audit.seal=false"]).await;
    let client = &process.client;
    client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.expect(201);
    client.get("/Patient/a").await.expect(200);
    let database = connect(&process.database_url()).await;
    for statement in LONG_AGO.split("; ") {
        database.batch_execute(statement).await.unwrap();
    }
    let [before] = settled(&database, READ).await;
    let asked = ["who", "--patient", "a", "--until", "2020-03-31", "--limit", "400"];
    let told = lines(&process, &asked);
    assert_eq!(told.len(), 400);
    // The newest of the first three thousand minutes.
    assert!(told[0].starts_with("2020-03-04T02:00") && told[399].contains("T19:21"), "{told:?}");
    let [after] = settled(&database, READ).await;
    let read = after - before;
    // Along the time it would be 27,000 before the first; all of the patient's for each of the two pages, and the pages, 6,400.
    assert!((400..5_000).contains(&read), "{read} rows");
}

/// What a statement counts, once nothing more of it comes in.
async fn settled<const N: usize>(database: &tokio_postgres::Client, counts: &str) -> [i64; N] {
    let (mut looks, mut since) = ([-1; N], Instant::now());
    loop {
        let row = database.query_one(counts, &[]).await.unwrap();
        let now: [i64; N] = std::array::from_fn(|at| row.get(at));
        if now != looks {
            (looks, since) = (now, Instant::now());
        } else if since.elapsed() > Duration::from_secs(3) {
            return looks;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
