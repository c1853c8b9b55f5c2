//! The second wall: what a session of the database sees that asks for another tenant's rows.
//!
//! Covers in part: security G7, C3.

use tokio_postgres::Client;

use super::World;
use crate::harness::database::connect;

/// Tables of a schema whose rows the server has written by now.
const FILLED: [&str; 6] = ["res", "ident", "ledger_row", "oauth_client", "oauth_token", "srow"];

/// How many rows `client` sees in a table of a schema.
async fn seen(client: &Client, schema: &str, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {schema}.{table}");
    client.query_one(&query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
}

/// Whether a statement did nothing: it found no row, or was refused.
async fn is_idle(client: &Client, statement: &str) -> bool {
    client.execute(statement, &[]).await.map_or(true, |rows| rows == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_tenant_sees_and_changes_no_row() {
    let world = World::start().await;
    let patient = r#"{"resourceType":"Patient","id":"p1","active":true}"#;
    world.north.send("PUT", "/Patient/p1", patient).await.expect(201);
    let whole = connect(&world.database.superuser).await;
    let query = "SELECT id FROM tenant ORDER BY name";
    let ids: Vec<i32> =
        whole.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let north = format!("kiln_t{}", ids[0]);
    for url in [&world.database.app, &world.database.owner] {
        let session = connect(url).await;
        let say = async |whose: &str| {
            session.execute("SELECT set_config('kiln.tenant', $1, false)", &[&whose]).await.unwrap()
        };
        for (whose, sees) in
            [("", false), (&ids[1].to_string(), false), (&ids[0].to_string(), true)]
        {
            say(whose).await;
            for table in FILLED {
                let rows = seen(&session, &north, table).await;
                assert_eq!(rows > 0, sees, "{table} of {north} as {whose:?}: {rows}");
            }
        }
        say(&ids[1].to_string()).await;
        for statement in [
            format!("UPDATE {north}.res SET vid = 9"),
            format!("DELETE FROM {north}.res"),
            format!("DELETE FROM {north}.oauth_client"),
            format!("UPDATE {north}.oauth_token SET expires = 'infinity'"),
            format!("INSERT INTO {north}.meta_use VALUES (0, 1, 't', 's', 'c')"),
        ] {
            assert!(is_idle(&session, &statement).await, "{statement}");
        }
        say(&ids[0].to_string()).await;
        let moved = format!("INSERT INTO {north}.meta_use VALUES (0, 1, 't', 's', 'c')");
        assert!(!is_idle(&session, &moved).await, "the tenant itself may");
        session.execute(&format!("DELETE FROM {north}.meta_use"), &[]).await.unwrap();
    }
    assert_eq!(seen(&whole, &north, "res WHERE vid = 1").await, 1);
    assert_eq!(seen(&whole, &north, "meta_use").await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_a_tenant_is_guarded_and_no_connection_of_another_is_open() {
    let world = World::start().await;
    let tables = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname ~ '^kiln_t[0-9]+$' AND c.relkind IN ('r', 'p')";
    let all = world.database.number(tables).await;
    assert!(all > 100, "{all} tables");
    let guarded = format!(
        "{tables} AND c.relrowsecurity AND c.relforcerowsecurity AND (SELECT count(*) FROM \
         pg_policy p WHERE p.polrelid = c.oid) = 1"
    );
    // Months that were made since then are reached by their parents alone.
    let parts = format!("{tables} AND c.relispartition AND NOT c.relrowsecurity");
    let (guarded, parts) =
        (world.database.number(&guarded).await, world.database.number(&parts).await);
    assert_eq!(guarded + parts, all);
    let open = "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = 'kiln_app' \
                AND table_schema ~ '^kiln_t[0-9]+$' AND table_name ~ '_([0-9]{6}|default)$'";
    assert_eq!(world.database.number(open).await, 0, "a part that the server reaches by itself");
    // What was stored without tenants is reached by no endpoint, and nothing was.
    assert_eq!(world.database.number("SELECT count(*) FROM public.res").await, 0);
    assert_eq!(world.database.number("SELECT count(*) FROM public.ledger_row").await, 0);
    world.stop().await;
}
