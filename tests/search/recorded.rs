//! What a search shows is on record before it is shown, by the same statement where the page is all
//! that is shown: one row, whose versions and patients are those of the page.

use std::sync::Arc;

use futures_util::future::join_all;
use kiln::access::interaction::Kind;
use kiln::access::{Actor, Gate, Outcome, RequestContext};
use kiln::clock::{SystemClock, SystemIds};

use crate::harness::client::Answer;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

/// Two patients with two observations of each, and one of nobody.
async fn five(server: &TestServer) {
    let client = &server.client;
    for patient in ["a", "b"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{patient}"}}"#);
        client.put(&format!("/Patient/{patient}"), body).await.expect(201);
    }
    for (id, subject) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "b"), ("5", "")] {
        let subject = match subject {
            "" => String::new(),
            id => format!(r#","subject":{{"reference":"Patient/{id}"}}"#),
        };
        let body = format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"x"}},
            "effectiveDateTime":"2020-01-0{id}"{subject}}}"#
        );
        client.put(&format!("/Observation/{id}"), body).await.expect(201);
    }
}

/// How many rows a request left that are of a success with so many patients; and how many rows it left
/// at all. A search is told by its query and its patients alone.
async fn rows(server: &TestServer, request: &str, patients: usize) -> (i64, i64) {
    let all = format!("SELECT count(*) FROM ledger WHERE request_id = '{request}'");
    let right = format!(
        "{all} AND outcome = 0 AND failure IS NULL AND vid IS NULL AND logical_id IS NULL \
         AND entities = '{{}}' AND cardinality(pats) = {patients} \
         AND method = 'GET' AND query LIKE '/fhir/%' AND actor <> '' AND at > now() - interval '1 min'"
    );
    (server.database.number(&right).await, server.database.number(&all).await)
}

