//! Dates: a stored span against the span that is asked for.
//!
//! Spans begin inside and end before their end; a point has two equal ends. `eq` is containment;
//! a span without an end is never contained.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#date> (rest 4.44 to 4.63)

use crate::fhir::ResourceType;
use crate::search::request::compare::Comparison;
use crate::search::request::prefix::Prefix;
use crate::search::request::{ParameterKey, Test};
use crate::search::values::date::DateRange;
use crate::store::Stored;
use crate::store::rows::Edge;

use super::atom::{Atom, HERE, Parameter};
use super::compile::{Compiler, Row};
use super::sql::{Bind, Binds, Cond};

/// Longer than a day, whatever its zone: such spans are in `srow_long`.
const LONG: &str = "25:00:00";
/// Up to how many long spans are looked at for a bound.
const FEW: u8 = 200;

impl Compiler<'_, '_> {
    /// A date.
    pub(super) fn date(
        &mut self,
        prefix: Prefix,
        range: &DateRange,
        parameter: &Parameter,
    ) -> Atom {
        let hashes = parameter.values().into_iter().map(|of| self.hasher.date(of)).collect();
        let (low, high) = (format!("{HERE}lo"), format!("{HERE}hi"));
        let mut at = |moment| self.binds.time(moment);
        let condition = compare(prefix, range, &low, &high, &mut at);
        let parts = parts(prefix, range, &mut self.binds);
        Atom::Value { table: "dat", hashes, condition, parts }
    }

    /// The condition of a test on the date that rows are ordered by: `s` and `hi` are its span. Never
    /// holds where the test asks for another.
    pub(super) fn span(&mut self, test: &Test, row: &Row<'_>) -> Cond {
        let stored = self.stored(&test.parameters, &row.types);
        let types = self.primary_types(&stored);
        let is_date = |comparison: &Comparison| matches!(comparison, Comparison::Date { .. });
        if types.is_empty() || !test.any.iter().any(is_date) {
            return Cond::False;
        }
        let of_type = self.is_type_of(&types, row);
        let (alias, at_hand) = (self.alias(), row.s.clone().zip(row.hi.clone()));
        let is_at_hand = at_hand.is_some();
        let (low, high) = at_hand.unwrap_or_else(|| (format!("{alias}.s"), format!("{alias}.hi")));
        let mut any = Vec::new();
        for comparison in &test.any {
            if let Comparison::Date { prefix, range } = comparison {
                let mut at = |moment| self.binds.time(moment);
                let condition = compare(*prefix, range, &low, &high, &mut at);
                any.push(Cond::Sql(format!("({condition})")));
            }
        }
        // A row without the date has a span of nothing before all times.
        let is_there = Cond::sql(format!("{high} > '-infinity'"));
        let holds = Cond::all([is_there, Cond::any(any)]);
        let holds = if is_at_hand {
            holds
        } else {
            let (rid, holds) = (&row.rid, holds.and());
            Cond::exists(&format!("srow {alias} WHERE {alias}.rid = {rid}{holds}"))
        };
        Cond::all([of_type, holds])
    }

    /// The hash of the date that rows of a type are ordered by.
    fn primary(&self, of: ResourceType) -> Option<i64> {
        let extractor = &self.parameters.extractor;
        let at = usize::from(extractor.primary(of)?);
        let hash = self.hasher.parameter(of, &extractor.parameters(of).get(at)?.key());
        Some(self.at_hand(hash))
    }

    /// The types for which a parameter is, or shows, the date that rows are ordered by.
    pub(super) fn primary_types(&self, stored: &[(ResourceType, Stored)]) -> Vec<ResourceType> {
        let is_primary = |(of, stored): &&(ResourceType, Stored)| {
            let primary = self.primary(*of);
            primary.is_some_and(|primary| values(stored).any(|value| value == primary))
        };
        stored.iter().filter(is_primary).map(|(of, _)| *of).collect()
    }

    /// The hashes under which the dates of a parameter are that rows are not ordered by.
    pub(super) fn without_primary(&self, stored: &[(ResourceType, Stored)]) -> Vec<i64> {
        let mut all = Vec::new();
        for (of, stored) in stored {
            let primary = self.primary(*of);
            all.extend(values(stored).filter(|value| Some(*value) != primary));
        }
        all
    }

