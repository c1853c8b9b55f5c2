//! Runs the statements of a search: on a connection of its own, or in a writer's transaction.

use std::time::Instant;

use deadpool_postgres::Object;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::Error;
use crate::store::connection::{Reader, Transaction};
use crate::store::{Store, failure};

use super::sql::Statement;
use super::{Explained, Explanation};

/// Most forms of searches that a connection keeps prepared.
const PREPARED: usize = 400;

/// Where statements run.
enum Lane<'a> {
    Own(Box<Object>),
    Transaction(&'a Transaction),
}

/// One search at work.
pub(super) struct Run<'a> {
    lane: Lane<'a>,
    /// What is told of it, when that was asked for.
    pub(super) explanation: Option<Explanation>,
}

impl<'a> Run<'a> {
    /// On a connection for searches, which the database ends when they take too long.
    pub(super) async fn alone(store: &Store, explain: bool) -> Result<Run<'a>, Error> {
        let lane = Lane::Own(Box::new(store.0.searchers.connection().await?));
        Ok(Self { lane, explanation: explain.then(Explanation::default) })
    }

    /// Where the transaction's own writes are seen.
    pub(super) fn inside(transaction: &'a Transaction, explain: bool) -> Self {
        let lane = Lane::Transaction(transaction);
        Self { lane, explanation: explain.then(Explanation::default) }
    }

    /// Where static statements of the search run.
    pub(super) fn reader(&self) -> Reader<'_> {
        match &self.lane {
            Lane::Own(connection) => Reader::Alone(connection),
            Lane::Transaction(transaction) => Reader::Transaction(transaction),
        }
    }

    /// Adds a step to the plan in words.
    pub(super) fn step(&mut self, step: impl FnOnce() -> String) {
        if let Some(explanation) = &mut self.explanation {
            explanation.steps.push(step());
        }
    }

    /// The rows of a statement.
    pub(super) async fn rows(&mut self, statement: &Statement) -> Result<Vec<Row>, Error> {
        if self.explanation.is_none() {
            return self.query(statement).await;
        }
        let plan = self.plan(statement).await?;
        let start = Instant::now();
        let rows = self.query(statement).await?;
        let took = start.elapsed();
        if let Some(explanation) = &mut self.explanation {
            let expected_rows = plan.first().map_or(0.0, |line| expected(line));
            let sql = statement.sql.clone();
            explanation.statements.push(Explained { sql, plan, expected_rows, took });
        }
        Ok(rows)
    }

    /// How many rows the database expects of a statement.
    pub(super) async fn estimate(&mut self, statement: &Statement) -> Result<u64, Error> {
        let plan = self.plan(statement).await?;
        Ok(plan.first().map_or(0.0, |line| expected(line)) as u64)
    }

    async fn plan(&self, statement: &Statement) -> Result<Vec<String>, Error> {
        let sql = format!("EXPLAIN {}", statement.sql);
        let parameters = parameters(statement);
        let client = self.client();
        // Not kept: a plan depends on the values and is asked for once.
        let prepared = client.prepare(&sql).await.map_err(error)?;
        let rows = client.query(&prepared, &parameters).await.map_err(error)?;
        rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
    }

    async fn query(&self, statement: &Statement) -> Result<Vec<Row>, Error> {
        let client = self.client();
        if client.statement_cache.size() > PREPARED {
            client.statement_cache.clear();
        }
        let prepared = client.prepare_cached(&statement.sql).await.map_err(error)?;
        client.query(&prepared, &parameters(statement)).await.map_err(error)
    }

    fn client(&self) -> &Object {
        match &self.lane {
            Lane::Own(connection) => connection,
            Lane::Transaction(transaction) => transaction,
        }
    }
}

fn parameters(statement: &Statement) -> Vec<&(dyn ToSql + Sync)> {
    statement.binds.iter().map(|bind| bind as &(dyn ToSql + Sync)).collect()
}

/// The number of rows in the first line of a plan: `.. (cost=0.43..8.45 rows=12 width=16)`.
fn expected(line: &str) -> f64 {
    let rows = line.split_once(" rows=").map(|(_, rest)| rest);
    let number = rows.and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn error(cause: tokio_postgres::Error) -> Error {
    if failure::is_timeout(&cause) {
        return Error::TooCostly(
            "this search takes longer than one may: narrow it, or ask for fewer values".to_owned(),
        );
    }
    failure::error(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_rows_are_read_off_a_plan() {
        for (line, rows) in [
            ("Limit  (cost=0.43..8.45 rows=12 width=16)", 12.0),
            ("CTE Scan on k  (cost=1.00..2.00 rows=1 width=8)", 1.0),
            ("  CTE k", 0.0),
        ] {
            assert!((expected(line) - rows).abs() < f64::EPSILON, "{line}");
        }
    }
}
