//! Exports as jobs: how far they are, who has how many, what a crash leaves, what is kept and recorded.

use std::time::Duration;

use kiln::app::server::Server;

use super::{Exporter, put};
use crate::harness::client::Client;
use crate::harness::database::connect;
use crate::harness::server::{TestServer, config};

/// Covers: rest 6.59, 6.60, 6.65.
#[tokio::test(flavor = "multi_thread")]
async fn how_far_an_export_is_may_be_asked_once_a_second_and_it_can_be_ended() {
    // A node that works on none: it stays where it is.
    let server = TestServer::start_with(&[("export.workers", "0")]).await;
    let exporter = Exporter::new(&server.client);
    let place = exporter.place("/$export").await;
    let first = exporter.call("GET", &place).send().await.expect(202);
    let progress = first.header("x-progress").expect("how far");
    assert!(!progress.is_empty() && progress.len() <= 100, "{progress}");
    let again: u64 = first.header("retry-after").expect("when").parse().unwrap();
    assert!((1..=60).contains(&again), "{again}");
    let second = exporter.call("GET", &place).send().await.expect(429);
    assert_eq!(second.at("resourceType").as_deref(), Some("OperationOutcome"));
    assert_eq!(second.at("issue[0].code").as_deref(), Some("throttled"));
    assert!(second.header("retry-after").is_some(), "{second:?}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    exporter.call("GET", &place).send().await.expect(202);
    exporter.call("DELETE", &place).send().await.expect(202);
    let gone = exporter.call("GET", &place).send().await.expect(404);
    assert_eq!(gone.at("resourceType").as_deref(), Some("OperationOutcome"));
    exporter.call("DELETE", &place).send().await.expect(404);
    server.stop().await;
}

/// Who waited as long as was asked is not told to ask less often because the export ends at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_ends_while_it_is_asked_for_is_not_asked_for_too_often() {
    let server = TestServer::start_with(&[("export.workers", "0")]).await;
    let exporter = Exporter::new(&server.client);
    let place = exporter.place("/$export").await;
    exporter.call("GET", &place).send().await.expect(202);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let mut ending = connect(&server.database.superuser).await;
    let ends = ending.transaction().await.unwrap();
    ends.batch_execute("UPDATE export_job SET state = 'failed', failure = 'ended'").await.unwrap();
    let asking = exporter.call("GET", &place).send();
    let (answer, ()) = tokio::join!(asking, async {
        server.database.until_waiting(1).await;
        ends.commit().await.unwrap();
    });
    answer.expect(202);
    server.stop().await;
}

/// Covers: rest 6.69.
#[tokio::test(flavor = "multi_thread")]
async fn so_many_exports_are_under_way_at_most_and_others_are_not_known() {
    let settings = [("export.workers", "0"), ("export.max_open", "2")];
    let server = TestServer::start_with(&settings).await;
    let exporter = Exporter::new(&server.client);
    let first = exporter.place("/$export").await;
    exporter.place("/Patient/$export").await;
    let refused = exporter.ask("/$export").await.expect(429);
    assert_eq!(refused.at("issue[0].code").as_deref(), Some("throttled"));
    exporter.call("DELETE", &first).send().await.expect(202);
    exporter.place("/$export").await;
    let base = server.client.base();
    for unknown in [
        "/$export/00000000-0000-4000-8000-000000000000",
        "/$export/none",
        "/$export/00000000-0000-4000-8000-000000000000/0.ndjson",
        "/$export/none/0.ndjson",
    ] {
        let answer = server.client.get(unknown).await.expect(404);
        assert_eq!(answer.at("resourceType").as_deref(), Some("OperationOutcome"), "{base}");
    }
    server.client.delete("/$export/none").await.expect(404);
    server.stop().await;
}

/// A file that is not there is not known, nor one of an export that is not completed, nor once it has
/// expired or its export was ended.
///
/// Covers: rest 6.65.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_there_until_they_expire_or_are_ended() {
    let server = TestServer::start().await;
    put(&server.client, "Patient/p", "").await;
    let exporter = Exporter::new(&server.client);
    for is_ended in [false, true] {
        let export = exporter.export("/$export?_type=Patient").await;
        let file = format!("{}/0.ndjson", export.place);
        server.client.get(&file).await.expect(200);
        for name in ["1.ndjson", "-1.ndjson", "0", "x.ndjson"] {
            server.client.get(&format!("{}/{name}", export.place)).await.expect(404);
        }
        if is_ended {
            server.client.delete(&export.place).await.expect(202);
        } else {
            let past = "UPDATE export_job SET expires_at = expires_at - interval '2 days'";
            server.database.run(past).await;
            assert_eq!(server.engine().sweep_exports().await.unwrap(), 1);
        }
        server.client.get(&file).await.expect(404);
        server.client.get(&export.place).await.expect(404);
        for table in ["export_job", "export_file", "export_part"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(server.database.number(&count).await, 0, "{table}");
        }
    }
    server.stop().await;
}

