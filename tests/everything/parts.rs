//! Of whom, of which time, of which types; how it is asked, and what is on record of it.

use std::collections::BTreeSet;

use super::world::{STORED, filled};
use super::{NOTHING, PATIENT, entries, found, pages};
use crate::harness::client::{Answer, Client};

const OF_A: &[&str] = &[
    "Appointment/a-and-b",
    "Encounter/a-visit",
    "Group/g",
    "MedicationRequest/a-pill",
    "Observation/a-2020",
    "Observation/a-2022",
    "Observation/a-undated",
    "Patient/a",
];

const ALONG_A: &[&str] = &[
    "Device/pump",
    "Location/room",
    "Medication/pill",
    "Organization/top",
    "Organization/ward",
    "Practitioner/doc",
    "PractitionerRole/role",
];

fn without(all: &[&str], left: &[&str]) -> BTreeSet<String> {
    all.iter().filter(|path| !left.contains(path)).map(|path| (*path).to_owned()).collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    without(all, &[])
}

/// Covers: rest 6.18, 6.19.
/// Covers in part: rest 6.9.
#[tokio::test(flavor = "multi_thread")]
async fn dates_and_types_narrow_a_record() {
    let server = filled().await;
    let before = ["Device/pump", "Location/room"];
    for (query, matches, along) in [
        ("", set(OF_A), set(ALONG_A)),
        (
            "start=2021",
            without(OF_A, &["Encounter/a-visit", "Observation/a-2020"]),
            without(ALONG_A, &before),
        ),
        (
            "start=2020-01-12&end=2021",
            without(OF_A, &["Observation/a-2020", "Observation/a-2022"]),
            without(ALONG_A, &["Device/pump"]),
        ),
        (
            "end=2019",
            set(&["Appointment/a-and-b", "Group/g", "Observation/a-undated", "Patient/a"]),
            without(ALONG_A, &["Device/pump", "Location/room", "Medication/pill"]),
        ),
        ("_since=2000-01-01T00:00:00Z", set(OF_A), set(ALONG_A)),
        ("_since=2999-01-01T00:00:00Z", set(&[]), set(&[])),
        (
            "_type=Observation",
            set(&["Observation/a-2020", "Observation/a-2022", "Observation/a-undated"]),
            set(&[]),
        ),
        (
            "_type=Observation,Practitioner&end=2021",
            set(&["Observation/a-2020", "Observation/a-undated"]),
            set(&["Practitioner/doc"]),
        ),
        ("_type=Patient&_type=Encounter", set(&["Encounter/a-visit", "Patient/a"]), set(&[])),
        ("_type=Patient,Nope", set(&["Patient/a"]), set(&[])),
        ("_type=Nope,Odd", set(&[]), set(&[])),
        ("_type=AuditEvent", set(&[]), set(&[])),
    ] {
        for count in ["", "&_count=2"] {
            let url = format!("/Patient/a/$everything?{query}{count}");
            assert_eq!(
                found(&server.client, &url).await,
                [matches.clone(), along.clone()],
                "{url}"
            );
        }
    }
    let told = server.client.get("/Patient/a/$everything?_type=Nope").await.expect(200);
    assert_eq!(told.at("entry[0].search.mode").as_deref(), Some("outcome"), "{told:?}");
    // What did not change does not come, and what did comes with nothing else.
    let moment = server.client.get("/Organization/top").await.at("meta.lastUpdated").unwrap();
    let renamed = r#"{"resourceType":"Organization","id":"top","name":"Summit"}"#;
    server.client.put("/Organization/top", renamed).await.expect(200);
    let after = server.client.get("/Organization/top").await.at("meta.lastUpdated").unwrap();
    assert!(after > moment, "{after}");
    let url = format!("/Patient/a/$everything?_since={}", after.replace('+', "%2B"));
    assert_eq!(found(&server.client, &url).await, [set(&[]), set(&["Organization/top"])]);
    server.stop().await;
}

