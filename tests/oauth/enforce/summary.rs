//! Summaries: of each type what may be searched and read, of what is hidden nothing.

use kiln::fhir::json::Value;

use crate::harness::client::Client;
use crate::harness::grants::Token;
use crate::harness::json::at;

use super::super::world::{body, filled};
use super::consent::{consent, doctor};

const URL: &str = "/Patient/a/$summary";
const DIAGNOSES: &str = r#""code":{"text":"Cough"},"subject":{"reference":"Patient/a"}"#;

/// The titles of the sections.
async fn titles(client: &Client) -> Vec<String> {
    let document = client.get(URL).await.expect(200).json();
    let sections = at(&document, "entry[0].resource.section").and_then(Value::as_array).unwrap();
    sections.iter().map(|it| it.str_at("title").unwrap().to_owned()).collect()
}

const REQUIRED: [&str; 3] = ["Allergies and Intolerances", "Problems", "Medications"];

/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_in_a_summary_what_it_may_search_and_read() {
    let server = filled().await;
    server.client.put("/Condition/a-c", body("Condition/a-c", DIAGNOSES)).await.expect(201);
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let text = own.get(URL).await.expect(200).text();
    for shown in ["Condition/a-c", "Observation/a-lab", "Observation/a-vital", "Practitioner/doc"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    // Neither what is of another patient, nor an address that would lead there.
    for hidden in ["Patient/b", "b-lab", "masked", "has no access"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    // What is not granted at all is named, and nothing of it is shown or referred to.
    let scopes = "patient/Patient.rs patient/Observation.rs patient/Condition.s";
    let (some, _stop) = Token::new(&server, scopes).patient("a").client().await;
    let text = some.get(URL).await.expect(200).text();
    for hidden in ["Condition/a-c", "Practitioner/doc", "Organization/ward", "a-visit"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    assert!(text.contains("Observation/a-lab"), "{text}");
    assert_eq!(text.matches("\"masked\"").count(), 3, "{text}");
    assert!(text.contains("has no access to it: Condition."), "{text}");
    // By a criterion.
    let scopes = "patient/Patient.rs patient/Observation.rs?category=laboratory";
    let (few, _stop) = Token::new(&server, scopes).patient("a").client().await;
    let text = few.get(URL).await.expect(200).text();
    assert!(text.contains("Observation/a-lab") && !text.contains("a-vital"), "{text}");
    // Who is asked about must be granted.
    for scopes in ["patient/Observation.rs", "patient/Patient.r", "patient/Patient.s"] {
        let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
        for url in [URL, "/Patient/b/$summary", "/Patient/$summary?identifier=urn:n|7"] {
            client.get(url).await.expect(403);
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_out_of_reach_was_never_there() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let plain = |text: String, name: &str| text.replace(name, "?");
    let hidden = own.get("/Patient/b/$summary").await.expect(404).text();
    let missing = own.get("/Patient/nothing/$summary").await.expect(404).text();
    assert_eq!(plain(hidden, "Patient/b"), plain(missing, "Patient/nothing"));
    // Nor does an identifier tell of somebody.
    let hidden = own.get("/Patient/$summary?identifier=urn:n|7").await.expect(404).text();
    let missing = own.get("/Patient/$summary?identifier=urn:n|8").await.expect(404).text();
    assert_eq!(hidden, missing);
    server.client.get("/Patient/$summary?identifier=urn:n|7").await.expect(200);
    server.stop().await;
}

/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_denies_leaves_no_trace_in_the_summary() {
    let server = filled().await;
    let deny = |code: &str| {
        let provision = format!(
            r#"{{"type":"permit","provision":[{{"type":"deny","class":[{{"system":"http://hl7.org/fhir/resource-types","code":"Observation"}}],"code":[{{"coding":[{{"system":"urn:c","code":"{code}"}}]}}]}}]}}"#
        );
        body("Consent/c", &consent(&provision))
    };
    let (before, _stop) = doctor(&server).await;
    let all = titles(&before).await;
    assert_eq!(all, [&REQUIRED[..], &["Results", "Vital Signs"]].concat());
    server.client.put("/Consent/c", deny("k")).await.expect(201);
    let (after, _stop) = doctor(&server).await;
    assert_eq!(titles(&after).await, [&REQUIRED[..], &["Vital Signs"]].concat());
    let text = after.get(URL).await.expect(200).text();
    for trace in ["a-lab", "masked", "has no access"] {
        assert!(!text.contains(trace), "{trace}: {text}");
    }
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    assert_eq!(titles(&own).await, all);
    let nothing = body("Consent/c", &consent(r#"{"type":"deny"}"#));
    server.client.put("/Consent/c", nothing).await.expect(200);
    let (after, _stop) = doctor(&server).await;
    after.get(URL).await.expect(404);
    server.stop().await;
}
