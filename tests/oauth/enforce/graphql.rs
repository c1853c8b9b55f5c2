//! Documents of GraphQL: field by field what reads and searches of the same token show, and nothing else.

use kiln::access::consent::{Act, Denial, Expression};
use kiln::fhir::{LogicalId, ResourceType};

use crate::harness::client::Client;
use crate::harness::grants::Token;

use super::super::world::filled;

async fn ask(client: &Client, url: &str, document: &str) -> String {
    let call = client.call("POST", url).header("Content-Type", "application/graphql");
    call.body(document.to_owned()).send().await.expect(200).text()
}

/// From an encounter of `a` over whoever treats to all that is treated there, and back.
const WALK: &str = r#"{
    Encounter(id: "a-visit") {
        id
        subject { resource { ... on Patient { id generalPractitioner { resource { ... on Practitioner {
            id
            PatientList(_reference: general_practitioner) { id }
            ObservationList(_reference: performer, _sort: "_id") { id subject { resource { id } } }
        } } } link { other { resource(optional: true) { id } } } } } }
        serviceProvider { resource { ... on Organization {
            EncounterList(_reference: service_provider) { id }
            PatientList(_reference: organization) { id }
        } } }
        ObservationList(_reference: encounter) { id }
    }
    DiagnosticReport(id: "a-report") { result { resource(optional: true) { id } } }
    ObservationConnection(code: "k", _total: "accurate") { count edges { resource { id } } }
    AppointmentList(_sort: "_id") { id participant { actor { reference resource(optional: true) { id } } } }
}"#;

/// Covers: security V9.
/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_from_one_patient_never_comes_to_another() {
    let server = filled().await;
    let everybody = ask(&server.client, "/$graphql", WALK).await;
    assert!(everybody.contains("b-lab") && everybody.contains("Patient/b"), "{everybody}");
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let text = ask(&own, "/$graphql", WALK).await;
    for shown in ["a-visit", "a-lab", r#""id":"doc""#, "a-alone", "both", r#""count":1"#] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    for hidden in ["b-lab", "b-visit", "Patient/b", r#""id":"b""#] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    assert!(!text.contains("errors"), "{text}");
    server.stop().await;
}

/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_granted_like_a_request_of_its_own() {
    let server = filled().await;
    let document = r#"{ Patient(id: "a") { id } ObservationList(_sort: "_id") { id } }"#;
    for (scopes, patient, list) in [
        ("patient/*.rs", true, Some(2)),
        ("patient/Patient.r", true, None),
        ("patient/Observation.s", false, Some(2)),
        ("patient/Patient.r patient/Observation.rs?category=laboratory", true, Some(1)),
    ] {
        let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
        let text = ask(&client, "/$graphql", document).await;
        let is_refused = !patient || list.is_none();
        assert_eq!(text.contains(r#""Patient":{"id":"a"}"#), patient, "{scopes}: {text}");
        assert_eq!(text.contains(r#""ObservationList":null"#), list.is_none(), "{scopes}: {text}");
        assert_eq!(text.matches(r#""id":"a-"#).count(), list.unwrap_or(0), "{scopes}: {text}");
        assert_eq!(text.contains(r#""code":"forbidden""#), is_refused, "{scopes}: {text}");
        // Of one resource it is a read.
        let answer = client.get("/Patient/a/$graphql?query=%7Bid%7D").await;
        assert_eq!(answer.status, if patient { 200 } else { 403 }, "{scopes}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_denies_is_in_no_document() {
    let server = filled().await;
    let id: LogicalId = "b".parse().unwrap();
    let patient = server.store().hasher().patient(&id);
    let of = Expression::Types(vec![ResourceType::OBSERVATION]);
    let denial = Denial { patient, id, act: Act::Read, of, is_binding: false };
    let token = Token::new(&server, "user/*.rs").user("Practitioner/doc", &["practitioner"]);
    let (client, _stop) = token.denials(vec![denial]).client().await;
    let document = r#"{
        Patient(id: "b") { id ObservationList(_reference: subject) { id } }
        denied: Observation(id: "b-lab") { id }
        other: Observation(id: "a-lab") { id }
    }"#;
    let text = ask(&client, "/$graphql", document).await;
    assert!(text.contains(r#""id":"b","ObservationList":[]"#), "{text}");
    assert!(text.contains(r#""denied":null,"other":{"id":"a-lab"}"#), "{text}");
    assert!(text.contains("Observation/b-lab is not known"), "{text}");
    server.stop().await;
}
