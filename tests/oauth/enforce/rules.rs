//! Rules that the operator sets: between resources, where a conflict with what is hidden says no more than
//! that there is one, and of what is asked for by name.

use kiln::app::server::Server;

use super::super::browser::{server_with, store, user};
use super::super::emergency::{read, token_for};
use crate::harness::database::Database;
use crate::harness::grants::Token;
use crate::harness::server::{TestServer, config};

fn observation(id: &str, patient: &str, number: &str) -> String {
    let id = if id.is_empty() { String::new() } else { format!(r#""id":"{id}","#) };
    format!(
        r#"{{"resourceType":"Observation",{id}"status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{patient}"}},"identifier":[{{"system":"urn:n","value":"{number}"}}]}}"#
    )
}

/// Covers: security X13, W6.
#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_that_is_taken_by_what_is_hidden_names_nothing() {
    let rule = ("integrity.unique_identifiers", "Observation|urn:n");
    let server = TestServer::start_with(&[rule]).await;
    for (id, patient, number) in [("a-one", "a", "1"), ("b-two", "b", "2")] {
        let url = format!("/Observation/{id}");
        server.client.put(&url, observation(id, patient, number)).await.expect(201);
    }
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let made = observation("", "a", "2");
    let entry =
        format!(r#"{{"resource":{made},"request":{{"method":"POST","url":"Observation"}}}}"#);
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entry}]}}"#);
    let changed = observation("a-one", "a", "2");
    for answer in [
        own.post("/Observation", made).await,
        own.put("/Observation/a-one", changed).await,
        own.post("/", bundle).await,
    ] {
        let answer = answer.expect(409);
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("duplicate"), "{answer:?}");
        for told in ["b-two", "Patient/b", "urn:n|2"] {
            assert!(!answer.text().contains(told), "{answer:?}");
        }
        for name in ["location", "etag", "last-modified"] {
            assert_eq!(answer.header(name), None, "{answer:?}");
        }
    }
    server.stop().await;
}

/// Covers: security L11.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_wants_asked_for_by_name_no_wildcard_means() {
    let server = server_with(&[("auth.by_name", "Condition,Observation")]).await;
    let patient = r#"{"resourceType":"Patient","id":"a"}"#;
    store(&server, &[patient, &observation("a-lab", "a", "1")]).await;
    user(&server, "pat", "patient", Some("Patient/a")).await;
    for (scopes, status) in [("patient/*.rs", 403), ("patient/*.rs patient/Observation.rs", 200)] {
        let token = token_for(&server, "pat", scopes, Some("a")).await;
        read(&server, &token, "/Patient/a").await.expect(200);
        for url in ["/Observation/a-lab", "/Observation", "/Observation/a-lab/_history/1"] {
            read(&server, &token, url).await.expect(status);
        }
        let along = read(&server, &token, "/Patient?_revinclude=Observation:subject").await;
        assert_eq!(along.text().contains("a-lab"), status == 200, "{scopes}: {along:?}");
        read(&server, &token, "/Condition").await.expect(403);
    }
    server.stop().await;
    let database = Database::migrated().await;
    let unfit = [("auth.mode", "smart"), ("auth.by_name", "Observation,Nope")];
    let started = Box::pin(Server::start(config(&database, &unfit))).await;
    let error = started.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("auth.by_name") && error.contains("Nope"), "{error}");
}
