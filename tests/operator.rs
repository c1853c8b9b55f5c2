//! A server with its private PostgreSQL as an operator runs it: start, stop, import, demo data.

use std::time::{Duration, Instant};

use kiln::fhir::json::parse;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::database::connect;
use crate::harness::process::{Process, kiln};

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","active":true}"#;

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_it_ends_with_its_database_and_comes_back_with_its_data() {
    let mut process = Process::start_on_nothing().await;
    process.client.put("/Patient/p", PATIENT).await.expect(201);
    let (well, took) = process.terminate();
    assert!(well, "it must end with success");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(!process.has_postgres(), "its PostgreSQL must end with it");
    process.restart();
    process.ready(Duration::from_secs(20)).await;
    process.client.get("/Patient/p").await.expect(200);
}

/// Waits until `what`, at most `limit`.
async fn until(limit: Duration, what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < limit, "not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_while_it_starts_it_leaves_no_database() {
    let mut process = Process::start().await;
    assert!(process.terminate().0);
    process.restart();
    until(Duration::from_secs(20), || process.has_postgres()).await;
    let (well, took) = process.terminate();
    assert!(well, "it must end with success");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(!process.has_postgres(), "its PostgreSQL must end with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_asked_to_end_leaves_no_database() {
    let mut process = Process::start().await;
    assert!(process.terminate().0);
    let file = process.data_dir.join("lines.ndjson");
    let line = r#"{"resourceType":"Basic","code":{"text":"same"}}"#;
    std::fs::write(&file, format!("{line}\n").repeat(100_000)).unwrap();
    let mut import = process.started_beside("import", &[file.to_str().unwrap()]);
    until(Duration::from_secs(20), || process.has_postgres()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(import.try_wait().unwrap().is_none(), "it must be in the middle");
    kill_process(Pid::from_raw(import.id() as i32).unwrap(), Signal::TERM).unwrap();
    let began = Instant::now();
    assert!(!import.wait().unwrap().success(), "it is not complete");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(!process.has_postgres(), "its PostgreSQL must end with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_does_not_stop_the_server() {
    let mut process = Process::start().await;
    let log = process.restart_with_unread_log();
    process.ready(Duration::from_secs(20)).await;
    // Each is a line: more than the queue and the pipe hold.
    let client = &process.client;
    let live = format!("{}/health/live", client.root());
    let began = Instant::now();
    for _ in 0..60 {
        let calls = (0..200).map(|_| async { client.get(&live).await.expect(200) });
        futures_util::future::join_all(calls).await;
        assert!(began.elapsed() < Duration::from_mins(2), "{:?}", began.elapsed());
    }
    let (well, took) = process.terminate();
    assert!(well && took < Duration::from_secs(15), "{took:?}");
    assert!(!process.has_postgres(), "its PostgreSQL must end with it");
    drop(log);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_log_is_whole_and_none_is_missing_at_the_end() {
    let mut process = Process::start().await;
    let client = &process.client;
    let calls = (0..400).map(|at| async move {
        let call = client.call("GET", &format!("/Patient/{at}"));
        call.header("X-Request-Id", &format!("log-{at}")).send().await.expect(404);
    });
    futures_util::future::join_all(calls).await;
    assert!(process.terminate().0);
    let log = std::fs::read_to_string(process.data_dir.join("test.log")).unwrap();
    let mut answered = 0;
    let mut last = String::new();
    for line in log.lines() {
        let value = parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {line}"));
        let id = value.str_at("request.id").unwrap_or_default();
        answered += u32::from(id.starts_with("log-"));
        last = value.str_at("message").unwrap_or_default().to_owned();
    }
    assert_eq!(answered, 400);
    assert_eq!(last, "stopping");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_refused() {
    let process = Process::start().await;
    let output = process.beside("serve", &["--set", "http.listen=127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    let folder = process.data_dir.to_str().unwrap();
    assert!(said.contains("running Kiln") && said.contains(folder), "{said}");
    process.client.get("/metadata").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn import_loads_beside_a_running_server_and_names_what_fails() {
    let process = Process::start().await;
    let folder = process.data_dir.join("to-import");
    std::fs::create_dir(&folder).unwrap();
    let good = r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"resource":{"resourceType":"Patient","id":"i"},"request":{"method":"PUT","url":"Patient/i"}}]}"#;
    std::fs::write(folder.join("good.json"), good).unwrap();
    std::fs::write(folder.join("lines.ndjson"), format!("{PATIENT}\n")).unwrap();
    let output = process.beside("import", &[folder.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    process.client.get("/Patient/i").await.expect(200);
    process.client.get("/Patient/p").await.expect(200);

    let bad = r#"{"resourceType":"Patient","id":"bad","nope":1}"#;
    std::fs::write(folder.join("bad.ndjson"), format!("{bad}\n")).unwrap();
    let output = process.beside("import", &[folder.join("bad.ndjson").to_str().unwrap()]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("bad.ndjson") && said.contains("nope"), "{said}");
    process.client.get("/Patient/bad").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_goes_on_without_loading_anything_twice() {
    let process = Process::start().await;
    let folder = process.data_dir.join("to-import");
    std::fs::create_dir(&folder).unwrap();
    let lines = r#"{"resourceType":"Basic","code":{"text":"same"}}
"#
    .repeat(6_000);
    std::fs::write(folder.join("lines.ndjson"), lines).unwrap();
    let post =
        r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#;
    let bundle = |kind: &str, count| {
        let entries = vec![post; count].join(",");
        format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{entries}]}}"#)
    };
    for at in 0..20 {
        let name = |kind| folder.join(format!("{kind}{at}.json"));
        std::fs::write(name("transaction"), bundle("transaction", 10)).unwrap();
        std::fs::write(name("batch"), bundle("batch", 10)).unwrap();
    }
    let twice = bundle("transaction", 5);
    std::fs::write(folder.join("alike.ndjson"), format!("{twice}\n{twice}\n")).unwrap();
    let journal = folder.join("journal");
    let arguments =
        [folder.to_str().unwrap(), "--workers", "3", "--journal", journal.to_str().unwrap()];
    let expected = 6_000 + 20 * 10 + 20 * 10 + 2 * 5;
    let count = async || {
        let client = connect(&process.database_url()).await;
        let row = client.query_one("SELECT count(*) FROM res", &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    for _ in 0..4 {
        let before = count().await;
        let mut import = process.started_beside("import", &arguments);
        while count().await == before && import.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        import.kill().unwrap();
        import.wait().unwrap();
    }
    let stored = count().await;
    assert!((1..expected).contains(&stored), "{stored}: no kill was in the middle");
    // Acknowledged, and nothing of it noted: the worst that a kill can do.
    for forgets in [false, true] {
        if forgets {
            std::fs::remove_file(&journal).unwrap();
        }
        let output = process.beside("import", &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(count().await, expected, "{said}");
    }
    let output = process.beside("import", &[&arguments[..], &["--again"]].concat());
    assert!(output.status.success());
    assert_eq!(count().await, 2 * expected, "asked for, it is loaded again");
}

#[test]
fn demo_data_is_the_same_each_time_and_well_formed() {
    let make = || kiln(&["demo", "--patients", "3", "--out", "-"]).stdout;
    let (once, again) = (make(), make());
    assert!(once == again, "the seed is fixed");
    let text = String::from_utf8(once).unwrap();
    let mut patients = 0;
    for line in text.lines() {
        let value = parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {line}"));
        let entries = value.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
        let resources: Vec<_> = entries.chain(std::iter::once(&value)).collect();
        patients +=
            resources.iter().filter(|of| of.str_at("resourceType") == Some("Patient")).count();
    }
    assert_eq!(patients, 3);
}
