//! The zone and the forms of dates that a database is set to change no answer; `search.zone` does.
//!
//! Covers: rest 4.56, rest 10.7.

use kiln::app::server::Server;
use kiln::fhir::json::Value;

use crate::harness::client::Client;
use crate::harness::database::Database;
use crate::harness::server::config;

/// What operators set for their other programs; `IST` is read as another zone than it is written for.
const ELSEWHERE: [&str; 5] = [
    "timezone = 'Asia/Kolkata'",
    "datestyle = 'SQL, DMY'",
    "intervalstyle = 'sql_standard'",
    "extra_float_digits = 0",
    "bytea_output = 'escape'",
];

fn slot(id: &str, start: &str) -> String {
    format!(
        concat!(
            r#"{{"resourceType":"Slot","id":"{}","schedule":{{"reference":"Schedule/1"}},"#,
            r#""status":"free","start":"{}","end":"2019-03-20T00:00:00Z"}}"#
        ),
        id, start
    )
}

/// The ids on all pages from `url` on; one that is on two pages is there twice.
async fn walk(client: &Client, url: &str) -> String {
    let (mut ids, mut next) = (Vec::new(), Some(url.to_owned()));
    while let Some(url) = next {
        assert!(ids.len() < 20, "no end: {ids:?}");
        let page = client.get(&url).await.expect(200);
        let page = page.json();
        let resources = page.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
        ids.extend(resources.filter_map(|it| it.str_at("id").map(str::to_owned)));
        let links = page.items_at("link").iter();
        let mut links = links.filter(|link| link.str_at("relation") == Some("next"));
        next = links.next().and_then(|link: &Value<'_>| link.str_at("url").map(str::to_owned));
    }
    ids.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_zone_gives_the_same_answers() {
    let database = Database::migrated().await;
    for setting in ELSEWHERE {
        let quoted = setting.replace('\'', "''");
        let statement = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {quoted}', current_database()); END $$"
        );
        database.run(&statement).await;
    }
    let zone =
        "SELECT count(*) FROM pg_settings WHERE name = 'TimeZone' AND setting = 'Asia/Kolkata'";
    assert_eq!(database.number(zone).await, 1, "the database is set so");
    let server = Server::start(config(&database, &[])).await.unwrap();
    let client = Client::new(server.address());
    for (id, start) in [
        ("a", "2019-03-08T10:00:00-08:00"),
        ("b", "2019-03-08T20:00:00-08:00"),
        ("c", "2019-03-08T20:30:00-08:00"),
        ("d", "2019-03-12T20:30:00.250Z"),
    ] {
        client.put(&format!("/Slot/{id}"), slot(id, start)).await.expect(201);
    }
    for (query, expected) in [
        ("start=2019-03-08", "a"),
        ("start=2019-03-09", "c b"),
        ("start=ge2019-03-09", "d c b"),
        ("start=lt2019-03-09T04:00:00", "a"),
        ("start=2019-03-12T20:30:00.250", "d"),
        ("_lastUpdated=ge2020-01-01&_count=1", "d c b a"),
        ("_sort=start&_count=1", "a b c d"),
        ("_sort=-start&_count=1", "d c b a"),
        ("_sort=status,start&_count=1", "a b c d"),
        ("_sort=_lastUpdated&_count=1", "a b c d"),
        ("_sort=-_lastUpdated&_count=2", "d c b a"),
    ] {
        assert_eq!(walk(&client, &format!("/Slot?{query}")).await, expected, "{query}");
    }
    assert_eq!(walk(&client, "/Slot/_history?_count=1").await, "d c b a");
    assert_eq!(walk(&client, "/Slot/_history?_since=2020-01-01T00:00:00Z").await, "d c b a");
    let read = client.get("/Slot/a").await.expect(200);
    let when = read.at("meta.lastUpdated").unwrap();
    let same = format!("/Slot/_history?_at={when}&_count=1");
    assert_eq!(walk(&client, &same).await, "a", "{when}");
}

/// `a` is a day, `b` lies in it by UTC, `c` by the zone of India.
const OBSERVATIONS: [(&str, &str); 3] =
    [("a", "2019-03-08"), ("b", "2019-03-08T20:00:00Z"), ("c", "2019-03-07T20:00:00Z")];

/// Asks a server whose zone is `zone`.
async fn found_in(database: &Database, zone: &str, expected: &[(&str, &str)]) {
    let server = Server::start(config(database, &[("search.zone", zone)])).await.unwrap();
    let client = Client::new(server.address());
    for (id, when) in OBSERVATIONS {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"c"}},"effectiveDateTime":"{when}"}}"#
        );
        let answer = client.put(&format!("/Observation/{id}"), body).await;
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }
    for (query, ids) in expected {
        let found = walk(&client, &format!("/Observation?_sort=_id&{query}")).await;
        assert_eq!(found, *ids, "{query} in {zone}");
    }
    drop(client);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_without_a_zone_are_of_the_zone_that_is_set() {
    let database = Database::migrated().await;
    let utc = [
        ("date=2019-03-08", "a b"),
        ("date=2019-03-08T20:00:00", "b"),
        ("date=2019-03-09T01:30:00", ""),
        ("date=lt2019-03-08T00:00:00Z", "c"),
        ("date=lt2019-03-07T19:00:00Z", ""),
    ];
    found_in(&database, "Z", &utc).await;
    // The index is built anew: the day that is stored lies elsewhere now.
    let india = [
        ("date=2019-03-08", "a c"),
        ("date=2019-03-08T20:00:00", ""),
        ("date=2019-03-09T01:30:00", "b"),
        ("date=2019-03-09T01:30:00Z", ""),
        ("date=lt2019-03-08T00:00:00Z", "a c"),
        ("date=lt2019-03-07T19:00:00Z", "a"),
    ];
    found_in(&database, "+05:30", &india).await;
    found_in(&database, "Z", &utc).await;
    let refused = Server::start(config(&database, &[("search.zone", "Asia/Kolkata")])).await;
    let reason = refused.err().unwrap().to_string();
    assert!(reason.contains("search.zone") && reason.contains("Asia/Kolkata"), "{reason}");
}
