//! Histories by time: which versions were current at some point of a period.
//!
//! Covers: rest 2.95.

use std::time::Duration;

use crate::harness::server::TestServer;

/// The versions that a history has at a time, newest first, with how many there are in all.
async fn at(server: &TestServer, time: &str) -> (String, Vec<String>) {
    let answer = server.client.get(&format!("/Patient/a/_history?_at={time}")).await.expect(200);
    let total = answer.at("total").unwrap();
    let tag = |entry: usize| answer.at(&format!("entry[{entry}].response.etag"));
    (total, (0..).map_while(tag).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_has_what_was_current_at_any_time_of_it() {
    let server = TestServer::start().await;
    let mut times = Vec::new();
    for number in 1..=3 {
        let text =
            format!(r#"{{"resourceType":"Patient","id":"a","multipleBirthInteger":{number}}}"#);
        let answer = server.client.put("/Patient/a", text).await;
        times.push(answer.at("meta.lastUpdated").unwrap());
        // Each version has a second of its own.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    server.client.delete("/Patient/a").await.expect(204);
    let history = server.client.get("/Patient/a/_history").await.expect(200);
    times.push(history.at("entry[0].response.lastModified").unwrap());
    let versions = |all: &[u32]| all.iter().map(|it| format!("W/\"{it}\"")).collect::<Vec<_>>();
    let second = |at: usize| times[at][.."2020-01-01T00:00:00".len()].to_owned();
    for (time, expected) in [
        // What was current when the period began may qualify too.
        (second(0), &[1][..]),
        (second(1), &[2, 1]),
        (second(2), &[3, 2]),
        (second(3), &[4, 3]),
        (times[1].clone(), &[2]),
        ("2001".to_owned(), &[]),
        ("2001-05".to_owned(), &[]),
        ("2999".to_owned(), &[]),
    ] {
        let (total, found) = at(&server, &time).await;
        assert_eq!(found, versions(expected), "{time}");
        assert_eq!(total, expected.len().to_string(), "{time}");
    }
    // The first and the last may stand on two sides of midnight or of New Year's Eve.
    for length in ["2020".len(), "2020-01".len(), "2020-01-01".len()] {
        if times[0][..length] == times[3][..length] {
            let (total, found) = at(&server, &times[0][..length]).await;
            assert_eq!((total.as_str(), found), ("4", versions(&[4, 3, 2, 1])));
        }
    }
}
