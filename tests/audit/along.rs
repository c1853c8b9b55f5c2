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
    client.call("GET", "/Patient/a").header("X-Request-Id", "of-ada").send().await.expect(200);
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
/// Covers: security A13.
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
        // What an event names by an identifier alone is no resource.
        (&format!("source.identifier=urn:ietf:rfc:3986|{base}&agent.identifier=urn:npi|7"), both),
        ("source.identifier=urn:ietf:rfc:3986|urn:x&agent.identifier=urn:npi|7", &[]),
        ("agent.identifier=app", both),
        ("agent.identifier=|app&patient.identifier=urn:mrn|1", both),
        (&format!("agent.identifier={base}|ada"), both),
        (&format!("agent.identifier={base}|eve"), &[]),
        ("agent:Practitioner.identifier=app", &[]),
        ("entity.identifier=of-ada", &["read Patient/a/_history/1"]),
        ("entity.identifier=urn:x|of-ada", &[]),
        ("entity.identifier=urn:mrn|1&subtype=read", both),
    ] {
        let query = format!("date=ge2020-01-01&date=le2100-01-01&{query}");
        assert_eq!(page(&server.client, &query).await.0, expected, "{query}");
    }
    assert_eq!(
        page(&server.client, "date=lt2020-01-01&agent.identifier=urn:npi|7").await.0,
        [""; 0]
    );
}

/// Where the settings want it, nothing is searched for at all times.
///
/// Covers: security A13.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_without_a_date_is_refused_where_that_is_wanted() {
    let server = TestServer::start_with(&[("atna.requires_date", "true")]).await;
    let client = &server.client;
    client.put("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.expect(201);
    let batch = |url: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"request":{{"method":"GET","url":"{url}"}}}}]}}"#
        )
    };
    for (url, is_dated) in [
        ("AuditEvent", false),
        ("AuditEvent?patient=Patient/a", false),
        ("AuditEvent?patient=Patient/a&date=", false),
        ("AuditEvent?_lastUpdated=ge2020", false),
        ("Patient/a/AuditEvent?action=U", false),
        ("AuditEvent?patient=Patient/a&date=ge2020", true),
        ("AuditEvent?patient=Patient/a&date=ge2020&date=le2100", true),
        ("Patient/a/AuditEvent?date=ge2020", true),
    ] {
        let answer = client.get(&format!("/{url}")).await;
        assert_eq!(answer.status, if is_dated { 200 } else { 400 }, "{url}: {answer:?}");
        if !is_dated {
            assert_eq!(answer.at("issue[0].code").as_deref(), Some("required"), "{url}");
        }
        let entry = client.post("/", batch(url)).await.expect(200);
        let status = entry.at("entry[0].response.status").unwrap();
        assert_eq!(status.starts_with("200"), is_dated, "{url}: {status}");
    }
    // Next pages have the date of the first; other types need none, and what a patient is told neither.
    let first = client.get("/AuditEvent?date=ge2020&_count=1").await.expect(200);
    let bundle: Value = serde_json::from_str(&first.text()).unwrap();
    let links = bundle["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next").unwrap();
    client.get(next["url"].as_str().unwrap()).await.expect(200);
    client.get("/Patient").await.expect(200);
    client.get("/Patient/a/$disclosures").await.expect(200);
    server.stop().await;
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
}