/// A node that is gone in the middle of an export leaves a lease that runs out and a part of the files:
/// another node begins it anew, and tells of its own files alone. Whichever node is asked has them.
///
/// Covers: rest 6.63.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_node_that_is_gone_is_done_by_another() {
    let server = TestServer::start_with(&[("export.workers", "0")]).await;
    for id in ["a", "b"] {
        put(&server.client, &format!("Patient/{id}"), "").await;
    }
    let exporter = Exporter::new(&server.client);
    let (place, last) =
        (exporter.place("/$export?_type=Patient").await, exporter.place("/Patient/$export").await);
    let abandoned = "UPDATE export_job SET state = 'in-progress', attempt = 1, done = 1, \
          lease_until = now() - interval '1 second' WHERE request NOT LIKE '%Patient/$export'; \
        UPDATE export_job SET state = 'in-progress', attempt = 5, \
          lease_until = now() - interval '1 second' WHERE request LIKE '%Patient/$export'; \
        INSERT INTO export_file (job, number, kind, rt, lines, bytes, parts) \
          SELECT id, n, 'o', 103, 1, 2, 1 FROM export_job, generate_series(0, 150) n; \
        INSERT INTO export_part (job, file, number, data) \
          SELECT id, n, 1, '\\x7b7d' FROM export_job, generate_series(0, 150) n";
    server.database.run(abandoned).await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let export = exporter.taken(&place).await;
    assert_eq!(export.names(), ["Patient/a", "Patient/b"]);
    let attempts = "SELECT attempt::bigint FROM export_job WHERE state = 'completed'";
    assert_eq!(server.database.number(attempts).await, 2);
    // The other node has the same.
    let there = Client::new(other.address());
    let elsewhere = format!("{}{}", there.root(), &place[server.client.root().len()..]);
    assert_eq!(Exporter::new(&there).taken(&elsewhere).await.names(), export.names());
    // What comes to no end again and again is given up, and says so.
    let failed = exporter.ended(&last).await.expect(500);
    assert_eq!(failed.at("resourceType").as_deref(), Some("OperationOutcome"));
    assert!(failed.text().contains("5 times"), "{failed:?}");
    assert_eq!(
        server
            .database
            .number(
                "SELECT count(*) FROM export_part p JOIN export_job j \
        ON j.id = p.job WHERE j.state = 'failed'"
            )
            .await,
        0
    );
    other.stop().await;
    server.stop().await;
}

/// Covers: security A6.
#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_what_and_took_which_data_is_on_record() {
    let server = TestServer::start().await;
    let client = &server.client;
    for id in ["a", "b", "c"] {
        put(client, &format!("Patient/{id}"), "").await;
    }
    let members = r#""type":"person","actual":true,"member":[{"entity":{"reference":"Patient/a"}},{"entity":{"reference":"Patient/b"}}]"#;
    put(client, "Group/g", members).await;
    let exporter = Exporter::new(client);
    let export = exporter.export("/Group/g/$export?_type=Patient").await;
    client.delete(&export.place).await.expect(202);
    let id = export.place.rsplit('/').next().unwrap();
    let bytes = export.output["Patient"].iter().map(|line| line.len() + 1).sum::<usize>();
    let of_job = format!("'export {id}' = ANY (entities)");
    for (kind, condition, count) in [
        (130, "logical_id = 'g' AND rt = 58".to_owned(), 1),
        (132, "'1 files, 2 lines' = ANY (entities)".to_owned(), 1),
        (133, format!("'file 0, {bytes} bytes' = ANY (entities) AND cardinality(pats) = 2"), 1),
        (131, "outcome = 0".to_owned(), 1),
    ] {
        let query = format!(
            "SELECT count(*) FROM ledger WHERE interaction = {kind} AND {of_job} AND {condition}"
        );
        assert_eq!(server.database.number(&query).await, count, "{query}");
    }
    // Patients are told of it, and those who are no members have nothing to be told.
    for (patient, count) in [("a", 1), ("b", 1), ("c", 0)] {
        let url = format!("/AuditEvent?entity=Patient/{patient}&date=gt2020&_count=100");
        let events = client.get(&url).await.expect(200).text();
        assert_eq!(events.matches("\"110106\"").count(), count, "{patient}: {events}");
    }
    server.stop().await;
}
