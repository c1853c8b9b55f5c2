//! Exports by services: what their scopes let them have, and what is left of it later.

use kiln::app::server::Server;
use kiln::clock::{Clock as _, SystemClock};
use kiln::store::oauth::{client, token};

use super::browser::{register, server_with, store};
use super::tokens::client::{SECRET, granted, public, send, service, text, tokens};
use crate::export::Exporter;
use crate::harness::grants::Token;
use crate::harness::server::{TestServer, config};

/// What is stored; ids begin with whose it is.
const STORED: &[&str] = &[
    r#"{"resourceType":"Patient","id":"a","active":true}"#,
    r#"{"resourceType":"Patient","id":"b","active":true}"#,
    r#"{"resourceType":"Observation","id":"a-k","status":"final","code":{"coding":[{"system":"urn:c","code":"k"}]},"subject":{"reference":"Patient/a"}}"#,
    r#"{"resourceType":"Observation","id":"a-p","status":"final","code":{"coding":[{"system":"urn:c","code":"p"}]},"subject":{"reference":"Patient/a"}}"#,
    r#"{"resourceType":"Observation","id":"b-k","status":"final","code":{"coding":[{"system":"urn:c","code":"k"}]},"subject":{"reference":"Patient/b"}}"#,
    r#"{"resourceType":"Practitioner","id":"doc","active":true}"#,
    r#"{"resourceType":"Group","id":"g","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/a"}}]}"#,
];

const ALL: &str = "system/*.rs";

async fn filled(settings: &[(&str, &str)]) -> TestServer {
    let server = server_with(settings).await;
    store(&server, STORED).await;
    register(&server, &service("loader", ALL)).await;
    register(&server, &service("other", ALL)).await;
    server
}

/// The access token of a service.
async fn access(server: &TestServer, client: &str, scopes: &str) -> String {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_secret", SECRET),
        ("scope", scopes),
    ];
    text(&send(server, "/auth/token", &fields).await.expect(200), "access_token")
}

async fn exporter<'s>(server: &'s TestServer, client: &str, scopes: &str) -> Exporter<'s> {
    let token = access(server, client, scopes).await;
    Exporter::with_token(&server.client, &token)
}

/// Covers: rest 6.58.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_nothing_of_an_export() {
    let server = filled(&[]).await;
    let loader = exporter(&server, "loader", ALL).await;
    let export = loader.export("/Patient/$export").await;
    let told = export.manifest.json();
    assert_eq!(
        told.get("requiresAccessToken").and_then(kiln::fhir::json::Value::as_bool),
        Some(true)
    );
    let nobody = Exporter::new(&server.client);
    for url in ["/$export", "/Patient/$export", "/Group/g/$export"] {
        nobody.ask(url).await.expect(401);
    }
    let file = told.items_at("output")[0].str_at("url").unwrap().to_owned();
    for (method, url) in [("GET", &export.place), ("DELETE", &export.place), ("GET", &file)] {
        server.client.call(method, url).send().await.expect(401);
    }
    loader.call("GET", &file).send().await.expect(200);
    server.stop().await;
}

/// Covers: security V34.
/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn whole_types_of_the_system_are_exported_and_nothing_else() {
    let server = filled(&[]).await;
    let engine_side = [
        Token::new(&server, "patient/*.rs").patient("a"),
        Token::new(&server, "user/*.cruds").user("Practitioner/doc", &["administrator"]),
        Token::new(&server, "system/*.rs").user("Practitioner/doc", &["administrator"]),
        Token::new(&server, "system/Patient.rs?active=true"),
        Token::new(&server, "system/Patient.r system/Observation.s"),
        Token::new(&server, "system/Patient.cud"),
    ];
    for token in engine_side {
        let (client, _stop) = token.client().await;
        for url in ["/$export", "/Patient/$export", "/Group/g/$export", "/$export?_type=Patient"] {
            Exporter::new(&client).ask(url).await.expect(403);
        }
    }
    // A token of a patient from the authorization server itself.
    register(&server, &public("app", "patient/*.rs launch/patient")).await;
    let grant = granted("app", "patient/*.rs", None);
    let own = text(&tokens(&server, &grant).await, "access_token");
    Exporter::with_token(&server.client, &own).ask("/Patient/$export").await.expect(403);
    for (scopes, url, status) in [
        ("system/Patient.rs", "/$export?_type=Patient", 202),
        ("system/Patient.rs", "/$export?_type=Patient,Observation", 403),
        ("system/Patient.rs", "/Patient/$export", 202),
        ("system/Observation.rs", "/Patient/$export", 403),
        ("system/Observation.rs", "/$export", 202),
        ("system/Patient.rs", "/Group/g/$export", 403),
        ("system/Group.rs", "/Group/g/$export", 403),
        ("system/Group.rs system/Patient.rs", "/Group/g/$export", 202),
        ("system/Patient.read", "/$export", 202),
        (
            "system/Patient.rs",
            "/$export?_type=Patient&_typeFilter=Patient%3F_has:Observation:subject:code%3Dk",
            403,
        ),
        (
            "system/Patient.rs",
            "/$export?_type=Patient&includeAssociatedData=RelevantProvenanceResources",
            403,
        ),
    ] {
        let loader = exporter(&server, "loader", scopes).await;
        let answer = loader.ask(url).await;
        assert_eq!(answer.status, status, "{scopes} {url}: {answer:?}");
        if let Some(place) = answer.header("content-location") {
            loader.call("DELETE", &place).send().await.expect(202);
        }
    }
    // What is left out is what is not granted.
    let some = exporter(&server, "loader", "system/Patient.rs system/Observation.rs").await;
    let export = some.export("/$export").await;
    let all = ["Observation/a-k", "Observation/a-p", "Observation/b-k", "Patient/a", "Patient/b"];
    assert_eq!(export.names(), all);
    // A criterion narrows nothing where the whole type is granted too, and exports nothing by itself.
    let both = "system/Patient.rs system/Observation.rs?code=k";
    assert_eq!(exporter(&server, "loader", both).await.export("/$export").await.names(), all[3..]);
    server.stop().await;
}