async fn ask(server: &TestServer, url: &str, request: &str) -> Answer {
    server.client.call("GET", url).header("X-Request-Id", request).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_tells_the_page_that_was_shown_and_no_more() {
    let server = TestServer::start().await;
    five(&server).await;
    for (request, url, shown, patients) in [
        ("walked", "/Observation?_sort=-date&_count=2", &["Observation/5", "Observation/4"][..], 1),
        (
            "sorted",
            "/Observation?_sort=code,date&_count=3",
            &["Observation/1", "Observation/2", "Observation/3"],
            2,
        ),
        ("all", "/Observation?subject=Patient/a", &["Observation/3", "Observation/1"], 1),
        (
            "types",
            "/?_type=Patient,Observation&_id=a,5&_sort=_id",
            &["Observation/5", "Patient/a"],
            1,
        ),
        ("untold", "/Observation?_sort=date&_count=1&_total=none", &["Observation/1"], 1),
        ("told", "/Observation?_sort=date&_count=1&_total=accurate", &["Observation/1"], 1),
        (
            "others",
            "/Observation?_id=4&_include=Observation:subject",
            &["Observation/4", "Patient/b"],
            1,
        ),
        ("nothing", "/Observation?date=1990", &[], 0),
    ] {
        let answer = ask(&server, url, request).await.expect(200);
        for (at, one) in shown.iter().enumerate() {
            let id = answer.at(&format!("entry[{at}].resource.id"));
            assert_eq!(id.as_deref(), one.split('/').nth(1), "{request}: {answer:?}");
        }
        assert_eq!(rows(&server, request, patients).await, (1, 1), "{request}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_back_is_on_record_as_any_other() {
    let server = TestServer::start().await;
    five(&server).await;
    for (request, url) in [
        ("walked", "/Observation?_sort=date&_count=2"),
        ("sorted", "/Observation?_sort=code,date&_count=2"),
    ] {
        let first = ask(&server, url, request).await.expect(200);
        let next = first.at("link[relation=next].url").unwrap();
        let second = ask(&server, &next, &format!("{request}-2")).await.expect(200);
        assert_eq!(rows(&server, &format!("{request}-2"), 2).await, (1, 1), "{next}");
        let previous = second.at("link[relation=previous].url").unwrap();
        let back = ask(&server, &previous, &format!("{request}-1")).await.expect(200);
        assert_eq!(back.at("entry[0].resource.id").as_deref(), Some("1"));
        assert_eq!(rows(&server, &format!("{request}-1"), 2).await, (1, 1), "{previous}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_at_the_same_time_have_a_row_each_of_what_they_show() {
    let server = TestServer::start().await;
    five(&server).await;
    let searches = (0..40).map(|at| {
        let (server, id) = (&server, 1 + at % 5);
        async move {
            let url = format!("/Observation?_id={id}&_sort=date");
            ask(server, &url, &format!("r{at}")).await.expect(200);
        }
    });
    join_all(searches).await;
    for at in 0..40 {
        let patients = usize::from(1 + at % 5 != 5);
        assert_eq!(rows(&server, &format!("r{at}"), patients).await, (1, 1), "r{at}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_not_shown() {
    let server = TestServer::start().await;
    five(&server).await;
    let check = "ALTER TABLE ledger_row ADD CONSTRAINT planted CHECK (request_id <> 'x') NOT VALID";
    server.database.run(check).await;
    let answer = ask(&server, "/Observation?_sort=date", "x").await.expect(503);
    assert!(!answer.text().contains("Observation"), "{answer:?}");
    ask(&server, "/Observation?_sort=date", "y").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_to_sort_is_on_record_as_refused_alone() {
    let server = TestServer::start().await;
    five(&server).await;
    // Rows of the index without resources: enough of them, and quickly made.
    server
        .database
        .run(
            "INSERT INTO srow (rid, idh, s, hi, dk, rt, toks, present) SELECT 1000000 + n, n, s, hi, 0, rt, '{}', 0 \
             FROM generate_series(1, 200001) n, (SELECT s, hi, rt FROM srow JOIN res USING (rid, rt) \
             WHERE id = '1') o",
        )
        .await;
    ask(&server, "/Observation?_sort=code", "x").await.expect(403);
    let refused = "SELECT count(*) FROM ledger WHERE request_id = 'x' AND outcome = 4";
    assert_eq!(server.database.number(refused).await, 1);
    assert_eq!(rows(&server, "x", 0).await.1, 1, "a success beside it");
    server.stop().await;
}

/// Tells what each row of the ledger waits for.
const NOTED: &str = "CREATE TABLE noted (wait text);
        CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        INSERT INTO noted VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
        CREATE TRIGGER noted BEFORE INSERT ON ledger_row FOR EACH ROW EXECUTE FUNCTION noted()";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_what_is_only_read_wait_for_the_disk_as_the_setting_says() {
    for (setting, wait) in [("committed", "off"), ("flushed", "on")] {
        let server = TestServer::start_with(&[("audit.reads", setting)]).await;
        five(&server).await;
        server.database.run(NOTED).await;
        for (url, status) in [
            ("/Patient/a", 200),
            ("/Patient/a/_history", 200),
            ("/Observation?_sort=date", 200),
            ("/Observation?_include=Observation:subject", 200),
        ] {
            server.client.get(url).await.expect(status);
        }
        let number = format!("SELECT count(*) FROM noted WHERE wait = '{wait}'");
        assert_eq!(server.database.number(&number).await, 4, "{setting}");
        assert_eq!(server.database.number("SELECT count(*) FROM noted").await, 4, "{setting}");
        server.stop().await;
    }
}

/// Only answered reads may come to the disk later.
///
/// Covers: security A9.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_what_is_refused_or_decided_wait_for_the_disk_whatever_the_setting_says() {
    let server = TestServer::start_with(&[("audit.reads", "committed")]).await;
    five(&server).await;
    server.database.run(NOTED).await;
    let token = Token::new(&server, "patient/Patient.rs").patient("a");
    let (limited, _stop) = token.client().await;
    let client = &server.client;
    client.get("/Patient/x").await.expect(404);
    client.get("/Patient?birthdate=never").await.expect(400);
    limited.get("/Condition").await.expect(403);
    limited.get("/Patient/b").await.expect(404);
    let request = RequestContext {
        id: "at-the-door".to_owned(),
        method: "POST",
        path_and_query: "/auth/login".to_owned(),
        source: None,
    };
    let actor = Actor { name: "user:ada".to_owned(), request: Arc::new(request) };
    let ids = Arc::new(SystemIds::default());
    let gate = Gate::new(server.store().clone(), Arc::new(SystemClock), ids);
    for (kind, outcome) in [
        (Kind::Login, Outcome::Success),
        (Kind::Login, Outcome::Refused),
        (Kind::BreakGlass, Outcome::Success),
        (Kind::Token, Outcome::Success),
    ] {
        gate.note(kind, &actor, outcome, "a text").await.unwrap();
    }
    let later = "SELECT count(*) FROM noted WHERE wait = 'off'";
    assert_eq!(server.database.number(later).await, 0);
    let at_once = "SELECT count(*) FROM noted WHERE wait = 'on'";
    assert_eq!(server.database.number(at_once).await, 8);
    server.stop().await;
}
