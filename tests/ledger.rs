//! The ratchet of the audit: every attempt at every protected route leaves exactly one ledger row.
//!
//! Covers: security A4.
//!
//! A new route without attempts here fails; so does a public one that leaves a row.

use std::collections::BTreeSet;

use kiln::http::routes;
use kiln::http::table::Audit;

use crate::everything::ATTEMPTS as OF_RECORDS;
use crate::export::ATTEMPTS as OF_EXPORTS;
use crate::graphql::ATTEMPTS as OF_DOCUMENTS;
use crate::harness::server::TestServer;

/// What is tried: route, url, body, expected status. `p` exists in two versions, `d` is deleted.
type Attempt = (&'static str, &'static str, &'static str, u16);

const P: &str = r#"{"resourceType":"Patient","id":"p","active":true}"#;
const BAD: &str = r#"{"resourceType":"Patient","id":"p","nope":1}"#;
const META: &str = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"code":"t"}]}}]}"#;
const PATCH: &str = r#"[{"op":"add","path":"/gender","value":"male"}]"#;
const BAD_PATCH: &str = r#"[{"op":"remove","path":"/photo"}]"#;
const NOTHING: &str = r#"{"resourceType":"Parameters"}"#;
const CLOSURE: &str =
    r#"{"resourceType":"Parameters","parameter":[{"name":"name","valueString":"c"}]}"#;
const EMPTY: &str = r#"{"resourceType":"Bundle","type":"batch"}"#;

