//! Whole records: of each type what may be searched and read, of what is hidden nothing.

use crate::harness::client::Client;
use crate::harness::grants::Token;

use super::super::world::{asked, body, entries, filled};
use super::consent::{consent, doctor};

/// The record of `a` as the patient sees it.
const RECORD_OF_A: &[&str] = &[
    "Appointment/a-alone",
    "Appointment/both",
    "DiagnosticReport/a-report",
    "Encounter/a-visit",
    "Observation/a-lab",
    "Observation/a-vital",
    "Organization/ward",
    "Patient/a",
    "Practitioner/doc",
    "RelatedPerson/a-mother",
];

const URL: &str = "/Patient/a/$everything";

/// All pages of a few resources, sorted.
async fn in_pages(client: &Client, url: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = Some(format!("{url}?_count=2"));
    while let Some(url) = next {
        let page = client.get(&url).await.expect(200);
        all.extend(entries(&page));
        next = page.at("link[relation=next].url");
    }
    all.sort_unstable();
    all
}

/// Covers: security VP.
/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_of_a_record_what_it_may_search_and_read() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    assert_eq!(asked(&own, URL).await, RECORD_OF_A);
    assert_eq!(in_pages(&own, URL).await, RECORD_OF_A);
    assert_eq!(asked(&own, "/Patient/$everything").await, RECORD_OF_A);
    assert_eq!(in_pages(&own, "/Patient/$everything").await, RECORD_OF_A);
    // Of what several share, the part of who asks.
    let shown = own.get(&format!("{URL}?_type=Appointment")).await.expect(200).text();
    assert!(shown.contains("Appointment/both") && !shown.contains("Patient/b"), "{shown}");
    let visit = ["Encounter/a-visit", "Observation/a-lab", "Organization/ward", "Patient/a"];
    let found = asked(&own, "/Encounter/a-visit/$everything").await;
    assert!(visit.iter().all(|path| found.iter().any(|it| it == path)), "{found:?}");
    assert!(found.iter().all(|path| RECORD_OF_A.contains(&&**path)), "{found:?}");
    for (scopes, expected) in [
        (
            "patient/Patient.rs patient/Observation.rs",
            &["Observation/a-lab", "Observation/a-vital", "Patient/a"][..],
        ),
        (
            "patient/Patient.rs patient/Observation.rs?category=laboratory",
            &["Observation/a-lab", "Patient/a"],
        ),
        ("patient/Patient.rs patient/Observation.r patient/Encounter.s", &["Patient/a"]),
        ("patient/Patient.read patient/Practitioner.read", &["Patient/a", "Practitioner/doc"]),
    ] {
        let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
        assert_eq!(asked(&client, URL).await, expected, "{scopes}");
        assert_eq!(in_pages(&client, URL).await, expected, "{scopes}");
        assert_eq!(asked(&client, "/Patient/$everything").await, expected, "{scopes}");
    }
    // What is asked must be granted itself.
    for scopes in ["patient/Observation.rs", "patient/Patient.r", "patient/Patient.s"] {
        let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
        for url in
            [URL, "/Patient/b/$everything", "/Patient/no/$everything", "/Patient/$everything"]
        {
            client.get(url).await.expect(403);
        }
        client.get("/Encounter/a-visit/$everything").await.expect(403);
        client.get("/Group/a-study/$everything").await.expect(403);
    }
    server.stop().await;
}

/// What is shown in part by the operation, though by a search for the type it is not, which another scope with
/// a criterion takes part in.
///
/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_shows_of_a_record_what_the_operation_shows() {
    let server = filled().await;
    let scopes = "patient/Patient.rs patient/Appointment.rs patient/Appointment.s?status=booked";
    let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
    let expected = ["Appointment/a-alone", "Appointment/both", "Patient/a"];
    assert_eq!(asked(&client, URL).await, expected);
    for of in ["batch", "transaction"] {
        let entry = format!(r#"{{"request":{{"method":"GET","url":"{}"}}}}"#, &URL[1..]);
        let bundle = format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entry}]}}"#);
        let answer = client.post("/", bundle).await.expect(200);
        let text = answer.text();
        assert!(expected.iter().all(|path| text.contains(path)), "{of}: {text}");
        // The patient's own link names the other; the appointment of both does not.
        assert_eq!(text.matches("Patient/b").count(), 1, "{of}: {text}");
    }
    server.stop().await;
}

/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_out_of_reach_was_never_there() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let plain = |text: String, name: &str| text.replace(name, "?");
    for (hidden, missing) in
        [("Patient/b", "Patient/nothing"), ("Encounter/b-visit", "Encounter/nothing")]
    {
        let of_hidden = own.get(&format!("/{hidden}/$everything")).await.expect(404);
        let of_missing = own.get(&format!("/{missing}/$everything")).await.expect(404);
        assert_eq!(plain(of_hidden.text(), hidden), plain(of_missing.text(), missing));
        let posted = own.post(&format!("/{hidden}/$everything"), "").await.expect(404);
        assert_eq!(plain(posted.text(), hidden), plain(of_missing.text(), missing));
    }
    // A link is of no use to others.
    let (doctor, _stop) = doctor(&server).await;
    let first = doctor.get(&format!("{URL}?_count=2")).await.expect(200);
    let link = first.at("link[relation=next].url").unwrap();
    let link = link.strip_prefix(&doctor.base()).unwrap();
    doctor.get(link).await.expect(200);
    own.get(link).await.expect(400);
    server.stop().await;
}

/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_denies_is_no_part_of_the_record() {
    let server = filled().await;
    let (before, _stop) = doctor(&server).await;
    let all = asked(&before, URL).await;
    assert!(all.contains(&"Observation/a-lab".to_owned()), "{all:?}");
    // Of a type alone: what has no code, as a patient has none, might be meant by a code.
    let deny = r#"{"type":"permit","provision":[{"type":"deny","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Observation"}],"code":[{"coding":[{"system":"urn:c","code":"k"}]}]}]}"#;
    server.client.put("/Consent/c", body("Consent/c", &consent(deny))).await.expect(201);
    let (after, _stop) = doctor(&server).await;
    for found in [
        asked(&after, URL).await,
        in_pages(&after, URL).await,
        asked(&after, &format!("{URL}?_type=Observation")).await,
        asked(&after, "/Encounter/a-visit/$everything").await,
    ] {
        assert!(!found.contains(&"Observation/a-lab".to_owned()), "{found:?}");
    }
    let others = asked(&after, "/Patient/$everything?_type=Observation").await;
    assert_eq!(others, ["Observation/a-vital", "Observation/b-lab"]);
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    assert!(asked(&own, URL).await.contains(&"Observation/a-lab".to_owned()));
    // Where everything is denied, the record is as little there as the patient is.
    let deny = consent(r#"{"type":"deny"}"#);
    server.client.put("/Consent/c", body("Consent/c", &deny)).await.expect(200);
    let (after, _stop) = doctor(&server).await;
    after.get("/Patient/a").await.expect(404);
    after.get(URL).await.expect(404);
    let others = asked(&after, "/Patient/$everything").await;
    let is_theirs = |path: &&String| path.contains("/a-") || path.ends_with("/a");
    assert_eq!(others.iter().find(is_theirs), None, "{others:?}");
    assert!(others.contains(&"Observation/b-lab".to_owned()), "{others:?}");
    server.stop().await;
}
