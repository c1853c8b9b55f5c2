//! What one caller asks for does not take the server away from others.
//!
//! Covers: rest 6.42, security H10.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::harness::client::{Answer, Client};
use crate::harness::database::{Database, connect};
use crate::harness::server::TestServer;

const OBSERVATION: &str =
    r#"{"resourceType":"Observation","status":"final","code":{"text":"weight"}}"#;

/// Statements that touch this table wait until the client is dropped.
async fn hold(server: &TestServer, table: &str) -> tokio_postgres::Client {
    let client = connect(&server.database.superuser).await;
    let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    client.batch_execute(&lock).await.unwrap();
    client
}

fn elsewhere(client: &Client) -> Client {
    client.at_address(IpAddr::from([127, 0, 0, 2]))
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_searches_of_one_caller_leave_connections_to_others() {
    let settings = [("database.search_connections", "4"), ("database.search_timeout_ms", "60000")];
    let server = TestServer::start_with(&settings).await;
    let held = hold(&server, "num").await;
    let slow = (0..8).map(|_| {
        let client = server.client.clone();
        tokio::spawn(async move { client.get("/Observation?value-quantity=5").await })
    });
    let slow: Vec<_> = slow.collect();
    server.database.until_waiting(2).await;
    // Who finds no connection within some seconds is refused.
    elsewhere(&server.client).get("/Patient?gender=male").await.expect(200);
    // The caller itself hears that it asks for too much.
    let refused = server.client.get("/Patient?gender=male").await.expect(429);
    assert_eq!(refused.header("Retry-After").as_deref(), Some("1"));
    assert_eq!(refused.at("issue[0].code").as_deref(), Some("throttled"));
    drop(held);
    let statuses: Vec<u16> =
        join_all(slow).await.into_iter().map(|answer| answer.unwrap().status).collect();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    server.client.get("/Patient?gender=male").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_through_everything_holds_back_no_write() {
    let server = TestServer::start_with(&[("database.search_timeout_ms", "60000")]).await;
    let slow = |url: &'static str| {
        let client = server.client.clone();
        tokio::spawn(async move { client.get(url).await })
    };
    for (table, url) in [
        ("meta_use", "/$meta"),
        ("hist_default", "/_history"),
        ("hist_default", "/Patient/_history"),
    ] {
        let id = url.replace(['/', '$', '_'], "x");
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        let held = hold(&server, table).await;
        let asked = [slow(url), slow(url)];
        server.database.until_waiting(2).await;
        let path = format!("/Patient/{id}");
        let put = server.client.put(&path, body);
        let put = timeout(Duration::from_secs(20), put).await;
        put.unwrap_or_else(|_| panic!("a PUT waits for {url}")).expect(201);
        drop(held);
        for answer in join_all(asked).await {
            answer.unwrap().expect(200);
        }
    }
    server.stop().await;
}

/// Creates on four criteria at once.
fn creates(server: &TestServer) -> Vec<tokio::task::JoinHandle<Answer>> {
    let create = |number| {
        let client = server.client.clone();
        tokio::spawn(async move {
            let criteria = format!("value-quantity={number}");
            let call = client.call("POST", "/Observation").header("If-None-Exist", &criteria);
            call.json(OBSERVATION).send().await
        })
    };
    (0..4).map(create).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_criteria_end_as_searches_do() {
    let settings = [("database.search_timeout_ms", "2000"), ("database.write_connections", "4")];
    let server = TestServer::start_with(&settings).await;
    let held = hold(&server, "num").await;
    let began = Instant::now();
    for answer in join_all(creates(&server)).await {
        let answer = answer.unwrap().expect(504);
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("timeout"), "{answer:?}");
    }
    // A statement that is no search may take 30 seconds.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    drop(held);
    for answer in join_all(creates(&server)).await {
        answer.unwrap().expect(201);
    }
    server.stop().await;
}

/// There is one connection for searches: the next one uses it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_out_of_time_is_504_and_its_connection_is_used_again() {
    let settings = [("database.search_connections", "1"), ("database.search_timeout_ms", "6000")];
    let server = TestServer::start_with(&settings).await;
    let client = &server.client;
    client.post("/Observation", OBSERVATION).await.expect(201);
    let url = "/Observation?value-quantity=5";
    client.get(url).await.expect(200);
    let held = hold(&server, "num").await;
    let waiting = "SELECT pid::bigint FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock'";
    let mut connections = Vec::new();
    for _ in 0..2 {
        let asking = client.clone();
        let slow = tokio::spawn(async move { asking.get(url).await });
        server.database.until_waiting(1).await;
        connections.push(server.database.number(waiting).await);
        let late = slow.await.unwrap().expect(504);
        assert_eq!(late.at("resourceType").as_deref(), Some("OperationOutcome"));
        assert_eq!(late.at("issue[0].code").as_deref(), Some("timeout"), "{late:?}");
        assert_eq!(late.at("issue[0].severity").as_deref(), Some("error"), "{late:?}");
        client.get("/Patient?gender=male").await.expect(200);
    }
    assert_eq!(connections[0], connections[1], "it was closed");
    drop(held);
    client.get(url).await.expect(200);
    server.stop().await;
}

