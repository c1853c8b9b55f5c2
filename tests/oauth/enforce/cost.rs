//! What limits cost: a patient's search under a token against the same search by anybody.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::harness::client::Client;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;
use crate::harness::shared::long;

/// Observations of each patient.
const EACH: usize = 2_000;

async fn fill(server: &TestServer) {
    for patient in ["a", "b"] {
        let own = format!(r#"{{"resourceType":"Patient","id":"{patient}"}}"#);
        server.client.put(&format!("/Patient/{patient}"), own).await.expect(201);
        for part in 0..EACH / 500 {
            let mut entries = String::new();
            for at in 0..500 {
                let comma = if at == 0 { "" } else { "," };
                let (day, code) = (1 + at % 28, (at + part) % 7);
                let _ = write!(
                    entries,
                    r#"{comma}{{"resource":{{"resourceType":"Observation","status":"final","code":{{"coding":[{{"system":"urn:c","code":"k{code}"}}]}},"effectiveDateTime":"2020-0{}-{day:02}","subject":{{"reference":"Patient/{patient}"}}}},"request":{{"method":"POST","url":"Observation"}}}}"#,
                    1 + part,
                );
            }
            let bundle =
                format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
            server.client.post("/", bundle).await.expect(200);
        }
    }
    server.database.run("VACUUM ANALYZE").await;
}

async fn took(client: &Client, url: &str) -> Duration {
    let start = Instant::now();
    client.get(url).await.expect(200);
    start.elapsed()
}

/// At most 1.3 times as long, by the medians of what is asked in turn. Times need a quiet machine, so
/// a usual run does not look at them.
#[tokio::test(flavor = "multi_thread")]
async fn limits_cost_a_patients_search_little() {
    if !long() {
        return;
    }
    let server = TestServer::start().await;
    fill(&server).await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let mut slow = String::new();
    for (url, own_url) in [
        (
            "/Observation?patient=a&code=k1&_sort=-date",
            "/Observation?patient=a&code=k1&_sort=-date",
        ),
        ("/Observation?patient=a&code=k1&_sort=-date", "/Observation?code=k1&_sort=-date"),
        ("/Observation?patient=a", "/Observation"),
        ("/Observation?patient=a&date=2020-02", "/Observation?date=2020-02"),
        ("/Patient?_id=a", "/Patient"),
    ] {
        let (mut open, mut limited) = (Vec::new(), Vec::new());
        for turn in 0..80 {
            let times = (took(&server.client, url).await, took(&own, own_url).await);
            if turn >= 20 {
                open.push(times.0);
                limited.push(times.1);
            }
        }
        open.sort_unstable();
        limited.sort_unstable();
        let ratio = limited[30].as_secs_f64() / open[30].as_secs_f64();
        println!("{own_url}: {ratio:.2} of {:?}", open[30]);
        if ratio > 1.3 {
            let _ = writeln!(slow, "{own_url}: {ratio:.2}");
        }
    }
    server.stop().await;
    assert!(slow.is_empty(), "{slow}");
}
