//! Index rows of many resources column by column, as `unnest` takes them: what a write adds, and
//! what the version before had that is gone.

use std::collections::BTreeSet;

use tokio_postgres::types::ToSql;

use crate::fhir::ResourceType;
use crate::store::rows::{Edge, JsonText};

use super::inside::{self, ContainedRows};
use super::rows::IndexRows;
use super::values::{Dates, Numbers, Strings, Tokens};

/// The mark of what lies in the compartments of several patients. A constant does: it says nothing that
/// the rows of `comp` do not.
pub(in crate::store) const SHARED: i64 = 0x5348_4152_4544_0001;

/// A resource on its way into the index.
pub(in crate::store) struct Indexed<'a> {
    pub(in crate::store) rid: i64,
    pub(in crate::store) identity: i64,
    pub(in crate::store) resource_type: ResourceType,
    /// Rows and patients before; `None` when it was not there or was deleted.
    pub(in crate::store) before: Option<(&'a IndexRows, &'a [i64])>,
    /// Rows and patients now; `None` when it is deleted.
    pub(in crate::store) now: Option<(&'a IndexRows, &'a [i64])>,
    /// The patients of the version, those of a deletion too.
    pub(in crate::store) patients: &'a [i64],
}

/// One key on its way: a resource, or one that it contains.
struct Entry<'a> {
    rid: i64,
    identity: i64,
    code: i16,
    change: u8,
    before: (&'a IndexRows, &'a [i64]),
    now: (&'a IndexRows, &'a [i64]),
    patients: &'a [i64],
}

/// What a write does to `srow` and `comp`.
const PUT: u8 = b'I';
const REMOVE: u8 = b'D';
const LEAVE: u8 = b'N';

/// The columns.
#[derive(Default)]
pub(in crate::store) struct IndexColumns<'a> {
    rid: Vec<i64>,
    resource_type: Vec<i16>,
    identity: Vec<i64>,
    start: Vec<Edge>,
    end: Vec<Edge>,
    patients: Slices,
    /// How many links there are, the links, the marks, and the signs behind them; before each slice of all
    /// stands which parameters have a value.
    marks: Slices,
    keys: Vec<Option<JsonText<'a>>>,
    change: Vec<i8>,
    token: Tokens,
    number: Numbers<'a>,
    date: Dates,
    string: Strings<'a>,
    gone: Gone,
}

/// Arrays of many resources in one. Each has two parts; places count from 1.
#[derive(Default)]
struct Slices {
    all: Vec<i64>,
    /// Where the first part begins.
    start: Vec<i32>,
    /// Where the first part ends.
    middle: Vec<i32>,
    /// Where the second part ends.
    end: Vec<i32>,
}

/// Rows of the versions before. Those of `num`, `dat` and `str` go by resource and hash.
#[derive(Default)]
struct Gone {
    patient: Vec<i64>,
    patient_rid: Vec<i64>,
    patient_s: Vec<Edge>,
    token: Tokens,
    number: Groups,
    date: Groups,
    string: Groups,
}

#[derive(Default)]
struct Groups {
    rid: Vec<i64>,
    h: Vec<i64>,
}

impl Slices {
    fn push(&mut self, first: &[i64], second: &[i64]) {
        let place = |all: &[i64]| i32::try_from(all.len()).unwrap_or(i32::MAX);
        self.start.push(place(&self.all).saturating_add(1));
        self.all.extend_from_slice(first);
        self.middle.push(place(&self.all));
        self.all.extend_from_slice(second);
        self.end.push(place(&self.all));
    }
}

