//! The second wall: what a session of the database sees that asks for another tenant's rows.
//!
//! Covers: security C3.
//! Covers in part: security G7.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::World;
use crate::harness::database::connect;

/// Tables of a schema whose rows the server has written by now.
const FILLED: [&str; 6] = ["res", "ident", "ledger_row", "oauth_client", "oauth_token", "srow"];

/// How many rows `client` sees in a table of a schema.
async fn seen(client: &Client, schema: &str, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {schema}.{table}");
    client.query_one(&query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
}

/// What became of a statement: how many rows it changed, or what it was refused for.
async fn changed(client: &Client, statement: &str) -> Result<u64, SqlState> {
    let done = client.execute(statement, &[]).await;
    done.map_err(|error| error.code().unwrap_or_else(|| panic!("{statement}: {error}")).clone())
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
    let app = "kiln_app";
    for url in [&world.database.app, &world.database.owner] {
        let session = connect(url).await;
        let user = session.query_one("SELECT current_user::text", &[]).await.unwrap();
        let is_app = user.get::<_, String>(0) == app;
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
        // No row is found to be changed, and one that is added is refused by the policy: not for a statement
        // that could not run at all.
        for statement in [
            format!("UPDATE {north}.res SET vid = 9"),
            format!("DELETE FROM {north}.res"),
            format!("DELETE FROM {north}.oauth_client"),
            format!("UPDATE {north}.oauth_token SET expires = 'infinity'"),
        ] {
            assert_eq!(changed(&session, &statement).await, Ok(0), "{is_app}: {statement}");
        }
        let added = format!("INSERT INTO {north}.meta_use VALUES (0, 1, 't', 's', 'c')");
        let refused = changed(&session, &added).await;
        assert_eq!(refused, Err(SqlState::INSUFFICIENT_PRIVILEGE), "{is_app}: {added}");
        say(&ids[0].to_string()).await;
        assert_eq!(changed(&session, &added).await, Ok(1), "{is_app}: the tenant itself may");
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
    assert_eq!(world.database.number(&guarded).await, all);
    // Months to come are guarded from their first moment on, whoever has them made.
    let north = world.schema("north").await;
    let number = north.trim_start_matches("kiln_t").to_owned();
    for (url, whose, month) in [
        (&world.database.app, number.as_str(), "2031-01-01"),
        (&world.database.owner, number.as_str(), "2032-01-01"),
    ] {
        let session = connect(url).await;
        let said = format!("SET search_path = {north}; SET kiln.tenant = '{whose}'");
        session.batch_execute(&said).await.unwrap();
        let made = format!("SELECT kiln_make_partitions('{month}')");
        assert!(session.query_one(&made, &[]).await.unwrap().get::<_, i32>(0) >= 12);
    }
    let (all, guarded) =
        (world.database.number(tables).await, world.database.number(&guarded).await);
    assert_eq!(guarded, all, "with the months that were made since");
    let open = "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = 'kiln_app' \
                AND table_schema ~ '^kiln_t[0-9]+$' AND table_name ~ '_([0-9]{6}|default)$'";
    assert_eq!(world.database.number(open).await, 0, "a part that the server reaches by itself");
    // What was stored without tenants is reached by no endpoint, and nothing was.
    assert_eq!(world.database.number("SELECT count(*) FROM public.res").await, 0);
    assert_eq!(world.database.number("SELECT count(*) FROM public.ledger_row").await, 0);
    world.stop().await;
}

/// What opened the wall is closed at the next start, or keeps it from being taken for closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_wall_that_was_opened_is_closed_again() {
    let world = World::start().await;
    let north = world.schema("north").await;
    let number = north.trim_start_matches("kiln_t").to_owned();
    let owner = connect(&world.database.owner).await;
    let said = format!("SET search_path = {north}; SET kiln.tenant = '{number}'");
    owner.batch_execute(&said).await.unwrap();
    let guard = async || {
        let made = owner.query_one("SELECT kiln_guard()", &[]).await;
        made.map(|row| row.get::<_, i32>(0)).map_err(|error| format!("{error:?}"))
    };
    assert_eq!(guard().await, Ok(0));
    for opened in [
        "ALTER POLICY tenant ON res USING (true)",
        "ALTER POLICY tenant ON res TO kiln_app",
        "ALTER POLICY tenant ON res WITH CHECK (true)",
        "ALTER TABLE res NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE res DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON res",
    ] {
        owner.batch_execute(opened).await.unwrap();
        assert_eq!((guard().await, guard().await), (Ok(1), Ok(0)), "{opened}");
    }
    owner.batch_execute("CREATE POLICY all_of_it ON res USING (true)").await.unwrap();
    let told = guard().await.expect_err("a second policy");
    assert!(told.contains("has a policy beside"), "{told}");
    world.stop().await;
}

/// What tenants ask of the database by name is each one's own.
#[tokio::test(flavor = "multi_thread")]
async fn locks_and_words_of_tenants_are_their_own() {
    let world = World::start().await;
    let mut told = Vec::new();
    for schema in [world.schema("north").await, world.schema("south").await, "public".to_owned()] {
        let session = connect(&world.database.app).await;
        session.batch_execute(&format!("SET search_path = {schema}")).await.unwrap();
        let row = session.query_one("SELECT kiln_lock('x'), kiln_channel()", &[]).await.unwrap();
        told.push((row.get::<_, i64>(0), row.get::<_, String>(1)));
    }
    for (at, (lock, channel)) in told.iter().enumerate() {
        let mut others = told[at + 1..].iter();
        assert!(others.all(|other| other.0 != *lock && other.1 != *channel), "{told:?}");
    }
    assert_eq!(told[2].1, "kiln_token");
    // Nobody waits for a definition that another tenant puts into force.
    let blocker = connect(&world.database.app).await;
    let south = world.schema("south").await;
    let held = format!(
        "SET search_path = {south}; BEGIN; \
         SELECT pg_advisory_xact_lock(kiln_lock('kiln_parameter_epoch'))"
    );
    blocker.batch_execute(&held).await.unwrap();
    world
        .north
        .send("PUT", "/Patient/p9", r#"{"resourceType":"Patient","id":"p9"}"#)
        .await
        .expect(201);
    blocker.batch_execute("COMMIT").await.unwrap();
    // Behind the wall it is known, too, how many rows there are of each type.
    let owner = connect(&world.database.superuser).await;
    let north = world.schema("north").await;
    owner.batch_execute(&format!("ANALYZE {north}.srow")).await.unwrap();
    let session = connect(&world.database.app).await;
    let number = north.trim_start_matches("kiln_t").to_owned();
    let said = format!("SET search_path = {north}; SET kiln.tenant = '{number}'");
    session.batch_execute(&said).await.unwrap();
    let sizes = kiln::store::statements().find(|sql| sql.contains("TABLESAMPLE")).unwrap();
    let rows = session.query(sizes, &[]).await.unwrap();
    let known: i64 = rows.iter().map(|row| row.get::<_, i64>(1)).sum();
    assert!(known > 0, "nothing is known of the sizes of types");
    world.stop().await;
}