/// Covers: rest 6.17, 6.23.
#[tokio::test(flavor = "multi_thread")]
async fn of_all_patients_of_a_groups_members_and_of_an_encounter() {
    let server = filled().await;
    let client = &server.client;
    let is_within = |path: &&str| WITHIN.iter().any(|of| path.starts_with(&format!("{of}/")));
    let all = STORED.iter().map(|(path, _)| *path);
    let (within, beyond): (Vec<&str>, Vec<&str>) = all.partition(is_within);
    let within = without(&within, &["Group/empty"]);
    let beyond = without(&beyond, &["Organization/nobodys"]);
    for count in ["", "?_count=1", "?_count=4"] {
        let url = format!("/Patient/$everything{count}");
        assert_eq!(found(client, &url).await, [within.clone(), beyond.clone()], "{url}");
        // Whoever is a member comes once, with what is of several; who was one does not come.
        let url = format!("/Group/g/$everything{count}");
        let mut members = set(OF_A);
        members.extend(["Observation/b-2020", "Patient/b"].map(str::to_owned));
        assert_eq!(found(client, &url).await, [members, set(ALONG_A)], "{url}");
        let url = format!("/Group/empty/$everything{count}");
        assert_eq!(found(client, &url).await, [set(&[]), set(&[])], "{url}");
        let url = format!("/Encounter/a-visit/$everything{count}");
        let visit = set(&["Encounter/a-visit", "Observation/a-2020"]);
        let referred =
            ["Device/pump", "Location/room", "Organization/top", "Organization/ward", "Patient/a"];
        assert_eq!(found(client, &url).await, [visit, set(&referred)], "{url}");
    }
    let some = "/Group/g/$everything?_type=Observation&start=2020-05-01&end=2020-12-31";
    let expected = set(&["Observation/a-undated", "Observation/b-2020"]);
    assert_eq!(found(client, some).await, [expected, set(&[])]);
    // Patients come before all else.
    let first = client.get("/Patient/$everything?_count=3").await.expect(200);
    let patients: BTreeSet<String> = entries(&first).into_iter().map(|(_, path)| path).collect();
    assert_eq!(patients, set(&["Patient/a", "Patient/b", "Patient/c"]));
    server.stop().await;
}

