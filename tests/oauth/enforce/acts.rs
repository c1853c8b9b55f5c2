//! Consents about writing: what a patient lets be seen, and not be changed or collected.

use crate::harness::client::{Answer, Client};
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::world::{STORED, asked, body, filled, fresh};
use super::consent::{consent, doctor_with};

fn content(path: &str) -> String {
    STORED.iter().find(|(known, _)| *known == path).expect("stored").1.to_owned()
}

/// The same with another value.
fn changed(path: &str, value: u32) -> String {
    let of = content(path);
    match of.split_once(r#""valueQuantity""#) {
        Some((before, _)) => format!(r#"{before}"valueQuantity":{{"value":{value}}}"#),
        None => format!(r#"{of},"valueQuantity":{{"value":{value}}}"#),
    }
}

async fn put(client: &Client, path: &str, content: &str) -> Answer {
    client.put(&format!("/{path}"), body(path, content)).await
}

/// Stores the only consent: it denies an action, with what `rest` says.
async fn deny(server: &TestServer, action: &str, rest: &str) {
    let coding = format!(
        r#"{{"system":"http://terminology.hl7.org/CodeSystem/consentaction","code":"{action}"}}"#
    );
    let provision = format!(
        r#"{{"type":"permit","provision":[{{"type":"deny","action":[{{"coding":[{coding}]}}]{rest}}}]}}"#
    );
    let put = server.client.put("/Consent/c", body("Consent/c", &consent(&provision))).await;
    assert!([200, 201].contains(&put.status), "{put:?}");
}

fn entry(method: &str, url: &str, resource: &str) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{resource},"request":{{"method":"{method}","url":"{url}"}}}}]}}"#
    )
}

