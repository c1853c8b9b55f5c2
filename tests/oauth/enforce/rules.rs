//! Rules between resources: a conflict with what is hidden says no more than that there is one.

use crate::harness::grants::Token;
use crate::harness::server::TestServer;

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
