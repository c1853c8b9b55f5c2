//! Rows of the ledger as they lie on the disk: small, and read as they always were.

use std::time::Duration;

use kiln::audit::merkle::leaf;
use kiln::store::maintenance::{KnownParties, Place, UpTo, encoded_row, ordered_rows};

use crate::harness::database::connect;
use crate::harness::server::TestServer;

/// What is sealed of a row.
const SEALED: &[&str] = &[
    "id",
    "at",
    "xid",
    "grp",
    "tid",
    "interaction",
    "outcome",
    "rt",
    "vid",
    "logical_id",
    "actor",
    "client",
    "token",
    "source",
    "request_id",
    "method",
    "query",
    "failure",
    "pats",
    "entities",
    "person",
    "purpose",
];

/// Rows as a version before has them, which adds by the name of the view.
const BEFORE: &str = "INSERT INTO ledger (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, actor, \
     client, token, source, request_id, method, query, failure, pats, entities, person, purpose) VALUES \
     ('0199a2b4-0000-7000-8000-000000000001', '2025-10-02', '0199a2b4-0000-7000-8000-00000000000f', 0, 12, 0, 103, 1, \
     'p1', 'user:ada', 'app', '0199a2b4-0000-7000-8000-00000000000e', '192.0.2.1', \
     '0199a2b4-0000-7000-8000-00000000000d', 'GET', '/fhir/Patient/p1', NULL, '{7}', '{}', \
     'Practitioner/ada', 'TREAT'), \
     ('0199a2b4-0000-7000-8000-000000000002', '2025-10-02', '0199a2b4-0000-7000-8000-00000000000f', 0, 50, 4, NULL, NULL, \
     NULL, 'anonymous', NULL, NULL, NULL, 'r', 'GET', '/', 'why', '{}', '{}', NULL, NULL), \
     ('0199a2b4-0000-7000-8000-000000000003', '2025-10-02', '0199a2b4-0000-7000-8000-00000000000f', 0, 17, 0, 103, NULL, \
     NULL, 'user:ada', NULL, NULL, NULL, 'r', 'GET', '/', NULL, '{7,-8}', '{Patient/p1/_history/1}', NULL, NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_before_are_sealed_and_found_as_they_were() {
    let server = TestServer::start().await;
    server.database.run(BEFORE).await;
    // Byte for byte what the columns of the table have.
    let of = |name: &str| -> String {
        let columns: Vec<_> = SEALED.iter().map(|column| format!("{name}.{column}")).collect();
        format!("record_send(ROW({}))", columns.join(", "))
    };
    let same = format!(
        "SELECT count(*) FROM ledger l JOIN ledger_row r USING (id) WHERE r.actor IS NOT NULL AND {} = {}",
        of("l"),
        of("r")
    );
    assert_eq!(server.database.number(&same).await, 3);
    // What is sealed without the view is what the view says, of rows of before and of now.
    let made = server.client.post("/Patient", r#"{"resourceType":"Patient"}"#).await.expect(201);
    server.client.get(&format!("/Patient/{}", made.id())).await.expect(200);
    server.client.get("/Patient?gender=male").await.expect(200);
    server.client.get("/Patient/nobody").await.expect(404);
    let (parties, start) = (KnownParties::default(), Place::START);
    let all = UpTo::Below(i64::MAX);
    let rows = ordered_rows(server.store(), &parties, start, all, 100).await.unwrap();
    assert_eq!(rows.len(), 7);
    for row in rows {
        let encoded = encoded_row(server.store(), row.place.id).await.unwrap().unwrap();
        assert_eq!(row.leaf, leaf(&encoded.encoding), "{row:?}");
    }
    for (query, expected) in [
        ("altid=user:ada", 3),
        ("agent=Practitioner/ada", 1),
        ("altid=anonymous&outcome=4", 1),
        ("entity=Patient/p1", 1),
    ] {
        let url = format!("/AuditEvent?date=lt2025-12-01&_total=accurate&{query}");
        let found = server.client.get(&url).await.expect(200);
        assert_eq!(
            found.at("total").as_deref(),
            Some(&*expected.to_string()),
            "{query}: {found:?}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_repeats_is_kept_once_and_a_read_takes_few_bytes() {
    let server = TestServer::start().await;
    let made = server.client.post("/Patient", r#"{"resourceType":"Patient"}"#).await.expect(201);
    let url = format!("/Patient/{}", made.id());
    for _ in 0..20 {
        server.client.get(&url).await.expect(200);
    }
    let parties = "SELECT count(*) FROM ledger_party WHERE actor = 'anonymous' AND method = 'GET'";
    assert_eq!(server.database.number(parties).await, 1);
    let reads = "FROM ledger_row WHERE interaction = 12 AND outcome = 0";
    assert_eq!(server.database.number(&format!("SELECT count(*) {reads}")).await, 20);
    // Beside the query and eight bytes of the patient; with its pointer, 28 of a header.
    let widest = format!(
        "SELECT max(pg_column_size(ledger_row.*) - octet_length(query) - 8)::bigint {reads}"
    );
    let widest = server.database.number(&widest).await;
    assert!(widest <= 150, "{widest} bytes");
    let told = "SELECT count(*) FROM ledger WHERE interaction = 12 AND actor = 'anonymous' AND method = 'GET' \
         AND source = '127.0.0.1' AND grp = id AND cardinality(pats) = 1 AND entities = '{}' \
         AND length(request_id) = 36 AND length(logical_id) = 36";
    assert_eq!(server.database.number(told).await, 20);
    server.stop().await;
}

/// Spans are in the order of the ids, whatever those tell, and as long as they are said to be.
#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_ids_are_in_the_order_of_the_ids() {
    let server = TestServer::start().await;
    let known = "SELECT unnest(ARRAY['00000000-0000-0000-0000-000000000000', \
         'ffffffff-ffff-ffff-ffff-ffffffffffff', '0199a2b4-0000-7000-8000-000000000001', \
         '0199a2b4-ffff-7000-8000-000000000001', '0199a2b5-0000-7000-8000-000000000001', \
         '0199a2ff-ffff-7000-8000-000000000001']::uuid[]) AS id";
    let ids =
        format!("SELECT gen_random_uuid() AS id FROM generate_series(1, 1000) UNION ALL {known}");
    let ordered = format!(
        "WITH i AS MATERIALIZED ({ids}) SELECT count(*) FROM \
         (SELECT kiln_time(id) >= lag(kiln_time(id)) OVER (ORDER BY id) AS is_in_order FROM i) o \
         WHERE is_in_order"
    );
    assert_eq!(server.database.number(&ordered).await, 1_005);
    let spans = format!("SELECT count(DISTINCT kiln_time(id)) FROM ({known}) k");
    assert_eq!(server.database.number(&spans).await, 5);
    server.stop().await;
}

/// Two parties that would have one key have two, and both are of one actor.
#[tokio::test(flavor = "multi_thread")]
async fn parties_that_would_share_a_key_are_told_apart() {
    let server = TestServer::start().await;
    let client = connect(&server.database.superuser).await;
    let ask = "SELECT kiln_party('user:ada', 'app', NULL, NULL, '192.0.2.1', 'GET')";
    let key = async || client.query_one(ask, &[]).await.unwrap().get::<_, i64>(0);
    client.batch_execute("BEGIN").await.unwrap();
    let wanted = key().await;
    client.batch_execute("ROLLBACK").await.unwrap();
    let other =
        "INSERT INTO ledger_party VALUES ($1, 'user:ada', 'another', NULL, NULL, NULL, 'GET')";
    client.execute(other, &[&wanted]).await.unwrap();
    let (one, again) = (key().await, key().await);
    assert!(one != wanted && one == again && one >> 32 == wanted >> 32, "{wanted} {one} {again}");
    server.stop().await;
}

/// Ends the connections to the database for which a condition holds.
fn ended(which: &str) -> String {
    format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}"
    )
}

