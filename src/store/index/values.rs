//! Rows that a write adds to the tables of values, column by column.

use crate::store::rows::Edge;

/// Rows of `tok`.
#[derive(Default)]
pub(super) struct Tokens {
    pub(super) rid: Vec<i64>,
    pub(super) h: Vec<i64>,
    pub(super) s: Vec<Edge>,
    pub(super) system: Vec<i32>,
}

/// Rows of `num`.
#[derive(Default)]
pub(super) struct Numbers<'a> {
    pub(super) rid: Vec<i64>,
    pub(super) h: Vec<i64>,
    pub(super) y: Vec<i32>,
    pub(super) u: Vec<i32>,
    pub(super) n: Vec<i32>,
    pub(super) low: Vec<&'a str>,
    pub(super) high: Vec<&'a str>,
}

/// Rows of `dat`.
#[derive(Default)]
pub(super) struct Dates {
    pub(super) rid: Vec<i64>,
    pub(super) h: Vec<i64>,
    pub(super) low: Vec<Edge>,
    pub(super) high: Vec<Edge>,
}

/// Rows of `str`.
#[derive(Default)]
pub(super) struct Strings<'a> {
    pub(super) rid: Vec<i64>,
    pub(super) h: Vec<i64>,
    pub(super) value: Vec<&'a str>,
    pub(super) exact: Vec<Option<&'a str>>,
    pub(super) whole: Vec<Option<&'a str>>,
}

impl Tokens {
    pub(super) fn arrange(&mut self) {
        let Self { rid, h, s, system } = self;
        let order = by_hash(h);
        arrange(rid, &order);
        arrange(h, &order);
        arrange(s, &order);
        arrange(system, &order);
    }

    pub(super) fn push(&mut self, rid: i64, start: Edge, (h, system): (i64, i32)) {
        self.rid.push(rid);
        self.h.push(h);
        self.s.push(start);
        self.system.push(system);
    }
}

impl Numbers<'_> {
    pub(super) fn arrange(&mut self) {
        let Self { rid, h, y, u, n, low, high } = self;
        let order = by_hash(h);
        arrange(rid, &order);
        arrange(h, &order);
        for column in [y, u, n] {
            arrange(column, &order);
        }
        arrange(low, &order);
        arrange(high, &order);
    }
}

impl Strings<'_> {
    pub(super) fn arrange(&mut self) {
        let Self { rid, h, value, exact, whole } = self;
        let order = by_hash(h);
        arrange(rid, &order);
        arrange(h, &order);
        arrange(value, &order);
        arrange(exact, &order);
        arrange(whole, &order);
    }
}

/// The order in which rows are added: that of their indexes, so that what lies side by side there is
/// added one after the other. In the order of the resources, each row of many would lead to another page.
fn by_hash(h: &[i64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..h.len()).collect();
    order.sort_by_key(|&at| h[at]);
    order
}

fn arrange<T: Copy>(column: &mut Vec<T>, order: &[usize]) {
    *column = order.iter().map(|&at| column[at]).collect();
}