/// The compartments of a few members are walked at a time: what is of several comes with the first of them.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_of_many_everything_comes_once() {
    let server = filled().await;
    let client = &server.client;
    let reference = |number: usize| format!(r#"{{"reference":"Patient/p{number:02}"}}"#);
    let mut stored = Vec::new();
    for number in 0..60 {
        stored.push((format!("Patient/p{number:02}"), r#""active":true"#.to_owned()));
        let performer = if number == 59 { "idle" } else { "doc" };
        let content = format!(
            r#""status":"final","code":{{"text":"c"}},"subject":{},"performer":[{{"reference":"Practitioner/{performer}"}}]"#,
            reference(number)
        );
        stored.push((format!("Observation/o{number:02}"), content));
    }
    let actor = |number: usize| format!(r#"{{"actor":{},"status":"accepted"}}"#, reference(number));
    let both = format!(r#""status":"proposed","participant":[{},{}]"#, actor(3), actor(57));
    stored.push(("Appointment/shared".to_owned(), both));
    let members: Vec<String> =
        (0..60).map(|number| format!(r#"{{"entity":{}}}"#, reference(number))).collect();
    let members = format!(r#""type":"person","actual":true,"member":[{}]"#, members.join(","));
    stored.push(("Group/many".to_owned(), members));
    for (path, content) in &stored {
        let (of, id) = path.split_once('/').unwrap();
        let body = format!(r#"{{"resourceType":"{of}","id":"{id}",{content}}}"#);
        client.put(&format!("/{path}"), body).await.expect(201);
    }
    let all: BTreeSet<String> = stored.into_iter().map(|(path, _)| path).collect();
    let along = set(&["Practitioner/doc", "Practitioner/idle"]);
    for count in ["", "?_count=7"] {
        let url = format!("/Group/many/$everything{count}");
        assert_eq!(found(client, &url).await, [all.clone(), along.clone()], "{url}");
        let sizes: Vec<usize> =
            pages(client, &url).await.iter().map(|page| entries(page).len()).collect();
        let is_full = sizes.iter().rev().skip(1).all(|size| *size == 7);
        assert!(is_full, "{url}: {sizes:?}");
    }
    server.stop().await;
}

/// The types of these resources that are in compartments of patients.
const WITHIN: [&str; 6] =
    ["Appointment", "Encounter", "Group", "MedicationRequest", "Observation", "Patient"];

/// Covers: rest 6.8.
/// Covers in part: rest 6.5, 6.7.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_is_no_value_is_refused() {
    let server = filled().await;
    let client = &server.client;
    client.put("/Patient/gone", r#"{"resourceType":"Patient","id":"gone"}"#).await.expect(201);
    client.delete("/Patient/gone").await.expect(204);
    for (url, status) in [
        ("/Patient/nobody/$everything", 404),
        ("/Patient/bad_id/$everything", 404),
        ("/Encounter/nothing/$everything", 404),
        ("/Group/nothing/$everything", 404),
        ("/Patient/gone/$everything", 410),
        ("/$everything", 404),
        ("/Encounter/$everything", 404),
        ("/Group/$everything", 404),
        ("/Observation/$everything", 404),
        ("/Observation/a-2020/$everything", 404),
        ("/Patient/a/$everything?start=odd", 400),
        ("/Patient/a/$everything?start=2020&start=2021", 400),
        ("/Patient/a/$everything?_since=odd", 400),
        ("/Patient/a/$everything?_count=0", 400),
        ("/Patient/a/$everything?_count=-1", 400),
        ("/Patient/a/$everything?_count=x", 400),
        ("/Patient/a/$everything?_summary=count", 400),
        ("/Patient/a/$everything?_elements=id&_summary=true", 400),
        ("/Patient/a/$everything?other=1", 200),
        ("/Encounter/a-visit/$everything?start=2021", 200),
    ] {
        client.get(url).await.expect(status);
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = client.call(method, "/Patient/a/$everything").json(PATIENT).send().await;
        assert_eq!(answer.expect(405).header("allow").as_deref(), Some("GET, HEAD, OPTIONS, POST"));
    }
    let strict = |url: &str| client.call("GET", url).header("Prefer", "handling=strict");
    for (url, status) in [
        ("/Patient/a/$everything?other=1", 400),
        ("/Encounter/a-visit/$everything?start=2021", 400),
        ("/Patient/a/$everything?_since=2020", 400),
        ("/Patient/a/$everything?_since=2020-01-01T00:00:00Z&_format=json&_elements=id", 200),
        ("/Patient/a/$everything?_type=Nope", 200),
    ] {
        strict(url).send().await.expect(status);
    }
    server.stop().await;
}

fn matched(answer: &Answer) -> BTreeSet<String> {
    entries(answer).into_iter().map(|(_, path)| path).collect()
}

/// Covers in part: rest 6.1, 6.2, 6.4, 6.6, 6.10.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_posted_in_each_form() {
    let server = filled().await;
    let client = &server.client;
    let url = "/Patient/a/$everything";
    let some = set(&["Observation/a-2022", "Observation/a-undated"]);
    let parameters = |all: &str| format!(r#"{{"resourceType":"Parameters","parameter":[{all}]}}"#);
    let asked = parameters(
        r#"{"name":"_type","valueString":"Observation"},{"name":"start","valueDate":"2022"}"#,
    );
    assert_eq!(matched(&client.post(url, asked).await.expect(200)), some);
    let form = client.call("POST", url).header("Content-Type", "application/x-www-form-urlencoded");
    let answer = form.body("_type=Observation&start=2022").send().await.expect(200);
    assert_eq!(matched(&answer), some);
    let xml = r#"<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="_type"/><valueString value="Observation"/></parameter></Parameters>"#;
    let call = client.call("POST", &format!("{url}?start=2022"));
    let answer = call.header("Content-Type", "application/fhir+xml").body(xml).send().await;
    assert_eq!(matched(&answer.expect(200)), some);
    let all = client.call("POST", url).send().await.expect(200);
    assert_eq!(all.at("resourceType").as_deref(), Some("Bundle"));
    assert_eq!(matched(&all), matched(&client.post(url, NOTHING).await.expect(200)));
    // Links lead on by GET, with all that was posted.
    let small = parameters(
        r#"{"name":"_type","valueCode":"Observation"},{"name":"_count","valueInteger":2}"#,
    );
    let first = client.post(url, small).await.expect(200);
    assert_eq!(entries(&first).len(), 2);
    let rest = client.get(&first.at("link[relation=next].url").unwrap()).await.expect(200);
    assert_eq!((entries(&rest).len(), rest.at("link[relation=next].url")), (1, None));
    for bad in [
        PATIENT.to_owned(),
        "odd".to_owned(),
        parameters(r#"{"name":"start","valueDate":"odd"}"#),
        parameters(r#"{"name":"start"}"#),
        parameters(r#"{"valueDate":"2020"}"#),
        parameters(r#"{"name":"start","valueDate":"2020","valueString":"2020"}"#),
        parameters(r#"{"name":"start","valueDate":"2020","part":[]}"#),
        parameters(r#"{"name":"start","valueDate":"2020"},{"name":"start","valueDate":"2021"}"#),
    ] {
        client.post(url, bad).await.expect(400);
    }
    server.stop().await;
}

/// Covers: rest 3.35.
/// Covers in part: rest 3.52.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_bundle_asks_for_a_record() {
    let server = filled().await;
    let entry = |method: &str, url: &str, resource: &str| {
        let resource = match resource {
            "" => String::new(),
            resource => format!(r#""resource":{resource},"#),
        };
        format!(r#"{{{resource}"request":{{"method":"{method}","url":"{url}"}}}}"#)
    };
    let bundle = |of: &str, entries: &[String]| {
        let entries = entries.join(",");
        format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entries}]}}"#)
    };
    let asked =
        r#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient"}]}"#;
    let batch = bundle(
        "batch",
        &[
            entry("GET", "Patient/a/$everything?_type=Encounter", ""),
            entry("POST", "Patient/$everything", asked),
            entry("GET", "Patient/nobody/$everything", ""),
            entry("GET", "Patient/a/$everything?_count=0", ""),
            entry("GET", "Encounter/a-visit/$everything?_type=Encounter", ""),
        ],
    );
    let answer = server.client.post("/", batch).await.expect(200);
    let text = |path: &str| answer.at(path).unwrap_or_default();
    assert_eq!(text("entry[0].resource.type"), "searchset");
    assert_eq!(text("entry[0].resource.entry[0].resource.id"), "a-visit");
    assert_eq!(answer.json().items_at("entry").len(), 5);
    assert_eq!(text("entry[1].resource.entry[2].resource.resourceType"), "Patient");
    assert!(text("entry[2].response.status").starts_with("404"), "{answer:?}");
    assert!(text("entry[3].response.status").starts_with("400"), "{answer:?}");
    assert_eq!(text("entry[4].resource.entry[0].resource.id"), "a-visit");
    // In a transaction it sees what that has written.
    let new = r#"{"resourceType":"Observation","id":"a-new","status":"final","code":{"text":"n"},"subject":{"reference":"Patient/a"},"performer":[{"reference":"Practitioner/idle"}]}"#;
    let transaction = bundle(
        "transaction",
        &[
            entry("GET", "Patient/a/$everything?_type=Observation,Practitioner", ""),
            entry("PUT", "Observation/a-new", new),
        ],
    );
    let answer = server.client.post("/", transaction).await.expect(200);
    let shown = answer.text();
    assert!(shown.contains("Observation/a-new\"") && shown.contains("Practitioner/idle\""));
    server.stop().await;
}

/// How many events there are of the operation, by what is asked of them.
async fn events(client: &Client, query: &str) -> usize {
    let url = format!("/AuditEvent?subtype=operation&_count=100&{query}");
    pages(client, &url).await.iter().map(|page| entries(page).len()).sum()
}

/// One for each patient whose data it showed.
///
/// Covers: security A6.
#[tokio::test(flavor = "multi_thread")]
async fn each_page_is_on_record_by_its_patients() {
    let server = filled().await;
    let client = &server.client;
    client.get("/Patient/a/$everything?_type=Observation").await.expect(200);
    let counts = async || {
        let mut counts = Vec::new();
        for id in ["a", "b", "c"] {
            counts.push(events(client, &format!("patient=Patient/{id}")).await);
        }
        counts
    };
    assert_eq!(counts().await, [1, 0, 0]);
    let url = "/AuditEvent?subtype=operation&patient=Patient/a";
    let told = client.get(url).await.expect(200);
    for (path, expected) in [
        ("action", "R"),
        ("outcome", "0"),
        ("type.code", "rest"),
        ("subtype[0].code", "operation"),
        ("agent[0].type.coding[0].code", "110152"),
        ("entity[0].what.reference", "Patient/a/_history/1"),
        ("entity[1].description", "GET /fhir/Patient/a/$everything"),
        ("entity[2].what.reference", "Patient/a"),
    ] {
        let found = told.at(&format!("entry[0].resource.{path}"));
        assert_eq!(found.as_deref(), Some(expected), "{path}: {told:?}");
    }
    client.get("/Group/g/$everything?_type=Observation,Appointment").await.expect(200);
    assert_eq!(counts().await, [2, 1, 0]);
    client.get("/Patient/$everything").await.expect(200);
    assert_eq!(counts().await, [3, 2, 1]);
    client.get("/Encounter/a-visit/$everything").await.expect(200);
    assert_eq!(counts().await, [4, 2, 1]);
    // A page tells of whom it shows, not of whom others do.
    let first = client.get("/Patient/$everything?_count=1").await.expect(200);
    let shown = entries(&first).remove(0).1;
    let at = ["Patient/a", "Patient/b", "Patient/c"].iter().position(|it| *it == shown).unwrap();
    let mut expected = [4, 2, 1];
    expected[at] += 1;
    assert_eq!(counts().await, expected);
    client.get("/Patient/nobody/$everything").await.expect(404);
    assert_eq!(events(client, "outcome=4").await, 1);
    // An entry of a Bundle is on record by what it asks for itself.
    for (number, of) in ["batch", "transaction"].into_iter().enumerate() {
        let entry = r#"{"request":{"method":"GET","url":"Patient/c/$everything?_type=Patient"}}"#;
        let bundle = format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entry}]}}"#);
        client.post("/", bundle).await.expect(200);
        let url = "/AuditEvent?subtype=operation&patient=Patient/c&_count=100";
        let told = client.get(url).await.expect(200);
        let told = told.text().matches("GET /fhir/Patient/c/$everything").count();
        assert_eq!(told, number + 1, "{of}");
    }
    server.stop().await;
}
