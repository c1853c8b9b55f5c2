//! Which candidate costs least, by what was counted of each.
//!
//! Costs are in units of one row that is looked up by its key. A walk in order is expected to go
//! on until the rarest of the other filters has held often enough, as if what it holds for were
//! spread evenly.
//!
//! A filter that is no walk is asked in one of two ways: row by row, or in a set of all that it
//! holds for, which is made first.

use std::collections::HashSet;

use super::driver::{Candidate, Driver};
use super::order::{Order, Walk};
use super::probe::bound;

/// What it costs to walk a row of an index.
const WALKED: f64 = 0.2;
/// The same where hashes are asked of each, which stand in the table.
const WALKED_WHOLE: f64 = 0.5;

/// What is walked, and what the counts said of the other filters.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) candidate: Candidate,
    /// Whether the candidate has few rows, so that to find and sort all of them costs little.
    pub(super) is_small: bool,
    /// Filters that are asked the other way than such filters are where nothing is counted: chains and
    /// `_has` row by row, values in a set.
    pub(super) turned: HashSet<usize>,
    /// How many rows were counted, where they were.
    pub(super) number: Option<i64>,
}

impl Choice {
    /// Whether the same is walked, and the same asked of each row.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.candidate == other.candidate && self.turned == other.turned
    }
}

/// What is walked for which purpose.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// For a page in the order of `s`.
    pub(super) page: Choice,
    /// For all matches: to sort or to count them.
    pub(super) all: Choice,
}

impl Chosen {
    /// The same for whatever purpose.
    pub(super) fn only(choice: Choice) -> Self {
        Self { page: choice.clone(), all: choice }
    }

    /// What is walked for a page in this order.
    pub(super) fn of(&self, order: &Order) -> &Choice {
        match order {
            Order::Walked { by: Walk::Date, .. } => &self.page,
            _ => &self.all,
        }
    }
}

/// A candidate and what was counted of it.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) candidate: Candidate,
    /// How many rows it has, up to its bound.
    pub(super) number: i64,
    /// The part of all resources for which its filter holds, where their number is known; of a
    /// chain, of all its targets.
    pub(super) share: Option<f64>,
    /// What tells its filter, when that can be asked in two ways.
    pub(super) told: Option<usize>,
    /// The links that its filter goes on through.
    pub(super) further: Vec<Further>,
}

/// A chain or `_has` in another, and what was counted of it.
#[derive(Clone, Debug)]
pub(super) struct Further {
    /// [`Driver::Links`] or [`Driver::Referred`].
    pub(super) driver: Driver,
    /// How many rows it has, up to its bound.
    pub(super) number: i64,
    /// What tells its filter.
    pub(super) told: usize,
}

impl Counted {
    fn is_capped(&self) -> bool {
        self.number >= bound(&self.candidate.driver)
    }

    /// What it costs to walk all of its rows; `None` where they are too many.
    fn all(&self) -> Option<f64> {
        (self.number < few_of(&self.candidate.driver))
            .then(|| self.number as f64 * weight(&self.candidate.driver))
    }

    /// What it costs to ask its filter of each of so many rows.
    fn asked(&self, rows: f64) -> f64 {
        let (each, set) = costs(&self.candidate.driver, self.number, rows);
        let has_choice = self.told.is_some() && !self.is_capped();
        match self.candidate.driver {
            Driver::Keys => (self.number as f64 + rows) * 0.1,
            Driver::Links | Driver::Referred | Driver::Values if has_choice => each.min(set),
            _ => each,
        }
    }
}

/// Whether a filter of so many is asked the other way than where nothing is counted.
fn is_turned(driver: &Driver, number: i64, rows: f64) -> bool {
    let (each, set) = costs(driver, number, rows);
    let is_capped = number >= bound(driver);
    match driver {
        Driver::Links | Driver::Referred => is_capped || each < set,
        Driver::Values => !is_capped && set < each,
        _ => false,
    }
}

/// What a filter of so many costs when it is asked row by row, of so many rows, and in a set.
fn costs(driver: &Driver, number: i64, rows: f64) -> (f64, f64) {
    let (each, made, looked_up) = match driver {
        // A row has some references, each of which is looked up.
        Driver::Links => (6.0, 2.0, 0.3),
        Driver::Referred => (50.0, 3.0, 0.2),
        _ => (1.0, 0.1, 0.1),
    };
    (rows * each, number as f64 * made + rows * looked_up)
}

/// Whether its rows are those of tokens, in order.
pub(super) fn is_tokens(driver: &Driver) -> bool {
    matches!(driver, Driver::OtherTokens { .. } | Driver::Tokens(_))
}

