//! The consents in force, kept in memory and brought up to date before each use.
//!
//! Whether there is something new is asked of an index by one row; what changed since is read with an
//! overlap, so that a write that commits late is not missed, and now and then whatever was said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Clock};

use crate::access::consent::{Asker, Denial, Directive};
use crate::error::Error;
use crate::fhir::json;
use crate::fhir::{Instant, ResourceType};
use crate::store::connection::Reader;
use crate::store::rows::{JsonText, Timestamptz};
use crate::store::{Store, TENANT, failure};

/// When the newest version of a type was made: $1 tenant, $2 type.
const NEWEST: &str =
    "SELECT lu, vid, rid FROM res WHERE tid = $1 AND rt = $2 ORDER BY lu DESC, rid DESC LIMIT 1";

/// What was made since: $3.
const CHANGED: &str = "SELECT rid, lu, CASE WHEN op <> 'D' AND body->>'status' = 'active' THEN body END \
     FROM res WHERE tid = $1 AND rt = $2 AND lu >= $3";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[CHANGED, NEWEST];

/// How long what was read counts when nothing seems new: a write may commit later than it says.
const FRESH: Duration = Duration::from_secs(4);
/// How far back is read again.
const OVERLAP_MICROS: i64 = 120_000_000;

/// The consents of a node.
#[derive(Debug, Default)]
pub(in crate::store) struct Directives(Mutex<Known>);

#[derive(Clone, Debug, Default)]
struct Known {
    all: Arc<HashMap<i64, Directive>>,
    newest: Option<(i64, i32, i64)>,
    read: Option<Clock>,
}

impl Store {
    /// What patients deny to somebody at this moment.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the consents cannot be read: then there is no principal.
    pub async fn denials(&self, asker: &Asker<'_>, now: Instant) -> Result<Arc<[Denial]>, Error> {
        let all = self.directives().await?;
        let hasher = self.hasher();
        let denied = all.values().filter_map(|directive| {
            let of = directive.denies(asker, now)?;
            Some(Denial { patient: hasher.patient(&directive.patient), of })
        });
        let mut denials: Vec<Denial> = denied.collect();
        denials.sort_by_key(|denial| denial.patient);
        Ok(denials.into())
    }

    async fn directives(&self) -> Result<Arc<HashMap<i64, Directive>>, Error> {
        let of: ResourceType = "Consent".parse().map_err(Error::internal)?;
        let pipeline = self.0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        let rows = reader.query(NEWEST, &[&TENANT, &of.code()]).await?;
        let newest = rows.first().map(place).transpose()?;
        let known = self.0.directives.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_fresh = known.read.is_some_and(|read| read.elapsed() < FRESH);
        if is_fresh && known.newest == newest {
            return Ok(known.all);
        }
        let since = known.newest.map_or(i64::MIN / 4, |(at, ..)| at - OVERLAP_MICROS);
        let read = Clock::now();
        let since = Timestamptz(Instant::from_micros(since.max(0)));
        let rows = reader.query(CHANGED, &[&TENANT, &of.code(), &since]).await?;
        let mut all = (*known.all).clone();
        let base = self.parameters()?.extractor.base().to_owned();
        for row in &rows {
            let rid: i64 = row.try_get(0).map_err(failure::error)?;
            let body: Option<JsonText<'_>> = row.try_get(2).map_err(failure::error)?;
            let directive = match body {
                Some(body) => {
                    Directive::read(&json::parse(body.0).map_err(Error::internal)?, &base)
                }
                None => None,
            };
            match directive {
                Some(directive) => all.insert(rid, directive),
                None => all.remove(&rid),
            };
        }
        let all = Arc::new(all);
        let known = Known { all: all.clone(), newest, read: Some(read) };
        *self.0.directives.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(all)
    }
}

fn place(row: &tokio_postgres::Row) -> Result<(i64, i32, i64), Error> {
    let at: Timestamptz = row.try_get(0).map_err(failure::error)?;
    let version = row.try_get(1).map_err(failure::error)?;
    Ok((at.0.as_micros(), version, row.try_get(2).map_err(failure::error)?))
}
