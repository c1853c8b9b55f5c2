//! The parties of the ledger's rows: what repeats from row to row, by a key.
//!
//! A key must be on the disk before a row names it, so it is added in a commit of its own that is waited
//! for. Keys that are known cost nothing. What was known is forgotten when the connection ends: the
//! database behind the next one may be another that lacks the newest.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio_postgres::types::ToSql;

use crate::access::LedgerRow;
use crate::error::Error;

use super::connection::{Flush, Pipeline, Pipelines};
use super::failure;
use super::tenant::Realm;

const KEYS: &str = "SELECT kiln_party(l.actor, l.client, l.person, l.purpose, l.source, l.method) \
     FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) \
     WITH ORDINALITY AS l(actor, client, person, purpose, source, method, place) ORDER BY l.place";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[KEYS];

/// Most parties that are remembered: with more, all are forgotten.
const KNOWN: usize = 50_000;

/// Who asked, as far as it repeats.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
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
    pub(super) fn new(realm: &Realm, timeout_ms: u32) -> Result<Self, Error> {
        let pipelines = Pipelines::new(realm, 1, timeout_ms, Flush::Wait)?;
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
        let wanted: Vec<Party> = rows.into_iter().map(Party::of).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        // What opens a connection is large, and is a part of the futures of all who ask.
        Box::pin(self.found(wanted)).await
    }

    async fn found(&self, wanted: Vec<Party>) -> Result<Vec<i64>, Error> {
        let pipeline = self.pipelines.pipeline().await?;
        let known = self.known(&pipeline, &wanted);
        if let Some(keys) = known.iter().copied().collect() {
            return Ok(keys);
        }
        // In one order, so that servers which add the same ones wait for each other, not in a circle.
        let is_new = |(party, key): (&Party, &Option<i64>)| key.is_none().then(|| party.clone());
        let new: BTreeSet<Party> = wanted.iter().zip(&known).filter_map(is_new).collect();
        let added = self.add(&pipeline, new.into_iter().collect()).await?;
        let missing = || Error::internal("a party without a key");
        let keys = wanted.iter().zip(known);
        keys.map(|(party, key)| key.or_else(|| added.get(party).copied()).ok_or_else(missing))
            .collect()
    }

    /// The keys of parties of which none is known, once they are on the disk.
    async fn add(
        &self,
        pipeline: &Arc<Pipeline>,
        new: Vec<Party>,
    ) -> Result<HashMap<Party, i64>, Error> {
        fn column<'p, T>(new: &'p [Party], of: impl Fn(&'p Party) -> T) -> Vec<T> {
            new.iter().map(of).collect()
        }
        let statement = pipeline.prepare(KEYS).await?;
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &column(&new, |party| &*party.actor),
            &column(&new, |party| party.client.as_deref()),
            &column(&new, |party| party.person.as_deref()),
            &column(&new, |party| party.purpose.as_deref()),
            &column(&new, |party| party.source.as_deref()),
            &column(&new, |party| party.method),
        ];
        let rows =
            pipeline.client().query(&statement, &parameters).await.map_err(failure::error)?;
        let keys = rows.iter().map(|row| row.try_get(0).map_err(failure::error));
        let keys: Vec<i64> = keys.collect::<Result<_, _>>()?;
        let added: HashMap<Party, i64> = new.into_iter().zip(keys).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a connection that was replaced meanwhile nothing is kept.
        if known.by.as_ptr() == Arc::as_ptr(pipeline) {
            if known.keys.len() + added.len() > KNOWN {
                known.keys.clear();
            }
            known.keys.extend(added.iter().map(|(party, key)| (party.clone(), *key)));
        }
        Ok(added)
    }

    fn known(&self, pipeline: &Arc<Pipeline>, wanted: &[Party]) -> Vec<Option<i64>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by.as_ptr() != Arc::as_ptr(pipeline) {
            *known = Known { by: Arc::downgrade(pipeline), keys: HashMap::new() };
        }
        wanted.iter().map(|party| known.keys.get(party).copied()).collect()
    }
}