/// Whom a search tells of is on record with it: those too whom no event is about and who come along.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_along_is_on_record_with_the_search() {
    let server = read_by_ada().await;
    let token = Token::new(&server, "user/Practitioner.rs").user("Patient/b", &["practitioner"]);
    let (client, _stop) = token.client().await;
    client.get("/Practitioner/ada").await.expect(200);
    server.client.get("/Patient/b").await.expect(200);
    let hash = "SELECT pats[1] FROM ledger WHERE query = '/fhir/Patient/b' AND method = 'GET'";
    let hash = server.database.number(hash).await;
    for (include, expected, told) in [
        ("", &[][..], "{}".to_owned()),
        ("&_include=AuditEvent:agent", &["Patient/b"], format!("{{{hash}}}")),
    ] {
        let asked = format!("agent=Patient/b&subtype=read{include}");
        let (matches, along) = page(&server.client, &asked).await;
        assert_eq!(matches, ["read Practitioner/ada/_history/1"], "{asked}");
        assert_eq!(along, expected, "{asked}");
        let rows = format!(
            "SELECT count(*) FROM ledger WHERE query LIKE '%{asked}' AND pats = '{told}'::bigint[]"
        );
        assert_eq!(server.database.number(&rows).await, 1, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_goes_beyond_what_the_caller_may_search_for() {
    let server = read_by_ada().await;
    let (narrow, _stop) = Token::new(&server, "system/AuditEvent.rs").client().await;
    let (matches, along) = page(&narrow, "subtype=read&_include=*").await;
    assert_eq!((matches.len(), along), (2, Vec::new()));
    narrow.get("/AuditEvent?patient.gender=male").await.expect(403);
    narrow.get("/AuditEvent?source.identifier=x").await.expect(403);
    let (one, _stop) =
        Token::new(&server, "system/AuditEvent.rs system/Patient.rs?gender=female").client().await;
    assert_eq!(page(&one, "patient.gender=male").await.0, [""; 0]);
    assert_eq!(page(&one, "subtype=update&_include=AuditEvent:patient").await.1, ["Patient/b"]);
}

/// `_has` leads from what is stored to events of the ledger, and from these to what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn what_events_refer_to_and_what_refers_to_them_is_found() {
    let server = read_by_ada().await;
    let ids = async |client: &Client, url: &str| -> Vec<String> {
        let bundle: Value =
            serde_json::from_str(&client.get(url).await.expect(200).text()).unwrap();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        let mut ids: Vec<String> =
            entries.iter().map(|it| it["resource"]["id"].as_str().unwrap().to_owned()).collect();
        ids.sort_unstable();
        ids
    };
    for (url, expected) in [
        ("/Patient?_has:AuditEvent:patient:agent=Practitioner/ada", &["a"][..]),
        ("/Patient?_has:AuditEvent:patient:agent:Practitioner.name=Ada", &["a"]),
        ("/Patient?_has:AuditEvent:patient:subtype=update", &["a", "b"]),
        ("/Patient?_has:AuditEvent:patient:subtype=update&gender=female", &["b"]),
        ("/Patient?_has:AuditEvent:patient:subtype=vread", &[]),
        ("/Patient?_has:AuditEvent:entity:subtype=read", &["a"]),
        ("/Observation?_has:AuditEvent:entity:subtype=read", &["oa"]),
        ("/Observation?patient._has:AuditEvent:patient:agent=Practitioner/ada", &["oa"]),
        ("/Practitioner?_has:AuditEvent:agent:patient=Patient/a", &["ada"]),
        ("/Practitioner?_has:AuditEvent:agent:patient=Patient/b", &[]),
    ] {
        assert_eq!(ids(&server.client, url).await, expected, "{url}");
    }
    // A Provenance of an event, and one of another.
    let reads = ids(&server.client, "/AuditEvent?subtype=read").await;
    assert_eq!(reads.len(), 2);
    for (id, event, agent) in [("p", &reads[0], "Practitioner/ada"), ("q", &reads[1], "Patient/a")]
    {
        let body = format!(
            r#"{{"resourceType":"Provenance","id":"{id}","target":[{{"reference":"AuditEvent/{event}"}},{{"reference":"Patient/a"}}],"recorded":"2024-01-01T00:00:00Z","agent":[{{"who":{{"reference":"{agent}"}}}}]}}"#
        );
        server.client.put(&format!("/Provenance/{id}"), body).await.expect(201);
    }
    for (query, expected) in [
        ("_has:Provenance:target:agent=Practitioner/ada", &reads[..1]),
        ("_has:Provenance:target:agent=Patient/a", &reads[1..]),
        ("_has:Provenance:target:agent=Patient/b", &[]),
        ("_has:Provenance:target:agent=Practitioner/ada&subtype=update", &[]),
    ] {
        assert_eq!(ids(&server.client, &format!("/AuditEvent?{query}")).await, expected, "{query}");
    }
    // Who may not ask for one of both may not ask by it.
    for (scopes, url) in [
        ("system/Patient.rs", "/Patient?_has:AuditEvent:patient:subtype=read"),
        ("system/AuditEvent.rs", "/AuditEvent?_has:Provenance:target:agent=Practitioner/ada"),
    ] {
        let (client, _stop) = Token::new(&server, scopes).client().await;
        client.get(url).await.expect(403);
    }
    server.stop().await;
}
