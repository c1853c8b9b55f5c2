//! The closure tables of clients: which concepts each has.
//!
//! Spec: <https://hl7.org/fhir/R4/conceptmap-operation-closure.html>

use crate::access::Permit;
use crate::error::Error;

use super::connection::Reader;
use super::{Store, failure};

/// A name that is there already begins anew.
const BEGIN: &str = "WITH gone AS (DELETE FROM closure_concept WHERE name = $1) \
     INSERT INTO closure (name, version) VALUES ($1, 0) \
     ON CONFLICT (name) DO UPDATE SET version = 0";

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
pub(super) const STATEMENTS: &[&str] = &[BEGIN, ADD, ALL];

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
    /// [`Error::Unavailable`] without a database.
    pub async fn begin_closure(&self, name: &str, _permit: &Permit<'_>) -> Result<(), Error> {
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(BEGIN).await.map_err(failure::error)?;
        connection.execute(&statement, &[&name]).await.map_err(failure::error)?;
        Ok(())
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
        _permit: &Permit<'_>,
    ) -> Result<Option<ClosureTable>, Error> {
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(ADD).await.map_err(failure::error)?;
        let rows = connection.query(&statement, &[&name, &systems, &codes]).await;
        table(&rows.map_err(failure::error)?)
    }

    /// All concepts of a closure table; `None` where there is no such table.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn closure_table(
        &self,
        name: &str,
        _permit: &Permit<'_>,
    ) -> Result<Option<ClosureTable>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        table(&Reader::Shared(&pipeline).query(ALL, &[&name]).await?)
    }
}

fn table(rows: &[tokio_postgres::Row]) -> Result<Option<ClosureTable>, Error> {
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