/// Up to how many rows of a candidate are walked rather than those of another. A chain or `_has`
/// with more is a set that rows are looked up in, or is asked row by row.
fn few_of(driver: &Driver) -> i64 {
    match driver {
        Driver::Links => 2_000,
        Driver::Referred => 500,
        other => bound(other),
    }
}

/// What one counted row stands for: a target of a chain has several that refer to it.
fn weight(driver: &Driver) -> f64 {
    match driver {
        Driver::Alternatives | Driver::Hierarchy | Driver::Keys | Driver::Values => 3.0,
        Driver::Links => 10.0,
        Driver::Referred => 20.0,
        _ => 1.0,
    }
}

/// How many different ones so many rows refer to, where those that were looked at refer to so many
/// (0: not known). As if each were as likely to be referred to as another: then `n` rows meet
/// `d * (1 - exp(-n / d))` of `d`.
pub(super) fn spread(number: i64, (looked_at, different): (i64, i64)) -> f64 {
    let (number, looked_at, different) = (number as f64, looked_at as f64, different as f64);
    if different <= 0.0 || different >= looked_at {
        return number;
    }
    let (mut low, mut high) = (different, (number * number).max(different));
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        let met = middle * (1.0 - (-looked_at / middle).exp());
        if met < different { low = middle } else { high = middle }
    }
    // All rows meet no more than that.
    low * (1.0 - (-number / low).exp())
}

/// The cheapest of what was counted and of a walk of all `size` resources. `page`: how many matches
/// are wanted, where a walk in the order of `s` serves.
pub(super) fn chosen(counted: &[Counted], page: Option<u32>, size: Option<f64>) -> Chosen {
    let all = least(counted);
    let in_order = page.zip(size).map(|(page, size)| first(counted, f64::from(page), size));
    let page = match in_order {
        Some((cost, choice)) if all.0.is_none_or(|least| cost < least) => choice,
        _ => all.1.clone(),
    };
    Chosen { page, all: all.1 }
}

/// What finds all matches at the least cost.
fn least(counted: &[Counted]) -> (Option<f64>, Choice) {
    let costs = counted.iter().filter_map(|one| Some((one.all()?, one)));
    let few = costs.min_by(|(one, _), (other, _)| one.total_cmp(other));
    let is_many = |one: &&Counted| is_tokens(&one.candidate.driver);
    let walked = few.map(|(_, one)| one).or_else(|| counted.iter().find(is_many));
    let rows = few.map(|(_, one)| one.number as f64);
    let choice = Choice {
        candidate: walked.map_or(Candidate::RESOURCES, |one| one.candidate.clone()),
        is_small: few.is_some(),
        turned: turned(counted, walked, rows.unwrap_or(f64::INFINITY)),
        number: walked.map(|one| one.number),
    };
    (few.map(|(cost, _)| cost), choice)
}

/// The walk in order that is expected to be over first.
fn first(counted: &[Counted], page: f64, size: f64) -> (f64, Choice) {
    let walks = counted.iter().filter(|one| is_tokens(&one.candidate.driver));
    let costs = walks.map(Some).chain([None]).map(|walk| {
        let is_other = |one: &&Counted| !walk.is_some_and(|walk| std::ptr::eq(walk, *one));
        let shares = counted.iter().filter(is_other).filter_map(|one| one.share);
        let rarest = shares.fold(1.0, f64::min).max(1.0 / size.max(1.0));
        let rows = walk.filter(|one| !one.is_capped()).map_or(size, |one| one.number as f64);
        let rows = rows.min(page / rarest);
        let others = counted.iter().filter(is_other);
        let asked: f64 = others.map(|one| one.asked(rows)).sum();
        let each = if walk.is_some() { WALKED } else { WALKED_WHOLE };
        (rows * each + asked, rows, walk)
    });
    let best = costs.min_by(|(one, ..), (other, ..)| one.total_cmp(other));
    let (cost, rows, walk) = best.unwrap_or((f64::INFINITY, size, None));
    let choice = Choice {
        candidate: walk.map_or(Candidate::RESOURCES, |one| one.candidate.clone()),
        is_small: false,
        turned: turned(counted, walk, rows),
        number: walk.map(|one| one.number),
    };
    (cost, choice)
}

