//! The server's own role can add to the record and to its seal, and nothing else (A12, V32).
//!
//! Covers: security A12, V32.

use tokio_postgres::error::SqlState;

use crate::harness::database::{Database, connect};

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_role_cannot_change_the_record() {
    let database = Database::migrated().await;
    let client = connect(&database.app).await;
    let month =
        "(SELECT relname FROM pg_class WHERE relname ~ '^ledger_[0-9]{6}$' ORDER BY 1 LIMIT 1)";
    let partition: String = client.query_one(month, &[]).await.unwrap().get(0);
    for table in
        ["ledger_row", "ledger_party", "ledger_default", partition.as_str(), "seal", "seal_rows"]
    {
        let column = if table == "ledger_party" { "actor" } else { "at" };
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
        "SET session_replication_role = replica",
    ] {
        let error = client.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    // What it may do.
    for table in ["ledger", "ledger_party", "seal", "seal_rows"] {
        client.batch_execute(&format!("SELECT count(*) FROM {table}")).await.unwrap();
    }
}
