//! What is not served, and where nothing is ever sent to.

use std::time::Duration;

use super::receiver::Receiver;
use super::{Wish, put, served, subscribed, until};
use crate::harness::server::TestServer;

/// Covers: rest 8.4.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_not_served_is_refused() {
    let (server, receiver) = served(&[]).await;
    let wish = Wish::new(receiver.url("")).body(None);
    for kind in ["websocket", "email", "sms", "message", "pigeon"] {
        let body = wish.replace("rest-hook", kind);
        let answer = server.client.post("/Subscription", body).await.expect(422);
        assert!(answer.text().contains("Subscription.channel.type"), "{kind}: {answer:?}");
    }
    server.stop().await;
}

/// Covers: security V28.
/// Covers: rest 8.12.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_the_inside() {
    let inside = Receiver::start().await;
    // Where the server itself may call, for keys of clients, is not for clients to choose from.
    let settings = [("subscriptions.retry_ms", "20"), ("auth.outbound_networks", "127.0.0.0/8")];
    let server = TestServer::start_with(&settings).await;
    for endpoint in [
        inside.url("/x"),
        inside.url("/x").replace("http:", "https:"),
        inside.url("/x").replace("127.0.0.1", "localhost"),
        inside.url("/x").replace("127.0.0.1", "0x7f000001"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[::1]/".to_owned(),
        "https://2130706433/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "http://hook.example.org/".to_owned(),
        "adfdf".to_owned(),
    ] {
        let body = Wish::new(endpoint.clone()).body(None);
        let answer = server.client.post("/Subscription", body).await.expect(422);
        assert!(answer.text().contains("Subscription.channel.endpoint"), "{endpoint}: {answer:?}");
    }
    server.stop().await;
    // Where writes are not judged, it is stored; and looked at before anything is sent.
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let client = &server.client;
    for endpoint in [inside.url("/x"), "https://2130706433/".to_owned(), "adfdf".to_owned()] {
        let asked = client.post("/Subscription", Wish::new(endpoint.clone()).body(None)).await;
        let ended = until(client, &asked.expect(201).id(), "error").await;
        assert!(ended.at("error").is_some(), "{endpoint}: {ended:?}");
    }
    for (from, to) in [("rest-hook", "email"), ("Observation?code=urn:c|k", "Observation?nope=x")] {
        let body = Wish::new("https://hook.example.org/".to_owned()).body(None).replace(from, to);
        let asked = client.post("/Subscription", body).await.expect(201);
        until(client, &asked.id(), "error").await;
    }
    put(client, "o", "k").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(inside.taken().is_empty(), "{:?}", inside.taken());
    server.stop().await;
}

/// A redirect is an answer that is not the one hoped for.
///
/// Covers: security V28.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let (server, receiver) = served(&[]).await;
    let elsewhere = Receiver::start().await;
    receiver.lead_to(elsewhere.url("/inside"));
    for status in [301, 302, 307, 308] {
        receiver.answer(status);
        let id = subscribed(&server.client, &Wish::new(receiver.url("/out"))).await;
        put(&server.client, &format!("o{status}"), "k").await;
        let ended = until(&server.client, &id, "error").await;
        let text = ended.at("error").unwrap_or_default();
        assert!(text.contains(&status.to_string()), "{ended:?}");
    }
    assert!(elsewhere.taken().is_empty(), "{:?}", elsewhere.taken());
    server.stop().await;
}

/// Covers: security H20.
/// Covers: rest 8.12.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_beyond_the_list_of_the_operator() {
    let receiver = Receiver::start().await;
    let listed = format!("{},https://hook.example.org", receiver.url("/fhir"));
    let (server, _) = served(&[("subscriptions.endpoints", &listed)]).await;
    for (url, status) in [
        (receiver.url("/fhir/x"), 201),
        (receiver.url("/fhirs"), 422),
        (receiver.url("/fhir/../x"), 422),
        (receiver.url("/"), 422),
        ("https://hook.example.org.evil.example/".to_owned(), 422),
        ("https://other.example.org/".to_owned(), 422),
    ] {
        let answer = server.client.post("/Subscription", Wish::new(url.clone()).body(None)).await;
        assert_eq!(answer.status, status, "{url}: {answer:?}");
    }
    server.stop().await;
}

/// Covers: security V29.
/// Covers: security H20.
#[tokio::test(flavor = "multi_thread")]
async fn headers_are_lines_of_the_client_and_nothing_else() {
    // The settings of validation do not matter to it.
    for level in ["off", "profiles"] {
        let (server, receiver) = served(&[("validation.level", level)]).await;
        for header in [
            "X-A: b\r\nHost: c",
            "X-A: b\nX-B: c",
            "X-A: b\rX-B: c",
            "X-A\r\n: b",
            "no header",
            ": b",
            "X A: b",
            "Host: other.example.org",
            "content-length: 5",
            "Transfer-Encoding: chunked",
            "Connection: upgrade",
            "Content-Type: text/html",
        ] {
            let wish = Wish {
                headers: vec!["X-Fine: a".to_owned(), header.to_owned()],
                ..Wish::new(receiver.url(""))
            };
            let answer = server.client.post("/Subscription", wish.body(None)).await.expect(422);
            let place = "Subscription.channel.header[1]";
            assert!(answer.text().contains(place), "{level} {header:?}: {answer:?}");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_party_has_so_many_and_no_more() {
    let (server, receiver) = served(&[("subscriptions.max_open", "2")]).await;
    let client = &server.client;
    let wish = Wish::new(receiver.url(""));
    let first = subscribed(client, &wish).await;
    subscribed(client, &wish).await;
    client.post("/Subscription", wish.body(None)).await.expect(429);
    let off = Wish { status: "off", ..wish.clone() };
    client.post("/Subscription", off.body(None)).await.expect(201);
    client.put(&format!("/Subscription/{first}"), off.body(Some(&first))).await.expect(200);
    subscribed(client, &wish).await;
    // Nothing of the one that was refused is there.
    let open = "SELECT count(*) FROM res WHERE rt = 130 AND op <> 'D'";
    assert_eq!(server.database.number(open).await, 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_they_are_switched_off_they_stay_as_they_were_asked_for() {
    let (server, receiver) = served(&[("subscriptions.enabled", "false")]).await;
    let client = &server.client;
    let asked = client.post("/Subscription", Wish::new(receiver.url("")).body(None)).await;
    let id = asked.expect(201).id();
    put(client, "o", "k").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    until(client, &id, "requested").await;
    assert!(receiver.taken().is_empty());
    let told = |text: String| text.contains("Channel rest-hook");
    assert!(!told(client.get("/metadata").await.text()));
    server.stop().await;
    let (server, _) = served(&[]).await;
    assert!(told(server.client.get("/metadata").await.text()));
    server.stop().await;
}