/// Each limit of what a search may ask for, by settings that are small: what is at it, and what is beyond it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_search_may_ask_for_is_set() {
    let settings =
        [("search.max_chain", "2"), ("search.max_values", "3"), ("search.max_parameters", "4")];
    let server = TestServer::start_with(&settings).await;
    let client = &server.client;
    for (allowed, refused, what) in [
        (
            "Patient?organization.partof.name=x",
            "Patient?organization.partof.partof.name=x",
            "links",
        ),
        (
            "Patient?_has:Observation:patient:encounter.status=x",
            "Patient?_has:Observation:patient:encounter.location.status=x",
            "links",
        ),
        ("Patient?name=a,b,c", "Patient?name=a,b,c,d", "values"),
        ("Patient?_id=a,b,c", "Patient?_id=a,b,c,d", "values"),
        (
            "Patient?name=a&name=b&name=c&_count=1",
            "Patient?name=a&name=b&name=c&name=d&_count=1",
            "parameters",
        ),
    ] {
        client.get(&format!("/{allowed}")).await.expect(200);
        let answer = client.get(&format!("/{refused}")).await.expect(400);
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("too-costly"), "{refused}");
        let told = answer.at("issue[0].diagnostics").unwrap();
        assert!(told.contains(&format!(" {what}, more than the ")), "{refused}: {told}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_come_along_with_a_search_is_set() {
    let settings = [("search.max_included", "2"), ("search.max_iterations", "2")];
    let server = TestServer::start_with(&settings).await;
    let client = &server.client;
    let organization = |at: u32| {
        format!(
            r#"{{"resourceType":"Organization","id":"o{at}","name":"N",
                "partOf":{{"reference":"Organization/o{}"}}}}"#,
            at + 1
        )
    };
    for at in 0..4 {
        client.put(&format!("/Organization/o{at}"), organization(at)).await.expect(201);
    }
    let patient = concat!(
        r#"{"resourceType":"Patient","#,
        r#""managingOrganization":{"reference":"Organization/o3"}}"#
    );
    for _ in 0..3 {
        client.post("/Patient", patient).await.expect(201);
    }
    let included = |text: &str| text.matches(r#""mode":"include""#).count();
    for (url, count, is_cut) in [
        ("/Organization?_id=o1&_include:iterate=Organization:partof", 2, false),
        ("/Organization?_id=o0&_include:iterate=Organization:partof", 2, true),
        ("/Organization?_id=o0,o1&_include=Organization:partof", 1, false),
        ("/Organization?_id=o3&_revinclude=Patient:organization", 2, true),
    ] {
        let answer = client.get(url).await.expect(200);
        assert_eq!(included(&answer.text()), count, "{url}: {answer:?}");
        let warned = answer.at("entry[last].resource.issue[0].severity");
        assert_eq!(warned.as_deref(), is_cut.then_some("warning"), "{url}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_that_would_cost_much_is_told_to_who_asks_for_it() {
    let server = TestServer::start().await;
    let client = &server.client;
    let bundle = |patient: &str, count: usize| {
        let entry = format!(
            r#"{{"resource":{{"resourceType":"Basic","code":{{"text":"x"}},
                "subject":{{"reference":"Patient/{patient}"}}}},
                "request":{{"method":"POST","url":"Basic"}}}}"#
        );
        let entries = vec![entry; count].join(",");
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
    };
    client.post("/", bundle("few", 20)).await.expect(200);
    client.post("/", bundle("many", 1_100)).await.expect(200);
    let cheap = client.get("/Basic?subject=Patient/few&_count=1").await.expect(200);
    assert_eq!(cheap.at("total").as_deref(), Some("20"));
    let url = "/Basic?subject=Patient/many&_count=1";
    let costly = client.get(url).await.expect(200);
    assert_eq!(costly.at("total"), None, "{costly:?}");
    assert!(costly.at("link[relation=next].url").is_some(), "{costly:?}");
    for (more, expected) in [("&_total=accurate", Some("1100")), ("&_total=none", None)] {
        let answer = client.get(&format!("{url}{more}")).await.expect(200);
        assert_eq!(answer.at("total").as_deref(), expected, "{more}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn criteria_that_wait_leave_connections_to_writes() {
    let server = TestServer::start_with(&[("database.write_connections", "4")]).await;
    let hasher = server.store().hasher();
    let locks: Vec<i64> =
        (0..4).map(|number| hasher.lock(&format!("Observation?value-quantity={number}"))).collect();
    let held = connect(&server.database.superuser).await;
    held.query("SELECT pg_advisory_lock(k) FROM unnest($1::bigint[]) k", &[&locks]).await.unwrap();
    let creates = creates(&server);
    server.database.until_waiting(2).await;
    // Time for the others to do the same.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                   wait_event = 'advisory'";
    assert_eq!(server.database.number(waiting).await, 2);
    let put = server.client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#);
    timeout(Duration::from_secs(20), put).await.expect("a PUT waits for criteria").expect(201);
    drop(held);
    for answer in join_all(creates).await {
        answer.unwrap().expect(201);
    }
    server.stop().await;
}

/// Memory that the process has for itself, in MiB.
fn private_memory(pid: i64) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: Vec<u64> = pages.split_whitespace().map(|it| it.parse().unwrap()).collect();
    (pages[1] - pages[2]) * 4 / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn long_searches_leave_nothing_in_the_memory_of_the_database() {
    let settings = [("database.search_connections", "1"), ("search.max_values", "1000")];
    let server = TestServer::start_with(&settings).await;
    let search = async |values: usize| {
        let values: Vec<String> = (0..values).map(|number| format!("a{number}")).collect();
        let body = format!("_total=none&name={}", values.join(","));
        let call = server.client.call("POST", "/Patient/_search");
        let call = call.header("Content-Type", "application/x-www-form-urlencoded");
        call.body(body).send().await.expect(200);
    };
    search(2).await;
    let pid = "SELECT pid::bigint FROM pg_stat_activity WHERE datname = current_database() \
               AND query LIKE 'WITH %' AND query LIKE '%srow%' AND pid <> pg_backend_pid() \
               ORDER BY query_start DESC LIMIT 1";
    let pid = server.database.number(pid).await;
    search(900).await;
    let before = private_memory(pid);
    for more in 1..=12 {
        search(900 + more).await;
    }
    let after = private_memory(pid);
    assert!(after < before + 16, "{before} MiB, then {after} MiB");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_character_of_nothing_is_refused_and_recorded() {
    let server = TestServer::start().await;
    let refused = |id: &'static str| {
        let sql = format!(
            "SELECT count(*) FROM ledger WHERE request_id = '{id}' AND outcome = 4 AND failure <> ''"
        );
        let database = server.database.clone();
        async move { database.number(&sql).await }
    };
    for (id, url) in [
        ("value", "/Patient?name=%00"),
        ("exact", "/Patient?name:exact=a%00"),
        ("below", "/ValueSet?url:below=http://x%00"),
        ("name", "/Patient?%00=a"),
        ("modifier", "/Patient?name:%00=a"),
        ("history", "/Patient/_history?_since=%00"),
    ] {
        let call = server.client.call("GET", url).header("X-Request-Id", id);
        let call = call.header("Prefer", "handling=strict");
        let answer = call.send().await.expect(400);
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("invalid"), "{url}: {answer:?}");
        assert_eq!(refused(id).await, 1, "{url}");
    }
    let call = server.client.call("POST", "/Patient/_search").header("X-Request-Id", "form");
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    call.body("name=a\0").send().await.expect(400);
    assert_eq!(refused("form").await, 1);
    let call = server.client.call("POST", "/Observation").header("X-Request-Id", "criteria");
    let call = call.header("If-None-Exist", "code=%00");
    call.json(OBSERVATION).send().await.expect(400);
    assert_eq!(refused("criteria").await, 1);
    server.client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    let json = "application/fhir+json";
    let patch = "application/json-patch+json";
    for (id, method, url, kind, body) in [
        ("type", "POST", "/Patient", json, r#"{"resourceType":"Pat\u0000ient"}"#),
        ("kind", "PUT", "/Patient/p", json, r#"{"resourceType":"\u0000","id":"p"}"#),
        ("test", "PATCH", "/Patient/p", patch, r#"[{"op":"test","path":"/a\u0000","value":1}]"#),
        ("from", "PATCH", "/Patient/p", patch, r#"[{"op":"remove","path":"/x\u0000"}]"#),
        ("op", "PATCH", "/Patient/p", patch, r#"[{"op":"\u0000","path":"/active"}]"#),
    ] {
        // XML has no such character, so it must not get into an outcome either.
        let call = server.client.call(method, url).header("X-Request-Id", id);
        let call = call.header("Content-Type", kind).header("Accept", "application/fhir+xml");
        let answer = call.body(body).send().await.expect(400);
        assert!(!answer.text().contains(['\0', '\u{fffd}']), "{id}: {answer:?}");
        assert!(answer.header("Content-Type").unwrap().contains("xml"), "{id}: {answer:?}");
        assert_eq!(refused(id).await, 1, "{id}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_since_a_moment_is_found_by_an_index() {
    let database = Database::migrated().await;
    let client = connect(&database.app).await;
    // Without rows, the database would rather read the table, whatever the statement.
    let settings = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";
    client.batch_execute(settings).await.unwrap();
    let mut seen = 0;
    for sql in kiln::store::statements().filter(|sql| sql.contains("FROM hist h WHERE h.tid = $1"))
    {
        let arguments = sql.split('$').filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().ok()
        });
        let nulls = vec!["NULL"; arguments.max().unwrap_or_default()].join(", ");
        client.batch_execute(&format!("PREPARE history AS {sql}")).await.unwrap();
        let plan = client.simple_query(&format!("EXPLAIN EXECUTE history({nulls})")).await.unwrap();
        client.batch_execute("DEALLOCATE history").await.unwrap();
        let lines = plan.iter().filter_map(|line| match line {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        let lines: Vec<String> = lines.collect();
        let bounded = lines.iter().filter(|line| {
            line.contains("Index Cond") && line.contains("lu >= $5") && line.contains("lu < $7")
        });
        // The current versions; the old ones that were current at that time may be older.
        assert!(bounded.count() >= 1, "{sql}\n{}", lines.join("\n"));
        seen += 1;
    }
    assert_eq!(seen, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_refused_by_its_length_before_it_is_read() {
    let server = TestServer::start().await;
    let search = |body: Vec<u8>, coding: &'static str| {
        let call =
            server.client.call("POST", "/Patient/_search").header("Content-Encoding", coding);
        let call = call.header("Content-Type", "application/x-www-form-urlencoded");
        call.body(body).send()
    };
    let parameters = |count: usize| "a=b&".repeat(count).into_bytes();
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&parameters(2_000_000)).unwrap();
    let bomb = bomb.finish().unwrap();
    let answer = search(bomb, "gzip").await.expect(413);
    assert_eq!(answer.at("issue[0].code").as_deref(), Some("too-long"));
    let answer = search(parameters(100_000), "identity").await.expect(400);
    assert_eq!(answer.at("issue[0].code").as_deref(), Some("too-costly"));
    let url = format!("Patient?{}", "a=b&".repeat(1_001));
    let entry = format!(r#"{{"request":{{"method":"GET","url":"{url}"}}}}"#);
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entry}]}}"#);
    let answer = server.client.post("/", bundle).await.expect(200);
    let code = answer.at("entry[0].response.outcome.issue[0].code");
    assert_eq!(code.as_deref(), Some("too-costly"), "{answer:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_codes_than_an_expansion_may_have_are_given_page_by_page() {
    let server = TestServer::start().await;
    let client = &server.client;
    let put = async |count: u32| {
        let concepts: Vec<_> = (0..count).map(|n| format!(r#"{{"code":"c{n}"}}"#)).collect();
        let body = format!(
            r#"{{"resourceType":"CodeSystem","id":"many","url":"http://x/many","status":"active",
                "content":"complete","concept":[{}]}}"#,
            concepts.join(",")
        );
        let answer = client.put("/CodeSystem/many", body).await;
        assert!(answer.status < 300, "{answer:?}");
    };
    let all = r#"{"resourceType":"ValueSet","id":"all","url":"http://x/all","status":"active",
        "compose":{"include":[{"system":"http://x/many"}]}}"#;
    client.put("/ValueSet/all", all).await.expect(201);
    put(10_001).await;
    let expand = "/ValueSet/$expand?url=http://x/all";
    let refused = client.get(expand).await.expect(422);
    assert_eq!(refused.at("issue[0].code").as_deref(), Some("too-costly"), "{refused:?}");
    let page = client.get(&format!("{expand}&offset=10000&count=5")).await.expect(200);
    assert_eq!(page.at("expansion.total").as_deref(), Some("10001"));
    assert_eq!(page.json().get("expansion").unwrap().items_at("contains").len(), 1);
    put(10_000).await;
    let whole = client.get(expand).await.expect(200);
    assert_eq!(whole.json().get("expansion").unwrap().items_at("contains").len(), 10_000);
    server.stop().await;
}