impl<'a> IndexColumns<'a> {
    /// What changes for these resources: in their order, and behind all of them what they contain.
    pub(in crate::store) fn of(all: &[Indexed<'a>]) -> Self {
        let mut columns = Self::default();
        for indexed in all {
            columns.push(&Entry {
                rid: indexed.rid,
                identity: indexed.identity,
                code: indexed.resource_type.code(),
                change: change(indexed),
                before: indexed.before.unwrap_or((IndexRows::NOTHING, &[])),
                now: indexed.now.unwrap_or((IndexRows::NOTHING, &[])),
                patients: indexed.patients,
            });
        }
        for indexed in all {
            columns.push_contained(indexed);
        }
        columns.token.arrange();
        columns.number.arrange();
        columns.string.arrange();
        columns
    }

    /// How many keys there are, contained resources included.
    pub(in crate::store) fn len(&self) -> usize {
        self.rid.len()
    }

    fn push_contained(&mut self, indexed: &Indexed<'a>) {
        let list = |of: Option<(&'a IndexRows, &[i64])>| of.map_or(&[][..], |it| &it.0.contained);
        let (before, now) = (list(indexed.before), list(indexed.now));
        let places: BTreeSet<usize> = before.iter().chain(now).map(|it| it.place).collect();
        for place in places {
            let at = |list: &'a [ContainedRows]| {
                list.binary_search_by_key(&place, |it| it.place).ok().map(|at| &list[at])
            };
            let (before, now) = (at(before), at(now));
            let named = now.or(before).zip(inside::key(indexed.rid, place));
            let Some((ContainedRows { resource_type, identity, .. }, rid)) = named else {
                continue;
            };
            let rows = |of: Option<&'a ContainedRows>| of.map_or(IndexRows::NOTHING, |it| &it.rows);
            self.push(&Entry {
                rid,
                identity: *identity,
                code: inside::code(*resource_type),
                change: change_of_contained(before, now),
                before: (rows(before), &[]),
                now: (rows(now), &[]),
                patients: &[],
            });
        }
    }

    fn push(&mut self, entry: &Entry<'a>) {
        let ((before, patients_before), (now, patients)) = (entry.before, entry.now);
        let rid = entry.rid;
        self.rid.push(rid);
        self.resource_type.push(entry.code);
        self.patients.push(entry.patients, &[]);
        self.identity.push(entry.identity);
        self.start.push(now.start);
        self.end.push(now.end);
        let links = [i64::try_from(now.links.len()).unwrap_or(0)];
        let shared: &[i64] = if entry.patients.len() > 1 { &[SHARED] } else { &[] };
        self.marks.all.push(now.present);
        self.marks.push(&[&links, &*now.links, &now.marks, shared].concat(), &now.signs);
        self.keys.push(now.keys.as_deref().map(str::as_bytes).map(JsonText));
        self.change.push(entry.change.cast_signed());
        let moved = before.start != now.start;
        let is_gone = |patient: &&i64| moved || !patients.contains(patient);
        for patient in patients_before.iter().filter(is_gone) {
            self.gone.patient.push(*patient);
            self.gone.patient_rid.push(rid);
            self.gone.patient_s.push(before.start);
        }
        for token in without(&before.tokens, &now.tokens, moved) {
            self.gone.token.push(rid, before.start, token);
        }
        for token in without(&now.tokens, &before.tokens, moved) {
            self.token.push(rid, now.start, token);
        }
        self.push_rows(rid, before, now);
    }

    /// Adds the groups of `num`, `dat` and `str` that differ.
    fn push_rows(&mut self, rid: i64, before: &IndexRows, now: &'a IndexRows) {
        let gone = |h| self.gone.number.push(rid, h);
        for row in Groups::differ(&before.numbers, &now.numbers, |row| row.h, gone) {
            self.number.rid.push(rid);
            self.number.h.push(row.h);
            self.number.y.push(row.y);
            self.number.u.push(row.u);
            self.number.n.push(row.n);
            self.number.low.push(&row.low);
            self.number.high.push(&row.high);
        }
        let gone = |h| self.gone.date.push(rid, h);
        for (h, low, high) in Groups::differ(&before.dates, &now.dates, |row| row.0, gone) {
            self.date.rid.push(rid);
            self.date.h.push(*h);
            self.date.low.push(low.map_or(Edge::Past, Edge::At));
            self.date.high.push(high.map_or(Edge::Future, Edge::At));
        }
        let gone = |h| self.gone.string.push(rid, h);
        for row in Groups::differ(&before.strings, &now.strings, |row| row.h, gone) {
            self.string.rid.push(rid);
            self.string.h.push(row.h);
            self.string.value.push(&row.value);
            self.string.exact.push(row.exact.as_deref());
            self.string.whole.push(row.whole.as_deref());
        }
    }

    /// `$22` to `$68` of the statements that write the index.
    pub(in crate::store) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let Self { token, number, date, string, gone, .. } = self;
        vec![
            &self.rid,
            &self.resource_type,
            &self.identity,
            &self.start,
            &self.end,
            &self.keys,
            &self.change,
            &self.patients.start,
            &self.patients.middle,
            &self.marks.start,
            &self.marks.middle,
            &self.marks.end,
            &self.patients.all,
            &self.marks.all,
            &token.rid,
            &token.h,
            &token.s,
            &token.system,
            &number.rid,
            &number.h,
            &number.y,
            &number.u,
            &number.n,
            &number.low,
            &number.high,
            &date.rid,
            &date.h,
            &date.low,
            &date.high,
            &string.rid,
            &string.h,
            &string.value,
            &string.exact,
            &string.whole,
            &gone.patient,
            &gone.patient_rid,
            &gone.patient_s,
            &gone.token.rid,
            &gone.token.h,
            &gone.token.s,
            &gone.token.system,
            &gone.number.rid,
            &gone.number.h,
            &gone.date.rid,
            &gone.date.h,
            &gone.string.rid,
            &gone.string.h,
        ]
    }
}