    /// Whether the values of a parameter are the date that rows are ordered by and nothing else, for
    /// each of `types`.
    pub(super) fn is_primary(&self, keys: &[ParameterKey], types: &[ResourceType]) -> bool {
        let stored = self.stored(keys, types);
        self.primary_types(&stored).len() == types.len() && self.without_primary(&stored).is_empty()
    }

    /// Bounds of `s` that a test of the primary date sets: from, and up to. What lies outside cannot
    /// match; what lies inside may.
    pub(super) fn primary_bounds(
        &self,
        test: &Test,
        row: &Row<'_>,
    ) -> (Option<Edge>, Option<Edge>) {
        let [Comparison::Date { prefix, range }] = &*test.any else { return (None, None) };
        if !self.is_primary(&test.parameters, &row.types) {
            return (None, None);
        }
        lower_bounds(*prefix, range)
    }

    /// A bound of `s` where a test of the primary date asks for what ends at a moment or later, for
    /// walks of all that a type or a token has: as SQL. Spans that are not long begin a little before
    /// it; where few are long (`srow_long`), the earliest of those that are in the walk says how much:
    /// `is_walked` is the condition that `l` is.
    pub(super) fn reaching(
        &mut self,
        test: &Test,
        row: &Row<'_>,
        is_walked: &str,
    ) -> Option<String> {
        let [Comparison::Date { prefix, range }] = &*test.any else { return None };
        let &[of] = &*row.types else { return None };
        if !self.is_primary(&test.parameters, &row.types) {
            return None;
        }
        let (low, high) = ends(range);
        let end = match prefix {
            Prefix::Ap | Prefix::Ge => low,
            Prefix::Gt => high,
            Prefix::Eb | Prefix::Eq | Prefix::Le | Prefix::Lt | Prefix::Ne | Prefix::Sa => {
                return None;
            }
        };
        let code = self.code(of);
        let (end, code) = (self.binds.time(end), self.binds.add(Bind::Short(code)));
        Some(format!(
            "least({end} - interval '{LONG}', (SELECT CASE WHEN count(*) < {FEW} \
             THEN coalesce(min(l.s) FILTER (WHERE {is_walked}), 'infinity') ELSE '-infinity' END \
             FROM (SELECT l.s, l.rid FROM srow l WHERE l.rt = {code} AND l.hi >= {end} \
             AND l.hi > '-infinity' AND CASE WHEN isfinite(l.s) AND isfinite(l.hi) \
             THEN l.hi - l.s > '{LONG}'::interval ELSE true END LIMIT {FEW}) l))"
        ))
    }

    /// The condition on `meta.lastUpdated`, a point.
    pub(super) fn last_updated(&mut self, any: &[(Prefix, DateRange)], row: &Row<'_>) -> Cond {
        if let Some(lu) = &row.lu {
            return self.updated(any, lu);
        }
        let alias = self.alias();
        let condition = self.updated(any, &format!("{alias}.lu"));
        let rid = &row.rid;
        match condition {
            Cond::Sql(text) => {
                Cond::exists(&format!("res {alias} WHERE {alias}.rid = {rid} AND {text}"))
            }
            decided => decided,
        }
    }

    /// The same where the statement has the column at hand.
    pub(super) fn updated(&mut self, any: &[(Prefix, DateRange)], column: &str) -> Cond {
        let one = |(prefix, range): &(Prefix, DateRange)| {
            let mut at = |moment| self.binds.time(moment);
            let compared = compare(*prefix, range, column, column, &mut at);
            // What follows from it for a moment, in a form that an index serves.
            let (from, to) = ends(range);
            let bound = match prefix {
                Prefix::Ge | Prefix::Gt | Prefix::Sa => {
                    format!(" AND {column} >= {}", self.binds.time(from))
                }
                Prefix::Eb | Prefix::Le | Prefix::Lt => {
                    format!(" AND {column} <= {}", self.binds.time(to))
                }
                Prefix::Ap | Prefix::Eq | Prefix::Ne => String::new(),
            };
            Cond::Sql(format!("(({compared}){bound})"))
        };
        Cond::any(any.iter().map(one).collect::<Vec<_>>())
    }
}

