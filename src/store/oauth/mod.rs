//! What the authorization server keeps: clients, grants, codes, tokens and keys.
//!
//! Codes and tokens come here as hashes only. Whatever ends a grant or a token before its time tells
//! all nodes on one channel, so that none goes on with what it remembers.

pub mod account;
pub mod assertion;
pub mod attempt;
pub mod authorization;
pub mod client;
pub mod decision;
pub mod emergency;
pub mod factor;
pub mod grant;
pub mod key;
pub mod launch;
mod moments;
pub mod notice;
pub mod session;
pub mod sweep;
pub mod token;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, types::FromSql};

use crate::error::Error;
use crate::fhir::Instant;

use super::rows::{JsonText, Timestamptz};
use super::{Store, failure};

/// SHA-256 of a code or a token.
pub type Hash = [u8; 32];

/// Every statement of this folder, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    [
        account::STATEMENTS,
        assertion::STATEMENTS,
        attempt::STATEMENTS,
        authorization::STATEMENTS,
        client::STATEMENTS,
        decision::STATEMENTS,
        emergency::STATEMENTS,
        factor::STATEMENTS,
        grant::STATEMENTS,
        key::STATEMENTS,
        launch::STATEMENTS,
        notice::STATEMENTS,
        session::STATEMENTS,
        sweep::STATEMENTS,
        token::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The rows of a statement that is a transaction of its own.
async fn query(
    store: &Store,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Error> {
    let pipeline = store.0.readers.pipeline().await?;
    let statement = pipeline.prepare(sql).await?;
    pipeline.client().query(&statement, parameters).await.map_err(failure::error)
}

/// How many rows a statement concerned.
async fn run(
    store: &Store,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64, Error> {
    let pipeline = store.0.readers.pipeline().await?;
    let statement = pipeline.prepare(sql).await?;
    pipeline.client().execute(&statement, parameters).await.map_err(failure::error)
}

fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, Error> {
    row.try_get(column).map_err(failure::error)
}

fn time(row: &Row, column: &str) -> Result<Instant, Error> {
    Ok(get::<Timestamptz>(row, column)?.0)
}

fn time_or_none(row: &Row, column: &str) -> Result<Option<Instant>, Error> {
    Ok(get::<Option<Timestamptz>>(row, column)?.map(|time| time.0))
}

/// A column of JSON as its text.
fn json_or_none(row: &Row, column: &str) -> Result<Option<String>, Error> {
    let text: Option<JsonText<'_>> = get(row, column)?;
    text.map(|text| String::from_utf8(text.0.to_vec()).map_err(Error::internal)).transpose()
}
