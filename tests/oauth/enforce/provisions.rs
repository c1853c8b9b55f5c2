//! What a provision of a consent says of the data: of which time they are, and what they have to do with a
//! resource that it names. What cannot be told counts in a denial, and does not in an exception to one.

use std::collections::BTreeSet;

use crate::harness::grants::Token;

use super::super::world::{STORED, asked, body, filled};
use super::consent::{consent, doctor, doctor_with};

const SUBJECT: &str = r#""subject":{"reference":"Patient/a"}"#;

/// What is denied, or the exception to a denial of everything, and what is shown then, and hidden.
type Case = ((&'static str, &'static str), &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    (
        ("deny", r#""dataPeriod":{"start":"2020-01-01","end":"2020-12-31"}"#),
        &["Observation/a-new"],
        // What has no date may be of that time.
        &["Observation/a-old", "Observation/a-vital"],
    ),
    (
        ("permit", r#""dataPeriod":{"start":"2020-01-01","end":"2020-12-31"}"#),
        &["Observation/a-old"],
        &["Observation/a-new", "Observation/a-vital"],
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
        ("deny", OF_VISIT),
        &["Observation/b-lab", "Observation/a-vital", "DiagnosticReport/a-report"],
        // No parameter tells of the last one's reference.
        &["Encounter/a-visit", "Observation/a-lab", "Observation/a-note"],
    ),
    (
        ("permit", OF_VISIT),
        &["Encounter/a-visit", "Observation/a-lab", "Observation/a-note"],
        &["Observation/a-vital", "DiagnosticReport/a-report", "Patient/a"],
    ),
    (
        ("deny", AUTHORED),
        // To be somebody's doctor is not to have written of it.
        &["DocumentReference/a-other", "Observation/a-vital", "Encounter/a-visit", "Patient/a"],
        &["DocumentReference/a-doc", "Observation/a-lab"],
    ),
    (
        ("permit", AUTHORED),
        &["DocumentReference/a-doc", "Observation/a-lab"],
        &["DocumentReference/a-other", "Observation/a-vital", "Patient/a"],
    ),
    // All that a provision says must hold; of what it repeats, one.
    (
        ("deny", ALL_OF_IT),
        &["Observation/a-vital", "Observation/a-new", "Observation/a-note", "Encounter/a-visit"],
        &["Observation/a-lab"],
    ),
    (
        ("permit", ALL_OF_IT),
        &["Observation/a-lab"],
        &["Observation/a-vital", "Observation/a-new", "Observation/a-note", "Encounter/a-visit"],
    ),
];

/// What is said in all ways of one Observation: of others something is not so.
const ALL_OF_IT: &str = r#""action":[{"coding":[{"code":"correct"}]},{"coding":[{"code":"access"}]}],"actor":[{"role":{"text":"x"},"reference":{"reference":"Practitioner/other"}},{"role":{"text":"x"},"reference":{"reference":"Practitioner/doc"}}],"class":[{"code":"Encounter"},{"code":"Observation"}],"code":[{"coding":[{"code":"none"}]},{"coding":[{"system":"urn:c","code":"k"}]}],"securityLabel":[{"code":"X"},{"code":"N"}],"dataPeriod":{"start":"2019-01-01"},"data":[{"meaning":"instance","reference":{"reference":"Patient/a"}},{"meaning":"dependents","reference":{"reference":"Encounter/a-visit"}}]"#;

const RELATED: &str =
    r#""data":[{"meaning":"related","reference":{"reference":"DiagnosticReport/a-report"}}]"#;
const OF_VISIT: &str =
    r#""data":[{"meaning":"dependents","reference":{"reference":"Encounter/a-visit"}}]"#;
const AUTHORED: &str =
    r#""data":[{"meaning":"authoredby","reference":{"reference":"Practitioner/doc"}}]"#;

/// A provision of this kind within one of the other.
fn within_the_other((kind, what): (&str, &str)) -> String {
    let root = if kind == "deny" { "permit" } else { "deny" };
    consent(&format!(r#"{{"type":"{root}","provision":[{{"type":"{kind}",{what}}}]}}"#))
}

/// Covers: security S2.
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
    let note = format!(
        r#""status":"final","code":{{"text":"n"}},{SUBJECT},"extension":[{{"url":"urn:x","valueReference":{{"reference":"Encounter/a-visit"}}}}]"#
    );
    let label = r#""meta":{"security":[{"system":"urn:l","code":"N"}]},"effectiveDateTime":"2020-01-01","valueQuantity""#;
    let lab = STORED.iter().find(|(path, _)| *path == "Observation/a-lab").expect("stored").1;
    let lab = lab.replace(r#""valueQuantity""#, label);
    server.client.put("/Observation/a-lab", body("Observation/a-lab", &lab)).await.expect(200);
    for (path, content) in [
        ("Observation/a-note", note),
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
/// Covers: security S2.
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

/// Whether somebody who is named at a place wrote the resource.
#[derive(Clone, Copy, PartialEq)]
enum Author {
    Certain,
    No,
    Possible,
    /// So it is, beside somebody who is not told.
    WithUntold,
}

/// Where a resource may refer to somebody: its type, and the content with `HERE` for the reference.
const PLACES: &[(&str, &str, Author)] = &[
    ("Observation", r#""status":"final","code":{"text":"x"},"performer":[HERE]"#, Author::Certain),
    (
        "Observation",
        r#""status":"final","code":{"text":"x"},"performer":[{"display":"x","extension":[{"url":"urn:x","valueReference":HERE}]}]"#,
        Author::Possible,
    ),
    (
        "Observation",
        r##""contained":[{"resourceType":"Practitioner","id":"p"}],"status":"final","code":{"text":"x"},"performer":[{"reference":"#p"},HERE]"##,
        Author::WithUntold,
    ),
    (
        "Observation",
        r##""contained":[{"resourceType":"ServiceRequest","id":"r","status":"active","intent":"order","subject":{"display":"x"},"requester":HERE}],"status":"final","code":{"text":"x"},"basedOn":[{"reference":"#r"}]"##,
        Author::Possible,
    ),
    ("Observation", r#""status":"final","code":{"text":"x"},"focus":[HERE]"#, Author::No),
    (
        "Observation",
        r#""status":"final","code":{"text":"x"},"extension":[{"url":"urn:x","valueReference":HERE}]"#,
        Author::No,
    ),
    (
        "Observation",
        r#""status":"final","code":{"text":"x"},"note":[{"authorReference":HERE,"text":"x"}]"#,
        Author::Possible,
    ),
    (
        "ServiceRequest",
        r#""status":"active","intent":"order","code":{"text":"x"},"performer":[HERE]"#,
        Author::Possible,
    ),
    (
        "ServiceRequest",
        r#""status":"active","intent":"order","code":{"text":"x"},"requester":HERE"#,
        Author::Certain,
    ),
    ("CommunicationRequest", r#""status":"active","sender":HERE"#, Author::Possible),
    (
        "CarePlan",
        r#""status":"active","intent":"plan","activity":[{"detail":{"status":"scheduled","performer":[HERE]}}]"#,
        Author::Possible,
    ),
    (
        "Procedure",
        r#""status":"completed","code":{"text":"x"},"performer":[{"actor":HERE}]"#,
        Author::Certain,
    ),
    (
        "DocumentReference",
        r#""status":"current","content":[{"attachment":{"title":"x"}}],"author":[{"display":"x"},HERE]"#,
        Author::Certain,
    ),
    (
        "DocumentReference",
        r#""status":"current","content":[{"attachment":{"title":"x"}}],"authenticator":HERE"#,
        Author::No,
    ),
];

/// What a reference says.
#[derive(Clone, Copy)]
enum Named {
    /// By any text, but not as a reference.
    Apart(&'static str),
    Nobody,
    /// As a reference.
    One(&'static str),
    /// Somebody, who is not told.
    Somebody,
}

/// References, and which of the two they name whom consents name.
const NAMED: &[(&str, Named)] = &[
    (r#"{"reference":"Practitioner/d.c"}"#, Named::One("d.c")),
    (r#"{"reference":"Practitioner/doc"}"#, Named::One("doc")),
    (r#"{"reference":"BASE/Practitioner/doc"}"#, Named::One("doc")),
    (r#"{"reference":"Practitioner/doc/_history/1"}"#, Named::One("doc")),
    (r#"{"reference":"Practitioner/doc/_history/99999999999"}"#, Named::One("doc")),
    (r#"{"reference":"Practitioner/doc/_history/a.1"}"#, Named::One("doc")),
    (r#"{"reference":"Practitioner/dxc"}"#, Named::Nobody),
    (r#"{"reference":"Practitioner/doc2"}"#, Named::Nobody),
    (r#"{"reference":"http://elsewhere.example/fhir/Practitioner/doc"}"#, Named::Nobody),
    (r#"{"reference":"PractitionerRole/x"}"#, Named::Somebody),
    (r#"{"identifier":{"value":"x"}}"#, Named::Somebody),
    (
        r#"{"display":"Practitioner/doc","identifier":{"value":"Practitioner/doc"}}"#,
        Named::Apart("doc"),
    ),
];

/// Whether a provision of this kind and meaning is about what names somebody so.
fn is_meant((kind, meaning, whom): (&str, &str, &str), author: Author, named: Named) -> bool {
    let is_one = matches!(named, Named::One(one) if one == whom);
    match (kind, meaning) {
        ("deny", "dependents") => is_one || matches!(named, Named::Apart(one) if one == whom),
        ("deny", _) => {
            let may_be = is_one || matches!(named, Named::Apart(_) | Named::Somebody);
            author == Author::WithUntold || author != Author::No && may_be
        }
        (_, "dependents") => is_one,
        _ => is_one && matches!(author, Author::Certain | Author::WithUntold),
    }
}

/// Whoever is asked says the same of each resource as is known from how it was made: reads, versions and
/// searches by what is stored, and the last look at each answer by the document.
///
/// Covers: security S2, S3.
#[tokio::test(flavor = "multi_thread")]
async fn what_names_somebody_is_told_alike_by_every_way() {
    let server = filled().await;
    let mut made = Vec::new();
    for (of, content, author) in PLACES {
        for (reference, named) in NAMED {
            // A note is by nobody in a role.
            if content.contains("authorReference") && reference.contains("PractitionerRole") {
                continue;
            }
            let path = format!("{of}/a-{}", made.len());
            let reference = reference.replace("BASE", &server.client.base());
            let content = format!("{SUBJECT},{}", content.replace("HERE", &reference));
            server.client.put(&format!("/{path}"), body(&path, &content)).await.expect(201);
            made.push((path, *named, *author));
        }
    }
    let types: BTreeSet<&str> = PLACES.iter().map(|(of, ..)| *of).collect();
    for provision in [
        ("deny", "dependents", "doc"),
        ("permit", "dependents", "doc"),
        ("deny", "authoredby", "doc"),
        ("permit", "authoredby", "doc"),
        ("deny", "authoredby", "d.c"),
        ("permit", "dependents", "d.c"),
    ] {
        let (kind, meaning, whom) = provision;
        let data = format!(
            r#""data":[{{"meaning":"{meaning}","reference":{{"reference":"Practitioner/{whom}"}}}}]"#
        );
        let stored = body("Consent/c", &within_the_other((kind, &data)));
        let stored = server.client.put("/Consent/c", stored).await;
        assert!([200, 201].contains(&stored.status), "{stored:?}");
        let (doctor, _stop) = doctor(&server).await;
        let mut found = Vec::new();
        for of in &types {
            found.extend(asked(&doctor, &format!("/{of}?_count=100")).await);
        }
        for (path, named, author) in &made {
            let is_shown = is_meant(provision, *author, *named) == (kind == "permit");
            let case = format!("{kind} {meaning} {whom}: {path}");
            for url in [format!("/{path}"), format!("/{path}/_history/1")] {
                let answer = doctor.get(&url).await;
                assert_eq!(answer.status, if is_shown { 200 } else { 404 }, "{case} {answer:?}");
            }
            assert_eq!(found.contains(path), is_shown, "{case}");
        }
    }
    server.stop().await;
}

/// What others have a part in too is shown without them, and what they and the patient deny is told by all of
/// it: by what is taken out too, of former versions as of the current one.
///
/// Covers: security S2.
#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_shown_in_part_all_of_it_tells_what_is_denied() {
    let server = filled().await;
    let shared =
        format!(r#""status":"completed",{SUBJECT},"recipient":[{{"reference":"Patient/b"}}]"#);
    let visited = format!(r#"{shared},"encounter":{{"reference":"Encounter/a-visit"}}"#);
    let path = "Communication/c";
    for (content, status) in [(&visited, 201), (&shared, 200), (&visited, 200), (&shared, 200)] {
        server.client.put(&format!("/{path}"), body(path, content)).await.expect(status);
    }
    let denied = within_the_other(("deny", OF_VISIT));
    let of_other = denied.replace("Patient/a", "Patient/b");
    let permitted = within_the_other(("permit", OF_VISIT));
    for (consent, is_shown) in
        [(&denied, [false, true]), (&of_other, [false, true]), (&permitted, [true, false])]
    {
        // An exception for what the current version says, and one for what it does not.
        let current = if is_shown[0] { &visited } else { &shared };
        server.client.put(&format!("/{path}"), body(path, current)).await.expect(200);
        let stored = server.client.put("/Consent/c", body("Consent/c", consent)).await;
        assert!([200, 201].contains(&stored.status), "{stored:?}");
        let token = Token::new(&server, "patient/*.rs").patient("a");
        let (doctor, _stop) = doctor_with(&server, token).await;
        for version in 1..=4_usize {
            let answer = doctor.get(&format!("/{path}/_history/{version}")).await;
            let expected = if is_shown[(version + 1) % 2] { 200 } else { 404 };
            assert_eq!(answer.status, expected, "{consent} {version}: {answer:?}");
        }
        let read = doctor.get(&format!("/{path}")).await.expect(200).text();
        assert!(read.contains("REDACTED") && !read.contains("Patient/b"), "{consent}: {read}");
        assert_eq!(asked(&doctor, "/Communication").await, [path], "{consent}");
        for history in ["/Communication/c/_history", "/Communication/_history"] {
            let found = doctor.get(history).await.expect(200);
            let hidden = if is_shown[0] { [2, 4] } else { [1, 3] };
            let is_hidden =
                |version: &i32| !found.text().contains(&format!(r#""versionId":"{version}""#));
            let all: Vec<i32> = (1..=4).filter(is_hidden).collect();
            assert_eq!(all, hidden, "{consent} {history}: {found:?}");
        }
    }
    server.stop().await;
}
