//! Runs the statements of a search: on a connection of its own, or in a writer's transaction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, SimpleQueryMessage};

use crate::access::Permit;
use crate::error::Error;
use crate::store::connection::{Reader, Transaction};
use crate::store::failure::costly;
use crate::store::seats::Searcher;
use crate::store::{Store, failure};

use super::frames::Ran;
use super::sql::Statement;
use super::{Explained, Explanation};

/// Most forms of searches that a connection keeps prepared.
const PREPARED: usize = 250;
/// Ends the limit of a search inside a transaction.
const UNLIMITED: &str = "SET LOCAL statement_timeout TO DEFAULT";
/// Longest text of one that is kept, in bytes: the database keeps fifty times that for it. A page's
/// ledger row takes up to a kilobyte of it.
pub(super) const LONGEST: usize = 5_120;

/// Where statements run.
enum Lane<'a> {
    Own(Box<Searcher>),
    Transaction(&'a Transaction),
}

/// One search at work.
pub(super) struct Run<'a> {
    lane: Lane<'a>,
    /// How long it waited for a connection.
    waited: Option<Duration>,
    /// What is told of it, when that was asked for.
    explanation: Option<Explanation>,
}

impl<'a> Run<'a> {
    /// On a connection for searches, which the database ends when they take too long.
    pub(super) async fn alone(
        store: &Store,
        permit: &Permit<'_>,
        explain: bool,
    ) -> Result<Run<'a>, Error> {
        let began = Instant::now();
        let lane = Lane::Own(Box::new(store.0.searchers.connection(permit).await?));
        let waited = Some(began.elapsed());
        Ok(Self { lane, waited, explanation: explain.then(Explanation::default) })
    }

    /// Where the transaction's own writes are seen; its statements may take as long as elsewhere.
    pub(super) async fn inside(
        transaction: &'a Transaction,
        store: &Store,
        explain: bool,
    ) -> Result<Run<'a>, Error> {
        let limit = format!("SET LOCAL statement_timeout = {}", store.0.search_timeout_ms);
        transaction.batch_execute(&limit).await.map_err(failure::error)?;
        let lane = Lane::Transaction(transaction);
        Ok(Self { lane, waited: None, explanation: explain.then(Explanation::default) })
    }

    /// Has the statements of a transaction take as long as they may where nothing is searched. After
    /// an error there is no need to: the transaction is rolled back.
    pub(super) async fn end(self) -> Result<(), Error> {
        match self.lane {
            Lane::Own(_) => Ok(()),
            Lane::Transaction(transaction) => {
                transaction.batch_execute(UNLIMITED).await.map_err(failure::error)
            }
        }
    }

    /// Whether no other search is at work here.
    pub(super) fn is_alone(&self) -> bool {
        matches!(&self.lane, Lane::Own(searcher) if searcher.is_alone())
    }

    /// Where static statements of the search run.
    pub(super) fn reader(&self) -> Reader<'_> {
        match &self.lane {
            Lane::Own(connection) => Reader::Alone(connection),
            Lane::Transaction(transaction) => Reader::Transaction(transaction),
        }
    }

    /// Whether it is to be told how the search is done.
    pub(super) fn is_explained(&self) -> bool {
        self.explanation.is_some()
    }

    /// Adds a step to the plan in words.
    pub(super) fn step(&mut self, step: impl FnOnce() -> String) {
        if let Some(explanation) = &mut self.explanation {
            explanation.steps.push(step());
        }
    }

    /// All that there is to tell of it, when that was asked for.
    pub(super) fn explained(&mut self) -> Option<Explanation> {
        if let Some(waited) = self.waited {
            self.step(|| format!("waited {waited:?} for a connection for searches"));
        }
        self.explanation.take()
    }

    /// The rows of a statement.
    pub(super) async fn rows(&mut self, statement: &Statement) -> Result<Vec<Row>, Error> {
        if self.explanation.is_none() {
            return self.query(statement).await;
        }
        let plan = self.plan(&statement.sql, statement.binds.len()).await?;
        let start = Instant::now();
        let rows = self.query(statement).await?;
        self.add(&statement.sql, plan, start.elapsed());
        Ok(rows)
    }

    /// Adds statements that ran beside [`Self::rows`].
    pub(super) async fn tell(&mut self, ran: Ran) -> Result<(), Error> {
        for (sql, parameters, took) in ran.into_statements() {
            let plan = self.plan(sql, parameters).await?;
            self.add(sql, plan, took);
        }
        Ok(())
    }

    fn add(&mut self, sql: &str, plan: Vec<String>, took: Duration) {
        if let Some(explanation) = &mut self.explanation {
            let expected_rows = plan.first().map_or(0.0, |line| expected(line));
            let sql = sql.to_owned();
            explanation.statements.push(Explained { sql, plan, expected_rows, took });
        }
    }

    /// How many rows the database expects of a statement with these values.
    pub(super) async fn estimate(&mut self, statement: &Statement) -> Result<u64, Error> {
        let sql = format!("EXPLAIN {}", statement.sql);
        let client = self.client();
        let prepared = client.prepare(&sql).await.map_err(costly)?;
        let rows = client.query(&prepared, &parameters(statement)).await.map_err(costly)?;
        let line: Option<&str> = rows.first().and_then(|row| row.try_get(0).ok());
        Ok(line.map_or(0.0, expected) as u64)
    }

    /// The plan that the database goes by whatever the values are.
    async fn plan(&self, sql: &str, parameters: usize) -> Result<Vec<String>, Error> {
        // A name of its own: where this is given up half way, the statement stays on the connection.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let client = self.client();
        let name = format!("kiln_plan_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let prepare = format!("PREPARE {name} AS {sql}");
        client.batch_execute(&prepare).await.map_err(costly)?;
        let values = vec!["NULL"; parameters].join(", ");
        let values = if values.is_empty() { values } else { format!("({values})") };
        let plan = client.simple_query(&format!("EXPLAIN EXECUTE {name}{values}")).await;
        client.batch_execute(&format!("DEALLOCATE {name}")).await.map_err(costly)?;
        let line = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        Ok(plan.map_err(costly)?.iter().filter_map(line).collect())
    }

    /// The rows of a statement that is no part of the search.
    pub(super) async fn query(&self, statement: &Statement) -> Result<Vec<Row>, Error> {
        let client = self.client();
        if client.statement_cache.size() > PREPARED {
            client.statement_cache.clear();
        }
        let prepared = if statement.sql.len() > LONGEST {
            client.prepare(&statement.sql).await
        } else {
            client.prepare_cached(&statement.sql).await
        };
        let prepared = prepared.map_err(costly)?;
        client.query(&prepared, &parameters(statement)).await.map_err(costly)
    }

    fn client(&self) -> &Object {
        match &self.lane {
            Lane::Own(connection) => connection,
            Lane::Transaction(transaction) => transaction,
        }
    }
}

pub(super) fn parameters(statement: &Statement) -> Vec<&(dyn ToSql + Sync)> {
    statement.binds.iter().map(|bind| bind as &(dyn ToSql + Sync)).collect()
}

/// The number of rows in the first line of a plan: `.. (cost=0.43..8.45 rows=12 width=16)`.
fn expected(line: &str) -> f64 {
    let rows = line.split_once(" rows=").map(|(_, rest)| rest);
    let number = rows.and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
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
