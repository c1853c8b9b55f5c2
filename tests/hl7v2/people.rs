//! What people do with messages over HTTP.

use crate::harness::endpoint::endpoint_of;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::feed::{Feed, adt, value};

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

/// v2 P8: messages are found by what is known of them, and shown with text, issues, effects, answer.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_and_shown() {
    let feed = Feed::start().await;
    let client = &feed.server.client;
    let mut sender = feed.sender().await;
    let message = adt("A01", "c1", "77");
    let ack = sender.send(&message).await;
    sender.send(&adt("Z02", "c2", "78")).await;
    let url = |rest: &str| format!("{}/v2/messages{rest}", client.root());
    for (query, expected) in [
        ("", "c2 c1"),
        ("?state=processed", "c1"),
        ("?state=failed", "c2"),
        ("?type=ADT", "c2 c1"),
        ("?type=ADT^A01", "c1"),
        ("?event=Z02", "c2"),
        ("?site=LAB%7CSTM", "c2 c1"),
        ("?site=OTHER", ""),
        ("?control-id=c1", "c1"),
        ("?since=2000-01-01", "c2 c1"),
        ("?until=2000-01-01", ""),
        ("?_count=1", "c2"),
    ] {
        let found = client.call("GET", &url(query)).send().await;
        assert_eq!(found.status, 200, "{query}");
        let body = text(&found.body);
        let ids = body.split("\"controlId\":\"").skip(1);
        let ids: Vec<_> = ids.map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(ids.join(" "), expected, "{query}: {body}");
    }
    for query in ["?state=x", "?since=x", "?_count=x", "?before=x", "?nothing=1"] {
        client.call("GET", &url(query)).send().await.expect(400);
    }
    let list = text(&client.call("GET", &url("?control-id=c1")).send().await.body);
    let id = list.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let raw = client.call("GET", &url(&format!("/{id}"))).header("Accept", "application/hl7-v2");
    assert_eq!(text(&raw.send().await.body), message);
    let shown = text(&client.call("GET", &url(&format!("/{id}"))).send().await.body);
    for part in
        ["77^^^STM^MR", "\"acknowledgement\":", "\"action\":\"create\",\"resource\":\"Patient/"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(value(&ack, "MSA-1"), "AA");
    let patient = shown.split("\"resource\":\"Patient/").nth(1).unwrap().split('/').next().unwrap();
    let of_patient = client.call("GET", &url(&format!("?patient={patient}"))).send().await;
    assert_eq!(text(&of_patient.body).matches("controlId").count(), 1);
    client.call("GET", &url("/nothing")).send().await.expect(404);
    client.call("POST", &url("/nothing/$replay")).send().await.expect(404);
    // What had its effect may be worked on again; what waits may not be set aside twice.
    client.call("POST", &url(&format!("/{id}/$discard"))).body("why").send().await.expect(409);
}

/// v2 P8: a message over HTTP may have as many bytes as one over MLLP, whatever other bodies may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_http_has_the_bound_of_messages() {
    let settings = [("http.max_body_bytes", "20000"), ("hl7v2.max_message_bytes", "60000")];
    let server = TestServer::start_with(&settings).await;
    let url = format!("{}/v2/messages", server.client.root());
    for (bytes, status) in [(30_000, 200), (70_000, 413)] {
        let text = "x".repeat(bytes);
        let message = format!("{}\rZZZ|{text}\r", adt("A01", &bytes.to_string(), "1").trim_end());
        let sent = server.client.call("POST", &url).header("Content-Type", "application/hl7-v2");
        assert_eq!(sent.body(message).send().await.status, status, "{bytes}");
    }
}

/// v2 P8: pages follow each other without a gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_where_it_ended() {
    let feed = Feed::start().await;
    let client = &feed.server.client;
    let mut sender = feed.sender().await;
    for n in 0..7 {
        sender.send(&adt("A01", &format!("n{n}"), "1")).await;
    }
    let (mut url, mut found) = ("/v2/messages?_count=3".to_owned(), Vec::new());
    loop {
        let body = text(&client.call("GET", &format!("{}{url}", client.root())).send().await.body);
        let ids = body.split("\"controlId\":\"").skip(1);
        found.extend(ids.map(|rest| rest.split('"').next().unwrap().to_owned()));
        match body.split("\"next\":\"").nth(1) {
            Some(rest) => url = rest.split('"').next().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(found, ["n6", "n5", "n4", "n3", "n2", "n1", "n0"]);
}

/// v2 P8: without the right nobody reads or sends messages, and who sees one patient alone neither.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_for_those_who_may() {
    let feed = Feed::start().await;
    feed.sender().await.send(&adt("A01", "1", "1")).await;
    let token = |scopes: &str| Token::new(&feed.server, scopes).patient("a");
    for (token, status) in [
        (None, 401),
        (Some(token("system/*.r")), 403),
        (Some(token("patient/*.cruds")), 403),
        (Some(token("system/*.cruds")), 200),
        (Some(token("system/__messages")), 200),
    ] {
        let principal = token.map(|token| token.try_principal().expect("a principal"));
        let (client, _stop) = endpoint_of(&feed.server, principal).await;
        let list = client.call("GET", &format!("{}/v2/messages", client.root())).send().await;
        assert_eq!(list.status, status);
        // A batch without a message passes the same gate.
        for sent in [adt("A01", "2", "2"), "BHS|^~\\&|LAB|STM\rBTS|0\r".to_owned()] {
            let post = client.call("POST", &format!("{}/v2/messages", client.root()));
            let post = post.header("Content-Type", "application/hl7-v2").body(sent);
            assert_eq!(post.send().await.status, status);
        }
    }
}
