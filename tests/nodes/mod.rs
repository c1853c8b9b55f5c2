//! Many nodes on one database: starting at once, seeing each other's writes, and being too old.

mod packages;

use futures_util::future::join_all;
use kiln::app::server::Server;

use crate::harness::client::Client;
use crate::harness::database::Database;
use crate::harness::server::{TestServer, config};

#[tokio::test(flavor = "multi_thread")]
async fn ten_nodes_starting_at_once_migrate_once() {
    let database = Database::empty().await;
    let few = [("database.write_connections", "2"), ("database.read_connections", "1")];
    let starts = (0..10).map(|_| Server::start(config(&database, &few)));
    let mut nodes = Vec::new();
    for started in join_all(starts).await {
        nodes.push(started.unwrap_or_else(|error| panic!("{error}")));
    }
    let again = "SELECT count(*) - count(DISTINCT version) FROM _sqlx_migrations";
    assert_eq!(database.number(again).await, 0);
    let failed = "SELECT count(*) FROM _sqlx_migrations WHERE NOT success";
    assert_eq!(database.number(failed).await, 0);
    let clients: Vec<_> = nodes.iter().map(|node| Client::new(node.address())).collect();
    for (at, client) in clients.iter().enumerate() {
        let body = format!(r#"{{"resourceType":"Patient","id":"n{at}"}}"#);
        client.put(&format!("/Patient/n{at}"), body).await.expect(201);
        let other = &clients[(at + 7) % clients.len()];
        other.get(&format!("/Patient/n{at}")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_newer_than_the_program_is_refused() {
    let database = Database::migrated().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999999, 'of a later version', true, '\\x00', 0)";
    database.run(newer).await;
    let refused = Server::start(config(&database, &[])).await;
    let reason = refused.err().expect("it must not start").to_string();
    assert!(reason.contains("newer"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_to_what_another_node_wrote() {
    let server = TestServer::start().await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let there = Client::new(other.address());
    let body = |active| format!(r#"{{"resourceType":"Patient","id":"p","active":{active}}}"#);
    server.client.put("/Patient/p", body(true)).await.expect(201);
    there.put("/Patient/p", body(false)).await.expect(200);
    let stale = server.client.call("PUT", "/Patient/p").header("If-Match", "W/\"1\"");
    stale.json(body(true)).send().await.expect(412);
    there.delete("/Patient/p").await.expect(204);
    server.client.get("/Patient/p").await.expect(410);
}
