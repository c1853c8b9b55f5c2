//! The closure tables of clients: which concepts each has.
//!
//! Spec: <https://hl7.org/fhir/R4/conceptmap-operation-closure.html>

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::access::Permit;
use crate::error::Error;

use super::connection::{Reader, Transaction};
use super::write::WriteTx;
use super::{Store, failure};

/// Most tables of a client.
const MAX_TABLES: i64 = 1_000;

/// A name that is there already begins anew; a new one only where there is room.
const BEGIN: &str = "WITH gone AS (DELETE FROM closure_concept WHERE name = $1) \
     INSERT INTO closure (name, version) SELECT $1, 0 \
     WHERE EXISTS (SELECT FROM closure WHERE name = $1) \
       OR (SELECT count(*) FROM closure WHERE starts_with(name, $2)) < $3 \
     ON CONFLICT (name) DO UPDATE SET version = 0 RETURNING name";

/// Who adds waits for others, and then sees what they added.
const WAIT: &str = "SELECT FROM closure WHERE name = $1 FOR UPDATE";

/// What is read is what was there before.
const ADD: &str = "WITH known AS ( \
       UPDATE closure SET version = version + 1 WHERE name = $1 RETURNING version), \
     added AS ( \
       INSERT INTO closure_concept (name, system, code, version) \
       SELECT $1, given.system, given.code, known.version \
         FROM known, unnest($2::text[], $3::text[]) AS given (system, code) \
       ON CONFLICT DO NOTHING) \
     SELECT known.version, had.system, had.code, had.version \
       FROM known LEFT JOIN closure_concept had ON had.name = $1";

const ALL: &str = "SELECT closure.version, had.system, had.code, had.version \
     FROM closure LEFT JOIN closure_concept had USING (name) WHERE closure.name = $1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[BEGIN, WAIT, ADD, ALL];

/// A closure table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClosureTable {
    /// How often something was added.
    pub version: i64,
    /// System, code, and the version with which each came.
    pub concepts: Vec<(String, String, i64)>,
}

impl Store {
    /// Begins a closure table, or begins it anew.
    ///
    /// # Errors
    /// [`Error::TooCostly`] for one table too many, [`Error::Unavailable`] without a database.
    pub async fn begin_closure(&self, name: &str, permit: &Permit<'_>) -> Result<(), Error> {
        let (name, prefix) = (key(permit.actor(), name), key(permit.actor(), ""));
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(BEGIN).await.map_err(failure::error)?;
        let begun = connection.execute(&statement, &[&name, &prefix, &MAX_TABLES]).await;
        if begun.map_err(failure::error)? == 0 { Err(too_many()) } else { Ok(()) }
    }

    /// Adds concepts, each a system and a code: the table's new version with what it had before;
    /// `None` where there is no such table.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn add_to_closure(
        &self,
        name: &str,
        (systems, codes): (&[&str], &[&str]),
        permit: &Permit<'_>,
    ) -> Result<Option<ClosureTable>, Error> {
        let name = key(permit.actor(), name);
        let transaction = self.0.writers.begin("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        transaction.all(WAIT, &[&name]).await?;
        let rows = transaction.all(ADD, &[&name, &systems, &codes]).await?;
        transaction.commit().await.map_err(failure::error)?;
        table(&rows)
    }

    /// All concepts of a closure table; `None` where there is no such table.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn closure_table(
        &self,
        name: &str,
        permit: &Permit<'_>,
    ) -> Result<Option<ClosureTable>, Error> {
        let name = key(permit.actor(), name);
        let pipeline = self.0.readers.pipeline().await?;
        table(&Reader::Shared(&pipeline).query(ALL, &[&name]).await?)
    }
}

impl WriteTx {
    /// As [`Store::begin_closure`], for an entry of a transaction: done when that is, and only then.
    ///
    /// # Errors
    /// As [`Store::begin_closure`]; [`Error::Conflict`] when another writer was faster: the gate then
    /// runs the work anew.
    pub async fn begin_closure(&mut self, name: &str, permit: &Permit<'_>) -> Result<(), Error> {
        let (name, prefix) = (key(permit.actor(), name), key(permit.actor(), ""));
        let begun = self.of_closure(BEGIN, &[&name, &prefix, &MAX_TABLES]).await?;
        if begun.is_empty() { Err(too_many()) } else { Ok(()) }
    }

    /// As [`Store::add_to_closure`].
    ///
    /// # Errors
    /// As [`WriteTx::begin_closure`].
    pub async fn add_to_closure(
        &mut self,
        name: &str,
        (systems, codes): (&[&str], &[&str]),
        permit: &Permit<'_>,
    ) -> Result<Option<ClosureTable>, Error> {
        let name = key(permit.actor(), name);
        self.of_closure(WAIT, &[&name]).await?;
        table(&self.of_closure(ADD, &[&name, &systems, &codes]).await?)
    }

    /// As [`Store::closure_table`].
    ///
    /// # Errors
    /// As [`WriteTx::begin_closure`].
    pub async fn closure_table(
        &mut self,
        name: &str,
        permit: &Permit<'_>,
    ) -> Result<Option<ClosureTable>, Error> {
        let name = key(permit.actor(), name);
        table(&self.of_closure(ALL, &[&name]).await?)
    }

    async fn of_closure(
        &mut self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let connection = self.connection();
        let connection: &Transaction =
            connection.ok_or_else(|| Error::internal("no transaction is open"))?;
        let rows = match connection.prepare_cached(sql).await {
            Ok(statement) => connection.query(&statement, parameters).await,
            Err(error) => Err(error),
        };
        rows.map_err(|error| self.lost(failure::commit_error(error)))
    }
}

fn too_many() -> Error {
    let text = format!("a client has at most {MAX_TABLES} closure tables: begin one anew");
    Error::TooCostly(text)
}

/// By what a client's table is kept: names of others are not in its way.
fn key(actor: &str, name: &str) -> String {
    format!("{}:{actor}:{name}", actor.len())
}

fn table(rows: &[Row]) -> Result<Option<ClosureTable>, Error> {
    let mut found: Option<ClosureTable> = None;
    for row in rows {
        let table = found.get_or_insert_default();
        table.version = row.try_get(0).map_err(failure::error)?;
        let system: Option<String> = row.try_get(1).map_err(failure::error)?;
        if let Some(system) = system {
            let code = row.try_get(2).map_err(failure::error)?;
            let version = row.try_get(3).map_err(failure::error)?;
            table.concepts.push((system, code, version));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_one_client_are_not_those_of_another() {
        assert_eq!(key("a", "x"), "1:a:x");
        for ((actor, name), (other, others)) in
            [(("a", "x"), ("b", "x")), (("a:b", "c"), ("a", "b:c")), (("a", ""), ("a:", ""))]
        {
            assert_ne!(key(actor, name), key(other, others));
            assert!(!key(actor, name).starts_with(&key(other, "")), "{actor} {other}");
        }
    }
}
