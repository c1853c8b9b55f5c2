//! How many rows the candidates have: counted up to a bound, all in one statement.
//!
//! Nothing is counted where there is nothing to choose between. What was counted is remembered for
//! a minute: it decides how fast an answer is and whether it tells a total, never what matches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::slice::from_ref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::Filter;
use crate::store::failure;

use super::choice::{Choice, Chosen, Counted, Further, chosen, spread};
use super::compile::Compiler;
use super::driver::{Candidate, Driver};
use super::run::Run;
use super::source::Handle;
use super::sql::{Cond, Statement};

/// How long a count is believed.
const BELIEVED: Duration = Duration::from_mins(1);
/// Most counts that are remembered.
const REMEMBERED: usize = 4_096;
/// Most candidates that are counted.
const COUNTED: usize = 6;
/// Up to how many keys that are found already need no look at what else there is.
const FEW_KEYS: usize = 500;
/// Up to how many links of a chain behind the first are counted.
const FURTHER: usize = 2;
/// Of how many resources it is looked at what they refer to.
const SAMPLE: i64 = 200;
/// Of how many rows of a token it is looked at whether a test of values holds: what is measured under a code
/// has the unit of that code, so that the one tells much of the other.
const HELD: i64 = 64;
/// Rows that a type has which the statistics do not name.
const RARE: i64 = 1_000;

/// How many rows the types have, by what the database knows of the spread of `srow.rt`. Behind row level
/// security it tells nothing of that: there, some blocks are looked at, as many however large the table is.
const SIZES: &str = "\
    WITH whole AS MATERIALIZED (SELECT reltuples, relpages FROM pg_class \
     WHERE oid = 'srow'::regclass AND reltuples > 0), \
    known AS MATERIALIZED (SELECT u.rt, (w.reltuples * u.part)::bigint AS rows \
     FROM pg_stats s CROSS JOIN whole w CROSS JOIN LATERAL \
     unnest(s.most_common_vals::text::smallint[], s.most_common_freqs) u(rt, part) \
     WHERE s.schemaname = current_schema() AND s.tablename = 'srow' AND s.attname = 'rt') \
    SELECT rt, rows FROM known UNION ALL \
    SELECT s.rt, ((SELECT reltuples FROM whole) * count(*) / sum(count(*)) OVER ())::bigint \
    FROM srow s TABLESAMPLE SYSTEM \
     ((SELECT least(100, 30000.0 / greatest(relpages, 1)) FROM pg_class WHERE oid = 'srow'::regclass)) \
    WHERE row_security_active('srow'::regclass) AND EXISTS (SELECT FROM whole) GROUP BY s.rt";

pub(in crate::store) const STATEMENTS: &[&str] = &[SIZES];

/// How many rows each type has; empty where nothing is known.
type Sizes = HashMap<i16, i64>;

/// Counts of the last minute.
#[derive(Debug, Default)]
pub(in crate::store) struct Counts {
    known: Mutex<HashMap<Mark, (Instant, Vec<i64>)>>,
    sizes: Mutex<Option<(Instant, Arc<Sizes>)>>,
    keyed: RandomState,
}

/// What a count is known by: the text and the values of what counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Mark(u64);

impl Counts {
    /// What the count by `statement` is known by.
    pub(super) fn mark(&self, statement: &impl Hash) -> Mark {
        Mark(self.keyed.hash_one(statement))
    }

    fn get(&self, mark: Mark) -> Option<Vec<i64>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, counts) = known.get(&mark)?;
        (at.elapsed() < BELIEVED).then(|| counts.clone())
    }

    fn put(&self, mark: Mark, counts: Vec<i64>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        }
        if known.len() < REMEMBERED {
            known.insert(mark, (Instant::now(), counts));
        }
    }

    /// Whether the total of this mark was too large to be counted.
    pub(super) fn is_too_many(&self, mark: Mark) -> bool {
        self.get(mark).is_some()
    }

    /// The total of this mark is too large to be counted.
    pub(super) fn too_many(&self, mark: Mark) {
        self.put(mark, Vec::new());
    }

    async fn sizes(&self, run: &Run<'_>) -> Result<Arc<Sizes>, Error> {
        let known = self.sizes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, sizes)) = known.filter(|(at, _)| at.elapsed() < BELIEVED) {
            return Ok(sizes);
        }
        let statement = Statement { sql: SIZES.to_owned(), binds: Vec::new() };
        let rows = run.query(&statement).await?;
        let size = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
        let sizes = rows.iter().map(size).collect::<Result<Sizes, _>>();
        let sizes = Arc::new(sizes.map_err(failure::error)?);
        let mut known = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Instant::now(), sizes.clone()));
        Ok(sizes)
    }
}

