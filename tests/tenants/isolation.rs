//! What one tenant stores, asked for by another: by every route, and by every way of a search.

use std::time::{Duration, Instant};

use kiln::http::routes;
use kiln::http::table::Audit;

use super::{Guest, World};
use crate::harness::client::Answer;
use crate::harness::json::at;
use crate::hl7v2::feed::adt;
use crate::oauth::browser::form;
use crate::oauth::tokens::client::SECRET;

/// In every resource of the north, and nowhere else.
const CANARY: &str = "nordcanary";

/// What the north has; the south asks for all of it.
const STORED: &[(&str, &str)] = &[
    (
        "Organization/ward",
        r#""name":"nordcanary","identifier":[{"system":"urn:o","value":"nordcanary"}]"#,
    ),
    (
        "Patient/p1",
        r#""name":[{"family":"nordcanary"}],"identifier":[{"system":"urn:n","value":"7"}],"managingOrganization":{"reference":"Organization/ward"},"birthDate":"1970-01-01","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">nordcanary</div>"}"#,
    ),
    ("Patient/p2", r#""name":[{"family":"nordcanary"}]"#),
    (
        "Encounter/e1",
        r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/p1"},"identifier":[{"value":"nordcanary"}]"#,
    ),
    (
        "Observation/p1",
        r#""status":"final","code":{"coding":[{"system":"urn:c","code":"k","display":"nordcanary"}]},"subject":{"reference":"Patient/p1"},"encounter":{"reference":"Encounter/e1"},"valueQuantity":{"value":5,"unit":"nordcanary"},"effectiveDateTime":"2026-01-01""#,
    ),
    (
        "Provenance/t1",
        r#""target":[{"reference":"Observation/p1"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"display":"nordcanary"}}]"#,
    ),
    ("Binary/b1", r#""contentType":"text/plain","data":"bm9yZGNhbmFyeQ==""#),
    (
        "CodeSystem/p1",
        r#""url":"urn:nord:cs","status":"active","content":"complete","concept":[{"code":"c","display":"nordcanary"}]"#,
    ),
    (
        "ValueSet/p1",
        r#""url":"urn:nord:vs","status":"active","compose":{"include":[{"system":"urn:nord:cs"}]},"description":"nordcanary""#,
    ),
    ("ConceptMap/p1", r#""url":"urn:nord:cm","status":"active","description":"nordcanary""#),
    (
        "SearchParameter/sp1",
        r#""url":"http://example.org/sp/nord","name":"nord","status":"active","description":"nordcanary","code":"nord","base":["Patient"],"type":"date","expression":"Patient.birthDate""#,
    ),
];

/// What the south has of its own.
const OWN: &[(&str, &str)] = &[
    ("Patient/own", r#""name":[{"family":"Sued"}],"identifier":[{"system":"urn:s","value":"7"}]"#),
    (
        "Observation/own",
        r#""status":"final","code":{"coding":[{"system":"urn:c","code":"k"}]},"subject":{"reference":"Patient/own"},"valueQuantity":{"value":5}"#,
    ),
];

async fn fill(guest: &Guest, all: &[(&str, &str)]) {
    for (path, content) in all {
        let (of, id) = path.split_once('/').unwrap();
        let body = format!(r#"{{"resourceType":"{of}","id":"{id}",{content}}}"#);
        guest.send("PUT", &format!("/{path}"), &body).await.expect(201);
    }
}

/// A world whose tenants have what is theirs.
async fn filled() -> World {
    let world = World::start().await;
    fill(&world.north, STORED).await;
    fill(&world.south, OWN).await;
    world
}

/// What a tenant has, as numbers: rows, the sum of versions, what is gone.
async fn state(world: &World, name: &str) -> Vec<i64> {
    let schema = world.schema(name).await;
    let mut all = Vec::new();
    for question in [
        "SELECT count(*) FROM {}.res",
        "SELECT coalesce(sum(vid), 0) FROM {}.res",
        "SELECT count(*) FROM {}.res WHERE op = 'D'",
        "SELECT count(*) FROM {}.v2_message",
        "SELECT count(*) FROM {}.ledger_row WHERE rt IS NOT NULL",
        "SELECT count(*) FROM {}.oauth_token WHERE revoked_at IS NULL",
        "SELECT count(*) FROM {}.oauth_grant WHERE ended_at IS NULL",
    ] {
        all.push(world.database.number(&question.replace("{}", &schema)).await);
    }
    all
}

fn url(root: &str, path: &str, of: &str) -> String {
    let path = path.replace("{type}", of).replace("{id}", "p1").replace("{name}", "x");
    format!("{root}{}", path.replace("{vid}", "1").replace("{member}", "Observation"))
}

/// Fails when an answer has anything of the north in it.
#[track_caller]
fn clean(answer: &Answer, asked: &str) {
    assert!(answer.status < 500, "{asked}: {answer:?}");
    let text = answer.text();
    assert!(!text.contains(CANARY) && !text.contains("bm9yZGNhbmFyeQ"), "{asked}: {answer:?}");
    assert!(!text.contains("/t/north"), "{asked}: {answer:?}");
}

/// Covers: security T11.
#[tokio::test(flavor = "multi_thread")]
async fn no_route_of_a_tenant_takes_a_token_of_another() {
    let world = filled().await;
    let before = (state(&world, "north").await, state(&world, "south").await);
    let root = world.south.client.root();
    let mut asked = 0;
    for route in routes::all(false).into_iter().filter(|route| route.audit == Audit::Gate) {
        let (method, path) = (route.method.as_str(), route.path);
        let url = url(root, path, "Patient");
        let body = r#"{"resourceType":"Patient","id":"p1"}"#;
        let call =
            world.south.client.call(method, &url).header("Authorization", &world.north.token);
        let answer = call.json(body).send().await;
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("login"), "{method} {path}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("invalid_token"), "{method} {path}: {challenge}");
        clean(&answer, path);
        asked += 1;
    }
    assert!(asked > 70, "{asked} routes");
    let now = (state(&world, "north").await, state(&world, "south").await);
    assert_eq!(now.0, before.0);
    // The attempts are on record where they were made.
    assert_eq!(now.1[..4], before.1[..4]);
    assert!(now.1[4] > before.1[4]);

    // Nor does its authorization server know, tell or end it.
    let token = world.north.token.trim_start_matches("Bearer ");
    let fields = [("token", token), ("client_id", "job"), ("client_secret", SECRET)];
    for (path, expected) in [("/auth/introspect", r#"{"active":false}"#), ("/auth/revoke", "{}")] {
        let call = world.south.client.call("POST", &format!("{root}{path}"));
        let call = call.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = call.body(form(&fields)).send().await.expect(200);
        assert_eq!(answer.text(), expected, "{path}");
    }
    world.north.get("/Patient/p1").await.expect(200);
    // Where it is from, it counts until its time is over.
    let schema = world.schema("north").await;
    world.database.run(&format!("UPDATE {schema}.oauth_token SET expires = now()")).await;
    let later = Instant::now() + Duration::from_secs(8);
    while world.north.get("/Patient/p1").await.status == 200 && Instant::now() < later {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let over = world.north.get("/Patient/p1").await.expect(401);
    assert_eq!(over.at("issue[0].code").as_deref(), Some("expired"));
    world.south.get("/Patient/own").await.expect(200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_shows_or_changes_what_is_another_tenants() {
    let world = filled().await;
    let before = state(&world, "north").await;
    let root = world.south.client.root();
    for route in routes::all(false).into_iter().filter(|route| route.audit == Audit::Gate) {
        let (method, path) = (route.method.as_str(), route.path);
        for of in ["Patient", "Observation", "Binary", "CodeSystem", "ValueSet", "ConceptMap"] {
            let url = url(root, path, of);
            let asked = format!("{method} {url}");
            let criteria = if method == "GET" { "" } else { "?identifier=urn:n%7C7" };
            let call = world.south.call(method, &format!("{url}{criteria}"));
            let call = if path.ends_with("/_search") {
                call.header("Content-Type", "application/x-www-form-urlencoded")
            } else if path.starts_with("/v2") {
                call.header("Content-Type", "application/hl7-v2")
            } else {
                call.json(format!(r#"{{"resourceType":"{of}","id":"p1"}}"#))
            };
            clean(&call.send().await, &asked);
            if !path.contains("{type}") {
                break;
            }
        }
    }
    assert_eq!(state(&world, "north").await, before);
    world.stop().await;
}

/// Ways to ask that must find nothing of another tenant; what the south has itself may be found.
const SEARCHES: &[&str] = &[
    "/Patient",
    "/Patient?_id=p1",
    "/Patient?family=nordcanary",
    "/Patient?family:contains=canary",
    "/Patient?name:exact=nordcanary",
    "/Patient?identifier=urn:n%7C7",
    "/Patient?identifier=7",
    "/Patient?identifier:missing=true",
    "/Patient?birthdate=1970-01-01",
    "/Patient?birthdate=ge1900",
    "/Patient?organization=Organization/ward",
    "/Patient?organization.name=nordcanary",
    "/Patient?organization:Organization.identifier=nordcanary",
    "/Patient?_has:Observation:patient:code=k",
    "/Patient?_has:Observation:patient:encounter.identifier=nordcanary",
    "/Patient?_has:Encounter:subject:identifier=nordcanary",
    "/Patient?_filter=name%20eq%20nordcanary",
    "/Patient?_content=nordcanary",
    "/Patient?_text=nordcanary",
    "/Patient?_sort=family&_total=accurate",
    "/Patient?_lastUpdated=ge2020",
    "/Patient?_revinclude=Observation:patient&_revinclude:iterate=Provenance:target",
    "/Observation?_include=Observation:patient&_include:iterate=Patient:organization",
    "/Observation?_include=*&_revinclude=*",
    "/Observation?patient=Patient/p1",
    "/Observation?patient.family=nordcanary",
    "/Observation?subject:Patient.organization.name=nordcanary",
    "/Observation?code=urn:c%7Ck",
    "/Observation?code:text=nordcanary",
    "/Observation?value-quantity=5",
    "/Observation?value-quantity=ge1&_sort=value-quantity",
    "/Observation?date=2026-01-01",
    "/Observation?encounter=Encounter/e1",
    "/Provenance?target=Observation/p1",
    "/CodeSystem?url=urn:nord:cs",
    "/ValueSet?url=urn:nord:vs",
    "/SearchParameter?url=http://example.org/sp/nord",
    "/Patient/p1/Observation",
    "/Patient/p1/*",
    "?_type=Patient,Observation&_lastUpdated=ge2020",
    "/_history",
    "/Patient/_history",
    "/Observation/_history?_since=2020-01-01T00:00:00Z",
    "/$meta",
    "/Patient/$meta",
    "/AuditEvent?_count=500",
    "/AuditEvent?entity=Patient/p1",
    "/AuditEvent?patient=Patient/p1",
    "/AuditEvent?agent:identifier=job",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_way_of_a_search_finds_what_is_another_tenants() {
    let world = filled().await;
    // What is searched for is there, for whose it is: an index that was empty would prove nothing.
    for asked in ["/Patient?_content=nordcanary", "/Patient?_has:Observation:patient:code=k"] {
        let call = world.north.call("GET", asked).header("kiln-fulltext", "wait");
        let found = call.send().await.expect(200);
        assert!(found.text().contains(CANARY), "{asked}: {found:?}");
    }
    for asked in SEARCHES {
        let call = world.south.call("GET", asked).header("Prefer", "handling=strict");
        let call = if asked.contains("_content") || asked.contains("_text") {
            call.header("kiln-fulltext", "wait")
        } else {
            call
        };
        let answer = call.send().await.expect(200);
        for entry in answer.json().items_at("entry") {
            let id = at(entry, "resource.id").and_then(|it| it.as_str()).unwrap_or("own");
            let of = at(entry, "resource.resourceType").and_then(|it| it.as_str());
            assert!(id == "own" || of == Some("AuditEvent"), "{asked}: {answer:?}");
        }
        // The search itself is in its own link.
        let text = answer.text().replace("=nordcanary", "").replace("%20nordcanary", "");
        assert!(!text.contains(CANARY), "{asked}: {answer:?}");
    }
    parameters_are_a_tenants_own(&world).await;
    cursors_are_a_tenants_own(&world).await;
    world.stop().await;
}

/// A search parameter is in force for who defined it.
async fn parameters_are_a_tenants_own(world: &World) {
    let asked = "/Patient?nord=1970-01-01";
    let strictly = async |guest: &Guest| {
        guest.call("GET", asked).header("Prefer", "handling=strict").send().await
    };
    let began = Instant::now();
    while strictly(&world.north).await.status != 200 {
        assert!(began.elapsed() < Duration::from_mins(1), "it comes into force");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    strictly(&world.south).await.expect(400);
}

/// A link to a next page leads nowhere else.
async fn cursors_are_a_tenants_own(world: &World) {
    let page = world.north.get("/Patient?_count=1").await.expect(200);
    let bundle = page.json();
    let next = bundle.items_at("link").iter().find_map(|link| {
        let is_next = at(link, "relation").and_then(|it| it.as_str()) == Some("next");
        is_next.then(|| at(link, "url").and_then(|it| it.as_str()).unwrap().to_owned())
    });
    let next = next.expect("a next page");
    world.north.call("GET", &next).send().await.expect(200);
    let there = next.replace("/t/north/", "/t/south/");
    assert_ne!(there, next);
    let answer = world.south.call("GET", &there).send().await.expect(400);
    assert!(!answer.text().contains(CANARY), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_written_meets_what_is_another_tenants() {
    let world = filled().await;
    let (north, south) = (&world.north, &world.south);
    let before = state(&world, "north").await;

    // What is there for the north is not there: neither for reads nor for conditions.
    for path in ["/Patient/p1", "/Patient/p1/_history/1", "/Patient/p1/_history", "/Binary/b1"] {
        south.get(path).await.expect(404);
    }
    let patient = r#"{"resourceType":"Patient","identifier":[{"system":"urn:n","value":"7"}]}"#;
    let call = south.call("POST", "/Patient").header("If-None-Exist", "identifier=urn:n|7");
    call.json(patient).send().await.expect(201);
    south.send("PUT", "/Patient?identifier=urn:o%7Cnordcanary", patient).await.expect(201);
    south.send("DELETE", "/Patient?family=nordcanary", "").await.expect(204);
    let patch = r#"[{"op":"add","path":"/active","value":true}]"#;
    let call = south.call("PATCH", "/Patient?family=nordcanary");
    call.header("Content-Type", "application/json-patch+json").body(patch).send().await.expect(404);

    // The same id is another resource, with versions of its own.
    let own = r#"{"resourceType":"Patient","id":"p1","active":true}"#;
    let put = south.send("PUT", "/Patient/p1", own).await.expect(201);
    let etag = put.header("etag").unwrap();
    let call = south.call("PUT", "/Patient/p1").header("If-Match", "W/\"2\"").json(own);
    call.send().await.expect(412);
    let call = north.call("GET", "/Patient/p1").header("If-None-Match", &etag);
    assert_eq!(call.send().await.status, 304, "versions are counted alike, and that tells nothing");
    south.send("DELETE", "/Patient/p1", "").await.expect(204);
    south.get("/Patient/p1").await.expect(410);
    north.get("/Patient/p1").await.expect(200);

    bundles_are_a_tenants_own(south).await;
    codes_are_a_tenants_own(&world).await;
    assert_eq!(state(&world, "north").await[..3], before[..3]);
    messages_are_a_tenants_own(&world).await;
    world.stop().await;
}

async fn bundles_are_a_tenants_own(south: &Guest) {
    let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"GET","url":"Patient/p2"}},
        {"request":{"method":"GET","url":"Patient?family=nordcanary"}},
        {"request":{"method":"DELETE","url":"Observation?code=urn:nord|c"}}]}"#;
    let answer = south.send("POST", "", batch).await.expect(200);
    assert_eq!(
        answer.at("entry[0].response.status").as_deref(),
        Some("404 Not Found"),
        "{answer:?}"
    );
    assert_eq!(answer.at("entry[1].resource.total").as_deref(), Some("0"), "{answer:?}");
    assert_eq!(answer.at("entry[2].response.status").as_deref(), Some("204 No Content"));
    let transaction = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":
        {"resourceType":"Observation","status":"final","code":{"text":"x"},
         "subject":{"reference":"Patient?identifier=urn:o|nordcanary"},
         "performer":[{"reference":"Organization?identifier=urn:o|nordcanary"}]},
        "request":{"method":"POST","url":"Observation"}}]}"#;
    let answer = south.send("POST", "", transaction).await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

async fn codes_are_a_tenants_own(world: &World) {
    let (north, south) = (&world.north, &world.south);
    for asked in [
        "/ValueSet/$expand?url=urn:nord:vs",
        "/CodeSystem/$lookup?system=urn:nord:cs&code=c",
        "/ValueSet/p1/$expand",
        "/Patient/p1/$disclosures",
    ] {
        north.get(asked).await.expect(200);
        let answer = south.get(asked).await;
        assert!((400..500).contains(&answer.status), "{asked}: {answer:?}");
        clean(&answer, asked);
    }
    let closing = |more: &str| {
        format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"name","valueString":"t"}}{more}]}}"#
        )
    };
    let adds = r#",{"name":"concept","valueCoding":{"system":"urn:nord:cs","code":"c"}}"#;
    north.send("POST", "/$closure", &closing("")).await.expect(200);
    let answer = south.send("POST", "/$closure", &closing(adds)).await;
    assert!((400..500).contains(&answer.status), "a table of the north: {answer:?}");
}

async fn messages_are_a_tenants_own(world: &World) {
    let (north, south) = (&world.north, &world.south);
    let at_root = |guest: &Guest, path: &str| format!("{}/v2/messages{path}", guest.client.root());
    let message = adt("A01", "M1", "4711").replace("Muster", CANARY);
    for guest in [north, south] {
        let call = guest.call("POST", &at_root(guest, ""));
        let call = call.header("Content-Type", "application/hl7-v2");
        let sent =
            if std::ptr::eq(guest, north) { message.clone() } else { adt("A01", "M1", "4711") };
        let answer = call.body(sent).send().await.expect(200);
        assert!(answer.text().contains("MSA|AA|M1"), "no repetition of another's: {answer:?}");
    }
    let listed = north.call("GET", &at_root(north, "")).send().await.expect(200);
    let id = listed.at("messages[0].id").unwrap_or_else(|| panic!("{listed:?}"));
    north.call("GET", &at_root(north, &format!("/{id}"))).send().await.expect(200);
    for (method, path) in [("GET", ""), ("POST", "/$replay"), ("POST", "/$discard")] {
        let url = at_root(south, &format!("/{id}{path}"));
        south.call(method, &url).json(r#"{"reason":"x"}"#).send().await.expect(404);
    }
    let found = south.get("/Patient?identifier=4711").await.expect(200);
    assert_eq!(found.json().items_at("entry").len(), 1, "{found:?}");
    clean(&found, "what the message of the south made");
}
