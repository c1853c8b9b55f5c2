//! What a provision of a consent says of the data: of which time they are, and what they have to do with a
//! resource that it names. What cannot be told counts in a denial, and does not in an exception to one.

use super::super::world::{asked, body, filled};
use super::consent::{consent, doctor};

const SUBJECT: &str = r#""subject":{"reference":"Patient/a"}"#;

/// What is denied, or the exception to a denial of everything, and what is shown then, and hidden.
type Case = ((&'static str, &'static str), &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    (
        ("deny", r#""dataPeriod":{"start":"2020-01-01","end":"2020-12-31"}"#),
        &["Observation/a-new"],
        // What has no date may be of that time.
        &["Observation/a-old", "Observation/a-lab"],
    ),
    (
        ("permit", r#""dataPeriod":{"start":"2020-01-01","end":"2020-12-31"}"#),
        &["Observation/a-old"],
        &["Observation/a-new", "Observation/a-lab"],
    ),
    (
        ("deny", r#""dataPeriod":{"start":"2022-01-01"}"#),
        &["Observation/a-old"],
        &["Observation/a-new"],
    ),
    (
        (
            "deny",
            r#""data":[{"meaning":"instance","reference":{"reference":"Observation/a-new"}}]"#,
        ),
        &["Observation/a-old", "Observation/a-lab"],
        &["Observation/a-new"],
    ),
    (
        ("deny", RELATED),
        &["Observation/a-vital", "Observation/a-new", "Observation/b-lab"],
        &["DiagnosticReport/a-report", "Observation/a-lab"],
    ),
    (
        ("permit", RELATED),
        &["DiagnosticReport/a-report", "Observation/a-lab"],
        &["Observation/a-vital", "Observation/a-new"],
    ),
    (
        (
            "deny",
            r#""data":[{"meaning":"dependents","reference":{"reference":"Encounter/a-visit"}}]"#,
        ),
        // There are references without a parameter: what has one may lead there.
        &["Observation/b-lab"],
        &["Encounter/a-visit", "Observation/a-lab", "Observation/a-vital"],
    ),
    (
        ("deny", AUTHORED),
        // Authors may be named by what no parameter tells.
        &["Observation/b-lab"],
        &["DocumentReference/a-doc", "DocumentReference/a-other", "Observation/a-lab"],
    ),
    (
        ("permit", AUTHORED),
        &["DocumentReference/a-doc"],
        &["DocumentReference/a-other", "Observation/a-lab"],
    ),
];

const RELATED: &str =
    r#""data":[{"meaning":"related","reference":{"reference":"DiagnosticReport/a-report"}}]"#;
const AUTHORED: &str =
    r#""data":[{"meaning":"authoredby","reference":{"reference":"Practitioner/doc"}}]"#;

/// A provision of this kind within one of the other.
fn within_the_other((kind, what): (&str, &str)) -> String {
    let root = if kind == "deny" { "permit" } else { "deny" };
    consent(&format!(r#"{{"type":"{root}","provision":[{{"type":"{kind}",{what}}}]}}"#))
}

/// Covers in part: security S2.
#[tokio::test(flavor = "multi_thread")]
async fn a_provision_is_about_a_time_and_about_what_it_names() {
    let server = filled().await;
    let dated = |at: &str| {
        format!(r#""status":"final","code":{{"text":"x"}},{SUBJECT},"effectiveDateTime":"{at}""#)
    };
    let written = |by: &str| {
        format!(
            r#""status":"current","content":[{{"attachment":{{"title":"x"}}}}],{SUBJECT},"author":[{{"reference":"Practitioner/{by}"}}]"#
        )
    };
    for (path, content) in [
        ("Observation/a-old", dated("2020-05-01")),
        ("Observation/a-new", dated("2024-05-01")),
        ("DocumentReference/a-doc", written("doc")),
        ("DocumentReference/a-other", written("other")),
    ] {
        server.client.put(&format!("/{path}"), body(path, &content)).await.expect(201);
    }
    for (provision, shown, hidden) in CASES {
        let stored = body("Consent/c", &within_the_other(*provision));
        let stored = server.client.put("/Consent/c", stored).await;
        assert!([200, 201].contains(&stored.status), "{stored:?}");
        let (doctor, _stop) = doctor(&server).await;
        let mut found = asked(&doctor, "/Observation?subject=Patient/a").await;
        found.extend(asked(&doctor, "/DocumentReference").await);
        for (paths, status) in [(shown, 200), (hidden, 404)] {
            for path in *paths {
                let answer = doctor.get(&format!("/{path}")).await;
                assert_eq!(answer.status, status, "{provision:?} {path}: {answer:?}");
                let is_listed = path.starts_with("Observation/a") || path.starts_with("Document");
                let is_found = found.iter().any(|it| it == path);
                let expected = is_listed && status == 200;
                assert_eq!(is_found, expected, "{provision:?} {path}: {found:?}");
            }
        }
    }
    server.stop().await;
}

/// What a resource refers to is told as it is at that moment.
///
/// Covers in part: security S2.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_related_follows_the_resource_that_is_named() {
    let server = filled().await;
    let consent = within_the_other(("deny", RELATED));
    server.client.put("/Consent/c", body("Consent/c", &consent)).await.expect(201);
    let (before, _stop) = doctor(&server).await;
    before.get("/Observation/a-vital").await.expect(200);
    before.get("/Observation/a-lab").await.expect(404);
    let report = format!(
        r#""status":"final","code":{{"text":"r"}},{SUBJECT},"result":[{{"reference":"Observation/a-vital"}}]"#
    );
    let path = "DiagnosticReport/a-report";
    server.client.put(&format!("/{path}"), body(path, &report)).await.expect(200);
    let (after, _stop) = doctor(&server).await;
    after.get("/Observation/a-vital").await.expect(404);
    after.get("/Observation/a-lab").await.expect(200);
    server.stop().await;
}
