//! Dates: a stored span against the span that is asked for.
//!
//! Spans begin inside and end before their end; a point has two equal ends. `eq` is containment;
//! a span without an end is never contained.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#date> (rest 4.44 to 4.63)

use crate::search::request::Test;
use crate::search::request::compare::Comparison;
use crate::search::request::prefix::Prefix;
use crate::search::values::date::DateRange;

use super::atom::{Atom, HERE, Parameter};
use super::compile::{Compiler, Row};
use super::sql::{Binds, Cond, Moment};

impl Compiler<'_, '_> {
    /// A date.
    pub(super) fn date(
        &mut self,
        prefix: Prefix,
        range: &DateRange,
        parameter: &Parameter,
    ) -> Atom {
        let hashes = parameter.hashes.iter().map(|&of| self.hasher.date(of)).collect();
        let (low, high) = (format!("{HERE}lo"), format!("{HERE}hi"));
        let condition = compare(prefix, range, &low, &high, &mut self.binds);
        Atom::Value { table: "dat", hashes, condition }
    }

    /// The condition of a test of the date that rows are ordered by, where the row has its span.
    pub(super) fn primary_date(&mut self, test: &Test, row: &Row<'_>) -> Option<Cond> {
        let (low, high) = row.s.as_deref().zip(row.hi.as_deref())?;
        if !self.is_primary(test, row) {
            return None;
        }
        let mut any = Vec::new();
        for comparison in &test.any {
            let Comparison::Date { prefix, range } = comparison else { return None };
            any.push(format!("({})", compare(*prefix, range, low, high, &mut self.binds)));
        }
        // A row without the date has a span of nothing before all times.
        let is_there = Cond::sql(format!("{high} > '-infinity'"));
        Some(Cond::all([is_there, Cond::any(any.into_iter().map(Cond::Sql))]))
    }

    /// Whether a test asks for the date that the rows of all types of `row` are ordered by, and that
    /// date is one span in each of them.
    fn is_primary(&self, test: &Test, row: &Row<'_>) -> bool {
        row.types.iter().all(|&of| {
            let mut keys = test.parameters.iter().filter(|key| key.resource_type == of);
            keys.next().is_some_and(|key| self.definitions.is_primary(of, &key.code))
        })
    }

    /// Bounds of `s` that a test of the primary date sets: from, and up to. What lies outside cannot
    /// match; what lies inside may.
    pub(super) fn primary_bounds(
        &self,
        test: &Test,
        row: &Row<'_>,
    ) -> (Option<Moment>, Option<Moment>) {
        let [Comparison::Date { prefix, range }] = &*test.any else { return (None, None) };
        if !self.is_primary(test, row) {
            return (None, None);
        }
        let (low, high) = ends(range);
        match prefix {
            Prefix::Eq => (Some(low), Some(high)),
            Prefix::Sa => (Some(high), None),
            Prefix::Eb | Prefix::Lt => (None, Some(low)),
            Prefix::Ap | Prefix::Le => (None, Some(high)),
            Prefix::Ge | Prefix::Gt | Prefix::Ne => (None, None),
        }
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
            Cond::Sql(format!("({})", compare(*prefix, range, column, column, &mut self.binds)))
        };
        Cond::any(any.iter().map(one).collect::<Vec<_>>())
    }
}

fn ends(range: &DateRange) -> (Moment, Moment) {
    let low = range.low.map_or(Moment::Past, Moment::from);
    let high = range.high.map_or(Moment::Future, Moment::from);
    (low, high)
}

/// The condition between the span in two columns and the one that is asked for.
fn compare(prefix: Prefix, range: &DateRange, low: &str, high: &str, binds: &mut Binds) -> String {
    let (from, to) = ends(range);
    let is_point = from == to;
    let eq = |binds: &mut Binds| {
        let (from, to) = (binds.time(from), binds.time(to));
        if is_point {
            format!("{low} = {from} AND {high} = {to}")
        } else {
            // A point at the end is no longer inside.
            format!("{low} >= {from} AND {low} < {to} AND {high} <= {to}")
        }
    };
    // A point at the end of a span is after it, as it is at no other place.
    let gt = |binds: &mut Binds| {
        let to = binds.time(to);
        if is_point {
            format!("{high} > {to}")
        } else {
            format!("({high} > {to} OR {low} >= {to})")
        }
    };
    match prefix {
        Prefix::Eq => eq(binds),
        Prefix::Ne => format!("NOT ({})", eq(binds)),
        Prefix::Gt => gt(binds),
        Prefix::Lt => format!("{low} < {}", binds.time(from)),
        Prefix::Ge => format!("({} OR ({}))", gt(binds), eq(binds)),
        Prefix::Le => format!("({low} < {} OR ({}))", binds.time(from), eq(binds)),
        Prefix::Sa if is_point => format!("{low} > {}", binds.time(to)),
        Prefix::Sa => format!("{low} >= {}", binds.time(to)),
        Prefix::Eb => {
            let from = binds.time(from);
            format!("{high} <= {from} AND {low} < {from}")
        }
        Prefix::Ap => {
            let (from, to) = (binds.time(from), binds.time(to));
            let before = if is_point { "<=" } else { "<" };
            format!("{low} {before} {to} AND ({high} > {from} OR {low} >= {from})")
        }
    }
}
