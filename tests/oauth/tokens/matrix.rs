//! Every route by every kind of caller: what is open to all is a short list, and it is here.
//!
//! Covers: security V40, D6, E1, E3, H18.

use std::collections::BTreeSet;

use kiln::access::interaction::Kind;
use kiln::http::table::{Audit, Route};
use kiln::http::{console, oauth, routes};

use super::client::{SECRET, granted, public, send, server, service, text, tokens};
use crate::harness::client::Answer;
use crate::oauth::browser::{location, register, store, user};
use crate::oauth::world::entries;

/// What needs no credentials. The pages of the authorization server know their callers themselves.
const OPEN: &[&str] = &[
    "/",
    "/auth/.well-known/openid-configuration",
    "/auth/brands",
    "/auth/jwks",
    "/fhir/.well-known/smart-configuration",
    "/fhir/metadata",
    "/health/live",
    "/health/ready",
    "/metrics",
];

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","active":true}"#;

/// All routes of the listener.
fn everything() -> impl Iterator<Item = Route> {
    routes::all(true).into_iter().chain(oauth::routes::all()).chain(console::all())
}

/// Fails when a browser may guess what an answer is.
#[track_caller]
fn guarded(answer: &Answer, path: &str) {
    let found = answer.header("x-content-type-options");
    assert_eq!(found.as_deref(), Some("nosniff"), "{path}: {answer:?}");
}

