//! Who sees data of patients when nobody works is told about, by the hours of the settings.

use serde_json::Value;

use super::outlets::{found, row};
use super::receiver::Receiver;
use crate::harness::server::TestServer;

/// A read of a patient, today at a time of UTC.
fn read_at(time: &str, actor: &str) -> String {
    let row = row(12, 0, actor, ("NULL", "NULL", "{7}"));
    row.replace("clock_timestamp()", &format!("(date_trunc('day', now(), 'UTC') + time '{time}')"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_patients_out_of_hours_is_told_about() {
    let receiver = Receiver::start().await;
    let webhook = format!("http://{}/alerts", receiver.address);
    let server = TestServer::start_with(&[
        ("auth.outbound_networks", "127.0.0.1/32"),
        ("search.zone", "+02:00"),
        ("alerts.working_hours", "07:00-19:00"),
        ("alerts.webhook", &webhook),
        ("alerts.communication", "true"),
    ])
    .await;
    for (time, actor) in [
        // Six o'clock where they work; and that again, which is no news.
        ("04:00", "user:ada"),
        ("04:30", "user:ada"),
        ("05:30", "user:eve"),
        ("12:00", "user:ada"),
        // Programs work at any hour.
        ("04:00", "client:batch"),
        ("17:30", "user:bob"),
    ] {
        server.database.run(&read_at(time, actor)).await;
    }
    // They are looked at in their order, so nothing of before comes later.
    let is_last =
        |posted: &Vec<(String, Value)>| posted.iter().any(|it| it.1["party"] == "user:bob");
    let posted = receiver.until("the last alert", is_last).await;
    let mut told: Vec<String> = posted
        .iter()
        .map(|(_, alert)| format!("{} {}", alert["rule"], alert["party"]).replace('"', ""))
        .collect();
    told.sort();
    assert_eq!(told, ["out-of-hours user:ada", "out-of-hours user:bob"]);
    let stored = found(&server, "/Communication?category=alert&_count=50").await;
    let mut texts: Vec<_> =
        stored.iter().map(|it| it["payload"][0]["contentString"].as_str().unwrap()).collect();
    texts.sort_unstable();
    let told = ["user:ada", "user:bob"].map(|who| format!("{who} had access to data out of hours"));
    assert_eq!(texts, told);
    server.stop().await;
}
