//! A server says when it begins to keep the record and when it ends.
//!
//! Covers in part: security A7.

use std::time::Duration;

use serde_json::Value;

use crate::harness::process::Process;

async fn activities(process: &Process) -> Vec<(String, Value)> {
    let url = "/AuditEvent?type=http://dicom.nema.org/resources/ontology/DCM|110100&_sort=date";
    let answer = process.client.get(url).await.expect(200);
    let bundle: Value = serde_json::from_str(&answer.text()).unwrap();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default().into_iter();
    let events = entries.map(|mut entry| entry["resource"].take());
    events.map(|it| (it["subtype"][0]["code"].as_str().unwrap().to_owned(), it)).collect()
}

fn codes(activities: &[(String, Value)]) -> Vec<&str> {
    activities.iter().map(|(code, _)| code.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_says_when_it_begins_and_when_it_ends() {
    let mut process = Process::start().await;
    process.until_begun(1).await;
    let (is_well, _) = process.terminate();
    assert!(is_well);
    process.restart();
    process.ready(Duration::from_mins(1)).await;
    process.until_begun(2).await;
    let told = activities(&process).await;
    assert_eq!(codes(&told), ["110120", "110121", "110120"]);
    let client = &told[0].1["agent"][0];
    assert_eq!(client["altId"], "service:serve", "{client}");
    let text = told[0].1.to_string();
    assert!(text.contains(&format!("kiln {}", env!("CARGO_PKG_VERSION"))), "{text}");
    // Who is killed cannot say that it ends.
    process.kill_and_restart();
    process.ready(Duration::from_mins(1)).await;
    process.until_begun(3).await;
    let told = activities(&process).await;
    assert_eq!(codes(&told), ["110120", "110121", "110120", "110120"]);
}

impl Process {
    /// Waits until the record begins for so many times: it answers a moment before it says so.
    async fn until_begun(&self, times: usize) {
        for _ in 0..200 {
            let told = activities(self).await;
            if codes(&told).iter().filter(|code| **code == "110120").count() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the record does not begin");
    }
}