/// How many rows these types have together; `None` where nothing is known.
fn size_of(sizes: &Sizes, types: impl IntoIterator<Item = ResourceType>) -> Option<f64> {
    let all = types.into_iter().map(|of| sizes.get(&of.code()).copied().unwrap_or(RARE));
    (!sizes.is_empty()).then(|| all.sum::<i64>() as f64)
}

/// Up to how many rows of a candidate are counted: more are many.
pub(super) fn bound(driver: &Driver) -> i64 {
    match driver {
        Driver::Keys => i64::MAX,
        Driver::Links => 20_000,
        Driver::Alternatives
        | Driver::Hierarchy
        | Driver::Referred
        | Driver::Systems(_)
        | Driver::Updated
        | Driver::Values => 5_000,
        _ => 1_000,
    }
}

/// Chooses what is walked. `page`: how many matches are wanted, where a walk in the order of `s`
/// serves.
pub(super) async fn choose(
    run: &mut Run<'_>,
    counts: &Counts,
    compiler: Compiler<'_, '_>,
    (conjuncts, types): (&[&Filter], &[ResourceType]),
    page: Option<u32>,
) -> Result<Chosen, Error> {
    let mut candidates = compiler.candidates(conjuncts, types)?;
    let best = &candidates[0];
    let is_few = match (&best.driver, best.of.and_then(|of| conjuncts.get(of))) {
        (Driver::Identities | Driver::Compartment(_), _) => true,
        (Driver::Keys, Some(Filter::Keys(keys))) => keys.rids.len() <= FEW_KEYS,
        _ => false,
    };
    if is_few {
        // Each is asked where its references lead.
        let turned = conjuncts.iter().filter_map(|it| link(it)).collect();
        let candidate = candidates.swap_remove(0);
        return Ok(Chosen::only(Choice { candidate, is_small: true, turned, number: None }));
    }
    candidates.retain(|candidate| candidate.driver != Driver::Resources);
    candidates.truncate(COUNTED);
    let is_plain = match &*candidates {
        [] => true,
        [only] => {
            let is_tokens = matches!(only.driver, Driver::OtherTokens { .. } | Driver::Tokens(_));
            is_tokens && page.is_some()
        }
        _ => false,
    };
    if is_plain {
        let candidate = candidates.pop().unwrap_or(Candidate::RESOURCES);
        let turned = HashSet::new();
        return Ok(Chosen::only(Choice { candidate, is_small: false, turned, number: None }));
    }
    let links: Vec<_> = candidates.iter().map(|one| behind(filter_of(one, conjuncts))).collect();
    let further = links.concat();
    let asked = (&*candidates, &*further);
    let mut numbers = count(run, counts, compiler, (conjuncts, types), asked).await?;
    let mut behind = numbers.split_off(candidates.len());
    let sampled = behind.split_off(further.len());
    let mut behind = behind.into_iter();
    let sizes = counts.sizes(run).await?;
    let size = size_of(&sizes, types.iter().copied());
    run.step(|| shown(&candidates, &numbers));
    let looked_at = candidates.iter().zip(&numbers).find(|(one, _)| is_token(one));
    let looked_at = looked_at.map(|(_, number)| HELD.min(*number));
    let counted = candidates.into_iter().zip(numbers).zip(&links).zip(sampled);
    let counted = counted.map(|(((candidate, number), links), sampled)| {
        let filter = filter_of(&candidate, conjuncts);
        let among = targets_of(filter).map_or(size, |targets| size_of(&sizes, targets));
        let share = share(&candidate.driver, (number, sampled), (looked_at, among));
        let further = links.iter().zip(&mut behind).filter_map(|((driver, filter), number)| {
            Some(Further { driver: driver.clone(), number, told: link(filter)? })
        });
        let further = further.collect();
        let told = filter.and_then(|filter| link(filter).or_else(|| value(filter, &candidate)));
        Counted { candidate, number, share, told, further }
    });
    Ok(chosen(&counted.collect::<Vec<_>>(), page, size))
}

/// The part of all resources, or of a chain's targets, for which a filter of so many holds, by what was seen in a
/// sample: of values, of so many rows of a token where one was looked at.
fn share(
    driver: &Driver,
    (number, sampled): (i64, i64),
    (looked_at, among): (Option<i64>, Option<f64>),
) -> Option<f64> {
    let (held, among) = match (driver, looked_at) {
        (Driver::Values, Some(rows)) => (sampled.max(1) as f64, rows as f64),
        (Driver::Values, None) => (number as f64, among?),
        _ => (spread(number, (SAMPLE.min(number), sampled)), among?),
    };
    Some((held / among.max(1.0)).min(1.0))
}

