//! A database that does not do as asked: writers that vanish, answers that are lost, statements
//! that take too long. What is stored and what the ledger says must agree with what clients hear.
//!
//! Covers: rest 1.43.

use std::time::Duration;

use futures_util::future::join_all;
use kiln::access::{Caller, Principal, RequestContext};
use kiln::app::server::Server;
use kiln::engine::BundleOptions;
use kiln::fhir::json::parse;

use crate::harness::client::{Answer, Client};
use crate::harness::database::{Database, connect};
use crate::harness::proxy::{Cut, Proxy};
use crate::harness::server::{TestServer, config};

/// In the body of what is sent when the wire is to be cut.
const MARK: &str = "cut-the-wire-here";

fn patient(id: &str, family: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"{family}"}}]}}"#)
}

/// A transaction that writes `id` and reads it back, which opens a transaction of the database.
fn transaction(id: &str, family: &str) -> String {
    let resource = patient(id, family);
    format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[
            {{"resource":{resource},"request":{{"method":"PUT","url":"Patient/{id}"}}}},
            {{"request":{{"method":"GET","url":"Patient/{id}"}}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_vanishes_leaves_its_transaction_to_nobody() {
    let server = TestServer::start_with(&[("database.write_connections", "1")]).await;
    server.client.put("/Patient/p", patient("p", "a")).await.expect(201);
    let locker = connect(&server.database.superuser).await;
    locker.batch_execute("BEGIN; SELECT FROM res FOR UPDATE").await.unwrap();
    let request = RequestContext {
        id: "vanishes".to_owned(),
        method: "POST",
        path_and_query: "/".to_owned(),
        source: None,
    };
    let caller = Caller::new(Principal::open(), request);
    let body = transaction("p", "b");
    let options = BundleOptions::default();
    let bundle = parse(body.as_bytes()).unwrap();
    let writer = server.engine().bundle(bundle, &options, &caller);
    let waited = tokio::time::timeout(Duration::from_millis(500), writer).await;
    assert!(waited.is_err(), "the writer must wait for the row: {waited:?}");
    locker.batch_execute("ROLLBACK").await.unwrap();
    server.client.put("/Patient/q", patient("q", "a")).await.expect(201);
    server.client.get("/Patient/q").await.expect(200);
    let vanished = server.client.get("/Patient/p").await.expect(200);
    assert_eq!(vanished.at("name[0].family").as_deref(), Some("a"));
    server.client.put("/Patient/p", patient("p", "c")).await.expect(200);
}

/// A server whose database is at the other end of a wire that can be cut.
struct Wired {
    client: Client,
    database: Database,
    proxy: Proxy,
    _server: Server,
}

impl Wired {
    async fn start() -> Self {
        let database = Database::migrated().await;
        let proxy = Proxy::before(&database).await;
        let url = proxy.url(&database);
        let server = Server::start(config(&database, &[("database.url", &url)])).await.unwrap();
        Self { client: Client::new(server.address()), database, proxy, _server: server }
    }

    async fn send(&self, method: &str, url: &str, body: String, request: &str) -> Answer {
        let call = self.client.call(method, url).header("X-Request-Id", request);
        call.json(body).send().await
    }

    /// How many rows of the ledger a request left that fulfil `condition`.
    async fn rows(&self, request: &str, condition: &str) -> i64 {
        let query =
            format!("SELECT count(*) FROM ledger WHERE request_id = '{request}' AND ({condition})");
        self.database.number(&query).await
    }

    /// Versions of patients whose family name has `part` in it.
    async fn stored(&self, part: &str) -> i64 {
        let of = |table| {
            format!(
                "(SELECT count(*) FROM {table} WHERE body -> 'name' -> 0 ->> 'family' LIKE '%{part}%')"
            )
        };
        self.database.number(&format!("SELECT {} + {}", of("res"), of("hist"))).await
    }
}

/// The answer to a write that may be stored says so.
fn is_unconfirmed(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("Retry-After").is_some(), "{answer:?}");
    assert_eq!(answer.at("issue[0].code").as_deref(), Some("transient"));
    assert!(answer.text().contains("may be stored"), "{answer:?}");
}

/// The row of the failure that the client saw.
const UNCONFIRMED: &str = "outcome = 8 AND failure LIKE '%may be stored%'";

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_stored_once_and_not_called_a_failure() {
    let wired = Wired::start().await;
    wired.send("PUT", "/Patient/p", patient("p", "a"), "first").await.expect(201);
    for (number, (method, url, body)) in [
        ("POST", "/Patient", patient("x", MARK)),
        ("PUT", "/Patient/p", patient("p", MARK)),
        ("PUT", "/Patient/new", patient("new", MARK)),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!("lost-{number}");
        wired.proxy.cut(MARK, Cut::BeforeItsAnswer);
        let answer = wired.send(method, url, body, &request).await;
        assert!(wired.proxy.has_cut(), "{method} {url}");
        is_unconfirmed(&answer);
        let stored = number as i64 + 1;
        assert_eq!(wired.stored(MARK).await, stored, "{method} {url}");
        // The row in the transaction tells what is stored, the other one what the client heard.
        assert_eq!(wired.rows(&request, "outcome = 0").await, 1, "{method} {url}");
        assert_eq!(wired.rows(&request, UNCONFIRMED).await, 1, "{method} {url}");
        assert_eq!(wired.rows(&request, "true").await, 2, "{method} {url}");
        let query = format!(
            "SELECT count(DISTINCT (grp, rt, logical_id, vid)) FROM ledger WHERE request_id = '{request}'"
        );
        assert_eq!(wired.database.number(&query).await, 1, "{method} {url}: rows of two things");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_commit_is_not_answered_is_stored_once_with_all_its_rows() {
    let wired = Wired::start().await;
    wired.proxy.cut("COMMIT", Cut::BeforeItsAnswer);
    let answer = wired.send("POST", "/", transaction("t", MARK), "lost").await;
    assert!(wired.proxy.has_cut());
    is_unconfirmed(&answer);
    assert_eq!(wired.stored(MARK).await, 1);
    assert_eq!(wired.rows("lost", "outcome = 0").await, 3);
    assert_eq!(wired.rows("lost", UNCONFIRMED).await, 3);
    assert_eq!(wired.rows("lost", "true").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_never_arrived_is_not_stored_and_on_record() {
    let wired = Wired::start().await;
    for (request, mark, body, url, rows) in [
        ("gone-create", MARK, patient("x", MARK), "/Patient", 1),
        ("gone-commit", "COMMIT", transaction("t", MARK), "/", 3),
    ] {
        wired.proxy.cut(mark, Cut::BeforeItArrives);
        let answer = wired.send("POST", url, body, request).await;
        assert!(wired.proxy.has_cut(), "{request}");
        is_unconfirmed(&answer);
        assert_eq!(wired.stored(MARK).await, 0, "{request}");
        assert_eq!(wired.rows(request, UNCONFIRMED).await, rows, "{request}");
        assert_eq!(wired.rows(request, "true").await, rows, "{request}");
        wired.send("POST", "/Patient", patient("x", "b"), "after").await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_that_share_a_lost_answer_are_each_stored_once() {
    let wired = Wired::start().await;
    wired.proxy.cut(MARK, Cut::BeforeItsAnswer);
    let creates = (0..40).map(|number| {
        let family = if number == 20 { MARK.to_owned() } else { format!("shared-{number}") };
        let body = patient("x", &family);
        let wired = &wired;
        async move { wired.send("POST", "/Patient", body, &format!("share-{number}")).await }
    });
    let mut lost = 0;
    for (number, answer) in join_all(creates).await.into_iter().enumerate() {
        let request = format!("share-{number}");
        assert_eq!(wired.rows(&request, "outcome = 0").await, 1, "{request}");
        if answer.status == 201 {
            assert_eq!(wired.rows(&request, "true").await, 1, "{request}");
        } else {
            is_unconfirmed(&answer);
            assert_eq!(wired.rows(&request, UNCONFIRMED).await, 1, "{request}");
            lost += 1;
        }
    }
    assert!(lost > 0 && wired.proxy.has_cut(), "no answer was lost");
    assert_eq!(wired.stored("shared-").await + wired.stored(MARK).await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_fails_only_the_write_that_waits() {
    let server = TestServer::start_with(&[("database.statement_timeout_ms", "3000")]).await;
    for id in ["p1", "p2", "p3"] {
        server.client.put(&format!("/Patient/{id}"), patient(id, "a")).await.expect(201);
    }
    let locker = connect(&server.database.superuser).await;
    locker.batch_execute("BEGIN; SELECT FROM res FOR UPDATE").await.unwrap();
    // Two that wait for their rows, so that what comes then gathers for one statement.
    let waiting = ["p1", "p2", "p3"].into_iter().enumerate().map(|(turn, id)| {
        let client = server.client.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(100) * turn as u32).await;
            client.put(&format!("/Patient/{id}"), patient(id, "b")).await
        }
    });
    let creates = (0..20).map(|number| {
        let client = server.client.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            client.post("/Patient", patient("x", &format!("new-{number}"))).await
        }
    });
    let (waited, written) = tokio::join!(join_all(waiting), join_all(creates));
    locker.batch_execute("ROLLBACK").await.unwrap();
    for answer in waited {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(!answer.text().contains("may be stored"), "{answer:?}");
    }
    for answer in written {
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let made = "SELECT count(*) FROM res WHERE body -> 'name' -> 0 ->> 'family' LIKE 'new-%'";
    assert_eq!(server.database.number(made).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_is_our_fault_and_not_another_writers() {
    let server = TestServer::start().await;
    server.client.put("/Patient/p", patient("p", "a")).await.expect(201);
    // As after a restore that forgot the sequence: the next node gives keys out again.
    server.database.run("SELECT setval('rid_seq', min(rid), false) FROM res").await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let there = Client::new(other.address());
    let call = there.call("POST", "/Patient").header("X-Request-Id", "taken");
    call.json(patient("x", "b")).send().await.expect(500);
    let rows = "SELECT count(*) FROM ledger WHERE request_id = 'taken' AND outcome = 8";
    assert_eq!(server.database.number(rows).await, 1);
    // The key after it is free.
    there.post("/Patient", patient("x", "b")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_for_a_write_is_not_told_to_repeat_it() {
    let server = TestServer::start_with(&[("http.request_timeout_s", "3")]).await;
    server.client.put("/Patient/p", patient("p", "a")).await.expect(201);
    let locker = connect(&server.database.superuser).await;
    locker.batch_execute("BEGIN; LOCK TABLE res IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let transaction = transaction("t", "late");
    let (create, update, bundle, read) = tokio::join!(
        server.client.post("/Patient", patient("x", "late")),
        server.client.put("/Patient/p", patient("p", "late")),
        server.client.post("/", transaction),
        server.client.get("/Patient/p"),
    );
    for answer in [create, update, bundle] {
        let answer = answer.expect(504);
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("timeout"));
        assert_eq!(answer.header("Retry-After"), None, "{answer:?}");
        let text = answer.text();
        assert!(text.contains("may be stored") && !text.contains("try again"), "{text}");
    }
    let read = read.expect(504);
    assert!(read.text().contains("try again") && read.header("Retry-After").is_some(), "{read:?}");
    locker.batch_execute("ROLLBACK").await.unwrap();
    // What was said is so.
    let stored = "SELECT count(*) FROM res WHERE body -> 'name' -> 0 ->> 'family' = 'late'";
    for _ in 0..100 {
        if server.database.number(stored).await == 3 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} are stored", server.database.number(stored).await);
}
