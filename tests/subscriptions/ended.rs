//! How a subscription ends, and begins again.

use kiln::clock::{Clock as _, SystemClock};

use super::{Wish, put, served, subscribed, until};
use crate::harness::json::at;

/// Covers: rest 8.10.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_is_tried_again_then_given_up_and_taken_up_when_asked() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    let wish = Wish::full(receiver.url(""));
    let id = subscribed(client, &wish).await;
    receiver.answer(503);
    put(client, "a", "k").await;
    let ended = until(client, &id, "error").await;
    assert!(ended.at("error").is_some_and(|text| text.contains("503")), "{ended:?}");
    assert_eq!(receiver.taken().len(), 4, "as often as the settings say");
    // Nothing more is tried, whatever comes.
    put(client, "b", "k").await;
    receiver.answer(200);
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(receiver.taken().len(), 4);
    let again = client.put(&format!("/Subscription/{id}"), wish.body(Some(&id))).await.expect(200);
    assert_eq!(again.at("status").as_deref(), Some("requested"));
    assert_eq!(again.at("error"), None);
    // It goes on where it stopped.
    assert_eq!(receiver.until(2).await, ["PUT /Observation/a", "PUT /Observation/b"]);
    let active = until(client, &id, "active").await;
    assert_eq!(active.at("error"), None);
    server.stop().await;
}

/// Covers: rest 8.9.
#[tokio::test(flavor = "multi_thread")]
async fn one_whose_end_is_over_is_off() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    let end = |millis: i64| Some(SystemClock.now().plus_millis(millis).to_string());
    let over = Wish { end: end(-60_000), ..Wish::new(receiver.url("/over")) };
    let over = client.post("/Subscription", over.body(None)).await.expect(201);
    until(client, &over.id(), "off").await;
    let soon = Wish { end: end(6_000), ..Wish::new(receiver.url("/soon")) };
    let soon = subscribed(client, &soon).await;
    put(client, "a", "k").await;
    assert_eq!(receiver.until(1).await, ["POST /soon"]);
    let ended = until(client, &soon, "off").await;
    assert_eq!(ended.at("error"), None);
    put(client, "b", "k").await;
    let last = Wish::new(receiver.url("/last"));
    subscribed(client, &last).await;
    put(client, "c", "k").await;
    let told = receiver.until(2).await;
    assert!(!told.contains(&"POST /over".to_owned()), "{told:?}");
    assert_eq!(told.iter().filter(|it| *it == "POST /soon").count(), 1, "{told:?}");
    server.stop().await;
}

/// Covers: rest 8.14.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_one_that_is_changed_is_asked_for_anew() {
    let (server, receiver) = served(&[]).await;
    let client = &server.client;
    let wish = Wish::full(receiver.url("/one"));
    let id = subscribed(client, &wish).await;
    let url = format!("/Subscription/{id}");
    // What is wrong leaves it as it is.
    let wrong = Wish { criteria: "Observation?nope=x".to_owned(), ..wish.clone() };
    client.put(&url, wrong.body(Some(&id))).await.expect(422);
    put(client, "a", "k").await;
    receiver.until(1).await;
    // What was read and is sent back, active, asks for it anew.
    let read = client.get(&url).await;
    let asked = client.put(&url, read.body.clone()).await.expect(200);
    assert_eq!(asked.at("status").as_deref(), Some("requested"));
    until(client, &id, "active").await;
    let other = Wish {
        criteria: "Observation?code=urn:c|n".to_owned(),
        ..Wish::full(receiver.url("/two"))
    };
    let asked = client.put(&url, other.body(Some(&id))).await.expect(200);
    assert_eq!(asked.at("status").as_deref(), Some("requested"));
    until(client, &id, "active").await;
    put(client, "b", "k").await;
    put(client, "c", "n").await;
    let told = receiver.until(2).await;
    assert_eq!(told, ["PUT /one/Observation/a", "PUT /two/Observation/c"]);
    // Off is off, by whatever change.
    let patch = r#"[{"op":"replace","path":"/status","value":"off"}]"#;
    let patched = client.call("PATCH", &url).header("Content-Type", "application/json-patch+json");
    let patched = patched.body(patch).send().await.expect(200);
    assert_eq!(patched.at("status").as_deref(), Some("off"));
    put(client, "d", "n").await;
    let last = Wish {
        criteria: "Observation?code=urn:c|n".to_owned(),
        ..Wish::new(receiver.url("/last"))
    };
    let last = subscribed(client, &last).await;
    put(client, "e", "n").await;
    let told = receiver.until(3).await;
    assert_eq!(told[2..], ["POST /last"]);
    // One that is deleted is told nothing.
    client.delete(&format!("/Subscription/{last}")).await.expect(204);
    put(client, "f", "n").await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(receiver.taken().len(), 3);
    let history = client.get(&format!("{url}/_history")).await;
    let body = history.json();
    let states: Vec<_> = (0..7)
        .map_while(|number| at(&body, &format!("entry[{number}].resource.status")))
        .filter_map(|status| status.as_str().map(str::to_owned))
        .collect();
    let expected = ["off", "active", "requested", "active", "requested", "active", "requested"];
    assert_eq!(states, expected);
    server.stop().await;
}