impl Groups {
    fn push(&mut self, rid: i64, h: i64) {
        self.rid.push(rid);
        self.h.push(h);
    }

    /// The rows of `now` in groups that differ from those before; `gone` hears of each group that was there and must go.
    fn differ<'r, T: PartialEq>(
        before: &[T],
        now: &'r [T],
        hash: impl Fn(&T) -> i64 + Copy,
        mut gone: impl FnMut(i64),
    ) -> Vec<&'r T> {
        let group = |rows: &[T], h: i64| {
            let start = rows.partition_point(|row| hash(row) < h);
            start..start + rows[start..].partition_point(|row| hash(row) == h)
        };
        for rows in before.chunk_by(|a, b| hash(a) == hash(b)) {
            let h = hash(&rows[0]);
            if rows != &now[group(now, h)] {
                gone(h);
            }
        }
        let groups = now.chunk_by(|a, b| hash(a) == hash(b));
        let is_new = |rows: &&[T]| **rows != before[group(before, hash(&rows[0]))];
        groups.filter(is_new).flatten().collect()
    }
}

/// What happens to the rows of `srow` and `comp`.
fn change(indexed: &Indexed<'_>) -> u8 {
    match (indexed.before, indexed.now) {
        (_, None) => REMOVE,
        (Some((before, patients_before)), Some((now, patients)))
            if before.is_same_summary(now) && patients_before == patients =>
        {
            LEAVE
        }
        (_, Some(_)) => PUT,
    }
}

/// The same for a contained resource: another may stand in its place.
fn change_of_contained(before: Option<&ContainedRows>, now: Option<&ContainedRows>) -> u8 {
    match (before, now) {
        (_, None) => REMOVE,
        (Some(before), Some(now))
            if before.is_named_like(now) && before.rows.is_same_summary(&now.rows) =>
        {
            LEAVE
        }
        (_, Some(_)) => PUT,
    }
}

