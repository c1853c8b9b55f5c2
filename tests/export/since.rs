//! What changed since an export.

use kiln::fhir::json::parse;

use super::{Exporter, put};
use crate::harness::json::at;
use crate::harness::server::TestServer;

/// A version bears the time at which it was made, which may be before that of an export that did not see
/// it, because it was committed later: the next export has it all the same, and nothing else twice.
///
/// Covers: rest 6.62, 6.67.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_export_goes_on_where_the_last_one_ended() {
    let server = TestServer::start().await;
    let client = &server.client;
    for id in ["kept", "changed", "gone", "other"] {
        put(client, &format!("Patient/{id}"), r#""gender":"male""#).await;
    }
    put(client, "Device/gone", "").await;
    let exporter = Exporter::new(client);
    let first = exporter.export("/$export?_type=Patient").await;
    assert_eq!(first.names().len(), 4);
    let time = first.manifest.at("transactionTime").unwrap();
    for lines in first.output.values() {
        for line in lines {
            let value = parse(line.as_bytes()).unwrap();
            let updated = at(&value, "meta.lastUpdated").and_then(|it| it.as_str()).unwrap();
            assert!(*updated <= *time, "{updated} is newer than {time}");
        }
    }
    put(client, "Patient/changed", r#""gender":"female""#).await;
    put(client, "Patient/new", "").await;
    client.delete("/Patient/gone").await.expect(204);
    client.delete("/Device/gone").await.expect(204);
    // As one leaves it who was made before the export and committed after it.
    put(client, "Patient/late", "").await;
    let earlier = "UPDATE res SET lu = lu - interval '5 minutes' WHERE id = 'late'";
    server.database.run(earlier).await;
    // A row that is touched, as when the index is built anew, is no newer for that.
    let touched = "UPDATE res SET lu = lu - interval '1 hour', xid = pg_current_xact_id() \
        WHERE id = 'kept'";
    server.database.run(touched).await;
    let new = ["Patient/changed", "Patient/late", "Patient/new"];
    let of_patients = format!("/Patient/$export?_type=Patient,Device&_since={time}");
    let of_patients = exporter.export(&of_patients).await;
    assert_eq!(of_patients.names(), new);
    for gone in ["Patient/gone", "Device/gone"] {
        let is_told = of_patients.deleted.iter().any(|bundle| bundle.contains(gone));
        assert!(is_told, "{gone}: {:?}", of_patients.deleted);
    }
    let next = exporter.export(&format!("/$export?_type=Patient&_since={time}")).await;
    assert_eq!(next.names(), new);
    assert_eq!(next.deleted.len(), 1, "{:?}", next.deleted);
    let bundle = parse(next.deleted[0].as_bytes()).unwrap();
    assert_eq!(bundle.str_at("type"), Some("transaction"));
    let request = |path: &str| at(&bundle, path).and_then(|it| it.as_str()).map(str::to_owned);
    assert_eq!(request("entry[0].request.method").as_deref(), Some("DELETE"));
    assert_eq!(request("entry[0].request.url").as_deref(), Some("Patient/gone"));
    assert_eq!(bundle.items_at("entry").len(), 1, "of the types that are exported");
    // Once more, with nothing new.
    let time = next.manifest.at("transactionTime").unwrap();
    let last = exporter.export(&format!("/$export?_type=Patient&_since={time}")).await;
    assert_eq!((last.names().len(), last.deleted.len()), (0, 0));
    assert!(last.manifest.json().get("deleted").is_none(), "{:?}", last.manifest);
    // A time of the client's own counts as such.
    let all = exporter.export("/$export?_type=Patient&_since=2020-01-01T00:00:00Z").await;
    assert_eq!(all.names().len(), 5);
    server.stop().await;
}

/// Writes go on while exports follow each other: together they have each resource's last version.
///
/// Covers: rest 6.62.
#[tokio::test(flavor = "multi_thread")]
async fn exports_beside_writes_lose_nothing() {
    let server = TestServer::start().await;
    let client = server.client.clone();
    let writing = tokio::spawn(async move {
        for round in 0..40 {
            let writes = (0..8).map(|at| {
                let client = client.clone();
                async move {
                    put(&client, &format!("Patient/p{round}-{at}"), "").await;
                }
            });
            futures_util::future::join_all(writes).await;
        }
    });
    let exporter = Exporter::new(&server.client);
    let mut seen = std::collections::BTreeSet::new();
    let mut since = String::new();
    loop {
        let is_last = writing.is_finished();
        let export = exporter.export(&format!("/$export?_type=Patient{since}")).await;
        seen.extend(export.names());
        since = format!("&_since={}", export.manifest.at("transactionTime").unwrap());
        if is_last {
            break;
        }
    }
    writing.await.unwrap();
    assert_eq!(seen.len(), 320);
    server.stop().await;
}

/// What is choice of a server: data of who joined the Group since come only as far as they changed.
///
/// Covers: rest 6.68.
#[tokio::test(flavor = "multi_thread")]
async fn of_who_joined_a_group_only_what_changed_comes() {
    let server = TestServer::start().await;
    let client = &server.client;
    let group = |members: &[&str]| {
        let members: Vec<String> = members
            .iter()
            .map(|id| format!(r#"{{"entity":{{"reference":"Patient/{id}"}}}}"#))
            .collect();
        format!(r#""type":"person","actual":true,"member":[{}]"#, members.join(","))
    };
    let observation = |who: &str| {
        format!(
            r#""status":"final","code":{{"text":"c"}},"subject":{{"reference":"Patient/{who}"}}"#
        )
    };
    for who in ["a", "b"] {
        put(client, &format!("Patient/{who}"), "").await;
        put(client, &format!("Observation/{who}-old"), &observation(who)).await;
    }
    put(client, "Group/g", &group(&["a"])).await;
    let exporter = Exporter::new(client);
    let first = exporter.export("/Group/g/$export").await;
    assert_eq!(first.names(), ["Observation/a-old", "Patient/a"]);
    let time = first.manifest.at("transactionTime").unwrap();
    put(client, "Group/g", &group(&["a", "b"])).await;
    put(client, "Observation/b-new", &observation("b")).await;
    client.delete("/Observation/a-old").await.expect(204);
    let next = exporter.export(&format!("/Group/g/$export?_since={time}")).await;
    assert_eq!(next.names(), ["Observation/b-new"]);
    assert!(next.deleted.len() == 1 && next.deleted[0].contains("Observation/a-old"));
    server.stop().await;
}
