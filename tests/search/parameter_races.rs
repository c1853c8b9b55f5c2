//! Search parameters that come into force while others write, on several nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln::app::server::Server;

use crate::harness::client::Client;
use crate::harness::database::connect;
use crate::harness::server::{TestServer, config};

const PATIENCE: Duration = Duration::from_mins(1);

fn parameter(id: &str, code: &str, expression: &str) -> String {
    format!(
        r#"{{"resourceType":"SearchParameter","id":"{id}","url":"http://example.org/sp/{id}",
        "name":"{id}","status":"active","description":"d","code":"{code}","base":["Patient"],
        "type":"token","expression":"{expression}"}}"#
    )
}

/// The url of the parameter that the node says it has under a code.
async fn definition(client: &Client, code: &str) -> Option<String> {
    let statement = client.get("/metadata").await.expect(200).json();
    let resources = statement.items_at("rest").first()?.items_at("resource").to_vec();
    let patient = resources.iter().find(|it| it.str_at("type") == Some("Patient"))?;
    let has_it = |it: &&kiln::fhir::json::Value<'_>| it.str_at("name") == Some(code);
    let found = patient.items_at("searchParam").iter().find(has_it)?;
    found.str_at("definition").map(str::to_owned)
}

async fn when_defined(client: &Client, code: &str) -> String {
    let began = Instant::now();
    loop {
        if let Some(url) = definition(client, code).await {
            return url;
        }
        assert!(began.elapsed() < PATIENCE, "{code} never came into force");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_while_a_parameter_comes_into_force_is_found_by_it() {
    let server = TestServer::start().await;
    let client = server.client.clone();
    // Its id is being taken by somebody: the create waits inside its statement, its rows long made.
    let mut blocker = connect(&server.database.owner).await;
    let taking = blocker.transaction().await.unwrap();
    let take = "INSERT INTO ident (tid, rt, id, rid, dk, dh) SELECT tid, rt, 'late', rid, dk, dh \
                FROM ident WHERE id = 'first'";
    client.put("/Patient/first", r#"{"resourceType":"Patient","id":"first"}"#).await.expect(201);
    taking.execute(take, &[]).await.unwrap();
    let hash = "UPDATE ident SET dh = $1 WHERE id = 'late'";
    // The same identity has the same spread.
    let spread = server
        .store()
        .hasher()
        .identity(kiln::fhir::ResourceType::PATIENT, &"late".parse().unwrap());
    taking.execute(hash, &[&((spread >> 32) as i32)]).await.unwrap();
    let writer = client.clone();
    let late = tokio::spawn(async move {
        let body = r#"{"resourceType":"Patient","id":"late","gender":"female"}"#;
        writer.put("/Patient/late", body).await
    });
    server.database.until_waiting(1).await;
    let sex = parameter("sex", "sex", "Patient.gender");
    client.put("/SearchParameter/sex", sex).await.expect(201);
    // Time enough to build it for what is there, were the write not waited for.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!late.is_finished(), "it was to wait");
    taking.rollback().await.unwrap();
    late.await.unwrap().expect(201);
    when_defined(&client, "sex").await;
    let found = client.get("/Patient?sex=female").await.expect(200);
    assert!(found.text().contains("Patient/late"), "{found:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_a_parameter_whatever_node_writes_at_whatever_moment() {
    let server = TestServer::start().await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let clients = [server.client.clone(), Client::new(other.address())];
    let stop = Arc::new(AtomicBool::new(false));
    let writers = clients.clone().into_iter().enumerate().map(|(node, client)| {
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let id = format!("w{node}-{count}");
                let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"other"}}"#);
                client.put(&format!("/Patient/{id}"), body.clone()).await.expect(201);
                let changed = body.replace(r#""other""#, r#""male""#);
                client.put(&format!("/Patient/{id}"), changed).await.expect(200);
                count += 1;
            }
            count
        })
    });
    let writers: Vec<_> = writers.collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sex = parameter("sex", "sex", "Patient.gender");
    clients[0].put("/SearchParameter/sex", sex).await.expect(201);
    for client in &clients {
        when_defined(client, "sex").await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    assert!(written > 10, "only {written}");
    for client in &clients {
        let count = async |query: &str| {
            let url = format!("/Patient?{query}&_summary=count&_total=accurate");
            client.get(&url).await.expect(200).at("total").unwrap()
        };
        assert_eq!(count("sex=male").await, written.to_string());
        assert_eq!(count("sex=other").await, "0");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_definitions_of_one_code_one_comes_into_force_on_all_nodes() {
    let server = TestServer::start().await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let (here, there) = (server.client.clone(), Client::new(other.address()));
    here.put("/Patient/p", r#"{"resourceType":"Patient","id":"p","gender":"male"}"#)
        .await
        .expect(201);
    let one = parameter("one", "sex", "Patient.gender");
    let two = parameter("two", "sex", "Patient.maritalStatus");
    let (first, second) =
        tokio::join!(here.put("/SearchParameter/one", one), there.put("/SearchParameter/two", two));
    // Neither node could know of the other: what both stored, only one of which is used.
    assert!([201, 422].contains(&first.status), "{first:?}");
    assert!([201, 422].contains(&second.status), "{second:?}");
    let winner = when_defined(&here, "sex").await;
    assert_eq!(when_defined(&there, "sex").await, winner);
    assert_eq!(server.database.number("SELECT count(*) FROM search_parameter").await, 1);
    let males = if winner.ends_with("/one") { "1" } else { "0" };
    for client in [&here, &there] {
        let found = client.get("/Patient?sex=male&_total=accurate").await.expect(200);
        assert_eq!(found.at("total").as_deref(), Some(males), "{found:?}");
    }
    // Who is in force stays so, whatever is stored beside it later.
    let third = parameter("a-third", "sex", "Patient.active");
    there.put("/SearchParameter/a-third", third).await.expect(422);
    assert_eq!(when_defined(&there, "sex").await, winner);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_waits_for_a_build_leaves_no_row_behind() {
    let server = TestServer::start().await;
    let client = server.client.clone();
    let body =
        |gender: &str| format!(r#"{{"resourceType":"Patient","id":"p","gender":"{gender}"}}"#);
    client.put("/Patient/p", body("other")).await.expect(201);
    // What a build does to a resource, with time to think.
    let mut builder = connect(&server.database.owner).await;
    let build = builder.transaction().await.unwrap();
    let rid = build.query_one("SELECT rid FROM res WHERE id = 'p' FOR NO KEY UPDATE", &[]).await;
    let rid: i64 = rid.unwrap().get(0);
    let writer = client.clone();
    let body_of_update = body("male");
    let update = tokio::spawn(async move { writer.put("/Patient/p", body_of_update).await });
    server.database.until_waiting(1).await;
    assert!(!update.is_finished(), "it was to wait");
    for sql in [
        "CREATE TEMP TABLE made ON COMMIT DROP AS SELECT * FROM tok WHERE rid = {}",
        "DELETE FROM tok WHERE rid = {}",
        "INSERT INTO tok SELECT * FROM made",
        "UPDATE res SET xid = pg_current_xact_id() WHERE rid = {}",
    ] {
        build.batch_execute(&sql.replace("{}", &rid.to_string())).await.unwrap();
    }
    build.commit().await.unwrap();
    update.await.unwrap().expect(200);
    let total = async |query: &str| {
        let url = format!("/Patient?{query}&_summary=count&_total=accurate");
        client.get(&url).await.expect(200).at("total").unwrap()
    };
    assert_eq!(total("gender=male").await, "1");
    assert_eq!(total("gender=other").await, "0");
    let left = "SELECT count(*) FROM tok t WHERE NOT EXISTS \
                (SELECT FROM srow s WHERE s.rid = t.rid AND t.h = ANY(s.toks))";
    assert_eq!(server.database.number(left).await, 0, "rows that nothing knows");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_for_newer_parameters_get_them_while_others_are_chosen() {
    let server = TestServer::start_with(&[("database.write_connections", "2")]).await;
    let (client, store) = (&server.client, server.store());
    // Another node chooses, so that ours waits for it on one of its two connections.
    let mut other = connect(&server.database.owner).await;
    let choosing = other.transaction().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(hashtext('kiln_search_parameters'))";
    choosing.execute(lock, &[]).await.unwrap();
    let draft = parameter("sex", "sex", "Patient.gender").replace("active", "draft");
    client.put("/SearchParameter/sex", draft).await.expect(201);
    server.database.until_waiting(1).await;
    // As if an epoch had come that this node does not know; the write keeps the other connection.
    let known = store.parameters().unwrap();
    store.use_extractor(known.extractor.clone(), known.epoch - 1);
    let write = client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#);
    let written = tokio::time::timeout(Duration::from_secs(20), write).await;
    written.expect("it waits for who waits for it").expect(201);
    assert_eq!(store.parameters().unwrap().epoch, known.epoch);
    choosing.rollback().await.unwrap();
    server.stop().await;
}