/// Covers: security S2.
#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_corrected_stays_and_is_seen() {
    let server = filled().await;
    let writer = || Token::new(&server, "user/*.cruds");
    let (before, _stop) = doctor_with(&server, writer()).await;
    put(&before, "Observation/a-lab", &changed("Observation/a-lab", 6)).await.expect(200);
    deny(&server, "correct", r#","code":[{"coding":[{"system":"urn:c","code":"k"}]}]"#).await;

    let (after, _stop) = doctor_with(&server, writer()).await;
    after.get("/Observation/a-lab").await.expect(200);
    let found = asked(&after, "/Observation?code=k").await;
    assert_eq!(found, ["Observation/a-lab", "Observation/b-lab"]);
    let other = changed("Observation/a-lab", 7);
    put(&after, "Observation/a-lab", &other).await.expect(403);
    let named = body("Observation/a-lab", &other);
    after.put("/Observation?_id=a-lab", named.clone()).await.expect(403);
    after.post("/", entry("PUT", "Observation/a-lab", &named)).await.expect(403);
    let patch = after.call("PATCH", "/Observation/a-lab");
    let patch = patch.header("Content-Type", "application/json-patch+json");
    let patch = patch.body(r#"[{"op":"remove","path":"/valueQuantity"}]"#);
    patch.send().await.expect(403);
    after.delete("/Observation/a-lab").await.expect(403);
    after.delete("/Observation?_id=a-lab").await.expect(403);
    let stays = server.client.get("/Observation/a-lab").await.expect(200);
    assert_eq!(stays.version(), 2);

    // What is about something else, or somebody else's, is changed as before; what is not there is not there.
    put(&after, "Observation/a-vital", &changed("Observation/a-vital", 7)).await.expect(200);
    put(&after, "Observation/b-lab", &changed("Observation/b-lab", 7)).await.expect(200);
    put(&after, "Observation/nothing", &other).await.expect(404);
    after.delete("/Observation/nothing").await.expect(204);
    // To be made into what must not be changed is a change; to come into being is not.
    put(&after, "Observation/a-vital", &other).await.expect(403);
    after.post("/Observation", fresh("Observation", &other)).await.expect(201);
    // The patient may.
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    put(&own, "Observation/a-lab", &other).await.expect(200);
    server.stop().await;
}

/// Covers: security S2.
#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_collected_does_not_come_into_being() {
    let server = filled().await;
    deny(&server, "collect", "").await;
    let (doctor, _stop) = doctor_with(&server, Token::new(&server, "user/*.cruds")).await;
    doctor.get("/Observation/a-lab").await.expect(200);
    let (lab, theirs) = (changed("Observation/a-lab", 7), changed("Observation/b-lab", 7));
    let (new, other) = (fresh("Observation", &lab), fresh("Observation", &theirs));
    doctor.post("/Observation", new.clone()).await.expect(403);
    doctor.post("/", entry("POST", "Observation", &new)).await.expect(403);
    doctor.post("/Observation", other).await.expect(201);
    // What criteria find is not collected.
    let call = doctor.call("POST", "/Observation").header("If-None-Exist", "_id=a-lab");
    call.json(new.clone()).send().await.expect(200);
    let call = doctor.call("POST", "/Observation").header("If-None-Exist", "_id=nothing");
    call.json(new).send().await.expect(403);
    // What is there may be corrected and deleted. To bring it back, or to make it another's, is to collect.
    put(&doctor, "Observation/a-lab", &lab).await.expect(200);
    put(&doctor, "Observation/b-lab", &lab).await.expect(403);
    put(&doctor, "Observation/b-lab", &theirs).await.expect(200);
    // Of a Device an element tells whose it is.
    let pump = |of: &str| format!(r#""patient":{{"reference":"Patient/{of}"}},"lotNumber":"2""#);
    put(&doctor, "Device/a-pump", &pump("a")).await.expect(200);
    put(&doctor, "Device/b-pump", &pump("a")).await.expect(403);
    put(&doctor, "Device/b-pump", &pump("b")).await.expect(200);
    doctor.delete("/Observation/a-vital").await.expect(204);
    let vital = content("Observation/a-vital");
    put(&doctor, "Observation/a-vital", &vital).await.expect(403);
    server.client.get("/Observation/a-vital").await.expect(410);
    // The patient may.
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    put(&own, "Observation/a-vital", &vital).await.expect(201);
    server.stop().await;
}

fn provenance(target: &str, year: u32) -> String {
    format!(
        r#""target":[{{"reference":"{target}"}}],"recorded":"{year}-01-01T00:00:00Z","agent":[{{"who":{{"reference":"Practitioner/doc"}}}}]"#
    )
}

/// What is about a patient's resource is the patient's too, though it names another resource alone.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_what_is_a_patients_is_collected_and_corrected_of_the_patient() {
    let server = filled().await;
    let writer = || Token::new(&server, "user/*.cruds");
    let task = |of: &str| {
        format!(
            r#""status":"requested","intent":"order","focus":{{"reference":"Observation/{of}-lab"}}"#
        )
    };
    put(&server.client, "Task/a", &task("a")).await.expect(201);
    deny(&server, "collect", "").await;
    let (doctor, _stop) = doctor_with(&server, writer()).await;
    for (content, status) in [
        (fresh("Provenance", &provenance("Observation/a-lab", 2021)), 403),
        (fresh("Provenance", &provenance("Patient/a", 2021)), 403),
        (fresh("Provenance", &provenance("Observation/b-lab", 2021)), 201),
        (fresh("Task", &task("a")), 403),
        (fresh("Task", &task("b")), 201),
    ] {
        let of = if content.contains("Provenance") { "Provenance" } else { "Task" };
        doctor.post(&format!("/{of}"), content.clone()).await.expect(status);
        doctor.post("/", entry("POST", of, &content)).await.expect(match status {
            403 => 403,
            _ => 200,
        });
    }
    // What is there is corrected; to be about something else of the patient's, which it was not, is not.
    put(&doctor, "Provenance/a-lab", &provenance("Observation/a-lab", 2022)).await.expect(200);
    put(&doctor, "Provenance/a-lab", &provenance("Observation/a-vital", 2022)).await.expect(200);
    put(&doctor, "Provenance/b-lab", &provenance("Observation/a-lab", 2022)).await.expect(403);
    put(&doctor, "Task/a", &format!(r#"{},"description":"x""#, task("a"))).await.expect(200);

    deny(&server, "correct", "").await;
    let (doctor, _stop) = doctor_with(&server, writer()).await;
    doctor.get("/Task/a").await.expect(200);
    put(&doctor, "Task/a", &task("a")).await.expect(403);
    doctor.delete("/Task/a").await.expect(403);
    put(&doctor, "Provenance/a-lab", &provenance("Observation/a-lab", 2023)).await.expect(403);
    put(&doctor, "Provenance/b-lab", &provenance("Observation/b-lab", 2023)).await.expect(200);
    put(&doctor, "Task/nothing", &task("a")).await.expect(404);
    server.stop().await;
}

/// What comes into being by the same unit counts, before and after, and what is written by a header.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_together_is_told_by_what_is_made_with_it() {
    let server = filled().await;
    let provenances =
        r#","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Provenance"}]"#;
    deny(&server, "collect", provenances).await;
    let (doctor, _stop) = doctor_with(&server, Token::new(&server, "user/*.cruds")).await;
    let urn = "urn:uuid:11111111-1111-4111-8111-111111111111";
    for (of, status) in [("a", 403), ("b", 200)] {
        let lab = fresh("Observation", &content(&format!("Observation/{of}-lab")));
        let lab = format!(
            r#"{{"fullUrl":"{urn}","resource":{lab},"request":{{"method":"POST","url":"Observation"}}}}"#
        );
        let about = format!(
            r#"{{"resource":{},"request":{{"method":"POST","url":"Provenance"}}}}"#,
            fresh("Provenance", &provenance(urn, 2021))
        );
        for entries in [[&lab, &about], [&about, &lab]] {
            let [one, other] = entries;
            let bundle = format!(
                r#"{{"resourceType":"Bundle","type":"transaction","entry":[{one},{other}]}}"#
            );
            doctor.post("/", bundle).await.expect(status);
        }
        let header = r#"{"resourceType":"Provenance","recorded":"2024-01-01T00:00:00Z","agent":[{"who":{"display":"t"}}]}"#;
        let path = format!("Observation/{of}-lab");
        let call = doctor.call("PUT", &format!("/{path}")).header("X-Provenance", header);
        call.json(body(&path, &changed(&path, 7))).send().await.expect(status);
        put(&doctor, &path, &changed(&path, 8)).await.expect(200);
    }
    let count = server.client.get("/Observation?_summary=count").await.expect(200);
    assert_eq!(count.at("total").as_deref(), Some("5"));
    server.stop().await;
}

/// A Device is in no compartment, and what is made with it is told by it all the same.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_together_is_told_by_a_device_made_with_it() {
    let server = filled().await;
    let metrics =
        r#","class":[{"system":"http://hl7.org/fhir/resource-types","code":"DeviceMetric"}]"#;
    deny(&server, "collect", metrics).await;
    let (doctor, _stop) = doctor_with(&server, Token::new(&server, "user/*.cruds")).await;
    let urn = "urn:uuid:11111111-1111-4111-8111-111111111111";
    let metric = format!(
        r#""type":{{"text":"t"}},"category":"measurement","source":{{"reference":"{urn}"}}"#
    );
    let metric = format!(
        r#"{{"resource":{},"request":{{"method":"POST","url":"DeviceMetric"}}}}"#,
        fresh("DeviceMetric", &metric)
    );
    for (of, status) in [("a", 403), ("b", 200)] {
        let device = format!(
            r#"{{"fullUrl":"{urn}","resource":{},"request":{{"method":"POST","url":"Device"}}}}"#,
            device_of(of)
        );
        for entries in [[&device, &metric], [&metric, &device]] {
            let [one, other] = entries;
            let bundle = format!(
                r#"{{"resourceType":"Bundle","type":"transaction","entry":[{one},{other}]}}"#
            );
            doctor.post("/", bundle).await.expect(status);
        }
        doctor.post("/", entry("POST", "Device", &device_of(of))).await.expect(200);
    }
    server.stop().await;
}

fn device_of(of: &str) -> String {
    fresh("Device", &content(&format!("Device/{of}-pump")))
}

/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn a_denial_of_writing_takes_what_it_denies_and_no_administration() {
    let server = filled().await;
    let lab = content("Observation/b-lab");
    let label = r#""meta":{"security":[{"code":"PSY"}]},"#;
    for (path, of) in
        [("Observation/a-lab", content("Observation/a-lab")), ("Observation/b-lab", lab)]
    {
        put(&server.client, path, &format!("{label}{of}")).await.expect(200);
    }
    for (action, status) in [("collect", 200), ("correct", 200), ("access", 403)] {
        deny(&server, action, "").await;
        let token =
            Token::new(&server, "user/*.cruds").user("Practitioner/doc", &["administrator"]);
        let (admin, _stop) = token.with_what_is_stored().await.client().await;
        admin.get("/$reindex").await.expect(status);
        if action == "correct" {
            put(&admin, "Observation/b-lab", &content("Observation/b-lab")).await.expect(200);
            put(&admin, "Observation/a-lab", &content("Observation/a-lab")).await.expect(403);
        }
    }
    server.stop().await;
}