/// Asks for what is not there until the server answers so, and then some more; how often it did.
async fn refused(server: &TestServer) -> i64 {
    let mut told = 0;
    for _ in 0..200 {
        let answer = server.client.get("/Patient/nobody").await;
        told += i64::from(answer.status == 404);
        if told == 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told
}

/// What a server knows of parties may not be there after the database was another for a while, even
/// where the connection by which it got to know them was not lost.
#[tokio::test(flavor = "multi_thread")]
async fn parties_are_added_anew_after_connections_are_lost() {
    const OF_PARTIES: &str = "query LIKE 'SELECT kiln_party(%'";
    for lost in ["true", "query NOT LIKE 'SELECT kiln_party(%'"] {
        let server = TestServer::start().await;
        server.client.get("/Patient/nobody").await.expect(404);
        let own = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {OF_PARTIES}"
        );
        assert!(server.database.number(&own).await >= 1);
        server.database.run(&format!("DELETE FROM ledger_party; {}", ended(lost))).await;
        assert_eq!(refused(&server).await, 10, "{lost}");
        // Each row names a party that is there. It has the same key again, so who was on record before is
        // so again.
        let unnamed = "SELECT count(*) FROM ledger WHERE actor IS NULL";
        assert_eq!(server.database.number(unnamed).await, 0, "{lost}");
        let named = "SELECT count(*) FROM ledger WHERE query = '/fhir/Patient/nobody' AND actor = 'anonymous'";
        assert!(server.database.number(named).await >= 11, "{lost}");
        server.stop().await;
    }
}
