//! What clients saw is on record, whatever is killed (A9).
//!
//! Three rounds; fifty with `KILN_TEST_LONG=1`. Who is killed, and when, is drawn by a seed of the clock, which is
//! printed; `KILN_AUDIT_SEED=n` sets it. Once by a server that lets everybody do everything, and once by one
//! that asks for tokens: there what is denied, hidden and refused at the door is in the mix. Where reads do not wait
//! for the disk (`audit.reads`), the rows that a crash of the database takes are written again soon after it is back.
//!
//! Covers: security V32.
//! Covers: security A9.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::client::{Answer, Client};
use crate::harness::database::connect;
use crate::harness::process::Process;
use crate::harness::shared::{audit_seed, long};
use crate::search_oracle::random::Random;

const CLIENTS: usize = 6;
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// The rows of answered reads that the crash took are on record again.
const REWRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// The number that the ledger has for a security alert.
const ALERT: i16 = 51;

/// Tokens are asked for, and nobody is held off for asking often: of those few rows tell.
const ASKS_FOR_TOKENS: &[&str] = &[
    "auth.mode=smart",
    "audit.reads=flushed",
    "limits.refusals_per_minute=0",
    "limits.requests_at_a_time=0",
    "limits.requests_per_minute=0",
    "limits.tokens_per_minute=0",
];
const OBSERVATION: &str = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"}}"#;

/// What is asked for.
#[derive(Clone, Default)]
struct Asked {
    method: &'static str,
    url: String,
    body: String,
    /// The header `Authorization`.
    authorization: Option<Arc<str>>,
    /// Where the answer is always the same, unless there is none: its status, and why the record says so.
    always: Option<(u16, &'static str)>,
    /// The Bundle that it is, and how many entries it has.
    bundle: Option<(Bundle, i64)>,
}

/// What a Bundle asks for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Bundle {
    Batch,
    Transaction,
}

impl Asked {
    fn new(method: &'static str, url: impl Into<String>, body: &str) -> Self {
        Self { method, url: url.into(), body: body.to_owned(), ..Self::default() }
    }

    /// Of entries: method, URL, and the resource, where there is one.
    fn bundle(bundle: Bundle, entries: &[(&str, &str, &str)]) -> Self {
        let entry = |(method, url, resource): &(&str, &str, &str)| {
            let request = format!(r#""request":{{"method":"{method}","url":"{url}"}}"#);
            match *resource {
                "" => format!("{{{request}}}"),
                resource => format!(r#"{{"resource":{resource},{request}}}"#),
            }
        };
        let kind = if bundle == Bundle::Batch { "batch" } else { "transaction" };
        let all = entries.iter().map(entry).collect::<Vec<_>>().join(",");
        let body = format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{all}]}}"#);
        Self { bundle: Some((bundle, entries.len() as i64)), ..Self::new("POST", "/", &body) }
    }

    /// How many rows must tell of an answer: of a Bundle one, and one for each entry. What is done and what is
    /// refused in a batch are told apart, by a status of each; an entry that is said to be unavailable may be on record.
    fn recorded(&self, answer: &Answer) -> Vec<(u16, RangeInclusive<i64>)> {
        let status = answer.status;
        match self.bundle {
            None => vec![(status, 1..=1)],
            Some((Bundle::Batch, entries)) if status < 400 => {
                let status_of = |at: i64| -> u16 {
                    let status = answer.at(&format!("entry[{at}].response.status"));
                    status.and_then(|text| text.get(..3)?.parse().ok()).expect("a status")
                };
                let all: Vec<u16> = (0..entries).map(status_of).collect();
                let count = |is: fn(u16) -> bool| all.iter().filter(|it| is(**it)).count() as i64;
                let (done, away) = (1 + count(|it| it < 400), count(|it| it == 503));
                let refused = entries + 1 - done - away;
                let of_both = [(status, done), (400, refused)].into_iter();
                of_both.filter(|(_, rows)| *rows > 0).map(|(of, n)| (of, n..=n + away)).collect()
            }
            Some((_, entries)) => vec![(status, entries + 1..=entries + 1)],
        }
    }

    fn by(self, token: &Arc<str>) -> Self {
        Self { authorization: Some(token.clone()), ..self }
    }

    fn always(self, status: u16, why: &'static str) -> Self {
        Self { always: Some((status, why)), ..self }
    }

    async fn send(&self, client: &Client, request: &str) -> Result<Answer, String> {
        let url = match self.url.strip_prefix("/auth/") {
            Some(rest) => format!("{}/auth/{rest}", client.root()),
            None => self.url.clone(),
        };
        let mut call = client.call(self.method, &url).header("X-Request-Id", request);
        if let Some(token) = &self.authorization {
            call = call.header("Authorization", token);
        }
        if self.body.starts_with("grant_type=") || self.url.ends_with("/_search") {
            let form = "application/x-www-form-urlencoded";
            call = call.header("Content-Type", form).body(self.body.clone());
        } else if !self.body.is_empty() {
            call = call.json(self.body.clone());
        }
        call.try_send().await
    }
}