/// The hashes under which the values of a parameter of one type are.
fn values(stored: &Stored) -> impl Iterator<Item = i64> + '_ {
    let own = stored.parts.is_empty().then_some(stored.own);
    own.into_iter().chain(stored.parts.iter().map(|(part, _)| *part))
}

fn ends(range: &DateRange) -> (Edge, Edge) {
    let low = range.low.map_or(Edge::Past, Edge::At);
    let high = range.high.map_or(Edge::Future, Edge::At);
    (low, high)
}

/// Bounds of the lower end of what compares so: from, and up to.
pub(super) fn lower_bounds(prefix: Prefix, range: &DateRange) -> (Option<Edge>, Option<Edge>) {
    let (low, high) = ends(range);
    match prefix {
        Prefix::Eq => (Some(low), Some(high)),
        Prefix::Sa => (Some(high), None),
        Prefix::Eb | Prefix::Lt => (None, Some(low)),
        Prefix::Ap | Prefix::Le => (None, Some(high)),
        Prefix::Ge | Prefix::Gt | Prefix::Ne => (None, None),
    }
}

/// Conditions that an index serves each, for those that go by both ends. A row may meet several.
fn parts(prefix: Prefix, range: &DateRange, binds: &mut Binds) -> Vec<String> {
    let (from, to) = ends(range);
    let mut at = |moment| binds.time(moment);
    match prefix {
        Prefix::Gt if from == to => Vec::new(),
        Prefix::Gt => {
            vec![format!("{HERE}hi > {}", at(to)), format!("{HERE}lo >= {}", at(to))]
        }
        // What is contained and not later lies inside; the rest of `ge` is `gt`.
        Prefix::Ge => {
            let (low, high) = (format!("{HERE}lo"), format!("{HERE}hi"));
            let inside = compare(Prefix::Eq, range, &low, &high, &mut at);
            let later = parts(Prefix::Gt, range, binds);
            let later = if later.is_empty() {
                vec![format!("{HERE}hi > {}", binds.time(to))]
            } else {
                later
            };
            later.into_iter().chain([inside]).collect()
        }
        _ => Vec::new(),
    }
}

/// The condition between the span in two columns and the one that is asked for; `at` is how a moment is
/// written.
pub(super) fn compare<A: FnMut(Edge) -> String>(
    prefix: Prefix,
    range: &DateRange,
    low: &str,
    high: &str,
    at: &mut A,
) -> String {
    let (from, to) = ends(range);
    let is_point = from == to;
    let eq = |at: &mut A| {
        let (from, to) = (at(from), at(to));
        if is_point {
            format!("{low} = {from} AND {high} = {to}")
        } else {
            // A point at the end is no longer inside.
            format!("{low} >= {from} AND {low} < {to} AND {high} <= {to}")
        }
    };
    // A point at the end of a span is after it, as it is at no other place.
    let gt = |at: &mut A| {
        let to = at(to);
        if is_point {
            format!("{high} > {to}")
        } else {
            format!("({high} > {to} OR {low} >= {to})")
        }
    };
    match prefix {
        Prefix::Eq => eq(at),
        Prefix::Ne => format!("NOT ({})", eq(at)),
        Prefix::Gt => gt(at),
        Prefix::Lt => format!("{low} < {}", at(from)),
        Prefix::Ge => format!("({} OR ({}))", gt(at), eq(at)),
        Prefix::Le => format!("({low} < {} OR ({}))", at(from), eq(at)),
        Prefix::Sa if is_point => format!("{low} > {}", at(to)),
        Prefix::Sa => format!("{low} >= {}", at(to)),
        Prefix::Eb => {
            let from = at(from);
            format!("{high} <= {from} AND {low} < {from}")
        }
        Prefix::Ap => {
            let (from, to) = (at(from), at(to));
            let before = if is_point { "<=" } else { "<" };
            format!("{low} {before} {to} AND ({high} > {from} OR {low} >= {from})")
        }
    }
}