/// What is in `rows` and not in `others`, both sorted; everything with `everything`.
fn without<'r>(
    rows: &'r [(i64, i32)],
    others: &'r [(i64, i32)],
    everything: bool,
) -> impl Iterator<Item = (i64, i32)> {
    let is_missing = move |row: &&(i64, i32)| everything || others.binary_search(row).is_err();
    rows.iter().filter(is_missing).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(tokens: &[i64], numbers: &[(i64, &str)], start: Option<&str>) -> IndexRows {
        let number = |(h, text): &(i64, &str)| {
            let (low, high) = ((*text).to_owned(), (*text).to_owned());
            super::super::rows::NumberRow { h: *h, y: 0, u: 0, n: 0, low, high }
        };
        IndexRows {
            start: start.and_then(crate::fhir::Instant::parse).map_or(Edge::Past, Edge::At),
            tokens: tokens.iter().map(|h| (*h, 0)).collect(),
            marks: tokens.to_vec(),
            numbers: numbers.iter().map(number).collect(),
            ..IndexRows::default()
        }
    }

    fn columns<'a>(before: Option<&'a IndexRows>, now: Option<&'a IndexRows>) -> IndexColumns<'a> {
        IndexColumns::of(&[Indexed {
            rid: 1,
            identity: 2,
            resource_type: ResourceType::PATIENT,
            before: before.map(|rows| (rows, &[7, 8][..])),
            now: now.map(|rows| (rows, &[8, 9][..])),
            patients: &[8, 9],
        }])
    }

    #[test]
    fn only_what_differs_is_written() {
        let before = rows(&[1, 2], &[(10, "1"), (11, "1"), (11, "2")], None);
        let now = rows(&[2, 3], &[(10, "1"), (11, "1"), (12, "5")], None);
        let both = columns(Some(&before), Some(&now));
        assert_eq!((both.token.h, both.gone.token.h), (vec![3], vec![1]));
        assert_eq!((both.number.h, both.gone.number.h), (vec![11, 12], vec![11]));
        assert_eq!((both.gone.patient, both.change), (vec![7], vec![b'I'.cast_signed()]));
    }

    #[test]
    fn a_new_primary_date_moves_every_row_that_has_it() {
        let before = rows(&[1], &[(10, "1")], None);
        let now = rows(&[1], &[(10, "1")], Some("2024-01-01T00:00:00Z"));
        let both = columns(Some(&before), Some(&now));
        assert_eq!((both.token.h, both.gone.token.h), (vec![1], vec![1]));
        assert_eq!((both.number.h, both.gone.number.h), (vec![], vec![]));
    }

    #[test]
    fn contained_resources_come_behind_all_others_and_each_by_its_place() {
        let of = |list: &[(usize, i64)]| {
            let contained = list.iter().map(|&(place, h)| ContainedRows {
                place,
                resource_type: ResourceType::PATIENT,
                identity: 3,
                rows: rows(&[h], &[], None),
            });
            IndexRows { contained: contained.collect(), ..IndexRows::default() }
        };
        let (before, now) = (of(&[(0, 1), (1, 2), (2, 3)]), of(&[(0, 1), (1, 7), (4, 3)]));
        let indexed = |rid, before, now| Indexed {
            rid,
            identity: 2,
            resource_type: ResourceType::PATIENT,
            before: Some((before, &[][..])),
            now: Some((now, &[][..])),
            patients: &[],
        };
        let both = IndexColumns::of(&[indexed(1, &before, &now), indexed(5, &now, &now)]);
        let key = |place| inside::key(1, place).expect("a key");
        assert_eq!(both.rid[..6], [1, 5, key(0), key(1), key(2), key(4)]);
        assert_eq!(both.change[..6], [b'N', b'N', b'N', b'I', b'D', b'I'].map(u8::cast_signed));
        assert_eq!(
            (both.len(), &both.token.h[..], &both.gone.token.h[..]),
            (9, &[3, 7][..], &[2, 3][..])
        );
        assert!(both.resource_type[2..].iter().all(|code| *code == -ResourceType::PATIENT.code()));
    }

    #[test]
    fn what_is_new_is_added_and_what_is_deleted_removed() {
        let some = rows(&[1], &[(10, "1")], None);
        let new = columns(None, Some(&some));
        assert_eq!((new.token.h, new.number.h, new.gone.token.h), (vec![1], vec![10], vec![]));
        assert_eq!(new.change, [b'I'.cast_signed()]);
        let gone = columns(Some(&some), None);
        assert_eq!((gone.token.h, gone.gone.token.h), (vec![], vec![1]));
        assert_eq!((gone.gone.number.h, gone.gone.patient), (vec![10], vec![7, 8]));
        assert_eq!(gone.change, [b'D'.cast_signed()]);
    }
}