/// What is asked in turn, about a patient with an id of its own.
type Mix = Arc<dyn Fn(&str) -> Vec<Asked> + Send + Sync>;

/// A request that was answered: its id, which of the mix it is, the status, and how many rows must tell of that.
type Answered = (String, usize, u16, RangeInclusive<i64>);

fn patient(id: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#)
}

/// All that two Bundles can have, about patients of their own: one in which all is done, one in which not all may be.
fn bundles(id: &str) -> [Asked; 2] {
    let [one, two] = ["t", "b"].map(|kind| format!("{id}-{kind}"));
    let (first, second) = (format!("Patient/{one}"), format!("Patient/{two}"));
    let (one, two, new) = (patient(&one), patient(&two), r#"{"resourceType":"Patient"}"#);
    let transaction = [
        ("PUT", first.as_str(), one.as_str()),
        ("POST", "Patient", new),
        ("GET", "Patient?_count=1", ""),
    ];
    let batch = [
        ("PUT", second.as_str(), two.as_str()),
        ("POST", "Patient", r#"{"resourceType":"Patient","nope":1}"#),
        ("POST", "Patient", new),
        ("DELETE", first.as_str(), ""),
    ];
    [Asked::bundle(Bundle::Transaction, &transaction), Asked::bundle(Bundle::Batch, &batch)]
}

/// By anybody.
fn open() -> Mix {
    Arc::new(|id: &str| {
        let (url, body) = (format!("/Patient/{id}"), patient(id));
        let [transaction, batch] = bundles(id);
        vec![
            Asked::new("PUT", &url, &body),
            Asked::new("GET", &url, ""),
            Asked::new("GET", "/Patient/nobody", ""),
            Asked::new("GET", "/Patient?_count=2", ""),
            Asked::new("POST", "/Patient", r#"{"resourceType":"Patient"}"#),
            Asked::new("POST", "/Patient", r#"{"resourceType":"Patient","nope":1}"#),
            Asked::new("GET", "/Patient?birthdate=never", ""),
            Asked::new("GET", "/AuditEvent?_count=1", ""),
            Asked::new("PUT", &url, "{"),
            Asked::new("DELETE", "/AuditEvent/nobody", ""),
            Asked::new("POST", "/Patient/_search", "_count=2"),
            Asked::new("GET", format!("{url}/_history"), ""),
            Asked::new("GET", format!("{url}/$everything"), ""),
            Asked::new("GET", "/Patient/_history?_count=2", ""),
            transaction,
            batch,
            Asked::new("DELETE", &url, ""),
        ]
    })
}

/// By a service, by the app of the patient `a` beside whom there is `b`, and by who proves nothing.
fn with_tokens(service: &Arc<str>, app: &Arc<str>) -> Mix {
    let (service, app) = (service.clone(), app.clone());
    let unknown: Arc<str> = format!("Bearer kiln_at_{}", "a".repeat(43)).into();
    let form = "grant_type=client_credentials&scope=system%2FPatient.rs&client_id=nobody&client_secret=guess";
    Arc::new(move |id: &str| {
        let (url, body) = (format!("/Patient/{id}"), patient(id));
        let [transaction, batch] = bundles(id);
        vec![
            Asked::new("PUT", &url, &body).by(&service),
            Asked::new("GET", &url, "").by(&service),
            Asked::new("GET", "/Patient/a", "").by(&app).always(200, ""),
            Asked::new("GET", "/Patient/b", "").by(&app).always(404, "out of reach: "),
            Asked::new("GET", "/Patient/b/_history/1", "").by(&app).always(404, "out of reach: "),
            Asked::new("GET", "/Observation/x", "").by(&service).always(403, "scope"),
            Asked::new("POST", "/Observation", OBSERVATION).by(&service).always(403, "scope"),
            Asked::new("PUT", "/Patient/a", &patient("a")).by(&app).always(403, "scope"),
            Asked::new("GET", "/Patient/a", "").by(&unknown).always(401, ""),
            Asked::new("GET", "/Patient/a", "").always(401, ""),
            Asked::new("GET", "/Patient?_count=2", "").by(&service),
            Asked::new("GET", "/Patient?_count=2", "").by(&app).always(200, ""),
            Asked::new("GET", "/AuditEvent?_count=1", "").by(&service),
            Asked::new("POST", "/auth/token", form).always(401, ""),
            Asked::new("POST", "/Patient/_search", "_count=2").by(&service),
            Asked::new("POST", "/Observation/_search", "_count=2").by(&app).always(403, "scope"),
            Asked::new("GET", format!("{url}/_history"), "").by(&service),
            transaction.by(&service),
            batch.by(&service),
            Asked::new("DELETE", &url, "").by(&service),
        ]
    })
}

/// Asks all the time; what was answered.
async fn ask(client: Client, stop: Arc<AtomicBool>, name: String, mix: Mix) -> Vec<Answered> {
    let mut answered = Vec::new();
    for number in 0_u32.. {
        // Who is to stop asks all of it once more: the server is back by then, so each is answered.
        let is_last = stop.load(Ordering::Relaxed);
        let id = format!("{name}-{number}");
        for (at, asked) in mix(&id).into_iter().enumerate() {
            let request = format!("{id}-{at}");
            match asked.send(&client, &request).await {
                // Nothing was disclosed.
                Ok(answer) if answer.status == 503 => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(answer) => {
                    let rows = asked.recorded(&answer).into_iter();
                    answered.extend(rows.map(|(status, n)| (request.clone(), at, status, n)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        if is_last {
            break;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_that_was_given_before_a_kill_is_on_record() {
    let process = Process::start_with(&["audit.reads=flushed"]).await;
    kill(process, open(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_before_a_kill_is_on_record_by_default() {
    kill(Process::start().await, open(), false).await;
}

/// The first reads of a server open its connections, and the database goes away before their rows are on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_reads_of_a_server_outlive_a_kill_of_its_database() {
    let mut process = Process::start().await;
    process.client.put("/Patient/a", patient("a")).await.expect(201);
    for round in 0..3 {
        process.kill_and_restart();
        process.ready(BACK_WITHIN).await;
        let mut answered = Vec::new();
        for (at, url) in ["/Patient/a", "/Patient?_id=a", "/Patient/a/_history"].iter().enumerate()
        {
            let request = format!("k{round}-{at}");
            let asked = Asked::new("GET", *url, "");
            asked.send(&process.client, &request).await.unwrap().expect(200);
            answered.push((request, at, 200, 1..=1));
        }
        process.kill_postgres(BACK_WITHIN).await;
        process.ready(BACK_WITHIN).await;
        are_written_again(&process, round, &answered).await;
        let mix = vec![Asked::default(); answered.len()];
        are_on_record(&process, (round, &mix), &answered).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_denied_hidden_or_refused_before_a_kill_is_on_record() {
    let process = Process::start_with(ASKS_FOR_TOKENS).await;
    let token = |arguments: &[&str]| -> Arc<str> {
        let made = process.beside("token", &[&["--minutes", "1440"][..], arguments].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim()).into()
    };
    let service = token(&["--scope", "system/Patient.cruds system/AuditEvent.rs"]);
    for id in ["a", "b"] {
        let put = Asked::new("PUT", format!("/Patient/{id}"), &patient(id)).by(&service);
        put.send(&process.client, id).await.unwrap().expect(201);
    }
    let app = token(&["--scope", "patient/Patient.rs", "--patient", "a"]);
    kill(process, with_tokens(&service, &app), true).await;
}

/// Kills the server or its database, and holds the record against what was answered.
async fn kill(mut process: Process, mix: Mix, is_flushed: bool) {
    let (seed, rounds) = (audit_seed(), if long() { 50 } else { 3 });
    println!("seed {seed}, {rounds} rounds");
    let mut random = Random::new(seed, 0);
    let mut victims: Vec<bool> = Vec::new();
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let name = format!("k{round}-{number}");
                tokio::spawn(ask(process.client.clone(), stop.clone(), name, mix.clone()))
            })
            .collect();
        let until = Duration::from_millis(random.between(300, 1_600).cast_unsigned());
        // Each of both has its turn among the first two.
        let kills_database = match victims[..] {
            [first] => !first,
            _ => random.chance(50),
        };
        victims.push(kills_database);
        println!("round {round}: the database {kills_database}, after {until:?}");
        tokio::time::sleep(until).await;
        if kills_database {
            process.kill_postgres(BACK_WITHIN).await;
        } else {
            process.kill_and_restart();
        }
        process.ready(BACK_WITHIN).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.store(true, Ordering::Relaxed);
        let mut answered = Vec::new();
        for client in clients {
            answered.extend(client.await.unwrap());
        }
        if !is_flushed && kills_database {
            are_written_again(&process, round, &answered).await;
        }
        assert!(answered.len() > 20, "round {round}: only {} answers", answered.len());
        are_on_record(&process, (round, &mix("")[..]), &answered).await;
    }
    let verified = process.beside("audit", &["verify", "--quiet"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// Waits until each answer of a round has a row, for as long as that may take.
async fn are_written_again(process: &Process, round: u64, answered: &[Answered]) {
    let database = connect(&process.database_url()).await;
    let sql = "SELECT DISTINCT request_id FROM ledger WHERE request_id LIKE $1";
    let began = std::time::Instant::now();
    while began.elapsed() < REWRITTEN_WITHIN {
        let rows = database.query(sql, &[&format!("k{round}-%")]).await.unwrap();
        let recorded: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
        if answered.iter().all(|(request, ..)| recorded.contains(request)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Fails unless each answer of a round has one row, which says how it ended and why.
async fn are_on_record(process: &Process, (round, mix): (u64, &[Asked]), answered: &[Answered]) {
    let database = connect(&process.database_url()).await;
    // All of the round in one scan: an index by requests there is none. The hundredth miss of the app within a
    // minute is an alert beside its row (V1).
    let sql = "SELECT request_id, outcome = 0, count(*), coalesce(min(failure), '') FROM ledger \
         WHERE request_id LIKE $1 AND interaction <> $2 GROUP BY 1, 2";
    let rows = database.query(sql, &[&format!("k{round}-%"), &ALERT]).await.unwrap();
    let recorded: HashMap<(String, bool), (i64, String)> =
        rows.iter().map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3)))).collect();
    for (request, at, status, wanted) in answered {
        let always = &mix[*at].always;
        let found = recorded.get(&(request.clone(), *status < 400));
        let (rows, why) = found.map_or((0, ""), |(rows, why)| (*rows, why.as_str()));
        let told = format!("round {round}: {request} was answered {status}");
        assert!(wanted.contains(&rows), "{told}: {rows} rows, not {wanted:?}");
        if let Some((expected, said)) = always {
            assert_eq!(status, expected, "round {round}: {request}");
            assert!(why.contains(said), "round {round}: {request} was answered {status}: {why}");
        }
    }
    // Each of those that are always answered the same is among them.
    for (at, asked) in mix.iter().enumerate().filter(|(_, asked)| asked.always.is_some()) {
        let is_in = answered.iter().any(|(_, of, ..)| *of == at);
        assert!(is_in, "round {round}: {} {} was never answered", asked.method, asked.url);
    }
}