/// What tells a chain or `_has` from others.
fn link(filter: &Filter) -> Option<usize> {
    let is_link = matches!(filter, Filter::Chain { .. } | Filter::Has { .. });
    is_link.then(|| super::compile::address(filter))
}

/// What tells a test of values from others, where all that it holds for can be found as a set.
fn value(filter: &Filter, candidate: &Candidate) -> Option<usize> {
    let is_value = matches!((filter, &candidate.driver), (Filter::Test(_), Driver::Values));
    is_value.then(|| super::compile::address(filter))
}

/// The filter that a candidate stands for.
fn filter_of<'f>(candidate: &Candidate, conjuncts: &[&'f Filter]) -> Option<&'f Filter> {
    candidate.of.and_then(|of| conjuncts.get(of).copied())
}

/// The types that a chain leads to.
fn targets_of(filter: Option<&Filter>) -> Option<impl Iterator<Item = ResourceType>> {
    let Some(Filter::Chain { targets, .. }) = filter else { return None };
    Some(targets.iter().map(|(of, _)| *of))
}

/// The links that a chain or `_has` goes on through, each with what it would be walked by.
fn behind(filter: Option<&Filter>) -> Vec<(Driver, &Filter)> {
    let mut found = Vec::new();
    let mut ahead: VecDeque<&Filter> = filter.into_iter().collect();
    while let Some(filter) = ahead.pop_front().filter(|_| found.len() < FURTHER) {
        let inner: Vec<&Filter> = match filter {
            Filter::Chain { targets, .. } => targets.iter().map(|(_, inner)| inner).collect(),
            Filter::Has { filter, .. } => vec![filter],
            _ => Vec::new(),
        };
        for filter in inner.into_iter().flat_map(|it| super::driver::conjuncts(from_ref(it))) {
            let driver = match filter {
                Filter::Chain { .. } => Driver::Links,
                Filter::Has { .. } => Driver::Referred,
                _ => continue,
            };
            found.push((driver, filter));
            ahead.push_back(filter);
        }
    }
    found.truncate(FURTHER);
    found
}

async fn count(
    run: &mut Run<'_>,
    counts: &Counts,
    mut compiler: Compiler<'_, '_>,
    (conjuncts, types): (&[&Filter], &[ResourceType]),
    (candidates, further): (&[Candidate], &[(Driver, &Filter)]),
) -> Result<Vec<i64>, Error> {
    let mut columns = Vec::new();
    for candidate in candidates {
        if let (Driver::Keys, Some(Filter::Keys(keys))) =
            (&candidate.driver, candidate.of.and_then(|of| conjuncts.get(of)))
        {
            columns.push(compiler.binds.long(keys.rids.len() as i64));
            continue;
        }
        let rows = compiler.countable(candidate, conjuncts, types)?;
        columns.push(capped(&rows, &candidate.driver));
    }
    for (driver, filter) in further {
        let candidate = Candidate { driver: driver.clone(), of: Some(0) };
        let rows = compiler.countable(&candidate, &[*filter], types)?;
        columns.push(capped(&rows, driver));
    }
    for candidate in candidates {
        let sample = match candidate.driver {
            Driver::Values => compiler.held(candidate, candidates, conjuncts, types)?,
            _ => compiler.sample(candidate, conjuncts, types)?,
        };
        columns.push(sample.unwrap_or_else(|| "0::bigint".to_owned()));
    }
    let statement = compiler.binds.finish(&format!("SELECT {}", columns.join(", ")));
    let mark = counts.mark(&statement);
    if let Some(known) = counts.get(mark) {
        return Ok(known);
    }
    let rows = run.rows(&statement).await?;
    let row = rows.first().ok_or_else(|| Error::internal("a count gives a row"))?;
    let counted = (0..columns.len()).map(|at| row.try_get(at).map_err(failure::error));
    let counted = counted.collect::<Result<Vec<i64>, _>>()?;
    counts.put(mark, counted.clone());
    Ok(counted)
}

/// A query of how many rows there are, up to what is counted of a driver.
fn capped(rows: &str, driver: &Driver) -> String {
    format!("(SELECT count(*) FROM ({rows} LIMIT {}) e)", bound(driver))
}

