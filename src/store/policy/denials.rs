//! The consents in force, kept in memory and brought up to date before each use.
//!
//! What is new is told by transactions, never by times: clocks of nodes differ, and go back. A look reads
//! what was touched by those that had not ended at the look before.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Row;

use crate::access::consent::{Act, Asker, Denial, Directive, Expression, References};
use crate::error::Error;
use crate::fhir::json;
use crate::fhir::reference::Target;
use crate::fhir::{Instant, LogicalId, ResourceType};
use crate::store::connection::Reader;
use crate::store::rows::{JsonText, Timestamptz};
use crate::store::{Store, TENANT, failure};

/// When a look is taken, and each consent it finds, with its content while it is active; one row without a
/// consent where there is none. 29 is Consent, as the index has it.
macro_rules! look {
    ($which:literal) => {
        concat!(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_postmaster_start_time(), \
             r.rid, CASE WHEN r.op <> 'D' AND r.body->>'status' = 'active' THEN r.body END \
             FROM (SELECT) look LEFT JOIN res r ON r.tid = $1 AND r.rt = 29",
            $which
        )
    };
}

/// All consents: $1 tenant.
const ALL: &str = look!("");

/// What was touched since a look, $2. What says that it was touched by transactions to come is of another
/// cluster, from which it was restored, and was read by then.
const CHANGED: &str = look!(
    " AND r.xid >= $2::bigint::text::xid8 AND r.xid < pg_snapshot_xmax(pg_current_snapshot())"
);

/// The active consents of each of these patients, $3.
const OF_PATIENTS: &str = "SELECT c.pat, (array_agg(DISTINCT r.id ORDER BY r.id))[1:20] \
     FROM comp c JOIN res r ON r.rid = c.rid \
     WHERE r.tid = $1 AND c.rt = $2 AND c.pat = ANY ($3) AND r.op <> 'D' AND r.body->>'status' = 'active' \
     GROUP BY c.pat ORDER BY c.pat";

/// Of how many resources it is looked up for a token what they refer to.
const MOST_RELATED: usize = 32;

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[ALL, CHANGED, OF_PATIENTS];

/// Where references of a resource are: wherever one may be.
const ANYWHERE: &str = "strict $.**";

/// The consents of a node.
#[derive(Debug, Default)]
pub(in crate::store) struct Directives(Mutex<Known>);

#[derive(Clone, Debug, Default)]
struct Known {
    all: Arc<HashMap<i64, Directive>>,
    look: Option<Look>,
}

/// When one looked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Look {
    /// All transactions before this one had ended.
    horizon: i64,
    /// Since when the database runs, in microseconds.
    running: i64,
}

impl Look {
    fn of(rows: &[Row]) -> Result<Self, Error> {
        let row = rows.first().ok_or_else(|| Error::internal("a look has a row"))?;
        let horizon = row.try_get(0).map_err(failure::error)?;
        let running: Timestamptz = row.try_get(1).map_err(failure::error)?;
        Ok(Self { horizon, running: running.0.as_micros() })
    }