fn url(root: &str, path: &str, of: &str) -> String {
    let path = path.replace("{type}", of).replace("{id}", "p1").replace("{name}", "x");
    format!("{root}{}", path.replace("{vid}", "1").replace("{member}", "Observation"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_lets_in_who_has_no_token_that_counts() {
    let server = server().await;
    register(&server, &public("app", "openid fhirUser patient/Patient.rs")).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let dead = tokens(&server, &granted("app", "patient/Patient.rs", Some(account))).await;
    let dead = format!("Bearer {}", text(&dead, "access_token"));
    server.database.run("UPDATE oauth_token SET expires = now()").await;
    let garbage = format!("Bearer kiln_at_{}", "a".repeat(43));
    let root = server.client.root();
    let mut open = BTreeSet::new();
    for route in everything() {
        let (method, path) = (route.method.as_str(), route.path);
        if route.audit == Audit::Public {
            open.insert(path);
            let answer = server.client.call(method, &url(root, path, "Patient")).send().await;
            assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
            guarded(&answer, path);
            continue;
        }
        if route.audit == Audit::Authority {
            // Nothing there is a resource; what programs ask without credentials is refused.
            let answer = server.client.call(method, &url(root, path, "Patient")).send().await;
            assert!(!answer.text().contains("\"resourceType\":\"Patient\""), "{method} {path}");
            assert_ne!(answer.status, 500, "{method} {path}: {answer:?}");
            guarded(&answer, path);
            continue;
        }
        for (token, code) in [(None, "login"), (Some(&garbage), "login"), (Some(&dead), "expired")]
        {
            let mut call = server.client.call(method, &url(root, path, "Patient")).json(PATIENT);
            if let Some(token) = token {
                call = call.header("Authorization", token);
            }
            let answer = call.send().await;
            assert_eq!(answer.status, 401, "{method} {path} {code}: {answer:?}");
            guarded(&answer, path);
            assert_eq!(answer.at("issue[0].code").as_deref(), Some(code), "{method} {path}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert_eq!(challenge.contains("invalid_token"), token.is_some(), "{challenge}");
            assert!(!answer.text().contains("active"), "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(open, OPEN.iter().copied().collect());
    server.stop().await;
}

/// The query, the kind of body and the body by which a route is asked as it is meant to be, for a resource.
fn fitting(
    route: &Route,
    (of, id): (&str, &str),
    resource: &str,
) -> (String, &'static str, String) {
    let is_post = route.method == "POST";
    let is_of_one = route.path.contains("{id}");
    let form = "application/x-www-form-urlencoded";
    let json = "application/fhir+json";
    let none = String::new;
    match route.interaction {
        Some(Kind::SearchType) if is_post => (none(), form, format!("_id={id}")),
        Some(Kind::SearchSystem) if is_of_one => (none(), form, none()),
        Some(Kind::SearchSystem) => {
            let asked = "_type=Observation,Patient&_id=p1,p2".to_owned();
            if is_post { (none(), form, asked) } else { (format!("?{asked}"), json, none()) }
        }
        Some(Kind::GraphQl) => {
            let fields = if of == "Patient" { "name { family }" } else { "code { text }" };
            let one = format!("{{ {fields} }}");
            let asked = if is_of_one { one } else { format!("{{ {of}(id: \"{id}\") {one} }}") };
            if is_post {
                return (none(), "application/graphql", asked);
            }
            let encode = |byte| format!("%{byte:02X}");
            let encoded = asked.bytes().map(encode).collect::<Vec<_>>().concat();
            (format!("?query={encoded}"), json, none())
        }
        Some(Kind::Batch) => {
            let asked = ["Observation/p1", "Patient/p2", "Observation?_id=p1", "Patient?_id=p2"];
            let entry = |url: &&str| format!(r#"{{"request":{{"method":"GET","url":"{url}"}}}}"#);
            let entries = asked.iter().map(entry).collect::<Vec<_>>().join(",");
            let bundle =
                format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entries}]}}"#);
            (none(), json, bundle)
        }
        Some(Kind::Patch) => {
            let change = r#"[{"op":"add","path":"/language","value":"de"}]"#;
            (none(), "application/json-patch+json", change.to_owned())
        }
        Some(Kind::Create | Kind::Update | Kind::Validate) => (none(), json, resource.to_owned()),
        _ if is_post => (none(), json, r#"{"resourceType":"Parameters"}"#.to_owned()),
        _ => (none(), json, none()),
    }
}

/// Whether a route shows nothing by itself, so that each part of what it is asked is granted or not, or is of
/// Encounters too. What has come over a feed is answered by a message, whoever sent it.
fn is_for_all(route: &Route) -> bool {
    let is_frame = matches!(
        route.interaction,
        Some(Kind::Batch | Kind::GraphQl | Kind::ReceiveMessage | Kind::SearchSystem)
    );
    is_frame || route.path.contains("/Encounter/") || route.path == "/fhir/$export"
}

/// Whether nothing can be wrong with a request but that it is not granted: all but operations that need
/// parameters, and what is looked for by an id or in a compartment that cannot be.
fn is_plain(route: &Route) -> bool {
    let (path, is_read) = (route.path, route.method == "GET");
    let operation = path.split('/').find(|part| part.starts_with('$'));
    let is_simple = ["$disclosures", "$everything", "$meta", "$reindex"];
    path.starts_with("/fhir")
        && !path.contains("{member}")
        && operation.is_none_or(|it| is_read && is_simple.contains(&it))
}

/// Pages of messages lead to the login, and do nothing, whatever token comes along: they go by sessions.
#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_messages_lets_in_who_has_not_logged_in() {
    let server = server().await;
    register(&server, &service("job", "system/*.cruds system/__messages")).await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "system/*.cruds system/__messages"),
        ("client_id", "job"),
        ("client_secret", SECRET),
    ];
    let answer = send(&server, "/auth/token", &fields).await.expect(200);
    let live = format!("Bearer {}", text(&answer, "access_token"));
    let garbage = format!("Bearer kiln_at_{}", "a".repeat(43));
    let root = server.client.root();
    let mut asked = 0;
    for route in console::all().into_iter().filter(|route| !route.path.contains("/assets/")) {
        let (method, path) = (route.method.as_str(), route.path);
        for token in [None, Some(&garbage), Some(&live)] {
            let mut call = server.client.call(method, &url(root, path, "Patient"));
            if let Some(token) = token {
                call = call.header("Authorization", token);
            }
            if method == "POST" {
                call = call.header("Content-Type", "application/x-www-form-urlencoded");
                call = call.body("do=discard&reason=x&csrf=x");
            }
            let answer = call.send().await;
            // A form that is not of a page of ours is refused before anything else.
            let expected = if method == "POST" { (403, "") } else { (303, "/auth/login") };
            let told = (answer.status, location(&answer));
            assert_eq!((told.0, told.1.as_str()), expected, "{method} {path}: {answer:?}");
            guarded(&answer, path);
            asked += 1;
        }
    }
    assert_eq!(asked, 12);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_goes_beyond_the_scopes_of_a_token() {
    let server = server().await;
    let bodies = [
        r#"{"resourceType":"Observation","id":"p1","status":"final","code":{"text":"canary"},
        "subject":{"reference":"Patient/p2"}}"#,
        r#"{"resourceType":"Patient","id":"p2"}"#,
    ];
    store(&server, &[bodies[1], bodies[0]]).await;
    register(&server, &service("job", "system/Encounter.rs")).await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", "system/Encounter.rs"),
        ("client_id", "job"),
        ("client_secret", SECRET),
    ];
    let answer = send(&server, "/auth/token", &fields).await.expect(200);
    let token = format!("Bearer {}", text(&answer, "access_token"));
    let root = server.client.root();
    let mut refused = 0;
    for route in routes::all(true).into_iter().filter(|route| route.audit == Audit::Gate) {
        let (method, path) = (route.method.as_str(), route.path);
        // Criteria that choose nothing are a mistake whoever sends them.
        let criteria = if path == "/fhir/{type}" { "?code=x" } else { "" };
        let (query, kind, body) = fitting(&route, ("Observation", "p1"), bodies[0]);
        let url = format!("{}{criteria}{query}", url(root, path, "Observation"));
        let call = server.client.call(method, &url).header("Authorization", &token);
        let answer = call.header("Content-Type", kind).body(body).send().await;
        assert_ne!(answer.status, 500, "{method} {path}: {answer:?}");
        assert!(!answer.text().contains("canary"), "{method} {path}: {answer:?}");
        if is_for_all(&route) {
            continue;
        }
        assert!((400..500).contains(&answer.status), "{method} {path}: {answer:?}");
        assert!(answer.status == 403 || !is_plain(&route), "{method} {path}: {answer:?}");
        if answer.status == 403 {
            refused += 1;
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(challenge.contains("insufficient_scope"), "{method} {path}: {answer:?}");
        }
    }
    assert!(refused > 25, "{refused}");
    let unchanged = "SELECT count(*) FROM res WHERE vid > 1";
    assert_eq!(server.database.number(unchanged).await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_shows_or_changes_for_a_patient_what_is_anothers() {
    let server = server().await;
    let others = [
        r#"{"resourceType":"Patient","id":"p2","name":[{"family":"canary"}]}"#,
        r#"{"resourceType":"Observation","id":"p1","status":"final","code":{"text":"canary"},
        "subject":{"reference":"Patient/p2"}}"#,
    ];
    store(&server, &others).await;
    register(&server, &public("app", "patient/*.cruds")).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", "patient/*.cruds", Some(account))).await;
    let token = format!("Bearer {}", text(&answer, "access_token"));
    let root = server.client.root();
    let all = "SELECT count(*) FROM res";
    let before = server.database.number(all).await;
    let mut searched = 0;
    for route in routes::all(true).into_iter().filter(|route| route.audit == Audit::Gate) {
        let (method, path) = (route.method.as_str(), route.path);
        for (of, id, body) in [("Observation", "p1", others[1]), ("Patient", "p2", others[0])] {
            let url = url(root, path, of).replace("/Patient/p1", &format!("/Patient/{id}"));
            let (query, kind, body) = fitting(&route, (of, id), body);
            let changes = ["DELETE", "PATCH", "PUT"].contains(&method);
            let is_conditional = changes && path == "/fhir/{type}";
            let criteria = if is_conditional { format!("?_id={id}") } else { query };
            let call = server.client.call(method, &format!("{url}{criteria}"));
            let call = call.header("Authorization", &token).header("Content-Type", kind);
            let answer = call.body(body).send().await;
            assert_ne!(answer.status, 500, "{method} {url}: {answer:?}");
            assert!(!answer.text().contains("canary"), "{method} {url}: {answer:?}");
            if path == "/fhir/{type}/_search" {
                searched += 1;
                let found = entries(&answer.expect(200));
                // Whoever asks for nothing in particular finds the own record.
                let foreign = found.iter().filter(|it| *it != "Patient/p1");
                assert_eq!(foreign.count(), 0, "{method} {url}: {found:?}");
            }
        }
    }
    // By GET and by POST: a form that is refused for its kind would find nothing either.
    assert_eq!(searched, 4);
    assert_eq!(server.database.number(all).await, before);
    assert_eq!(server.database.number("SELECT count(*) FROM res WHERE vid > 1").await, 0);
    server.stop().await;
}

/// Pages for people: they tell their problems in HTML, under a policy that lets nothing in.
const PAGES: &[&str] = &[
    "/auth/apps",
    "/auth/assets/{name}",
    "/auth/authorize",
    "/auth/callback",
    "/auth/consent",
    "/auth/encounter",
    "/auth/factors",
    "/auth/login",
    "/auth/logout",
    "/auth/patient",
    "/auth/second-factor",
    "/auth/setup/{name}",
    "/auth/upstream",
    "/v2",
    "/v2/assets/{name}",
    "/v2/view/{name}",
];

/// Whatever asks for HTML is told its mistake in JSON, but on a page, where nothing of a request stands as
/// markup.
///
/// Covers: security H16.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_in_json_but_on_pages() {
    let server = server().await;
    let root = server.client.root();
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let mark = "%3Cscript%3Ealert(1)%3C/script%3E";
    let mut told = 0;
    let mut asked: Vec<(String, String, bool)> = everything()
        .map(|route| {
            let path = format!("{}?x={mark}&client_id={mark}", url(root, route.path, "Patient"));
            (route.method.to_string(), path, PAGES.contains(&route.path))
        })
        .collect();
    for path in
        ["/nothing", "/fhir/Nothing/x", "/auth/nothing", "/fhir/Patient/%00", "/%3Cscript%3E"]
    {
        asked.push(("GET".to_owned(), format!("{root}{path}"), false));
    }
    asked.push(("DELETE".to_owned(), format!("{root}/fhir/metadata"), false));
    for (method, path, is_page) in asked {
        let call = server.client.call(&method, &path).header("Accept", accept);
        let answer = call.json("{<script>alert(1)</script>").send().await;
        assert!(!answer.text().contains("<script>alert"), "{method} {path}: {answer:?}");
        if answer.status < 400 || answer.text().is_empty() {
            continue;
        }
        told += 1;
        let kind = answer.header("content-type").unwrap_or_default();
        if is_page && kind.starts_with("text/html") {
            let policy = answer.header("content-security-policy").unwrap_or_default();
            assert!(policy.contains("default-src 'none'"), "{method} {path}: {answer:?}");
        } else {
            assert!(kind.contains("json"), "{method} {path}: {answer:?}");
        }
        guarded(&answer, &path);
    }
    assert!(told > 40, "{told}");
    server.stop().await;
}