/// The filters besides the walk that are asked the other way than where nothing is counted.
fn turned(counted: &[Counted], walk: Option<&Counted>, rows: f64) -> HashSet<usize> {
    let others = counted.iter().filter(|one| !walk.is_some_and(|walk| std::ptr::eq(walk, *one)));
    let is_one = |one: &&Counted| is_turned(&one.candidate.driver, one.number, rows);
    let mut turned = HashSet::new();
    for one in others.filter(is_one) {
        turned.extend(one.told);
        let further = one.further.iter();
        let further = further.filter(|it| is_turned(&it.driver, it.number, rows));
        turned.extend(further.map(|further| further.told));
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(driver: Driver, number: i64, among: f64) -> Counted {
        let has_two_ways = matches!(driver, Driver::Links | Driver::Referred | Driver::Values);
        let share = Some((number as f64 / among).min(1.0));
        let candidate = Candidate { driver, of: Some(0) };
        Counted { candidate, number, share, told: has_two_ways.then_some(7), further: Vec::new() }
    }

    /// What is walked for a page, what for all, and whether a filter is asked the other way for a page.
    fn found(counted: &[Counted], size: Option<f64>) -> (&'static str, &'static str, bool) {
        let chosen = chosen(counted, Some(21), size);
        let names = (chosen.page.candidate.driver.name(), chosen.all.candidate.driver.name());
        (names.0, names.1, !chosen.page.turned.is_empty())
    }

    #[test]
    fn what_costs_least_is_walked() {
        let tokens = |number| counted(Driver::Tokens(Vec::new()), number, 150_000.0);
        let values = |number| counted(Driver::Values, number, 150_000.0);
        let (walk, token, value) = ("resources by type", "tokens", "values");
        let (link, referred) =
            ("references to targets found before", "resources that others refer to");
        let size = Some(150_000.0);
        for (found, expected) in [
            // A token that many have, in order, rather than some thousand numbers to sort.
            (found(&[tokens(1_000), values(4_000)], size), (token, value, true)),
            (found(&[tokens(1_000), values(100)], size), (value, value, false)),
            (found(&[tokens(50), values(4_000)], size), (token, token, false)),
            // So many are few enough to be looked up in as a set: that costs less than each by itself.
            (found(&[tokens(1_000), values(2_500)], size), (token, value, true)),
            (found(&[tokens(1_000), values(5_000)], size), (token, token, false)),
            // Numbers that many have come soon in whatever order.
            (found(&[values(4_000)], size), (walk, value, true)),
            (found(&[values(200)], size), (value, value, false)),
            (found(&[values(4_000)], None), (value, value, false)),
            (found(&[values(5_000)], None), (walk, walk, false)),
            // A chain of half of all targets, one of some, and one of few.
            (found(&[counted(Driver::Links, 1_900, 3_800.0)], size), (walk, link, true)),
            (found(&[counted(Driver::Links, 1_200, 64_000.0)], size), (walk, link, false)),
            (found(&[counted(Driver::Links, 2, 400.0)], size), (link, link, false)),
            (found(&[counted(Driver::Referred, 4_800, 600.0)], Some(600.0)), (walk, walk, true)),
            (
                found(&[counted(Driver::Referred, 40, 20_000.0)], Some(20_000.0)),
                (referred, referred, false),
            ),
            (
                found(&[counted(Driver::Referred, 5_000, 20_000.0)], Some(20_000.0)),
                (walk, walk, true),
            ),
            // Keys that are found already are looked up in, not joined.
            (
                found(&[counted(Driver::Keys, 20_000, 150_000.0)], size),
                (walk, "resources by key", false),
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn rows_that_refer_to_the_same_are_told_by_some_of_them() {
        for (number, sample, low, high) in [
            // Nothing was looked at, and all were different.
            (1_923, (200, 0), 1_923.0, 1_923.0),
            (1_923, (200, 200), 1_923.0, 1_923.0),
            (1_923, (200, 120), 160.0, 190.0),
            (1_923, (200, 10), 9.0, 11.0),
            (150, (150, 149), 148.0, 150.0),
            (0, (0, 0), 0.0, 0.0),
        ] {
            let found = spread(number, sample);
            assert!((low..=high).contains(&found), "{number} {sample:?}: {found}");
        }
    }

    #[test]
    fn a_link_behind_another_is_asked_row_by_row_where_its_set_is_large() {
        let behind = |number| Further { driver: Driver::Links, number, told: 8 };
        for (outer, inner, expected) in [
            (20_000, 20_000, vec![7, 8]),
            (20_000, 3, vec![7]),
            // As a set, what is before has all of what is behind.
            (100, 20_000, vec![]),
        ] {
            let further = vec![behind(inner)];
            let one = Counted { further, ..counted(Driver::Links, outer, 64_000.0) };
            let mut turned: Vec<_> =
                chosen(&[one], Some(21), Some(1_200_000.0)).page.turned.into_iter().collect();
            turned.sort_unstable();
            assert_eq!(turned, expected, "{outer} {inner}");
        }
    }
}