const ATTEMPTS: &[Attempt] = &[
    ("GET /fhir/{type}/{id}", "/Patient/p", "", 200),
    ("GET /fhir/{type}/{id}", "/Patient/x", "", 404),
    ("GET /fhir/{type}/{id}", "/Patient/d", "", 410),
    ("GET /fhir/{type}/{id}", "/StructureDefinition/Patient", "", 200),
    ("DELETE /fhir/{type}/{id}", "/StructureDefinition/Patient", "", 405),
    ("GET /fhir/{type}/{id}/_history/{vid}", "/StructureDefinition/Patient/_history/1", "", 200),
    ("GET /fhir/{type}", "/StructureDefinition?_id=Patient", "", 200),
    ("PUT /fhir/{type}/{id}", "/Patient/p", P, 200),
    ("PUT /fhir/{type}/{id}", "/Patient/p", BAD, 400),
    ("PUT /fhir/{type}/{id}", "/Patient/q", P, 400),
    ("PUT /fhir/{type}/{id}", "/Patient/p", "{", 400),
    ("PATCH /fhir/{type}/{id}", "/Patient/p", PATCH, 200),
    ("PATCH /fhir/{type}/{id}", "/Patient/p", BAD_PATCH, 400),
    ("PATCH /fhir/{type}/{id}", "/Patient/x", PATCH, 404),
    ("DELETE /fhir/{type}/{id}", "/Patient/gone", "", 204),
    ("DELETE /fhir/{type}/{id}", "/Patient/x", "", 204),
    ("POST /fhir/{type}", "/Patient", P, 201),
    ("POST /fhir/{type}", "/Patient", BAD, 400),
    ("POST /fhir/{type}", "/Observation", P, 400),
    ("PUT /fhir/{type}", "/Patient?identifier=a|b", P, 409),
    ("PUT /fhir/{type}", "/Patient?_id=p", P, 200),
    ("PUT /fhir/{type}", "/Patient", P, 400),
    ("PATCH /fhir/{type}", "/Patient?_id=p", PATCH, 200),
    ("PATCH /fhir/{type}", "/Patient?_id=x", PATCH, 404),
    ("DELETE /fhir/{type}", "/Patient?_id=also", "", 204),
    ("DELETE /fhir/{type}", "/Patient?_id=x", "", 204),
    ("DELETE /fhir/{type}", "/Patient?_id=p,more", "", 412),
    ("GET /fhir/{type}", "/Patient", "", 200),
    ("GET /fhir/{type}", "/Patient?_id=x", "", 200),
    ("GET /fhir/{type}", "/Patient?birthdate=never", "", 400),
    ("GET /fhir/{type}/_search", "/Patient/_search?_id=p", "", 200),
    ("POST /fhir/{type}/_search", "/Patient/_search?_id=p", "", 200),
    ("POST /fhir/{type}/_search", "/Patient/_search", P, 415),
    ("GET /fhir/{type}/{id}/{member}", "/Patient/p/Observation", "", 200),
    ("GET /fhir/{type}/{id}/{member}", "/Observation/p/Patient", "", 404),
    ("GET /fhir/{type}/{id}/{member}/_search", "/Patient/p/Observation/_search", "", 200),
    ("POST /fhir/{type}/{id}/{member}/_search", "/Patient/p/Observation/_search", "", 200),
    ("GET /fhir/{type}/{id}/*", "/Patient/p/*", "", 200),
    ("GET /fhir/{type}/{id}/*/_search", "/Patient/p/*/_search", "", 200),
    ("POST /fhir/{type}/{id}/*/_search", "/Patient/p/*/_search", "", 200),
    ("GET /fhir", "/?_type=Patient", "", 200),
    ("GET /fhir", "/?_type=Nope&_id:nope=1", "", 400),
    ("GET /fhir/_search", "/_search?_type=Patient", "", 200),
    ("POST /fhir/_search", "/_search?_type=Patient", "", 200),
    ("POST /fhir", "/", EMPTY, 200),
    ("POST /fhir", "/", P, 400),
    ("GET /fhir/{type}/{id}/_history", "/Patient/p/_history", "", 200),
    ("GET /fhir/{type}/{id}/_history", "/Patient/x/_history", "", 404),
    ("GET /fhir/{type}/{id}/_history", "/Patient/p/_history?_since=never", "", 400),
    ("GET /fhir/{type}/{id}/_history/{vid}", "/Patient/p/_history/1", "", 200),
    ("GET /fhir/{type}/{id}/_history/{vid}", "/Patient/p/_history/99", "", 404),
    ("GET /fhir/{type}/{id}/_history/{vid}", "/Patient/d/_history/2", "", 410),
    ("GET /fhir/{type}/_history", "/Patient/_history", "", 200),
    ("GET /fhir/{type}/_history", "/Encounter/_history", "", 200),
    ("GET /fhir/_history", "/_history", "", 200),
    ("GET /fhir/Patient/{id}/$disclosures", "/Patient/p/$disclosures", "", 200),
    ("GET /fhir/Patient/{id}/$disclosures", "/Patient/p/$disclosures?start=never", "", 400),
    ("GET /fhir/Patient/{id}/$disclosures", "/Patient/x/$disclosures", "", 404),
    ("GET /fhir/Patient/{id}/$disclosures", "/Patient/d/$disclosures", "", 410),
    ("GET /fhir/$meta", "/$meta", "", 200),
    ("GET /fhir/{type}/$meta", "/Patient/$meta", "", 200),
    ("GET /fhir/{type}/{id}/$meta", "/Patient/p/$meta", "", 200),
    ("GET /fhir/{type}/{id}/$meta", "/Patient/x/$meta", "", 404),
    ("GET /fhir/{type}/{id}/_history/{vid}/$meta", "/Patient/p/_history/1/$meta", "", 200),
    ("POST /fhir/$meta", "/$meta", NOTHING, 200),
    ("POST /fhir/{type}/$meta", "/Patient/$meta", NOTHING, 200),
    ("POST /fhir/{type}/{id}/$meta", "/Patient/p/$meta", NOTHING, 200),
    ("POST /fhir/{type}/{id}/_history/{vid}/$meta", "/Patient/p/_history/1/$meta", NOTHING, 200),
    ("POST /fhir/{type}/{id}/$meta-add", "/Patient/p/$meta-add", META, 200),
    ("POST /fhir/{type}/{id}/$meta-add", "/Patient/x/$meta-add", META, 404),
    ("POST /fhir/{type}/{id}/$meta-add", "/Patient/p/$meta-add", P, 400),
    ("POST /fhir/{type}/{id}/$meta-delete", "/Patient/p/$meta-delete", META, 200),
    ("POST /fhir/{type}/{id}/$meta-delete", "/Patient/x/$meta-delete", META, 404),
    ("POST /fhir/{type}/$validate", "/Patient/$validate", P, 200),
    ("POST /fhir/{type}/$validate", "/Patient/$validate", BAD, 200),
    ("POST /fhir/{type}/$validate", "/Patient/$validate", "{", 400),
    ("POST /fhir/{type}/$validate", "/Patient/$validate", NOTHING, 400),
    ("POST /fhir/{type}/$validate", "/Patient/$validate?mode=odd", P, 400),
    ("POST /fhir/{type}/{id}/$validate", "/Patient/p/$validate?mode=update", P, 200),
    ("POST /fhir/{type}/{id}/$validate", "/Patient/p/$validate?mode=delete", "", 200),
    ("POST /fhir/{type}/{id}/$validate", "/Patient/x/$validate", NOTHING, 404),
    ("GET /fhir/{type}/{id}/$validate", "/Patient/p/$validate", "", 200),
    ("GET /fhir/{type}/{id}/$validate", "/Patient/x/$validate", "", 404),
    ("GET /fhir/{type}/{id}/$validate", "/Patient/d/$validate", "", 410),
    // Asked while nothing builds: how far a build is depends on the moment.
    ("GET /fhir/$reindex", "/$reindex", "", 200),
    ("GET /fhir/{type}/$reindex", "/Encounter/$reindex", "", 200),
    ("GET /fhir/{type}/{id}/$reindex", "/Patient/p/$reindex", "", 200),
    ("POST /fhir/$reindex", "/$reindex", "", 202),
    ("POST /fhir/$reindex", "/$reindex", P, 400),
    ("POST /fhir/{type}/$reindex", "/Patient/$reindex", "", 202),
    ("POST /fhir/{type}/{id}/$reindex", "/Patient/p/$reindex", "", 200),
    ("POST /fhir/{type}/{id}/$reindex", "/Patient/x/$reindex", "", 404),
    (
        "POST /fhir/{type}/{id}/_history/{vid}/$meta-add",
        "/Patient/p/_history/1/$meta-add",
        META,
        200,
    ),
    (
        "POST /fhir/{type}/{id}/_history/{vid}/$meta-delete",
        "/Patient/p/_history/1/$meta-delete",
        META,
        200,
    ),
];

