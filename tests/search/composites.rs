//! Composites that clients define: any parts, in any order, on one element.
//!
//! Covers: rest 4.127, rest 4.131.

use crate::harness::client::Client;
use crate::harness::server::TestServer;

use super::parameters::{ids, parameter, strictly, when_active};

/// FHIR's parameters have their names here.
const FHIRS: &str = "http://hl7.org/fhir/SearchParameter/";

/// A composite of these parts: FHIR's parameter that each compares like, and an expression.
fn composite(id: &str, base: &str, expression: &str, parts: &[(&str, &str)]) -> String {
    let part = |(of, expression): &(&str, &str)| {
        format!(r#"{{"definition":"{FHIRS}{of}","expression":"{expression}"}}"#)
    };
    let parts: Vec<String> = parts.iter().map(part).collect();
    let parts = parts.join(",");
    let more = format!(r#","expression":"{expression}","component":[{parts}]"#);
    let body = parameter(id, id, "composite", &more);
    body.replace(r#""base":["Patient"]"#, &format!(r#""base":["{base}"]"#))
}

async fn put_all(client: &Client, resources: &[(&str, &str)]) {
    for (name, rest) in resources {
        let (of, id) = name.split_once('/').expect("a type and an id");
        let body = format!(r#"{{"resourceType":"{of}","id":"{id}",{rest}}}"#);
        client.put(&format!("/{name}"), body).await.expect(201);
    }
}

/// Asks by parameters that are in force.
async fn check(client: &Client, table: &[(&str, &[&str])]) {
    for (url, expected) in table {
        let found = strictly(client, url).await;
        assert_eq!(found.status, 200, "{url}: {found:?}");
        assert_eq!(ids(&found), *expected, "{url}");
    }
}

const PEOPLE: &[(&str, &str)] = &[
    (
        "Patient/a",
        r#""gender":"male","birthDate":"1980-05-01","name":[
            {"use":"official","family":"Smith","given":["John"]},{"use":"nickname","family":"Jones","given":["Bo"]}],
            "generalPractitioner":[{"reference":"Organization/o"}]"#,
    ),
    (
        "Patient/b",
        r#""gender":"female","birthDate":"1980","name":[
            {"use":"nickname","family":"Smith","given":["John"]}],"maritalStatus":{"coding":[{"code":"M"}]}"#,
    ),
    (
        "Patient/c",
        r#""gender":"male","birthDate":"9999-12-31","multipleBirthInteger":2,
            "generalPractitioner":[{"reference":"Organization/p"}]"#,
    ),
    ("Patient/d", r#""gender":"male""#),
    (
        "Observation/of-a",
        r#""status":"final","code":{"text":"t"},"subject":{"reference":"Patient/a"}"#,
    ),
];

/// Composites with parts of each type.
async fn define_composites(client: &Client) {
    let gender = ("individual-gender", "gender");
    let birth = ("individual-birthdate", "birthDate");
    for body in [
        composite("born-as", "Patient", "Patient", &[birth, gender]),
        composite(
            "named-as",
            "Patient",
            "Patient.name",
            &[
                ("individual-family", "family"),
                ("individual-gender", "use"),
                ("individual-given", "given"),
            ],
        ),
        composite(
            "seen-at",
            "Patient",
            "Patient",
            &[("Patient-general-practitioner", "generalPractitioner"), birth, gender],
        ),
        composite(
            "number-of",
            "Patient",
            "Patient",
            &[("RiskAssessment-probability", "multipleBirth as integer"), gender],
        ),
    ] {
        client.post("/SearchParameter", body).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_may_be_of_any_type_in_any_order() {
    let server = TestServer::start().await;
    let client = &server.client;
    put_all(client, &PEOPLE[..4]).await;
    define_composites(client).await;
    when_active(client, "/Patient?born-as=1980$male").await;
    when_active(client, "/Patient?named-as=smi$official$jo").await;
    when_active(client, "/Patient?seen-at=Organization/o$1980$male").await;
    when_active(client, "/Patient?number-of=2$male").await;
    // After, as before.
    put_all(client, &PEOPLE[4..]).await;
    let system = "http://hl7.org/fhir/administrative-gender";
    check(
        client,
        &[
            ("/Patient?born-as=1980$male", &["a"]),
            ("/Patient?born-as=1980$female", &["b"]),
            ("/Patient?born-as=1980$other", &[]),
            ("/Patient?born-as=1980$male,1980$female", &["a", "b"]),
            ("/Patient?born-as=1980-05-01$male", &["a"]),
            ("/Patient?born-as=1980-05$female", &[]),
            ("/Patient?born-as=ge1980-05-01$male", &["a", "c"]),
            ("/Patient?born-as=9999-12-31$male", &["c"]),
            ("/Patient?born-as=sa1980$male", &["c"]),
            ("/Patient?born-as=lt1980$male", &[]),
            (&format!("/Patient?born-as=ge1980${system}|male"), &["a", "c"]),
            (&format!("/Patient?born-as=1980${system}|"), &["a", "b"]),
            ("/Patient?born-as=1980$urn:other|", &[]),
            ("/Patient?born-as=1980$male&_total=accurate&_sort=family", &["a"]),
            ("/Patient?named-as=smi$official$jo", &["a"]),
            ("/Patient?named-as=SMITH$nickname$jo", &["b"]),
            ("/Patient?named-as=smi$nickname$bo", &[]),
            ("/Patient?named-as=jon$nickname$bo", &["a"]),
            ("/Patient?seen-at=Organization/o$1980$male", &["a"]),
            ("/Patient?seen-at=Organization/o$1980$female", &[]),
            ("/Patient?seen-at=Organization/p$gt1980$male", &["c"]),
            ("/Patient?number-of=2$male", &["c"]),
            ("/Patient?number-of=gt2$male", &[]),
            ("/Observation?subject:Patient.born-as=1980$male", &["of-a"]),
            ("/Observation?subject:Patient.born-as=1980$female", &[]),
            ("/Patient?_filter=born-as[gender%20eq%20male].birthdate%20ge%201990", &["c"]),
        ],
    )
    .await;
    // A version later it is another one.
    let older = r#"{"resourceType":"Patient","id":"a","gender":"male","birthDate":"1970-01-01"}"#;
    client.put("/Patient/a", older).await.expect(200);
    check(client, &[("/Patient?born-as=1980$male", &[]), ("/Patient?born-as=1970$male", &["a"])])
        .await;
}

/// Each part of another component, and a component that has all of them.
const MEASURES: &[(&str, &str)] = &[
    (
        "Observation/apart",
        r#""status":"final","code":{"text":"t"},"component":[
            {"code":{"coding":[{"system":"urn:c","code":"A"}]},"interpretation":[{"coding":[{"code":"H"}]}],
             "valueQuantity":{"value":5,"system":"urn:x","code":"k"}},
            {"code":{"coding":[{"system":"urn:d","code":"B"}]},"interpretation":[{"coding":[{"code":"L"}]}],
             "valueQuantity":{"value":5,"system":"urn:y","code":"k"}}]"#,
    ),
    (
        "Observation/grams",
        r#""status":"final","code":{"text":"t"},"component":[
            {"code":{"coding":[{"system":"urn:c","code":"A"}]},"interpretation":[{"coding":[{"code":"L"}]}],
             "valueQuantity":{"value":5,"comparator":"<","unit":"Gramm","system":"http://unitsofmeasure.org","code":"g"}}]"#,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_hold_for_one_element() {
    let server = TestServer::start().await;
    let client = &server.client;
    put_all(client, MEASURES).await;
    let code = ("clinical-code", "code");
    let level = ("clinical-code", "interpretation");
    let value = ("Observation-value-quantity", "value as Quantity");
    for (id, parts) in [("of-three", [code, level, code]), ("amount-of", [value, level, code])] {
        let body = composite(id, "Observation", "Observation.component", &parts);
        client.put(&format!("/SearchParameter/{id}"), body).await.expect(201);
    }
    when_active(client, "/Observation?of-three=A$H$A").await;
    when_active(client, "/Observation?amount-of=5$H$A").await;
    check(
        client,
        &[
            ("/Observation?of-three=A$H$A", &["apart"]),
            ("/Observation?of-three=A$L$A", &["grams"]),
            ("/Observation?of-three=A$H$B", &[]),
            ("/Observation?of-three=urn:c|$H$A", &["apart"]),
            ("/Observation?of-three=urn:d|$H$A", &[]),
            ("/Observation?of-three=urn:c|A$|L$urn:c|", &["grams"]),
            ("/Observation?of-three=|A$H$A", &[]),
            ("/Observation?amount-of=5$H$A", &["apart"]),
            ("/Observation?amount-of=5$H$B", &[]),
            ("/Observation?amount-of=5|urn:x$H$A", &["apart"]),
            ("/Observation?amount-of=5|urn:y$H$A", &[]),
            ("/Observation?amount-of=5|urn:y|k$L$B", &["apart"]),
            ("/Observation?amount-of=5||k$H$A", &["apart"]),
            ("/Observation?amount-of=lt5000|http://unitsofmeasure.org|mg$L$A", &["grams"]),
            ("/Observation?amount-of=gt5000|http://unitsofmeasure.org|mg$L$A", &[]),
            ("/Observation?amount-of=lt5||Gramm$L$urn:c|A", &["grams"]),
        ],
    )
    .await;
}
