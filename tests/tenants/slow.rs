//! A tenant whose start takes long keeps nobody else from anything.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use kiln::app::tenants::{Command, Host};

use super::{World, run};
use crate::harness::client::Client;
use crate::harness::database::connect;
use crate::harness::server::config;

/// Waits until an address answers so.
async fn until(client: &Client, expected: u16) {
    let began = Instant::now();
    loop {
        let answer = client.get("/metadata").await;
        if answer.status == expected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(50), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The port is free at this moment.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_tenant_keeps_nobody_from_being_served_or_kept_out() {
    let world = World::start().await;
    let listen = format!("127.0.0.1:{}", port());
    let other = [("auth.mode", "smart"), ("tenancy.mode", "path"), ("http.listen", &*listen)];
    let mut settings = config(&world.database, &other);
    settings.data_dir.clone_from(&world.settings.data_dir);
    settings.fulltext.enabled = false;
    // The start of the north waits for this, as for a long migration.
    let blocker = connect(&world.database.superuser).await;
    let north_schema = world.schema("north").await;
    let lock =
        format!("BEGIN; LOCK TABLE {north_schema}._sqlx_migrations IN ACCESS EXCLUSIVE MODE");
    blocker.batch_execute(&lock).await.unwrap();
    let meanwhile = async {
        let began = Instant::now();
        while tokio::net::TcpStream::connect(&listen).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "nobody listens");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let root = Client::new(listen.parse().unwrap());
        let (north, south) = (root.below("/t/north"), root.below("/t/south"));
        until(&south, 200).await;
        let waiting = north.get("/metadata").await.expect(503);
        assert!(waiting.header("x-request-id").is_some(), "{waiting:?}");
        run(&world.settings, Command::Disable { name: "north".to_owned() }).await.unwrap();
        until(&north, 404).await;
        // Let in again while the same start is still under way, and kept out for good.
        run(&world.settings, Command::Enable { name: "north".to_owned() }).await.unwrap();
        until(&north, 503).await;
        run(&world.settings, Command::Disable { name: "north".to_owned() }).await.unwrap();
        until(&north, 404).await;
        run(&world.settings, Command::Disable { name: "south".to_owned() }).await.unwrap();
        until(&south, 404).await;
        run(&world.settings, Command::Enable { name: "south".to_owned() }).await.unwrap();
        until(&south, 200).await;
        blocker.batch_execute("COMMIT").await.unwrap();
        (north, south)
    };
    let (started, (north, south)) = tokio::join!(Box::pin(Host::start(settings)), meanwhile);
    let other = started.unwrap_or_else(|error| panic!("{error}"));
    // What was begun for who is not wanted any more is never seen.
    north.get("/metadata").await.expect(404);
    south.get("/metadata").await.expect(200);
    run(&world.settings, Command::Enable { name: "north".to_owned() }).await.unwrap();
    until(&north, 200).await;
    drop((north, south));
    other.stop().await;
    world.stop().await;
}
