//! The parties of the ledger's rows: what repeats from row to row, by a key.
//!
//! A key must be on the disk before a row names it, so it is added in a commit of its own that is waited
//! for. Keys that are known cost nothing. What was known is forgotten when the connection ends: the
//! database behind the next one may be another that lacks the newest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::access::LedgerRow;
use crate::error::Error;

use super::connection::{Address, Flush, Pipeline, Pipelines};
use super::failure;

const KEY: &str = "SELECT kiln_party($1, $2, $3, $4, $5, $6)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[KEY];

/// Most parties that are remembered: with more, all are forgotten.
const KNOWN: usize = 50_000;

/// Who asked, as far as it repeats.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Party {
    actor: String,
    client: Option<String>,
    /// The resource that stands for the user.
    person: Option<String>,
    purpose: Option<String>,
    source: Option<String>,
    method: &'static str,
}

impl Party {
    fn of(row: &LedgerRow) -> Self {
        let principal = &row.caller.principal;
        let grant = principal.grant();
        let person = grant.and_then(|grant| grant.user.as_ref()?.fhir_user.as_ref());
        Self {
            actor: principal.actor().to_owned(),
            client: grant.map(|grant| grant.client.as_str().to_owned()),
            person: person.map(|(of, id)| format!("{of}/{id}")),
            purpose: grant.and_then(|grant| grant.purpose.clone()),
            source: row.caller.request.source.map(|source| source.to_string()),
            method: row.caller.request.method,
        }
    }
}

/// The keys of parties, and those that are known.
pub(super) struct Parties {
    pipelines: Pipelines,
    known: Mutex<Known>,
}

/// What is known by way of a connection.
#[derive(Default)]
struct Known {
    by: Weak<Pipeline>,
    keys: HashMap<Party, i64>,
}

impl Parties {
    pub(super) fn new(address: &Address, timeout_ms: u32) -> Result<Self, Error> {
        let pipelines = Pipelines::new(address, 1, timeout_ms, Flush::Wait)?;
        Ok(Self { pipelines, known: Mutex::default() })
    }

    /// The keys of the parties of `rows`, in their order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when one is new and cannot be added.
    pub(super) async fn keys<'r>(
        &self,
        rows: impl IntoIterator<Item = &'r LedgerRow>,
    ) -> Result<Vec<i64>, Error> {
        let rows = rows.into_iter();
        let mut keys = Vec::with_capacity(rows.size_hint().0);
        for row in rows {
            keys.push(self.key(Party::of(row)).await?);
        }
        Ok(keys)
    }

    async fn key(&self, party: Party) -> Result<i64, Error> {
        let pipeline = self.pipelines.pipeline().await?;
        if let Some(key) = self.known(&pipeline, &party) {
            return Ok(key);
        }
        let statement = pipeline.prepare(KEY).await?;
        let Party { actor, client, person, purpose, source, method } = &party;
        let row = pipeline
            .client()
            .query_one(&statement, &[actor, client, person, purpose, source, method]);
        let key = row.await.and_then(|row| row.try_get(0)).map_err(failure::error)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.keys.len() >= KNOWN {
            known.keys.clear();
        }
        // Of a connection that was replaced meanwhile nothing is kept.
        if known.by.as_ptr() == Arc::as_ptr(&pipeline) {
            known.keys.insert(party, key);
        }
        Ok(key)
    }

    fn known(&self, pipeline: &Arc<Pipeline>, party: &Party) -> Option<i64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by.as_ptr() != Arc::as_ptr(pipeline) {
            *known = Known { by: Arc::downgrade(pipeline), keys: HashMap::new() };
        }
        known.keys.get(party).copied()
    }
}
