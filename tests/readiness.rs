//! `/health`: a server says that it can serve when it can, and only then.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use kiln::app::server::Server;

use crate::harness::client::{Answer, Client};
use crate::harness::database::{Database, connect};
use crate::harness::server::config;
use crate::harness::wire::{State, Wire};

/// Longest time until a change of the database shows.
const PATIENCE: Duration = Duration::from_secs(10);

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The answer to a GET of `path` beside the FHIR base, once it has the status `expected`.
async fn becomes(client: &Client, path: &str, expected: u16) -> Answer {
    let began = Instant::now();
    let url = format!("{}{path}", client.root());
    loop {
        let answer = client.call("GET", &url).try_send().await;
        match answer {
            Ok(answer) if answer.status == expected => return answer,
            other => assert!(began.elapsed() < PATIENCE, "{path} is not {expected}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_migrating_it_lives_and_is_not_ready() {
    let database = Database::empty().await;
    // What a migration begins with has to wait for us.
    let other = connect(&database.superuser).await;
    other.batch_execute("BEGIN; CREATE TABLE _sqlx_migrations ()").await.unwrap();
    let (address, admin) = (free_address(), free_address());
    let (listen, admin_listen) = (address.to_string(), admin.to_string());
    let settings = [("http.listen", &*listen), ("admin.listen", &*admin_listen)];
    let starting = tokio::spawn(Server::start(config(&database, &settings)));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock' AND query LIKE '%_sqlx_migrations%'";
    let began = Instant::now();
    while database.number(waiting).await == 0 {
        assert!(began.elapsed() < PATIENCE, "no migration waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let (fhir, admin) = (Client::new(address), Client::new(admin));
    for client in [&fhir, &admin] {
        let url = |path| format!("{}{path}", client.root());
        client.get(&url("/health/live")).await.expect(200);
        let ready = client.get(&url("/health/ready")).await.expect(503);
        assert_eq!(ready.header("Retry-After").as_deref(), Some("1"), "{ready:?}");
    }
    let refused = fhir.get("/Patient/p").await.expect(503);
    assert_eq!(refused.at("issue[0].code").as_deref(), Some("transient"));
    assert!(!starting.is_finished(), "it must wait for the migration");

    other.batch_execute("ROLLBACK").await.unwrap();
    let server = starting.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
    becomes(&admin, "/health/ready", 200).await;
    fhir.get("/Patient/p").await.expect(404);
    drop((fhir, admin));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_it_lives_and_is_not_ready_until_that_is_back() {
    let database = Database::migrated().await;
    let wire = Wire::to(&database.app).await;
    let url = wire.url(&database.app);
    let server = Server::start(config(&database, &[("database.url", &url)])).await;
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new(server.address());
    becomes(&client, "/health/ready", 200).await;
    for state in [State::Cut, State::Silent] {
        wire.set(state);
        let ready = becomes(&client, "/health/ready", 503).await;
        assert_eq!(ready.header("Retry-After").as_deref(), Some("1"), "{ready:?}");
        let text = ready.text();
        assert!(text.starts_with("not ready: ") && text.contains("database"), "{text}");
        becomes(&client, "/health/live", 200).await;
        // What was silent is dead at last.
        wire.set(State::Cut);
        let refused = client.get("/Patient/p").await.expect(503);
        assert!(refused.header("Retry-After").is_some(), "{refused:?}");
        wire.set(State::Open);
        becomes(&client, "/health/ready", 200).await;
        client.get("/Patient/p").await.expect(404);
    }
    drop(client);
    server.stop().await;
}