impl Compiler<'_, '_> {
    /// A query of what is counted of a candidate.
    fn countable(
        &mut self,
        candidate: &Candidate,
        conjuncts: &[&Filter],
        types: &[ResourceType],
    ) -> Result<String, Error> {
        let filter = candidate.of.and_then(|of| conjuncts.get(of).copied());
        match (&candidate.driver, filter) {
            (Driver::Links, Some(Filter::Chain { targets, .. })) => {
                let mut all = Vec::new();
                for (of, filter) in targets {
                    let found = self.targets_as(Handle::Key, *of, filter)?;
                    all.extend(found.into_iter().map(|found| format!("({found})")));
                }
                Ok(super::source::union(&all))
            }
            (Driver::Referred, Some(Filter::Has { source, filter, .. })) => {
                let found = self.within(false, |it| it.found(&[*source], filter))?;
                Ok(found.map_or_else(super::source::nothing, |found| format!("({found})")))
            }
            (Driver::Systems(signs), _) => Ok(format!("({})", self.system_names(signs))),
            (Driver::OtherTokens { .. } | Driver::Tokens(_), _) => {
                let source = self.source(candidate, conjuncts, types)?;
                Ok(super::source::every(&source, "1", &Cond::True))
            }
            (driver, Some(filter)) => Ok(format!("({})", self.keys_of(driver, filter, types)?)),
            (_, None) => Err(Error::internal("a candidate of no filter is not counted")),
        }
    }
}

impl Compiler<'_, '_> {
    /// A query of how many different patients some of the resources of `_has` refer to; `None` where
    /// what they refer to does not stand beside them.
    fn sample(
        &mut self,
        candidate: &Candidate,
        conjuncts: &[&Filter],
        types: &[ResourceType],
    ) -> Result<Option<String>, Error> {
        let filter = filter_of(candidate, conjuncts);
        let (Driver::Referred, Some(Filter::Has { source, reference, filter })) =
            (&candidate.driver, filter)
        else {
            return Ok(None);
        };
        let is_member = types == [ResourceType::PATIENT]
            && !self.is_inside
            && self.definitions.is_member(*source, &reference.code);
        let parameters = self.references(from_ref(reference), &[*source], ResourceType::PATIENT);
        let Some(&parameter) = parameters.first().filter(|_| is_member) else { return Ok(None) };
        let found = self.referred_patients(*source, parameter, filter)?;
        Ok(found.map(|found| {
            format!("(SELECT count(DISTINCT e.i) FROM ({found} LIMIT {SAMPLE}) e(i))")
        }))
    }
}

impl Compiler<'_, '_> {
    /// A query of how many of the first rows of a token a test of values holds for; `None` where no token is
    /// among the candidates.
    fn held(
        &mut self,
        values: &Candidate,
        candidates: &[Candidate],
        conjuncts: &[&Filter],
        types: &[ResourceType],
    ) -> Result<Option<String>, Error> {
        let walk = candidates.iter().find(|one| is_token(one));
        let (Some(walk), Some(filter)) = (walk, filter_of(values, conjuncts)) else {
            return Ok(None);
        };
        let source = self.source(walk, conjuncts, types)?;
        let holds = self.filter(filter, &source.row)?;
        let holds = format!("(true{}) AS m", holds.and());
        let seen = super::source::every(&source, &holds, &Cond::True);
        Ok(Some(format!("(SELECT count(*) FILTER (WHERE m) FROM ({seen} LIMIT {HELD}) e)")))
    }
}

/// Whether it walks the rows of a token.
fn is_token(candidate: &Candidate) -> bool {
    matches!(candidate.driver, Driver::Tokens(_))
}

/// `Tokens 12, Links 2000`
fn shown(candidates: &[Candidate], counted: &[i64]) -> String {
    let one = |(candidate, number): (&Candidate, &i64)| {
        let most = if *number >= bound(&candidate.driver) { " or more" } else { "" };
        format!("{} {number}{most}", candidate.driver.name())
    };
    let all: Vec<String> = candidates.iter().zip(counted).map(one).collect();
    format!("counted: {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rows_of_a_token_hold_is_the_share_of_values() {
        let links = Driver::Links;
        for (driver, seen, among, expected) in [
            // Most of what is measured under a code is in its unit, however rare the unit is.
            (&Driver::Values, (2_000, 48), (Some(64), Some(1_000_000.0)), Some(0.75)),
            // None of the first is not none at all.
            (&Driver::Values, (2_000, 0), (Some(64), Some(1_000_000.0)), Some(1.0 / 64.0)),
            (&Driver::Values, (2_000, 0), (None, Some(4_000.0)), Some(0.5)),
            (&Driver::Values, (2_000, 0), (None, Some(1_000.0)), Some(1.0)),
            (&Driver::Values, (2_000, 0), (None, None), None),
            (&links, (2_000, 0), (Some(64), Some(4_000.0)), Some(0.5)),
            (&links, (2_000, 0), (Some(64), None), None),
        ] {
            let found = share(driver, seen, among);
            let is_so = match (found, expected) {
                (Some(found), Some(expected)) => f64::abs(found - expected) < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(is_so, "{driver:?} {seen:?} {among:?}: {found:?}");
        }
    }
}