/// The same of operations over codes. `t` is a CodeSystem, a ValueSet and a ConceptMap.
const OF_CODES: &[Attempt] = &[
    (
        "GET /fhir/CodeSystem/$lookup",
        "/CodeSystem/$lookup?system=http://hl7.org/fhir/administrative-gender&code=male",
        "",
        200,
    ),
    ("GET /fhir/CodeSystem/$lookup", "/CodeSystem/$lookup", "", 400),
    (
        "POST /fhir/CodeSystem/$lookup",
        "/CodeSystem/$lookup?system=http://hl7.org/fhir/administrative-gender&code=male",
        NOTHING,
        200,
    ),
    ("POST /fhir/CodeSystem/$lookup", "/CodeSystem/$lookup", P, 400),
    (
        "GET /fhir/CodeSystem/$subsumes",
        "/CodeSystem/$subsumes?system=http://hl7.org/fhir/administrative-gender&codeA=male&codeB=female",
        "",
        200,
    ),
    ("GET /fhir/CodeSystem/$subsumes", "/CodeSystem/$subsumes", "", 400),
    (
        "POST /fhir/CodeSystem/$subsumes",
        "/CodeSystem/$subsumes?system=http://hl7.org/fhir/administrative-gender&codeA=male&codeB=female",
        NOTHING,
        200,
    ),
    ("POST /fhir/CodeSystem/$subsumes", "/CodeSystem/$subsumes", P, 400),
    (
        "GET /fhir/CodeSystem/$validate-code",
        "/CodeSystem/$validate-code?url=http://hl7.org/fhir/administrative-gender&code=male",
        "",
        200,
    ),
    ("GET /fhir/CodeSystem/$validate-code", "/CodeSystem/$validate-code", "", 400),
    (
        "POST /fhir/CodeSystem/$validate-code",
        "/CodeSystem/$validate-code?url=http://hl7.org/fhir/administrative-gender&code=male",
        NOTHING,
        200,
    ),
    ("POST /fhir/CodeSystem/$validate-code", "/CodeSystem/$validate-code", P, 400),
    (
        "GET /fhir/ConceptMap/$translate",
        "/ConceptMap/$translate?system=http://hl7.org/fhir/administrative-gender&code=male",
        "",
        200,
    ),
    ("GET /fhir/ConceptMap/$translate", "/ConceptMap/$translate", "", 400),
    (
        "POST /fhir/ConceptMap/$translate",
        "/ConceptMap/$translate?system=http://hl7.org/fhir/administrative-gender&code=male",
        NOTHING,
        200,
    ),
    ("POST /fhir/ConceptMap/$translate", "/ConceptMap/$translate", P, 400),
    (
        "GET /fhir/ValueSet/$expand",
        "/ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/administrative-gender",
        "",
        200,
    ),
    ("GET /fhir/ValueSet/$expand", "/ValueSet/$expand", "", 400),
    (
        "POST /fhir/ValueSet/$expand",
        "/ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/administrative-gender",
        NOTHING,
        200,
    ),
    ("POST /fhir/ValueSet/$expand", "/ValueSet/$expand", P, 400),
    (
        "GET /fhir/ValueSet/$validate-code",
        "/ValueSet/$validate-code?url=http://hl7.org/fhir/ValueSet/administrative-gender&system=http://hl7.org/fhir/administrative-gender&code=male",
        "",
        200,
    ),
    ("GET /fhir/ValueSet/$validate-code", "/ValueSet/$validate-code", "", 400),
    (
        "POST /fhir/ValueSet/$validate-code",
        "/ValueSet/$validate-code?url=http://hl7.org/fhir/ValueSet/administrative-gender&system=http://hl7.org/fhir/administrative-gender&code=male",
        NOTHING,
        200,
    ),
    ("POST /fhir/ValueSet/$validate-code", "/ValueSet/$validate-code", P, 400),
    ("GET /fhir/CodeSystem/{id}/$subsumes", "/CodeSystem/t/$subsumes?codeA=a&codeB=a", "", 200),
    ("GET /fhir/CodeSystem/{id}/$subsumes", "/CodeSystem/x/$subsumes?codeA=a&codeB=a", "", 404),
    (
        "POST /fhir/CodeSystem/{id}/$subsumes",
        "/CodeSystem/t/$subsumes?codeA=a&codeB=a",
        NOTHING,
        200,
    ),
    (
        "POST /fhir/CodeSystem/{id}/$subsumes",
        "/CodeSystem/x/$subsumes?codeA=a&codeB=a",
        NOTHING,
        404,
    ),
    ("GET /fhir/CodeSystem/{id}/$validate-code", "/CodeSystem/t/$validate-code?code=a", "", 200),
    ("GET /fhir/CodeSystem/{id}/$validate-code", "/CodeSystem/x/$validate-code?code=a", "", 404),
    (
        "POST /fhir/CodeSystem/{id}/$validate-code",
        "/CodeSystem/t/$validate-code?code=a",
        NOTHING,
        200,
    ),
    (
        "POST /fhir/CodeSystem/{id}/$validate-code",
        "/CodeSystem/x/$validate-code?code=a",
        NOTHING,
        404,
    ),
    (
        "GET /fhir/ConceptMap/{id}/$translate",
        "/ConceptMap/t/$translate?system=urn:t&code=a",
        "",
        200,
    ),
    (
        "GET /fhir/ConceptMap/{id}/$translate",
        "/ConceptMap/x/$translate?system=urn:t&code=a",
        "",
        404,
    ),
    (
        "POST /fhir/ConceptMap/{id}/$translate",
        "/ConceptMap/t/$translate?system=urn:t&code=a",
        NOTHING,
        200,
    ),
    (
        "POST /fhir/ConceptMap/{id}/$translate",
        "/ConceptMap/x/$translate?system=urn:t&code=a",
        NOTHING,
        404,
    ),
    ("GET /fhir/ValueSet/{id}/$expand", "/ValueSet/t/$expand?count=1", "", 200),
    ("GET /fhir/ValueSet/{id}/$expand", "/ValueSet/x/$expand?count=1", "", 404),
    ("POST /fhir/ValueSet/{id}/$expand", "/ValueSet/t/$expand?count=1", NOTHING, 200),
    ("POST /fhir/ValueSet/{id}/$expand", "/ValueSet/x/$expand?count=1", NOTHING, 404),
    (
        "GET /fhir/ValueSet/{id}/$validate-code",
        "/ValueSet/t/$validate-code?system=urn:t&code=a",
        "",
        200,
    ),
    (
        "GET /fhir/ValueSet/{id}/$validate-code",
        "/ValueSet/x/$validate-code?system=urn:t&code=a",
        "",
        404,
    ),
    (
        "POST /fhir/ValueSet/{id}/$validate-code",
        "/ValueSet/t/$validate-code?system=urn:t&code=a",
        NOTHING,
        200,
    ),
    (
        "POST /fhir/ValueSet/{id}/$validate-code",
        "/ValueSet/x/$validate-code?system=urn:t&code=a",
        NOTHING,
        404,
    ),
    ("POST /fhir/$closure", "/$closure", CLOSURE, 200),
    ("POST /fhir/$closure", "/$closure", NOTHING, 400),
];