/// Covers: security V34.
/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_its_clients_alone_and_as_far_as_that_is_still_granted() {
    let server = filled(&[]).await;
    let loader = exporter(&server, "loader", "system/Patient.rs system/Observation.rs").await;
    let export = loader.export("/$export").await;
    let file = format!("{}/0.ndjson", export.place);
    // Another client finds nothing, under whatever name.
    let other = exporter(&server, "other", ALL).await;
    for (method, url) in [("GET", &export.place), ("GET", &file), ("DELETE", &export.place)] {
        let answer = other.call(method, url).send().await.expect(404);
        assert_eq!(answer.at("resourceType").as_deref(), Some("OperationOutcome"));
    }
    // The same client with less may not look at more.
    let less = exporter(&server, "loader", "system/Patient.rs").await;
    for (method, url) in [("GET", &export.place), ("GET", &file), ("DELETE", &export.place)] {
        less.call(method, url).send().await.expect(403);
    }
    // Nor at what it may have no more by its level or what comes along.
    let url = "/Group/g/$export?_type=Patient&includeAssociatedData=RelevantProvenanceResources";
    let of_group = exporter(&server, "loader", ALL).await.export(url).await;
    let file_of_group = format!("{}/0.ndjson", of_group.place);
    for (scopes, status) in [
        ("system/Patient.rs system/Group.rs", 403),
        ("system/Patient.rs system/Provenance.rs", 403),
        ("system/Patient.rs system/Group.rs system/Provenance.rs", 200),
    ] {
        let loader = exporter(&server, "loader", scopes).await;
        let answer = loader.call("GET", &file_of_group).send().await;
        assert_eq!(answer.status, status, "{scopes}: {answer:?}");
    }
    // With another token for the same it may.
    let again = exporter(&server, "loader", "system/Patient.rs system/Observation.rs").await;
    again.call("GET", &file).send().await.expect(200);
    again.call("DELETE", &export.place).send().await.expect(202);
    server.stop().await;
}

/// Covers in part: security E15.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_client_that_is_turned_away_is_not_done() {
    let server = filled(&[("export.workers", "0")]).await;
    register(&server, &service("narrowed", ALL)).await;
    let places = [
        exporter(&server, "loader", ALL).await.place("/$export").await,
        exporter(&server, "other", ALL).await.place("/$export").await,
        exporter(&server, "narrowed", ALL).await.place("/$export").await,
    ];
    let now = SystemClock.now();
    assert!(client::disable(server.store(), "loader", now).await.unwrap());
    let revoked = "UPDATE oauth_token SET revoked_at = now() \
        WHERE id = (SELECT token FROM export_job WHERE client = 'other')";
    server.database.run(revoked).await;
    let narrowed = "UPDATE oauth_client SET scopes = 'system/Patient.rs' WHERE id = 'narrowed'";
    server.database.run(narrowed).await;
    let worker = [("auth.mode", "smart"), ("export.workers", "1")];
    let worker = Server::start(config(&server.database, &worker)).await.unwrap();
    let began = std::time::Instant::now();
    let failed = "SELECT count(*) FROM export_job WHERE state = 'failed' \
        AND failure = 'no scope covers this interaction'";
    while server.database.number(failed).await < 3 {
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "{places:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(server.database.number("SELECT count(*) FROM export_part").await, 0);
    let ended = "SELECT count(*) FROM ledger WHERE interaction = 132 AND outcome = 4";
    assert_eq!(server.database.number(ended).await, 3);
    assert!(!token::is_revoked(server.store(), uuid::Uuid::nil()).await.unwrap());
    worker.stop().await;
    server.stop().await;
}

