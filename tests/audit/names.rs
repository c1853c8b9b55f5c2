//! Whose the hashes of patients are: kept beside the record before its rows are sealed.

use std::time::Duration;

use kiln::app::audit::folder::Folder;
use kiln::app::audit::sealer::Sealer;
use kiln::clock::SystemClock;

use crate::harness::database::connect;
use crate::harness::server::{TestServer, config};

const PUBLISHED: &str = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}}"#;

/// Patients of rows that have no name.
const NAMELESS: &str = "SELECT count(*) FROM (SELECT unnest(pats) AS hash FROM ledger) l \
     WHERE NOT EXISTS (SELECT FROM patient_name n WHERE n.hash = l.hash)";

struct Names(TestServer);

impl Names {
    async fn seal(&self, sealer: &mut Sealer<SystemClock>) {
        let all = "SELECT count(*) FROM ledger";
        // Transactions of the cluster's other databases may be in the way for a moment.
        while sealer.finish().await.unwrap() < self.0.database.number(all).await.cast_unsigned() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn sealer(&self) -> Sealer<SystemClock> {
        let folder = Folder::of(&config(&self.0.database, &[]));
        Sealer::new(self.0.store().clone(), SystemClock, folder).unwrap()
    }

    async fn kept(&self) -> Vec<String> {
        let connection = connect(&self.0.database.superuser).await;
        let rows = connection.query("SELECT id FROM patient_name ORDER BY id", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_patients_are_kept_whatever_the_rows_are_about() {
    let names = Names(TestServer::start_with(&[("audit.seal", "false")]).await);
    let client = &names.0.client;
    for id in ["a", "b", "c"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"male"}}"#);
        client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    let result = client.post("/Observation", PUBLISHED).await.expect(201);
    // As if all of that were long ago and dropped with its month: no row is about the patients.
    names.0.database.run("TRUNCATE ledger_row").await;
    let mut sealer = names.sealer();
    client.get(&format!("/Observation/{}", result.id())).await.expect(200);
    client.get("/Patient/nobody").await.expect(404);
    names.seal(&mut sealer).await;
    assert_eq!(names.kept().await, ["a", "nobody"]);
    // A search names all that it finds; known ones are no trouble, to this sealer and to the next.
    client.get(&format!("/Observation/{}", result.id())).await.expect(200);
    client.get("/Patient?_id=a,b").await.expect(200);
    names.seal(&mut sealer).await;
    assert_eq!(names.kept().await, ["a", "b", "nobody"]);
    client.get("/Patient?gender=male").await.expect(200);
    client.put("/Patient/d", r#"{"resourceType":"Patient","id":"d"}"#).await.expect(201);
    client.delete("/Patient/d").await.expect(204);
    names.seal(&mut names.sealer()).await;
    assert_eq!(names.kept().await, ["a", "b", "c", "d", "nobody"]);
    assert_eq!(names.0.database.number(NAMELESS).await, 0);
    names.0.stop().await;
}