macro_rules! unknown {
    () => {
        "/v2/messages/00000000-0000-7000-8000-000000000000"
    };
}
/// The same of messages of HL7 version 2; these are not below the FHIR base.
const OF_MESSAGES: &[Attempt] = &[
    ("POST /fhir/$hl7v2-convert", "/$hl7v2-convert", CONVERTED, 200),
    ("POST /fhir/$hl7v2-convert", "/$hl7v2-convert", NOTHING, 400),
    ("POST /v2/messages", "/v2/messages", MESSAGE, 200),
    ("GET /v2/messages", "/v2/messages", "", 200),
    ("GET /v2/messages", "/v2/messages?state=odd", "", 400),
    ("POST /v2/messages/$replay", "/v2/messages/$replay?state=failed", "", 202),
    ("POST /v2/messages/$replay", "/v2/messages/$replay", "", 400),
    ("GET /v2/messages/{id}", UNKNOWN, "", 404),
    ("GET /v2/messages/{id}", "/v2/messages/odd", "", 404),
    ("POST /v2/messages/{id}/$replay", concat!(unknown!(), "/$replay"), "", 404),
    ("POST /v2/messages/{id}/$discard", concat!(unknown!(), "/$discard"), "why", 404),
    ("POST /v2/messages/{id}/$discard", concat!(unknown!(), "/$discard"), "", 400),
    ("POST /v2/messages/{id}/$unmerge", concat!(unknown!(), "/$unmerge"), "why", 404),
    ("POST /v2/messages/{id}/$unmerge", concat!(unknown!(), "/$unmerge"), "", 400),
    ("GET /v2/codes", "/v2/codes", "", 200),
    ("GET /v2/codes", "/v2/codes?_count=many", "", 400),
    ("POST /v2/codes", "/v2/codes", CODE, 202),
    ("POST /v2/codes", "/v2/codes", "{}", 400),
];