/// What a patient denies to everybody is in no file, and what is deleted of it is not told either.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_denies_is_in_no_file() {
    let server = filled(&[]).await;
    let all = ["Observation/a-k", "Observation/a-p", "Observation/b-k"];
    let loader = exporter(&server, "loader", ALL).await;
    let url = "/$export?_type=Observation";
    let before = loader.export(url).await;
    assert_eq!(before.names(), all);
    let deny = r#"{"resourceType":"Consent","id":"c","status":"active","scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"text":"privacy"}],"patient":{"reference":"Patient/a"},"policyRule":{"text":"ours"},"provision":{"type":"permit","provision":[{"type":"deny","code":[{"coding":[{"system":"urn:c","code":"k"}]}]}]}}"#;
    store(&server, &[deny]).await;
    for (url, left) in [
        (url, &all[1..]),
        ("/Patient/$export?_type=Observation", &all[1..]),
        ("/Group/g/$export?_type=Observation", &all[1..2]),
        ("/$export?_type=Observation&_typeFilter=Observation%3Fcode%3Dk", &all[2..]),
    ] {
        assert_eq!(loader.export(url).await.names(), left, "{url}");
    }
    let time = before.manifest.at("transactionTime").unwrap();
    let engine = server.engine().clone();
    let sink = kiln::app::sink::EngineSink::new(engine, server.store().clone(), "test");
    let gone = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"Observation/a-k"}},{"request":{"method":"DELETE","url":"Observation/b-k"}}]}"#;
    Box::pin(sink.load_transaction(gone.into())).await.unwrap();
    let after = loader.export(&format!("{url}&_since={time}")).await;
    assert_eq!(after.names(), [""; 0]);
    assert!(after.deleted.len() == 1 && after.deleted[0].contains("b-k"), "{:?}", after.deleted);
    assert!(!after.deleted[0].contains("a-k"), "{:?}", after.deleted);
    server.stop().await;
}

/// Nor what is in no compartment and names the patient; and a Group goes with who denies everything.
///
/// Covers: security S4.
#[tokio::test(flavor = "multi_thread")]
async fn what_names_who_denies_is_in_no_file() {
    let server = filled(&[]).await;
    let bundle = |id: &str| {
        format!(
            r#"{{"resourceType":"Bundle","id":"{id}","type":"collection","entry":[{{"fullUrl":"urn:uuid:11111111-1111-4111-8111-111111111111","resource":{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{id}"}}}}}}]}}"#
        )
    };
    let task = |id: &str| {
        format!(
            r#"{{"resourceType":"Task","id":"{id}","status":"requested","intent":"order","focus":{{"reference":"Observation/{id}-k"}}}}"#
        )
    };
    let group = r#"{"resourceType":"Group","id":"h","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/b"}}]}"#;
    let (bundles, tasks) = (["a", "b"].map(bundle), ["a", "b"].map(task));
    let all = [&bundles[0], &bundles[1], &tasks[0], &tasks[1]].map(String::as_str);
    store(&server, &all).await;
    store(&server, &[group]).await;
    let loader = exporter(&server, "loader", ALL).await;
    let url = "/$export?_type=Bundle,Group,Task";
    let before = loader.export(url).await;
    let names = ["Bundle/a", "Bundle/b", "Group/g", "Group/h", "Task/a", "Task/b"];
    assert_eq!(before.names(), names);
    let deny = |provision: &str| {
        format!(
            r#"{{"resourceType":"Consent","id":"c","status":"active","scope":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}}]}},"category":[{{"text":"privacy"}}],"patient":{{"reference":"Patient/a"}},"policyRule":{{"text":"ours"}},"provision":{provision}}}"#
        )
    };
    let observations = r#"{"type":"permit","provision":[{"type":"deny","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Observation"}]}]}"#;
    store(&server, &[&deny(observations)]).await;
    assert_eq!(loader.export(url).await.names(), &names[1..]);
    store(&server, &[&deny(r#"{"type":"deny"}"#)]).await;
    assert_eq!(loader.export(url).await.names(), ["Bundle/b", "Group/h", "Task/b"]);
    // What is remembered of a token counts for a few seconds; a new one is asked of anew.
    exporter(&server, "loader", ALL).await.ask("/Group/g/$export").await.expect(404);
    // What was deleted of it is not told.
    let time = before.manifest.at("transactionTime").unwrap();
    let engine = server.engine().clone();
    let sink = kiln::app::sink::EngineSink::new(engine, server.store().clone(), "test");
    let gone = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"Task/a"}},{"request":{"method":"DELETE","url":"Task/b"}}]}"#;
    Box::pin(sink.load_transaction(gone.into())).await.unwrap();
    let after = loader.export(&format!("/$export?_type=Task&_since={time}")).await;
    assert!(after.deleted.len() == 1 && after.deleted[0].contains("Task/b"), "{:?}", after.deleted);
    assert!(!after.deleted[0].contains("Task/a"), "{:?}", after.deleted);
    server.stop().await;
}
