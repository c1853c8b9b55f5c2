//! Tenants as an operator meets them: the program, its private PostgreSQL, and commands about one tenant.

use std::process::Output;
use std::time::{Duration, Instant};

use crate::harness::database::{connect, temporary};
use crate::harness::process::Process;

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_about_the_tenant_that_they_name() {
    let mut process = Process::start_with(&["tenancy.mode=path"]).await;
    let run = |process: &Process, command: &str, arguments: &[&str], expected: &str| {
        let output = process.beside(command, arguments);
        let text = said(&output);
        assert!(text.contains(expected), "{command} {arguments:?}: {text}");
        output.status.success()
    };
    for name in ["north", "south"] {
        assert!(run(&process, "tenant", &["add", name], "was added"));
    }
    let demo = ["--patients", "1", "--tenant"];
    assert!(run(&process, "demo", &[&demo[..], &["north"]].concat(), "of 1 patients"));
    assert!(!run(&process, "demo", &[&demo[..], &["west"]].concat(), "no tenant \"west\""));
    assert!(!run(&process, "demo", &demo[..2], "say which one is meant"));
    assert!(!run(&process, "serve", &["--tenant", "north"], "without --tenant"));
    assert!(run(&process, "migrate", &[], "of this version"));
    let release = temporary("cvx");
    let folder = release.display().to_string();
    assert!(run(&process, "terminology", &["generate", "cvx", "--out", &folder], ""));
    let load = ["load", &folder, "--tenant", "north"];
    assert!(run(&process, "terminology", &load, "stored in"));
    std::fs::remove_dir_all(release).unwrap();
    for (name, lists) in [("north", true), ("south", false)] {
        let listed = said(&process.beside("terminology", &["list", "--tenant", name]));
        assert_eq!(listed.contains("http://hl7.org/fhir/sid/cvx"), lists, "{name}: {listed}");
    }
    let off = ["list", "--set", "tenancy.mode=off"];
    assert!(!run(&process, "tenant", &off, "there are no tenants"));

    for (name, patients) in [("north", "1"), ("south", "0")] {
        let client = process.client.below(&format!("/t/{name}"));
        let began = Instant::now();
        while client.get("/metadata").await.status != 200 {
            assert!(began.elapsed() < Duration::from_mins(1), "{name} is served");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let found = client.get("/Patient?_summary=count").await.expect(200);
        assert_eq!(found.at("total").as_deref(), Some(patients), "{name}");
    }
    // Behind the second wall, indexes of numbers, of a patient's events and of times still serve.
    let database = connect(&process.database_url()).await;
    let trusted = "SELECT count(*) FROM pg_proc WHERE proleakproof AND (proname IN ('numeric_lt', \
                   'numeric_le', 'numeric_eq', 'numeric_ge', 'numeric_gt', 'arraycontains', 'arrayoverlap') \
                   OR oid IN ('uuid_send(uuid)'::regprocedure, 'substr(bytea, int, int)'::regprocedure))";
    assert_eq!(database.query_one(trusted, &[]).await.unwrap().get::<_, i64>(0), 9);
    drop(database);
    // Numbers are each tenant's own, and who was nobody's has a line in the log.
    let numbers = process.client.get(&format!("{}/metrics", process.client.root())).await;
    for name in ["north", "south"] {
        let gauge = format!("kiln_database_connections{{state=\"open\",tenant=\"{name}\"}}");
        assert!(numbers.text().contains(&gauge), "{gauge}: {}", numbers.text());
    }
    let nobody = process.client.below("/t/nobody");
    let lost = nobody.call("GET", "/metadata").header("X-Request-Id", "lost-request-7");
    lost.send().await.expect(404);
    let is_well = process.terminate().0;
    let log = process.whole_log();
    assert!(is_well, "{log}");
    assert!(log.contains("lost-request-7"), "{log}");
    assert!(log.contains("\"tenant\":\"north\"") && log.contains("is served"), "{log}");
}
