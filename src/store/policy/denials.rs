//! The consents in force, kept in memory and brought up to date before each use.
//!
//! Whether there is something new is told by a mark over what was made last: a version that commits
//! after another of a later time changes it too. What changed since is read with an overlap, and now
//! and then whatever the mark says, for commits that come later than it looks back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Clock};

use crate::access::consent::{Asker, Denial, Directive, Expression, References};
use crate::error::Error;
use crate::fhir::json;
use crate::fhir::reference::Target;
use crate::fhir::{Instant, LogicalId, ResourceType};
use crate::store::connection::Reader;
use crate::store::rows::{JsonText, Timestamptz};
use crate::store::{Store, TENANT, failure};

/// The mark of a type: $1 tenant, $2 type. When the newest version was made, and how many resources have
/// one of the ten seconds before, with how many versions in all: each commit there adds to one of them.
const MARK: &str = "SELECT max(lu), count(*), sum(vid) FROM res WHERE tid = $1 AND rt = $2 AND lu >= \
     (SELECT lu FROM res WHERE tid = $1 AND rt = $2 ORDER BY lu DESC, rid DESC LIMIT 1) - interval '10 s'";

/// What was made since: $3.
const CHANGED: &str = "SELECT rid, lu, CASE WHEN op <> 'D' AND body->>'status' = 'active' THEN body END \
     FROM res WHERE tid = $1 AND rt = $2 AND lu >= $3";

/// The active consents of a patient: $3.
const OF_PATIENT: &str = "SELECT DISTINCT r.id FROM comp c JOIN res r ON r.rid = c.rid \
     WHERE r.tid = $1 AND c.rt = $2 AND c.pat = $3 AND r.op <> 'D' AND r.body->>'status' = 'active' \
     ORDER BY r.id LIMIT 20";

/// Of how many resources it is looked up for a token what they refer to.
const MOST_RELATED: usize = 32;

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[CHANGED, MARK, OF_PATIENT];

/// How long what was read counts when nothing seems new.
const FRESH: Duration = Duration::from_secs(4);
/// How far back is read again.
const OVERLAP_MICROS: i64 = 120_000_000;

/// Where references of a resource are: wherever one may be.
const ANYWHERE: &str = "strict $.**";

/// The consents of a node.
#[derive(Debug, Default)]
pub(in crate::store) struct Directives(Mutex<Known>);

#[derive(Clone, Debug, Default)]
struct Known {
    all: Arc<HashMap<i64, Directive>>,
    mark: Option<Mark>,
    read: Option<Clock>,
}

/// What [`MARK`] tells: the time of the newest in microseconds, resources, versions.
type Mark = (i64, i64, i64);

impl Store {
    /// What patients deny to somebody at this moment, and what of it they forbid in an emergency too, where
    /// that is why somebody asks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the consents cannot be read: then there is no principal.
    pub async fn denials(&self, asker: &Asker<'_>, now: Instant) -> Result<Arc<[Denial]>, Error> {
        let all = self.directives().await?;
        let hasher = self.hasher();
        let denied = all.values().flat_map(|directive| {
            let patient = hasher.patient(&directive.patient);
            let denial = move |is_binding| move |of| Denial { patient, of, is_binding };
            let plain = directive.denies(asker, now).map(denial(false));
            plain.into_iter().chain(directive.forbids(asker, now).map(denial(true)))
        });
        let mut denials: Vec<Denial> = denied.collect();
        denials.sort_by_key(|denial| denial.patient);
        let referred = self.related(&denials).await?;
        if !referred.is_empty() {
            for denial in &mut denials {
                let of = std::mem::replace(&mut denial.of, Expression::Unknown);
                denial.of = of.with_related(&referred);
            }
        }
        Ok(denials.into())
    }