const UNKNOWN: &str = unknown!();
const MESSAGE: &str =
    "MSH|^~\\&|LAB|STM|K|H|20260704120000||ADT^A28|1|P|2.5\rPID|1||12^^^STM^MR||Muster\r";
const CODE: &str = r#"{"site":"LAB|STM","set":"lab-test","system":"99STM","code":"HB",
    "target":{"system":"http://loinc.org","code":"718-7"}}"#;
const CONVERTED: &str =
    r#"{"resourceType":"Parameters","parameter":[{"name":"message","valueString":"MSH|^~\\&|A"}]}"#;

const ALL: [&[Attempt]; 6] =
    [ATTEMPTS, OF_CODES, OF_MESSAGES, OF_EXPORTS, OF_RECORDS, OF_DOCUMENTS];

/// Public routes with a url of each; they leave no row.
const PUBLIC: &[(&str, &str)] = &[
    ("GET /fhir/metadata", "/fhir/metadata"),
    ("GET /", "/"),
    ("GET /health/live", "/health/live"),
    ("GET /health/ready", "/health/ready"),
    ("GET /metrics", "/metrics"),
];

#[test]
fn every_route_has_its_attempts() {
    let mut tried: BTreeSet<_> =
        ALL.iter().copied().flatten().map(|attempt| (attempt.0, true)).collect();
    tried.extend(PUBLIC.iter().map(|(route, _)| (*route, false)));
    let routes = routes::all(true);
    let declared: Vec<_> = routes
        .iter()
        .map(|route| (format!("{} {}", route.method, route.path), route.audit == Audit::Gate))
        .collect();
    let declared: BTreeSet<_> =
        declared.iter().map(|(route, gate)| (route.as_str(), *gate)).collect();
    assert_eq!(tried, declared);
}

