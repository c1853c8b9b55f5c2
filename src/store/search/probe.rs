//! How many rows the candidates have: counted up to a bound, all in one statement.
//!
//! Nothing is counted where there is nothing to choose between. What was counted is remembered for
//! a minute: it decides how fast an answer is, never what it says.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::Filter;
use crate::store::failure;

use super::compile::{Compiler, address};
use super::driver::{Candidate, Driver};
use super::run::Run;
use super::sql::{Cond, Statement};

/// How long a count is believed.
const BELIEVED: Duration = Duration::from_mins(1);
/// Most counts that are remembered.
const REMEMBERED: usize = 4_096;
/// Most candidates that are counted.
const COUNTED: usize = 6;

/// What is walked, and what the counts said of the other filters.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) candidate: Candidate,
    /// Whether the candidate has few rows, so that to find and sort all of them costs little.
    pub(super) is_small: bool,
    /// Chains and `_has` that are asked row by row.
    pub(super) wide: HashSet<usize>,
}

/// Counts of the last minute.
#[derive(Debug, Default)]
pub(in crate::store) struct Counts {
    known: Mutex<HashMap<u64, (Instant, Vec<i64>)>>,
    keyed: RandomState,
}

impl Counts {
    fn get(&self, statement: &Statement) -> Option<Vec<i64>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, counts) = known.get(&self.keyed.hash_one(statement))?;
        (at.elapsed() < BELIEVED).then(|| counts.clone())
    }

    fn put(&self, statement: &Statement, counts: Vec<i64>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        }
        if known.len() < REMEMBERED {
            known.insert(self.keyed.hash_one(statement), (Instant::now(), counts));
        }
    }
}

/// Up to how many rows of a candidate are counted: more are many.
fn bound(driver: &Driver) -> i64 {
    match driver {
        Driver::Links => 20_000,
        Driver::Alternatives
        | Driver::Hierarchy
        | Driver::Referred
        | Driver::Updated
        | Driver::Values => 5_000,
        _ => 1_000,
    }
}

/// Up to how many rows of a candidate are walked rather than those of another. A chain or `_has`
/// with more is a set that rows are looked up in, and beyond its bound is asked row by row.
fn few_of(driver: &Driver) -> i64 {
    match driver {
        Driver::Links => 2_000,
        Driver::Referred => 500,
        other => bound(other),
    }
}

/// What one counted row stands for: a target of a chain has several that refer to it.
fn weight(driver: &Driver) -> i64 {
    match driver {
        Driver::Links => 10,
        Driver::Referred => 20,
        _ => 1,
    }
}

/// Chooses what is walked. `is_in_order`: whether a walk in the order of `s` serves.
pub(super) async fn choose(
    run: &mut Run<'_>,
    counts: &Counts,
    compiler: Compiler<'_, '_>,
    (conjuncts, types): (&[&Filter], &[ResourceType]),
    is_in_order: bool,
) -> Result<Choice, Error> {
    let mut candidates = compiler.candidates(conjuncts, types)?;
    let links = || conjuncts.iter().filter(|it| is_link(it)).map(|it| address(it));
    let best = &candidates[0];
    if matches!(best.driver, Driver::Identities | Driver::Keys | Driver::Compartment(_)) {
        // Few rows: each is asked where its references lead.
        let wide = links().collect();
        return Ok(Choice { candidate: candidates.swap_remove(0), is_small: true, wide });
    }
    candidates.retain(|candidate| candidate.driver != Driver::Resources);
    candidates.truncate(COUNTED);
    let is_plain = match &*candidates {
        [] => true,
        [only] => matches!(only.driver, Driver::Tokens(_)) && is_in_order,
        _ => false,
    };
    if is_plain {
        let candidate = candidates.pop().unwrap_or(Candidate::RESOURCES);
        return Ok(Choice { candidate, is_small: false, wide: HashSet::new() });
    }
    let counted = count(run, counts, compiler, (conjuncts, types), &candidates).await?;
    let mut wide = HashSet::new();
    let (mut few, mut many) = (None::<(i64, &Candidate)>, None);
    for (candidate, &number) in candidates.iter().zip(&counted) {
        if number < few_of(&candidate.driver) {
            let cost = number * weight(&candidate.driver);
            if few.is_none_or(|(least, _)| cost < least) {
                few = Some((cost, candidate));
            }
            continue;
        }
        let filter = candidate.of.and_then(|of| conjuncts.get(of));
        if number >= bound(&candidate.driver) {
            wide.extend(filter.filter(|it| is_link(it)).map(|it| address(it)));
        }
        if many.is_none() && matches!(candidate.driver, Driver::Tokens(_)) {
            many = Some(candidate);
        }
    }
    run.step(|| shown(&candidates, &counted));
    Ok(match (few, many) {
        (Some((_, candidate)), _) => Choice { candidate: candidate.clone(), is_small: true, wide },
        (None, Some(candidate)) => Choice { candidate: candidate.clone(), is_small: false, wide },
        (None, None) => Choice { candidate: Candidate::RESOURCES, is_small: false, wide },
    })
}

fn is_link(filter: &Filter) -> bool {
    matches!(filter, Filter::Chain { .. } | Filter::Has { .. })
}

async fn count(
    run: &mut Run<'_>,
    counts: &Counts,
    mut compiler: Compiler<'_, '_>,
    (conjuncts, types): (&[&Filter], &[ResourceType]),
    candidates: &[Candidate],
) -> Result<Vec<i64>, Error> {
    let mut columns = Vec::new();
    for candidate in candidates {
        let rows = compiler.countable(candidate, conjuncts, types)?;
        let most = bound(&candidate.driver);
        columns.push(format!("(SELECT count(*) FROM ({rows} LIMIT {most}) e)"));
    }
    let statement = compiler.binds.finish(&format!("SELECT {}", columns.join(", ")));
    if let Some(known) = counts.get(&statement) {
        return Ok(known);
    }
    let rows = run.rows(&statement).await?;
    let row = rows.first().ok_or_else(|| Error::internal("a count gives a row"))?;
    let counted = (0..candidates.len()).map(|at| row.try_get(at).map_err(failure::error));
    let counted = counted.collect::<Result<Vec<i64>, _>>()?;
    counts.put(&statement, counted.clone());
    Ok(counted)
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
                    let found = self.targets_by_place(*of, filter)?;
                    all.extend(found.into_iter().map(|found| format!("({found})")));
                }
                Ok(super::source::union(&all))
            }
            (Driver::Referred, Some(Filter::Has { source, filter, .. })) => {
                let found = self.within(false, |it| it.found(&[*source], filter))?;
                Ok(found.map_or_else(super::source::nothing, |found| format!("({found})")))
            }
            (Driver::Tokens(_), _) => {
                let source = self.source(candidate, conjuncts, types)?;
                Ok(super::source::every(&source, "1", &Cond::True))
            }
            (driver, Some(filter)) => Ok(format!("({})", self.keys_of(driver, filter, types)?)),
            (_, None) => Err(Error::internal("a candidate of no filter is not counted")),
        }
    }
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
