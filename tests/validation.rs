//! What writes are held to, as the operator sets it: levels for each interaction, policies for each
//! profile, what clients may ask for, and definitions that take part as soon as they are stored.
//!
//! Covers: rest 0.9, rest 1.92, rest 7.8, rest 7.13, rest 7.14, rest 7.17.

use kiln::fhir::json::Value;

use crate::harness::client::{Answer, Client};
use crate::harness::process::Process;
use crate::harness::server::TestServer;

const ENFORCED: (&str, &str) = ("validation.profiles", "enforce");
const BP: &str = "http://hl7.org/fhir/StructureDefinition/bp";

/// A Patient whose gender no value set has.
fn odd(id: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"robot"}}"#)
}

/// An Observation that claims `profile` and is no blood pressure.
fn claiming(profile: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","meta":{{"profile":["{profile}"]}},"status":"final",
        "code":{{"text":"x"}}}}"#
    )
}

async fn preferring(client: &Client, url: &str, prefer: &str, body: String) -> Answer {
    client.call("POST", url).header("Prefer", prefer).json(body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_interaction_has_a_level_of_its_own_and_the_form_is_always_checked() {
    let server = TestServer::start_with(&[
        ("validation.level", "base"),
        ("validation.create", "off"),
        ("validation.patch", "profiles"),
        ENFORCED,
    ])
    .await;
    let client = &server.client;
    client.post("/Patient", odd("x")).await.expect(201);
    client.post("/Patient", r#"{"resourceType":"Patient","nope":1}"#).await.expect(400);
    client.put("/Patient/a", odd("a")).await.expect(422);
    client.post("/Observation", claiming(BP)).await.expect(201);
    let stored = claiming(BP).replace(r#""status""#, r#""id":"o","status""#);
    client.put("/Observation/o", stored).await.expect(201);
    let patch = r#"[{"op":"add","path":"/language","value":"en"}]"#;
    let call = client.call("PATCH", "/Observation/o");
    let call = call.header("Content-Type", "application/json-patch+json").body(patch);
    call.send().await.expect(422);
    // Entries are what they stand for.
    let entry = |method: &str, url: &str| {
        let body = odd("b");
        format!(r#"{{"resource":{body},"request":{{"method":"{method}","url":"{url}"}}}}"#)
    };
    for (entries, status) in [(entry("POST", "Patient"), 200), (entry("PUT", "Patient/b"), 422)] {
        let body =
            format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
        client.post("/", body).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_profile_is_enforced_warned_about_or_ignored() {
    let exceptions = format!("{BP}=warn,http://hl7.org/fhir/StructureDefinition/bmi=ignore");
    let server = TestServer::start_with(&[
        ("validation.exceptions", &exceptions),
        ("validation.unknown_profiles", "enforce"),
        ("validation.implicit_rules", "enforce"),
        ENFORCED,
    ])
    .await;
    let client = &server.client;
    let of = |name: &str| claiming(&format!("http://hl7.org/fhir/StructureDefinition/{name}"));
    client.post("/Observation", of("bodyheight")).await.expect(422);
    client.post("/Observation", of("bmi")).await.expect(201);
    let outcome = "return=OperationOutcome";
    let warned = preferring(client, "/Observation", outcome, of("bp")).await.expect(201);
    assert!(warned.text().contains("\"warning\""), "{warned:?}");
    let ignored = preferring(client, "/Observation", outcome, of("bmi")).await.expect(201);
    assert!(!ignored.text().contains("StructureDefinition/bmi"), "{ignored:?}");
    client.post("/Observation", claiming("http://example.org/unheard-of")).await.expect(422);
    let rules = r#"{"resourceType":"Patient","implicitRules":"http://example.org/rules"}"#;
    let refused = client.post("/Patient", rules).await.expect(422);
    assert_eq!(refused.at("issue[0].expression[0]").as_deref(), Some("Patient.implicitRules"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_ask_for_less_only_where_the_operator_lets_it() {
    let lets = [("validation.clients_may_lower", "true"), ("validation.level", "base"), ENFORCED];
    for (settings, lowered) in [(&lets[..], 201), (&lets[1..], 422)] {
        let server = TestServer::start_with(settings).await;
        let client = &server.client;
        preferring(client, "/Patient", "validation=off", odd("x")).await.expect(lowered);
        preferring(client, "/Patient", "validation=base", odd("x")).await.expect(422);
        // At level base nobody looks at claims, unless the client wants it.
        client.post("/Observation", claiming(BP)).await.expect(201);
        let more = "validation=profiles";
        preferring(client, "/Observation", more, claiming(BP)).await.expect(422);
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"resource":{},"request":{{"method":"POST","url":"Observation"}}}}]}}"#,
            claiming(BP)
        );
        let answer = preferring(client, "/", more, bundle).await.expect(200);
        let status = answer.at("entry[0].response.status");
        assert_eq!(status.as_deref(), Some("422 Unprocessable Entity"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_set_counts_for_writes_as_soon_as_it_is_stored() {
    let server = TestServer::start_with(&[("validation.level", "profiles"), ENFORCED]).await;
    let client = &server.client;
    let profile = r#"{"resourceType":"StructureDefinition","id":"p","url":"http://example.org/p",
        "name":"P","status":"active","kind":"resource","abstract":false,"type":"Patient",
        "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Patient","derivation":"constraint",
        "differential":{"element":[{"id":"Patient","path":"Patient"},
        {"id":"Patient.maritalStatus","path":"Patient.maritalStatus",
        "binding":{"strength":"required","valueSet":"http://example.org/states"}}]}}"#;
    client.put("/StructureDefinition/p", profile).await.expect(201);
    let value_set = |code: &str| {
        format!(
            r#"{{"resourceType":"ValueSet","id":"g","status":"active","url":"http://example.org/states",
            "compose":{{"include":[{{"system":"http://example.org/codes",
            "concept":[{{"code":"{code}"}}]}}]}}}}"#
        )
    };
    let patient = r#"{"resourceType":"Patient","meta":{"profile":["http://example.org/p"]},
        "maritalStatus":{"coding":[{"system":"http://example.org/codes","code":"robot"}]}}"#;
    for (code, status) in [("robot", 201), ("other", 422), ("robot", 201)] {
        let stored = client.put("/ValueSet/g", value_set(code)).await;
        assert!(stored.status < 300, "{stored:?}");
        client.post("/Patient", patient).await.expect(status);
    }
    // One that FHIR has defined itself stays as it is.
    let own = value_set("robot")
        .replace("http://example.org/states", "http://hl7.org/fhir/ValueSet/administrative-gender");
    client.put("/ValueSet/g", own).await.expect(200);
    client.post("/Patient", odd("x")).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_claimed_later_is_held_to_as_well() {
    let server = TestServer::start_with(&[ENFORCED]).await;
    let client = &server.client;
    let plain = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"}}"#;
    client.put("/Observation/o", plain).await.expect(201);
    let meta = |meta: &str| {
        format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"meta","valueMeta":{meta}}}]}}"#
        )
    };
    let claim = meta(&format!(r#"{{"profile":["{BP}"]}}"#));
    for url in ["/Observation/o/$meta-add", "/Observation/o/_history/1/$meta-add"] {
        client.post(url, claim.clone()).await.expect(422);
    }
    let tag = meta(r#"{"tag":[{"code":"t"}]}"#);
    let tagged = client.post("/Observation/o/$meta-add", tag).await.expect(200);
    assert!(!tagged.text().contains(BP), "{tagged:?}");
    client.post("/Observation/o/$meta-delete", claim).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_checks_as_much_as_it_is_told() {
    let process = Process::start().await;
    let file = process.data_dir.join("odd.ndjson");
    std::fs::write(&file, odd("x") + "\n").unwrap();
    let file = file.to_str().unwrap();
    for (level, is_loaded) in [("base", false), ("profiles", false), ("off", true)] {
        let output = process.beside("import", &[file, "--validate", level]);
        assert_eq!(output.status.success(), is_loaded, "{level}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.contains("Patient.gender"), !is_loaded, "{level}: {said}");
    }
    process.client.get("/Patient/x").await.expect(200);
    let output = process.beside("import", &[file, "--validate", "all"]);
    assert!(!output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn must_support_is_told_where_it_is_asked_for() {
    let server = TestServer::start().await;
    let client = &server.client;
    let vitals = "http://hl7.org/fhir/StructureDefinition/vitalsigns";
    let url = |flag: &str| format!("/Observation/$validate?profile={vitals}&mustSupport={flag}");
    let body = claiming(BP);
    let told = |answer: &Answer| answer.text().contains("must be supported");
    assert!(told(&client.post(&url("true"), body.clone()).await.expect(200)));
    assert!(!told(&client.post(&url("false"), body.clone()).await.expect(200)));
    client.post(&url("maybe"), body).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_of_a_transaction_is_judged_and_nothing_is_stored() {
    let server = TestServer::start().await;
    let entries: Vec<String> = (0..20)
        .map(|at| {
            let body = if at % 10 == 7 { odd("x") } else { r#"{"resourceType":"Patient"}"#.into() };
            format!(r#"{{"resource":{body},"request":{{"method":"POST","url":"Patient"}}}}"#)
        })
        .collect();
    let body = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
        entries.join(",")
    );
    let refused = server.client.post("/", body).await.expect(422);
    let outcome = refused.json();
    let places: Vec<_> = outcome
        .items_at("issue")
        .iter()
        .filter_map(|issue| issue.items_at("expression").first().and_then(Value::as_str))
        .collect();
    let place = |at: u32| format!("Bundle.entry[{at}].resource.gender");
    assert_eq!(places, [place(7), place(17)]);
    let found = server.client.get("/Patient").await.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("0"));
}

/// What `$validate` says, an issue a line.
fn said(answer: &Answer) -> String {
    let outcome = answer.json();
    let line = |issue: &Value<'_>| {
        let text = |name| issue.str_at(name).unwrap_or_default().to_owned();
        format!("{} {}\n", text("severity"), text("diagnostics"))
    };
    outcome.items_at("issue").iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_of_a_base_type_that_a_client_stores_counts_for_nothing() {
    let server = TestServer::start().await;
    let client = &server.client;
    let definition = r#"{"resourceType":"StructureDefinition","id":"x","version":"9","name":"P",
        "url":"http://hl7.org/fhir/StructureDefinition/Patient","status":"active","kind":"resource",
        "abstract":false,"type":"Patient","derivation":"specialization",
        "baseDefinition":"http://hl7.org/fhir/StructureDefinition/DomainResource",
        "snapshot":{"element":[{"id":"Patient","path":"Patient","min":0,"max":"*",
        "definition":"d","base":{"path":"Patient","min":0,"max":"*"}}]}}"#;
    client.put("/StructureDefinition/x", definition).await.expect(201);
    client.post("/Patient", odd("x")).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_told_with_what_its_content_breaks() {
    let server = TestServer::start().await;
    let body = r#"{"resourceType":"Patient","nope":1,"gender":"robot"}"#;
    let told = said(&server.client.post("/Patient/$validate", body).await.expect(200));
    for part in ["nope", "Patient.gender"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_is_told_everything_too() {
    let server = TestServer::start().await;
    let names: Vec<String> = (0..4_000).map(|at| format!(r#"{{"family":"n{at}"}}"#)).collect();
    let body = format!(
        r#"{{"resourceType":"Patient","nope":1,"gender":"robot","name":[{}],"contact":[{{"gender":"male"}}]}}"#,
        names.join(",")
    );
    let answer = server.client.post("/Patient", body).await.expect(400);
    let told = said(&answer);
    for part in ["nope", "Patient.gender", "pat-1"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // There is an end to it all the same.
    let odd: Vec<&str> = vec![r#"{"gender":"male","nope":1}"#; 4_000];
    let body = format!(r#"{{"resourceType":"Patient","contact":[{}]}}"#, odd.join(","));
    let answer = server.client.post("/Patient", body).await.expect(400);
    assert_eq!(answer.json().items_at("issue").len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_unknown_systems_stop_a_write_where_they_are_required_and_the_operator_says_so() {
    let binding = |name: &str, strength: &str| {
        format!(
            r#"{{"resourceType":"StructureDefinition","id":"{name}","url":"http://example.org/{name}",
            "name":"P","status":"active","kind":"resource","abstract":false,"type":"Patient",
            "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Patient","derivation":"constraint",
            "differential":{{"element":[{{"id":"Patient","path":"Patient"}},
            {{"id":"Patient.maritalStatus","path":"Patient.maritalStatus",
            "binding":{{"strength":"{strength}","valueSet":"http://example.org/all"}}}}]}}}}"#
        )
    };
    let all = r#"{"resourceType":"ValueSet","id":"all","url":"http://example.org/all","status":"active",
        "compose":{"include":[{"system":"http://example.org/unheard-of"}]}}"#;
    let patient = |profile: &str, system: &str| {
        format!(
            r#"{{"resourceType":"Patient","meta":{{"profile":["http://example.org/{profile}"]}},
            "maritalStatus":{{"coding":[{{"system":"http://example.org/{system}","code":"x"}}]}}}}"#
        )
    };
    for (policy, severity, status) in
        [("ignore", "", 201), ("warn", "warning", 201), ("enforce", "error", 422)]
    {
        let settings = [("validation.unknown_code_systems", policy), ENFORCED];
        let server = TestServer::start_with(&settings).await;
        let client = &server.client;
        client.put("/ValueSet/all", all).await.expect(201);
        for strength in ["required", "extensible", "preferred"] {
            let url = format!("/StructureDefinition/{strength}");
            client.put(&url, binding(strength, strength)).await.expect(201);
        }
        let outcome = "return=OperationOutcome";
        let post = async |profile: &str, system: &str| {
            preferring(client, "/Patient", outcome, patient(profile, system)).await
        };
        let told = said(&post("required", "unheard-of").await.expect(status));
        let line = told.lines().find(|line| line.contains("example.org/all"));
        let expected = if severity.is_empty() { "information" } else { severity };
        assert!(line.is_some_and(|line| line.starts_with(expected)), "{policy}: {told}");
        for strength in ["extensible", "preferred"] {
            let told = said(&post(strength, "unheard-of").await.expect(201));
            assert!(
                told.contains("example.org/all") && !told.contains("error"),
                "{policy}: {told}"
            );
        }
        // What is not in the value set is outside, known or not.
        post("required", "another").await.expect(422);
        post("extensible", "another").await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_thinks_of_claims_as_its_interaction_does() {
    let warned = [("validation.profiles", "warn"), ("validation.unknown_profiles", "enforce")];
    let server = TestServer::start_with(&warned).await;
    let client = &server.client;
    let unknown = claiming("http://example.org/unheard-of");
    client.post("/Observation", claiming(BP)).await.expect(201);
    client.post("/Observation", unknown.clone()).await.expect(422);
    for (mode, body, severity) in [
        ("", claiming(BP), "error"),
        ("?mode=create", claiming(BP), "warning"),
        ("?mode=create", unknown, "error"),
    ] {
        let url = format!("/Observation/$validate{mode}");
        let told = said(&client.post(&url, body.clone()).await.expect(200));
        assert_eq!(told.contains("error"), severity == "error", "{mode} {body}: {told}");
    }
}
