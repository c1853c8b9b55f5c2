//! A database that does not do as asked: writers that vanish, answers that are lost, statements
//! that take too long. What is stored and what the ledger says must agree with what clients hear.

use std::time::Duration;

use kiln::access::{Caller, Principal, RequestContext};
use kiln::engine::BundleOptions;
use kiln::fhir::json::parse;

use crate::harness::database::connect;
use crate::harness::server::TestServer;

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
