//! A server says when it begins to keep the record and when it ends, and what its operator does by
//! commands.
//!
//! Covers: security A7.

use std::time::Duration;

use serde_json::Value;

use crate::harness::database::connect;
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

/// What the record says of the settings when it began, each time.
async fn settings(process: &Process) -> Vec<String> {
    let begun = activities(process).await.into_iter().filter(|(code, _)| code == "110120");
    let digest = |(_, event): (String, Value)| {
        let text = event.to_string();
        let (_, digest) = text.split_once("settings sha256:").unwrap();
        digest[..64].to_owned()
    };
    begun.map(digest).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_says_that_settings_were_changed() {
    let mut process = Process::start().await;
    process.until_begun(1).await;
    process.kill_and_restart();
    process.ready(Duration::from_mins(1)).await;
    process.until_begun(2).await;
    assert!(process.terminate().0);
    process.restart_with(&["audit.reads=flushed"]);
    process.ready(Duration::from_mins(1)).await;
    process.until_begun(3).await;
    let told = settings(&process).await;
    assert!(told.iter().flat_map(|it| it.bytes()).all(|it| it.is_ascii_hexdigit()), "{told:?}");
    assert_eq!(told[0], told[1]);
    assert_ne!(told[1], told[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_does_by_commands_is_on_record() {
    let process = Process::start().await;
    let folder = process.data_dir.join("cvx").display().to_string();
    let pack =
        format!("{}/fhir-profiles/ihe.iti.balp-differential.pack", env!("CARGO_MANIFEST_DIR"));
    for (command, arguments, told) in [
        ("package", &["install", &pack][..], "package ihe.iti.balp "),
        ("terminology", &["load", &folder, "--kind", "cvx"][..], "http://hl7.org/fhir/sid/cvx "),
        ("audit", &["verify", "--quiet"][..], "since 0: "),
        ("emergency", &["list"][..], "emergencies to review"),
    ] {
        if command == "terminology" {
            let made = process.beside(command, &["generate", "cvx", "--out", &folder]);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let done = process.beside(command, arguments);
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        let database = connect(&process.database_url()).await;
        let sql = "SELECT count(*) FROM ledger WHERE interaction = 50 AND outcome = 0 \
            AND actor = 'service:operator' AND query = $1 AND array_to_string(entities, ' ') LIKE $2";
        let query = format!("kiln {command} {}", arguments[0]);
        let row = database.query_one(sql, &[&query, &format!("{told}%")]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1, "{query}");
    }
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
