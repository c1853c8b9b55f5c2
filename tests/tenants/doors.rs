//! What a tenant has by configuration for itself: a listener for messages, and limits. What is begun for a
//! tenant is ended too.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use kiln::app::tenants::Command;
use kiln::hl7v2::frame::framed;
use tokio::net::TcpStream;

use super::{World, add, guest, register, run};
use crate::harness::database::connect;
use crate::harness::process::kiln;
use crate::hl7v2::feed::Sender;
use crate::oauth::browser::{Browser, PASSWORD};

const MESSAGE: &str =
    "MSH|^~\\&|LAB|STM|K|H|20260704120000||ADT^A28|C1|P|2.5\rPID|1||12^^^STM^MR||Muster\r";

/// An address that is free at this moment.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(50), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_for_messages_is_that_of_one_tenant() {
    let address = free();
    let listen = address.to_string();
    let world = World::start_with(&[("tenants.north.mllp", &listen)]).await;
    let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
    let answer = sender.send(MESSAGE).await;
    assert!(String::from_utf8_lossy(&answer).contains("MSA|AA|C1"), "{answer:?}");
    let (north, south) = (&world.north, &world.south);
    let found = north.get("/Patient?family=Muster").await.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("1"));
    let found = south.get("/Patient?family=Muster").await.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("0"));
    // Who is not served hears nothing, and who is served again does.
    run(&world.settings, Command::Disable { name: "north".into() }).await.unwrap();
    until("it listens still", async || TcpStream::connect(address).await.is_err()).await;
    run(&world.settings, Command::Enable { name: "north".into() }).await.unwrap();
    until("nobody listens", async || TcpStream::connect(address).await.is_ok()).await;
    drop(sender);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_limits_of_its_own() {
    let limits =
        [("tenants.north.requests_per_minute", "30"), ("tenants.south.total_per_minute", "30")];
    let world = World::start_with(&limits).await;
    add(&world.settings, "west").await;
    register(&world.settings.of_tenant("west")).await;
    let root = world.root();
    let west = root.below("/t/west");
    until("west is not served", async || west.get("/metadata").await.status == 200).await;
    let west = guest(&root, "west").await;
    for (who, is_limited) in [(&world.north, true), (&world.south, true), (&west, false)] {
        let mut statuses = Vec::new();
        for _ in 0..12 {
            let answer = who.get("/Patient/nobody").await;
            if answer.status == 429 {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
            statuses.push(answer.status);
        }
        assert!(statuses.contains(&404), "{statuses:?}");
        assert_eq!(statuses.contains(&429), is_limited, "{statuses:?}");
    }
    world.stop().await;
}

/// Who has an account at one tenant is nobody at another, also under the same name.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_those_of_one_tenant() {
    let world = World::start().await;
    let settings = [
        format!("database.url={}", world.database.app),
        format!("database.owner_url={}", world.database.owner),
        format!("data_dir={}", world.settings.data_dir.display()),
        format!("http.base_url={}", world.root().base()),
        "tenancy.mode=path".to_owned(),
    ];
    let run = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
        let output = kiln(&all);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut inside = Vec::new();
    for (name, guest) in [("north", &world.north), ("south", &world.south)] {
        let added = run(&["--tenant", name, "user", "add", "ada", "--role", "patient"]);
        let (_, rest) = added.split_once(&format!("/t/{name}/auth/")).expect("a link");
        let path = format!("/auth/{}", rest.split_whitespace().next().unwrap());
        let password = format!("{PASSWORD} of {name}");
        let mut browser = Browser::of(guest.client.clone());
        let page = browser.get(&path).await.expect(200);
        let fields = [("password", password.as_str()), ("again", password.as_str())];
        browser.submit(&page, &path, &fields).await.expect(303);
        inside.push((guest, password));
    }
    for (at, (guest, own)) in inside.iter().enumerate() {
        let foreign = &inside[1 - at].1;
        for (password, status) in [(foreign, 403), (own, 303)] {
            let mut browser = Browser::of(guest.client.clone());
            let page = browser.get("/auth/login").await.expect(200);
            let fields = [("username", "ada"), ("password", password.as_str())];
            browser.submit(&page, "/auth/login", &fields).await.expect(status);
        }
    }
    run(&["--tenant", "north", "user", "disable", "ada"]);
    for (name, is_disabled) in [("north", true), ("south", false)] {
        let listed = run(&["--tenant", name, "user", "list"]);
        assert_eq!(listed.contains("disabled"), is_disabled, "{name}: {listed}");
    }
    world.stop().await;
}