    /// What the resources refer to at this moment whose related ones are denied, or are not.
    async fn related(&self, denials: &[Denial]) -> Result<References, Error> {
        let mut named = Vec::new();
        for denial in denials {
            denial.of.related(&mut named);
        }
        let mut all = References::new();
        for (of, id) in named {
            let who = (of, id.clone());
            if all.contains_key(&who) {
                continue;
            }
            // Of more, and of one that is not there, nobody can tell: that counts in a denial.
            if all.len() >= MOST_RELATED {
                break;
            }
            let texts = self.references(&who, ANYWHERE).await?;
            let base = self.parameters()?.extractor.base().to_owned();
            let local = |text: &String| match Target::parse(text, &base) {
                Target::Local { resource_type, id, .. } => Some((resource_type, id)),
                _ => None,
            };
            let referred: Vec<_> = texts.iter().filter_map(local).collect();
            if !referred.is_empty() {
                all.insert(who, referred);
            }
        }
        Ok(all)
    }

    /// The ids of a patient's active consents, for the record of what overrides them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn consents_of(&self, patient: i64) -> Result<Vec<String>, Error> {
        let of: ResourceType = "Consent".parse().map_err(Error::internal)?;
        let pipeline = self.0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        let rows = reader.query(OF_PATIENT, &[&TENANT, &of.code(), &patient]).await?;
        rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
    }

    async fn directives(&self) -> Result<Arc<HashMap<i64, Directive>>, Error> {
        let of: ResourceType = "Consent".parse().map_err(Error::internal)?;
        let pipeline = self.0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        let rows = reader.query(MARK, &[&TENANT, &of.code()]).await?;
        let mark = rows.first().map(mark).transpose()?.flatten();
        let known = self.0.directives.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_fresh = known.read.is_some_and(|read| read.elapsed() < FRESH);
        if is_fresh && known.mark == mark {
            return Ok(known.all);
        }
        let since = known.mark.map_or(i64::MIN / 4, |(at, ..)| at - OVERLAP_MICROS);
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
        let changed = (all != *known.all).then(|| contradicting(&all)).flatten();
        if let Some((consents, patients)) = changed {
            let text = "active consents contradict each other; what one denies counts";
            tracing::warn!(consents, patients, "{text}");
        }
        let all = Arc::new(all);
        let known = Known { all: all.clone(), mark, read: Some(read) };
        *self.0.directives.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(all)
    }
}

/// `None`: there is nothing of the type.
fn mark(row: &tokio_postgres::Row) -> Result<Option<Mark>, Error> {
    let newest: Option<Timestamptz> = row.try_get(0).map_err(failure::error)?;
    let Some(newest) = newest else { return Ok(None) };
    let (resources, versions) = (row.try_get(1), row.try_get(2));
    let both = (resources.map_err(failure::error)?, versions.map_err(failure::error)?);
    Ok(Some((newest.0.as_micros(), both.0, both.1)))
}

/// How many consents contradict another one of the same patient, and of how many patients they are; nothing
/// where none does.
fn contradicting(all: &HashMap<i64, Directive>) -> Option<(usize, usize)> {
    let mut rules: HashMap<&LogicalId, (usize, usize)> = HashMap::new();
    for directive in all.values() {
        let (permits, denies) = rules.entry(&directive.patient).or_default();
        if directive.permits() {
            *permits += 1;
        } else {
            *denies += 1;
        }
    }
    let both: Vec<usize> = rules
        .values()
        .filter(|(permits, denies)| *permits > 0 && *denies > 0)
        .map(|(permits, denies)| permits + denies)
        .collect();
    (!both.is_empty()).then(|| (both.iter().sum(), both.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_beside_a_denial_contradicts_it() {
        let directive = |patient: &str, rule: &str| {
            let text = format!(
                r#"{{"status":"active","scope":{{"coding":[{{"code":"patient-privacy"}}]}},"patient":{{"reference":"Patient/{patient}"}},"provision":{{"type":"{rule}"}}}}"#
            );
            let value = json::parse(text.as_bytes()).expect("JSON");
            Directive::read(&value, "http://x/fhir").expect("a directive")
        };
        for (all, expected) in [
            (&[("a", "permit"), ("a", "permit"), ("b", "deny")][..], None),
            (&[("a", "permit"), ("a", "deny"), ("b", "deny")], Some((2, 1))),
            (&[("a", "permit"), ("a", "deny"), ("b", "deny"), ("b", "permit")], Some((4, 2))),
        ] {
            let numbered =
                (0..).zip(all).map(|(at, (patient, rule))| (at, directive(patient, rule)));
            assert_eq!(contradicting(&numbered.collect()), expected, "{all:?}");
        }
    }
}
