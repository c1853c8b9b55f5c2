//! What the server's role in the database could do to the record beyond adding to it.

use crate::error::Error;

use super::super::{Store, failure};

/// The role of this connection, and the worst that it could do to a table of the record. Who owns a schema
/// may drop its tables, and a trigger may keep rows from being added.
const RIGHTS: &str = "WITH record AS (SELECT c.oid, c.relname::text AS name, c.relowner, n.nspowner \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid IN ('ledger_row'::regclass, 'ledger_party'::regclass, 'seal'::regclass, \
     'seal_rows'::regclass, 'seal_retired'::regclass, 'patient_name'::regclass) \
     OR c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent IN ('ledger_row'::regclass, 'seal_rows'::regclass))) \
     SELECT current_user::text, w.why FROM ( \
     SELECT 0 AS rank, 'is a superuser' AS why, '' AS name FROM pg_roles \
     WHERE rolname = current_user AND rolsuper \
     UNION ALL SELECT 1, 'owns the table ' || name || ', or can become who does', name FROM record \
     WHERE pg_has_role(relowner, 'MEMBER') \
     UNION ALL SELECT 2, 'owns the schema of ' || name || ', or can become who does', name FROM record \
     WHERE pg_has_role(nspowner, 'MEMBER') \
     UNION ALL SELECT 3, 'has the right to ' || r || ' on ' || name, name \
     FROM record, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) r \
     WHERE has_table_privilege(oid, r) OR r = 'UPDATE' AND has_any_column_privilege(oid, r)) w \
     ORDER BY w.rank, w.name, w.why LIMIT 1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[RIGHTS];

/// Why the role that serves could change the record, as a sentence without its end; `None` where it can read
/// and add, and nothing else.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn rights_over_record(store: &Store) -> Result<Option<String>, Error> {
    let connection = store.0.writers.connection().await?;
    let found = connection.query_opt(RIGHTS, &[]).await.map_err(failure::error)?;
    let read = |row: &tokio_postgres::Row| {
        let (role, why): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        Ok(format!("{role} {why}"))
    };
    found.as_ref().map(|row| read(row).map_err(failure::error)).transpose()
}
