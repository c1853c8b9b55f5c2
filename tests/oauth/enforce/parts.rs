//! Consents and what is in no compartment: documents, Groups, and whatever else names who denies.

use crate::harness::client::Client;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::world::{asked, body, filled, fresh};
use super::consent::{consent, doctor, doctor_with};

/// A denial of this, and of nothing else.
fn deny(what: &str) -> String {
    consent(&format!(r#"{{"type":"permit","provision":[{{"type":"deny",{what}}}]}}"#))
}

fn class(name: &str) -> String {
    let coding = format!(r#"{{"system":"http://hl7.org/fhir/resource-types","code":"{name}"}}"#);
    deny(&format!(r#""class":[{coding}]"#))
}

async fn stored(all: &[(&str, String)]) -> TestServer {
    let server = filled().await;
    for (path, content) in all {
        server.client.put(&format!("/{path}"), body(path, content)).await.expect(201);
    }
    server
}

/// The doctor while this is the only consent.
async fn under(server: &TestServer, consent: &str) -> (Client, tokio::sync::watch::Sender<bool>) {
    let put = server.client.put("/Consent/c", body("Consent/c", consent)).await;
    assert!([200, 201].contains(&put.status), "{put:?}");
    doctor(server).await
}

/// That these of a type are there by every way, and the others by none.
async fn are_seen(client: &Client, of: &str, seen: &[&str], all: &[&str], why: &str) {
    for path in all {
        let status = if seen.contains(path) { 200 } else { 404 };
        for rest in ["", "/_history", "/_history/1"] {
            let answer = client.get(&format!("/{path}{rest}")).await;
            assert_eq!(answer.status, status, "{path}{rest} under {why}: {answer:?}");
        }
    }
    assert_eq!(asked(client, &format!("/{of}")).await, seen, "{why}");
    assert_eq!(asked(client, &format!("/{of}/_history")).await, seen, "{why}");
    let count = client.get(&format!("/{of}?_summary=count")).await.expect(200);
    assert_eq!(count.at("total"), Some(seen.len().to_string()), "{why}");
    let entry = |path: &&str| format!(r#"{{"request":{{"method":"GET","url":"{path}"}}}}"#);
    let entries = all.iter().map(entry).collect::<Vec<_>>().join(",");
    let batch = format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entries}]}}"#);
    let answer = client.post("/", batch).await.expect(200);
    let found = answer.text().matches(r#""status":"200"#).count();
    assert_eq!(found, seen.len(), "{why}: {answer:?}");
}

/// A document with a Composition about somebody, its author and these entries, and with who it is about where
/// that is a patient by id.
fn document(number: u32, subject: &str, entries: &str) -> String {
    let composition = format!(
        r#"{{"resourceType":"Composition","status":"final","type":{{"text":"letter"}},"subject":{{"reference":"{subject}"}},"date":"2020","author":[{{"reference":"Practitioner/doc"}}],"title":"t"}}"#
    );
    let first = format!(r#"{{"fullUrl":"{}","resource":{composition}}}"#, urn(1));
    // All that a Composition refers to is in the document.
    let author = person(5, "Practitioner", "doc");
    let whom = subject.strip_prefix("Patient/").map(|id| format!(",{}", person(3, "Patient", id)));
    let people = format!("{author}{}", whom.unwrap_or_default());
    format!(
        r#""type":"document","identifier":{{"system":"urn:d","value":"{number}"}},"timestamp":"2020-01-01T00:00:00Z","entry":[{first},{people},{entries}]"#
    )
}

/// An entry with somebody.
fn person(number: u32, of: &str, id: &str) -> String {
    format!(r#"{{"fullUrl":"{}","resource":{{"resourceType":"{of}","id":"{id}"}}}}"#, urn(number))
}

fn urn(number: u32) -> String {
    format!("urn:uuid:11111111-1111-4111-8111-11111111111{number}")
}

/// An entry with an Observation of somebody.
fn observation(subject: &str, code: &str, more: &str) -> String {
    format!(
        r#"{{"fullUrl":"{}","resource":{{"resourceType":"Observation",{more}"status":"final","code":{{"coding":[{{"system":"urn:c","code":"{code}"}}]}},"subject":{{"reference":"{subject}"}}}}}}"#,
        urn(2)
    )
}

/// Documents and a collection, of one patient, of another, and of both.
async fn with_bundles() -> TestServer {
    let psychiatric = r#""meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"PSY"}]},"#;
    let patient = person(3, "Patient", "a");
    let by_urn = observation(&urn(3), "p", psychiatric);
    let list = format!(
        r#""type":"collection","entry":[{{"fullUrl":"{}","resource":{{"resourceType":"List","status":"current","mode":"working","entry":[{{"item":{{"reference":"Observation/a-lab"}}}}]}}}}]"#,
        urn(4)
    );
    stored(&[
        (
            "Bundle/a-labs",
            document(3, "Patient/a", &observation("Patient/a", "k", r#""id":"a-lab","#)),
        ),
        ("Bundle/a-list", list),
        ("Bundle/a-urns", document(4, &urn(3), &format!("{patient},{by_urn}"))),
        ("Bundle/b-labs", document(5, "Patient/b", &observation("Patient/b", "k", ""))),
        ("Bundle/both", document(6, "Patient/b", &observation("Patient/a", "K", ""))),
    ])
    .await
}

/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_goes_whole_with_what_is_denied_of_what_is_in_it() {
    let server = with_bundles().await;
    let all = [
        "Bundle/a-labs",
        "Bundle/a-letter",
        "Bundle/a-list",
        "Bundle/a-urns",
        "Bundle/b-labs",
        "Bundle/b-letter",
        "Bundle/both",
    ];
    let of_b = &["Bundle/b-labs", "Bundle/b-letter"];
    let but = |hidden: &[&str]| -> Vec<&str> {
        all.iter().copied().filter(|path| !hidden.contains(path)).collect()
    };
    for (consent, seen) in [
        (consent(r#"{"type":"permit"}"#), all.to_vec()),
        (consent(r#"{"type":"deny"}"#), of_b.to_vec()),
        (class("Bundle"), of_b.to_vec()),
        (class("Observation"), but(&["Bundle/a-labs", "Bundle/a-urns", "Bundle/both"])),
        (class("List"), but(&["Bundle/a-list"])),
        (class("Goal"), all.to_vec()),
        (
            deny(r#""code":[{"coding":[{"system":"urn:c","code":"k"}]}]"#),
            but(&["Bundle/a-labs", "Bundle/both"]),
        ),
        (deny(r#""securityLabel":[{"code":"PSY"}]"#), but(&["Bundle/a-urns"])),
        (
            deny(
                r#""data":[{"meaning":"instance","reference":{"reference":"Observation/a-lab"}}]"#,
            ),
            but(&["Bundle/a-labs"]),
        ),
        // When what is in it was, it does not say.
        (deny(r#""dataPeriod":{"start":"2010","end":"2011"}"#), of_b.to_vec()),
    ] {
        let (doctor, _stop) = under(&server, &consent).await;
        are_seen(&doctor, "Bundle", &seen, &all, &consent).await;
    }
    let (_doctor, _stop) = under(&server, &consent(r#"{"type":"deny"}"#)).await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    assert_eq!(asked(&own, "/Bundle").await, ["Bundle/a-labs", "Bundle/a-letter"]);
    server.stop().await;
}

/// A Group is of each of its members, so it goes with all of one of them, and with no part of that.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_with_a_member_who_denies_everything() {
    let group = |members: &[&str]| {
        let member = |id: &&str| format!(r#"{{"entity":{{"reference":"Patient/{id}"}}}}"#);
        let members = members.iter().map(member).collect::<Vec<_>>().join(",");
        format!(r#""type":"person","actual":true,"member":[{members}]"#)
    };
    let server =
        stored(&[("Group/b-study", group(&["b"])), ("Group/both", group(&["a", "b"]))]).await;
    let all = ["Group/a-study", "Group/b-study", "Group/both"];
    for (consent, seen) in [
        (class("Observation"), &all[..]),
        (class("Patient"), &all),
        (class("Group"), &all[1..2]),
        (consent(r#"{"type":"deny"}"#), &all[1..2]),
    ] {
        let (doctor, _stop) = under(&server, &consent).await;
        are_seen(&doctor, "Group", seen, &all, &consent).await;
        assert_eq!(
            asked(&doctor, "/Group?member=Patient/b&_id=a-study,b-study").await,
            ["Group/b-study"]
        );
        let has = asked(&doctor, "/Patient?_has:Group:member:_id=both&_id=b").await;
        assert_eq!(has.is_empty(), seen.len() == 1, "{consent}: {has:?}");
    }
    server.stop().await;
}

const TASK: &str = r#""status":"requested","intent":"order""#;

/// A Task with a reference.
fn about(element: &str, whom: &str) -> String {
    format!(r#"{TASK},"{element}":{{"reference":"{whom}"}}"#)
}

/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_no_compartment_is_of_whom_it_names() {
    let answer = |id: &str| {
        format!(
            r#""moduleUri":"urn:m","status":"success","subject":{{"reference":"Patient/{id}"}}"#
        )
    };
    // Of a Device, which is in no compartment either.
    let measured = |id: &str| {
        format!(
            r#""type":{{"text":"t"}},"category":"measurement","source":{{"reference":"Device/{id}-pump"}}"#
        )
    };
    let server = stored(&[
        ("Task/a-focus", about("focus", "Observation/a-lab")),
        ("Task/a-for", about("for", "Patient/a")),
        ("Task/a-mother", about("requester", "RelatedPerson/a-mother")),
        ("Task/a-part", about("focus", "Observation/a-lab#x")),
        ("Task/b-focus", about("focus", "Observation/b-lab")),
        ("Task/b-for", about("for", "Patient/b")),
        ("Task/nobodys", TASK.to_owned()),
        ("DeviceMetric/a", measured("a")),
        ("DeviceMetric/b", measured("b")),
        ("GuidanceResponse/a", answer("a")),
        ("GuidanceResponse/b", answer("b")),
    ])
    .await;
    let all = [
        "Task/a-focus",
        "Task/a-for",
        "Task/a-mother",
        "Task/a-part",
        "Task/b-focus",
        "Task/b-for",
        "Task/nobodys",
    ];
    let answers = ["GuidanceResponse/a", "GuidanceResponse/b"];
    let metrics = ["DeviceMetric/a", "DeviceMetric/b"];
    for (consent, tasks, seen) in [
        (class("Observation"), &all[..], &answers[..]),
        (class("Task"), &all[4..], &answers),
        (class("GuidanceResponse"), &all, &answers[1..]),
        (consent(r#"{"type":"deny"}"#), &all[4..], &answers[1..]),
    ] {
        let (doctor, _stop) = under(&server, &consent).await;
        are_seen(&doctor, "Task", tasks, &all, &consent).await;
        are_seen(&doctor, "GuidanceResponse", seen, &answers, &consent).await;
        let of_all = usize::from(tasks.len() == 3 && seen.len() == 1);
        are_seen(&doctor, "DeviceMetric", &metrics[of_all..], &metrics, &consent).await;
    }
    server.stop().await;
}

/// What was about it once is not shown, what was deleted is not there, and nothing is made of it.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_named_it_once_is_of_it_still() {
    let server = stored(&[
        ("Task/a-for", about("for", "Patient/a")),
        ("Task/b-for", about("for", "Patient/b")),
        ("Task/gone", about("focus", "Observation/a-lab")),
        ("Task/moved", about("focus", "Observation/a-lab")),
        ("Task/nobodys", TASK.to_owned()),
    ])
    .await;
    let next = body("Task/moved", &about("focus", "Observation/b-lab"));
    server.client.put("/Task/moved", next).await.expect(200);
    server.client.delete("/Task/gone").await.expect(204);
    server.client.delete("/Task/nobodys").await.expect(204);
    let (_reader, _stop) = under(&server, &consent(r#"{"type":"deny"}"#)).await;
    let (doctor, _stop) = doctor_with(&server, Token::new(&server, "user/*.cruds")).await;
    for (path, status) in [
        ("/Task/moved", 200),
        ("/Task/moved/_history/1", 404),
        ("/Task/moved/_history/2", 200),
        ("/Task/gone", 404),
        ("/Task/nobodys", 410),
    ] {
        doctor.get(path).await.expect(status);
    }
    for url in ["/Task/moved/_history", "/Task/_history?_count=50"] {
        let shown = asked(&doctor, url).await;
        assert_eq!(shown.iter().filter(|it| *it == "Task/moved").count(), 1, "{url}: {shown:?}");
        assert!(!shown.contains(&"Task/gone".to_owned()), "{url}: {shown:?}");
    }
    // Nor is it made by who would not see it.
    doctor.post("/Task", fresh("Task", &about("for", "Patient/a"))).await.expect(403);
    doctor.put("/Task/b-for", body("Task/b-for", &about("for", "Patient/a"))).await.expect(403);
    doctor.put("/Task/a-for", body("Task/a-for", &about("for", "Patient/b"))).await.expect(404);
    doctor.post("/Task", fresh("Task", &about("for", "Patient/b"))).await.expect(201);
    server.stop().await;
}

/// Whom a consent alone knows, for no such patient was ever stored, denies as others do, also where a place in
/// the patient is named.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_never_stored_denies_too() {
    let target = r#""target":[{"reference":"Patient/never"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/doc"}}]"#;
    let server = stored(&[
        (
            "Binary/n-scan",
            r#""contentType":"text/plain","securityContext":{"reference":"Patient/never#x"}"#
                .to_owned(),
        ),
        ("Device/n-cuff", r#""patient":{"reference":"Patient/never#x"}"#.to_owned()),
        ("Device/n-pump", r#""patient":{"reference":"Patient/never"}"#.to_owned()),
        ("Provenance/n", target.to_owned()),
        ("Task/m-for", about("for", "Patient/neither")),
        ("Task/n-for", about("for", "Patient/never")),
        ("Task/n-part", about("for", "Patient/never#x")),
        ("Task/n-pump", about("focus", "Device/n-pump")),
    ])
    .await;
    let all = ["Task/m-for", "Task/n-for", "Task/n-part", "Task/n-pump"];
    let theirs = ["Binary/n-scan", "Device/n-cuff", "Device/n-pump", "Provenance/n"];
    for (provision, tasks, found) in
        [(r#"{"type":"permit"}"#, &all[..], 1), (r#"{"type":"deny"}"#, &all[..1], 0)]
    {
        let consent = consent(provision).replace("Patient/a", "Patient/never");
        let (doctor, _stop) = under(&server, &consent).await;
        are_seen(&doctor, "Task", tasks, &all, provision).await;
        for path in theirs {
            let answer = doctor.get(&format!("/{path}")).await;
            assert_eq!(answer.status, if found == 1 { 200 } else { 404 }, "{path}: {answer:?}");
            let (of, id) = path.split_once('/').unwrap();
            assert_eq!(asked(&doctor, &format!("/{of}?_id={id}")).await.len(), found, "{path}");
        }
    }
    // Who was let in while the consent was there is, for as long as that is remembered, let in by it.
    let denial = consent(r#"{"type":"deny"}"#).replace("Patient/a", "Patient/never");
    let (doctor, _stop) = under(&server, &denial).await;
    server.client.delete("/Consent/c").await.expect(204);
    are_seen(&doctor, "Task", &all[..1], &all, "a consent that is gone").await;
    for path in theirs {
        doctor.get(&format!("/{path}")).await.expect(404);
        let (of, id) = path.split_once('/').unwrap();
        assert!(asked(&doctor, &format!("/{of}?_id={id}")).await.is_empty(), "{path}");
    }
    server.stop().await;
}

/// What is done for something that is done for a patient is of the patient too, as far as it is followed.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_along_with_it_is_of_it_too() {
    let along = |element: &str, task: &str| {
        format!(r#"{TASK},"{element}":[{{"reference":"Task/{task}"}}]"#)
    };
    let of_task = |id: &str| {
        format!(
            r#""target":[{{"reference":"Task/{id}"}}],"recorded":"2020-01-01T00:00:00Z","agent":[{{"who":{{"reference":"Practitioner/doc"}}}}]"#
        )
    };
    let server = stored(&[
        ("Task/a-1", about("focus", "Observation/a-lab")),
        ("Task/a-2", about("focus", "Task/a-1")),
        ("Task/a-3", along("partOf", "a-2")),
        ("Task/a-4", along("basedOn", "a-3/_history/1")),
        ("Task/a-5", about("focus", "Task/a-4")),
        ("Task/a-6", about("focus", "Task/a-5")),
        ("Task/b-1", about("focus", "Observation/b-lab")),
        ("Task/b-2", about("focus", "Task/b-1")),
        ("Task/n-1", about("for", "Patient/never")),
        ("Task/n-2", along("partOf", "n-1")),
        ("Task/ring-1", about("focus", "Task/ring-2")),
        ("Task/ring-2", along("partOf", "ring-1")),
        ("Provenance/a-task", of_task("a-2")),
        ("Provenance/b-task", of_task("b-2")),
    ])
    .await;
    let all = [
        "Task/a-1",
        "Task/a-2",
        "Task/a-3",
        "Task/a-4",
        "Task/a-5",
        "Task/a-6",
        "Task/b-1",
        "Task/b-2",
        "Task/n-1",
        "Task/n-2",
        "Task/ring-1",
        "Task/ring-2",
    ];
    let signed = ["Provenance/a-task", "Provenance/b-task"];
    let deny = consent(r#"{"type":"deny"}"#);
    let (doctor, _stop) = under(&server, &deny).await;
    are_seen(&doctor, "Task", &all[5..], &all, &deny).await;
    for (path, status) in [(signed[0], 404), (signed[1], 200)] {
        doctor.get(&format!("/{path}")).await.expect(status);
    }
    let found = asked(&doctor, "/Provenance?_id=a-task,b-task").await;
    assert_eq!(found, signed[1..], "{deny}");
    // Nor is anything made beside it.
    let denial = deny.replace("Patient/a", "Patient/never");
    let (_reader, _stop) = under(&server, &denial).await;
    let (doctor, _stop) = doctor_with(&server, Token::new(&server, "user/*.cruds")).await;
    let seen: Vec<&str> = all.iter().copied().filter(|path| !path.starts_with("Task/n-")).collect();
    are_seen(&doctor, "Task", &seen, &all, &denial).await;
    doctor.delete("/Task/b-2").await.expect(204);
    server.stop().await;
}
