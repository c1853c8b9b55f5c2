//! The server's own role can add to the record and to its seal, and nothing else, and no other role serves (A12, V32).
//!
//! Covers: security A12, V32.

use kiln::app::server::Server;
use tokio_postgres::error::SqlState;

use crate::harness::database::{Database, connect};
use crate::harness::server::config;

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_role_cannot_change_the_record() {
    let database = Database::migrated().await;
    let client = connect(&database.app).await;
    let month =
        "(SELECT relname FROM pg_class WHERE relname ~ '^ledger_[0-9]{6}$' ORDER BY 1 LIMIT 1)";
    let partition: String = client.query_one(month, &[]).await.unwrap().get(0);
    for (table, column) in [
        ("ledger_row", "at"),
        ("ledger_party", "actor"),
        ("ledger_default", "at"),
        (partition.as_str(), "at"),
        ("seal", "at"),
        ("seal_rows", "at"),
        ("seal_retired", "statement"),
        ("patient_name", "id"),
    ] {
        for statement in [
            format!("UPDATE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
            format!("ALTER TABLE {table} ADD COLUMN more int"),
            format!("ALTER TABLE {table} DISABLE TRIGGER ALL"),
            format!("ALTER TABLE {table} OWNER TO kiln_app"),
            format!("DROP TABLE {table}"),
            format!("CREATE RULE nothing AS ON INSERT TO {table} DO INSTEAD NOTHING"),
            format!("GRANT UPDATE ON {table} TO kiln_app"),
        ] {
            let error = client.batch_execute(&statement).await;
            // A grant that is not in one's power to give is a warning and does nothing.
            if error.is_ok() && statement.starts_with("GRANT") {
                continue;
            }
            let code = error.expect_err(&statement).code().cloned();
            assert_eq!(code, Some(SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
        }
    }
    for statement in [
        "SET ROLE kiln_owner",
        "CREATE OR REPLACE FUNCTION kiln_make_partitions(today date) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT kiln_make_partition('ledger_row', '2019-01-01')",
        "SET session_replication_role = replica",
        "INSERT INTO seal_retired (statement, key, signature) VALUES ('', '', '')",
    ] {
        let error = client.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    // What it may do.
    for table in ["ledger", "ledger_party", "seal", "seal_rows", "seal_retired"] {
        client.batch_execute(&format!("SELECT count(*) FROM {table}")).await.unwrap();
    }
}

/// Starts a server by the role of a URL; why it does not start.
async fn refusal(database: &Database, url: &str, settings: &[(&str, &str)]) -> Option<String> {
    let mut all = vec![("database.url", url)];
    all.extend(settings);
    match Server::start(config(database, &all)).await {
        Ok(server) => {
            server.stop().await;
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_could_change_the_record_does_not_serve() {
    let database = Database::migrated().await;
    assert_eq!(refusal(&database, &database.app, &[]).await, None);
    for (url, why) in [
        (&database.superuser, "postgres is a superuser"),
        (&database.owner, "kiln_owner owns the table "),
    ] {
        let text = refusal(&database, url, &[]).await.unwrap_or_default();
        assert!(text.contains(why) && text.contains("audit.any_role"), "{text}");
    }
    for (right, table, why) in [
        ("UPDATE (actor)", "ledger_row", "the right to UPDATE on ledger_row"),
        ("DELETE", "seal_rows_default", "the right to DELETE on seal_rows_default"),
        ("TRUNCATE", "seal", "the right to TRUNCATE on seal"),
        ("TRIGGER", "ledger_party", "the right to TRIGGER on ledger_party"),
        ("DELETE", "patient_name", "the right to DELETE on patient_name"),
    ] {
        database.run(&format!("GRANT {right} ON {table} TO kiln_app")).await;
        let text = refusal(&database, &database.app, &[]).await.unwrap_or_default();
        assert!(text.contains(why), "{right} {table}: {text}");
        // Whose only role it is may say so.
        let said = [("audit.any_role", "true")];
        assert_eq!(refusal(&database, &database.app, &said).await, None, "{right} {table}");
        database.run(&format!("REVOKE {right} ON {table} FROM kiln_app")).await;
    }
    assert_eq!(refusal(&database, &database.app, &[]).await, None);
}
