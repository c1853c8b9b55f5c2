//! A record of some batches, and a copy of its tables to go back to after each change.

use std::time::{Duration, Instant};

use kiln::app::audit::folder::Folder;
use kiln::app::audit::sealer::{Sealer, log_name};
use kiln::app::audit::verify::{Outside, Report, verify};
use kiln::audit::Finding;
use kiln::clock::SystemClock;
use uuid::Uuid;

use crate::harness::database::connect;
use crate::harness::server::{TestServer, config};

/// A server with a record of some batches, and a copy of its tables to go back to.
pub(super) struct Record {
    pub(super) server: TestServer,
    pub(super) folder: Folder,
    pub(super) ids: Vec<Uuid>,
}

const COPY: &str = "CREATE TABLE c_ledger AS TABLE ledger_row;\n\
     CREATE TABLE c_party AS TABLE ledger_party;\n\
     CREATE TABLE c_seal AS TABLE seal;\n\
     CREATE TABLE c_rows AS TABLE seal_rows;\n\
     CREATE TABLE c_retired AS TABLE seal_retired";
const RESTORE: &str = "TRUNCATE ledger_row, ledger_party, seal, seal_rows, seal_retired;\n\
     INSERT INTO ledger_party SELECT * FROM c_party;\n\
     INSERT INTO ledger_row SELECT * FROM c_ledger;\n\
     INSERT INTO seal SELECT * FROM c_seal;\n\
     INSERT INTO seal_rows SELECT * FROM c_rows;\n\
     INSERT INTO seal_retired OVERRIDING SYSTEM VALUE SELECT * FROM c_retired";
const FORGET: &str = "DROP TABLE c_ledger, c_party, c_seal, c_rows, c_retired";

impl Record {
    pub(super) async fn make() -> Self {
        let server = TestServer::start_with(&[("audit.seal", "false")]).await;
        let folder = Folder::of(&config(&server.database, &[]));
        let record = Self { server, folder, ids: Vec::new() };
        let client = &record.server.client;
        for batch in 0..4 {
            let url = format!("/Patient/p{batch}");
            let body = format!(r#"{{"resourceType":"Patient","id":"p{batch}"}}"#);
            client.put(&url, body).await.expect(201);
            client.get(&url).await.expect(200);
            client.get("/Patient/nobody").await.expect(404);
            client.get("/Patient?gender=male").await.expect(200);
            record.seal().await;
        }
        record.server.database.run(COPY).await;
        let connection = connect(&record.server.database.superuser).await;
        let rows = connection.query("SELECT id FROM ledger ORDER BY xid, id", &[]).await.unwrap();
        let ids = rows.iter().map(|row| row.get(0)).collect();
        Self { ids, ..record }
    }

    /// Seals what there is; how many rows are sealed.
    pub(super) async fn seal(&self) -> u64 {
        let mut sealer = self.sealer();
        self.finish(&mut sealer).await
    }

    pub(super) fn sealer(&self) -> Sealer<SystemClock> {
        let store = self.server.store().clone();
        Sealer::new(store, SystemClock, self.folder.clone()).unwrap()
    }

    /// The same. Transactions of the cluster's other databases may be in the way for a moment.
    pub(super) async fn finish(&self, sealer: &mut Sealer<SystemClock>) -> u64 {
        let began = Instant::now();
        loop {
            let rows = sealer.finish().await.unwrap();
            let all = self.server.database.number("SELECT count(*) FROM ledger").await;
            if rows == all.cast_unsigned() {
                return rows;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{rows} of {all} sealed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn verify(&self) -> Report {
        self.verify_since(0).await
    }

    pub(super) async fn verify_since(&self, since: u64) -> Report {
        self.verify_by(&self.outside(), since).await
    }

    pub(super) async fn verify_by(&self, outside: &Outside, since: u64) -> Report {
        let store = self.server.store();
        verify(store, &log_name(store), outside, since, |_| {}).await.unwrap()
    }

    /// What is known outside the database.
    pub(super) fn outside(&self) -> Outside {
        Outside {
            trusted: self.folder.trusted().unwrap(),
            checkpoints: self.folder.checkpoints().unwrap(),
        }
    }

    /// Has [`Record::restore`] go back to how things are now.
    pub(super) async fn copy(&self) {
        self.server.database.run(FORGET).await;
        self.server.database.run(COPY).await;
    }

    /// The tables as they were copied.
    pub(super) async fn restore(&self) {
        self.server.database.run(RESTORE).await;
    }

    /// What is found after `statements`, which are undone.
    pub(super) async fn found_after(&self, statements: &str) -> Option<Finding> {
        self.server.database.run(statements).await;
        let report = self.verify().await;
        self.restore().await;
        report.finding
    }
}
