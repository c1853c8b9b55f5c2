//! What the later keys of an order are looked up for: only what may be on the page by the first.
//!
//! A key is a look at another row for each match, so the first alone is looked up for all, with those
//! that stand in the same row. What lies beyond the last value that the page can reach needs no others.

use std::fmt::Write as _;

use crate::store::cursor::Position;

use super::super::sql::Binds;
use super::Key;

/// The keys of an order, and where a page of it begins.
pub(super) struct Ordered<'o> {
    keys: &'o [Key],
    is_back: bool,
    /// For each key: the conditions to lie beyond the position's value, and to have it.
    at: Vec<(String, String)>,
    /// The condition that the row's key is beyond that of the position.
    after: String,
}

impl<'o> Ordered<'o> {
    /// `at` has a value for each key.
    pub(super) fn new(keys: &'o [Key], at: Option<&Position>, binds: &mut Binds) -> Self {
        let is_back = at.is_some_and(|at| at.is_back);
        let mut this = Self { keys, is_back, at: Vec::new(), after: String::new() };
        let Some(at) = at else { return this };
        let rid = binds.long(at.rid);
        this.after =
            format!("rid {} {rid}", if this.ties_descend() == is_back { ">" } else { "<" });
        for (place, (key, value)) in keys.iter().zip(&at.keys).enumerate() {
            this.at.push(beside(key, &format!("k{place}"), value.as_deref(), is_back, binds));
        }
        this
    }

    /// Whether the largest key comes first among equals: so it is where the last key descends.
    fn ties_descend(&self) -> bool {
        self.keys.last().is_some_and(|key| key.is_descending)
    }

    /// The condition (` AND ..`) that a row comes after the position, or before when the page goes back.
    pub(super) fn beyond(&self) -> String {
        if self.at.is_empty() {
            return String::new();
        }
        let all = self.at.iter().rev();
        let condition = all.fold(self.after.clone(), |rest, (beyond, same)| {
            format!("({beyond} OR ({same} AND {rest}))")
        });
        format!(" AND {condition}")
    }

    /// `k0 DESC NULLS LAST, rid DESC`
    pub(super) fn order(&self) -> String {
        let mut order: Vec<String> = (0..self.keys.len()).map(|place| self.by(place)).collect();
        // As a walk has them: a link stays right when the next page is found another way.
        let way = if self.ties_descend() == self.is_back { "ASC" } else { "DESC" };
        order.push(format!("rid {way}"));
        order.join(", ")
    }

    /// The order of one key; what is missing comes last.
    fn by(&self, place: usize) -> String {
        let missing = if self.is_back { "FIRST" } else { "LAST" };
        let way = if self.ascends(place) { "ASC" } else { "DESC" };
        format!("k{place} {way} NULLS {missing}")
    }

    fn ascends(&self, place: usize) -> bool {
        self.keys.get(place).is_some_and(|key| key.is_descending == self.is_back)
    }

    /// What a table of `rid, k0, k1` .. of what of `c` may be among the first `limit` stands on, and that
    /// table. `ranks` joins the places that a key may go by.
    pub(super) fn looked_up(&self, limit: u32, ranks: &str) -> (String, String) {
        let toks =
            if self.keys.iter().any(|key| key.sql.contains("f.toks")) { ", f.toks" } else { "" };
        let row = format!(
            " CROSS JOIN LATERAL (SELECT f.keys, f.s, f.rt, f.present{toks} FROM srow f WHERE f.rid = c.rid OFFSET 0) f"
        );
        let all: Vec<(usize, &Key)> = self.keys.iter().enumerate().collect();
        let (at_once, later): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(place, key)| *place == 0 || key.is_at_hand());
        let select = |keys: &[(usize, &Key)], known: &str, table: &str| {
            let columns = keys.iter().map(|(place, key)| format!(", {} AS k{place}", key.sql));
            let columns: String = columns.collect();
            let names = |name: &str| keys.iter().any(|(_, key)| key.sql.contains(name));
            let row = if known.is_empty() || names("f.") { &*row } else { "" };
            let ranks = if names("p.n") { ranks } else { "" };
            format!("SELECT c.rid{known}{columns} FROM {table}{row}{ranks}")
        };
        // Without a row of `srow` it is no resource.
        let all = select(&at_once, "", "c");
        if later.is_empty() {
            return (String::new(), looked_at_once(&all));
        }
        let known = at_once.iter().fold(String::new(), |mut known, (place, _)| {
            // Writing into a text does not fail.
            let _ = write!(known, ", c.k{place}");
            known
        });
        let page = select(&later, &known, "h c");
        let (last, within) = (self.last(limit), self.within());
        let before = format!(
            "g AS MATERIALIZED ({all}), t AS MATERIALIZED ({last}), \
             h AS MATERIALIZED (SELECT * FROM g WHERE {within}), "
        );
        (before, looked_at_once(&page))
    }

    /// The first key of the row at which a page is full whatever the other keys are.
    fn last(&self, limit: u32) -> String {
        let beyond = self.at.first().map_or("true", |(beyond, _)| beyond);
        let skipped = limit.saturating_sub(1);
        let order = self.by(0);
        format!("SELECT k0 FROM g WHERE {beyond} ORDER BY {order} LIMIT 1 OFFSET {skipped}")
    }

    /// The condition that a row's first key lies from the page's beginning to there.
    fn within(&self) -> String {
        let last = "(SELECT k0 FROM t)";
        let sign = if self.ascends(0) { "<=" } else { ">=" };
        let within = if self.is_back {
            format!("(k0 IS NULL OR k0 {sign} {last} OR NOT EXISTS (SELECT FROM t))")
        } else {
            format!("({last} IS NULL OR k0 {sign} {last})")
        };
        match self.at.first() {
            None => within,
            Some((beyond, same)) => format!("{within} AND ({beyond} OR {same})"),
        }
    }
}

/// A query as a table that is gone through once: nothing of it is kept, and no key is made for each
/// place that names it.
fn looked_at_once(query: &str) -> String {
    format!("({query} OFFSET 0) v")
}

/// The conditions that a key lies beyond a value, and that it has it.
fn beside(
    key: &Key,
    column: &str,
    value: Option<&str>,
    is_back: bool,
    binds: &mut Binds,
) -> (String, String) {
    let Some(value) = value else {
        // What is missing comes last: nothing but its like is after it, all else before.
        let beyond = if is_back { format!("{column} IS NOT NULL") } else { "false".to_owned() };
        return (beyond, format!("{column} IS NULL"));
    };
    let value = format!("({})::{}", binds.text(value.to_owned()), key.cast);
    let sign = if key.is_descending == is_back { ">" } else { "<" };
    let beyond = if is_back {
        format!("{column} {sign} {value}")
    } else {
        format!("({column} {sign} {value} OR {column} IS NULL)")
    };
    (beyond, format!("{column} = {value}"))
}
