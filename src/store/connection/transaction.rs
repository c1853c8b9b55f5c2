//! Transactions of writers.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use deadpool_postgres::Object;
use futures_util::future::{join3, maybe_done};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::error::Error;
use crate::store::failure;
use crate::store::write::Locks;

use super::{UNLOCK, query};

/// A connection inside a transaction. One whose transaction nobody ended, because its writer was
/// dropped or failed, is closed: in the pool, the next writer would go on in that transaction, and
/// what it acknowledged would never be committed.
pub(in crate::store) struct Transaction {
    connection: Option<Object>,
    /// The locks that the connection holds, which outlast the transaction.
    locks: Locks,
    /// Whether it has been ended along with its last statements.
    is_over: AtomicBool,
}

impl Transaction {
    /// One that is about to begin.
    pub(super) fn on(connection: Object, locks: Locks) -> Self {
        Self { connection: Some(connection), locks, is_over: AtomicBool::new(false) }
    }

    /// Whether it has all of `locks` already.
    pub(in crate::store) fn holds(&self, locks: &Locks) -> bool {
        let has = |(key, alone): (&i64, &bool)| self.locks.get(key).is_some_and(|own| own >= alone);
        locks.iter().all(has)
    }

    /// The rows of a statement.
    pub(in crate::store) async fn all(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        query(self, sql, parameters).await.map_err(failure::error)
    }

    /// Runs a statement; how many rows it concerned.
    pub(in crate::store) async fn run(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let statement = self.prepare_cached(sql).await.map_err(failure::error)?;
        self.execute(&statement, parameters).await.map_err(failure::error)
    }

    /// Ends it well, unless its last statements did; the connection goes back to the pool.
    pub(in crate::store) async fn commit(self) -> Result<(), tokio_postgres::Error> {
        if self.is_over.load(Ordering::Acquire) {
            return Ok(());
        }
        self.end("COMMIT").await
    }

    /// Runs its last statements and ends it well, all in one trip. Where one of them fails the database
    /// takes no more of them, and the end is one without a trace.
    ///
    /// Without an answer, it may be committed.
    pub(in crate::store) async fn finish(
        &self,
        [first, last]: [(&Statement, &[&(dyn ToSql + Sync)]); 2],
    ) -> Result<(), tokio_postgres::Error> {
        // Each is sent when it is polled for the first time, and they are in this order. One that cannot be sent fails
        // at once: then nothing behind it goes, and the transaction is not over.
        let mut first = pin!(maybe_done(self.execute(first.0, first.1)));
        let mut last = pin!(maybe_done(self.execute(last.0, last.1)));
        for sent in [&mut first, &mut last] {
            poll_fn(|cx| {
                let _ = sent.as_mut().poll(cx);
                Poll::Ready(())
            })
            .await;
            let has_failed = matches!(sent.as_mut().output_mut(), Some(Err(_)));
            if has_failed && let Some(Err(error)) = sent.as_mut().take_output() {
                return Err(error);
            }
        }
        let ((), (), ended) =
            join3(first.as_mut(), last.as_mut(), self.batch_execute("COMMIT")).await;
        self.is_over.store(ended.is_ok(), Ordering::Release);
        for sent in [first, last] {
            if let Some(Err(error)) = sent.take_output() {
                return Err(error);
            }
        }
        ended
    }

    /// Ends it without a trace.
    pub(in crate::store) async fn roll_back(self) {
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        // A connection that cannot do so is closed, which has the same effect.
        let _ = self.end("ROLLBACK").await;
    }

    async fn end(mut self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.batch_execute(sql).await?;
        // Ended is ended: a connection that then keeps its locks is closed, and so loses them.
        if self.locks.is_empty() || self.batch_execute(UNLOCK).await.is_ok() {
            drop(self.connection.take());
        }
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.connection
            .as_ref()
            .expect("only `end` and `drop` take the connection, and both own it")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let is_over = *self.is_over.get_mut() && self.locks.is_empty();
        if let Some(connection) = self.connection.take().filter(|_| !is_over) {
            drop(Object::take(connection));
        }
    }
}
