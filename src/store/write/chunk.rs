//! One statement that writes versions with their index and ledger rows, alone or with the end of messages.

use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;

use crate::access::{CommitError, LedgerRow};
use crate::error::Error;
use crate::store::connection::Transaction;
use crate::store::hl7v2::{END, EndColumns};
use crate::store::index::{IndexColumns, Indexed};
use crate::store::ledger::Columns;
use crate::store::rows::{JsonText, RowState, Timestamptz};
use crate::store::{BUCKET, Store, TENANT, failure};

use super::{Staged, statements};

/// Writes versions with their ledger rows by one statement; `error` is what its failure means.
pub(super) async fn write_chunk(
    store: &Store,
    connection: &Object,
    staged: &[&Staged],
    rows: &[&LedgerRow],
    error: fn(tokio_postgres::Error) -> CommitError,
) -> Result<(), CommitError> {
    write(store, Way::Alone(connection), staged, rows).await?.map_err(error)
}

/// The same inside a transaction that then ends messages and commits: all of it goes in one trip.
pub(super) async fn write_last_chunk(
    store: &Store,
    transaction: &Transaction,
    staged: &[&Staged],
    rows: &[&LedgerRow],
    end: &EndColumns<'_>,
) -> Result<(), CommitError> {
    let way = Way::Ending(transaction, end);
    write(store, way, staged, rows).await?.map_err(failure::last_error)
}

/// How a statement runs that writes the index.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// By itself.
    Alone(&'a Object),
    /// As the last but one of a transaction, before the one that ends messages.
    Ending(&'a Transaction, &'a EndColumns<'a>),
}

impl Way<'_> {
    fn connection(&self) -> &Object {
        match self {
            Self::Alone(connection) => connection,
            Self::Ending(transaction, _) => transaction,
        }
    }
}

async fn write(
    store: &Store,
    way: Way<'_>,
    staged: &[&Staged],
    rows: &[&LedgerRow],
) -> Result<Result<(), tokio_postgres::Error>, CommitError> {
    let known = store.parameters().map_err(CommitError::Failed)?;
    let before: Result<Vec<_>, Error> =
        staged.iter().map(|staged| staged.rows_before(&known)).collect();
    let before = before.map_err(CommitError::Failed)?;
    let renewed: Result<Vec<_>, Error> =
        staged.iter().map(|staged| staged.renewed_rows(&known)).collect();
    let renewed = renewed.map_err(CommitError::Failed)?;
    let mut versions = VersionColumns { epoch: known.epoch, ..VersionColumns::default() };
    let mut indexed = Vec::with_capacity(staged.len());
    for ((staged, before), renewed) in staged.iter().zip(&before).zip(&renewed) {
        let rid = match &staged.prior {
            Some(prior) => prior.rid,
            None => store.0.rids.next(way.connection()).await.map_err(CommitError::Failed)?,
        };
        let identity = store.identity(&staged.identity);
        versions.push(staged, identity);
        let now = renewed.as_ref().unwrap_or(&staged.index);
        indexed.push(staged.indexed(rid, identity, before.as_ref(), now));
    }
    store.note_codes(&indexed).await.map_err(CommitError::Failed)?;
    let index = IndexColumns::of(&indexed);
    let sql = versions.statement(index.len(), rows.len());
    let ledger =
        Columns::with_parties(rows, &store.0.parties).await.map_err(CommitError::Failed)?;
    let done = execute(way, sql, &ledger, &index, &versions.parameters()).await?;
    if done.as_ref().is_err_and(failure::has_old_parameters) {
        store.0.indexer.renewed(known.epoch).await;
    }
    Ok(done)
}

/// Runs a statement that writes the index, with its ledger rows and what else it takes.
async fn execute(
    way: Way<'_>,
    sql: &str,
    ledger: &Columns<'_>,
    index: &IndexColumns<'_>,
    more: &[&(dyn ToSql + Sync)],
) -> Result<Result<(), tokio_postgres::Error>, CommitError> {
    let connection = way.connection();
    let statement = connection.prepare_cached(sql).await.map_err(failure::commit_error)?;
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
    parameters.extend(ledger.parameters());
    parameters.push(&BUCKET);
    parameters.extend(index.parameters());
    parameters.extend(more);
    match way {
        Way::Alone(connection) => Ok(connection.execute(&statement, &parameters).await.map(drop)),
        Way::Ending(transaction, end) => {
            let last = transaction.prepare_cached(END).await.map_err(failure::commit_error)?;
            let ends = end.parameters();
            Ok(transaction.finish([(&statement, &parameters[..]), (&last, &ends[..])]).await)
        }
    }
}

/// Brings the index to what versions say that stay as they are; their rows are of `epoch`.
pub(in crate::store) async fn reindex(
    store: &Store,
    connection: &Object,
    all: &[Indexed<'_>],
    epoch: i64,
) -> Result<(), CommitError> {
    store.note_codes(all).await.map_err(CommitError::Failed)?;
    let index = IndexColumns::of(all);
    let done =
        execute(Way::Alone(connection), statements::INDEX, &Columns::default(), &index, &[&epoch])
            .await?;
    if done.as_ref().is_err_and(failure::has_old_parameters) {
        store.0.indexer.renewed(epoch).await;
    }
    done.map_err(failure::commit_error)
}

/// Versions column by column, as `unnest` takes them.
#[derive(Default)]
struct VersionColumns<'a> {
    /// The state of the row that is replaced; none for a new one.
    prior: Vec<RowState>,
    version: Vec<i32>,
    operation: Vec<i8>,
    id: Vec<&'a str>,
    spread: Vec<i32>,
    last_updated: Vec<Timestamptz>,
    meta: Vec<Option<JsonText<'a>>>,
    body: Vec<Option<JsonText<'a>>>,
    /// Of the search parameters that made the rows of all.
    epoch: i64,
}

impl<'a> VersionColumns<'a> {
    fn push(&mut self, staged: &'a Staged, identity: i64) {
        let prior = staged.prior.as_ref().map(|prior| prior.state);
        self.prior.push(prior.unwrap_or(RowState::NONE));
        self.version.push(staged.version.0);
        self.operation.push(staged.operation.code().cast_signed());
        self.id.push(staged.identity.id.as_str());
        self.spread.push((identity >> 32) as i32);
        self.last_updated.push(Timestamptz(staged.last_updated));
        self.meta.push(staged.meta.as_deref().map(JsonText));
        self.body.push(staged.body.as_deref().map(JsonText));
    }

    /// The smallest statement that writes all of them with `keys` of the index and `rows` ledger rows.
    fn statement(&self, keys: usize, rows: usize) -> &'static str {
        let is_one = keys == 1 && rows == 1;
        if self.prior.iter().all(|prior| *prior == RowState::NONE) {
            if is_one { statements::CREATE_ONE } else { statements::CREATE }
        } else if self.prior.iter().all(|prior| *prior != RowState::NONE) {
            if is_one { statements::SUPERSEDE_ONE } else { statements::SUPERSEDE }
        } else {
            statements::WRITE
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.prior,
            &self.version,
            &self.operation,
            &self.id,
            &self.spread,
            &self.last_updated,
            &self.meta,
            &self.body,
            &self.epoch,
        ]
    }
}
