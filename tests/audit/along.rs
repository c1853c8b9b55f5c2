//! Chains lead to events of the ledger, and events bring along what they refer to, as far as the caller
//! may search for it.

use serde_json::Value;

use crate::harness::client::Client;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

/// Two patients and a practitioner, who read one of them.
async fn read_by_ada() -> TestServer {
    let server = TestServer::start().await;
    for (id, content) in [
        ("Patient/a", r#""gender":"male","identifier":[{"system":"urn:mrn","value":"1"}]"#),
        ("Patient/b", r#""gender":"female""#),
        (
            "Practitioner/ada",
            r#""gender":"female","name":[{"family":"Ada"}],"identifier":[{"system":"urn:npi","value":"7"}]"#,
        ),
        (
            "Observation/oa",
            r#""status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}"#,
        ),
    ] {
        let (of, name) = id.split_once('/').unwrap();
        let body = format!(r#"{{"resourceType":"{of}","id":"{name}",{content}}}"#);
        server.client.put(&format!("/{id}"), body).await.expect(201);
    }
    let ada = Token::new(&server, "user/*.cruds").user("Practitioner/ada", &["practitioner"]);
    let (client, _stop) = ada.client().await;
    client.get("/Patient/a").await.expect(200);
    client.get("/Observation/oa").await.expect(200);
    server
}

/// What a page has as matches, by subtype and what it is about, and what comes along.
async fn page(client: &Client, query: &str) -> (Vec<String>, Vec<String>) {
    let answer = client.get(&format!("/AuditEvent?_count=100&{query}")).await.expect(200);
    let bundle: Value = serde_json::from_str(&answer.text()).unwrap();
    let (mut matches, mut along) = (Vec::new(), Vec::new());
    for entry in bundle["entry"].as_array().cloned().unwrap_or_default() {
        let resource = &entry["resource"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match entry["search"]["mode"].as_str().unwrap() {
            "match" => {
                let what = &resource["entity"][0]["what"]["reference"];
                matches.push(format!("{} {}", text(&resource["subtype"][0]["code"]), text(what)));
            }
            "include" => {
                along.push(format!(
                    "{}/{}",
                    text(&resource["resourceType"]),
                    text(&resource["id"])
                ));
            }
            _ => {}
        }
    }
    along.sort_unstable();
    (matches, along)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_leads_to_events_by_patient_and_by_agent() {
    let server = read_by_ada().await;
    for (query, expected) in [
        (
            "patient.gender=male&subtype=read",
            &["read Observation/oa/_history/1", "read Patient/a/_history/1"][..],
        ),
        ("patient.gender=female&subtype=update", &["update Patient/b/_history/1"]),
        ("patient.gender=other", &[]),
        ("patient:Patient._id=b&subtype=update", &["update Patient/b/_history/1"]),
        (
            "agent:Practitioner.name=Ada",
            &["read Observation/oa/_history/1", "read Patient/a/_history/1"],
        ),
        ("agent:Practitioner.name=Ada&patient.gender=female", &[]),
        ("entity:Observation.status=final&subtype=read", &["read Observation/oa/_history/1"]),
    ] {
        assert_eq!(page(&server.client, query).await.0, expected, "{query}");
    }
}

/// ITI-81 asks by the identifiers of parties and patients, within a time.
///
/// Covers in part: security A13.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_retrieved_by_identifiers_of_parties_and_patients() {
    let server = read_by_ada().await;
    let both = &["read Observation/oa/_history/1", "read Patient/a/_history/1"][..];
    let base = server.client.base();
    for (query, expected) in [
        ("patient.identifier=urn:mrn|1&subtype=read", both),
        ("patient.identifier=1&subtype=read", both),
        ("patient.identifier=urn:mrn|2", &[]),
        ("patient.identifier=urn:npi|1", &[]),
        ("agent.identifier=urn:npi|7", both),
        ("agent.identifier=urn:npi|8", &[]),
        ("agent.identifier=urn:npi|7&patient.identifier=urn:mrn|1&outcome=0&action=R", both),
        (
            "agent.identifier=urn:npi|7&type=http://dicom.nema.org/resources/ontology/DCM|110114",
            &[],
        ),
        ("entity:Patient.identifier=urn:mrn|1&subtype=read&entity-type=2", both),
        (&format!("source:identifier=urn:ietf:rfc:3986|{base}&agent.identifier=urn:npi|7"), both),
        ("source:identifier=urn:ietf:rfc:3986|urn:x&agent.identifier=urn:npi|7", &[]),
    ] {
        let query = format!("date=ge2020-01-01&date=le2100-01-01&{query}");
        assert_eq!(page(&server.client, &query).await.0, expected, "{query}");
    }
    assert_eq!(
        page(&server.client, "date=lt2020-01-01&agent.identifier=urn:npi|7").await.0,
        [""; 0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_events_refer_to_comes_along_once() {
    let server = read_by_ada().await;
    for (include, expected) in [
        ("_include=AuditEvent:patient", &["Patient/a"][..]),
        ("_include=AuditEvent:agent", &["Practitioner/ada"]),
        ("_include=AuditEvent:entity", &["Observation/oa", "Patient/a"]),
        ("_include=AuditEvent:entity:Observation", &["Observation/oa"]),
        (
            "_include=AuditEvent:patient&_include=AuditEvent:agent",
            &["Patient/a", "Practitioner/ada"],
        ),
        ("_include=*", &["Observation/oa", "Patient/a", "Practitioner/ada"]),
    ] {
        let (matches, along) = page(&server.client, &format!("subtype=read&{include}")).await;
        assert_eq!(matches.len(), 2, "{include}");
        assert_eq!(along, expected, "{include}");
    }
    // Whom it tells of is on record with the search, those too that came along.
    let rows =
        "SELECT count(*) FROM ledger WHERE query LIKE '%_include=*' AND cardinality(pats) = 1";
    assert!(server.database.number(rows).await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_goes_beyond_what_the_caller_may_search_for() {
    let server = read_by_ada().await;
    let (narrow, _stop) = Token::new(&server, "system/AuditEvent.rs").client().await;
    let (matches, along) = page(&narrow, "subtype=read&_include=*").await;
    assert_eq!((matches.len(), along), (2, Vec::new()));
    narrow.get("/AuditEvent?patient.gender=male").await.expect(403);
    let (one, _stop) =
        Token::new(&server, "system/AuditEvent.rs system/Patient.rs?gender=female").client().await;
    assert_eq!(page(&one, "patient.gender=male").await.0, [""; 0]);
    assert_eq!(page(&one, "subtype=update&_include=AuditEvent:patient").await.1, ["Patient/b"]);
}