/// What keeps a tenant's order, such as listening for tokens that end, is not left behind by a start that fails
/// at its last step.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_leaves_nothing_behind() {
    let world = World::start().await;
    // Where the link to the first account belongs is something that cannot be replaced.
    let folder = world.settings.of_tenant("west").node_dir();
    let blocking = folder.join("setup-link.txt");
    std::fs::create_dir_all(blocking.join("x")).unwrap();
    add(&world.settings, "west").await;
    let keys = world.settings.of_tenant("west").keys_dir();
    until("nobody tries", async || keys.is_dir()).await;
    let root = world.root();
    let client = root.below("/t/west");
    let number = world.schema("west").await.replace("kiln_t", "");
    let listening = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND query ILIKE 'LISTEN%kiln_token_t{number}\"%'"
    );
    // Two tries and more: the second comes ten seconds after the first.
    tokio::time::sleep(Duration::from_secs(15)).await;
    client.get("/metadata").await.expect(503);
    assert_eq!(world.database.number(&listening).await, 0, "it still listens");
    std::fs::remove_dir_all(&blocking).unwrap();
    until("west is not served", async || client.get("/metadata").await.status == 200).await;
    until("it does not listen", async || world.database.number(&listening).await == 1).await;
    world.stop().await;
}

/// A server that stops waits for who is being ended at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_being_ended_is_ended_when_the_server_stops() {
    let address = free();
    let listen = address.to_string();
    let world = World::start_with(&[("tenants.north.mllp", &listen)]).await;
    let schema = world.schema("north").await;
    let number = schema.replace("kiln_t", "");
    let listening = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND query ILIKE 'LISTEN%kiln_token_t{number}\"%'"
    );
    until("nobody listens", async || world.database.number(&listening).await == 1).await;
    // A message at work holds up the end.
    let blocker = connect(&world.database.superuser).await;
    let lock = format!("BEGIN; LOCK TABLE {schema}.res IN ACCESS EXCLUSIVE MODE");
    blocker.batch_execute(&lock).await.unwrap();
    let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
    sender.write(&framed(MESSAGE.as_bytes())).await;
    world.database.until_waiting(1).await;
    // As the command does, which would wait for the lock.
    world.database.run("UPDATE tenant SET disabled_at = now() WHERE name = 'north'").await;
    let client = world.north.client.clone();
    until("it is served", async || client.get("/metadata").await.status == 404).await;
    let World { database, host, north, south, .. } = world;
    drop((client, north, south));
    let release = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let still = database.number(&listening).await;
        blocker.batch_execute("COMMIT").await.unwrap();
        still
    };
    let ((), still) = tokio::join!(host.stop(), release);
    assert_eq!(still, 1, "it was ended before the server stopped: nothing is shown");
    until("it listens still", async || database.number(&listening).await == 0).await;
}

/// What is asked of nobody is counted as what finds no route.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_nobody_is_counted() {
    let world = World::start().await;
    let root = world.root();
    let counted = async || {
        let answer = root.call("GET", &format!("{}/metrics", root.root())).send().await.expect(200);
        let text = answer.text();
        let mut lines = text.lines().filter(|line| {
            line.starts_with("kiln_http_requests_total")
                && line.contains("route=\"none\"")
                && line.contains("status=\"404\"")
        });
        let line = lines.next().map(|line| line.rsplit_once(' ').unwrap().1.to_owned());
        line.map_or(0, |number| number.parse::<u64>().unwrap())
    };
    let before = counted().await;
    for _ in 0..3 {
        root.below("/t/nobody").get("/Patient/p1").await.expect(404);
    }
    // Other tests of this process are counted as well.
    assert!(counted().await >= before + 3);
    world.stop().await;
}
