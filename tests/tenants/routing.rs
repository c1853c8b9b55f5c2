//! Which tenant a request is for, and that tenants come and go.

use std::time::{Duration, Instant};

use kiln::app::tenants::{Command, Host};

use super::{World, add, guest, register, run, token};
use crate::harness::client::{Answer, Client};
use crate::harness::server::config;

/// Waits until an address is served, or not.
async fn until(client: &Client, expected: u16) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.get("/metadata").await;
        if answer.status == expected || began.elapsed() > Duration::from_secs(50) {
            return answer.expect(expected);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An answer without what differs between any two.
fn told(answer: &Answer) -> (u16, Option<String>, String) {
    (answer.status, answer.header("content-type"), answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_served_is_like_who_is_not_there() {
    let world = World::start().await;
    let root = world.root();
    let nobody = root.below("/t/nobody").get("/Patient/p1").await.expect(404);
    assert_eq!(nobody.at("issue[0].code").as_deref(), Some("not-found"));
    assert_eq!(nobody.header("x-content-type-options").as_deref(), Some("nosniff"));
    assert!(nobody.header("x-request-id").is_some_and(|id| id.len() == 36), "{nobody:?}");
    let lost = root.below("/t/nobody");
    let own = lost.call("GET", "/metadata").header("X-Request-Id", "mine-7").send().await;
    assert_eq!(own.header("x-request-id").as_deref(), Some("mine-7"));
    for place in
        ["", "/t", "/t/", "/t//", "/t/North", "/t/nor%74h", "/t/north/t/south", "/t/kiln_t1"]
    {
        let answer = root.below(place).get("/Patient/p1").await;
        let is_alike = told(&answer) == told(&nobody);
        // An endpoint answers what is below it by itself.
        assert!(
            is_alike || place == "/t/north/t/south" && answer.status == 404,
            "{place}: {answer:?}"
        );
    }
    let header = root.call("GET", "/Patient/p1").header("x-kiln-tenant", "north").send().await;
    assert_eq!(told(&header), told(&nobody), "a header says nothing where paths count");

    // What is the server's own is beside the tenants, and not below them.
    for (path, status) in
        [("/health/live", 200), ("/health/ready", 200), ("/metrics", 200), ("/", 404)]
    {
        root.call("GET", &format!("{}{path}", root.root())).send().await.expect(status);
        let below = root.call("GET", &format!("{}/t/north{path}", root.root())).send().await;
        assert_eq!(below.status == 200, path == "/", "{path}: {below:?}");
    }

    let patient = r#"{"resourceType":"Patient","id":"p1"}"#;
    world.north.send("PUT", "/Patient/p1", patient).await.expect(201);
    let disable = Command::Disable { name: "north".into() };
    assert_eq!(run(&world.settings, disable).await.unwrap(), "tenant north is disabled\n");
    until(&world.north.client, 404).await;
    let shut = world.north.get("/Patient/p1").await;
    assert_eq!(told(&shut), told(&nobody));
    assert_eq!(told(&token(&world.north.client).await), told(&nobody));
    world.south.get("/Patient").await.expect(200);
    let noted = format!(
        "SELECT count(*) FROM {}.ledger_row WHERE entities::text LIKE '%tenant north: disabled%' \
         OR query LIKE '%tenant north: disabled%' OR failure LIKE '%tenant north: disabled%'",
        world.schema("north").await
    );
    assert_eq!(world.database.number(&noted).await, 1, "it is on record");
    let listed = run(&world.settings, Command::List).await.unwrap();
    assert_eq!(listed, "north (disabled)\nsouth\n");

    run(&world.settings, Command::Enable { name: "north".into() }).await.unwrap();
    until(&world.north.client, 200).await;
    world.north.get("/Patient/p1").await.expect(200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_made_is_served_at_once_under_its_own_name() {
    let world = World::start().await;
    for (name, said) in [("north", "there is a tenant north"), ("No!", "is no name for a tenant")] {
        let refused = run(&world.settings, Command::Add { name: name.into() }).await;
        assert!(refused.as_ref().is_err_and(|it| it.contains(said)), "{name}: {refused:?}");
    }
    let missing = run(&world.settings, Command::Disable { name: "west".into() }).await;
    assert!(missing.is_err_and(|it| it.contains("west")));
    add(&world.settings, "west").await;
    register(&world.settings.of_tenant("west")).await;
    let root = world.root();
    let client = root.below("/t/west");
    until(&client, 200).await;
    let west = guest(&root, "west").await;
    let patient = r#"{"resourceType":"Patient","id":"p1","name":[{"family":"West"}]}"#;
    let stored = west.send("PUT", "/Patient/p1", patient).await.expect(201);
    let base = client.base();
    assert_eq!(stored.header("location"), Some(format!("{base}/Patient/p1/_history/1")));
    let found = west.get("/Patient?family=west").await.expect(200);
    assert_eq!(found.at("entry[0].fullUrl"), Some(format!("{base}/Patient/p1")));

    // It is an authorization server of its own.
    let known = client.get("/.well-known/smart-configuration").await.expect(200);
    let issuer = format!("{}/auth", client.root());
    assert_eq!(known.at("issuer").as_deref(), Some(issuer.as_str()));
    assert_eq!(known.at("token_endpoint"), Some(format!("{issuer}/token")));
    let jwks = async |name: &str| {
        let client = root.below(&format!("/t/{name}"));
        client.call("GET", &format!("{}/auth/jwks", client.root())).send().await.expect(200).text()
    };
    assert_ne!(jwks("west").await, jwks("north").await, "each has a key of its own");
    // The pages lead to its own addresses.
    let page = client.call("GET", &format!("{}/auth/login", client.root())).send().await;
    let text = page.text();
    assert!(text.contains("\"/t/west/auth/") && !text.contains("=\"/auth/"), "{text}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_a_proxy_names_the_tenant() {
    let world = World::start().await;
    let by_header = [
        ("auth.mode", "smart"),
        ("tenancy.mode", "header"),
        ("tenancy.header", "x-tenant"),
        ("tenancy.base_url", "https://{tenant}.example.org/fhir"),
    ];
    let mut settings = config(&world.database, &by_header);
    settings.data_dir.clone_from(&world.settings.data_dir);
    settings.fulltext.enabled = false;
    let other = Host::start(settings).await.unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new(other.address());
    let patient = r#"{"resourceType":"Patient","id":"p1"}"#;
    world.north.send("PUT", "/Patient/p1", patient).await.expect(201);
    let asked = |names: &[&str], token: &str| {
        let call = client.call("GET", "/Patient/p1").header("Authorization", token);
        names.iter().fold(call, |call, name| call.header("x-tenant", name))
    };
    let (north, south) = (&world.north.token, &world.south.token);
    asked(&["north"], north).send().await.expect(200);
    asked(&["south"], south).send().await.expect(404);
    asked(&["south"], north).send().await.expect(401);
    for names in [&[][..], &["west"], &["north", "north"], &["south", "north"], &["north, south"]] {
        let answer = asked(names, north).send().await.expect(404);
        assert!(answer.text().contains("no endpoint"), "{names:?}: {answer:?}");
    }
    let known = client.call("GET", "/.well-known/smart-configuration").header("x-tenant", "south");
    let known = known.send().await.expect(200);
    assert_eq!(known.at("issuer").as_deref(), Some("https://south.example.org/auth"));
    drop(client);
    other.stop().await;
    world.stop().await;
}