    /// Whether transactions are those of the look before, and more. Where another server took the place of
    /// that one, from a copy or an older state, its transactions may be others.
    fn follows(self, before: Self) -> bool {
        self.running == before.running && self.horizon >= before.horizon
    }
}

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
            let id = &directive.patient;
            let denial = move |act, is_binding| {
                move |of| Denial { patient, id: id.clone(), act, of, is_binding }
            };
            let read = directive.denies(Act::Read, asker, now);
            // What may not be seen may not be written anyway.
            let more =
                |act| directive.denies(act, asker, now).filter(|of| Some(of) != read.as_ref());
            let writing = [Act::Collect, Act::Correct].map(|act| more(act).map(denial(act, false)));
            let binding = directive.forbids(asker, now).map(denial(Act::Read, true));
            let plain = read.map(denial(Act::Read, false));
            plain.into_iter().chain(binding).chain(writing.into_iter().flatten())
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

    /// The patients who keep from others what they let somebody see: by an exception that is made for who asks. What is
    /// known of consents is as at the last look of [`Store::denials`].
    pub fn permitted(&self, asker: &Asker<'_>, now: Instant) -> BTreeSet<i64> {
        let anybody = Asker { user: None, organizations: &[], purpose: None };
        let (mut permitted, mut denied) = (BTreeSet::new(), BTreeSet::new());
        for directive in self.known_directives().values() {
            let patient = || self.hasher().patient(&directive.patient);
            if directive.denies(Act::Read, asker, now).is_some() {
                denied.insert(patient());
            } else if directive.denies(Act::Read, &anybody, now).is_some() {
                permitted.insert(patient());
            }
        }
        &permitted - &denied
    }

    /// Whether there was a consent at the last look.
    pub fn has_consents(&self) -> bool {
        !self.known_directives().is_empty()
    }

    fn known_directives(&self) -> Arc<HashMap<i64, Directive>> {
        self.0.directives.0.lock().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// The ids of the active consents of patients, for the record of what comes of them; who has none is left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn consents_of(&self, patients: &[i64]) -> Result<Vec<(i64, Vec<String>)>, Error> {
        let of: ResourceType = "Consent".parse().map_err(Error::internal)?;
        let pipeline = self.0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        let rows = reader.query(OF_PATIENTS, &[&TENANT, &of.code(), &patients]).await?;
        let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(|row| read(row).map_err(failure::error)).collect()
    }

    async fn directives(&self) -> Result<Arc<HashMap<i64, Directive>>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        let known = self.0.directives.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let changed = match known.look {
            Some(before) => {
                let rows = reader.query(CHANGED, &[&TENANT, &before.horizon]).await?;
                Look::of(&rows)?.follows(before).then_some(rows)
            }
            None => None,
        };
        let (rows, mut all) = match changed {
            Some(rows) => (rows, known.all.clone()),
            None => (reader.query(ALL, &[&TENANT]).await?, Arc::default()),
        };
        let look = Some(Look::of(&rows)?);
        self.take_in(&rows, &mut all)?;
        let changed = (!Arc::ptr_eq(&all, &known.all)).then(|| contradicting(&all)).flatten();
        if let Some((consents, patients)) = changed {
            let text = "active consents contradict each other; what one denies counts";
            tracing::warn!(consents, patients, "{text}");
        }
        let known = Known { all: all.clone(), look };
        *self.0.directives.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(all)
    }

    /// Puts what a look has found in the place of what was known of it.
    fn take_in(&self, rows: &[Row], all: &mut Arc<HashMap<i64, Directive>>) -> Result<(), Error> {
        let base = self.parameters()?.extractor.base().to_owned();
        for row in rows {
            let rid: Option<i64> = row.try_get(2).map_err(failure::error)?;
            let Some(rid) = rid else { continue };
            let body: Option<JsonText<'_>> = row.try_get(3).map_err(failure::error)?;
            let directive = match body {
                Some(body) => {
                    Directive::read(&json::parse(body.0).map_err(Error::internal)?, &base)
                }
                None => None,
            };
            if all.get(&rid) == directive.as_ref() {
                continue;
            }
            let all = Arc::make_mut(all);
            match directive {
                Some(directive) => all.insert(rid, directive),
                None => all.remove(&rid),
            };
        }
        Ok(())
    }
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
    fn the_index_of_consents_has_their_number() {
        let consent: ResourceType = "Consent".parse().expect("a type");
        for statement in [ALL, CHANGED] {
            assert!(statement.contains(&format!("r.rt = {}", consent.code())), "{statement}");
        }
    }

    #[test]
    fn a_look_follows_one_of_the_same_server_that_has_not_gone_back() {
        let before = Look { horizon: 7, running: 1 };
        for ((horizon, running), expected) in
            [((7, 1), true), ((9, 1), true), ((6, 1), false), ((9, 2), false), ((9, 0), false)]
        {
            let look = Look { horizon, running };
            assert_eq!(look.follows(before), expected, "{look:?}");
        }
    }

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