async fn rows_of(server: &TestServer, request: &str) -> i64 {
    let query = format!("SELECT count(*) FROM ledger WHERE request_id = '{request}'");
    server.database.number(&query).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_leaves_exactly_one_row() {
    let server = TestServer::start().await;
    let client = &server.client;
    for id in ["p", "d", "gone", "also", "more"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    client.delete("/Patient/d").await.expect(204);
    for (of, more) in [
        ("CodeSystem", r#","url":"urn:t","content":"complete","concept":[{"code":"a"}]"#),
        ("ConceptMap", ""),
        ("ValueSet", r#","compose":{"include":[{"system":"urn:t"}]}"#),
    ] {
        let body = format!(r#"{{"resourceType":"{of}","id":"t","status":"active"{more}}}"#);
        client.put(&format!("/{of}/t"), body).await.expect(201);
    }
    let mut faults = Vec::new();
    let attempts = ALL.iter().copied().flatten();
    for (number, (route, url, body, status)) in attempts.enumerate() {
        let request = format!("attempt-{number}");
        let absolute = format!("{}{url}", client.root());
        let url = if url.starts_with("/v2/") { &absolute } else { *url };
        let method = route.split(' ').next().unwrap();
        let mut call = client.call(method, url).header("X-Request-Id", &request);
        if url.contains("$export") {
            call = call.header("Prefer", "respond-async");
        }
        if !body.is_empty() {
            let patch = method == "PATCH";
            let kind = if patch { "application/json-patch+json" } else { "application/fhir+json" };
            call = call.header("Content-Type", kind).body(*body);
        }
        let answer = call.send().await;
        let rows = rows_of(&server, &request).await;
        let success = i64::from(*status < 400);
        let query = format!(
            "SELECT count(*) FROM ledger WHERE request_id = '{request}' AND (outcome = 0) = ({success} = 1)"
        );
        if answer.status != *status || rows != 1 || server.database.number(&query).await != 1 {
            faults.push(format!("{route} ({url}): {} with {rows} rows", answer.status));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_routes_leave_no_row() {
    let server = TestServer::start().await;
    for (route, url) in PUBLIC {
        let url = format!("{}{url}", server.client.root());
        server.client.call("GET", &url).header("X-Request-Id", "public").send().await.expect(200);
        assert_eq!(rows_of(&server, "public").await, 0, "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_has_a_row_of_its_own_and_one_for_each_entry() {
    let server = TestServer::start().await;
    let entries = r#"[
        {"resource":{"resourceType":"Patient","id":"a"},"request":{"method":"PUT","url":"Patient/a"}},
        {"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}},
        {"request":{"method":"DELETE","url":"Patient/x"}},
        {"request":{"method":"GET","url":"Patient/a"}}]"#;
    for kind in ["batch", "transaction"] {
        let body = format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":{entries}}}"#);
        let call = server.client.call("POST", "/").header("X-Request-Id", kind);
        call.json(body).send().await.expect(200);
        assert_eq!(rows_of(&server, kind).await, 5, "{kind}");
    }
}

/// A transaction of four entries: created, updated, deleted and read.
fn four(last: &str, extra: &str) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[
        {{"request":{{"method":"GET","url":"Patient/{last}"}}}},
        {{"resource":{{"resourceType":"Patient","id":"b"{extra}}},"request":{{"method":"PUT","url":"Patient/b"}}}},
        {{"resource":{{"resourceType":"Patient"}},"request":{{"method":"POST","url":"Patient"}}}},
        {{"request":{{"method":"DELETE","url":"Patient/gone"}}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_fails_has_a_failed_row_for_each_entry_whenever_it_fails() {
    let server = TestServer::start().await;
    let check = "ALTER TABLE res ADD CONSTRAINT planted CHECK (id <> 'b')";
    for (request, body, status, outcome) in [
        // Before it begins, at the last entry, and when everything is written.
        ("malformed", four("b", r#","nope":1"#), 400, 4),
        ("misplaced", four("b", "").replace("Patient/gone", "Nonsense/gone"), 404, 4),
        ("rolled-back", four("nobody", ""), 404, 4),
        (
            "not-committed",
            four("b", "").replace(r#""GET","url":"Patient/b""#, r#""DELETE","url":"Patient/c""#),
            500,
            8,
        ),
    ] {
        if status == 500 {
            server.database.run(check).await;
        }
        let call = server.client.call("POST", "/").header("X-Request-Id", request);
        call.json(body).send().await.expect(status);
        assert_eq!(rows_of(&server, request).await, 5, "{request}");
        let count = |condition: &str| {
            format!("SELECT count(*) FROM ledger WHERE request_id = '{request}' AND {condition}")
        };
        let failed = count(&format!("outcome = {outcome} AND failure <> ''"));
        assert_eq!(server.database.number(&failed).await, 5, "{request}");
        for (id, named) in [("b", 1), ("gone", 1)] {
            let of = count(&format!("logical_id = '{id}' AND interaction IN (4, 14)"));
            let expected = if request == "misplaced" && id == "gone" { 0 } else { named };
            assert_eq!(server.database.number(&of).await, expected, "{request}: {id}");
        }
        // An entry that is not understood is no interaction with anything, and told as it was asked.
        let asked =
            count("interaction = 13 AND method = 'DELETE' AND query LIKE '%/Nonsense/gone'");
        let expected = i64::from(request == "misplaced");
        assert_eq!(server.database.number(&asked).await, expected, "{request}");
        let groups =
            format!("SELECT count(DISTINCT grp) FROM ledger WHERE request_id = '{request}'");
        assert_eq!(server.database.number(&groups).await, 1, "{request}");
    }
}
